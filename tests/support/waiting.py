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


async def eventually(
    condition: Callable[[], Any], seconds: float = SECONDS, poll: float = POLL_SECONDS
) -> Any:
    """Call ``condition``, which may be a coroutine function, until what it returns is true; that.
    Fails the test after ``seconds``, and says what was returned last."""
    deadline = time.monotonic() + seconds
    while True:
        last = condition()
        if inspect.isawaitable(last):
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                last = await last
        if last:
            return last
        assert time.monotonic() < deadline, f"not within {seconds} s; it is {last!r}"
        await asyncio.sleep(poll)


def wait_until(
    condition: Callable[[], Any], seconds: float = SECONDS, poll: float = POLL_SECONDS
) -> Any:
    """As :func:`eventually`, for a test that has no event loop."""
    deadline = time.monotonic() + seconds
    while not (last := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s; it is {last!r}"
        time.sleep(poll)
    return last
