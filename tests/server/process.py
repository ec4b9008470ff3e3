"""A real process of the server, as an operator starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 30.0
STOP_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """``python -m sfs_server`` on a free port of 127.0.0.1; as a context it serves, then stops.

    Without ``database`` it has the embedded PostgreSQL.
    """

    def __init__(
        self, data: Path, database: str | None = None, secret: str | None = None, *flags: str
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = data.parent / f"server-{self.port}.log"
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("SFS_") and name not in ("DATABASE_URL", "JWT_SECRET")
        }
        if secret is not None:
            environ["JWT_SECRET"] = secret
        command = [sys.executable, "-m", "sfs_server", "-addr", f"127.0.0.1:{self.port}"]
        command += ["-data", str(data), *(["-database", database] if database else []), *flags]
        with self._log.open("wb") as log:
            self.popen = subprocess.Popen(command, env=environ, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.popen.poll() is None, self.log
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.02)
        raise AssertionError(f"not ready after {START_SECONDS} s: {self.log}")

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.popen.terminate()
        return self.popen.wait(STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a power cut does it."""
        self.popen.kill()
        self.popen.wait(STOP_SECONDS)

    def __enter__(self) -> Self:
        try:
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.popen.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
                raise
