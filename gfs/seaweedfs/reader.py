"""Reading a pinned version: the chunk list of its entry is the pin, since needles are written once.

A volume server reads and checks a whole needle, some milliseconds, before it sends the first byte.
So that there is no gap between two, the next one is asked for when the bytes of this one will be
used up within AHEAD_SECONDS, at the pace of the reading so far; never more than one ahead. Asked
for much earlier, a slow reader would leave it lying until the server cuts it off. Of an answer that
nobody reads yet the first piece is held, which is small, so a reader holds some 300 KiB, whatever
the file. One that is given up holds nothing but where it was, and the CRC of what was passed on.

Chunk lists of large files are in manifests. They are loaded as the reading comes to them, in
windows of WINDOW_BYTES, and the last few are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.protobuf.message import DecodeError

from gfs.api import Reader
from gfs.errors import DataLoss
from gfs.seaweedfs.entries import Needle, Piece, View, pieces_of, visible
from gfs.seaweedfs.needles import Needles, NeedleSource
from gfs.seaweedfs.proto.filer_pb2 import FileChunkManifest
from gfs.types import Bytes, FileInfo

AHEAD_SECONDS = 0.25
WINDOW_BYTES = 4 * 1024 * 1024 * 1024
MANIFESTS_KEPT = 4
MANIFEST_DEPTH = 8
PIECE_BYTES = 256 * 1024
SMALL_BYTES = 256 * 1024
"""A needle that is not larger is had whole, which is simpler, before a byte of it is passed on."""

_ZEROS = bytes(PIECE_BYTES)


class _Ahead:
    """A view that is being read, whose first piece may be had before it is wanted."""

    def __init__(
        self,
        pieces: AsyncGenerator[Bytes, None],
        length: int,
        source: NeedleSource | None = None,
    ) -> None:
        self.source = source
        self._pieces = pieces
        self._first: asyncio.Task[Bytes] | None = None
        self.left = length

    def begin(self) -> None:
        """Ask for the first piece, without waiting for it."""
        self._first = asyncio.create_task(anext(self._pieces))

    async def next(self) -> Bytes:
        """The next piece; there is one as long as ``left`` is not 0."""
        first, self._first = self._first, None
        piece = await (anext(self._pieces) if first is None else first)
        self.left -= len(piece)
        return piece

    async def close(self) -> None:
        if self._first is not None:
            self._first.cancel()
            await asyncio.wait([self._first])
            if not self._first.cancelled():
                self._first.exception()  # nobody wants the piece any more, nor why there is none
        await self._pieces.aclose()


class SeaweedReader(Reader):
    """One entry as it was when it was opened."""

    def __init__(
        self, needles: Needles, info: FileInfo, content: bytes, pieces: tuple[Piece, ...]
    ) -> None:
        self._needles = needles
        self._info = info
        self._content = content
        self._top = pieces
        self._loaded: dict[str, tuple[Piece, ...]] = {}
        self._only = _only(pieces, info.size)
        self._given_up: NeedleSource | None = None

    @property
    def info(self) -> FileInfo:
        return self._info

    async def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        if start < 0 or length < 0 or start + length > self._info.size:
            raise ValueError(f"no {length} bytes from {start} on in {self._info.size}")
        if self._only is not None:
            if length:
                yield await self._part(self._only, start, length)
            return
        current: _Ahead | None = None
        following: _Ahead | None = None
        clock = asyncio.get_running_loop().time
        began, given = clock(), 0
        async with aclosing(self._views(start, start + length)) as views:
            try:
                while (current := following or await self._next(views)) is not None:
                    following = None
                    asked = False
                    while current.left:
                        piece = await current.next()
                        given += len(piece)
                        # What is left of the time that the bytes so far have taken.
                        if not asked and current.left * (clock() - began) <= given * AHEAD_SECONDS:
                            asked = True
                            following = await self._begun(views)
                        yield piece
                        del piece
                    await current.close()
            finally:
                if current is not None:
                    self._give_up(current)
                for reading in (current, following):
                    if reading is not None:
                        await reading.close()

    async def close(self) -> None:
        self._loaded.clear()

    def _give_up(self, current: _Ahead) -> None:
        """Perhaps another reading goes on here, in a long while: it gets what it needs anew."""
        self._given_up = current.source
        self._loaded.clear()

    async def _begun(self, views: AsyncGenerator[View, None]) -> _Ahead | None:
        following = await self._next(views)
        if following is not None:
            following.begin()
        return following

    async def _next(self, views: AsyncGenerator[View, None]) -> _Ahead | None:
        view = await anext(views, None)
        if view is None:
            return None
        if view.needle is None:
            return _Ahead(self._without_needle(view), view.length)
        if view.needle.size <= SMALL_BYTES:
            return _Ahead(self._small(view, view.needle), view.length)
        source, self._given_up = self._given_up, None
        if source is None or not source.goes_on(view.needle, view.start):
            source = self._needles.source(view.needle)
        pieces = self._needles.read(view.needle, source, view.start, view.length)
        return _Ahead(pieces, view.length, source)

    async def _small(self, view: View, needle: Needle) -> AsyncGenerator[Bytes, None]:
        yield await self._part(needle, view.start, view.length)

    async def _part(self, needle: Needle, start: int, length: int) -> Bytes:
        """Bytes of a small needle, which is had whole."""
        data = await self._needles.load(needle, needle.size)
        return data if length == len(data) else data[start : start + length]

    async def _without_needle(self, view: View) -> AsyncGenerator[Bytes, None]:
        for start in range(0, view.length, PIECE_BYTES):
            yield self._inline(view.offset + start, min(PIECE_BYTES, view.length - start))

    def _inline(self, start: int, length: int) -> bytes:
        """Bytes that are in no needle: in the entry itself, or nowhere, and then zero."""
        found = self._content[start : start + length]
        return found + _ZEROS[: length - len(found)] if len(found) < length else found

    async def _views(self, start: int, end: int) -> AsyncGenerator[View, None]:
        """Which needles hold the bytes from ``start`` to ``end``."""
        while start < end:
            stop = min(end, start + WINDOW_BYTES)
            pieces = await self._resolve(self._top, start, stop, MANIFEST_DEPTH)
            for view in visible(pieces, start, stop):
                yield view
            start = stop

    async def _resolve(
        self, pieces: tuple[Piece, ...], start: int, end: int, depth: int
    ) -> list[Piece]:
        """The pieces that touch the range, with manifests replaced by what they list."""
        found: list[Piece] = []
        for piece in pieces:
            if piece.offset >= end or piece.end <= start:
                continue
            if not piece.manifest:
                found.append(piece)
            elif depth == 0:
                raise DataLoss(f"manifests inside each other more than {MANIFEST_DEPTH} deep")
            else:
                listed = await self._load(piece.needle)
                found += await self._resolve(listed, start, end, depth - 1)
        return found

    async def _load(self, needle: Needle) -> tuple[Piece, ...]:
        """The pieces that a manifest lists."""
        known = self._loaded.get(needle.fid)
        if known is None:
            manifest = FileChunkManifest()
            try:
                manifest.ParseFromString(await self._needles.load(needle))
            except DecodeError as error:
                raise DataLoss("a manifest makes no sense") from error
            known = pieces_of(manifest.chunks)
            while len(self._loaded) >= MANIFESTS_KEPT:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[needle.fid] = known
        return known


def _only(pieces: tuple[Piece, ...], size: int) -> Needle | None:
    """The small needle that is the whole file, if one is: most files are that."""
    if len(pieces) == 1 and not pieces[0].manifest and size <= SMALL_BYTES:
        piece = pieces[0]
        return piece.needle if (piece.offset, piece.size) == (0, size) else None
    return None
