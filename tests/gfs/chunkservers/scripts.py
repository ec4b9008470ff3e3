"""Replicas that are scripts instead of servers: each goes exactly as far as it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from gfs.chunkservers.replicas import read_span
from gfs.chunkservers.spans import Span
from gfs.errors import GfsError, StoreUnavailable
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

    def chunk(self, version: str = "v1") -> Chunk:
        replicas = tuple(Replica(f"10.0.0.{number}:80") for number in range(len(self.scripts)))
        return Chunk("3,a0", 0, SIZE, replicas, version)

    async def fetch(
        self, replica: Replica, chunk: Chunk, start: int, length: int, idle_seconds: float
    ) -> ScriptedAnswer:
        number = chunk.replicas.index(replica)
        script = self.scripts[number]
        self.asked.append((number, start, length))
        await asyncio.sleep(0)
        if script.head is not None:
            raise script.head
        first = start if script.start is None else script.start
        body = script.data[first : start + length] + script.more
        self.answers += 1
        return ScriptedAnswer(self, script, first, body, idle_seconds)


class ScriptedAnswer:
    def __init__(
        self, scripts: Scripts, script: Script, start: int, body: bytes, idle_seconds: float
    ) -> None:
        self.start, self.version, self.size = start, script.version, script.size
        self._scripts = scripts
        self._script = script
        self._stop = len(body) if script.stop is None else min(script.stop, len(body))
        self._body = body
        self._idle_seconds = idle_seconds
        self._at = 0
        self._closed = False

    async def piece(self) -> Bytes:
        assert not self._closed
        await asyncio.sleep(0)
        if self._at < self._stop:
            begun, self._at = self._at, min(self._at + self._script.piece, self._stop)
            return self._body[begun : self._at]
        if self._script.stalls:
            await asyncio.sleep(self._idle_seconds)
            raise StoreUnavailable("silent")
        if self._script.tail is not None:
            raise self._script.tail
        return b""

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._scripts.answers -= 1


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
    assert source.answers == 0
    assert all(outcome.pieces)
    return outcome
