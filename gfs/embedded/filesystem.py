"""The embedded engine as a :class:`gfs.api.FileSystem`.

The calls that block are in :mod:`gfs.embedded.tree`; here they are made in threads. Reading and
writing have threads of their own, so that uploads to a slow disk do not keep downloads waiting.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from gfs.api import FileSystem, Reader, Writer
from gfs.embedded import listing
from gfs.embedded.reader import EmbeddedReader
from gfs.embedded.tree import READ_FLAGS, Tree
from gfs.embedded.writer import EmbeddedWriter
from gfs.errors import GfsError, NoSuchFile, StoreFull, StoreUnavailable
from gfs.pagecache import open_cached
from gfs.paths import check_directory, check_name
from gfs.threads import in_thread
from gfs.types import ANYTHING, Expect, FileInfo, Status

READ_THREADS = 16
"""How many calls that read the disk may be under way at once."""

WRITE_THREADS = 16
"""The same for those that write."""

CHECK_SECONDS = 5
"""How long ``check`` waits for the disk."""

LIST_FIRST = 100
"""How many files are in the first batches of a listing, which a caller waits for."""

LIST_BATCH = 250
"""How many files are in the later ones."""

_log = logging.getLogger(__name__)


class EmbeddedFileSystem(FileSystem):
    """Plain files in a directory. Open it with :meth:`start`."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._names = listing.NameCache(tree.root)
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

    async def stat(self, directory: str, name: str) -> FileInfo:
        descriptor, info = await self._opened(directory, name)
        os.close(descriptor)
        return info

    async def open(self, directory: str, name: str) -> Reader:
        return EmbeddedReader(self._readers, *await self._opened(directory, name))

    async def _opened(self, directory: str, name: str) -> tuple[int, FileInfo]:
        """Open the current version: its descriptor, and what it is. Raises NoSuchFile."""
        path = f"{check_directory(directory)}/{check_name(name)}".encode()
        try:
            descriptor = open_cached(self._tree.root, path, READ_FLAGS)
        except FileNotFoundError as error:
            raise NoSuchFile(name) from error
        except OSError:
            descriptor = None  # the slow way finds out whether it is the file or the directory
        if descriptor is None:
            opening = self._tree.open
            descriptor = await in_thread(self._readers, opening, directory, name, undo=os.close)
        try:
            return descriptor, self._tree.info(descriptor, directory, name)
        except BaseException:
            os.close(descriptor)
            raise

    async def create(
        self,
        directory: str,
        name: str,
        *,
        expect: Expect = ANYTHING,
        size: int | None = None,
        times_of: FileInfo | None = None,
    ) -> Writer:
        check_directory(directory)
        check_name(name)

        def start() -> tuple[int, str]:
            self._tree.require_writable(directory)
            if expect != ANYTHING:
                expect.check(self._tree.find(directory, name))
            self._tree.require_space(size or 0, files=1)
            return self._tree.make_temporary()

        temporary = await in_thread(
            self._writers, start, undo=lambda made: self._tree.drop_temporary(*made)
        )
        target = directory, name
        return EmbeddedWriter(self._tree, self._writers, temporary, target, expect, times_of)

    async def delete(self, directory: str, name: str, *, expect: Expect = ANYTHING) -> None:
        check_directory(directory)
        await in_thread(self._writers, self._tree.delete, directory, check_name(name), expect)

    async def list_files(
        self, directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        check_directory(directory)
        left = limit
        keep, batch = listing.FIRST_PASS_NAMES, LIST_FIRST
        while left is None or left > 0:
            names = await in_thread(
                self._readers, self._names.names, directory, prefix, after, keep
            )
            for position in range(0, len(names), batch):
                infos = await in_thread(
                    self._readers, self._look, directory, names[position : position + batch]
                )
                infos = infos[:left]
                if infos:
                    yield infos
                if left is not None:
                    left -= len(infos)
                    if left <= 0:
                        return
            if len(names) < keep:
                return
            after, keep, batch = names[-1], listing.PASS_NAMES, LIST_BATCH

    def _look(self, directory: str, names: list[str]) -> list[FileInfo]:
        found = (self._tree.find(directory, name) for name in names if listing.valid(name))
        return [info for info in found if info is not None]

    async def count(self, directory: str) -> int:
        check_directory(directory)
        return await in_thread(self._readers, self._names.count, directory)

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
