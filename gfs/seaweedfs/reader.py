"""Reading a pinned version: the chunk list of its entry pins it, since chunks are written once.

A volume server reads and checks a whole chunk, for some milliseconds, before it sends the first
byte. So that there is no gap between two chunks, the next one is asked for when the bytes of this
one will be used up within AHEAD_SECONDS, at the pace of the reading so far; never more than one
ahead. If it were asked for much earlier, a slow reader would leave the response waiting until the
server cuts it off. Of a response that is not needed yet, only the first piece is fetched, which is
small, so a reader holds some 300 KiB, whatever the file. A reading that is given up holds only its
position, and the CRC of the bytes before it.

The chunk lists of large files are in manifests. They are loaded as the reading reaches them, in
windows of WINDOW_BYTES, and the last few are cached.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.protobuf.message import DecodeError

from gfs.api import Reader
from gfs.chunkservers import Chunk, ChunkReading, Chunkservers
from gfs.errors import DataLoss
from gfs.seaweedfs.entries import Extent, Span, extents_of, visible
from gfs.seaweedfs.proto.filer_pb2 import FileChunkManifest
from gfs.types import Bytes, FileInfo

AHEAD_SECONDS = 0.25
"""How long before the end of a chunk the next one is asked for."""

WINDOW_BYTES = 4 * 1024 * 1024 * 1024
"""For how many bytes of the file manifests are loaded at once."""

MAX_MANIFESTS = 4
"""How many manifests are cached."""

MAX_DEPTH = 8
"""How deep manifests may list manifests."""

PIECE_BYTES = 256 * 1024
"""The size of a piece of bytes that are in no chunk."""
_ZEROS = bytes(PIECE_BYTES)


class _Ahead:
    """A span that is being read, whose first piece may be fetched before it is wanted."""

    def __init__(
        self,
        pieces: AsyncGenerator[Bytes, None],
        length: int,
        reading: ChunkReading | None = None,
    ) -> None:
        self.reading = reading
        self._pieces = pieces
        self._first: asyncio.Task[Bytes] | None = None
        self.left = length

    def start(self) -> None:
        """Ask for the first piece, without waiting for it."""
        self._first = asyncio.create_task(anext(self._pieces))

    async def next(self) -> Bytes:
        """The next piece. Call it only while ``left`` is not 0."""
        first, self._first = self._first, None
        piece = await (anext(self._pieces) if first is None else first)
        self.left -= len(piece)
        return piece

    async def close(self) -> None:
        """Stop fetching."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.wait([self._first])
            if not self._first.cancelled():
                self._first.exception()  # it is not needed any more, nor is its failure
        await self._pieces.aclose()


