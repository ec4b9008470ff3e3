"""Folders in the page: what a person does to them and to what is in them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from playwright.sync_api import Download, Locator, Page, Route, expect

from tests.browser.conftest import SignIn, Site, Window

MARKED = "rtl\u202egpj.exe"


def put(site: Site, namespace: str, *paths: str) -> Path:
    """Store files, which say their own paths; a path that ends with a slash is a folder."""
    root = site.data / "files" / namespace
    for path in paths:
        if path.endswith("/"):
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(path)
    return root


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def row(page: Page, name: str) -> Locator:
    return page.locator(".row").filter(has=page.get_by_title(name, exact=True))


def choose(page: Page, *names: str) -> Locator:
    """Select these, and return the region with what can be done with them."""
    for name in names:
        page.get_by_role("checkbox", name=f"Select {name}", exact=True).click()
    return page.get_by_role("region", name="Selection")


def menu(page: Page, name: str, item: str) -> None:
    page.get_by_role("button", name=f"Actions on {name}", exact=True).click()
    page.get_by_role("menuitem", name=item).click()


def start(page: Page, sign_in: SignIn, namespace: str, rows: int, folder: str = "") -> None:
    sign_in(page, at=f"/ns/{namespace}{folder}")
    expect(page.locator(".row")).to_have_count(rows)


def zipped(download: Download) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(download.path().read_bytes())) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_new_folder_has_the_focus(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()  # a refusal shows on the console
    root = put(site, namespace, *(f"{i:03}.txt" for i in range(60)), "old/")
    sign_in(page, at=f"/ns/{namespace}")
    expect(row(page, "old")).to_be_visible()
    page.evaluate("scrollTo(0, 1e6)")
    page.get_by_role("button", name="New folder").click()
    dialog = page.get_by_role("dialog", name="New folder")
    field = dialog.get_by_label("Name of the new folder")
    expect(field).to_be_focused()
    field.fill("old")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("There is a folder “old” here already.")
    field.fill("000.txt")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("There is a file “000.txt” here already.")
    field.fill("a/b")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("cannot have a slash")
    field.fill("a\\b")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("That name cannot be used")
    field.fill("größe 🐦")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(row(page, "größe 🐦")).to_be_focused()
    expect(row(page, "größe 🐦")).to_be_in_viewport()
    assert (root / "größe 🐦").is_dir()


def test_a_folder_is_made_where_there_was_nothing(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    root = put(site, namespace, "a/b/")
    start(page, sign_in, namespace, 0, "/a/b/")
    page.get_by_role("button", name="New folder").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"In {namespace} / a / b")
    page.keyboard.type("c")
    page.keyboard.press("Enter")
    expect(row(page, "c")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/ns/{namespace}/a/b/c/")
    assert tree(root) == ["a", "a/b", "a/b/c"]


def test_a_file_is_renamed_in_its_row(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()
    root = put(site, namespace, "a.txt", "b.tar.gz", "c.txt", "folder.d/x", MARKED)
    start(page, sign_in, namespace, 5)
    row(page, "b.tar.gz").focus()
    page.keyboard.press("F2")
    field = page.get_by_role("textbox", name="New name of b.tar.gz")
    expect(field).to_be_focused()
    assert page.evaluate("getSelection().toString()") == "b"
    page.keyboard.type("z z")
    page.keyboard.press("Enter")
    expect(row(page, "z z.tar.gz")).to_be_focused()
    assert (root / "z z.tar.gz").read_text() == "b.tar.gz"
    assert not (root / "b.tar.gz").exists()
    notice = page.locator(".notice", has_text="b.tar.gz is z z.tar.gz now.")
    notice.get_by_role("button", name="Undo").click()
    expect(row(page, "b.tar.gz")).to_be_focused()
    expect(row(page, "z z.tar.gz")).to_have_count(0)
    assert (root / "b.tar.gz").read_text() == "b.tar.gz"

    page.keyboard.press("F2")
    page.keyboard.type("nobody sees this")
    page.keyboard.press("Escape")
    expect(row(page, "b.tar.gz")).to_be_focused()

    menu(page, "a.txt", "Rename")
    field = page.get_by_role("textbox", name="New name of a.txt")
    for text, said in (
        ("c.txt", "There is another “c.txt” here."),
        ("folder.d", "There is another “folder.d” here."),
        ("x/y", "A name cannot have a slash in it."),
        ("x\\y", "That name cannot be used"),
        ("", "Type a name."),
    ):
        field.fill(text)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text(said)
        expect(field).to_be_focused()
    field.fill("b2.txt")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("searchbox").focus()
    expect(row(page, "b2.txt")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_focused()
    assert (root / "b2.txt").read_text() == "a.txt"

    menu(page, "b2.txt", "Rename")
    page.get_by_role("textbox", name="New name of b2.txt").fill("c.txt")
    page.get_by_role("searchbox").focus()
    expect(page.get_by_role("alert")).to_contain_text("There is another “c.txt” here.")
    page.get_by_role("textbox", name="New name of b2.txt").focus()
    page.get_by_role("searchbox").focus()
    expect(row(page, "b2.txt")).to_be_visible()

    menu(page, "folder.d", "Rename")
    assert page.evaluate("getSelection().toString()") == "folder.d"
    page.keyboard.type("e")
    page.keyboard.press("Enter")
    expect(row(page, "e")).to_be_focused()
    assert (root / "e" / "x").read_text() == "folder.d/x"

    shown = MARKED.replace("\u202e", "[U+202E]")
    menu(page, shown, "Rename")
    field = page.get_by_role("textbox", name=f"New name of {shown}")
    expect(field).to_have_value(shown)
    field.press("Home")
    page.keyboard.type("1 ")
    page.keyboard.press("Enter")
    expect(row(page, f"1 {shown}")).to_be_focused()
    assert (root / f"1 {MARKED}").exists()
    page.keyboard.press("F2")
    page.get_by_role("textbox", name="New name of").fill("1 rtlgpj.exe")
    page.keyboard.press("Enter")
    expect(row(page, "1 rtlgpj.exe")).to_be_focused()
    assert (root / "1 rtlgpj.exe").exists()


def test_a_file_gets_a_name_that_is_not_loaded_yet(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    put(site, namespace, *(f"{i:04}.txt" for i in range(1200)))
    sign_in(page, at=f"/ns/{namespace}")
    row(page, "0001.txt").focus()
    page.keyboard.press("F2")
    page.get_by_role("textbox", name="New name of 0001.txt").fill("1100 and a half.txt")
    page.keyboard.press("Enter")
    expect(row(page, "1100 and a half.txt")).to_be_focused()
    expect(row(page, "1100 and a half.txt")).to_be_in_viewport()
    expect(row(page, "1100.txt")).to_be_visible()


def test_a_selection_is_one_zip_file(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    put(site, namespace, "x/a & b.txt", "x/c/d.txt", "x/c/e/", "x/f.txt", "g.txt")
    start(page, sign_in, namespace, 3, "/x/")
    with page.expect_download() as saved:
        choose(page, "a & b.txt", "c").get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == "x.zip"
    assert {name for name in zipped(saved.value) if not name.endswith("/")} == {
        "a & b.txt",
        "c/d.txt",
    }
    page.get_by_role("button", name="Select none").click()
    with page.expect_download() as saved:
        choose(page, "f.txt").get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == "f.txt"
    page.get_by_role("button", name="Select none").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download c", exact=True).click()
    assert saved.value.suggested_filename == "c.zip"


def test_a_visitor_gets_a_zip_file_and_is_offered_nothing_else(
    site: Site, page: Page, sign_in: SignIn
) -> None:
    put(site, "default", "for visitors/a.txt", "for visitors/b.txt", "for visitors/c/d.txt")
    page.goto(f"{site.url}/ns/default/for%20visitors/")
    expect(page.locator(".row")).to_have_count(3)
    selection = choose(page, "a.txt", "c")
    with page.expect_download() as saved:
        selection.get_by_role("button", name="Download").click()
    assert [name for name in zipped(saved.value) if "." in name] == ["a.txt", "c/d.txt"]
    for name in ("Move", "Delete"):
        expect(selection.get_by_role("button", name=name)).to_have_count(0)
    expect(page.get_by_role("button", name="New folder")).to_have_count(0)
    page.get_by_role("button", name="Actions on a.txt").click()
    expect(page.get_by_role("menuitem")).to_have_text(
        ["View", "Download", "Copy link…", "Copy path"]
    )
    page.keyboard.press("Escape")
    row(page, "a.txt").focus()
    page.keyboard.press("F2")
    page.keyboard.press("Delete")
    expect(page.get_by_role("textbox", name="New name")).to_have_count(0)
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(row(page, "a.txt")).to_have_attribute("draggable", "false")


def test_more_names_than_an_address_holds_come_as_several_zip_files(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    names = [f"{'ü' * 100}{i:02}.txt" for i in range(12)]
    put(site, namespace, *names, "other.txt")
    start(page, sign_in, namespace, 13)
    saved: list[Download] = []
    page.on("download", lambda one: saved.append(one))
    choose(page, *names).get_by_role("button", name="Download").click()
    expect(page.locator(".notice")).to_have_text("They come as 2 ZIP files.")
    expect(page.locator("iframe")).to_have_count(2)
    for _ in range(100):
        if len(saved) == 2:
            break
        page.wait_for_timeout(100)
    found = [name for one in saved for name in zipped(one) if not name.endswith("/")]
    assert sorted(found) == names


def test_far_more_names_offer_the_whole_folder(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    put(site, namespace, *(f"{'ü' * 100}{i:02}.txt" for i in range(60)), "other.txt")
    sign_in(page, at=f"/ns/{namespace}")
    page.get_by_role("checkbox", name="Select all").click()
    selection = choose(page, "other.txt")
    expect(selection).to_contain_text("60 files")
    selection.get_by_role("button", name="Download").click()
    notice = page.locator(".notice")
    expect(notice).to_contain_text("60 names are too many for one request.")
    with page.expect_download() as saved:
        notice.get_by_role("button", name="Download the whole folder").click()
    assert len([name for name in zipped(saved.value) if not name.endswith("/")]) == 61


def test_a_zip_file_that_is_refused_is_said(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()
    put(site, namespace, "a.txt", "b.txt")
    start(page, sign_in, namespace, 2)
    page.route("**/*archive=zip*", lambda route: route.fulfill(status=413))
    choose(page, "a.txt", "b.txt").get_by_role("button", name="Download").click()
    expect(page.locator(".notice")).to_contain_text(
        "This cannot be downloaded as a ZIP file: There are more than 100,000 files and folders"
    )
    assert page.locator("iframe").count() == 0


def test_what_is_found_in_several_folders_comes_one_by_one(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    put(site, namespace, "a/found 1.txt", "b/found 2.txt", *(f"{i}/many.txt" for i in range(21)))
    sign_in(page, at=f"/ns/{namespace}?find=found")
    expect(page.locator(".row")).to_have_count(2)
    saved: list[Download] = []
    page.on("download", lambda one: saved.append(one))
    page.get_by_role("checkbox", name="Select all").click()
    page.get_by_role("region", name="Selection").get_by_role("button", name="Download").click()
    for _ in range(100):
        if len(saved) == 2:
            break
        page.wait_for_timeout(100)
    assert sorted(one.suggested_filename for one in saved) == ["found 1.txt", "found 2.txt"]
    page.goto(f"{site.url}/ns/{namespace}?find=many")
    expect(page.locator(".row")).to_have_count(21)
    page.get_by_role("checkbox", name="Select all").click()
    page.get_by_role("region", name="Selection").get_by_role("button", name="Download").click()
    expect(page.locator(".notice.error")).to_have_text(
        "21 entries of several folders cannot be downloaded together. "
        "Open their folder, and download it there."
    )


def test_delete_says_how_much_there_is(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    root = put(
        site, namespace, "a/1.txt", "a/b/2.txt", "a/b/3.txt", "e/", "l.txt", "m.txt", "n.txt"
    )
    start(page, sign_in, namespace, 5)
    page.get_by_role("button", name="Actions on a", exact=True).click()
    page.get_by_role("menuitem", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete this folder?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    expect(dialog.get_by_role("status")).to_have_text("3 files in it, in 2 folders, 25 bytes.")
    page.keyboard.press("Escape")
    menu(page, "e", "Delete")
    expect(page.get_by_role("dialog").get_by_role("status")).to_have_text(
        "There are no files in it."
    )
    page.keyboard.press("Escape")
    choose(page, "a", "e", "m.txt").get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete 2 folders and 1 file?")
    expect(dialog.get_by_role("status")).to_contain_text("3 files in them, in 2 folders")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator(".row")).to_have_count(2)
    expect(row(page, "l.txt")).to_be_focused()
    assert tree(root) == ["l.txt", "n.txt"]
    page.keyboard.press("End")
    page.keyboard.press("Delete")
    page.get_by_role("dialog", name="Delete this file?").get_by_role(
        "button", name="Delete"
    ).click()
    expect(row(page, "l.txt")).to_be_focused()
    page.keyboard.press("Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".row")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert tree(root) == []


def test_a_large_folder_can_be_deleted_before_it_is_counted(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    root = put(site, namespace, *(f"a/{i:05}" for i in range(10_001)))
    start(page, sign_in, namespace, 1)
    menu(page, "a", "Delete")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("status")).to_have_text("There are more than 10,000 files in it.")
    page.keyboard.press("Escape")
    held: list[Route] = []
    page.route("**/storage/files?*prefix=a%2F*", lambda route: held.append(route))
    menu(page, "a", "Delete")
    expect(dialog.get_by_role("status")).to_have_text("Counting what is in it…")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator(".row")).to_have_count(0)
    assert tree(root) == []
    for route in held:
        route.abort()
