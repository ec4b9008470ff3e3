"""Copying files from one file system to another, while the first is in use.

Of each file, one version is copied: the one that its reader has pinned. The copy has its size and
its times. A directory is listed page by page, and no listing is held open while bytes are copied,
which may take hours. A file that is there all the time is copied; one that is removed meanwhile is
left out; of one that is replaced, either the old version or a new one is copied.

The bytes of a version that was replaced may be deleted while they are read, and a server may be
restarted. So a file whose copy fails is copied again, at most TRIES times. A file that cannot be
read even so is left out, and its name is reported. More than MOST_LOST of them end the copy: then
the store is broken, not some files.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from gfs.api import FileSystem, Reader
from gfs.errors import DataLoss, GfsError, NoSuchFile, StoreUnavailable
from gfs.types import Bytes, FileInfo

PARALLEL = 8
"""How many files are copied at a time: small ones take more waiting than work."""

PAGE = 1_000
"""How many files of a directory are listed at once."""

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

    def lose(self, name: str) -> None:
        """Count the file ``name`` (with its directory), which could not be read. Raises
        StoreUnavailable if there are too many."""
        self.lost += 1
        if self.lost > MOST_LOST:
            raise StoreUnavailable(f"more than {MOST_LOST} files could not be read")
        if self.lost <= MOST_NAMED:
            self.lost_names.append(name)


async def copy_files(source: FileSystem, target: FileSystem, directories: Iterable[str]) -> Copied:
    """Copy the files of ``directories``, which are made in ``target``; durable when it returns.

    A file that ``target`` has already is replaced. Raises StoreUnavailable, StoreFull and other
    errors of a GFS; what has been copied by then stays, for the caller to remove.
    """
    copied = Copied()
    for directory in directories:
        await target.make_directory(directory)
        page = await _page(source, directory, "")
        while page:
            await _copy_page(source, target, page, copied)
            page = await _page(source, directory, page[-1].name)
    return copied


async def _page(source: FileSystem, directory: str, after: str) -> list[FileInfo]:
    async with aclosing(source.list_files(directory, after=after, limit=PAGE)) as batches:
        return [info async for batch in batches for info in batch]


async def _copy_page(
    source: FileSystem, target: FileSystem, page: list[FileInfo], copied: Copied
) -> None:
    left = iter(page)

    async def work() -> None:
        for info in left:
            await _copy_file(source, target, info, copied)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(PARALLEL):
                group.create_task(work())
    except ExceptionGroup as failed:  # the caller expects one GfsError, not a group
        raise failed.exceptions[0] from failed


async def _copy_file(
    source: FileSystem, target: FileSystem, listed: FileInfo, copied: Copied
) -> None:
    for left in reversed(range(TRIES)):
        try:
            size = await _copy_version(source, target, listed.directory, listed.name)
        except NoSuchFile:
            return
        except (DataLoss, StoreUnavailable) as error:
            if left:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if isinstance(error, StoreUnavailable):
                raise
            copied.lose(f"{listed.directory}/{listed.name}")
            return
        copied.files += 1
        copied.size += size
        return


async def _copy_version(source: FileSystem, target: FileSystem, directory: str, name: str) -> int:
    """Copy the version that is there now, and return its size."""
    async with await source.open(directory, name) as reader:
        info = reader.info
        writing = await target.create(directory, name, size=info.size, times_of=info)
        async with writing as writer:
            async with aclosing(_whole(reader)) as pieces:
                async for piece in pieces:
                    await writer.write(piece)
            await writer.commit()
    return info.size


async def _whole(reader: Reader) -> AsyncGenerator[Bytes, None]:
    """Yield the bytes of the version. Raises DataLoss for every failure: whether a replica is
    unavailable or damaged is not always clear, and either way this file cannot be read."""
    try:
        async with aclosing(reader.read(0, reader.info.size)) as pieces:
            async for piece in pieces:
                yield piece
    except GfsError as error:
        raise DataLoss(str(error)) from error
