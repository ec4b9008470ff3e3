"""Real processes of the service, to be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.support.credentials import SECRET

START_SECONDS = 30.0

_ROOT = Path(__file__).parents[2]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a process gets: nothing of the settings of whoever runs the tests."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "error",
        **(more or {}),
    }


def run(
    *arguments: str, env: Mapping[str, str] | None = None, seconds: float = 50.0
) -> subprocess.CompletedProcess[str]:
    """Run ``sfs-server`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sfs_server", *arguments],
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


class Process:
    """One running ``sfs-server`` on a port of its own. Whoever starts it ends it."""

    def __init__(
        self,
        data: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        by: Sequence[str] = (),
    ) -> None:
        """``by``: a program that runs it."""
        command = [
            *by,
            sys.executable,
            "-m",
            "sfs_server",
            "-addr",
            "127.0.0.1:0",
            "-data",
            str(data),
        ]
        self._popen = subprocess.Popen(
            [*command, *arguments],
            env=environment({"JWT_SECRET": SECRET, "SFS_DRAIN_GRACE": "0", **(env or {})}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._log: list[bytes] = []
        self._banner: list[bytes] = []
        self._readers = [
            threading.Thread(target=self._collect, args=(stream, lines))
            for stream, lines in (
                (self._popen.stdout, self._banner),
                (self._popen.stderr, self._log),
            )
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.port = self._await_port()
        except BaseException:
            self.kill()
            raise

    @property
    def log(self) -> str:
        """What it has said on standard error."""
        return b"".join(self._log).decode()

    @property
    def banner(self) -> str:
        """What it has said on standard output."""
        return b"".join(self._banner).decode()

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut does. Idempotent."""
        self._popen.kill()
        self.wait()

    def wait(self, seconds: float = 20.0) -> int:
        """Wait for its end; the exit code."""
        code = self._popen.wait(seconds)
        for reader in self._readers:
            reader.join()
        for stream in (self._popen.stdout, self._popen.stderr):
            assert stream is not None
            stream.close()
        return code

    def _await_port(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while self._popen.poll() is None and time.monotonic() < deadline:
            found = re.search(rb"serves at http://127\.0\.0\.1:(\d+)", b"".join(self._banner))
            if found is not None:
                return int(found.group(1))
            time.sleep(0.01)
        raise AssertionError(f"it does not start: {self.log}")

    @staticmethod
    def _collect(stream: IO[bytes] | None, lines: list[bytes]) -> None:
        assert stream is not None
        lines.extend(iter(stream.readline, b""))
