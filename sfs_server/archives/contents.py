"""What is in the archive of a folder, and how much memory all archives may take.

A folder is listed once, before the response starts: its names and sizes make the length of the
archive. What is published in the folder afterwards is not in the archive.

Memory does not depend on the size of files. What the directory at the end of a ZIP file needs of an
entry, its name and its CRC, is kept until then: 450 bytes an entry, measured, so 45 MB for the
MAX_ENTRIES that an archive may have. All archives of a process together keep MAX_KEPT entries at
most.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from gfs.api import FileSystem
from gfs.types import Entry, FolderInfo
from sfs_server.archives.zips import Contents
from sfs_server.errors import RETRY_AFTER_SECONDS, Problem

MAX_ENTRIES = 100_000
"""Files and folders of one archive."""

MAX_KEPT = 300_000
"""Files and folders of all archives of a process that are made at the same time: 135 MB."""

_LATER = {"Retry-After": str(RETRY_AFTER_SECONDS)}


class Archives:
    """The archives that a process makes."""

    def __init__(self) -> None:
        self._kept = 0

    def __repr__(self) -> str:
        return f"<Archives kept={self._kept}>"

    @asynccontextmanager
    async def contents(
        self, fs: FileSystem, folder: FolderInfo, entries: list[Entry] | None
    ) -> AsyncIterator[Contents]:
        """List what an archive of ``folder`` has in it: of all that is in the folder, or only of
        ``entries``, which are right in it. Names in the archive are paths below the folder.

        They are kept until the body of the ``async with`` ends. Raises Problem 413 if there are
        more than MAX_ENTRIES, 503 if this process has too many in other archives, and
        StoreUnavailable.
        """
        contents = Contents()
        cut = len(folder.path) + 1 if folder.path else 0
        kept = 0
        try:
            async with aclosing(_walk(fs, folder, entries)) as batches:
                async for batch in batches:
                    self._kept += len(batch)
                    kept += len(batch)
                    if kept > MAX_ENTRIES:
                        raise _too_many()
                    if self._kept > MAX_KEPT:
                        raise Problem(503, "Too many archives are being made at once.", _LATER)
                    for entry in batch:
                        size = None if isinstance(entry, FolderInfo) else entry.size
                        contents.add(entry.path[cut:], size, entry.modified_ns)
            yield contents
        finally:
            self._kept -= kept


async def _walk(
    fs: FileSystem, folder: FolderInfo, entries: list[Entry] | None
) -> AsyncGenerator[list[Entry], None]:
    """What is in ``folder``, or only ``entries`` of it, and all that is below, in batches. A folder
    comes before what is in it. One listing is open at a time."""
    folders = [folder]
    if entries is not None:
        yield entries
        folders = [entry for entry in reversed(entries) if isinstance(entry, FolderInfo)]
    while folders:
        folder = folders.pop()
        found: list[FolderInfo] = []
        async with aclosing(fs.list_folder(folder.directory, folder.path)) as batches:
            async for batch in batches:
                yield batch
                found += (entry for entry in batch if isinstance(entry, FolderInfo))
        folders += reversed(found)


def _too_many() -> Problem:
    return Problem(
        413,
        f"An archive has at most {MAX_ENTRIES} files and folders, and here are more. Get the "
        "folders in it one by one, or some of them with ?name=.",
    )