class SeaweedReader(Reader):
    """A file as its entry was when it was opened."""

    def __init__(
        self,
        chunkservers: Chunkservers,
        info: FileInfo,
        content: bytes,
        extents: tuple[Extent, ...],
    ) -> None:
        self._chunkservers = chunkservers
        self.info = info
        self._content = content
        self._top = extents
        self._loaded: dict[str, tuple[Extent, ...]] = {}
        self._only = _only(extents, info.size)
        self._given_up: ChunkReading | None = None

    def __repr__(self) -> str:
        return f"<SeaweedReader {self.info.name!r} size={self.info.size} extents={len(self._top)}>"

    async def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        if start < 0 or length < 0 or start + length > self.info.size:
            raise ValueError(f"no {length} bytes from {start} on in {self.info.size}")
        if self._only is not None:
            reading = self._reading(self._only, start)
            try:
                async with aclosing(reading.read(start, length)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                self._given_up = reading
            return
        current: _Ahead | None = None
        following: _Ahead | None = None
        clock = asyncio.get_running_loop().time
        start_time, count = clock(), 0
        async with aclosing(self._spans(start, start + length)) as spans:
            try:
                while (current := following or await self._next(spans)) is not None:
                    following = None
                    asked = False
                    while current.left:
                        piece = await current.next()
                        count += len(piece)
                        # Whether the rest takes at most AHEAD_SECONDS, at the pace so far.
                        seconds = clock() - start_time
                        if not asked and current.left * seconds <= count * AHEAD_SECONDS:
                            asked = True
                            following = await self._started(spans)
                        yield piece
                        del piece
                    await current.close()
            finally:
                if current is not None:
                    self._give_up(current)
                for ahead in (current, following):
                    if ahead is not None:
                        await ahead.close()

    async def close(self) -> None:
        self._loaded.clear()

    def _give_up(self, current: _Ahead) -> None:
        """Keep what another reading needs to go on here; that may be in a long time, so it loads
        manifests again."""
        self._given_up = current.reading
        self._loaded.clear()

    async def _started(self, spans: AsyncGenerator[Span, None]) -> _Ahead | None:
        following = await self._next(spans)
        if following is not None:
            following.start()
        return following

    async def _next(self, spans: AsyncGenerator[Span, None]) -> _Ahead | None:
        span = await anext(spans, None)
        if span is None:
            return None
        if span.chunk is None:
            return _Ahead(self._without_chunk(span), span.length)
        reading = self._reading(span.chunk, span.start)
        return _Ahead(reading.read(span.start, span.length), span.length, reading)

    def _reading(self, chunk: Chunk, start: int) -> ChunkReading:
        """The reading that was given up, if this goes on with it, or a new one."""
        reading, self._given_up = self._given_up, None
        if reading is None or not reading.reaches(chunk, start):
            reading = ChunkReading(self._chunkservers, chunk)
        return reading

    async def _without_chunk(self, span: Span) -> AsyncGenerator[Bytes, None]:
        for start in range(0, span.length, PIECE_BYTES):
            yield self._inline(span.offset + start, min(PIECE_BYTES, span.length - start))

    def _inline(self, start: int, length: int) -> bytes:
        """Bytes that are in no chunk: in the entry itself, or zero."""
        found = self._content[start : start + length]
        return found + _ZEROS[: length - len(found)] if len(found) < length else found

    async def _spans(self, start: int, end: int) -> AsyncGenerator[Span, None]:
        """Yield which chunks have the bytes from ``start`` to ``end``."""
        while start < end:
            stop = min(end, start + WINDOW_BYTES)
            extents = await self._resolve(self._top, start, stop, MAX_DEPTH)
            for span in visible(extents, start, stop):
                yield span
            start = stop

    async def _resolve(
        self, extents: tuple[Extent, ...], start: int, end: int, depth: int
    ) -> list[Extent]:
        """The extents that overlap the range, with what they list in the place of manifests."""
        found: list[Extent] = []
        for extent in extents:
            if extent.offset >= end or extent.end <= start:
                continue
            if not extent.manifest:
                found.append(extent)
            elif depth == 0:
                raise DataLoss(f"manifests inside each other more than {MAX_DEPTH} deep")
            else:
                listed = await self._load(extent.chunk)
                found += await self._resolve(listed, start, end, depth - 1)
        return found

    async def _load(self, chunk: Chunk) -> tuple[Extent, ...]:
        """The extents that a manifest lists."""
        extents = self._loaded.get(chunk.key)
        if extents is None:
            manifest = FileChunkManifest()
            async with aclosing(ChunkReading(self._chunkservers, chunk).read()) as pieces:
                data = b"".join([piece async for piece in pieces])
            try:
                manifest.ParseFromString(data)
            except DecodeError as error:
                raise DataLoss("a manifest makes no sense") from error
            extents = extents_of(manifest.chunks)
            while len(self._loaded) >= MAX_MANIFESTS:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[chunk.key] = extents
        return extents


def _only(extents: tuple[Extent, ...], size: int) -> Chunk | None:
    """The one chunk that is the whole file, if one is: most files are that."""
    if len(extents) == 1 and not extents[0].manifest:
        extent = extents[0]
        return extent.chunk if (extent.offset, extent.size) == (0, size) else None
    return None
