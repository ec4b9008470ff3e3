"""Files in the page: the table, view, download, links, delete, names of every kind."""

from __future__ import annotations

import http.server
import io
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from sfs_server.auth.tokens import mint
from tests.browser.conftest import SignIn, Site, Window
from tests.support.credentials import SECRET, bearer

NAMES = (
    'it\'s "quoted" & <b>bold<b>.txt',
    "<img src=x onerror=document.title='taken'>.txt",
    "🏔️ Wanderung — größe #1 100%?.txt",
    "a%2520b+c;d=e&f.txt",
    "  inner   spaces .txt".strip(),
    "\u202egpj.exe.txt",
    "x" * 251 + ".txt",
)


def visible(name: str) -> str:
    """``name`` as the page shows it."""
    return name.replace("\u202e", "[U+202E]")


def names_shown(page: Page) -> list[str]:
    found = page.locator(".row .name").evaluate_all("all => all.map(one => one.title)")
    return [str(name) for name in found]


def test_names_of_every_kind_are_shown_as_they_are_and_can_be_had(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    site.store(namespace, {name: name.encode() for name in NAMES})
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(len(NAMES))
    assert names_shown(page) == [visible(name) for name in sorted(NAMES)]
    assert page.title() == f"{namespace} · SFS"
    for name in NAMES:
        with page.expect_download() as saved:
            page.get_by_role("button", name=f"Download {visible(name)}", exact=True).click()
        assert saved.value.path().read_bytes() == name.encode()
        if len(name.encode()) < 200 and "\u202e" not in name:
            assert saved.value.suggested_filename.replace("_", "") != ""
    row = page.locator(".row", has_text="Wanderung")
    row.locator(".name").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("region")).to_contain_text("größe #1 100%?")
    page.keyboard.press("Escape")
    page.get_by_role("checkbox", name="Select all").click()
    page.get_by_role("region", name="Selection").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"Delete {len(NAMES)} files?")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Drop files here")).to_be_visible()
    assert not list((site.data / "files" / namespace).iterdir())


def test_marks_that_turn_text_around_are_seen_wherever_a_name_is(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()  # a name that is taken shows on the console
    marks = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
    evil, shown = "rtl\u202egpj.exe", "rtl[U+202E]gpj.exe"
    every = "".join(f"[U+{ord(mark):04X}]" for mark in marks)
    texts = {evil: b"x", f"{evil}.txt": b"x", f"a{marks}b": b"x", "שלום.txt": b"x"}
    site.store(namespace, texts)
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(len(texts))
    assert f"a{every}b" in names_shown(page)
    assert "שלום.txt" in names_shown(page)

    def hold() -> None:
        """No mark is anywhere in what is shown, said or written into a title, and each name is set
        apart from what is around it."""
        found = page.evaluate(
            """(marks) => {
                const texts = [document.title, document.body.innerText];
                for (const element of document.querySelectorAll("*"))
                  for (const name of ["title", "aria-label", "alt"])
                    texts.push(element.getAttribute(name) ?? "");
                return texts.filter((text) => [...marks].some((mark) => text.includes(mark)));
            }""",
            marks,
        )
        assert found == []

    hold()
    row = page.locator(".row", has_text=shown).first
    expect(row.get_by_role("button", name=f"Download {shown}", exact=True)).to_be_attached()
    assert row.locator(".name").evaluate("e => getComputedStyle(e).unicodeBidi") == "isolate"
    page.locator(".name", has_text=f"{shown}.txt").click()
    dialog = page.get_by_role("dialog", name=f"{shown}.txt")
    expect(dialog.get_by_role("region", name=f"{shown}.txt")).to_be_visible()
    assert dialog.locator("h2").evaluate("e => getComputedStyle(e).unicodeBidi") == "isolate"
    hold()
    dialog.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("dialog", name="Link to this file")).to_contain_text(f"{shown}.txt")
    hold()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    path = tmp_path / evil
    path.write_bytes(b"new")
    page.locator("main label.primary input[type=file]").set_input_files(path)
    expect(page.get_by_role("dialog", name="That name is taken")).to_contain_text(shown)
    hold()
    page.get_by_role("dialog").get_by_role("button", name="Replace").click()
    expect(page.locator("li.upload.done")).to_contain_text(shown)
    hold()
    row.focus()
    page.keyboard.press("Delete")
    expect(page.get_by_role("dialog")).to_contain_text(shown)
    hold()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".notice", has_text=f"{shown} has been deleted")).to_be_visible()
    hold()
    assert not (site.data / "files" / namespace / evil).exists()


