"""Opening a file system: the only place that names an engine."""

from __future__ import annotations

from gfs.api import FileSystem
from gfs.embedded.filesystem import EmbeddedFileSystem


async def open_filesystem(root: str) -> FileSystem:
    """Open the GFS that keeps plain files under the directory ``root``.

    Raises :class:`gfs.errors.StoreUnavailable` when that cannot be done, saying why.
    """
    return await EmbeddedFileSystem.start(root)
