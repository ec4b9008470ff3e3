"""The browser of the tests in this directory: Debian's Firefox, as it is installed.

Playwright drives a Firefox of its own by a protocol of its own, and any other Firefox by WebDriver
BiDi, which each Firefox speaks: that is its channel ``moz-firefox``. What the policy of the page
forbids comes as an error of the page, as an exception does. A response that is an error is written
to the console in Chromium alone; here the windows look for them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, Response

from tests.browser.conftest import Window

NAMES = ("firefox-esr", "firefox")
FIREFOX = next(filter(None, map(shutil.which, NAMES)), None)

FINE, HOVER = 2, 4
MOUSE: dict[str, str | float | bool] = {
    "ui.primaryPointerCapabilities": FINE | HOVER,
    "ui.allPointerCapabilities": FINE | HOVER,
}
"""To a page, a Firefox without a screen has neither mouse nor touch; this one has a mouse."""


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    if FIREFOX is None:
        assert "CI" not in os.environ, "CI must have Firefox"
        pytest.skip("Firefox is not installed")
    playwright: Playwright = request.getfixturevalue("playwright")  # not without a browser
    browser = playwright.firefox.launch(
        channel="moz-firefox", executable_path=FIREFOX, firefox_user_prefs=MOUSE
    )
    yield browser
    browser.close()


@pytest.fixture
def window(window: Window) -> Iterator[Window]:
    """The windows of the other tests; in a strict one, a response that is an error fails too."""
    refused: list[str] = []

    def responded(response: Response) -> None:
        if response.status >= 400:
            refused.append(f"{response.status} {response.url}")

    def open_window(*, strict: bool = True, **options: Any) -> BrowserContext:
        context = window(strict=strict, **options)
        if strict:
            context.on("response", responded)
        return context

    yield open_window
    assert not refused
