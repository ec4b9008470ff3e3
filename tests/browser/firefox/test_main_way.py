"""The main way through the page in Firefox, from signing in to files that are where they belong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn, Site
from tests.browser.uploading import pick
from tests.support.credentials import bearer

TEXTS = {"one.txt": "The first.", "two.csv": "a,b\n1,2\n"}


def named(page: Page, *names: str) -> None:
    """Wait until these rows are shown, in this order."""
    expect(page.locator(".row .name")).to_have_text(names)


def choose(page: Page, name: str, item: str) -> None:
    """Choose something in the menu of a row."""
    page.get_by_role("button", name=f"Actions on {name}").click()
    page.get_by_role("menuitem", name=item).click()


def saved(page: Page, act: Callable[[], None]) -> bytes:
    """What the browser saves when ``act`` is done."""
    with page.expect_download() as started:
        act()
    return Path(started.value.path()).read_bytes()


def test_the_main_way_can_be_gone_in_firefox(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    place = f"{site.url}/storage/{namespace}/reports/"
    assert page.request.fetch(place, method="MKCOL", headers=bearer()).status == 201
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    sign_in(page)
    page.get_by_role("navigation").get_by_role("link", name=namespace).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(namespace)
    named(page, "reports")
    page.get_by_role("link", name="reports").click()
    expect(page).to_have_url(f"{site.url}/ns/{namespace}/reports/")
    expect(page.get_by_role("heading", level=1)).to_have_text("reports")

    pick(page, *(tmp_path / name for name in TEXTS))
    expect(page.locator("li.upload.done")).to_have_count(len(TEXTS))
    named(page, *TEXTS)
    page.get_by_role("link", name="one.txt").click()
    expect(page).to_have_url(f"{site.url}/ns/{namespace}/reports/one.txt")
    viewer = page.get_by_role("dialog", name="one.txt")
    expect(viewer).to_contain_text("The first.")
    page.go_back()
    expect(viewer).to_have_count(0)

    download = page.get_by_role("button", name="Download two.csv")
    assert saved(page, download.click) == TEXTS["two.csv"].encode()
    page.go_back()
    expect(page).to_have_url(f"{site.url}/ns/{namespace}")
    archive = saved(page, lambda: choose(page, "reports", "Download as ZIP"))
    assert zipfile.ZipFile(io.BytesIO(archive)).namelist() == list(TEXTS)

    page.get_by_role("searchbox", name="Find").fill("wo.c")
    named(page, "two.csv")
    choose(page, "two.csv", "Open its folder")
    named(page, *TEXTS)
    choose(page, "one.txt", "Rename")
    page.keyboard.type("first")
    page.keyboard.press("Enter")
    named(page, "first.txt", "two.csv")
    choose(page, "two.csv", "Move")
    dialog = page.get_by_role("dialog", name="Move two.csv")
    dialog.get_by_role("button", name=f"Up to {namespace}").click()
    dialog.get_by_role("button", name="New folder").click()
    page.keyboard.type("tables")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Move to tables").click()
    named(page, "first.txt")
    page.get_by_role("navigation", name="Folders above").get_by_role("link", name=namespace).click()
    named(page, "reports", "tables")
    assert {
        str(path.relative_to(site.data / "files" / namespace)): path.read_text()
        for path in (site.data / "files" / namespace).glob("*/*")
    } == {"reports/first.txt": TEXTS["one.txt"], "tables/two.csv": TEXTS["two.csv"]}

    other = f"{site.url}/storage/{namespace}/other.txt"
    assert page.request.put(other, data="Somebody else's.", headers=bearer()).status == 201
    named(page, "reports", "tables", "other.txt")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in").first).to_be_visible()


def test_a_row_can_be_dragged_onto_a_folder_in_firefox(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    """Where there is no screen, Firefox drags, but never lets go: the drop is an event of the
    test's."""
    site.store(namespace, {"a.txt": b"a", "folder/b.txt": b"b"})
    sign_in(page, at=f"/ns/{namespace}")
    named(page, "folder", "a.txt")
    folder = page.locator(".row", has_text="folder")
    page.locator(".row", has_text="a.txt").hover()
    page.mouse.down()
    folder.hover()  # the drag starts
    folder.hover(position={"x": 200, "y": 20})
    expect(folder).to_have_attribute("data-over", "")
    folder.dispatch_event("drop")
    named(page, "folder")
    assert (site.data / "files" / namespace / "folder" / "a.txt").read_bytes() == b"a"
