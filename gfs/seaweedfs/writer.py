"""Making a version: its bytes are stored in chunks (:mod:`gfs.seaweedfs.chunking`), and one entry
publishes them.

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

from gfs.api import Writer
from gfs.seaweedfs import entries
from gfs.seaweedfs.chunking import ChunkSink
from gfs.seaweedfs.manifests import ChunkList
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.publishing import CommitUnknown
from gfs.seaweedfs.uploads import Sender, Uploads
from gfs.types import FileInfo, Published

DIGEST_IN_THREAD_BYTES = 256 * 1024
"""From this size on, the digest of a chunk is computed in a thread."""

_log = logging.getLogger(__name__)

Publish = Callable[[Entry], Awaitable[Published]]
"""Publishes an entry. Raises CommitUnknown if it is not known whether it did."""


class Version(Writer):
    """A version whose chunks are stored by a ``Sender``, and which one entry publishes."""

    _publish: Publish
    _sender: Sender
    _ended: bool

    async def _commit(self, entry: Entry) -> Published:
        """Publish the entry. Afterwards an abort frees nothing, unless it was refused."""
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


class SeaweedWriter(ChunkSink, Version):
    """A version whose chunks are being stored, to be published at the commit."""

    def __init__(
        self,
        uploads: Uploads,
        path: str,
        publish: Publish,
        *,
        times_of: FileInfo | None = None,
    ) -> None:
        super().__init__(uploads, Sender(uploads, path), path.rpartition("/")[2])
        self._publish = publish
        self._times_of = times_of
        self._digest = hashlib.sha256()
        self._digesting: asyncio.Task[None] | None = None
        self._entry: Entry | None = None

    async def space(self, most: int) -> memoryview:
        """See :class:`gfs.api.BufferWriter`."""
        self._entry = None
        return await super().space(most)

    async def flush(self) -> None:
        await self._sealed()

    async def _sealed(self) -> Entry:
        """The entry of what was written so far, when all of it is stored."""
        self._require_open()
        self._send_rest()
        while self._tasks:
            await self._wait_stored()
            self._require_open()
        if self._digesting is not None:
            await asyncio.shield(self._digesting)
        if self._entry is None:
            chunks = ChunkList(self._sender)
            for chunk in self._chunks:
                await chunks.add(chunk)
            listed = await chunks.listed()
            await self._sender.free(stored=False)
            self._entry = entries.file_entry(self._name, listed, self._end, secrets.token_hex(8))
            self._entry.extended[entries.DIGEST_KEY] = self._digest.hexdigest().encode()
        return self._entry

    async def commit(self) -> Published:
        entry = await self._sealed()
        entries.set_times(entry, self._times_of)
        return await self._commit(entry)

    async def _drop(self) -> None:
        await super()._drop()
        if self._digesting is not None:
            await asyncio.wait([self._digesting])

    def _use(self, data: memoryview) -> asyncio.Task[None] | None:
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