def test_the_end_of_a_link_is_the_real_one(site: Site, page: Page, namespace: str) -> None:
    site.store(namespace, {"a.txt": b"a"})
    token = mint(SECRET, user="alice", ttl=3600)  # a day is what the dialog asks for at first
    page.goto(f"{site.url}/ns/{namespace}#token={token}")
    row = page.locator(".row", has_text="a.txt")
    row.get_by_role("button", name="Actions on").click()
    page.get_by_role("menuitem", name="Copy link").click()
    dialog = page.get_by_role("dialog", name="Link to this file")
    expect(dialog).to_contain_text("your token expires then, and the link with it")
    dialog.get_by_text("7 days").click()
    expect(dialog).to_contain_text("your token expires then, and the link with it")
    dialog.get_by_text("5 minutes").click()
    expect(dialog).to_contain_text("Good until")
    expect(dialog).not_to_contain_text("your token expires then")


def test_the_table_is_used_by_keyboard_alone(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, {f"{i}.txt": b"text" for i in range(5)})
    sign_in(page, at=f"/ns/{namespace}")
    page.get_by_role("searchbox").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('row')"):
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.get_by_role("region", name="Selection")).to_contain_text("2 files")
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Selection")).to_have_count(0)
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="0.txt")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("End")
    page.keyboard.press("Delete")
    expect(page.get_by_role("dialog")).to_contain_text("4.txt")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(4)
    assert names_shown(page) == [f"{i}.txt" for i in range(4)]


HOSTILE = b"""<!doctype html><title>x</title><body>here<script>
document.body.textContent = 'ran';
try { parent.document.title = 'taken' } catch {}
try { localStorage.setItem('taken', '1') } catch {}
fetch('/storage/namespaces?by=hostile');
</script><img src=x?by=hostile onerror="document.title='taken'">"""
HOSTILE_SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60">
<rect width="90" height="60"/><script>
try { parent.document.title = 'taken'; document.title = 'taken' } catch {}
fetch('/storage/namespaces?by=hostile');
</script></svg>"""


def test_an_uploaded_page_shown_inline_can_do_nothing(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()  # the browser says what it forbids
    site.store(namespace, {"page.html": HOSTILE, "drawing.svg": HOSTILE_SVG})
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    sign_in(page, at=f"/ns/{namespace}")

    def in_a_tab() -> Page:
        with page.expect_popup() as opened:
            page.get_by_role("link", name="New tab").click()
        opened.value.wait_for_timeout(200)
        return opened.value

    page.locator(".row", has_text="drawing.svg").locator(".name").click()
    picture = page.get_by_role("dialog").get_by_role("img", name="drawing.svg")
    expect(picture).to_have_js_property("naturalWidth", 90)
    tab = in_a_tab()
    assert tab.evaluate("window.origin") == "null"
    assert "taken" not in tab.title()
    page.keyboard.press("Escape")

    page.locator(".row", has_text="page.html").locator(".name").click()
    frame = page.get_by_role("dialog").locator("iframe")
    expect(frame).to_have_attribute("sandbox", "")
    expect(frame.content_frame.locator("body")).to_contain_text("here")
    tab = in_a_tab()
    expect(tab.locator("body")).to_contain_text("here")
    assert tab.evaluate("[window.origin, window.opener]") == ["null", None]
    expect(tab.locator("body")).not_to_contain_text("ran")
    assert page.title() == "page.html · SFS"
    assert page.evaluate("localStorage.length") == 0
    assert not [url for url in asked if "?by=hostile" in url and "/namespaces" in url]


def test_pictures_and_sounds_are_shown(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * 8000 * 3))
    picture = b"<svg xmlns='http://www.w3.org/2000/svg' width='7' height='5'/>"
    site.store(namespace, {"three seconds.wav": sound.getvalue(), "seven by five.svg": picture})
    sign_in(page, at=f"/ns/{namespace}")
    page.get_by_role("link", name="three seconds.wav", exact=True).click()
    expect(page.get_by_role("dialog").locator("audio")).to_have_js_property("duration", 3)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="seven by five.svg", exact=True).click()
    expect(page.get_by_role("dialog").locator("img")).to_have_js_property("naturalWidth", 7)


def test_a_link_opens_its_file_in_a_private_window_and_nothing_else(
    site: Site, page: Page, sign_in: SignIn, namespace: str, window: Window
) -> None:
    site.store(namespace, {"shared.txt": b"for you", "other.txt": b"not for you"})
    sign_in(page, at=f"/ns/{namespace}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".row", has_text="shared.txt").get_by_role("button", name="Actions").click()
    page.get_by_role("menuitem", name="Copy link").click()
    page.get_by_role("radio", name="7 days").check(force=True)
    page.get_by_role("button", name="Copy Address").click()
    expect(page.get_by_role("button", name="Copied Address")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{site.url}/storage/{namespace}/shared.txt?token=")
    command = page.get_by_label("On a command line").input_value()
    assert command.startswith(
        f"curl -OJ '{site.url}/storage/download/{namespace}/shared.txt?token="
    )
    private = window(strict=False).new_page()
    private.goto(link)
    expect(private.locator("body")).to_have_text("for you")
    answer = private.goto(link.replace("shared", "other"))
    assert answer is not None
    assert answer.status in (401, 403, 404)
    expect(private.locator("body")).not_to_contain_text("not for you")
    expect(private.get_by_role("link")).to_be_visible()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server of another origin: its address and its directory."""
    root = tmp_path / "elsewhere"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(root))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}", root
        finally:
            server.shutdown()
            thread.join()


