"""What is shown from the first moment on, however the responses and the browser's turns fall."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import Site

NO_TURNS = "window.requestAnimationFrame = window.setTimeout = () => 0"
"""Neither a frame nor a timer comes: all responses are there before the first of them."""


def test_responses_that_come_before_the_first_frame_are_shown(site: Site, page: Page) -> None:
    page.add_init_script(NO_TURNS)
    page.goto(site.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("default")
    expect(page.get_by_role("navigation").get_by_role("link")).not_to_have_count(0)
