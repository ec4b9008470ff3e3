"""Where log lines go: to standard error, one line each, as text or as JSON.

The lines of the access log are made for every request, and have a way of their own: they are put
together in one step, gathered for FLUSH_SECONDS, and written at once. The ``logging`` of the
standard library takes 40 µs and a system call for each.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from functools import lru_cache

FLUSH_SECONDS = 0.1
MAX_LINES = 1_000
"""Lines that are gathered at most."""

_TIME = "%Y-%m-%dT%H:%M:%S"


class _Json(logging.Formatter):
    """One JSON object a line. Times are UTC with milliseconds (RFC 3339)."""

    converter = staticmethod(time.gmtime)
    default_time_format = _TIME
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logging(log_format: str) -> None:
    """Send INFO and above to standard error in ``log_format``, ``text`` or ``json``."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_Json() if log_format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class AccessLog:
    """One line for each request. Belongs to one event loop; ``flush`` it at the end."""

    def __init__(self, log_format: str) -> None:
        """``log_format`` is ``text`` or ``json``."""
        self._json = log_format == "json"
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, request_id: str, method: str, route: str, status: int, seconds: float) -> None:
        """Add a line. ``method`` and ``route`` are of the closed sets of the metrics."""
        now = time.time()
        stamp = f"{_second(int(now))}.{int(now % 1 * 1000):03}Z"
        if self._json:
            line = (
                f'{{"time": "{stamp}", "level": "info", "logger": "sfs.access", '
                f'"id": "{request_id}", "method": "{method}", "route": "{route}", '
                f'"status": {status}, "seconds": {seconds:.6f}}}\n'
            )
        else:
            line = f"{stamp} {request_id} {method} {route} {status} {seconds:.6f}\n"
        self._lines.append(line)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(FLUSH_SECONDS, self.flush)
        elif len(self._lines) >= MAX_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        sys.stderr.write("".join(lines))
        sys.stderr.flush()


@lru_cache(2)
def _second(seconds: int) -> str:
    return time.strftime(_TIME, time.gmtime(seconds))
