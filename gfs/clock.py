"""The time, in one place, and how long something is tried again.

What is written down and compared with the world has Unix time, which somebody may set; what takes
long is measured with a clock that never goes back. Callers name the module (``clock.unix()``), so
that a test can set the time for all of them.
"""

from __future__ import annotations

import asyncio
import time

unix = time.time
"""Seconds since the Unix epoch."""

unix_ns = time.time_ns
"""Nanoseconds since the Unix epoch."""

monotonic = time.monotonic
"""Seconds since a moment that is the same for the whole life of the machine."""


class Deadline:
    """Up to when something is tried again."""

    def __init__(self, seconds: float) -> None:
        """``seconds`` from now."""
        self.renew(seconds)

    def renew(self, seconds: float) -> None:
        """Start anew: ``seconds`` from now."""
        self._end = monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until it; negative behind it."""
        return self._end - monotonic()

    async def pause(self, seconds: float, problem: Exception) -> None:
        """Wait for ``seconds`` before the next attempt. Raises ``problem``, at once, where the
        deadline would have passed by then."""
        if self.left <= seconds:
            raise problem
        await asyncio.sleep(seconds)
