"""Lists of files and folders, in the order of the bytes of their paths.

A filer lists one directory, in the order of the names. In the order of the paths, what is in the
folder ``a`` comes where ``a/`` would be: after ``a-b`` and ``a.b``. So a folder waits until the
names have passed it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from gfs.errors import InvalidName, NoSuchDirectory, NoSuchFolder, NotAFolder
from gfs.paths import check_path
from gfs.seaweedfs import entries
from gfs.seaweedfs.folders import Folder, Folders
from gfs.seaweedfs.servers import Filers
from gfs.types import Entry, FileInfo, Usage

PAGE = 1_000
"""How many entries are asked for at once."""

BATCH = 250
"""How many are in a batch."""


class Listing:
    """Lists what is below the prefix of a store."""

    def __init__(self, filers: Filers, folders: Folders) -> None:
        self._filers = filers
        self._folders = folders

    async def files(
        self, directory: str, prefix: str, after: str, limit: int | None
    ) -> AsyncGenerator[list[FileInfo], None]:
        """See ``FileSystem.list_files``."""
        batch: list[FileInfo] = []
        top = await self._find(directory, "")
        if top is None or limit == 0:
            return
        async with aclosing(self._below(top)) as found:
            async for info in found:
                if not isinstance(info, FileInfo) or not info.path.startswith(prefix):
                    continue
                if info.path.encode() <= after.encode():
                    continue
                batch.append(info)
                limit = None if limit is None else limit - 1
                if len(batch) == BATCH or limit == 0:
                    yield batch
                    batch = []
                if limit == 0:
                    return
        if batch:
            yield batch

    async def folder(
        self, directory: str, folder: str, prefix: str, after: str, limit: int | None
    ) -> AsyncGenerator[list[Entry], None]:
        """See ``FileSystem.list_folder``."""
        batch: list[Entry] = []
        of = await self._find(directory, folder)
        if of is None or limit == 0:
            return
        async with aclosing(self._level(of)) as found:
            async for state in found:
                info = state.info if isinstance(state, Folder) else state
                if not info.name.startswith(prefix) or info.name.encode() <= after.encode():
                    continue
                batch.append(info)
                limit = None if limit is None else limit - 1
                if len(batch) == BATCH or limit == 0:
                    yield batch
                    batch = []
                if limit == 0:
                    return
        if batch:
            yield batch

    async def usage(self, directory: str, folder: str, most: int | None) -> Usage:
        """See ``FileSystem.usage``."""
        files = folders = size = 0
        of = await self._find(directory, folder)
        if of is None:
            return Usage(0, 0, 0)
        async with aclosing(self._below(of)) as found:
            async for info in found:
                if most is not None and files + folders >= most:
                    return Usage(files, folders, size, complete=False)
                if isinstance(info, FileInfo):
                    files += 1
                    size += info.size
                else:
                    folders += 1
        return Usage(files, folders, size)

    async def _find(self, directory: str, folder: str) -> Folder | None:
        try:
            return await self._folders.find(directory, folder and check_path(folder))
        except (NoSuchDirectory, NoSuchFolder, NotAFolder):
            return None

    async def _below(self, folder: Folder) -> AsyncGenerator[Entry, None]:
        """Yield what is in a folder at all depths, each folder right before what is in it."""
        waiting: list[Folder] = []
        async with aclosing(self._level(folder)) as found:
            async for state in found:
                name = state.info.name if isinstance(state, Folder) else state.name
                while waiting and f"{waiting[-1].info.name}/".encode() < name.encode():
                    async with aclosing(self._below(waiting[-1])) as inner:
                        yield waiting.pop().info
                        async for info in inner:
                            yield info
                if isinstance(state, Folder):
                    waiting.append(state)
                else:
                    yield state
        while waiting:
            async with aclosing(self._below(waiting[-1])) as inner:
                yield waiting.pop().info
                async for info in inner:
                    yield info

    async def _level(self, folder: Folder) -> AsyncGenerator[FileInfo | Folder, None]:
        """Yield what is right in a folder, in the order of the names."""
        directory, above = folder.info.directory, folder.info.path
        after = ""
        while True:
            seen = 0
            listing = self._filers.listing(folder.place, prefix="", after=after, limit=PAGE)
            async with aclosing(listing) as found:
                async for entry in found:
                    seen, after = seen + 1, entry.name
                    path = f"{above}/{entry.name}" if above else entry.name
                    try:
                        check_path(path)
                    except InvalidName:
                        continue
                    state = await self._folders.state(folder, entry)
                    if isinstance(state, Folder):
                        yield state
                    elif state is not None:
                        yield entries.file_info(directory, path, state)
            if seen < PAGE:
                return