def test_a_hidden_frame_of_another_origin_downloads_and_its_page_stays(
    site: Site, page: Page, sign_in: SignIn, namespace: str, elsewhere: tuple[str, Path]
) -> None:
    body = bytes(range(256)) * 40_000
    site.store(namespace, {"ten.bin": body})
    sign_in(page, at=f"/ns/{namespace}")
    with page.expect_download() as own:
        page.get_by_role("button", name="Download ten.bin").click()
    assert own.value.path().read_bytes() == body
    assert own.value.suggested_filename == "ten.bin"
    assert page.url == f"{site.url}/ns/{namespace}"
    address, root = elsewhere
    link = page.request.post(
        f"{site.url}/storage/links",
        data={"namespace": namespace, "file": "ten.bin"},
        headers=bearer(),
    ).json()["download_url"]
    frame = f'<iframe style="display:none" src="{site.url}{link}"></iframe>'
    (root / "page.html").write_text(
        f"<!doctype html><link rel=icon href=data:,><p>still here{frame}"
    )
    with page.expect_download() as saved:
        page.goto(f"{address}/page.html")
    assert saved.value.path().read_bytes() == body
    assert saved.value.suggested_filename == "ten.bin"
    expect(page.get_by_text("still here")).to_be_visible()


@pytest.mark.parametrize("visitor", [False, True])
def test_a_refused_download_is_said(
    site: Site, window: Window, sign_in: SignIn, namespace: str, visitor: bool
) -> None:
    page = window(strict=False).new_page()
    page.route("**/sse/changes?*", lambda route: None)  # else the list may be asked for again
    place = "default" if visitor else namespace
    name = f"gone-{visitor}.txt"
    site.store(place, {name: b"x"})
    if visitor:
        page.goto(site.url)
    else:
        sign_in(page, at=f"/ns/{namespace}")
    expect(page.get_by_role("row", name=name)).to_be_visible()
    (site.data / "files" / place / name).unlink()
    page.get_by_role("row", name=name).hover()
    page.get_by_role("button", name=f"Download {name}").click()
    expect(page.locator(".notice")).to_contain_text(
        f"{name} cannot be downloaded: There is no such file."
    )
    assert page.locator("iframe").count() == 0


def test_sizes_and_times_are_in_words_with_the_exact_value_behind(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, {"a.txt": b"x" * 12_345})
    sign_in(page, at=f"/ns/{namespace}")
    row = page.locator(".row")
    expect(row.locator(".c-size span")).to_have_text("12 kB")
    expect(row.locator(".c-size span")).to_have_attribute("title", "12,345 bytes")
    expect(row.locator(".c-modified_at time")).to_have_text("just now")
    year = time.strftime("%Y", time.gmtime())
    assert year in str(row.locator(".c-modified_at time").get_attribute("datetime"))
