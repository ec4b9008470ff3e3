"""Whole jobs without a mouse: the focus is never lost."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn, Site

LOST = "document.activeElement === document.body"


def test_a_job_from_one_end_to_the_other(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    """Into a folder, rename, find, move, delete, and back."""
    top = site.data / "files" / namespace
    for path in ("archive/x.txt", "docs/a.txt", "docs/report-1.txt", "docs/report-2.txt"):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(b"x")
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(2)
    press = page.keyboard.press

    def focused(name: str) -> None:
        expect(page.get_by_role("row", name=name)).to_be_focused()

    press("Tab")
    press("Enter")  # skips to the files
    focused("archive")
    press("ArrowDown")
    press("Enter")
    focused("a.txt")
    expect(page.get_by_role("heading", level=1, name="docs")).to_be_visible()
    press("F2")
    expect(page.get_by_label("New name of a.txt")).to_be_focused()
    page.keyboard.type("first")
    press("Enter")
    focused("first.txt")

    page.get_by_role("searchbox").focus()
    page.keyboard.type("report")
    expect(page.locator(".row")).to_have_count(2)
    press("ArrowDown")
    focused("report-1.txt")
    page.get_by_role("button", name="Actions on report-1.txt").focus()
    press("Enter")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    for _ in range(9):
        if page.get_by_role("menuitem", name="Move").evaluate("e => e === document.activeElement"):
            break
        press("ArrowDown")
    press("Enter")
    dialog = page.get_by_role("dialog", name="Move report-1.txt to")
    expect(dialog.get_by_role("button", name=f"Up to {namespace}")).to_be_focused()
    press("Enter")
    expect(dialog.get_by_role("button", name="archive", exact=True)).to_be_focused()
    press("Enter")
    expect(dialog.get_by_role("button", name="Move to archive")).to_be_enabled()
    expect(dialog.get_by_role("button", name=f"Up to {namespace}")).to_be_focused()
    dialog.get_by_role("button", name="Move to archive").focus()
    press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator(".row")).to_have_count(1)
    focused("report-2.txt")
    assert (top / "archive/report-1.txt").exists()

    press("Delete")
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    press("Enter")  # by accident
    expect(page.get_by_role("dialog")).to_have_count(0)
    focused("report-2.txt")
    assert (top / "docs/report-2.txt").exists()
    press("Delete")
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    press("Tab")
    press("Enter")
    expect(page.locator(".row")).to_have_count(0)
    assert not page.evaluate(LOST)
    assert not (top / "docs/report-2.txt").exists()


def test_the_focus_goes_where_one_came_from(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    for path in ("alpha/beta/c.txt", "zeta/y.txt"):
        file = site.data / "files" / namespace / path
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x")
    sign_in(page, at=f"/ns/{namespace}/zeta/")
    page.get_by_role("navigation", name="Folders above").get_by_role("link").press("Enter")
    expect(page.get_by_role("row", name="zeta")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="beta")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="c.txt")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("row", name="beta")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("row", name="alpha")).to_be_focused()
