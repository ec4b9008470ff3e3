"""Making a version: bytes are gathered into chunks, which are stored while the next ones arrive,
and one entry publishes them.

A chunk has 4 MiB, or less if :mod:`gfs.seaweedfs.buffers` needs the memory of an upload that gets
no bytes: then the chunk is sent on as it is, and the next byte starts another one.

The chunk list of a file of more than MANIFEST_CHUNKS chunks is itself stored in chunks, so that the
entry stays small (for 200 GB it lists 50 instead of 50 000 chunks) and reading a range loads one or
two of them. Manifests never list manifests: a filer that deletes such a file would only free the
first level.

The digest of the whole file is computed in a thread, one chunk behind the newest one; that of a
small file at once.

It is not always known whether a publish took place: the filer may fail after it carried the call
out. Then the entry is looked up: it has an id that no other publish has. If no filer responds, the
chunks are not deleted, because a file may refer to them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable

import google_crc32c

from gfs import clock
from gfs.api import Writer
from gfs.errors import StoreUnavailable
from gfs.seaweedfs import entries
from gfs.seaweedfs.buffers import Buffer
from gfs.seaweedfs.proto.filer_pb2 import (
    Entry,
    FileChunk,
    FileChunkManifest,
    FileId,
    FuseAttributes,
)
from gfs.seaweedfs.publishing import CommitUnknown
from gfs.seaweedfs.servers import fid as fids
from gfs.seaweedfs.uploads import IN_FLIGHT, Sender, Uploads
from gfs.threads import shielded
from gfs.types import Bytes, FileInfo, Published

MANIFEST_CHUNKS = 1_000
"""How many chunks an entry or a manifest lists."""

SPACE_BYTES = 512 * 1024
"""How much memory for the next bytes is asked for at once."""

CRC_BYTES = 64 * 1024
"""How much is copied at once for the CRC, whose library only takes ``bytes``."""

DIGEST_IN_THREAD_BYTES = 256 * 1024
"""From this size on, the digest of a chunk is computed in a thread."""

ABORT_SECONDS = 2.0
"""How long an abort waits for the writes that are under way."""

_log = logging.getLogger(__name__)

Publish = Callable[[Entry], Awaitable[Published]]
"""Publishes an entry. Raises CommitUnknown if it is not known whether it did."""


class SeaweedWriter(Writer):
    """A version whose chunks are being stored, to be published at the commit."""

    def __init__(
        self,
        uploads: Uploads,
        path: str,
        publish: Publish,
        *,
        times_of: FileInfo | None = None,
    ) -> None:
        self._uploads = uploads
        self._sender = Sender(uploads, path)
        self._name = path.rpartition("/")[2]
        self._publish = publish
        self._times_of = times_of
        self._buffers = uploads.buffers
        self._buffer: Buffer | None = None
        self._lent: memoryview | None = None
        self.moved_at = 0.0
        self._size = 0
        self._chunks: list[FileChunk] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._digest = hashlib.sha256()
        self._digesting: asyncio.Task[None] | None = None
        self._entry: Entry | None = None
        self._ended = False

    def __repr__(self) -> str:
        return (
            f"<SeaweedWriter {self._name!r} size={self._size} chunks={len(self._chunks)} "
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
        self._entry = None
        while True:
            while self._buffer is None and len(self._tasks) >= IN_FLIGHT:
                await self._wait_stored()
            if self._ended:
                raise StoreUnavailable("this version has been ended")
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

    async def flush(self) -> None:
        await self._sealed()

    async def _sealed(self) -> Entry:
        """The entry of what was written so far, when all of it is stored."""
        if self._ended:
            raise StoreUnavailable("this version has been ended")
        if self._buffer is not None and self._buffer.filled:
            self.send_on()
        self._drop_buffer()
        while self._tasks:
            await self._wait_stored()
        if self._digesting is not None:
            await asyncio.shield(self._digesting)
        if self._entry is None:
            chunks = await self._with_manifests(self._chunks)
            await self._sender.free(stored=False)
            self._entry = self._make_entry(chunks)
        return self._entry

    async def commit(self) -> Published:
        entry = await self._sealed()
        entries.set_times(entry, self._times_of)
        try:
            published = await self._publish(entry)
        except asyncio.CancelledError:
            self._ended = True  # the publish has ended: it is shielded from the cancellation
            raise
        except CommitUnknown:
            self._ended = True
            _log.warning(
                "%d chunks are left: it is not known whether their file was published",
                len(self._sender.stored),
            )
            raise
        self._ended = True
        return published

    async def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        await shielded(self._drop())

    async def _drop(self) -> None:
        self._drop_buffer()
        self._sender.stop()
        if self._tasks:
            # A write that is cut off may be carried out after its needle was deleted, so wait.
            _, left = await asyncio.wait(self._tasks, timeout=ABORT_SECONDS)
            for task in left:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._digesting is not None:
            await asyncio.wait([self._digesting])
        await self._sender.free(stored=True)

    def _drop_buffer(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._buffers.drop(self, buffer, sent=False)

    def part(self) -> Buffer | None:
        """See :class:`gfs.seaweedfs.buffers.Filler`."""
        busy = self._lent is not None or len(self._tasks) >= IN_FLIGHT
        return None if busy or self._buffer is None or not self._buffer.filled else self._buffer

    def send_on(self) -> None:
        """Store the chunk that is being filled as it is, in a task."""
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            return
        self._buffers.sent(self, buffer)
        chunk = FileChunk(offset=self._size, size=buffer.filled, modified_ts_ns=clock.unix_ns())
        self._size += buffer.filled
        self._chunks.append(chunk)
        data = memoryview(buffer.memory)[: buffer.filled]
        digesting = self._start_digest(data)
        self._tasks.add(asyncio.create_task(self._store(chunk, buffer, data, digesting)))

    async def _store(
        self,
        chunk: FileChunk,
        buffer: Buffer,
        data: memoryview,
        digesting: asyncio.Task[None] | None,
    ) -> None:
        try:
            async with self._uploads.slots:
                crc = 0
                for start in range(0, len(data), CRC_BYTES):
                    crc = google_crc32c.extend(crc, bytes(data[start : start + CRC_BYTES]))
                chunk.e_tag = f"{crc:08x}"
                chunk.file_id = await self._sender.send([data], crc)
            if digesting is not None:
                await asyncio.shield(digesting)
        except BaseException:
            self._buffers.drop(self, buffer, sent=True)
            raise
        self._buffers.stored(buffer)

    async def _wait_stored(self) -> None:
        """Wait until another chunk is stored, and raise what went wrong with it."""
        done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for failure in [task.exception() for task in done]:  # asyncio logs one that is not fetched
            if failure is not None:
                raise failure

    def _start_digest(self, data: memoryview) -> asyncio.Task[None] | None:
        """Add ``data`` to the digest: at once if it is small and nothing before it is left, else in
        the task that is returned."""
        before = self._digesting
        if len(data) < DIGEST_IN_THREAD_BYTES and (before is None or before.done()):
            self._digest.update(data)
            return None
        self._digesting = asyncio.create_task(self._digest_behind(before, data))
        return self._digesting

    async def _digest_behind(self, before: asyncio.Task[None] | None, data: memoryview) -> None:
        if before is not None:
            await before
        await asyncio.get_running_loop().run_in_executor(None, self._digest.update, data)

    async def _with_manifests(self, chunks: list[FileChunk]) -> list[FileChunk]:
        """The chunks; if there are many, a manifest for each group of them."""
        if len(chunks) <= MANIFEST_CHUNKS:
            return chunks
        groups = range(0, len(chunks), MANIFEST_CHUNKS)
        return [await self._manifest(chunks[g : g + MANIFEST_CHUNKS]) for g in groups]

    async def _manifest(self, chunks: list[FileChunk]) -> FileChunk:
        """Store a list of chunks as a chunk."""
        listed = FileChunkManifest(chunks=map(_for_manifest, chunks))
        content = listed.SerializeToString()
        crc = google_crc32c.value(content)
        last = chunks[-1]
        return FileChunk(
            file_id=await self._sender.send([content], crc),
            offset=chunks[0].offset,
            size=last.offset + last.size - chunks[0].offset,
            modified_ts_ns=last.modified_ts_ns,
            e_tag=f"{crc:08x}",
            is_chunk_manifest=True,
        )

    def _make_entry(self, chunks: list[FileChunk]) -> Entry:
        return Entry(
            name=self._name,
            chunks=chunks,
            attributes=FuseAttributes(file_size=self._size, file_mode=entries.FILE_MODE),
            extended={
                entries.VERSION_KEY: secrets.token_hex(8).encode(),
                entries.DIGEST_KEY: self._digest.hexdigest().encode(),
            },
        )


def _for_manifest(chunk: FileChunk) -> FileChunk:
    """A chunk in the form of manifests, which have the identifier of its needle in numbers."""
    inner = FileChunk()
    inner.CopyFrom(chunk)
    inner.ClearField("file_id")
    volume, key, cookie = fids.split(chunk.file_id)
    inner.fid.CopyFrom(FileId(volume_id=volume, file_key=key, cookie=cookie))
    return inner
