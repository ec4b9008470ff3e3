"""Reading a chunk from its replicas: what a dead chunkserver costs is time, never bytes.

A chunk is written once, kept in several copies, and named by its CRC32C. Its replicas are asked one
after the other, each at most once in a round, and the next one goes on exactly where the last one
stopped: ``position`` is the byte of the chunk that is to be yielded next, and no second counter can
disagree with it.

**Chunks are fetched whole, whatever range is wanted.** A chunkserver checks the CRC of a chunk
before it sends a byte only if the chunk is asked for whole (and, in SeaweedFS, has at most 4 MiB);
of a range it checks nothing. So the CRC is taken here over all bytes as they come. The last piece
of what is wanted is held back until the rest of the chunk has come and its CRC is right; of a small
chunk (WHOLE_BYTES) every piece is held back, so that a wrong copy of it costs nothing.

**What was yielded may still turn out wrong**, of a large chunk whose replica breaks off in the
middle. So a reading keeps the CRC of all bytes up to ``position``: those of the next replica up
to there must have the same one before any byte behind them is yielded. A reading that yielded wrong
bytes ends with DataLoss, never with a chunk of the right length.

**A reading may be given up and go on later**, since a chunkserver holds 4 MiB of memory for each
response that is under way. The replica that gave the last piece is then asked for a range, from
that piece to the end of the chunk: it checked the chunk before it sent the first byte, and the CRC
goes on from what came before. Every other replica is asked for the whole chunk.

A replica has failed if its response does not start within IDLE_SECONDS, is silent for so long while
a byte is waited for, ends too early, describes something else than what was asked for, or has other
bytes. Only silence counts: neither a large chunk nor a slow reader is a failure, and there is no
deadline for the whole. Of a response that goes on too long, nothing behind the last byte is used.

When all replicas have failed, the engine is asked again where they are, and all are asked once
more; and so on for as long as each round yields a byte: a server cuts off a response that a slow
client does not take for 30 s, and that is not its fault.

Only a GfsError makes the next replica's turn. A cancellation, a closed generator and a bug pass
through as they are, and every response is closed on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import google_crc32c

from gfs.chunkservers.client import Response
from gfs.chunkservers.headers import described
from gfs.errors import DataLoss, GfsError, StoreUnavailable
from gfs.types import Bytes

IDLE_SECONDS = 5.0
"""How long a replica may be silent, before its response starts and between two pieces of it."""

MAX_ROUNDS = 100
"""How often all replicas of one chunk are asked, at most."""

WHOLE_BYTES = 256 * 1024
"""A chunk that is not larger is fetched whole before a byte of it is yielded."""

UNKNOWN_BYTES = 16 * 1024 * 1024
"""The largest chunk of unknown size that is fetched; it is fetched whole."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of bytes that chunkservers keep under ``key``, and that never changes.

    ``size``: how many bytes it has; None if the entry of the file does not say that. ``crc``: their
    CRC32C as eight hexadecimal digits, or ''. ``compressed``: chunkservers keep it compressed and
    inflate it, so the CRC that they send is not that of the bytes they send.
    """

    key: str
    size: int | None
    crc: str = ""
    compressed: bool = False


class Chunkservers(Protocol):
    """The chunkservers of one store, as its engine knows them."""

    async def locate(self, chunk: Chunk, *, again: bool) -> Sequence[str]:
        """The addresses of the replicas, in the order in which they are to be asked. ``again``: all
        of those before have failed, so ask the master. Raises a GfsError."""
        ...

    async def ask(self, address: str, chunk: Chunk, start: int, expect: int) -> Response:
        """Ask for ``chunk`` from byte ``start`` to its end; without a range if that is byte 0.

        Returns when the response has started. ``expect``: how many bytes will be read at once if
        all is well. Raises StoreUnavailable if there is no response, DataLoss if it is not HTTP.
        The caller bounds the time that this takes, and cancels it.
        """
        ...

    def failed(self, address: str, error: GfsError) -> None:
        """Is called for each replica that failed, at ``address``. It must not block or raise."""
        ...


class _Mark(NamedTuple):
    """Where the last piece that was yielded starts: at byte ``at`` of the chunk, as ``address``
    sent it. ``crc``: the CRC32C of the bytes before it."""

    address: str
    at: int
    crc: int


class ChunkReading:
    """One reading of one chunk, which may be given up and go on later. Used by one task at a time.

    After a ``read`` was closed, another ``read`` goes on from any byte that ``reaches`` allows.
    """

    def __init__(self, chunkservers: Chunkservers, chunk: Chunk) -> None:
        self._chunkservers = chunkservers
        self._chunk = chunk
        self._whole = chunk.size is None or chunk.size <= WHOLE_BYTES
        self._yielded = 0  # the bytes before this one were yielded, or were not asked for
        self._yielded_crc = 0
        self._mark: _Mark | None = None

    def __repr__(self) -> str:
        return f"<ChunkReading {self._chunk.key} yielded={self._yielded} size={self._chunk.size}>"

    def reaches(self, chunk: Chunk, start: int) -> bool:
        """Whether a reading of ``chunk`` from ``start`` on can go on with this one."""
        return chunk.key == self._chunk.key and start <= self._yielded

    async def read(self, start: int = 0, length: int | None = None) -> AsyncGenerator[Bytes, None]:
        """Yield exactly ``length`` bytes from ``start`` on, or all up to the end of the chunk, in
        non-empty pieces, from whichever replicas have them.

        When no replica is left, raises DataLoss if one of them sent a byte or something wrong, and
        StoreUnavailable if none could be reached (or there is none). The text names the address and
        the failure of each; ``__cause__`` is the last failure. What was yielded before is right all
        the same, unless replicas of a large chunk have different bytes. Hold the generator in
        ``contextlib.aclosing``.
        """
        if length == 0:
            return
        position = start
        end = self._chunk.size if length is None else start + length
        again = False
        failures: list[tuple[str, GfsError]] = []
        for _ in range(MAX_ROUNDS):
            before = position
            failures.clear()
            for address in await self._replicas(again):
                try:
                    async with aclosing(self._read_from(address, position, end)) as pieces:
                        async for piece in pieces:
                            position += len(piece)
                            yield piece
                except GfsError as error:
                    self._chunkservers.failed(address, error)
                    failures.append((address, error))
                else:
                    return
            if again and position == before:
                break
            again = True
        raise self._failure(position, failures, wrong=position > before) from (
            failures[-1][1] if failures else None
        )

    async def _replicas(self, again: bool) -> list[str]:
        """The addresses to ask, in order: first the one that sent the last piece, since it need not
        send the bytes before that piece again."""
        addresses = list(await self._chunkservers.locate(self._chunk, again=again))
        if self._mark is not None and self._mark.address in addresses:
            addresses.remove(self._mark.address)
            addresses.insert(0, self._mark.address)
        return addresses

    async def _read_from(
        self, address: str, start: int, end: int | None
    ) -> AsyncGenerator[Bytes, None]:
        """Yield the bytes from ``start`` up to ``end`` as the replica at ``address`` sends them;
        the last piece when the checksum of the whole chunk was right."""
        at, crc = self._resume(address, start)
        with closing(await self._ask(address, at)) as response:
            size, expected = self._check(response, at)
            held: list[Bytes] = []  # bytes to yield that must not be yielded yet
            mark = _Mark(address, at, crc)
            rest = b""
            while at < size:
                data, rest = rest or await response.piece(IDLE_SECONDS), b""
                if 0 < (again := self._yielded - at) < len(data):
                    data, rest = data[:again], data[again:]
                if not held:
                    mark = _Mark(address, at, crc)
                wanted = _cut(data, start - at, None if end is None else end - at)
                crc = google_crc32c.extend(crc, data)
                at += len(data)
                if at == self._yielded and crc != self._yielded_crc:
                    raise DataLoss("the replicas have different bytes")
                if at == size and expected not in ("", f"{crc:08x}"):
                    raise DataLoss("the checksum does not agree")
                if wanted:
                    held.append(wanted)
                early = not self._whole and self._yielded <= at and (end is None or at < end)
                if held and (early or at == size):
                    self._mark, self._yielded, self._yielded_crc = mark, at, crc
                    piece = held[0] if len(held) == 1 else b"".join(held)
                    held = []
                    yield piece

    def _resume(self, address: str, start: int) -> tuple[int, int]:
        """The byte from which on to ask this replica, and the CRC32C of the bytes before it."""
        mark, self._mark = self._mark, None
        if mark is None or self._chunk.compressed or mark.address != address or mark.at > start:
            return 0, 0
        return mark.at, mark.crc

    async def _ask(self, address: str, at: int) -> Response:
        """The response of a replica, when it has started; within IDLE_SECONDS."""
        expect = (self._chunk.size or 0) if self._whole else 0
        limit = asyncio.timeout(IDLE_SECONDS)
        try:
            async with limit:
                return await self._chunkservers.ask(address, self._chunk, at, expect)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise StoreUnavailable(f"silent for {IDLE_SECONDS:g} s") from error

    def _check(self, response: Response, at: int) -> tuple[int, str]:
        """The size of the chunk, and the CRC32C that all of its bytes must have, '' if there is
        none to compare. Raises a GfsError unless the response is the chunk from ``at`` on."""
        chunk, part = self._chunk, described(response)
        if part.start != at:
            raise DataLoss(f"the response starts at byte {part.start}, not at {at}")
        if chunk.size is None and part.size > UNKNOWN_BYTES:
            raise DataLoss(f"a chunk of {part.size} bytes, which is more than {UNKNOWN_BYTES}")
        if chunk.size not in (None, part.size):
            raise DataLoss(f"a chunk of {part.size} bytes instead of {chunk.size}")
        if chunk.compressed:
            return part.size, ""
        if not part.crc or part.crc != (chunk.crc or part.crc):
            raise DataLoss("another version of the chunk")
        return part.size, part.crc

    def _failure(
        self, position: int, failures: Sequence[tuple[str, GfsError]], *, wrong: bool
    ) -> GfsError:
        """The error that all replicas have failed. ``wrong``: one of them has sent a byte."""
        wrong = wrong or not all(isinstance(error, StoreUnavailable) for _, error in failures)
        reasons = "; ".join(f"{address}: {error}" for address, error in failures)
        kind = DataLoss if wrong else StoreUnavailable
        return kind(f"byte {position} of chunk {self._chunk.key}: {reasons or 'it has no replica'}")


def _cut(data: bytes, start: int, end: int | None) -> Bytes:
    """The bytes of ``data`` from ``start`` up to ``end``, either of which may be outside of it;
    without a copy."""
    if start <= 0 and (end is None or end >= len(data)):
        return data
    return memoryview(data)[max(start, 0) : None if end is None else max(end, 0)]
