"""Speaking with the servers of a SeaweedFS cluster.

``Masters`` know which filers there are and which volume server has which volume; ``Filers`` keep
the entries of files; ``VolumeServers`` keep chunks. Control calls go over the ``Channels`` of gRPC
and raise ``CallFailed``; chunks go over HTTP. ``fid`` is how chunks are named.
"""

from gfs.seaweedfs.servers import fid
from gfs.seaweedfs.servers.address import Address, parse_list
from gfs.seaweedfs.servers.filer import (
    BUCKETS,
    PAGE_ENTRIES,
    PATIENCE_SECONDS,
    RETRY_SECONDS,
    Assigned,
    Filers,
    Page,
    decode,
)
from gfs.seaweedfs.servers.master import FreeSpace, Masters
from gfs.seaweedfs.servers.rpc import CallFailed, Channels
from gfs.seaweedfs.servers.volume import FREE_BATCH, VolumeServers, by_server

__all__ = [
    "BUCKETS",
    "FREE_BATCH",
    "PAGE_ENTRIES",
    "PATIENCE_SECONDS",
    "RETRY_SECONDS",
    "Address",
    "Assigned",
    "CallFailed",
    "Channels",
    "Filers",
    "FreeSpace",
    "Masters",
    "Page",
    "VolumeServers",
    "by_server",
    "decode",
    "fid",
    "parse_list",
]
