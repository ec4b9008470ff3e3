"""The web page with a folder of many files, in Chromium: when the first row is there, and how long
frames take while the list is scrolled; also with a processor that Chromium makes four times slower.

A frame is the time from one animation frame to the next, in a window of its usual size that nobody
sees, drawn by the processor: there is no graphics card in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.servers import Server, sfs
from bench.setting import Setting
from bench.table import NOT_INSTALLED, Row, Wanted

try:
    from playwright.sync_api import Browser, sync_playwright
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True

FOLDER = "many"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SLOWER = (1, 4)
"""How many times slower Chromium makes the processor."""

WHEEL_STEPS = 60
JUMPS = 20

_OPEN = Wanted(most=1000.0, unit="ms")
_FRAME = Wanted(most=100.0, unit="ms")

_WATCH = """
    new MutationObserver((_, watching) => {
      if (!document.querySelector(".row")) return;
      watching.disconnect();
      requestAnimationFrame(() => (window.firstRow = performance.now()));
    }).observe(document, { childList: true, subtree: true });
"""
_FIRST = """() => new Promise((found) => {
    const look = () =>
      window.firstRow ? found(window.firstRow) : requestAnimationFrame(look);
    look();
})"""
_START = """() => {
    window.frames_ = [];
    let last = performance.now();
    const next = (now) => {
      window.frames_.push(now - last);
      last = now;
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
}"""


def measure(setting: Setting) -> Iterator[Row]:
    """On the embedded engine; there is no peer."""
    work = f"page: {setting.listed:,} files in one folder"
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not INSTALLED or program is None:
        yield Row(work, f"Chromium, or Playwright: {NOT_INSTALLED}")
        return
    flags = ["--headless=new", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sfs(setting.place) as ours, sync_playwright() as playwright:
        _fill(setting)
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        try:
            for slower in SLOWER:
                rounds = [_once(browser, ours, slower) for _ in range(setting.rounds)]
                yield from _rows(work, slower, rounds)
        finally:
            browser.close()


def _fill(setting: Setting) -> None:
    """The store takes what is there for its own."""
    directory = setting.place.file(FOLDER)
    os.makedirs(directory)
    for number in range(setting.listed):
        with open(os.path.join(directory, f"file-{number:06}.txt"), "wb"):
            pass


@dataclass(frozen=True, slots=True)
class _Round:
    """Milliseconds until the first row, and those of each frame under the wheel, and of each while
    the scroll bar jumps."""

    first: float
    wheel: Sequence[float]
    jumps: Sequence[float]


def _once(browser: Browser, ours: Server, slower: int) -> _Round:
    """Open the folder, and go through it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.add_init_script(_WATCH)
    page.goto(f"http://127.0.0.1:{ours.port}/ns/default/{FOLDER}/#token={ours.token}")
    first: Any = page.evaluate(_FIRST)
    page.wait_for_timeout(2000)  # what is needed later is fetched
    page.mouse.move(640, 500)
    page.evaluate(_START)
    for _ in range(WHEEL_STEPS):
        page.mouse.wheel(0, 600)
        page.wait_for_timeout(30)
    wheel: Any = page.evaluate("window.frames_.splice(0)")
    for number in range(JUMPS):
        page.evaluate("to => scrollTo(0, to)", number * 7919 % 40 * 400)
        page.wait_for_timeout(60)
    jumps: Any = page.evaluate("window.frames_.splice(0)")
    context.close()
    return _Round(float(first), wheel, jumps)


def _rows(work: str, slower: int, rounds: Sequence[_Round]) -> Iterator[Row]:
    plain = slower == 1
    how = "" if plain else f", processor {slower} times slower"
    first = median(one.first for one in rounds)
    yield Row(
        f"{work}, first row{how}", f"{first:.0f} ms", wanted=_OPEN.text(first) if plain else "—"
    )
    for name, all_frames in (
        ("wheel", [one.wheel for one in rounds]),
        ("jumps", [one.jumps for one in rounds]),
    ):
        middle = median(median(frames) for frames in all_frames)
        longest = median(max(frames) for frames in all_frames)
        yield Row(
            f"{work}, frame ({name}){how}",
            f"{middle:.0f} ms, the longest {longest:.0f} ms",
            wanted=_FRAME.text(longest) if plain else "—",
        )
