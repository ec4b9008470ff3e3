"""What axe-core finds, and what fits on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn, Site, Window
from tests.browser.uploading import MB, slow_down
from tests.support.credentials import bearer


def check(page: Page, state: str) -> None:
    """Nothing is wrong with the page as it is now, and nothing sticks out at its side."""
    page.wait_for_timeout(250)  # for what fades in: half faded it has half the contrast
    found = Axe().run(page)
    assert found.violations_count == 0, f"{state}: {found.generate_report()}"
    wide, view = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= view, state


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_nothing_stands_in_the_way_of_anybody(
    site: Site, window: Window, sign_in: SignIn, width: int, scheme: str, tmp_path: Path
) -> None:
    context = window(
        strict=False,
        bypass_csp=True,  # for axe
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    name = f"axe-{width}-{scheme}"
    page.goto(site.url)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    check(page, "visitor")
    sign_in(page)
    alice = bearer()
    page.request.post(
        f"{site.url}/storage/namespaces", data={"name": name, "hidden": True}, headers=alice
    )
    page.goto(f"{site.url}/ns/{name}")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    check(page, "empty")
    site.store(name, {f"{kind} 🐦 {'x' * 200}.{kind}": b"x" for kind in "txt png zip mp3".split()})
    page.reload()
    expect(page.locator(".row")).to_have_count(4)
    page.get_by_role("checkbox").nth(2).click()
    check(page, "files")
    page.get_by_role("button", name="Actions on").last.click()
    check(page, "menu")
    dialogs(page, tmp_path)
    page.goto(f"{site.url}/storage/default/absent")
    check(page, "error page")
    page.goto(f"{site.url}/ns/absent")
    expect(page.get_by_role("alert")).to_be_visible()
    check(page, "no such namespace")


def dialogs(page: Page, tmp_path: Path) -> None:
    def opened(state: str, act: Callable[[], None]) -> None:
        act()
        expect(page.get_by_role("dialog")).to_be_visible()
        check(page, state)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)

    opened("share", page.get_by_role("menuitem", name="Copy link").click)
    opened("viewer", page.locator(".row .name").nth(3).click)
    opened(
        "delete",
        page.get_by_role("region", name="Selection").get_by_role("button", name="Delete").click,
    )
    toggle = page.locator(".rail-toggle")
    if toggle.is_visible():
        toggle.click()
        check(page, "rail")
    opened("new namespace", page.get_by_role("button", name="New namespace").click)
    path = tmp_path / "new.bin"
    path.write_bytes(b"x" * 1000)
    page.locator("main label.primary input[type=file]").set_input_files(path)
    expect(page.locator("li.upload.done")).to_be_visible()
    check(page, "uploaded")
    picker = page.locator("main label.primary input[type=file]")
    opened("name taken", lambda: picker.set_input_files(path))
    misnamed = tmp_path / " new.bin"
    misnamed.write_bytes(b"x")
    picker.set_input_files(misnamed)
    expect(page.locator("li.upload.failed")).to_be_visible()
    check(page, "not uploaded")
    opened("another name", page.get_by_role("button", name="Rename").click)
    slow_down(page, 1)
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * 5 * MB)
    picker.set_input_files(large)
    expect(page.locator("li.upload.running")).to_be_visible()
    check(page, "uploading")
    opened("signing out", page.get_by_role("button", name="Sign out").click)
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(page.locator("li.upload.unfinished")).to_be_visible()
    check(page, "unfinished")


def test_all_can_be_reached_with_the_tab_key(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, {"a.txt": b"a", "b.txt": b"b"})
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(2)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """(() => {
                    const a = document.activeElement;
                    return a.ariaLabel || a.labels?.[0]?.innerText || a.innerText || a.type || "";
                })()"""
            ).strip()
        )
    for name in (
        "New namespace",
        "Sign out",
        "Upload",
        "Actions on this namespace",
        "Name",
        "Size",
    ):
        assert any(name in one for one in reached), (name, reached)
    for name in ("Select a.txt", "Download a.txt", "Actions on a.txt"):
        assert name in reached
    assert "Select b.txt" not in reached  # the table is one stop
