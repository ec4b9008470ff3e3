"""Uploads in the page that are interrupted, and go on from what is stored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn, Site, Window
from tests.browser.uploading import (
    MB,
    Line,
    Sent,
    digest,
    line_to,
    made,
    pick,
    slow_down,
    stored,
    tray,
    upload_of,
)
from tests.support.credentials import authorization
from tests.support.launcher import Process

CUTS = 5
DONE_MS = 60_000


@pytest.fixture
def line(site: Site) -> Iterator[Line]:
    with line_to(site.server.port) as line:
        yield line


def wait_for_bytes(page: Page, name: str, megabytes: int) -> None:
    """Wait until that much of an upload is shown as stored."""
    bar = upload_of(page, name).get_by_role("progressbar")
    expect(bar).to_have_attribute("title", re.compile("of"))
    page.wait_for_function(
        """([name, least]) => [...document.querySelectorAll(".upload .bar")].some((bar) =>
            bar.ariaLabel === name && parseInt(bar.title.replaceAll(",", "")) >= least)""",
        arg=[name, megabytes * MB],
    )


def test_a_connection_that_is_cut_again_and_again_brings_the_whole_file(
    site: Site, line: Line, window: Window, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    path = made(tmp_path / "film.bin", 64 * 1024 * 1024)
    page.goto(f"{line.url}/ns/{namespace}#token={site.token()}")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    sent = Sent(page)
    for n in range(CUTS):
        line.order(lambda proxy: proxy.reset_after(8 * MB, upstream=True))
        if n == 0:
            pick(page, path)
        while line.proxy.strikes <= n:
            page.wait_for_timeout(50)
        line.order(lambda proxy: proxy.heal())
    expect(upload_of(page, "film.bin")).to_have_class(re.compile("done"), timeout=DONE_MS)
    assert stored(site, namespace) == {"film.bin": digest(path)}
    assert sent.count("HEAD") >= CUTS
    assert sent.offsets == sorted(sent.offsets)


def test_a_line_that_falls_silent_is_given_up(
    site: Site, line: Line, window: Window, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    page.clock.install()
    path = made(tmp_path / "film.bin", 20 * MB)
    page.goto(f"{line.url}/ns/{namespace}#token={site.token()}")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    line.order(lambda proxy: proxy.stall_after(6 * MB, upstream=True))
    sent = Sent(page)
    pick(page, path)
    while line.proxy.strikes == 0:
        page.wait_for_timeout(50)
    page.clock.fast_forward(70_000)
    line.order(lambda proxy: proxy.heal())
    page.clock.fast_forward(40_000)
    expect(upload_of(page, "film.bin")).to_have_class(re.compile("done"), timeout=DONE_MS)
    assert stored(site, namespace) == {"film.bin": digest(path)}
    assert sent.count("HEAD") > 0
    assert 0 not in sent.offsets[1:]


def test_a_service_that_is_killed_and_comes_back_gets_the_rest(
    fragile: tuple[Site, list[str]], window: Window, tmp_path: Path
) -> None:
    site, arguments = fragile
    page = window(strict=False).new_page()
    path = made(tmp_path / "ten.bin", 20 * MB)
    page.goto(f"{site.url}#token={site.token()}")
    slow_down(page, 4)
    pick(page, path)
    wait_for_bytes(page, "ten.bin", 6)
    site.server.kill()
    expect(page.get_by_text("Trying again")).to_be_visible()
    expect(upload_of(page, "ten.bin")).to_contain_text("Waiting for the service")
    slow_down(page, 50)
    sent = Sent(page)
    site.server = Process(site.data, *arguments)
    expect(page.get_by_text("Trying again")).to_have_count(0)
    expect(page.locator(".row", has_text="ten.bin")).to_be_visible(timeout=DONE_MS)
    assert stored(site, "default") == {"ten.bin": digest(path)}
    assert sent.offsets[0] >= 4 * MB


def test_after_a_reload_the_same_file_goes_on_when_it_is_picked_again(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "film.bin", 30 * MB)
    sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 6)
    pick(page, path)
    wait_for_bytes(page, "film.bin", 10)
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    waiting = tray(page).locator("li.unfinished")
    expect(waiting).to_contain_text("Pick or drop this file again")
    sent = Sent(page)
    slow_down(page, 6)
    pick(page, path)
    expect(upload_of(page, "film.bin")).to_contain_text(re.compile(r"goes on from \d+ %"))
    expect(waiting).to_have_count(0)
    expect(upload_of(page, "film.bin")).to_have_class(re.compile("done"), timeout=DONE_MS)
    assert stored(site, namespace) == {"film.bin": digest(path)}
    assert sent.offsets[0] >= 8 * MB
    assert page.evaluate("localStorage.length") == 0


def test_what_is_unfinished_can_be_discarded(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 6)
    pick(page, made(tmp_path / "film.bin", 30 * MB))
    wait_for_bytes(page, "film.bin", 5)
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    tray(page).get_by_role("button", name="Discard film.bin").click()
    expect(tray(page)).to_have_count(0)
    assert page.evaluate("localStorage.length") == 0


def test_signing_out_asks_and_signing_in_again_goes_on(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "film.bin", 30 * MB)
    token = sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 6)
    pick(page, path)
    wait_for_bytes(page, "film.bin", 5)
    page.get_by_role("button", name="Sign out").click()
    asked = page.get_by_role("dialog", name="Sign out now?")
    asked.get_by_role("button", name="Sign out").click()
    expect(upload_of(page, "film.bin")).to_contain_text("Waits until alice signs in")
    sent = Sent(page)
    sign_in_by_hand(page, site.token("bob"))
    expect(upload_of(page, "film.bin")).to_contain_text("Waits until alice signs in")
    page.get_by_role("button", name="Sign out").click()
    asked.get_by_role("button", name="Sign out").click()
    assert sent.offsets == []
    slow_down(page, 50)
    sign_in_by_hand(page, token)
    expect(upload_of(page, "film.bin")).to_have_class(re.compile("done"), timeout=DONE_MS)
    assert stored(site, namespace) == {"film.bin": digest(path)}
    assert sent.offsets[0] >= 4 * MB


def sign_in_by_hand(page: Page, token: str) -> None:
    page.get_by_role("button", name="Sign in").first.click()
    page.get_by_label("Token").fill(token)
    page.get_by_label("Token").press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_token_that_is_refused_in_the_middle_strands_nothing(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    paths = [made(tmp_path / f"{i}.bin", 30 * MB) for i in range(4)]
    token = sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 8)
    pick(page, *paths)
    wait_for_bytes(page, "0.bin", 4)
    page.evaluate("sessionStorage.setItem('sfs-token', 'a.b.c')")
    dialog = page.get_by_role("dialog", name="Sign in")
    expect(dialog).to_contain_text("You were signed out")
    expect(tray(page).locator("li.queued")).to_have_count(4)
    slow_down(page, 100)
    dialog.get_by_label("Token").fill(token)
    dialog.get_by_label("Token").press("Enter")
    expect(tray(page).locator("li.done")).to_have_count(4, timeout=DONE_MS)
    assert stored(site, namespace) == {path.name: digest(path) for path in paths}


def test_a_file_that_changed_while_it_waited_says_so_and_can_be_picked_again(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    paths = [made(tmp_path / f"{i}.bin", 6 * MB) for i in range(3)]
    sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 4)
    pick(page, *paths)
    expect(tray(page).locator("li.running")).to_have_count(2)
    made(paths[2], 7 * MB)
    os.utime(paths[2], (1_700_000_000, 1_700_000_000))
    slow_down(page, 50)
    upload = upload_of(page, "2.bin")
    expect(upload).to_contain_text("has been changed, moved or removed", timeout=DONE_MS)
    expect(upload.get_by_role("button")).to_have_count(0)
    pick(page, paths[2])
    expect(tray(page).locator("li.done")).to_have_count(3, timeout=DONE_MS)
    assert stored(site, namespace)["2.bin"] == digest(paths[2])


def test_tabs_that_upload_leave_connections_for_another(
    site: Site, window: Window, namespace: str, tmp_path: Path
) -> None:
    context = window()
    paths = [made(tmp_path / f"{tab}{i}.bin", 20 * MB) for tab in "ab" for i in range(3)]
    for tab in range(2):
        page = context.new_page()
        page.goto(f"{site.url}/ns/{namespace}#token={site.token()}")
        expect(page.get_by_role("button", name="Sign out")).to_be_attached()
        slow_down(page, 1)
        pick(page, *paths[3 * tab :][:3])
        expect(tray(page).locator("li.running")).to_have_count(2)
    third = context.new_page()
    third.goto(f"{site.url}/ns/{namespace}#token={site.token()}")
    expect(third.get_by_role("heading", level=1)).to_have_text(namespace)
    url = f"{site.url}/storage/{namespace}/third"
    assert third.request.put(url, headers=authorization(site.token()), data="x").status == 201
    third.reload()
    expect(third.locator(".row", has_text="third")).to_be_visible()


def test_a_file_that_another_tab_uploads_is_left_to_it(
    site: Site, window: Window, namespace: str, tmp_path: Path
) -> None:
    context = window()
    path = made(tmp_path / "film.bin", 30 * MB)
    pages = [context.new_page(), context.new_page()]
    for page in pages:
        page.goto(f"{site.url}/ns/{namespace}#token={site.token()}")
        expect(page.get_by_text("Drop files here")).to_be_visible()
        slow_down(page, 8)
    pick(pages[0], path)
    wait_for_bytes(pages[0], "film.bin", 5)
    pick(pages[1], path)
    expect(upload_of(pages[1], "film.bin")).to_contain_text("Another tab uploads this file.")
    slow_down(pages[0], 50)
    expect(upload_of(pages[0], "film.bin")).to_have_class(re.compile("done"), timeout=DONE_MS)
    assert stored(site, namespace) == {"film.bin": digest(path)}


def test_a_file_that_is_added_while_the_service_is_unreachable_shows_when_it_is_back(
    fragile: tuple[Site, list[str]], window: Window, tmp_path: Path
) -> None:
    site, arguments = fragile
    page = window(strict=False).new_page()
    path = made(tmp_path / "later.bin", 100)
    page.goto(f"{site.url}#token={site.token()}")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    site.server.kill()
    pick(page, path)
    expect(page.get_by_text("Trying again")).to_be_visible()
    expect(upload_of(page, "later.bin")).to_have_count(0)  # what shows it cannot be fetched
    site.server = Process(site.data, *arguments)
    expect(upload_of(page, "later.bin").locator(".upload-state")).to_have_text("100 bytes")
    assert stored(site, "default") == {"later.bin": digest(path)}
