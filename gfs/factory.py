"""Opening a file system: the only place that names an engine."""

from __future__ import annotations

from gfs.api import FileSystem
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.errors import StoreUnavailable

try:
    from gfs.seaweedfs.filesystem import SeaweedFileSystem
except ImportError:  # its libraries come with the extra [cluster]
    _cluster = None
else:
    _cluster = SeaweedFileSystem


async def open_filesystem(root: str, masters: str | None = None) -> FileSystem:
    """Open the GFS whose ``masters`` are given (``HOST:PORT``, several with commas), or without
    them the one that keeps plain files under the directory ``root``.

    Raises :class:`gfs.errors.StoreUnavailable` when that cannot be done, saying why, and ValueError
    for masters that are not addresses.
    """
    if masters is None:
        return await EmbeddedFileSystem.start(root)
    if _cluster is None:
        raise StoreUnavailable("a master needs the extra [cluster]: pip install '.[cluster]'")
    return await _cluster.start(masters)
