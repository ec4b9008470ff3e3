"""The processes of the embedded PostgreSQL: finding and stopping them.

If an earlier SFS was killed, its PostgreSQL is still running. Its processes are those named
``postgres`` whose working directory is that of our database. ``postmaster.pid`` does not identify
them: another process may have that number by now. They are stopped at once (SIGQUIT), and the next
start recovers the database. They are not shut down normally (SIGINT), because then they would write
to ``pg_control`` by its path: if the directory was deleted and made anew, that is the file of
another database. All functions block; run them in a thread.
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
except ImportError:  # the extra ``embedded`` is not installed
    psutil = None

AVAILABLE = psutil is not None
"""Whether psutil is installed, which all functions need."""

FAST_SECONDS = 10.0
"""How long to wait for a process after SIGINT, PostgreSQL's fast shutdown."""

IMMEDIATE_SECONDS = 5.0
"""How long to wait after SIGQUIT, its immediate shutdown."""

KILLED_SECONDS = 5.0
"""How long to wait after SIGKILL."""

POLL_SECONDS = 0.01
"""The pause between two looks at whether a process has ended."""

_log = logging.getLogger(__name__)


def stop(pid: int) -> None:
    """Stop the server whose postmaster has the process id ``pid``, and was running a moment ago:
    SIGINT, then SIGQUIT after FAST_SECONDS, then SIGKILL after IMMEDIATE_SECONDS."""
    with contextlib.suppress(psutil.NoSuchProcess):
        _stop(psutil.Process(pid), at_once=False)


def stop_left(pgdata: str, postmaster: str) -> None:
    """Stop the processes that an earlier SFS left in ``pgdata``: SIGQUIT, then SIGKILL after
    IMMEDIATE_SECONDS. The one with the process id ``postmaster`` is the first, if it is among them,
    because it stops the others; the text is empty if the id is not known."""
    left = _working_in(pgdata)
    if left:
        _log.warning("stopping the embedded database of a run that was killed")
    for process in sorted(left, key=lambda one: str(one.pid) != postmaster):
        _stop(process, at_once=True)


def _working_in(pgdata: str) -> list[Any]:
    """The processes named ``postgres`` whose working directory is ``pgdata``."""
    found = []
    for process in psutil.process_iter():
        # The directory of other users' processes cannot be read, and some processes have ended.
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == pgdata:
                found.append(process)
    return found


def _stop(process: Any, *, at_once: bool) -> None:
    """Send SIGINT, SIGQUIT and SIGKILL in turn until ``process`` ends; without SIGINT if
    ``at_once``. Before each signal psutil compares the start time of the process, so that another
    one that has got its id is not hit."""
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
        _log.warning("the embedded database does not stop on %s", number.name)


def _ended(process: Any) -> bool:
    """Whether ``process`` has ended. A zombie has too: in some containers process 1 collects its
    children late or never."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
