"""Replicas that are scripts instead of servers: each goes exactly as far as it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from gfs.errors import GfsError
from gfs.replicas import Answer, read_span
from gfs.spans import Span
from gfs.types import Bytes, Chunk, Replica

SIZE = 300
DATA = bytes(index * 7 % 256 for index in range(SIZE))
OTHER = bytes(byte ^ 0xFF for byte in DATA)


@dataclass(slots=True)
class Script:
    """What one replica does. ``head``, ``tail``: what it raises instead of an answer, and after
    ``stop`` bytes of it; ``None`` as ``tail``: it just ends there."""

    start: int | None = None
    version: str = "v1"
    size: int | None = SIZE
    data: bytes = DATA
    stop: int | None = None
    more: bytes = b""
    piece: int = 64
    stalls: bool = False
    head: BaseException | None = None
    tail: BaseException | None = None


@dataclass(slots=True)
class Scripts:
    """A ChunkSource. ``asked`` are the requests: number of the replica, start, length."""

    scripts: Sequence[Script]
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    answers: int = 0
    streams: int = 0

    def chunk(self, version: str = "v1") -> Chunk:
        replicas = tuple(Replica(f"10.0.0.{number}:80") for number in range(len(self.scripts)))
        return Chunk("3,a0", 0, SIZE, replicas, version)

    @asynccontextmanager
    async def fetch(
        self, replica: Replica, chunk: Chunk, start: int, length: int
    ) -> AsyncIterator[Answer]:
        number = chunk.replicas.index(replica)
        script = self.scripts[number]
        self.asked.append((number, start, length))
        await asyncio.sleep(0)
        if script.head is not None:
            raise script.head
        first = start if script.start is None else script.start
        body = script.data[first : start + length] + script.more
        self.answers += 1
        try:
            yield Answer(first, script.version, script.size, self._body(script, body))
        finally:
            self.answers -= 1

    async def _body(self, script: Script, body: bytes) -> AsyncGenerator[Bytes, None]:
        stop = len(body) if script.stop is None else min(script.stop, len(body))
        self.streams += 1
        try:
            for at in range(0, stop, script.piece):
                await asyncio.sleep(0)
                yield body[at : min(at + script.piece, stop)]
            if script.stalls:
                await asyncio.sleep(60)
            if script.tail is not None:
                raise script.tail
        finally:
            try:
                # One that is left to the garbage collector comes to its end only later.
                await asyncio.sleep(0)
            finally:
                self.streams -= 1


@dataclass(slots=True)
class Outcome:
    data: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    error: GfsError | None = None
    failed: list[str] = field(default_factory=list)


async def read(
    source: Scripts,
    start: int = 0,
    length: int | None = None,
    *,
    version: str = "v1",
    idle_seconds: float = 20,
) -> Outcome:
    """Read a span; nothing may stay open."""
    outcome = Outcome()
    span = Span(source.chunk(version), start, SIZE - start if length is None else length)
    reading = read_span(
        source,
        span,
        idle_seconds=idle_seconds,
        on_failover=lambda replica, _: outcome.failed.append(replica.address),
    )
    try:
        async with aclosing(reading) as pieces:
            async for piece in pieces:
                outcome.pieces.append(bytes(piece))
    except GfsError as error:
        outcome.error = error
    outcome.data = b"".join(outcome.pieces)
    assert (source.answers, source.streams) == (0, 0)
    assert all(outcome.pieces)
    return outcome
