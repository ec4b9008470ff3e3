"""The embedded engine as a :class:`gfs.api.FileSystem`. The blocking work is in
:mod:`gfs.embedded.tree`; here it is sent to threads, reading and writing apart, so that an upload
waiting for a slow disk does not keep downloads waiting for a thread."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from gfs.api import FileSystem, Reader, Writer
from gfs.embedded import listing
from gfs.embedded.border import missing
from gfs.embedded.reader import EmbeddedReader
from gfs.embedded.tree import READ_FLAGS, Tree, encode
from gfs.embedded.writer import EmbeddedWriter
from gfs.errors import GfsError, NoSuchDirectory, StoreFull, StoreUnavailable
from gfs.pagecache import open_cached
from gfs.paths import check_directory, check_name
from gfs.threads import in_thread
from gfs.types import ANYTHING, Expect, FileInfo, Status

READ_THREADS = 16
WRITE_THREADS = 16
CHECK_SECONDS = 5
LIST_FIRST = 100
LIST_BATCH = 250

_log = logging.getLogger(__name__)


class EmbeddedFileSystem(FileSystem):
    """Plain files in a directory. Open it with :meth:`start`."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._names = listing.NameCache(tree.root)
        self._readers = ThreadPoolExecutor(READ_THREADS, "gfs-read")
        self._writers = ThreadPoolExecutor(WRITE_THREADS, "gfs-write")
        self._emptying: set[asyncio.Task[None]] = set()
        self._emptying_turn = asyncio.Lock()
        self.swept = tree.swept

    @classmethod
    async def start(cls, root: str) -> EmbeddedFileSystem:
        """Open the store in the directory ``root``, making it if need be.

        ``swept`` of the result counts the unfinished uploads of an earlier run that were removed.
        Raises StoreUnavailable when another process has the directory, or its file system cannot
        do what is needed.
        """
        self = cls(await asyncio.to_thread(Tree, root))
        self._empty_trash()
        return self

    async def make_directory(self, directory: str) -> None:
        await in_thread(self._writers, self._tree.make_directory, check_directory(directory))

    async def remove_directory(self, directory: str) -> None:
        await in_thread(self._writers, self._tree.discard_directory, check_directory(directory))
        self._empty_trash()

    async def stat(self, directory: str, name: str) -> FileInfo:
        async with await self.open(directory, name) as reader:
            return reader.info

    async def open(self, directory: str, name: str) -> Reader:
        path = encode(check_directory(directory), check_name(name))
        try:
            descriptor = open_cached(self._tree.root, path, READ_FLAGS)
        except OSError as error:
            raise missing(error, name) from error
        if descriptor is None:
            opening = self._tree.open
            descriptor = await in_thread(self._readers, opening, directory, name, undo=os.close)
        try:
            info = self._tree.info(descriptor, directory, name)
        except BaseException:
            os.close(descriptor)
            raise
        return EmbeddedReader(self._readers, descriptor, info)

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

        def begin() -> tuple[int, str]:
            if not self._tree.has_directory(directory):
                raise NoSuchDirectory(directory)
            expect.check(self._tree.look(directory, name))
            if (size or 0) > self._tree.space()[2]:
                raise StoreFull("the file is larger than the room that is left")
            return self._tree.make_temporary()

        temporary = await in_thread(
            self._writers, begin, undo=lambda made: self._tree.drop_temporary(*made)
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
        keep, batch = listing.FIRST_PASS, LIST_FIRST
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
            after, keep, batch = names[-1], listing.PASS, LIST_BATCH

    def _look(self, directory: str, names: list[str]) -> list[FileInfo]:
        found = (self._tree.look(directory, name) for name in names if listing.valid(name))
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
                _, _, free = await asyncio.to_thread(self._tree.space)
        except TimeoutError as error:
            raise StoreUnavailable("the disk does not answer") from error
        if free == 0:
            raise StoreFull("the disk is full")

    async def close(self) -> None:
        for task in self._emptying:
            task.cancel()
        if self._emptying:
            await asyncio.wait(self._emptying)
        self._readers.shutdown()
        self._writers.shutdown()
        self._tree.close()

    def _empty_trash(self) -> None:
        """Free the room of removed directories, beside everything else."""

        async def empty() -> None:
            # What stays behind is tried again at the next removal, and at the next start. Two at
            # once would take the files away from each other, and both give up.
            async with self._emptying_turn:
                try:
                    await in_thread(self._writers, self._tree.empty_trash)
                except GfsError as error:
                    _log.warning("removed directories still take room: %s", error)

        task = asyncio.create_task(empty())
        self._emptying.add(task)
        task.add_done_callback(self._emptying.discard)
