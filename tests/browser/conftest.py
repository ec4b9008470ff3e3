"""The web page in a real Chromium, against a real process of the service.

One browser and one service for the session; each test has a namespace and a window
(``BrowserContext``) of its own. An error in the page fails the test, and so does a request whose
address has a user's token in it; what the browser itself complains of on the console fails a test
that opens a ``strict`` window, which is the default.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sfs_server.auth.tokens import mint
from tests.support.credentials import SECRET, bearer
from tests.support.launcher import Process
from tests.support.postgres import Postgres

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import (  # noqa: E402
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    expect,
    sync_playwright,
)

FLAGS = [
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]
WAIT_MS = 15_000
JWT = "eyJ"
"""How the header of every token of a user begins; links are something else."""


class Site:
    """The service as people see it, and what they do there first."""

    def __init__(self, server: Process, data: Path) -> None:
        self.server = server
        self.data = data

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def token(self, user: str = "alice", *, admin: bool = False) -> str:
        return mint(SECRET, user=user, admin=admin, ttl=3600)

    def store(self, namespace: str, files: dict[str, bytes]) -> None:
        """Put files where the store keeps them, by path: it takes what is there for its own."""
        directory = self.data / "files" / namespace
        for path, body in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(body)


@pytest.fixture(scope="session")
def site(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The service that most tests share."""
    postgres: Postgres = request.getfixturevalue("postgres")  # not without a browser
    postgres.execute("CREATE DATABASE browser")
    data = Path(tempfile.mkdtemp(prefix="sfs-browser-"))
    with Process(data, "-database", postgres.url("browser")) as server:
        yield Site(server, data)
        shutil.rmtree(data)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """One for all browsers: a second one in the same thread does not start."""
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    if CHROMIUM is None:
        assert "CI" not in os.environ, "CI must have Chromium"
        pytest.skip("Chromium is not installed")
    playwright: Playwright = request.getfixturevalue("playwright")  # not without a browser
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


Window = Callable[..., BrowserContext]


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    """Opens windows that know nothing of each other: each like a private one."""
    opened: list[BrowserContext] = []
    wrong: list[str] = []

    def heard(said: ConsoleMessage) -> None:
        if said.type == "error":
            wrong.append(said.text)

    def asked(request: Request) -> None:
        if JWT in request.url:
            wrong.append(request.url)

    def open_window(*, strict: bool = True, **options: Any) -> BrowserContext:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(WAIT_MS)
        if strict:
            context.on("console", heard)
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        context.on("request", asked)
        opened.append(context)
        return context

    yield open_window
    for context in opened:
        context.close()
    assert not wrong


@pytest.fixture
def page(window: Window) -> Page:
    """One window of a visitor."""
    return window().new_page()


SignIn = Callable[..., str]


@pytest.fixture
def sign_in(site: Site) -> SignIn:
    """Goes to the page by a link as the banner prints it."""

    def go(page: Page, user: str = "alice", *, admin: bool = False, at: str = "/") -> str:
        token = site.token(user, admin=admin)
        page.goto(f"{site.url}{at}#token={token}")
        page.get_by_role("button", name="Sign out", include_hidden=True).wait_for(state="attached")
        return token

    return go


@pytest.fixture
def namespace(site: Site, request: pytest.FixtureRequest, page: Page) -> str:
    """The name of a new namespace of alice."""
    name = f"ns-{abs(hash(request.node.name)) % 10**8}"
    answer = page.request.post(
        f"{site.url}/storage/namespaces",
        data={"name": name},
        headers=bearer(),
    )
    assert answer.status == 201
    return name


@pytest.fixture
def fragile(postgres: Postgres, tmp_path: Path) -> Iterator[tuple[Site, list[str]]]:
    """A service that a test may kill, and what starts it again on the same port."""
    postgres.execute("CREATE DATABASE fragile")
    data = tmp_path / "fragile"
    arguments = ["-database", postgres.url("fragile")]
    site = Site(Process(data, *arguments), data)
    try:
        yield site, [*arguments, "-addr", f"127.0.0.1:{site.server.port}"]
    finally:
        site.server.kill()
        postgres.execute("DROP DATABASE fragile WITH (FORCE)")
