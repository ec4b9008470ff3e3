"""Bytes become chunks: they are gathered in a buffer, and stored while the next ones arrive.

A chunk has 4 MiB, or less if :mod:`gfs.seaweedfs.buffers` needs the memory of an upload that gets
no bytes: then the chunk is sent on as it is, and the next byte starts another one. Up to IN_FLIGHT
chunks are on their way at once, and any of them may be stored first.

A chunk that cannot be stored ends the writing: what ``space`` and ``write`` raise from then on is
the first such failure.
"""

from __future__ import annotations

import asyncio

import google_crc32c

from gfs import clock
from gfs.api import Sink
from gfs.errors import StoreUnavailable
from gfs.seaweedfs.buffers import Buffer
from gfs.seaweedfs.proto.filer_pb2 import FileChunk
from gfs.seaweedfs.uploads import IN_FLIGHT, Sender, Uploads
from gfs.threads import shielded
from gfs.types import Bytes

SPACE_BYTES = 512 * 1024
"""How much memory for the next bytes is asked for at once."""

CRC_BYTES = 64 * 1024
"""How much is copied at once for the CRC, whose library only takes ``bytes``."""

ABORT_SECONDS = 2.0
"""How long an abort waits for the writes that are under way."""


class ChunkSink(Sink):
    """Takes the bytes of the file ``name`` from byte ``offset`` on, and stores them in chunks with
    ``sender``. A :class:`gfs.api.BufferWriter` and a :class:`gfs.seaweedfs.buffers.Filler`."""

    def __init__(self, uploads: Uploads, sender: Sender, name: str, offset: int = 0) -> None:
        self._uploads = uploads
        self._sender = sender
        self._name = name
        self._buffers = uploads.buffers
        self._buffer: Buffer | None = None
        self._lent: memoryview | None = None
        self.moved_at = 0.0
        self._end = offset
        self._chunks: list[FileChunk] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._ended = False

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._name!r} end={self._end} chunks={len(self._chunks)} "
            f"sending={len(self._tasks)} ended={self._ended}>"
        )

    async def write(self, piece: Bytes) -> None:
        left = memoryview(piece)
        while left:
            space = await self.space(len(left))
            space[:] = left[: len(space)]
            left, count = left[len(space) :], len(space)
            await self.advance(count)

    async def space(self, most: int) -> memoryview:
        """See :class:`gfs.api.BufferWriter`."""
        while True:
            self._require_open()
            if self._buffer is None and len(self._tasks) >= IN_FLIGHT:
                await self._wait_stored()
                continue
            if self._buffer is None:
                self._buffer = self._buffers.open(self)
            buffer = self._buffer
            count = min(most, SPACE_BYTES, self._buffers.chunk_bytes - buffer.filled)
            missing = max(buffer.filled + count - buffer.granted, 0)
            if missing:
                await self._buffers.grant(missing)
                if self._buffer is buffer:
                    buffer.granted += missing
                else:  # it was sent on meanwhile, so that others get memory
                    self._buffers.free(missing)
                continue  # also if it was trimmed meanwhile, and needs more now
            self._lent = memoryview(buffer.memory)[buffer.filled : buffer.filled + count]
            return self._lent

    async def advance(self, count: int) -> None:
        """See :class:`gfs.api.BufferWriter`."""
        buffer = self._buffer
        if buffer is None or self._lent is None:
            raise StoreUnavailable("no memory of this version is lent")
        self._lent.release()  # otherwise a caller that keeps it keeps the whole chunk mapped
        self._lent = None
        if count:
            self.moved_at = asyncio.get_running_loop().time()
        buffer.filled += count
        self._buffers.settle(buffer)
        if buffer.filled == self._buffers.chunk_bytes:
            self.send_on()

    async def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        await shielded(self._drop())

    def unsent(self) -> Buffer | None:
        """See :class:`gfs.seaweedfs.buffers.Filler`."""
        busy = self._lent is not None or len(self._tasks) >= IN_FLIGHT
        return None if busy or self._buffer is None or not self._buffer.filled else self._buffer

    def send_on(self) -> None:
        """Store the chunk that is being filled as it is, in a task."""
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            return
        self._buffers.sent(self, buffer)
        chunk = FileChunk(offset=self._end, size=buffer.filled, modified_ts_ns=clock.unix_ns())
        self._end += buffer.filled
        self._chunks.append(chunk)
        data = memoryview(buffer.memory)[: buffer.filled]
        using = self._use(data)
        self._tasks.add(asyncio.create_task(self._store(chunk, buffer, data, using)))

    def _use(self, data: memoryview) -> asyncio.Task[None] | None:
        """Is called with the bytes of each chunk, in their order. Their memory is not used for
        others before the task that is returned has ended."""
        return None

    def _require_open(self) -> None:
        """Raise what is wrong, if nothing may be written."""
        self._require_stored()
        if self._ended:
            raise StoreUnavailable("this version has been ended")

    def _require_stored(self) -> None:
        """Raise why a chunk could not be stored, if one could not."""
        if self._failure is not None:
            raise self._failure

    def _send_rest(self) -> None:
        """Send on what there is of a chunk, and give the memory for the next bytes back."""
        if self._buffer is not None and self._buffer.filled:
            self.send_on()
        self._drop_buffer()

    async def _wait_stored(self) -> None:
        """Wait until another chunk is stored, or has failed."""
        done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for failure in [task.exception() for task in done]:  # asyncio logs one that is not fetched
            self._failure = self._failure or failure

    async def _drop(self) -> None:
        """Free all that is stored."""
        self._drop_buffer()
        self._sender.stop()
        if self._tasks:
            # A write that is cut off may be carried out after its needle was deleted, so wait.
            _, left = await asyncio.wait(self._tasks, timeout=ABORT_SECONDS)
            for task in left:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sender.free(stored=True)

    def _drop_buffer(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._buffers.drop(self, buffer, sent=False)

    async def _store(
        self,
        chunk: FileChunk,
        buffer: Buffer,
        data: memoryview,
        using: asyncio.Task[None] | None,
    ) -> None:
        try:
            async with self._uploads.slots:
                crc = 0
                for start in range(0, len(data), CRC_BYTES):
                    crc = google_crc32c.extend(crc, bytes(data[start : start + CRC_BYTES]))
                chunk.e_tag = f"{crc:08x}"
                chunk.file_id = await self._sender.send([data], crc)
            if using is not None:
                await asyncio.shield(using)
        except BaseException:
            self._buffers.drop(self, buffer, sent=True)
            raise
        self._buffers.stored(buffer)
