"""What is shown from the first moment on, however the responses and the browser's turns fall."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Site, Window

NO_TURNS = "window.requestAnimationFrame = window.setTimeout = () => 0"
"""Neither a frame nor a timer comes: all responses are there before the first of them."""


def test_responses_that_come_before_the_first_frame_are_shown(site: Site, page: Page) -> None:
    page.add_init_script(NO_TURNS)
    page.goto(site.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("default")
    expect(page.get_by_role("navigation").get_by_role("link")).not_to_have_count(0)


def hold_first(page: Page, path: str) -> list[Route]:
    """Keep the first request for ``path`` back: it is in the list then."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route(lambda url: urlsplit(url).path == path, hold)
    return held


@pytest.mark.parametrize("comes", [True, False])
@pytest.mark.parametrize("path", ["/api/session", "/storage/namespaces", "/storage/files"])
def test_a_response_that_is_late_is_waited_for_and_one_that_never_comes_asked_for_again(
    site: Site, page: Page, path: str, *, comes: bool
) -> None:
    held = hold_first(page, path)
    page.clock.install()
    with page.expect_request(lambda request: urlsplit(request.url).path == path):
        page.goto(f"{site.url}#token={site.token()}")
    page.clock.fast_forward(10_000)
    expect(page.get_by_role("alert")).to_contain_text("takes long to respond")
    if comes:
        held[0].continue_()
    else:
        page.clock.fast_forward(60_000)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("default")
    expect(page.get_by_role("navigation").get_by_role("link")).not_to_have_count(0)
    expect(page.locator("main .heading p")).to_contain_text("file")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".bone")).to_have_count(0)


def test_a_service_that_does_not_say_whether_it_is_there_is_asked_again(
    site: Site, window: Window
) -> None:
    page = window(strict=False).new_page()
    hold_first(page, "/healthz")
    page.route("**/storage/files?**", lambda route: route.abort(), times=1)
    page.clock.install()
    with page.expect_request("**/healthz"):
        page.goto(site.url)
    expect(page.get_by_text("Trying again")).to_be_visible()
    page.clock.fast_forward(10_000)
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".bone")).to_have_count(0)
