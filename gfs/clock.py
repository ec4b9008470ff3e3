"""The clocks, in one place, and deadlines for trying again.

Times that are stored or compared with other machines are Unix times, and the clock may be set back;
durations are measured by a clock that is not. Callers name the module (``clock.unix()``), so that a
test can set the time for all of them.
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
    """A moment after which nothing is tried again."""

    def __init__(self, seconds: float) -> None:
        """The moment ``seconds`` from now."""
        self.renew(seconds)

    def renew(self, seconds: float) -> None:
        """Move the deadline to ``seconds`` from now."""
        self._end = monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._end - monotonic()

    def require(self, problem: Exception, *, late: float = 0.0) -> None:
        """Raise ``problem`` if the deadline passed more than ``late`` seconds ago: a process that
        was frozen finds out by this."""
        if self.left < -late:
            raise problem

    async def pause(self, seconds: float, problem: Exception) -> None:
        """Wait for ``seconds`` before the next attempt. Raises ``problem`` at once if the deadline
        would have passed by then."""
        if self.left <= seconds:
            raise problem
        await asyncio.sleep(seconds)
