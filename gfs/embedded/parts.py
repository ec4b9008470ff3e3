"""Versions that are made in parts: each is one file in ``~uploads``, to which one PartWriter after
the other appends, and which then gets its path while it keeps its name there.

**What is durable.** A Part is what was written since the last one, after an fdatasync(2) of the
file, which threads may write to meanwhile. It needs no token: its bytes are at its offset. So an
upload has no other record than the Ledger's count of bytes, and nothing reserved. What a crash left
behind the last recorded Part is cut off by the next ``append``, or by ``assemble``. The server need
not keep Parts without tokens, so ``assemble`` does not read the Ledger: that there is no gap is
known from the size of the file alone, because an ``append`` starts at no byte behind its end.

**Turns.** One process has the store, so the turns of an upload are taken in memory. A new
PartWriter or Assembly takes the turn, which ends the one before: each change of the file (a batch,
a cut, the publish) is made within one lock per upload, by the one that has the turn then. The new
one waits for the change that is under way, TURN_SECONDS at most; from then on the old one changes
nothing. The lock is not held during an fdatasync of a Part: it changes no byte, and the Ledger
refuses the Part of a writer that was overtaken.

**Publishing.** The commit gives the file a second name, at the path (:mod:`gfs.embedded.tree`). As
long as it has its first one, which ``clear`` or ``discard`` removes, a commit can be repeated by
any process: if the path leads to the same inode, the version is published. What has two names is
not written to any more, whatever a caller asks for.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from weakref import WeakValueDictionary

from gfs.api import Assembly, PartWriter
from gfs.embedded.oserrors import translated
from gfs.embedded.reader import read_file
from gfs.embedded.tree import Draft, Tree
from gfs.embedded.writer import Batches, DraftWriter
from gfs.errors import GfsError, StoreUnavailable
from gfs.threads import in_thread, shielded
from gfs.types import Bytes, Part, Published

TURN_SECONDS = 2.0
"""How long a writer that takes the turn of an upload waits for the change that is under way."""


class _Upload:
    """How many turns have been taken, of which only the last one is not over, and the lock within
    which the file is changed. It lives as long as any of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.turns = 0


class Turn:
    """The right to change the file of an upload, until another one has it."""

    def __init__(self, upload: str, taken: _Upload) -> None:
        taken.turns += 1
        self.upload = upload
        self._taken = taken
        self._number = taken.turns

    def require(self) -> None:
        """Raise StoreUnavailable if another one has it."""
        if self._taken.turns != self._number:
            raise StoreUnavailable("another request goes on with this upload")

    @contextmanager
    def step(self) -> Iterator[None]:
        """Make one change, in a thread, while nobody makes another. Raises StoreUnavailable if
        another one has the turn, or if the change that is under way takes too long."""
        if not self._taken.lock.acquire(timeout=TURN_SECONDS):
            raise StoreUnavailable("an earlier request still writes to this upload")
        try:
            self.require()
            yield
        finally:
            self._taken.lock.release()


class Turns:
    """The turns of all uploads. Used in the event loop."""

    def __init__(self) -> None:
        self._uploads: WeakValueDictionary[str, _Upload] = WeakValueDictionary()

    def take(self, upload: str) -> Turn:
        """Take the turn of an upload from the writer that has it."""
        return Turn(upload, self._uploads.setdefault(upload, _Upload()))


class EmbeddedPartWriter(PartWriter):
    """Appends to the open file of an upload, from byte ``offset`` on."""

    def __init__(
        self, tree: Tree, pool: Executor, turn: Turn, descriptor: int, offset: int
    ) -> None:
        self._tree = tree
        self._pool = pool
        self._turn = turn
        self._descriptor = descriptor
        self._batches = Batches(tree, pool, descriptor, offset, self._step)
        self._parted = offset  # what is before it is in a Part
        self._parting = asyncio.Lock()
        self._ended = False

    def __repr__(self) -> str:
        return (
            f"<EmbeddedPartWriter {self._turn.upload} parted={self._parted} "
            f"written={self._batches.end} ended={self._ended}>"
        )

    async def write(self, piece: Bytes) -> None:
        self._require_going_on()
        await self._batches.add(piece)

    def write_blocking(self, piece: Bytes) -> None:
        self._batches.write([piece])

    async def part(self, *, rest: bool = False) -> Part | None:
        async with self._parting:
            self._require_going_on()
            failure = await self._write_rest() if rest else None
            end = self._batches.end
            if end == self._parted:
                if failure is not None:
                    raise failure
                return None
            await in_thread(self._pool, self._sync)
            part = Part(self._parted, end - self._parted, "")
            self._parted = end
            return part

    def _require_going_on(self) -> None:
        if self._ended:
            raise StoreUnavailable("this writer has been ended")
        self._turn.require()

    async def _write_rest(self) -> GfsError | None:
        """Write what is gathered. An error is returned: what came before it is to be in a Part, and
        the next call meets the error again."""
        try:
            await self._batches.wait()
            await in_thread(self._pool, self._batches.write_gathered)
        except GfsError as error:
            return error
        return None

    async def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        await shielded(self._drop())

    async def _drop(self) -> None:
        await self._batches.drop()
        async with self._parting:
            await in_thread(self._pool, self._close)

    # In a thread:

    @contextmanager
    def _step(self) -> Iterator[None]:
        with self._turn.step():
            self._require_going_on()
            self._tree.require_unpublished(self._descriptor)
            yield

    def _sync(self) -> None:
        with translated():
            os.fdatasync(self._descriptor)

    def _close(self) -> None:
        """Free what is in no Part, and close the file."""
        try:
            with suppress(StoreUnavailable), self._turn.step():  # else the next one frees it
                self._tree.cut_parts(self._descriptor, self._parted)
        finally:
            os.close(self._descriptor)


class EmbeddedAssembly(DraftWriter, Assembly):
    """The file of an upload that has all its ``size`` bytes. ``readers``: threads that read what is
    not in memory."""

    def __init__(
        self, tree: Tree, pool: Executor, readers: Executor, turn: Turn, draft: Draft, size: int
    ) -> None:
        super().__init__(tree, pool, draft)
        self._readers = readers
        self._turn = turn
        self._size = size

    async def write(self, piece: Bytes) -> None:
        raise StoreUnavailable("nothing is added to a version that has all its parts")

    def read(self) -> AsyncGenerator[Bytes, None]:
        return read_file(self._readers, self._draft.descriptor, 0, self._size)

    async def clear(self) -> None:
        await in_thread(self._pool, self._tree.discard_upload, self._turn.upload)

    # In a thread:

    def _seal(self) -> None:
        with self._turn.step():
            self._tree.seal(self._draft)

    def _publish(self) -> Published:
        with self._turn.step():
            return super()._publish()
