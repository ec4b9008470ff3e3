"""The viewer of the page: text, tables, pages, PDF, pictures and what cannot be shown."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import WAIT_MS, SignIn, Site, Window
from tests.support.credentials import bearer

PART = 256 * 1024
MOST = 2 * 1024 * 1024


def png(width: int, height: int) -> bytes:
    """A white picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    pixels = zlib.compress((b"\0" + b"\xff" * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, body) for kind, body in ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b""))
    )


def pdf(text: str) -> bytes:
    """One page that says ``text``."""
    stream = f"BT /F1 24 Tf 40 100 Td ({text}) Tj ET"
    objects = (
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R"
        "/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>",
        f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
    )
    body, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    return (
        f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}"
        f"trailer<</Size {size}/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF\n"
    ).encode()


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(bytes(2 * 8000))
    return file.getvalue()


def opened(page: Page, name: str) -> Locator:
    """The dialog that shows the file, after a click on its name."""
    page.locator(".row").get_by_role("link", name=name, exact=True).click()
    dialog = page.get_by_role("dialog", name=name)
    expect(dialog).to_be_visible()
    return dialog


def shut(page: Page) -> None:
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


TEXTS = {
    "calendar.ics": "BEGIN:VCALENDAR",
    "card.vcf": "BEGIN:VCARD",
    "code.go": "package main // größe",
    "code.rs": "fn main() {}",
    "code.sh": "#!/bin/sh",
    "code.ts": "let a: string",
    "data.json": '{"a": 1}',
    "data.toml": "[a]",
    "data.xml": "<?xml version='1.0'?><a>text</a>",
    "data.yaml": "a: 1",
    "Dockerfile": "FROM scratch",
    "film.srt": "00:00:01,000 --> 00:00:02,000",
    "README": "read me",
    "server.log": "GET / 200",
    "unheard.of": "some text",
}


def test_text_of_every_kind_is_shown_by_the_page_itself(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, {name: text.encode() for name, text in TEXTS.items()})
    site.store(
        namespace,
        {
            "empty.txt": b"",
            "latin.txt": "caf\xe9".encode("latin-1"),
            "wide.txt": "schön".encode("utf-16"),
            "turned.py": "a = '\u202eb'".encode(),
        },
    )
    sign_in(page, at=f"/ns/{namespace}")
    for name, text in TEXTS.items():
        dialog = opened(page, name)
        expect(dialog.get_by_role("region", name=name)).to_have_text(text)
        expect(dialog.locator("iframe")).to_have_count(0)
        expect(dialog.get_by_text("are shown")).to_have_count(0)
        shut(page)
    for name, text in (
        ("latin.txt", "café"),
        ("wide.txt", "schön"),
        ("turned.py", "a = '[U+202E]b'"),
    ):
        dialog = opened(page, name)
        expect(dialog.get_by_role("region", name=name)).to_have_text(text)
        unsure = dialog.get_by_text("It is not UTF-8")
        expect(unsure).to_have_count(1 if name == "latin.txt" else 0)
        shut(page)
    dialog = opened(page, "empty.txt")
    expect(dialog).to_contain_text("This file is empty.")
    expect(dialog).to_contain_text("0 bytes · text/plain")


