"""Making a version: bytes are gathered into chunks, chunks go out while the next ones arrive, and
one entry publishes them.

The chunk list of a file of more than MANIFEST_CHUNKS chunks is itself stored in needles, so that
the entry stays small (200 GB: 50 instead of 50 000 chunks) and a range loads one or two of them.
Manifests never list manifests: a filer that deletes such a file frees the first level only.

A digest of the whole file is taken in a thread, one chunk behind; a small file's at once.

Whether a publish took place is not always known: the filer may go away after it carried the call
out. Then the entry is looked up. It carries an id that no other publish has, so it tells. If
nobody can be asked, the chunks are left alone, because a file may refer to them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

import google_crc32c

from gfs.api import Writer
from gfs.errors import StoreUnavailable
from gfs.seaweedfs import entries
from gfs.seaweedfs import fid as fids
from gfs.seaweedfs.proto.filer_pb2 import (
    Entry,
    FileChunk,
    FileChunkManifest,
    FileId,
    FuseAttributes,
)
from gfs.seaweedfs.publishing import CommitUnknown
from gfs.seaweedfs.uploads import CHUNK_BYTES, IN_FLIGHT, Sender, Uploads
from gfs.threads import to_the_end
from gfs.types import Bytes, FileInfo, Published

MANIFEST_CHUNKS = 1_000
SMALL_PIECE = 16 * 1024
"""Smaller pieces are put together, so that a chunk does not consist of a million of them."""

DIGEST_IN_THREAD = 256 * 1024
"""From so many bytes on a digest is worth a hop to a thread."""

ABORT_SECONDS = 2.0
"""How long an abort waits for the writes that are under way."""

_log = logging.getLogger(__name__)

Publish = Callable[[Entry], Awaitable[Published]]
"""Publishes an entry. Raises CommitUnknown if it is not known whether it did."""


class SeaweedWriter(Writer):
    """One version on its way to a name."""

    def __init__(
        self,
        uploads: Uploads,
        path: str,
        publish: Publish,
        *,
        times_of: FileInfo | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        manifest_chunks: int = MANIFEST_CHUNKS,
    ) -> None:
        self._uploads = uploads
        self._sender = Sender(uploads, path)
        self._name = path.rpartition("/")[2]
        self._publish = publish
        self._times_of = times_of
        self._chunk_bytes = chunk_bytes
        self._manifest_chunks = manifest_chunks
        self._pieces: list[bytes] = []
        self._small = bytearray()
        self._filled = 0
        self._size = 0
        self._chunks: list[FileChunk] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._digest = hashlib.sha256()
        self._digesting: asyncio.Future[None] | None = None
        self._entry: Entry | None = None
        self._ended = False

    async def write(self, piece: Bytes) -> None:
        self._entry = None
        data = bytes(piece)
        start = 0
        while start < len(data):
            take = min(self._chunk_bytes - self._filled, len(data) - start)
            self._gather(data if take == len(data) else data[start : start + take])
            start += take
            if self._filled == self._chunk_bytes:
                await self._begin()

    async def flush(self) -> None:
        await self._sealed()

    async def _sealed(self) -> Entry:
        """The entry of what was written so far, all of which is stored."""
        if self._ended:
            raise StoreUnavailable("this version has been ended")
        if self._filled or self._small:
            await self._begin()
        while self._tasks:
            await self._settle()
        await self._digested()
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
            self._ended = True  # a publish that was begun is ended first, and has been
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
        await to_the_end(self._drop())

    async def _drop(self) -> None:
        self._pieces.clear()
        self._small.clear()
        self._sender.stop()
        if self._tasks:
            # A write that is cut off here may still be carried out, after its needle was freed.
            _, left = await asyncio.wait(self._tasks, timeout=ABORT_SECONDS)
            for task in left:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._digesting is not None:
            await asyncio.wait([self._digesting])
        await self._sender.free(stored=True)

    def _gather(self, data: bytes) -> None:
        """Add ``data`` to the chunk that is being filled."""
        self._filled += len(data)
        if len(data) < SMALL_PIECE:
            self._small += data
            if len(self._small) < SMALL_PIECE:
                return
            data = b""
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small.clear()
        if data:
            self._pieces.append(data)

    async def _begin(self) -> None:
        """Send the chunk that was filled on its way, when there is room for one more."""
        while len(self._tasks) >= IN_FLIGHT:
            await self._settle()
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small.clear()
        await self._digested()
        await self._uploads.slots.acquire()
        pieces, size = self._pieces, self._filled
        self._pieces, self._filled = [], 0
        chunk = FileChunk(offset=self._size, size=size, modified_ts_ns=time.time_ns())
        self._size += size
        self._chunks.append(chunk)
        self._start_digest(pieces, size)
        task = asyncio.create_task(self._send(chunk, pieces))
        task.add_done_callback(lambda _: self._uploads.slots.release())
        self._tasks.add(task)

    async def _send(self, chunk: FileChunk, pieces: list[bytes]) -> None:
        crc = 0
        for piece in pieces:
            crc = google_crc32c.extend(crc, piece)
        chunk.e_tag = f"{crc:08x}"
        chunk.file_id = await self._sender.send(pieces, crc)

    async def _settle(self) -> None:
        """Wait until a chunk has been stored, and raise what went wrong with it."""
        done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for failure in [task.exception() for task in done]:  # of each, or asyncio complains
            if failure is not None:
                raise failure

    def _start_digest(self, pieces: list[bytes], size: int) -> None:
        def update() -> None:
            for piece in pieces:
                self._digest.update(piece)

        if size < DIGEST_IN_THREAD:
            update()
        else:
            loop = asyncio.get_running_loop()
            self._digesting = loop.run_in_executor(None, update)

    async def _digested(self) -> None:
        """Wait until the digest has all chunks that were begun."""
        if self._digesting is not None:
            await asyncio.shield(self._digesting)
            self._digesting = None

    async def _with_manifests(self, chunks: list[FileChunk]) -> list[FileChunk]:
        """The chunks; if they are many, each group of them replaced by its manifest."""
        if len(chunks) <= self._manifest_chunks:
            return chunks
        groups = range(0, len(chunks), self._manifest_chunks)
        return [await self._manifest(chunks[g : g + self._manifest_chunks]) for g in groups]

    async def _manifest(self, chunks: list[FileChunk]) -> FileChunk:
        """Store a list of chunks as a chunk."""
        listed = FileChunkManifest(chunks=map(_inner, chunks))
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


def _inner(chunk: FileChunk) -> FileChunk:
    """The chunk as manifests have it: its needle in numbers."""
    inner = FileChunk()
    inner.CopyFrom(chunk)
    inner.ClearField("file_id")
    volume, key, cookie = fids.split(chunk.file_id)
    inner.fid.CopyFrom(FileId(volume_id=volume, file_key=key, cookie=cookie))
    return inner
