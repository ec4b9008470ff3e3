"""Whole folders that are dropped on the page, or picked: they arrive as they are."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from tests.browser.conftest import SignIn, Site, Window
from tests.browser.uploading import (
    Sent,
    drag,
    drop,
    made,
    pick_folder,
    slow_down,
    tray,
    upload_of,
)
from tests.support.credentials import authorization

MANY_MS = 1_000_000
MEGABYTE = 1_000_000

WATCH = """() => {
    window.said = [];
    const leave = () => dispatchEvent(new Event("beforeunload", { cancelable: true }));
    new MutationObserver(() => {
        const title = document.querySelector(".tray h2");
        if (title) said.push([title.textContent, leave()]);
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
"""Notes what the list of uploads says, and whether the page may be left then."""


def tree_of(root: Path) -> dict[str, bytes | None]:
    """All that is below a directory: the bytes of files by their paths, and None for a directory
    that has nothing in it."""
    found: dict[str, bytes | None] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[f"{name}/"] = None
    return found


def stored(site: Site, namespace: str) -> dict[str, bytes | None]:
    return tree_of(site.data / "files" / namespace)


def holiday(directory: Path) -> Path:
    """A folder with folders in it, some of them empty, and odd names."""
    root = directory / "holiday"
    for name in ("a.txt", "sub/b.txt", "sub/deep/er/c.txt", "ü #?%/\u202egpj.exe", "🐦/it's"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(50))
    for name in ("none", "sub/none", "only/none"):
        (root / name).mkdir(parents=True)
    return root


@pytest.mark.timeout(1200)
def test_a_folder_of_5000_files_that_is_dropped_arrives_whole(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    root = tmp_path / "big"
    for folder in range(50):
        (root / f"{folder:02}" / "in").mkdir(parents=True)
        for n in range(99):
            (root / f"{folder:02}" / f"{n:02}.txt").write_bytes(b"%d %d" % (folder, n))
        (root / f"{folder:02}" / "in" / "last").write_bytes(b"last")
        (root / f"{folder:02}" / "none").mkdir()
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    calls: Counter[str] = Counter()

    def heard(request: Request) -> None:
        calls[request.method] += 1

    page.on("request", heard)
    page.evaluate(WATCH)
    drop(page, root)
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".row")).to_contain_text("big")
    title = tray(page).get_by_role("heading")
    expect(title).to_have_text("5,000 files in 150 folders uploaded", timeout=MANY_MS)
    read = [left for text, left in page.evaluate("said") if text.startswith("Reading the folder")]
    assert read
    assert not any(read), "leaving while a folder is read is not questioned"
    assert calls["POST"] == 5000
    assert calls["MKCOL"] == 50
    assert calls["GET"] < 1000  # lists, and no question for each file
    assert set(calls) == {"POST", "MKCOL", "GET"}
    wanted = {f"big/{name}": body for name, body in tree_of(root).items()}
    assert stored(site, namespace) == wanted
    expect(tray(page).locator("li.upload")).to_have_count(100)
    expect(page.locator(".row")).to_have_count(1)
    expect(page.get_by_role("link", name=namespace)).to_contain_text("5,000")


def test_a_folder_that_is_picked_arrives_with_its_paths(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    root = holiday(tmp_path)
    (site.data / "files" / namespace / "2024" / "june").mkdir(parents=True)
    sign_in(page, at=f"/ns/{namespace}/2024/june/")
    pick_folder(page, root)
    expect(tray(page).get_by_role("heading")).to_have_text("5 files in 5 folders uploaded")
    folder = upload_of(page, "b.txt").locator(".upload-place")
    expect(folder).to_have_text("sub")
    expect(folder).to_have_attribute("title", f"To {namespace} / 2024 / june / holiday / sub")
    wanted = {f"2024/june/holiday/{name}": body for name, body in tree_of(root).items() if body}
    assert stored(site, namespace) == wanted  # a browser says nothing of empty ones


def test_what_is_dropped_goes_into_the_folder_that_is_shown(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    root, single = holiday(tmp_path), made(tmp_path / "single.txt", 100)
    site.store(namespace, {})
    (site.data / "files" / namespace / "2024").mkdir()
    sign_in(page, at=f"/ns/{namespace}/2024/")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    drop(page, root, single)
    expect(tray(page).get_by_role("heading")).to_have_text("6 files in 9 folders uploaded")
    wanted = {f"2024/holiday/{name}": body for name, body in tree_of(root).items()}
    wanted["2024/single.txt"] = single.read_bytes()
    assert stored(site, namespace) == wanted
    expect(page.locator(".row .name")).to_have_text(["holiday", "single.txt"])
    upload_of(page, "c.txt").get_by_role("button", name="c.txt", exact=True).click()
    expect(page.get_by_role("dialog", name="c.txt")).to_contain_text("50 bytes")


def test_what_is_dropped_on_a_folder_or_a_namespace_goes_there(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    files = [made(tmp_path / name, 20) for name in "abcde"]
    (site.data / "files" / namespace / "2024" / "june").mkdir(parents=True)
    site.store(namespace, {"note": b"a file"})
    other = site.token("bob")
    url = f"{site.url}/storage/namespaces"
    name = f"{namespace}-of-bob"
    made_by_bob = page.request.post(url, data={"name": name}, headers=authorization(other))
    assert made_by_bob.status == 201
    sign_in(page, at=f"/ns/{namespace}")
    row = page.locator(".row", has_text="2024")
    drag(page, files[0], on=row)
    words = page.locator(".drop")
    expect(words).to_have_text(re.compile(f"Drop to upload to {namespace} / 2024$"))
    expect(page.locator("[data-over]")).to_have_text(re.compile("2024"))
    drag(page, files[0], on=page.locator(".row", has_text="note"))
    expect(words).to_have_text(re.compile(f"Drop to upload to {namespace}$"))
    expect(page.locator("[data-over]")).to_have_count(0)
    bobs = page.get_by_role("link", name=name)
    drag(page, files[0], on=bobs)
    expect(words).to_have_text(re.compile("You may not upload here"))
    expect(page.locator("[data-over]")).to_have_count(0)
    drop(page, files[0], on=row)
    expect(words).to_have_count(0)
    expect(page.locator("[data-over]")).to_have_count(0)
    expect(upload_of(page, "a")).to_have_class(re.compile("done"))
    row.get_by_role("link").click()
    row = page.locator(".row", has_text="june")
    drop(page, files[1], on=row)
    drop(page, files[2], on=page.get_by_label("Folders above").get_by_role("link"))
    drop(page, files[3], on=page.get_by_role("link", name=re.compile("^default")))
    drop(page, files[4])
    expect(tray(page).get_by_role("heading")).to_have_text("5 files in 4 folders uploaded")
    wanted = {"note": b"a file", "2024/a": files[0].read_bytes()}
    wanted |= {"2024/june/b": files[1].read_bytes(), "c": files[2].read_bytes()}
    assert stored(site, namespace) == wanted | {"2024/e": files[4].read_bytes()}
    assert stored(site, "default")["d"] == files[3].read_bytes()
    (site.data / "files" / "default" / "d").unlink()


def test_a_folder_that_is_there_already_is_asked_about_as_a_whole(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    root = tmp_path / "docs"
    root.mkdir()
    for n in range(40):
        made(root / f"{n:02}.txt", 1200)
    directory = site.data / "files" / namespace / "docs"
    directory.mkdir(parents=True)
    for n in range(30):
        (directory / f"{n:02}.txt").write_bytes(b"old")
        os.utime(directory / f"{n:02}.txt", (1_762_128_000, 1_762_128_000))
    sign_in(page, at=f"/ns/{namespace}")
    sent = Sent(page)
    drop(page, root)
    dialog = page.get_by_role("dialog", name="That name is taken")
    versions = dialog.locator("table").get_by_role("row")
    there, yours = r"There\s*3 bytes\s*changed Nov 3, 2025", r"Yours\s*1\.2 kB\s*changed just now"
    expect(versions).to_have_text([re.compile(there), re.compile(yours)])
    dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="Skip").click()
    expect(tray(page).get_by_role("heading")).to_have_text("10 files uploaded")
    assert sent.count("POST") <= 13
    kept = {f"docs/{n:02}.txt": b"old" for n in range(30)}
    new = {f"docs/{n:02}.txt": (root / f"{n:02}.txt").read_bytes() for n in range(30, 40)}
    assert stored(site, namespace) == kept | new
    drop(page, root)
    dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="Keep both").click()
    expect(tray(page).get_by_role("heading")).to_have_text("50 files uploaded")
    copies = {f"docs/{n:02} (2).txt": (root / f"{n:02}.txt").read_bytes() for n in range(40)}
    assert stored(site, namespace) == kept | new | copies


def test_a_file_and_a_folder_of_one_name_are_both_kept(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    root = holiday(tmp_path)
    note = made(tmp_path / "note", 100)
    site.store(namespace, {"holiday": b"a file"})
    (site.data / "files" / namespace / "note").mkdir()
    sign_in(page, at=f"/ns/{namespace}")
    drop(page, root, note)
    dialog = page.get_by_role("dialog", name="That name is taken")
    expect(dialog).to_contain_text("holiday exists")
    expect(dialog).to_contain_text("is a file")
    expect(dialog.get_by_role("button", name="Replace")).to_have_count(0)
    dialog.get_by_role("button", name="Keep both").click()
    expect(dialog).to_contain_text("note exists")
    expect(dialog).to_contain_text("is a folder")
    expect(dialog.get_by_role("button", name="Replace")).to_have_count(0)
    dialog.get_by_role("button", name="Keep both").click()
    expect(tray(page).get_by_role("heading")).to_have_text("6 files in 9 folders uploaded")
    wanted = {f"holiday (2)/{name}": body for name, body in tree_of(root).items()}
    wanted |= {"holiday": b"a file", "note/": None, "note (2)": note.read_bytes()}
    assert stored(site, namespace) == wanted


def test_a_folder_name_that_the_service_does_not_take_is_mended_once_for_all_in_it(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    root = tmp_path / " odd"
    root.mkdir()
    for n in range(4):
        made(root / f"{n}.txt", 10)
    sign_in(page, at=f"/ns/{namespace}")
    drop(page, root)
    expect(tray(page).get_by_role("heading")).to_have_text("4 files not uploaded")
    upload_of(page, "2.txt").get_by_role("button", name="Rename").click()
    dialog = page.get_by_role("dialog", name="Upload under another name")
    expect(dialog.get_by_label("Folders and name")).to_have_value("odd/2.txt")
    dialog.get_by_role("button", name="Upload").click()
    expect(tray(page).get_by_role("heading")).to_have_text("4 files uploaded")
    assert stored(site, namespace) == {f"odd/{name}": body for name, body in tree_of(root).items()}


def test_a_folder_that_is_dropped_again_after_a_reload_goes_on(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    root = tmp_path / "films"
    (root / "new").mkdir(parents=True)
    film = made(root / "new" / "film.bin", 30 * MEGABYTE)
    sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 6)
    drop(page, root)
    bar = upload_of(page, "film.bin").get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"[3-9]\d"))
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    waiting = tray(page).locator("li.unfinished")
    expect(waiting).to_contain_text(f"again in {namespace} / films / new to go on")
    sent = Sent(page)
    drop(page, root)
    expect(upload_of(page, "film.bin")).to_have_class(re.compile("done"), timeout=60_000)
    assert stored(site, namespace) == {"films/new/film.bin": film.read_bytes()}
    assert sent.offsets[0] >= 8 * MEGABYTE
