"""Reading needles: checked end to end, from whichever replicas have them.

A large one is read by :func:`gfs.replicas.read_span` from one replica after the other, a small one
(``load``) is had whole before a byte of it is given.

A volume server checks the CRC32C of a needle before it sends a byte, but only of one of at most
4 MiB that is asked for whole; of a larger one it has sent most by the time it notices, and of a
range it checks nothing. So needles are always read whole, whatever range is wanted, and checked
once more here: the ETag of the answer is the CRC32C of the bytes. The last piece of what is wanted
is held back until the rest of the needle has come and its CRC agrees.

What was passed on before that may still turn out wrong. Therefore a :class:`NeedleSource` remembers
the CRC of what one reading has been given so far; the next replica's bytes up to the same place
must have the same one before any byte behind it is passed on. A reading that was given wrong bytes
ends with DataLoss, never with a file of the right length.

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

import google_crc32c

from gfs.errors import DataLoss, GfsError, StoreUnavailable
from gfs.replicas import OnFailover, read_span
from gfs.replicas_http import HttpAnswer, HttpChunkSource
from gfs.seaweedfs import fid as fids
from gfs.seaweedfs.entries import Needle
from gfs.seaweedfs.master import Masters
from gfs.seaweedfs.volume import VolumeServers
from gfs.spans import Span
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

    async def read(self, needle: Needle, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        """Yield ``length`` bytes from ``start`` on. Raises what ``read_span`` raises."""
        source = NeedleSource(self._volumes, compressed=needle.compressed)
        end = start + length
        fresh = False
        for round_number in range(MAX_ROUNDS):
            replicas = tuple(map(Replica, await self._servers(needle, fresh=fresh)))
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


class NeedleSource:
    """A :class:`gfs.replicas.ChunkSource` for one reading of one needle."""

    def __init__(self, servers: VolumeServers, *, compressed: bool) -> None:
        self._http = _Http(servers)
        self._compressed = compressed
        self.given = 0
        """How many of the needle's bytes have been passed on."""

        self.given_crc = 0
        """Their CRC32C."""

    async def fetch(
        self, replica: Replica, chunk: Chunk, start: int, length: int, idle_seconds: float
    ) -> _Checked:
        """The whole needle from byte 0, as far as it is wanted. See ``ChunkSource.fetch``."""
        answer = await self._http.fetch(replica, chunk, 0, chunk.size, idle_seconds)
        try:
            return _Checked(self, answer, chunk, (start, start + length), self._compressed)
        except BaseException:
            answer.close()
            raise


class _Checked:
    """The answer of one replica: bytes before the end of ``span``, the last of them when all of the
    needle are known to be right. Those before the beginning of ``span`` are passed on too, but
    nobody uses them."""

    __slots__ = (
        *("_answer", "_crc", "_end", "_expected", "_position", "_source", "_used"),
        *("size", "start", "version"),
    )

    def __init__(
        self,
        source: NeedleSource,
        answer: HttpAnswer,
        chunk: Chunk,
        span: tuple[int, int],
        compressed: bool,
    ) -> None:
        """Raises DataLoss where the header says that it is not the whole needle."""
        if answer.start != 0:
            raise DataLoss("a part of the chunk instead of the whole")
        if answer.size != chunk.size:
            raise DataLoss(f"a chunk of {answer.size} bytes instead of {chunk.size}")
        expected = "" if compressed else answer.version
        if chunk.version and expected != chunk.version:
            raise DataLoss("another version of the chunk")
        self.start = 0
        self.version = chunk.version
        self.size: int | None = chunk.size
        self._source = source
        self._answer = answer
        self._used, self._end = span
        self._expected = expected
        self._position = self._crc = 0

    async def piece(self) -> Bytes:
        size, end = self.size or 0, self._end
        held: Bytes = b""
        while self._position < size:
            data = await self._answer.piece()
            if not data:
                raise DataLoss(f"{size - self._position} bytes of the chunk are missing")
            begun, self._position = self._position, self._position + len(data)
            self._extend(data, begun)
            if self._position < end:
                if self._position > max(self._used, self._source.given):
                    self._source.given, self._source.given_crc = self._position, self._crc
                return data
            if begun < end:
                held = data if self._position == end else memoryview(data)[: end - begun]
            if self._position == size and self._expected not in ("", f"{self._crc:08x}"):
                raise DataLoss("the checksum does not agree")
        return held

    def close(self) -> None:
        self._answer.close()

    def _extend(self, data: Bytes, position: int) -> None:
        """Add ``data``, which begins at ``position``, to the CRC. Raises DataLoss where it shows
        that an earlier replica gave other bytes."""
        split = self._source.given - position
        if 0 < split <= len(data):
            self._crc = google_crc32c.extend(self._crc, bytes(data[:split]))
            if self._crc != self._source.given_crc:
                raise DataLoss("the replicas have different bytes")
            data = bytes(data[split:])
        self._crc = google_crc32c.extend(self._crc, data)
