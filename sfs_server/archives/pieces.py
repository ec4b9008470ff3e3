"""The bytes of an archive, made while it is sent.

Each file is opened when its turn comes, and closed before the next one. A file that is gone by
then, or that has another size than when it was listed, ends the archive, and with it the
connection: an archive that arrives whole is whole. The directory at the end is encoded in a thread,
since that takes half a second for 100,000 entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from zipfile import ZipInfo

from gfs.api import FileSystem, Reader
from gfs.errors import IsFolder, NoSuchFile
from gfs.streams import exactly
from gfs.threads import in_thread
from gfs.types import Bytes, FolderInfo
from sfs_server.archives.zips import Contents, ZipWriter
from sfs_server.errors import RETRY_AFTER_SECONDS, Problem

_FRAME_BYTES = 64 * 1024
"""Bytes that are no file's after which a piece ends: there may be many folders and empty files."""


class ArchivePieces:
    """The bytes of an archive, for :meth:`ClientSocket.send_pieces`. ``aclose`` it."""

    def __init__(
        self, fs: FileSystem, folder: FolderInfo, contents: Contents, pool: Executor
    ) -> None:
        """``contents`` is that of ``folder``. ``pool`` has the thread that encodes the directory of
        the ZIP file."""
        self._fs = fs
        self._directory = folder.directory
        self._top = f"{folder.path}/" if folder.path else ""
        self._pool = pool
        self._zip = ZipWriter()
        self._entries = iter(contents.entries)
        self._finished = False
        self._reader: Reader | None = None  # of the file that is being sent
        self._pieces: AsyncGenerator[Bytes, None] | None = None  # of that reader
        self._sent = 0  # bytes of that file
        self._frame = 0  # how many of the bytes that are left are not of a file
        self.left: Bytes = b""
        """What has been fetched, and has not been sent."""

    def __repr__(self) -> str:
        return f"<ArchivePieces {self._zip!r} sent={self._sent} left={len(self.left)}>"

    async def more(self) -> bool:
        """Have something ``left``; False at the end of the archive. Raises Problem 503 if a file is
        not what it was when it was listed, DataLoss, and StoreUnavailable."""
        if self.left:
            return True
        frame: bytes = b""
        data: Bytes = b""
        while not data and len(frame) < _FRAME_BYTES:
            if self._reader is not None:
                data = await self._next(self._reader)
                if not data:
                    frame += self._zip.end()
                    await self._close_file()
            elif (entry := next(self._entries, None)) is not None:
                await asyncio.sleep(0)  # small files and their pages may all be in memory
                if not entry.is_dir():
                    await self._open(entry)
                frame += self._zip.start(entry)
            elif not self._finished:
                self._finished = True
                frame += await in_thread(self._pool, self._zip.finish)
            else:
                break
        self._frame = len(frame)
        self.left = b"".join((frame, data)) if frame else data
        return len(self.left) > 0

    def sent(self, count: int) -> None:
        """The first ``count`` bytes of what was ``left`` have been sent."""
        of_frame = min(count, self._frame)
        self._frame -= of_frame
        left = memoryview(self.left)
        if count > of_frame:
            self._zip.data(left[of_frame:count])
            self._sent += count - of_frame
        self.left = left[count:] if count < len(left) else b""

    async def release(self) -> None:
        """Hold nothing of a file that has not been sent; ``more`` fetches it again."""
        self.left = bytes(self.left[: self._frame])
        await self._close_pieces()

    async def aclose(self) -> None:
        """Close what the archive is made from."""
        await self._close_file()
        self._zip.abort()

    async def _open(self, entry: ZipInfo) -> None:
        path = self._top + entry.filename
        for final in (False, True):
            try:
                self._reader = await self._fs.open(self._directory, path)
            except (NoSuchFile, IsFolder):
                if final:
                    raise _changed() from None
            else:
                if self._reader.info.size == entry.file_size:
                    self._sent = 0
                    return
                await self._close_file()
            self._fs.forget(self._directory, path)  # the listing may know more than the cache
        raise _changed()

    async def _next(self, reader: Reader) -> Bytes:
        """The next piece of the file; nothing at its end."""
        if self._pieces is None:
            length = reader.info.size - self._sent
            self._pieces = exactly(length, reader.read(self._sent, length))
        return await anext(self._pieces, b"")

    async def _close_pieces(self) -> None:
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            await pieces.aclose()

    async def _close_file(self) -> None:
        await self._close_pieces()
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()


def _changed() -> Problem:
    """The end of an archive of which a file is not what it was when it was listed."""
    return Problem(
        503,
        "A file was changed while the archive was made. Get it again.",
        {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
