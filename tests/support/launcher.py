"""Programs that tests start: what they print is collected, and none outlives its test.

A server with a directory of its own is a :class:`manifests.laptop.server.Server`; the clusters,
gateways and pods of tests are made of those.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Self

from tests.support.credentials import SECRET

SFS_SERVER = (sys.executable, "-m", "sfs_server")
SETTINGS = {"JWT_SECRET": SECRET, "SFS_DRAIN_GRACE": "0"}
"""Variables of a service that is started and stopped by a test."""

START_SECONDS = 30.0
END_SECONDS = 20.0
POLL_SECONDS = 0.01

_ROOT = Path(__file__).parents[2]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a process: no settings of the user who runs the tests, and ``more``."""
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
        [*SFS_SERVER, *arguments],
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


class Program:
    """A running program. At the end of a ``with`` block it is killed."""

    def __init__(
        self,
        *command: str | Path,
        env: Mapping[str, str] | None = None,
        stdout: int | IO[Any] = subprocess.PIPE,
        stderr: int | IO[Any] = subprocess.PIPE,
        **options: Any,
    ) -> None:
        """``env`` is all of its environment, if not that of :func:`environment`; ``options`` are
        those of :class:`subprocess.Popen`."""
        self._popen = subprocess.Popen(
            command,
            env=environment() if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            **options,
        )
        self._output: list[bytes] = []
        self._log: list[bytes] = []
        self._readers = [
            threading.Thread(target=self._collect, args=(stream, lines))
            for stream, lines in (
                (self._popen.stdout, self._output),
                (self._popen.stderr, self._log),
            )
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    @property
    def output(self) -> str:
        """What it has printed on standard output so far, in whole lines."""
        return b"".join(self._output).decode(errors="replace")

    @property
    def log(self) -> str:
        """What it has printed on standard error so far, in whole lines."""
        return b"".join(self._log).decode(errors="replace")

    def wait_for(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """Block until a line of either stream matches. The test fails if the program ends before,
        or after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            ended = not self.alive
            if ended:
                self._finish()
            if found := re.search(pattern, self.output) or re.search(pattern, self.log):
                return found
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r} in:\n{self.output}{self.log}")
            time.sleep(POLL_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut does. Idempotent."""
        self._popen.kill()
        self.wait()

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Block until it has ended; the exit code. Raises subprocess.TimeoutExpired."""
        code = self._popen.wait(seconds)
        self._finish()
        return code

    async def ended(self, seconds: float = END_SECONDS) -> int:
        """As ``wait``, while the event loop goes on."""
        return await asyncio.to_thread(self.wait, seconds)

    def _finish(self) -> None:
        for reader in self._readers:
            reader.join()
        for stream in (self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()

    @staticmethod
    def _collect(stream: IO[bytes], lines: list[bytes]) -> None:
        lines.extend(iter(stream.readline, b""))


class Process(Program):
    """A process of the service, on a ``port`` of its own."""

    def __init__(
        self,
        data: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        by: Sequence[str] = (),
        stderr: int | IO[Any] = subprocess.PIPE,
    ) -> None:
        """Blocks until it serves. ``env`` is added to SETTINGS; ``by`` is a program that runs
        it."""
        command = (*by, *SFS_SERVER, "-addr", "127.0.0.1:0", "-data", str(data), *arguments)
        super().__init__(*command, env=environment({**SETTINGS, **(env or {})}), stderr=stderr)
        try:
            self.port = int(self.wait_for(r"serves at http://127\.0\.0\.1:(\d+)")[1])
        except BaseException:
            self.kill()
            raise


@asynccontextmanager
async def launched(data: Path, *arguments: str, **options: Any) -> AsyncIterator[Process]:
    """A :class:`Process` while the context is open; the event loop goes on while it starts."""
    process = await asyncio.to_thread(Process, data, *arguments, **options)
    try:
        yield process
    finally:
        process.kill()
