"""A list of 100,000 files: only the rows in sight are elements, every row can be reached, and an
address leads back to where it was scrolled to."""

from __future__ import annotations

import os
import re
import time
import urllib.parse
import urllib.request

import pytest
from playwright.sync_api import Page, Request, expect

from sfs_server.auth.tokens import mint
from tests.browser.conftest import SignIn, Site
from tests.browser.test_files import names_shown
from tests.support.credentials import SECRET

MANY = 100_000
FOLDERS = ("aa", "folder-0", "folder-1", "zz")
NAMESPACE = "much"
MOST_ROWS = 120
PAGES = 25
"""How many requests it may take to load all: 500, then twice as many each time, up to 10,000."""

pytestmark = pytest.mark.timeout(300)  # to make them takes the most of it


@pytest.fixture(scope="module")
def much(site: Site) -> str:
    """A namespace with 100,000 files, and folders whose names come before and after theirs."""
    headers = {
        "Authorization": f"Bearer {mint(SECRET, user='alice', ttl=3600)}",
        "Content-Type": "application/json",
    }
    body = b'{"name": "%s"}' % NAMESPACE.encode()
    request = urllib.request.Request(f"{site.url}/storage/namespaces", body, headers)
    with urllib.request.urlopen(request, timeout=15) as response:
        assert response.status == 201
    directory = str(site.data / "files" / NAMESPACE)
    for i in range(MANY):
        os.mknod(f"{directory}/file-{i:06}.bin")
    for name in FOLDERS:
        site.store(NAMESPACE, {f"{name}/in it.txt": b"", f"{name}/and.txt": b""})
    return NAMESPACE


def lists(page: Page) -> list[str]:
    """The queries of the lists that the page asks for."""
    asked: list[str] = []

    def heard(request: Request) -> None:
        if "/storage/files?" in request.url:
            asked.append(request.url.partition("?")[2])

    page.on("request", heard)
    return asked


def name(number: int) -> str:
    return f"file-{number:06}.bin"


def type_quickly(page: Page, text: str) -> None:
    """Type as fast as nobody does, because the letters of one name come soon after each other."""
    page.evaluate(
        """(text) => {
            for (const key of text)
                document.activeElement.dispatchEvent(
                    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        }""",
        text,
    )


def at_top(page: Page) -> str:
    """The name of the first row in the window, which the head of the list does not cover."""
    return str(
        page.evaluate(
            """() => {
                const edge = document.querySelector(".list-head")?.getBoundingClientRect().bottom;
                const rows = [...document.querySelectorAll(".row")].map((row) => [
                    row.getBoundingClientRect().bottom, row.querySelector(".name").title,
                ]).filter(([bottom]) => bottom > edge + 2).sort((a, b) => a[0] - b[0]);
                return rows[0]?.[1] ?? "";
            }"""
        )
    )


def eventually_at_top(page: Page, wanted: str) -> None:
    deadline = time.monotonic() + 60
    while at_top(page) != wanted and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert at_top(page) == wanted


def test_all_rows_can_be_reached_and_few_are_elements(
    page: Page, sign_in: SignIn, much: str
) -> None:
    asked = lists(page)
    sign_in(page, at=f"/ns/{much}")
    expect(page.locator(".row .name").first).to_have_text(FOLDERS[0])
    expect(page.locator(".row", has_text=name(0))).to_be_visible()
    for _ in range(200):  # each time to the end of what is loaded
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        assert page.locator(".row").count() < MOST_ROWS
        if name(MANY - 1) in names_shown(page):
            break
        page.wait_for_timeout(100)
    expect(page.locator(".row", has_text=name(MANY - 1))).to_be_visible()
    assert len(asked) <= PAGES
    expect(page.get_by_role("grid")).to_have_attribute(
        "aria-rowcount", str(MANY + len(FOLDERS) + 1)
    )
    for part in (0.5, 0.123, 0.987, 0.0):  # as the scroll bar does it
        page.evaluate("(part) => scrollTo(0, document.body.scrollHeight * part)", part)
        page.wait_for_timeout(100)
        shown = names_shown(page)
        assert 10 < len(shown) < MOST_ROWS
        number = int(shown[-1][5:11]) if part else 0
        assert abs(number / MANY - part) < 0.01
    assert len(asked) <= PAGES


