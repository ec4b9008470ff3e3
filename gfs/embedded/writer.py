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
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext

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


class Batches:
    """What is written to one open file, in batches.

    ``end`` is the byte of the file behind the last one that was written; what is gathered comes
    after it. ``guard``: what each batch is written within, in a thread; it may raise instead. After
    an error nothing more is written.
    """

    def __init__(
        self,
        tree: Tree,
        pool: Executor,
        descriptor: int,
        start: int = 0,
        guard: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._tree = tree
        self._pool = pool
        self._descriptor = descriptor
        self._guard = guard
        self._batch: list[Bytes] = []
        self._batched = 0
        self._writing: asyncio.Task[None] | None = None
        self._advised = start
        self.end = start

    async def add(self, piece: Bytes) -> None:
        """Write ``piece`` behind what is gathered, now or later."""
        self._batch.append(piece)
        self._batched += len(piece)
        if self._batched >= BATCH_BYTES or len(self._batch) >= BATCH_PIECES:
            await self.wait()
            batch, self._batch, self._batched = self._batch, [], 0
            self._writing = asyncio.create_task(in_thread(self._pool, self.write, batch))

    async def wait(self) -> None:
        """Wait for the batch that is being written, and raise what went wrong with it."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None

    async def drop(self) -> None:
        """Forget what is gathered, and wait until nothing is being written."""
        self._batch.clear()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)

    # In a thread:

    def write_gathered(self) -> None:
        """Write what is gathered; call ``wait`` before."""
        self.write(self._batch)
        self._batched = 0

    def write(self, batch: list[Bytes]) -> None:
        """Write the pieces of ``batch``, and empty it."""
        if not batch:
            return
        with self._guard(), translated():
            # For each batch: other uploads write too, and the size of this one may be unknown.
            self._tree.require_space(sum(map(len, batch)))
            while batch:
                count = os.writev(self._descriptor, batch)
                self.end += count
                while batch and count >= len(batch[0]):
                    count -= len(batch[0])
                    del batch[0]
                if count:
                    batch[0] = memoryview(batch[0])[count:]
            if _ADVISE and self.end - self._advised >= WRITEBACK_BYTES:
                # Dirty pages cannot be dropped: for them the advice starts their writeback.
                step = self.end - self._advised
                os.posix_fadvise(self._descriptor, self._advised, step, os.POSIX_FADV_DONTNEED)
                self._advised = self.end


class DraftWriter(Writer):
    """A file that gets its name at the commit."""

    def __init__(self, tree: Tree, pool: Executor, draft: Draft) -> None:
        self._tree = tree
        self._pool = pool
        self._draft = draft
        self._sealed = False
        self._ended = False

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._draft.directory}/{self._draft.path!r} "
            f"sealed={self._sealed} ended={self._ended}>"
        )

    async def flush(self) -> None:
        await in_thread(self._pool, self._seal)
        self._sealed = True

    async def commit(self) -> Published:
        if self._ended:
            raise StoreUnavailable("this version has been ended")
        if not self._sealed:
            await self.flush()
        return await in_thread(self._pool, self._commit)

    async def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        await shielded(self._drop())

    async def _drop(self) -> None:
        await in_thread(self._pool, self._tree.drop, self._draft)

    # In a thread:

    @abstractmethod
    def _seal(self) -> None:
        """Make the file durable, with its times."""

    def _commit(self) -> Published:
        published = self._publish()
        self._ended = True
        self._tree.drop(self._draft)
        return published

    def _publish(self) -> Published:
        return self._tree.publish(self._draft)


class EmbeddedWriter(DraftWriter):
    """A temporary file that is being written, to get its name at the commit."""

    def __init__(
        self,
        tree: Tree,
        pool: Executor,
        draft: Draft,
        times_of: FileInfo | None,
    ) -> None:
        super().__init__(tree, pool, draft)
        self._times_of = times_of
        self._batches = Batches(tree, pool, draft.descriptor)

    async def write(self, piece: Bytes) -> None:
        self._sealed = False
        await self._batches.add(piece)

    def write_blocking(self, piece: Bytes) -> None:
        self._sealed = False
        self._batches.write([piece])

    async def flush(self) -> None:
        await self._batches.wait()
        await super().flush()

    async def _drop(self) -> None:
        await self._batches.drop()
        await super()._drop()

    def _seal(self) -> None:
        # The last batch is all of a small file: one call in a thread does both.
        self._batches.write_gathered()
        self._tree.seal(self._draft, self._times_of)
