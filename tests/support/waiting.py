"""Waiting until something is true, for tests of what happens a moment later."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

SECONDS = 10.0
"""More than a busy machine takes for anything that is done at once; a wait that may take longer,
or has to be shorter, says so. Below 15 s, at which an event stream sends a comment."""

POLL_SECONDS = 0.005


_TRUE = object()


async def eventually(
    condition: Callable[[], Any], seconds: float = SECONDS, *, equals: object = _TRUE
) -> Any:
    """Call ``condition``, which may be a coroutine function, until what it returns is true, or
    ``equals`` that; return it. Fails the test after ``seconds``, with what was returned last."""
    deadline = time.monotonic() + seconds
    while True:
        last = condition()
        if inspect.isawaitable(last):
            async with asyncio.timeout(max(POLL_SECONDS, deadline - time.monotonic())):
                last = await last
        if bool(last) if equals is _TRUE else last == equals:
            return last
        assert time.monotonic() < deadline, f"not within {seconds} s; it is {last!r}"
        await asyncio.sleep(POLL_SECONDS)


def wait_until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """As :func:`eventually`, for a test that has no event loop."""
    deadline = time.monotonic() + seconds
    while not (last := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s; it is {last!r}"
        time.sleep(POLL_SECONDS)
    return last
