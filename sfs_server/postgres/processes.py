"""The processes of the embedded PostgreSQL: which are ours, and how they end.

Processes named ``postgres`` whose working directory is that of our database (PostgreSQL changes to
it) are what a run that was killed has left, whatever ``postmaster.pid`` says: its number may be
another's by now. They are stopped at once (SIGQUIT; the next start recovers). A shutdown that takes
its time (SIGINT) writes into ``pg_control``, by the file's path, and after somebody removed the
directory that may be another database's. Everything here blocks, and runs in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from typing import Any

from gfs.clock import Deadline

try:
    import psutil  # type: ignore[import-untyped,unused-ignore]
except ImportError:  # it comes with the extra
    psutil = None

AVAILABLE = psutil is not None
"""Whether what is needed for the rest is installed."""

FAST_SECONDS = 10.0
IMMEDIATE_SECONDS = 5.0
KILLED_SECONDS = 5.0
POLL_SECONDS = 0.01

_log = logging.getLogger(__name__)


def stop(pid: int) -> None:
    """Stop the server whose first process is ``pid``: fast for FAST_SECONDS, then at once for
    IMMEDIATE_SECONDS, then by force. It was running a moment ago."""
    with contextlib.suppress(psutil.NoSuchProcess):
        _stop(psutil.Process(pid), at_once=False)


def stop_left(pgdata: str, postmaster: str) -> None:
    """Stop at once, then by force, all that works in ``pgdata``: first the process of the number
    ``postmaster``, should it live, which stops the others."""
    left = _working_in(pgdata)
    if left:
        _log.warning("stopping the embedded database of a run that was killed")
    for process in sorted(left, key=lambda one: str(one.pid) != postmaster):
        _stop(process, at_once=True)


def _working_in(pgdata: str) -> list[Any]:
    found = []
    for process in psutil.process_iter():
        # Others' processes do not show their directory, and some end meanwhile.
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == pgdata:
                found.append(process)
    return found


def _stop(process: Any, *, at_once: bool) -> None:
    """Stop a process, ever less kindly. Its number may be another's by now: psutil compares the
    time of its start before it signals."""
    steps = (
        (signal.SIGINT, FAST_SECONDS),
        (signal.SIGQUIT, IMMEDIATE_SECONDS),
        (signal.SIGKILL, KILLED_SECONDS),
    )
    for number, seconds in steps[1:] if at_once else steps:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        deadline = Deadline(seconds)
        while deadline.left > 0:
            if _ended(process):
                return
            time.sleep(POLL_SECONDS)
        _log.warning("the embedded database does not stop at %s", number.name)


def _ended(process: Any) -> bool:
    """Whether a process is gone, or a zombie: not every process 1 collects its children soon."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
