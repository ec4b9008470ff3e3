"""What tests of uploads in the page do: files that are picked, a slow line, one that is cut."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page

from tests.browser.conftest import Site
from tests.support.proxy import Proxy

MB = 1_000_000


def slow_down(page: Page, megabytes_per_second: float) -> None:
    """Let the browser send no faster."""
    page.context.new_cdp_session(page).send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": megabytes_per_second * MB,
        },
    )


def made(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def pick(page: Page, *paths: Path) -> None:
    page.locator("main label.primary input[type=file]").set_input_files(list(paths))


def pick_folder(page: Page, path: Path) -> None:
    page.get_by_label("Upload folder").set_input_files(path)


def drag(page: Page, *paths: Path, on: Locator | None = None, end: str = "dragOver") -> None:
    """Drag files and folders of the disk, as a file manager does, to the middle of an element, or
    to where the page has nothing; there, do what ``end`` says."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    if on:
        on.scroll_into_view_if_needed()
    box = on.bounding_box() if on else {"x": 800, "y": 700, "width": 0, "height": 0}
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for event in ("dragEnter", "dragOver", end):
        session.send("Input.dispatchDragEvent", {"type": event, "x": x, "y": y, "data": data})
    session.detach()


def drop(page: Page, *paths: Path, on: Locator | None = None) -> None:
    drag(page, *paths, on=on, end="drop")


def upload_of(page: Page, name: str) -> Locator:
    return tray(page).locator("li.upload", has_text=name)


def tray(page: Page) -> Locator:
    return page.get_by_role("region", name="Uploads")


def stored(site: Site, namespace: str) -> dict[str, str]:
    directory = site.data / "files" / namespace
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Line:
    """A proxy before a service, in a thread of its own: the browser's tests have no event loop."""

    def __init__(self, proxy: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self.proxy = proxy
        self._loop = loop

    @property
    def url(self) -> str:
        return f"http://{self.proxy.address}"

    def order(self, act: Callable[[Proxy], None]) -> None:
        """Have the proxy do something, and wait until it has."""

        async def ordered() -> None:
            act(self.proxy)

        asyncio.run_coroutine_threadsafe(ordered(), self._loop).result()


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """A line that can be cut, to a service at ``port``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    proxy = Proxy(("127.0.0.1", port))
    asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result()
    try:
        yield Line(proxy, loop)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Sent:
    """The requests of a page that bring bytes, from now on."""

    def __init__(self, page: Page) -> None:
        self.calls: list[tuple[str, str, int]] = []
        page.on("request", lambda request: self._note(request.method, request.url, request.headers))

    def _note(self, method: str, url: str, headers: dict[str, str]) -> None:
        self.calls.append((method, url, int(headers.get("upload-offset", -1))))

    def count(self, method: str) -> int:
        return sum(one == method for one, _, _ in self.calls)

    @property
    def offsets(self) -> list[int]:
        """Where each PATCH starts."""
        return [offset for method, _, offset in self.calls if method == "PATCH"]