def test_keys_lead_to_the_end_and_to_names_that_are_not_loaded(
    page: Page, sign_in: SignIn, much: str
) -> None:
    asked = lists(page)
    sign_in(page, at=f"/ns/{much}")
    first = page.locator(".row", has_text=FOLDERS[0])
    first.focus()
    page.keyboard.press("End")
    expect(page.locator(".row", has_text=name(MANY - 1))).to_be_focused(timeout=60_000)
    assert len(asked) <= PAGES
    page.keyboard.press("Home")
    expect(first).to_be_focused()
    type_quickly(page, "zz")
    expect(page.locator(".row", has_text="zz")).to_be_focused()
    page.wait_for_timeout(600)
    type_quickly(page, "file-0777")
    expect(page.locator(".row", has_text=name(77_700))).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".row", has_text=name(77_701))).to_be_focused()
    assert page.locator(".row").count() < MOST_ROWS


def test_a_name_that_is_typed_is_loaded(page: Page, sign_in: SignIn, much: str) -> None:
    asked = lists(page)
    sign_in(page, at=f"/ns/{much}")
    page.locator(".row", has_text=FOLDERS[0]).focus()
    type_quickly(page, "file-02")
    expect(page.locator(".row", has_text=name(20_000))).to_be_focused(timeout=60_000)
    assert len(asked) < 10


def test_back_and_an_address_lead_to_where_it_was(page: Page, sign_in: SignIn, much: str) -> None:
    sign_in(page, at=f"/ns/{much}?at={name(12_345)}")
    eventually_at_top(page, name(12_345))
    page.mouse.move(640, 500)
    page.mouse.wheel(0, 720)
    expect(page).not_to_have_url(re.compile(name(12_345)))
    there = at_top(page)
    expect(page).to_have_url(re.compile(rf"\?at={re.escape(urllib.parse.quote(there))}$"))
    page.get_by_role("link", name="default").first.click()
    expect(page).to_have_url(re.compile(r"/$"))
    page.go_back()
    eventually_at_top(page, there)
    page.reload()
    eventually_at_top(page, there)


def test_folders_are_walked_by_keys(page: Page, sign_in: SignIn, much: str) -> None:
    sign_in(page, at=f"/ns/{much}")
    folder = page.locator(".row", has_text="folder-1")
    folder.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".row .name")).to_have_text(["and.txt", "in it.txt"])
    expect(page.locator(".row").first).to_be_focused()
    page.keyboard.press("Backspace")
    expect(folder).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".row").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Alt+ArrowUp")
    expect(folder).to_be_focused()
    page.go_back()
    expect(page.locator(".row .name")).to_have_text(["and.txt", "in it.txt"])
    page.go_back()
    expect(page.locator(".row .name").first).to_have_text(FOLDERS[0])
    expect(folder).to_be_focused()


def test_a_sorted_list_is_all_of_it_and_can_be_left(page: Page, sign_in: SignIn, much: str) -> None:
    sign_in(page, at=f"/ns/{much}")
    expect(page.locator(".row .name").first).to_have_text(FOLDERS[0])
    page.get_by_role("button", name="Name", exact=True).click()  # the other way round
    expect(page.get_by_text("Loading all to sort them")).to_be_visible()
    page.get_by_role("button", name="Name", exact=True).click()
    expect(page.get_by_text("Loading all to sort them")).to_have_count(0)
    page.get_by_role("button", name="Name", exact=True).click()
    expect(page.locator(".row", has_text=name(MANY - 1))).to_be_visible(timeout=60_000)
    assert names_shown(page)[: len(FOLDERS)] == sorted(FOLDERS, reverse=True)
