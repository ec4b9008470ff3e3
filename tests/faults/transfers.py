"""Transfers over HTTP with an accident at a given byte, and an account of all of them.

A transfer is right when its bytes are, and when it ends within its deadline. What is done at a byte
is done when that many bytes have passed at the client: it has a small receive buffer, so that the
service is not far ahead of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.client import Answer, Connection, call, connect, encode
from tests.support.credentials import bearer
from tests.support.launcher import Process

MB = 1_000_000
PIECE = 64 * 1024
RECEIVE_BUFFER = 64 * 1024
SCALE = float(os.environ.get("SFS_FAULT_SCALE", "1"))

Strike = Callable[[], Awaitable[None] | None]
"""What is done at a byte."""


def times(count: int) -> int:
    """How often a loop runs: ``count``, or the part of it that SFS_FAULT_SCALE says."""
    return max(1, round(count * SCALE))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def some_bytes(size: int, seed: int) -> bytes:
    """The same bytes for the same seed, and others for another."""
    return random.Random(seed).randbytes(size)


@dataclass
class Loop:
    """The account of one loop."""

    name: str
    strikes: int = 0
    transfers: int = 0
    bytes: int = 0
    slowest: float = 0.0
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @contextmanager
    def transfer(self, size: int) -> Iterator[None]:
        """Count what is done in the context as a transfer of so many bytes, if it goes well."""
        started = time.monotonic()
        yield
        self.slowest = max(self.slowest, time.monotonic() - started)
        self.transfers += 1
        self.bytes += size

    def __str__(self) -> str:
        struck = f"{self.strikes} times, " if self.strikes else ""
        line = (
            f"{self.name}: {struck}{self.transfers} transfers, "
            f"{self.bytes / MB:.0f} MB, {self.seconds:.1f} s, the slowest {self.slowest:.2f} s"
        )
        return "; ".join([line, *self.notes])


class Ledger:
    """The accounts of all loops, to be printed at the end."""

    def __init__(self) -> None:
        self.loops: list[Loop] = []

    @contextmanager
    def loop(self, name: str) -> Iterator[Loop]:
        """An account that is shown whether the loop goes well or not."""
        loop = Loop(name)
        self.loops.append(loop)
        started = time.monotonic()
        try:
            yield loop
        except BaseException as error:
            loop.notes.append(f"FAILED: {type(error).__name__}")
            raise
        finally:
            loop.seconds = time.monotonic() - started


@contextmanager
def serving(
    home: Path, masters: str, database: str, *arguments: str, count: int = 1
) -> Iterator[list[Process]]:
    """So many processes of the service, on one cluster and one database."""
    with ExitStack() as stack:
        processes = []
        for number in range(count):
            flags = ("-master", masters, "-database", database, "-log-format", "json", *arguments)
            process = Process(home / f"sfs{number}", *flags)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


async def download(
    port: int,
    path: str,
    *,
    at: int = 0,
    strike: Strike | None = None,
    pause: float = 0.0,
    deadline: float = 20.0,
    range_: str = "",
) -> bytes:
    """The body of a GET that is answered 200 or 206, complete by its Content-Length.

    ``strike`` is done when ``at`` bytes have come; ``pause`` seconds pass after each piece.
    Raises TimeoutError after ``deadline`` seconds, IncompleteReadError for a body that is cut.
    """
    headers = {"Range": range_} if range_ else {}
    async with (
        asyncio.timeout(deadline),
        connect(port, receive_buffer=RECEIVE_BUFFER) as connection,
    ):
        connection.send("GET", path, headers)
        status, fields = await connection.head()
        assert status in (200, 206), (status, fields)
        body = bytearray()
        size = int(fields["Content-Length"])
        while len(body) < size:
            if strike is not None and len(body) >= at:
                await _done(strike)
                strike = None
            body += await connection.reader.readexactly(min(PIECE, size - len(body)))
            if pause:
                await asyncio.sleep(pause)
    return bytes(body)


async def upload(
    port: int,
    path: str,
    data: bytes,
    *,
    method: str = "PUT",
    at: int = 0,
    strike: Strike | None = None,
    deadline: float = 60.0,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The answer to an upload; ``strike`` is done when ``at`` bytes of the body were sent.

    Raises TimeoutError after ``deadline`` seconds, ConnectionError or IncompleteReadError where the
    service goes away.
    """
    async with asyncio.timeout(deadline), connect(port) as connection:
        fields = {**(headers or bearer()), "Content-Length": str(len(data))}
        connection.send_raw(encode(method, path, fields))
        for start in range(0, max(len(data), 1), PIECE):
            if strike is not None and start >= at:
                await _done(strike)
                strike = None
            connection.send_raw(data[start : start + PIECE])
            await connection.drain()
        if strike is not None:
            await _done(strike)
        return await _answer(connection)


async def _answer(connection: Connection) -> Answer:
    """The answer, however long it takes: the deadline is the caller's."""
    status, headers = await connection.head(seconds=None)
    body = await connection.reader.readexactly(int(headers["Content-Length"]))
    return Answer(status, headers, body)


async def _done(strike: Strike) -> None:
    result = strike()
    if result is not None:
        await result


async def metric(port: int, name: str) -> float:
    """What ``/metrics`` says of ``name``, all labels together."""
    text = (await call(port, "GET", "/metrics")).body.decode()
    samples = (line.split() for line in text.splitlines())
    return sum(float(words[-1]) for words in samples if words[0].partition("{")[0] == name)
