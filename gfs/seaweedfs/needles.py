"""Reading needles: checked end to end, from whichever replicas have them.

Each is read by :func:`gfs.replicas.read_span` from one replica after the other.

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

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

import google_crc32c

from gfs.errors import DataLoss, GfsError, StoreUnavailable
from gfs.replicas import Answer, OnFailover, read_span
from gfs.replicas_http import HttpChunkSource
from gfs.seaweedfs import fid as fids
from gfs.seaweedfs.entries import Needle
from gfs.seaweedfs.master import Masters
from gfs.seaweedfs.volume import VolumeServers
from gfs.spans import Span
from gfs.types import Bytes, Chunk, Replica

IDLE_SECONDS = 5.0
"""How long a volume server may be silent before the next replica is asked."""

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
            chunk = await self._chunk(needle, fresh=fresh)
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

    async def load(self, needle: Needle) -> bytes:
        """All bytes of a needle whose size is not known, at most MANIFEST_BYTES.

        Raises DataLoss and StoreUnavailable as ``read`` does.
        """
        failure: GfsError = StoreUnavailable(f"chunk {needle.fid} has no replica")
        for fresh in (False, True):
            chunk = await self._chunk(needle, fresh=fresh)
            for replica in chunk.replicas:
                try:
                    return await self._volumes.get(replica.address, needle, MANIFEST_BYTES)
                except GfsError as error:
                    self._on_failover(replica, error)
                    failure = error
        raise failure

    async def _chunk(self, needle: Needle, *, fresh: bool) -> Chunk:
        servers = await self._masters.locations(fids.volume_of(needle.fid), fresh=fresh)
        replicas = map(Replica, self._volumes.order(server.http for server in servers))
        return Chunk(needle.fid, 0, needle.size, tuple(replicas), needle.crc)

    def _on_failover(self, replica: Replica, error: GfsError) -> None:
        if isinstance(error, StoreUnavailable):
            self._volumes.suspect(replica.address)
        if self._told is not None:
            self._told(replica, error)


class _Http(HttpChunkSource):
    """Needles by their identifiers, also deleted ones."""

    def __init__(self, servers: VolumeServers) -> None:
        super().__init__(servers.session)
        self._servers = servers

    def url(self, replica: Replica, chunk: Chunk) -> str:
        return super().url(replica, chunk) + "?readDeleted=true"

    def headers(self, replica: Replica, chunk: Chunk) -> Mapping[str, str]:
        return self._servers.read_headers(chunk.key)


class NeedleSource:
    """A :class:`gfs.replicas.ChunkSource` for one reading of one needle."""

    def __init__(self, servers: VolumeServers, *, compressed: bool) -> None:
        self._http = _Http(servers)
        self._compressed = compressed
        self._given = 0
        self._given_crc = 0

    @asynccontextmanager
    async def fetch(
        self, replica: Replica, chunk: Chunk, start: int, length: int
    ) -> AsyncIterator[Answer]:
        """The whole needle from byte 0, as far as it is wanted. See ``ChunkSource.fetch``."""
        whole = Chunk(chunk.key, 0, chunk.size, chunk.replicas)
        async with self._http.fetch(replica, whole, 0, chunk.size) as answer:
            if answer.start != 0:
                raise DataLoss("a part of the chunk instead of the whole")
            if answer.size != chunk.size:
                raise DataLoss(f"a chunk of {answer.size} bytes instead of {chunk.size}")
            expected = "" if self._compressed else answer.version
            if chunk.version and expected != chunk.version:
                raise DataLoss("another version of the chunk")
            span = (start, start + length)
            pieces = self._checked(answer.pieces, chunk.size, span, expected)
            async with aclosing(pieces):
                yield Answer(0, chunk.version, chunk.size, pieces)

    async def _checked(
        self,
        pieces: AsyncGenerator[Bytes, None],
        size: int,
        span: tuple[int, int],
        expected: str,
    ) -> AsyncGenerator[Bytes, None]:
        """Pass on the bytes before the end of ``span``, the last of them when all ``size`` are
        known to be right: their CRC is ``expected`` ('' if it is not known). Those before the
        beginning of ``span`` are passed on too, but nobody uses them."""
        start, end = span
        position = crc = 0
        held = b""
        async with aclosing(pieces):
            async for piece in pieces:
                data = bytes(piece)
                if position + len(data) > size:
                    raise DataLoss("more bytes than the chunk has")
                if held and position < end:
                    if position > max(start, self._given):
                        self._given, self._given_crc = position, crc
                    yield held
                    held = b""
                crc = self._extend(crc, position, data)
                if position < end:
                    held = data if position + len(data) <= end else data[: end - position]
                position += len(data)
        if position != size:
            raise DataLoss(f"{size - position} bytes of the chunk are missing")
        if expected and f"{crc:08x}" != expected:
            raise DataLoss("the checksum does not agree")
        if held:
            yield held

    def _extend(self, crc: int, position: int, data: bytes) -> int:
        """The CRC with ``data``, which begins at ``position``. Raises DataLoss where it shows that
        an earlier replica gave other bytes."""
        split = self._given - position
        if 0 < split <= len(data):
            crc = google_crc32c.extend(crc, data[:split])
            if crc != self._given_crc:
                raise DataLoss("the replicas have different bytes")
            data = data[split:]
        extended: int = google_crc32c.extend(crc, data)
        return extended
