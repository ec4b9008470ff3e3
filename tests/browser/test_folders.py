"""Folders in the page: what a person does to them and to what is in them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from playwright.sync_api import Download, Locator, Page, Route, expect

from tests.browser.conftest import SignIn, Site, Window
from tests.support.credentials import bearer

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


def two_more(site: Site, page: Page, namespace: str) -> tuple[str, str]:
    """Another namespace of alice, and one of bob."""
    names = f"{namespace}-2", f"{namespace}-of-bob"
    for name, user in zip(names, ("alice", "bob"), strict=True):
        url = f"{site.url}/storage/namespaces"
        assert page.request.post(url, data={"name": name}, headers=bearer(user)).status == 201
    return names


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
    field = dialog.get_by_label("Name")
    expect(field).to_be_focused()
    field.fill("old")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("There is a folder “old” here.")
    field.fill("000.txt")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("There is a file “000.txt” here.")
    field.fill("a/b")
    page.keyboard.press("Enter")
    assert field.evaluate("field => field.validity.patternMismatch")
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
    start(page, sign_in, namespace, 0, "/a/b/?find=x")
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
    expect(field).to_be_focused()
    page.keyboard.type("nobody sees this")
    page.keyboard.press("Escape")
    expect(row(page, "b.tar.gz")).to_be_focused()

    menu(page, "a.txt", "Rename")
    field = page.get_by_role("textbox", name="New name of a.txt")
    for text, said in (
        ("c.txt", "There is a file “c.txt” here."),
        ("folder.d", "There is a folder “folder.d” here."),
        ("x/y", "A name cannot have a slash in it."),
        ("x\\y", "That name cannot be used"),
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
    expect(page.get_by_role("alert")).to_contain_text("There is a file “c.txt” here.")
    page.get_by_role("textbox", name="New name of b2.txt").focus()
    page.get_by_role("searchbox").focus()
    expect(row(page, "b2.txt")).to_be_visible()

    menu(page, "folder.d", "Rename")
    expect(page.get_by_role("textbox", name="New name of folder.d")).to_be_focused()
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


def test_more_names_than_an_address_holds_offer_the_whole_folder(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    put(site, namespace, *(f"{'ü' * 100}{i:02}.txt" for i in range(60)), "other.txt")
    sign_in(page, at=f"/ns/{namespace}")
    page.get_by_role("checkbox", name="Select all").click()
    selection = choose(page, "other.txt")
    expect(selection).to_contain_text("60 files")
    selection.get_by_role("button", name="Download").click()
    notice = page.locator(".notice")
    expect(notice).to_contain_text("The names of 60 entries are too long for one request.")
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
        "This cannot be downloaded: There are more than 100,000 files and folders"
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
    expect(dialog.get_by_role("status")).to_have_text("There are 10,000 files or more in it.")
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


def dialog_of(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Move")


def test_a_selection_is_moved_by_keyboard_and_comes_back(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    root = put(site, namespace, "a.txt", "b.txt", "c.txt", "d/e/f.txt", "g/")
    before = tree(root)
    start(page, sign_in, namespace, 5)
    choose(page, "a.txt", "b.txt", "d")
    page.get_by_role("region", name="Selection").get_by_role("button", name="Move").click()
    dialog = page.get_by_role("dialog", name="Move 1 folder and 2 files to")
    places = dialog.get_by_role("listitem")
    expect(places).to_have_text(["All namespaces", "g"])  # d is not moved into itself
    expect(dialog.get_by_role("button", name=f"Move to {namespace}")).to_be_disabled()
    expect(places.get_by_role("button", name="g")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(places).to_have_text([f"Up to {namespace}"])
    expect(places.get_by_role("button", name="Up to")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(places.get_by_role("button", name="g")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text(f"{namespace} / g")
    dialog.get_by_role("button", name="New folder").click()
    expect(page.get_by_label("Name of the new folder")).to_be_focused()
    page.keyboard.type("h i")
    page.keyboard.press("Enter")
    expect(dialog_of(page)).to_contain_text(f"{namespace} / g / h i")
    page.get_by_role("button", name="Move to h i").press("Enter")
    expect(page.locator(".row")).to_have_count(2)
    expect(row(page, "g")).to_be_focused()
    assert tree(root / "g" / "h i") == ["a.txt", "b.txt", "d", "d/e", "d/e/f.txt"]
    notice = page.locator(".notice", has_text="Moved 1 folder and 2 files to h i.")
    notice.get_by_role("button", name="Undo").click()
    expect(page.locator(".row")).to_have_count(5)
    expect(
        page.locator(".notice", has_text="1 folder and 2 files have been moved back.")
    ).to_be_visible()
    assert [path for path in tree(root) if path != "g/h i"] == before
    expect(page.locator(".row:focus")).to_have_count(1)


def test_a_file_is_moved_to_another_namespace(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    other, foreign = two_more(site, page, namespace)
    put(site, namespace, "x/a.txt")
    start(page, sign_in, namespace, 1, "/x/")
    menu(page, "a.txt", "Move")
    dialog = dialog_of(page)
    dialog.get_by_role("button", name=f"Up to {namespace}").click()
    dialog.get_by_role("button", name="All namespaces").click()
    expect(dialog.get_by_role("button", name=other, exact=True)).to_be_visible()
    expect(dialog.get_by_role("button", name=foreign)).to_have_count(0)
    expect(dialog.get_by_role("button", name="Move to …")).to_be_disabled()
    expect(dialog.get_by_role("button", name="New folder")).to_have_count(0)
    dialog.get_by_role("button", name=other, exact=True).click()
    dialog.get_by_role("button", name=f"Move to {other}").click()
    expect(page.locator(".row")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert (site.data / "files" / other / "a.txt").read_text() == "x/a.txt"


def test_where_a_name_is_taken_the_person_says_what_to_do(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()
    names = [f"{name}.txt" for name in "abcd"]
    root = put(
        site, namespace, *names, "new.txt", *(f"to/{name}" for name in names), "s/", "to/s/x"
    )
    start(page, sign_in, namespace, 7)

    def move(*chosen: str) -> Locator:
        choose(page, *chosen).get_by_role("button", name="Move").click()
        dialog_of(page).get_by_role("button", name="to", exact=True).click()
        page.get_by_role("button", name="Move to to").click()
        return page.get_by_role("dialog", name="That name is taken")

    clash = move("a.txt", "new.txt")
    expect(clash).to_contain_text(f"a.txt exists in {namespace} / to already.")
    clash.get_by_role("button", name="Skip").click()
    expect(row(page, "new.txt")).to_have_count(0)
    expect(row(page, "a.txt")).to_be_visible()
    assert (root / "to" / "a.txt").read_text() == "to/a.txt"
    page.keyboard.press("Escape")

    clash = move("a.txt")
    clash.get_by_role("button", name="Replace").click()
    expect(page.locator(".notice", has_text="1 replaced what was there")).to_be_visible()
    assert (root / "to" / "a.txt").read_text() == "a.txt"

    clash = move("s")
    expect(clash.get_by_role("button", name="Replace")).to_have_count(0)
    clash.get_by_role("button", name="Keep both").click()
    expect(row(page, "s")).to_have_count(0)
    assert (root / "to" / "s (2)").is_dir()
    assert (root / "to" / "s" / "x").exists()

    clash = move("b.txt", "c.txt", "d.txt")
    clash.get_by_label("Do the same for the others").check()
    clash.get_by_role("button", name="Keep both").click()
    expect(page.locator(".row")).to_have_count(1)
    for name in "bcd":
        assert (root / "to" / f"{name} (2).txt").read_text() == f"{name}.txt"
        assert (root / "to" / f"{name}.txt").read_text() == f"to/{name}.txt"


def test_what_the_service_says_against_a_move_is_shown(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()
    put(site, namespace, "a/b", "to/")
    start(page, sign_in, namespace, 2)
    detail = "The folder has more in it than can be moved in one step (20000)."
    page.route(
        "**/storage/**",
        lambda route: (
            route.fulfill(status=409, json={"detail": detail})
            if route.request.method == "MOVE"
            else route.fallback()
        ),
    )
    menu(page, "a", "Move")
    dialog_of(page).get_by_role("button", name="to", exact=True).click()
    page.get_by_role("button", name="Move to to").click()
    expect(page.locator(".notice.error")).to_have_text(f"1 could not be moved: {detail}")
    expect(row(page, "a")).to_be_visible()


def test_a_long_move_is_stopped_by_escape(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    root = put(site, namespace, *(f"{i:02}.txt" for i in range(12)), "to/")
    start(page, sign_in, namespace, 13)
    held: list[Route] = []
    page.route(
        "**/storage/**",
        lambda route: held.append(route) if route.request.method == "MOVE" else route.fallback(),
    )
    choose(page, *(f"{i:02}.txt" for i in range(12))).get_by_role("button", name="Move").click()
    dialog_of(page).get_by_role("button", name="to", exact=True).click()
    page.get_by_role("button", name="Move to to").click()
    notice = page.locator(".notice", has_text="0 of 12 moved")
    expect(notice.get_by_role("button", name="Stop")).to_be_visible()
    page.keyboard.press("Escape")
    assert len(held) == 4
    for route in held:
        route.continue_()
    expect(page.locator(".notice", has_text="Moved 4 files to to.")).to_be_visible()
    assert len(tree(root / "to")) == 4
    expect(page.locator(".row")).to_have_count(9)


def test_rows_are_dragged_onto_a_folder_a_breadcrumb_and_a_namespace(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    other, foreign = two_more(site, page, namespace)
    root = put(site, namespace, "x/a.txt", "x/b.txt", "x/c.txt", "x/d.txt", "x/to/")
    start(page, sign_in, namespace, 5, "/x/")
    choose(page, "a.txt", "b.txt")
    row(page, "a.txt").drag_to(row(page, "to"))
    expect(page.locator(".row")).to_have_count(3)
    assert tree(root / "x" / "to") == ["a.txt", "b.txt"]

    def drag(name: str, target: Locator) -> None:
        """Hold it there."""
        row(page, name).locator(".c-modified_at").hover()
        page.mouse.down()
        for x in (5, 9):
            target.hover(position={"x": x, "y": 9})

    drag("c.txt", row(page, "to"))
    expect(row(page, "to")).to_have_attribute("data-over", "")
    page.keyboard.press("Escape")
    page.mouse.up()
    expect(page.locator("[data-over]")).to_have_count(0)
    expect(row(page, "c.txt")).to_be_visible()
    for target in (
        row(page, "d.txt"),
        page.get_by_role("link", name=foreign),
        page.get_by_role("heading", level=1),
    ):
        drag("c.txt", target)
        expect(page.locator("[data-over]")).to_have_count(0)
        page.mouse.up()
    drag("to", row(page, "to"))
    expect(page.locator("[data-over]")).to_have_count(0)
    page.mouse.up()
    expect(page.locator(".row")).to_have_count(3)
    assert "/".join(tree(root / "x")) == "c.txt/d.txt/to/to/a.txt/to/b.txt"

    above = page.get_by_role("navigation", name="Folders above").get_by_role("link")
    row(page, "c.txt").drag_to(above)
    expect(page.locator(".row")).to_have_count(2)
    assert (root / "c.txt").exists()
    page.locator(".name", has_text="d.txt").drag_to(page.get_by_role("link", name=other))
    expect(page.locator(".row")).to_have_count(1)
    assert (site.data / "files" / other / "d.txt").exists()
    expect(page).to_have_url(f"{site.url}/ns/{namespace}/x/")


def test_a_path_is_copied_with_and_without_a_clipboard(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    put(site, namespace, "x/a b.txt")
    start(page, sign_in, namespace, 1, "/x/")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    menu(page, "a b.txt", "Copy path")
    expect(page.locator(".notice", has_text="The path has been copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{namespace}/x/a b.txt"
    page.evaluate("navigator.clipboard.writeText('')")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    menu(page, "a b.txt", "Copy path")
    expect(page.locator(".notice", has_text="The path has been copied.")).to_have_count(2)
    copied = page.context.new_page()
    copied.goto(site.url)
    assert copied.evaluate("navigator.clipboard.readText()") == f"{namespace}/x/a b.txt"


def test_a_reader_of_a_namespace_is_offered_nothing_that_changes_it(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    put(site, namespace, "a.txt", "b.txt")
    sign_in(page, "bob", at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(2)
    selection = choose(page, "a.txt")
    for name in ("Move", "Delete"):
        expect(selection.get_by_role("button", name=name)).to_have_count(0)
    expect(page.get_by_role("button", name="New folder")).to_have_count(0)
    page.get_by_role("button", name="Actions on a.txt").click()
    for name in ("Rename", "Move", "Delete"):
        expect(page.get_by_role("menuitem", name=name)).to_have_count(0)
    expect(row(page, "a.txt")).to_have_attribute("draggable", "false")
