"""Reading needles: checked end to end, from whichever replicas have them.

A large one is read by :func:`gfs.chunkservers.read_span` from one replica after the other, a small
one (``load``) is had whole before a byte of it is given.

A volume server checks the CRC32C of a needle before it sends a byte, but only of one of at most
4 MiB that is asked for whole; of a larger one it has sent most by the time it notices, and of a
range it checks nothing. So needles are always read whole, whatever range is wanted, and checked
once more here: the ETag of the answer is the CRC32C of the bytes. The last piece of what is wanted
is held back until the rest of the needle has come and its CRC agrees.

What was passed on before that may still turn out wrong. Therefore a :class:`NeedleSource` remembers
the CRC of what one reading has been given so far; the next replica's bytes up to the same place
must have the same one before any byte behind it is passed on. A reading that was given wrong bytes
ends with DataLoss, never with a file of the right length.

When its reader takes no bytes, a reading may be given up, and another one with the same source
goes on later: a volume server holds 4 MiB for each response that is under way. The server of the
last piece is asked for a range, from the start of that piece on: it checked the needle before it
sent the first byte, and the CRC goes on from what came before. What was passed on already is
compared first, and not passed on again. Any other server is asked for the whole needle.

``readDeleted=true`` lets a reader go on after its file was overwritten or deleted, until the
volume is vacuumed. Needles that are stored compressed are inflated by the server, which has checked
them; their ETag is of the compressed bytes and is not compared.

When all replicas of a needle have failed, but gave some bytes since the last time that all had,
the masters are asked where it is now and all are asked again: a server cuts an answer off that a
slow client does not take for 30 s, and that is not its fault.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import google_crc32c

from gfs.chunkservers import HttpAnswer, HttpChunkSource, OnFailover, Span, read_span
from gfs.errors import DataLoss, GfsError, StoreUnavailable
from gfs.seaweedfs.entries import Needle
from gfs.seaweedfs.servers import fid as fids
from gfs.seaweedfs.servers.master import Masters
from gfs.seaweedfs.servers.volume import VolumeServers
from gfs.types import Bytes, Chunk, Replica

IDLE_SECONDS = 5.0
"""How long a volume server may be silent before the next replica is asked."""

_log = logging.getLogger(__name__)

MAX_ROUNDS = 100
"""How often all replicas of one needle are asked, at most."""

MANIFEST_BYTES = 16 * 1024 * 1024


class Needles:
    """Reads needles, whole or in part, from whichever replicas have them."""

    def __init__(
        self, masters: Masters, volumes: VolumeServers, on_failover: OnFailover | None = None
    ) -> None:
        self._masters = masters
        self._volumes = volumes
        self._told = on_failover

    def source(self, needle: Needle) -> NeedleSource:
        """What ``read`` needs to know of what it has passed on of ``needle``: nothing yet."""
        return NeedleSource(self._volumes, needle)

    async def read(
        self, needle: Needle, source: NeedleSource, start: int, length: int
    ) -> AsyncGenerator[Bytes, None]:
        """Yield ``length`` bytes from ``start`` on. Raises what ``read_span`` raises.

        If it is closed before its end, another one with the same ``source`` may go on at any byte
        of the last piece.
        """
        end = start + length
        fresh = False
        for round_number in range(MAX_ROUNDS):
            servers = source.first(await self._servers(needle, fresh=fresh))
            replicas = tuple(map(Replica, servers))
            chunk = Chunk(needle.fid, 0, needle.size, replicas, needle.crc)
            begun = start
            span = Span(chunk, start, end - start)
            reading = read_span(
                source, span, idle_seconds=IDLE_SECONDS, on_failover=self._on_failover
            )
            try:
                async with aclosing(reading) as pieces:
                    async for piece in pieces:
                        start += len(piece)
                        yield piece
            except GfsError:
                if (start == begun and fresh) or round_number + 1 == MAX_ROUNDS:
                    raise
                fresh = True
            else:
                return

    async def load(self, needle: Needle, size: int | None = None) -> bytes:
        """All bytes of a small needle: ``size`` of them, or if that is not known at most
        MANIFEST_BYTES. Checked before the first of them is given.

        Raises DataLoss and StoreUnavailable as ``read`` does.
        """
        failure: GfsError = StoreUnavailable(f"chunk {needle.fid} has no replica")
        for fresh in (False, True):
            for server in await self._servers(needle, fresh=fresh):
                try:
                    return await self._volumes.get(server, needle, MANIFEST_BYTES, size)
                except GfsError as error:
                    self._on_failover(Replica(server), error)
                    if not isinstance(failure, DataLoss):
                        failure = error
        raise failure

    async def _servers(self, needle: Needle, *, fresh: bool) -> list[str]:
        """Who has the needle, in the order in which they are to be asked."""
        servers = await self._masters.locations(fids.volume_of(needle.fid), fresh=fresh)
        return self._volumes.order(server.http for server in servers)

    def _on_failover(self, replica: Replica, error: GfsError) -> None:
        _log.info("volume server %s was passed over: %s", replica.address, error)
        if isinstance(error, StoreUnavailable):
            self._volumes.suspect(replica.address)
        if self._told is not None:
            self._told(replica, error)


class _Http(HttpChunkSource):
    """Needles by their identifiers, also deleted ones."""

    def __init__(self, servers: VolumeServers) -> None:
        super().__init__(servers.connections)
        self._servers = servers

    def target(self, chunk: Chunk) -> str:
        return f"/{chunk.key}?readDeleted=true"

    def headers(self, chunk: Chunk) -> Sequence[tuple[str, str]]:
        return self._servers.read_headers(chunk.key)


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where the last piece that was passed on begins: at byte ``at`` of the needle, as ``address``
    gave it. ``crc``: the CRC32C of what comes before it."""

    address: str
    at: int
    crc: int


