"""A server process with a directory of its own, which outlives it.

In the directory are its data, its ``log`` and, while it runs, ``pid``. The process works in there,
so that ``end_leftovers`` knows it again: it has that number and works in that directory.
It is in a session of its own, with its children, if it has any: an interrupt from the keyboard is
for whoever started it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]

START_SECONDS = 40.0
KILLED_SECONDS = 5.0
POLL_SECONDS = 0.02
LOG_TAIL = 4000


class Server:
    """One server. ``start`` it; whoever started it ends it, with ``end`` or ``kill``."""

    def __init__(
        self,
        home: Path,
        command: Sequence[str],
        environ: Mapping[str, str],
        ready: Callable[[], bool],
    ) -> None:
        """``home`` exists, and its name is the server's; ``ready`` says whether it serves, and
        blocks for a moment at most."""
        self.name = home.name
        self.home = home
        self._command = command
        self._environ = {"HOME": str(home), "PATH": os.environ.get("PATH", ""), **environ}
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id, 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it, and do not wait. If it has died, what it has left of itself is ended first."""
        if self._process is not None:
            end_leftovers([self.home])
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.home,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.home / "pid").write_text(f"{self.pid}\n")

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Raises RuntimeError if it ends, or is not ready within ``seconds``."""
        deadline = time.monotonic() + seconds
        while not self._ready():
            if not self.alive or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start: {self.log()}")
            time.sleep(POLL_SECONDS)

    def log(self) -> str:
        """The end of its log."""
        return (self.home / "log").read_text(errors="replace")[-LOG_TAIL:]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, seconds: float) -> None:
        """Ask it to end, and kill it after ``seconds``. Idempotent."""
        self.signal(signal.SIGTERM)
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End it as a power cut does, and all that it has started. Idempotent."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(KILLED_SECONDS)
            (self.home / "pid").unlink(missing_ok=True)


def responds(url: str) -> bool:
    """Whether a GET of ``url`` gets a response that is no error, within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - of ours  # nosec B310
            return True
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return False


def listens(port: int) -> bool:
    """Whether a server takes connections on ``port`` of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def end_leftovers(homes: Iterable[Path]) -> list[str]:
    """Kill the servers that a killed launcher left running in their ``homes``, and what a killed
    server left there of its own; their names."""
    left = [(home.name, process) for home in homes for process in _group(home)]
    for _, process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + KILLED_SECONDS
    while any(_runs(process) for _, process in left) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return sorted({name for name, _ in left})


def _group(home: Path) -> list[Any]:
    """The processes of the group that was started in ``home``, and work there still."""
    try:
        leader = int((home / "pid").read_text())
    except (OSError, ValueError):
        return []
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == leader and process.cwd() == str(home.resolve()):
                found.append(process)
    return found


def _runs(process: Any) -> bool:
    """Not every process 1 collects its children soon: a zombie does not run."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
