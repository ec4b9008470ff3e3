"""The embedded engine as a :class:`gfs.api.FileSystem`.

The calls that block are in :mod:`gfs.embedded.tree`; here they are made in threads. Reading and
writing have threads of their own, so that uploads to a slow disk do not keep downloads waiting.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from gfs.api import Assembly, FileSystem, Ledger, PartWriter, Reader, Writer
from gfs.embedded.infos import READ_FLAGS
from gfs.embedded.parts import EmbeddedAssembly, EmbeddedPartWriter, Turn, Turns
from gfs.embedded.reader import EmbeddedReader
from gfs.embedded.tree import Draft, Tree
from gfs.embedded.walks import Walks
from gfs.embedded.writer import EmbeddedWriter
from gfs.errors import GfsError, NoSuchFile, StoreFull, StoreUnavailable
from gfs.linux import open_cached
from gfs.paths import check_directory, check_path, check_upload
from gfs.threads import in_thread
from gfs.types import (
    ANYTHING,
    Entry,
    Expect,
    FileInfo,
    FolderInfo,
    Kind,
    Moved,
    Part,
    Status,
    Usage,
)

READ_THREADS = 16
"""How many calls that read the disk may be under way at once."""

WRITE_THREADS = 16
"""The same for those that write."""

CHECK_SECONDS = 5
"""How long ``check`` waits for the disk."""

_log = logging.getLogger(__name__)

_Entry = TypeVar("_Entry", bound=Entry)


def _check_folder(path: str) -> str:
    """Return ``path`` if it can be that of a folder, or is "" for a directory itself."""
    return path and check_path(path)


class EmbeddedFileSystem(FileSystem):
    """Plain files in a directory. Open it with :meth:`start`."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._walks = Walks(tree)
        self._turns = Turns()
        self._readers = ThreadPoolExecutor(READ_THREADS, "gfs-read")
        self._writers = ThreadPoolExecutor(WRITE_THREADS, "gfs-write")
        self._emptying: set[asyncio.Task[None]] = set()
        self._emptying_lock = asyncio.Lock()
        self._emptying_waits = False  # a task waits for the lock
        self._closing = False
        self.swept = tree.swept

    def __repr__(self) -> str:
        return f"<EmbeddedFileSystem emptying={len(self._emptying)} closing={self._closing}>"

    @classmethod
    async def start(cls, root: str, reserve: int = 0) -> EmbeddedFileSystem:
        """Open the store in the directory ``root``, making it if need be; uploads leave
        ``reserve`` bytes of its disk free.

        ``swept`` of the result counts the unfinished uploads of an earlier run that were removed.
        Raises StoreUnavailable when another process has the directory open, StoreBroken when its
        file system cannot do what is needed. Problems with single directories, or with the free
        space, are only logged.
        """
        self = cls(await asyncio.to_thread(Tree, root, reserve))
        await asyncio.to_thread(self._log_problems)
        self._empty_trash()
        return self

    def _log_problems(self) -> None:
        if self._tree.unswept.count:
            _log.warning("unfinished uploads still take space: %s", self._tree.unswept)
        for error in self._tree.unusable():
            _log.warning("not usable: %s", error)
        try:
            self._tree.require_space()
        except StoreFull as error:
            _log.warning("uploads are refused: %s", error)

    async def make_directory(self, directory: str) -> None:
        await in_thread(self._writers, self._tree.make_directory, check_directory(directory))

    async def remove_directory(self, directory: str) -> None:
        await in_thread(self._writers, self._tree.discard_directory, check_directory(directory))
        self._empty_trash()

    async def stat(self, directory: str, path: str) -> FileInfo:
        descriptor, info = await self._opened(directory, path)
        os.close(descriptor)
        return info

    async def open(self, directory: str, path: str) -> Reader:
        return EmbeddedReader(self._readers, *await self._opened(directory, path))

    async def _opened(self, directory: str, path: str) -> tuple[int, FileInfo]:
        """Open the current version: its descriptor, and what it is. Raises NoSuchFile, IsFolder."""
        whole = f"{check_directory(directory)}/{check_path(path)}".encode()
        descriptor = None
        gate = self._tree.gate
        if gate.enter():
            try:
                descriptor = open_cached(self._tree.root, whole, READ_FLAGS)
            except FileNotFoundError as error:
                raise NoSuchFile(path) from error
            except OSError:
                descriptor = None  # the slow way finds out what is in the way
            finally:
                gate.leave()
        if descriptor is None:
            opening = self._tree.open
            descriptor = await in_thread(self._readers, opening, directory, path, undo=os.close)
        try:
            return descriptor, self._tree.info(descriptor, directory, path)
        except BaseException:
            os.close(descriptor)
            raise

    async def create(
        self,
        directory: str,
        path: str,
        *,
        expect: Expect = ANYTHING,
        size: int | None = None,
        times_of: FileInfo | None = None,
    ) -> Writer:
        target = check_directory(directory), check_path(path)
        starting = self._tree.start
        draft = await in_thread(
            self._writers, starting, *target, expect, size or 0, undo=self._tree.drop
        )
        return EmbeddedWriter(self._tree, self._writers, draft, times_of)

    async def append(self, directory: str, ledger: Ledger, offset: int) -> PartWriter:
        turn = self._turns.take(check_upload(ledger.upload))
        target = check_directory(directory), turn, offset
        descriptor = await in_thread(self._writers, self._open_parts, *target, undo=os.close)
        return EmbeddedPartWriter(self._tree, self._writers, turn, descriptor, offset)

    def _open_parts(self, directory: str, turn: Turn, offset: int) -> int:
        self._tree.require_writable(directory)
        with turn.step():
            return self._tree.open_parts(turn.upload, offset)

    async def assemble(
        self,
        directory: str,
        path: str,
        ledger: Ledger,
        size: int,
        *,
        expect: Expect = ANYTHING,
    ) -> Assembly:
        target = check_directory(directory), check_path(path), expect
        turn = self._turns.take(check_upload(ledger.upload))
        draft = await in_thread(
            self._writers, self._assemble, *target, turn, size, undo=self._tree.drop
        )
        return EmbeddedAssembly(self._tree, self._writers, self._readers, turn, draft, size)

    def _assemble(self, directory: str, path: str, expect: Expect, turn: Turn, size: int) -> Draft:
        with turn.step():
            return self._tree.assemble(directory, path, expect, turn.upload, size)

    async def discard(
        self, ledger: Ledger, parts: Sequence[Part] | None = None, *, published: bool = False
    ) -> None:
        if parts is not None:
            return  # the next writer cuts them off, and may have written over them already
        turn = self._turns.take(check_upload(ledger.upload))
        await in_thread(self._writers, self._discard_upload, turn)

    def _discard_upload(self, turn: Turn) -> None:
        with turn.step():  # or an append that is under way would make the file again
            self._tree.discard_upload(turn.upload)

    async def delete(self, directory: str, path: str, *, expect: Expect = ANYTHING) -> FileInfo:
        target = check_directory(directory), check_path(path)
        return await in_thread(self._writers, self._tree.delete, *target, expect)

    async def stat_folder(self, directory: str, path: str) -> FolderInfo:
        target = check_directory(directory), _check_folder(path)
        return await in_thread(self._readers, self._tree.stat_folder, *target)

    async def make_folder(self, directory: str, path: str) -> FolderInfo:
        target = check_directory(directory), check_path(path)
        return await in_thread(self._writers, self._tree.make_folder, *target)

    async def remove_folder(self, directory: str, path: str) -> None:
        target = check_directory(directory), check_path(path)
        await in_thread(self._writers, self._tree.remove_folder, *target)
        self._empty_trash()

    async def move(
        self,
        directory: str,
        path: str,
        to_directory: str,
        to_path: str,
        *,
        expect: Expect = ANYTHING,
        expect_there: Expect = ANYTHING,
    ) -> Moved:
        ends = check_directory(directory), check_path(path)
        to = check_directory(to_directory), check_path(to_path)
        moved = await in_thread(self._writers, self._tree.move, *ends, *to, expect, expect_there)
        if moved.replaced is not None:
            self._empty_trash()
        return moved

    def list_files(
        self, directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        check_directory(directory)
        return self._listed(self._walks.flat(directory, prefix, after), limit)

    def list_folder(
        self,
        directory: str,
        folder: str = "",
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        kind: Kind | None = None,
    ) -> AsyncGenerator[list[Entry], None]:
        target = check_directory(directory), _check_folder(folder)
        return self._listed(self._walks.level(*target, prefix, after, kind), limit)

    async def _listed(
        self, slices: Iterator[list[_Entry]], limit: int | None
    ) -> AsyncGenerator[list[_Entry], None]:
        """Yield at most ``limit`` entries, in the batches that threads make of them."""
        left = limit
        while left is None or left > 0:
            found = await in_thread(self._readers, next, slices, None)
            if found is None:
                return
            if left is not None:
                found = found[:left]
                left -= len(found)
            if found:
                yield found

    async def usage(self, directory: str, folder: str = "", *, most: int | None = None) -> Usage:
        target = check_directory(directory), _check_folder(folder)
        with closing(self._walks.count(*target, most)) as counting:
            counted = Usage(0, 0, 0)
            while (more := await in_thread(self._readers, next, counting, None)) is not None:
                counted = more
        return counted

    async def identity(self) -> str:
        return await in_thread(self._writers, self._tree.identity)

    async def status(self) -> Status:
        capacity, used, _ = await in_thread(self._readers, self._tree.space)
        return Status("embedded", chunkservers=1, servers=1, capacity=capacity, used=used)

    async def check(self) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await asyncio.to_thread(self._tree.check)
        except TimeoutError as error:
            raise StoreUnavailable("the disk does not respond") from error

    async def close(self) -> None:
        self._closing = True
        for task in self._emptying:
            task.cancel()
        if self._emptying:
            await asyncio.wait(self._emptying)
        self._readers.shutdown()
        self._writers.shutdown()
        self._tree.close()

    def _empty_trash(self) -> None:
        """Free the space of removed directories, in a task of its own. A task that waits for the
        lock empties what is removed until it has it, so a second one need not wait."""
        if self._emptying_waits:
            return
        self._emptying_waits = True

        async def empty() -> None:
            # What is left is tried again at the next removal, and at the next start. Two at once
            # would remove each other's files, and both give up.
            async with self._emptying_lock:
                self._emptying_waits = False
                try:
                    left = await in_thread(
                        self._writers, self._tree.empty_trash, lambda: not self._closing
                    )
                except GfsError as error:
                    _log.warning("removed directories still take space: %s", error)
                    return
                if left.count and not self._closing:
                    _log.warning("removed directories still take space: %s", left)

        task = asyncio.create_task(empty())
        self._emptying.add(task)
        task.add_done_callback(self._emptying.discard)
