"""The namespaces, and who is signed in."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn, Site, Window
from tests.support.postgres import Postgres

MANY = 1000
OWNER = "owner-of-many"


@pytest.fixture
def many(postgres: Postgres, site: Site) -> None:
    """Namespaces ``many-0000`` and so on, which only their owner sees."""
    assert site.server
    postgres.execute(
        f"INSERT INTO namespaces SELECT 'Many-' || lpad(n::text, 4, '0'), true, now(), '{OWNER}' "
        f"FROM generate_series(0, {MANY - 1}) n ON CONFLICT DO NOTHING",
        "browser",
    )


@pytest.mark.usefixtures("many")
def test_of_many_namespaces_one_is_found_by_a_part_of_its_name(
    site: Site, page: Page, sign_in: SignIn
) -> None:
    sign_in(page, OWNER, at="/ns/Many-0777")
    rail = page.get_by_role("navigation", name="Namespaces")
    links = rail.get_by_role("link")
    current = rail.get_by_role("link", name="Many-0777")
    expect(current).to_be_in_viewport()
    assert page.evaluate("scrollY") == 0
    filter_box = rail.get_by_label("Filter namespaces")
    filter_box.press_sequentially("mANY-043")
    expect(links).to_have_count(10)
    filter_box.press("ArrowDown")
    expect(links.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(filter_box).to_be_focused()
    filter_box.press("8")
    filter_box.press("Enter")
    expect(page).to_have_url(f"{site.url}/ns/Many-0438")
    filter_box.press("Escape")
    expect(filter_box).to_have_value("")
    expect(rail.get_by_role("link", name="Many-0438")).to_be_in_viewport()
    filter_box.fill("absent")
    expect(rail.get_by_text("No name has “absent” in it.")).to_be_visible()


@pytest.mark.usefixtures("many")
def test_many_namespaces_are_one_stop_for_the_tab_key(
    site: Site, page: Page, sign_in: SignIn
) -> None:
    sign_in(page, OWNER, at="/ns/Many-0007")
    rail = page.get_by_role("navigation", name="Namespaces")
    expect(rail.get_by_role("link", name="Many-0007")).to_be_visible()
    rail.get_by_label("Filter namespaces").focus()
    page.keyboard.press("Tab")
    expect(rail.get_by_role("link", name="Many-0007")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Sign out")).to_be_focused()


def test_few_namespaces_need_no_filter(site: Site, page: Page) -> None:
    page.goto(site.url)
    expect(page.get_by_role("navigation", name="Namespaces").get_by_role("link")).to_have_count(1)
    expect(page.get_by_label("Filter namespaces")).to_have_count(0)


def test_a_visitor_can_sign_in_on_a_phone(site: Site, window: Window) -> None:
    site.store("default", {"for-all.txt": b"hello"})
    page = window(viewport={"width": 360, "height": 740}, has_touch=True).new_page()
    page.goto(site.url)
    expect(page.get_by_role("row", name="for-all.txt")).to_be_visible()
    button = page.get_by_role("button", name="Sign in")
    expect(button).to_be_in_viewport()
    button.tap()
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()


def test_the_first_stop_of_the_tab_key_leads_past_the_namespaces(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, {"a.txt": b"a", "b.txt": b"b"})
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(2)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the files")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="a.txt")).to_be_focused()
    expect(skip).not_to_be_in_viewport()
    assert page.url == f"{site.url}/ns/{namespace}"
