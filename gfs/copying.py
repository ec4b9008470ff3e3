"""Copying files from one file system to another, while the first is in use.

Of each file, one version is copied: the one that its reader has pinned. The copy has its size and
its times. A folder is listed page by page, and no listing is held open while bytes are copied,
which may take hours. A file that is there all the time is copied; one that is removed meanwhile is
left out; of one that is replaced, either the old version or a new one is copied.

A file that is moved while the copy is made may be listed at both places, or at none. So where the
source is in use there is a second pass, which copies what the copy does not have at its path; and
if that came upon a file that is older than the whole copy, one more, at most MOST_PASSES of them.

The bytes of a version that was replaced may be deleted while they are read, and a server may be
restarted. So a file whose copy fails is copied again, at most TRIES times. A file that cannot be
read even so is left out, and its name is reported. More than MOST_LOST of them end the copy: then
the store is broken, not some files.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from gfs import clock
from gfs.api import FileSystem, Reader
from gfs.errors import (
    AlreadyExists,
    DataLoss,
    GfsError,
    IsFolder,
    NoSuchFile,
    NotAFolder,
    StoreUnavailable,
)
from gfs.types import Bytes, Entry, FileInfo, FolderInfo

PARALLEL = 8
"""How many files are copied at a time: small ones take more waiting than work."""

PAGE = 1_000
"""How many entries of a folder are listed at once; so many are held for each folder that the walk
is in."""

MOST_PASSES = 5
"""How often a store in use is walked over. What is moved during each of them may be left out."""

TRIES = 4
"""How often the copy of one file is tried."""

PAUSE_SECONDS = 3.0
"""The time between two of these."""

MOST_LOST = 100
"""Files that cannot be read and are left out; at one more, the copy is given up."""

MOST_NAMED = 20
"""How many of them are named; the others are counted."""


@dataclass(slots=True)
class Copied:
    """What was copied: ``files``, their ``size`` in bytes, and how many of them are ``linked`` to
    the originals; and what was not: how many files were ``lost`` because they could not be read,
    and the names of the first of them."""

    files: int = 0
    size: int = 0
    linked: int = 0
    lost: int = 0
    lost_names: list[str] = field(default_factory=list)
    _lost: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def is_lost(self, name: str) -> bool:
        """Whether the file ``name`` (with its directory) was found to be unreadable."""
        return name in self._lost

    def lose(self, name: str) -> None:
        """Count the file ``name`` (with its directory), which could not be read, once. Raises
        StoreUnavailable if there are too many."""
        if name in self._lost:
            return
        self._lost.add(name)
        self.lost += 1
        if self.lost > MOST_LOST:
            raise StoreUnavailable(f"more than {MOST_LOST} files could not be read")
        if self.lost <= MOST_NAMED:
            self.lost_names.append(name)


async def copy_files(
    source: FileSystem, target: FileSystem, directories: Iterable[str], *, in_use: bool = True
) -> Copied:
    """Copy ``directories``, which are made in ``target``, with the folders and files in them;
    durable when it returns. ``in_use``: whether anything may be changed in ``source`` meanwhile.

    A file that ``target`` has already is replaced. Raises StoreUnavailable, StoreFull and other
    errors of a GFS; what has been copied by then stays, for the caller to remove.
    """
    copied = Copied()
    started_ns = clock.unix_ns()
    names = list(directories)
    for number in range(MOST_PASSES if in_use else 1):
        this_pass = _Pass(source, target, copied, started_ns, is_first=number == 0)
        for directory in names:
            await this_pass.copy_directory(directory)
        if number and not this_pass.saw_moves:
            break
    return copied


class _Pass:
    """A walk over what is to be copied, which adds what it copies to ``copied``. Only the first one
    replaces what the target has."""

    def __init__(
        self,
        source: FileSystem,
        target: FileSystem,
        copied: Copied,
        started_ns: int,
        *,
        is_first: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._copied = copied
        self._started_ns = started_ns
        self._is_first = is_first
        self.saw_moves = False
        """Whether a file was copied, or was gone when it was to be, that was there before
        ``started_ns``: it may have been moved."""

    async def copy_directory(self, directory: str) -> None:
        """Copy one directory, with what is in it."""
        await self._target.make_directory(directory)
        turn = asyncio.Lock()

        async def work(entries: AsyncGenerator[Entry, None]) -> None:
            while True:
                async with turn:
                    entry = await anext(entries, None)
                if entry is None:
                    return
                await self._copy(entry)

        async with aclosing(_walk(self._source, directory, "")) as entries:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(PARALLEL):
                        group.create_task(work(entries))
            except ExceptionGroup as failed:  # the caller expects one GfsError, not a group
                raise failed.exceptions[0] from failed

    async def _copy(self, entry: Entry) -> None:
        try:
            if isinstance(entry, FolderInfo):
                with suppress(AlreadyExists):
                    await self._target.make_folder(entry.directory, entry.path)
            elif self._is_first or not await self._is_copied(entry):
                await self._copy_file(entry)
        except (IsFolder, NotAFolder) as error:
            raise StoreUnavailable(
                "a file or folder came in the place of the other while it was copied: try again"
            ) from error

    async def _is_copied(self, info: FileInfo) -> bool:
        if self._copied.is_lost(f"{info.directory}/{info.path}"):
            return True
        try:
            await self._target.stat(info.directory, info.path)
        except NoSuchFile:
            return False
        return True

    async def _copy_file(self, listed: FileInfo) -> None:
        for left in reversed(range(TRIES)):
            try:
                info = await _copy_version(
                    self._source, self._target, listed.directory, listed.path
                )
            except NoSuchFile:
                self.saw_moves |= listed.modified_ns < self._started_ns
                return
            except (DataLoss, StoreUnavailable) as error:
                if left:
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                if isinstance(error, StoreUnavailable):
                    raise
                self._copied.lose(f"{listed.directory}/{listed.path}")
                return
            self._copied.files += 1
            self._copied.size += info.size
            self.saw_moves |= info.modified_ns < self._started_ns
            return


async def _walk(source: FileSystem, directory: str, folder: str) -> AsyncGenerator[Entry, None]:
    """Yield what is in a folder at all depths, each folder before what is in it."""
    page = await _page(source, directory, folder, "")
    while page:
        for entry in page:
            yield entry
            if isinstance(entry, FolderInfo):
                async with aclosing(_walk(source, directory, entry.path)) as below:
                    async for one in below:
                        yield one
        page = await _page(source, directory, folder, page[-1].name)


async def _page(source: FileSystem, directory: str, folder: str, after: str) -> list[Entry]:
    async with aclosing(source.list_folder(directory, folder, after=after, limit=PAGE)) as batches:
        return [entry async for batch in batches for entry in batch]


async def _copy_version(
    source: FileSystem, target: FileSystem, directory: str, path: str
) -> FileInfo:
    """Copy the version that is there now, and return what it is. Raises NoSuchFile."""
    try:
        opened = await source.open(directory, path)
    except IsFolder as error:
        raise NoSuchFile(path) from error
    async with opened as reader:
        info = reader.info
        writing = await target.create(directory, path, size=info.size, times_of=info)
        async with writing as writer:
            async with aclosing(_whole(reader)) as pieces:
                async for piece in pieces:
                    await writer.write(piece)
            await writer.commit()
    return info


async def _whole(reader: Reader) -> AsyncGenerator[Bytes, None]:
    """Yield the bytes of the version. Raises DataLoss for every failure: whether a replica is
    unavailable or damaged is not always clear, and either way this file cannot be read."""
    try:
        async with aclosing(reader.read(0, reader.info.size)) as pieces:
            async for piece in pieces:
                yield piece
    except GfsError as error:
        raise DataLoss(str(error)) from error
