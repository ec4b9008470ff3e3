"""Making a version: pieces are gathered in batches, which threads write to a temporary file while
the next pieces arrive; then the file is made durable, and gets its name.

At most two batches exist at once, one being filled and one being written, so an upload holds 1 MiB
of memory whatever its size. Every 16 MiB the kernel is asked to start writing back, without waiting
for it: the disk works during the upload, and the fsync at its end has little left to do (for 1 GiB
0.44 s instead of 0.72 s when it was measured), so that the client soon gets its response.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor

from gfs.api import Writer
from gfs.embedded.oserrors import translated
from gfs.embedded.tree import Draft, Tree
from gfs.errors import StoreUnavailable
from gfs.threads import in_thread, shielded
from gfs.types import Bytes, FileInfo, Published

BATCH_BYTES = 512 * 1024
"""How many bytes are gathered before a thread writes them: a call in a thread costs about 50 µs."""

BATCH_PIECES = 512
"""How many pieces are gathered at most: writev(2) takes 1024 (IOV_MAX)."""

WRITEBACK_BYTES = 16 * 1024 * 1024
"""After so many bytes the kernel is asked to write back what it has."""

_ADVISE = hasattr(os, "posix_fadvise")


class EmbeddedWriter(Writer):
    """A temporary file that is being written, to get its name at the commit."""

    def __init__(
        self,
        tree: Tree,
        pool: Executor,
        draft: Draft,
        times_of: FileInfo | None,
    ) -> None:
        self._tree = tree
        self._pool = pool
        self._draft = draft
        self._times_of = times_of
        self._batch: list[Bytes] = []
        self._batched = 0
        self._writing: asyncio.Task[None] | None = None
        self._written = 0
        self._advised = 0
        self._sealed = False
        self._ended = False

    def __repr__(self) -> str:
        return (
            f"<EmbeddedWriter {self._draft.directory}/{self._draft.path!r} written={self._written} "
            f"sealed={self._sealed} ended={self._ended}>"
        )

    async def write(self, piece: Bytes) -> None:
        self._sealed = False
        self._batch.append(piece)
        self._batched += len(piece)
        if self._batched >= BATCH_BYTES or len(self._batch) >= BATCH_PIECES:
            await self._wait_written()
            batch, self._batch, self._batched = self._batch, [], 0
            writing = in_thread(self._pool, self._write_batch, batch)
            self._writing = asyncio.create_task(writing)

    def write_blocking(self, piece: Bytes) -> None:
        self._sealed = False
        self._write_batch([piece])

    async def flush(self) -> None:
        if self._writing is not None:
            await self._wait_written()
        await in_thread(self._pool, self._seal)
        self._sealed = True

    async def commit(self) -> Published:
        if self._ended:
            raise StoreUnavailable("this version has been ended")
        if not self._sealed:
            await self.flush()
        return await in_thread(self._pool, self._publish)

    async def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        await shielded(self._drop())

    async def _drop(self) -> None:
        self._batch.clear()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await in_thread(self._pool, self._tree.drop, self._draft)

    async def _wait_written(self) -> None:
        """Wait for the batch that is being written, and raise what went wrong with it."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None

    # In a thread:

    def _seal(self) -> None:
        """Write the last batch, which of a small file is all, and make the file durable."""
        self._write_batch(self._batch)
        self._batched = 0
        self._tree.seal(self._draft, self._times_of)

    def _publish(self) -> Published:
        published = self._tree.publish(self._draft)
        self._ended = True
        self._tree.drop(self._draft)
        return published

    def _write_batch(self, batch: list[Bytes]) -> None:
        """Write the pieces of ``batch``, and empty it."""
        if not batch:
            return
        with translated():
            # For each batch: other uploads write too, and the size of this one may be unknown.
            self._tree.require_space(sum(map(len, batch)))
            while batch:
                count = os.writev(self._draft.descriptor, batch)
                self._written += count
                while batch and count >= len(batch[0]):
                    count -= len(batch[0])
                    del batch[0]
                if count:
                    batch[0] = memoryview(batch[0])[count:]
            if _ADVISE and self._written - self._advised >= WRITEBACK_BYTES:
                # Dirty pages cannot be dropped: for them the advice starts their writeback.
                written = self._draft.descriptor
                step = self._written - self._advised
                os.posix_fadvise(written, self._advised, step, os.POSIX_FADV_DONTNEED)
                self._advised = self._written