class NeedleSource:
    """A :class:`gfs.chunkservers.ChunkSource` for one reading of one needle, and for another one
    that goes on where it was given up."""

    def __init__(self, servers: VolumeServers, needle: Needle) -> None:
        self._http = _Http(servers)
        self._needle = needle
        self.given = 0
        """How many of the needle's bytes have been passed on."""

        self.given_crc = 0
        """Their CRC32C."""

        self.mark: _Mark | None = None

    def goes_on(self, needle: Needle, start: int) -> bool:
        """Whether a reading of ``needle`` from ``start`` on goes on with this one."""
        return needle.fid == self._needle.fid and start <= self.given

    def first(self, servers: list[str]) -> list[str]:
        """The servers, that which gave the last piece in front: it need not give all again."""
        if self.mark is not None and self.mark.address in servers:
            servers.remove(self.mark.address)
            servers.insert(0, self.mark.address)
        return servers

    async def fetch(
        self, replica: Replica, chunk: Chunk, start: int, length: int, idle_seconds: float
    ) -> _Checked:
        """The needle, as far as it is wanted, from the last piece on if the same replica gave that
        one, else from byte 0. See ``ChunkSource.fetch``."""
        mark, self.mark = self.mark, None
        goes_on = mark is not None and mark.address == replica.address and mark.at <= start
        if mark is None or not goes_on or self._needle.compressed:
            mark = _Mark(replica.address, 0, 0)
        answer = await self._http.fetch(replica, chunk, mark.at, chunk.size - mark.at, idle_seconds)
        try:
            return _Checked(self, answer, chunk, (start, start + length), mark)
        except BaseException:
            answer.close()
            raise

    def expected(self, etag: str) -> str:
        """The CRC32C of the needle by what the server says, '' if that is of compressed bytes."""
        return "" if self._needle.compressed else etag


class _Checked:
    """The answer of one replica: bytes before the end of ``span``, the last of them when all of the
    needle are known to be right. Those before the beginning of ``span`` are passed on too, but
    nobody uses them; those that were passed on before, when they are known to be the same."""

    __slots__ = (
        *("_address", "_answer", "_crc", "_end", "_expected", "_kept", "_position", "_source"),
        *("_used", "size", "start", "version"),
    )

    def __init__(
        self,
        source: NeedleSource,
        answer: HttpAnswer,
        chunk: Chunk,
        span: tuple[int, int],
        mark: _Mark,
    ) -> None:
        """Raises DataLoss where the header says that it is not the needle from ``mark`` on."""
        if answer.start != mark.at:
            raise DataLoss("the response is not the part of the chunk that was asked for")
        if answer.size != chunk.size:
            raise DataLoss(f"a chunk of {answer.size} bytes instead of {chunk.size}")
        expected = source.expected(answer.version)
        if chunk.version and expected != chunk.version:
            raise DataLoss("another version of the chunk")
        self.start = mark.at
        self.version = chunk.version
        self.size: int | None = chunk.size
        self._source = source
        self._answer = answer
        self._address = mark.address
        self._used, self._end = span
        self._expected = expected
        self._position, self._crc = mark.at, mark.crc
        self._kept: Bytes = b""

    async def piece(self) -> Bytes:
        size, end, source = self.size or 0, self._end, self._source
        held: list[Bytes] = []
        mark = _Mark(self._address, self._position, self._crc)
        while self._position < size:
            begun = self._position
            data = await self._next()
            if self._position <= self._used:
                return data
            if begun < end:
                held.append(data if self._position <= end else memoryview(data)[: end - begun])
            if source.given <= self._position < end:
                break
        else:
            if self._expected not in ("", f"{self._crc:08x}"):
                raise DataLoss("the checksum does not agree")
        source.mark = mark
        if self._position > source.given:
            source.given, source.given_crc = self._position, self._crc
        return held[0] if len(held) == 1 else b"".join(held)

    async def _next(self) -> Bytes:
        """The next bytes, up to those that were passed on before or behind them. Raises DataLoss
        where it shows that an earlier replica gave other ones."""
        data, self._kept = self._kept or await self._answer.piece(), b""
        if not data:
            raise DataLoss(f"{(self.size or 0) - self._position} bytes of the chunk are missing")
        split = self._source.given - self._position
        if 0 < split < len(data):
            data, self._kept = data[:split], data[split:]
        self._crc = google_crc32c.extend(self._crc, data)
        self._position += len(data)
        if split == len(data) and self._crc != self._source.given_crc:
            raise DataLoss("the replicas have different bytes")
        return data

    def close(self) -> None:
        self._answer.close()
