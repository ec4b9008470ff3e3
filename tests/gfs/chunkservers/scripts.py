"""Chunkservers that are scripts instead of servers: each goes exactly as far as its script says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import google_crc32c

from gfs.chunkservers import Chunk, ChunkReading, Response
from gfs.errors import GfsError, StoreUnavailable

SIZE = 300
DATA = bytes(index * 7 % 256 for index in range(SIZE))
OTHER = bytes(byte ^ 0xFF for byte in DATA)


def crc_of(data: bytes) -> str:
    """The CRC32C of ``data`` as eight hexadecimal digits."""
    return f"{google_crc32c.value(data):08x}"


def flipped(*places: int) -> bytes:
    """DATA with other bytes at ``places``."""
    return bytes(byte ^ 0xFF if at in places else byte for at, byte in enumerate(DATA))


CRC = crc_of(DATA)
CHUNK = Chunk("3,a0", SIZE, CRC)
CUT = StoreUnavailable("the connection was cut")


@dataclass(frozen=True, slots=True)
class Script:
    """What one replica does.

    ``data`` is what it sends, and ``crc`` and ``size`` what it says of it ('' and None: nothing);
    ``start`` is the byte that it starts at instead of the one that was asked for. It sends pieces
    of ``piece`` bytes, and after ``stop`` bytes of the chunk raises ``tail``, or is silent if it
    ``stalls``. ``head`` is what it raises instead of a response.
    """

    data: bytes = DATA
    crc: str = CRC
    size: int = SIZE
    start: int | None = None
    piece: int = 64
    stop: int | None = None
    tail: BaseException = CUT
    stalls: bool = False
    head: BaseException | None = None


OK = Script()


@dataclass(slots=True)
class Scripts:
    """Implements :class:`gfs.chunkservers.Chunkservers`. ``asked``: number of the replica and the
    byte from which on it was asked; ``open``: responses that are; ``located``: how often replicas
    were looked for, and whether the master was to be asked."""

    scripts: list[Script]
    asked: list[tuple[int, int]] = field(default_factory=list)
    failures: list[tuple[int, GfsError]] = field(default_factory=list)
    located: list[bool] = field(default_factory=list)
    open: int = 0

    async def locate(self, chunk: Chunk, *, again: bool) -> Sequence[str]:
        self.located.append(again)
        return [f"10.0.0.{number}:80" for number in range(len(self.scripts))]

    async def ask(self, address: str, chunk: Chunk, start: int, expect: int) -> Response:
        number = _number(address)
        self.asked.append((number, start))
        await asyncio.sleep(0)
        script = self.scripts[number]
        if script.head is not None:
            raise script.head
        return ScriptedResponse(self, script, start)

    def failed(self, address: str, error: GfsError) -> None:
        self.failures.append((_number(address), error))


def _number(address: str) -> int:
    return int(address.removesuffix(":80").rpartition(".")[2])


class ScriptedResponse(Response):
    """What ``described`` reads of it is as a server would say it."""

    def __init__(self, scripts: Scripts, script: Script, asked: int) -> None:
        start = asked if script.start is None else script.start
        self.status = 206 if asked or start else 200
        self.headers = {"etag": f'"{script.crc}"'} if script.crc else {}
        if self.status == 206:
            self.headers["content-range"] = f"bytes {start}-{script.size - 1}/{script.size}"
        self.length = script.size - start
        self._script = script
        self._scripts = scripts
        self._at = start
        self._closed = False
        scripts.open += 1

    async def piece(self, idle_seconds: float = 0) -> bytes:
        assert not self._closed
        await asyncio.sleep(0)
        script = self._script
        stop = len(script.data) if script.stop is None else script.stop
        at, self._at = self._at, min(self._at + script.piece, stop)
        if at < stop:
            return script.data[at : self._at]
        if script.stalls:
            await asyncio.sleep(idle_seconds)
            raise StoreUnavailable("silent")
        raise script.tail

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._scripts.open -= 1


@dataclass(slots=True)
class Outcome:
    """What a reading yielded, and how it ended."""

    pieces: list[bytes] = field(default_factory=list)
    error: GfsError | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


async def read(
    scripts: Scripts,
    start: int = 0,
    length: int | None = None,
    *,
    chunk: Chunk = CHUNK,
    reading: ChunkReading | None = None,
    enough: Callable[[Outcome], bool] = lambda _: False,
) -> Outcome:
    """Read to the end, or until that is ``enough``; nothing may stay open."""
    outcome = Outcome()
    reading = reading or ChunkReading(scripts, chunk)
    try:
        async with aclosing(reading.read(start, length)) as pieces:
            async for piece in pieces:
                outcome.pieces.append(bytes(piece))
                if enough(outcome):
                    break
    except GfsError as error:
        outcome.error = error
    assert scripts.open == 0
    assert all(outcome.pieces)
    return outcome