def test_the_beginning_of_a_large_file_is_shown_and_more_of_it_when_asked(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    lines = [f"line {n:07} größe" for n in range(200_000)]
    body = "\n".join(lines).encode()
    site.store(namespace, {"large.log": body})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.headers.get("range", "")))
    sign_in(page, at=f"/ns/{namespace}")
    dialog = opened(page, "large.log")
    text = dialog.get_by_role("region", name="large.log")
    expect(dialog).to_contain_text(f"The first 262 kB of {len(body) / 1e6:.1f} MB are shown.")

    def shown() -> str:
        return str(text.evaluate("e => e.textContent"))

    assert body.startswith(shown().encode())
    assert shown().endswith("\n")
    assert PART - 100 < len(shown().encode()) <= PART
    dialog.get_by_role("button", name="Show more").click()
    expect(dialog).to_contain_text("The first 524 kB of")
    assert body.startswith(shown().encode())
    more = dialog.get_by_role("button", name="Show more")
    for part in range(3, MOST // PART + 1):
        more.click()
        expect(text.locator("span")).to_have_count(part)
    expect(dialog).to_contain_text("Download it to see the rest.")
    expect(more).to_have_count(0)
    assert body.startswith(shown().encode())
    assert MOST - 1000 < len(shown().encode()) <= MOST
    parts = [one for one in asked if one]
    assert parts[0] == f"bytes=0-{PART - 1}"
    assert len(parts) == MOST // PART
    assert text.evaluate("e => e.scrollWidth <= e.clientWidth"), "lines wrap"


def test_a_file_that_changes_between_two_parts_is_not_mixed(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()  # the refusal shows on the console
    site.store(namespace, {"large.log": b"old\n" * PART})
    sign_in(page, at=f"/ns/{namespace}")
    dialog = opened(page, "large.log")
    more = dialog.get_by_role("button", name="Show more")
    expect(more).to_be_visible()
    site.store(namespace, {"large.log": b"new\n" * PART * 2})
    more.click()
    expect(dialog.get_by_role("alert")).to_have_text(
        "The file has changed. Close it and open it again."
    )
    expect(dialog.get_by_role("region", name="large.log")).not_to_contain_text("new")


def test_a_table_is_one_and_its_source_can_be_seen(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(
        namespace,
        {
            "a.csv": 'name;says\nAnn;"a; ""b"""\n<b>;=1+1'.encode("utf-8-sig"),
            "b.tsv": b"x\ty\n1\t2\n",
            "long.csv": b"a,b\n" * 5000,
        },
    )
    sign_in(page, at=f"/ns/{namespace}")
    dialog = opened(page, "a.csv")
    expect(dialog.get_by_role("columnheader")).to_have_text(["name", "says"])
    expect(dialog.get_by_role("cell")).to_have_text(["Ann", 'a; "b"', "<b>", "=1+1"])
    source = dialog.get_by_role("button", name="Source")
    expect(source).to_have_attribute("aria-pressed", "false")
    source.click()
    expect(source).to_have_attribute("aria-pressed", "true")
    expect(dialog.locator("pre")).to_contain_text('Ann;"a; ""b"""')
    expect(dialog.get_by_role("table")).to_have_count(0)
    shut(page)
    expect(opened(page, "b.tsv").get_by_role("cell")).to_have_text(["1", "2"])
    shut(page)
    dialog = opened(page, "long.csv")
    expect(dialog.get_by_role("row")).to_have_count(1000)
    expect(dialog).to_contain_text("The first 1,000 rows and 50 columns are shown.")


MARKDOWN = """# Title

![picture](https://elsewhere.test/spy.png) <img src=//elsewhere.test/spy.png>
<script>document.title = "taken"</script>

- [x] [out](https://elsewhere.test/page) and [in](javascript:document.title='taken')

| a | b |
|---|---|
| 1 | 2 |
"""


def test_markdown_is_rendered_without_markup_and_its_source_can_be_seen(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, {"README.md": MARKDOWN.encode(), "long.md": b"# Long\n" + b"x\n" * PART})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(2)
    assert not [url for url in asked if "markdown" in url], "it comes when it is needed"
    dialog = opened(page, "README.md")
    shown = dialog.get_by_role("region", name="README.md")
    expect(shown.get_by_role("heading")).to_have_text("Title")
    expect(shown).to_contain_text('<script>document.title = "taken"</script>')
    expect(shown.get_by_role("cell")).to_have_text(["1", "2"])
    expect(shown.get_by_role("img", name="done")).to_be_visible()
    expect(shown.locator("img, script")).to_have_count(0)
    out = shown.get_by_role("link")
    expect(out).to_have_count(1)
    assert [out.get_attribute(name) for name in ("href", "target", "rel")] == [
        "https://elsewhere.test/page",
        "_blank",
        "noopener noreferrer",
    ]
    dialog.get_by_role("button", name="Source").click()
    expect(dialog.locator("pre")).to_have_text(MARKDOWN)
    shut(page)
    dialog = opened(page, "long.md")
    expect(dialog.get_by_role("heading", name="Long", exact=True)).to_be_visible()
    expect(dialog).to_contain_text("The first 262 kB of")
    assert not [url for url in asked if "elsewhere" in url]


def test_an_uploaded_page_is_shown_without_its_script_or_as_its_source(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()  # the browser says what it forbids
    site.store(namespace, {"page.html": b"<h1>Hello</h1><img src=x onerror='ran()'>"})
    sign_in(page, at=f"/ns/{namespace}")
    dialog = opened(page, "page.html")
    expect(dialog.locator("iframe")).to_have_attribute("sandbox", "")
    expect(dialog.frame_locator("iframe").get_by_role("heading")).to_have_text("Hello")
    dialog.get_by_role("button", name="Source").click()
    expect(dialog.locator("iframe")).to_have_count(0)
    expect(dialog.locator("pre")).to_have_text("<h1>Hello</h1><img src=x onerror='ran()'>")


def test_pictures_follow_each_other(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    pictures = {f"{width}.png": png(width, 5) for width in (1, 2, 3)}
    site.store(namespace, {**pictures, "2.txt": b"between"})
    sign_in(page, at=f"/ns/{namespace}")
    opened(page, "1.png")

    def expect_shown(width: int) -> None:
        dialog = page.get_by_role("dialog", name=f"{width}.png")
        picture = dialog.get_by_role("img", name=f"{width}.png")
        expect(picture).to_have_js_property("naturalWidth", width)
        expect(dialog.get_by_text(f"{width} of 3")).to_be_visible()

    expect_shown(1)
    page.get_by_role("button", name="Next").click()
    expect_shown(2)
    expect(page.get_by_role("button", name="Next")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect_shown(3)
    page.keyboard.press("ArrowRight")
    expect_shown(1)
    page.keyboard.press("ArrowLeft")
    expect_shown(3)
    page.get_by_role("button", name="Previous").click()
    expect_shown(2)
    page.keyboard.press("Alt+ArrowRight")  # the browser's own
    expect_shown(2)
    shut(page)
    expect(page.locator(".row").get_by_role("link", name="1.png", exact=True)).to_be_focused()
    expect(opened(page, "2.txt").get_by_role("button", name="Next")).to_have_count(0)


def test_a_finger_goes_from_picture_to_picture(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(viewport={"width": 360, "height": 700}, has_touch=True).new_page()
    site.store(namespace, {f"{width}.png": png(width, 5) for width in (1, 2, 3)})
    sign_in(page, at=f"/ns/{namespace}")
    opened(page, "1.png")
    devtools = page.context.new_cdp_session(page)

    def swipe(*path: tuple[int, int]) -> None:
        for kind, points in (
            ("touchStart", path[:1]),
            ("touchMove", path[1:]),
            ("touchEnd", ()),
        ):
            touches = [{"x": x, "y": y} for x, y in points]
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    box = page.get_by_role("img", name="1.png").bounding_box()
    assert box is not None
    y = int(box["y"] + box["height"] / 2)
    swipe((300, y), (60, y + 5))
    expect(page.get_by_role("dialog", name="2.png")).to_be_visible()
    swipe((60, y), (300, y))
    expect(page.get_by_role("dialog", name="1.png")).to_be_visible()
    swipe((300, y), (280, y))
    swipe((300, y), (240, y + 90))
    expect(page.get_by_role("dialog", name="1.png")).to_be_visible()


def test_what_cannot_be_shown_says_so_and_can_be_downloaded(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    bodies = {
        "photo.heic": b"\0\0\0\x18ftypheic",
        "scan.tiff": b"II*\0\x08\0\0\0",
        "broken.png": b"no picture",
        "broken.mp4": b"no film",
        "broken.mp3": b"no sound",
        "program.exe": b"MZ\0\0\x01",
        "stream.ts": b"G\0\x11\0" * 50,
        "letter.docx": b"PK\x03\x04",
        "data.bin": bytes(range(128, 256)),
    }
    site.store(namespace, bodies)
    sign_in(page, at=f"/ns/{namespace}")
    for name, body in bodies.items():
        dialog = opened(page, name)
        expect(dialog.get_by_text("Download it to open it.")).to_be_visible()
        with page.expect_download() as saved:
            dialog.get_by_role("button", name="Download").click()
        assert saved.value.path().read_bytes() == body
        shut(page)


def test_sounds_play(site: Site, page: Page, sign_in: SignIn, namespace: str) -> None:
    site.store(namespace, {"one.wav": sound()})
    sign_in(page, at=f"/ns/{namespace}")
    expect(opened(page, "one.wav").locator("audio")).to_have_js_property("duration", 1)


def test_a_pdf_is_shown_by_the_browser(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, {"paper.pdf": pdf("Hello")})
    sign_in(page, at=f"/ns/{namespace}")
    assert page.evaluate("navigator.pdfViewerEnabled")
    dialog = opened(page, "paper.pdf")
    frame = dialog.locator("iframe[title='paper.pdf']")
    expect(frame).to_be_visible()
    for _ in range(WAIT_MS // 100):
        if any(one.url.startswith("chrome-extension://") for one in page.frames):
            break
        page.wait_for_timeout(100)
    else:
        raise AssertionError("the viewer is not there")


def test_what_takes_the_place_of_a_pdf_can_do_nothing(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()  # the browser says what it forbids
    hostile = b"<!doctype html><script>parent.document.title = 'taken'</script>"
    site.store(namespace, {"page.pdf": hostile, "folder.pdf": pdf("Hello")})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(2)
    path = site.data / "files" / namespace / "folder.pdf"
    path.unlink()
    path.mkdir()
    (path / "<script>parent.document.title = 'taken'<").write_bytes(hostile)
    for name in ("page.pdf", "folder.pdf"):
        view = page.request.get(f"{site.url}/storage/{namespace}/{name}", headers=bearer())
        assert view.headers["x-content-type-options"] == "nosniff"
        html = view.headers["content-type"].startswith("text/html")
        assert html == (name == "folder.pdf")
        policy = view.headers.get("content-security-policy", "")
        assert ("default-src 'none'" in policy) == html
        assert "script" not in policy
    opened(page, "page.pdf")
    page.wait_for_timeout(1000)
    assert page.title() == "page.pdf · SFS"


def test_a_browser_without_a_viewer_of_pdf_says_so(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    page.add_init_script(
        "Object.defineProperty(navigator, 'pdfViewerEnabled', { get: () => false })"
    )
    site.store(namespace, {"paper.pdf": pdf("Hello")})
    sign_in(page, at=f"/ns/{namespace}")
    dialog = opened(page, "paper.pdf")
    expect(dialog).to_contain_text("This browser does not show PDF files. Download it to open it.")
    expect(dialog.locator("iframe")).to_have_count(0)


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_nothing_in_the_viewer_stands_in_the_way_of_anybody(
    site: Site,
    window: Window,
    sign_in: SignIn,
    namespace: str,
    width: int,
    scheme: str,
    tmp_path: Path,
) -> None:
    page = window(
        strict=False,
        bypass_csp=True,  # for axe
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
    ).new_page()
    site.store(
        namespace,
        {
            "a.png": png(400, 300),
            "b.png": png(4, 3),
            "c.txt": b"long " * PART,
            "d.csv": b"a,b\n1,2\n" + b"x" * 5000,
            "e.zip": b"PK",
            "f.wav": sound(),
            "g.md": MARKDOWN.encode(),
        },
    )
    sign_in(page, at=f"/ns/{namespace}")
    for name in ("a.png", "c.txt", "d.csv", "e.zip", "f.wav", "g.md"):
        opened(page, name)
        page.wait_for_timeout(300)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"
        wide, view = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= view, name
        shut(page)
