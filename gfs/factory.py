"""Opening a file system: the only place that names an engine."""

from __future__ import annotations

from collections.abc import Callable

from gfs.api import FileSystem
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.errors import StoreUnavailable
from gfs.observe import Listener, ObservedFileSystem, on_failover

try:
    from gfs.seaweedfs.filesystem import SeaweedFileSystem
except ImportError:  # its libraries come with the extra [cluster]
    _cluster = None
else:
    _cluster = SeaweedFileSystem


async def open_filesystem(
    root: str,
    masters: str | None = None,
    listening: Callable[[str], Listener] | None = None,
) -> FileSystem:
    """Open the GFS whose ``masters`` are given (``HOST:PORT``, several with commas), or without
    them the one that keeps plain files under the directory ``root``.

    ``listening`` is given the name of the engine, and makes the listener that is told of what the
    engine does. Raises :class:`gfs.errors.StoreUnavailable` when the store cannot be opened, saying
    why, and ValueError for masters that are not addresses.
    """
    listener = None
    if listening is not None:
        listener = listening("embedded" if masters is None else "seaweedfs")
    fs = await _open(root, masters, listener)
    return fs if listener is None else ObservedFileSystem(fs, listener)


async def _open(root: str, masters: str | None, listener: Listener | None) -> FileSystem:
    if masters is None:
        return await EmbeddedFileSystem.start(root)
    if _cluster is None:
        raise StoreUnavailable("a master needs the extra [cluster]: pip install '.[cluster]'")
    told = None if listener is None else on_failover(listener)
    return await _cluster.start(masters, on_failover=told)
