"""Volume servers: needles in and out over HTTP, and freed over gRPC.

A write goes to one server, which passes it on to the other replicas. It responds when all have the
bytes, with the CRC32C of what it stored. That server may wait 30 s for a replica that hangs, so a
write has a shorter time of its own; after that every server of the volume is probed, so that only
the one that does not respond is avoided.

A server responds to a write when the bytes are on the disks of all replicas (``fsync=true``), as
those of the embedded engine are: machines in one place lose their power together. Volume servers
call fsync for several writes at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from gfs import clock
from gfs.chunkservers import Chunk, Connections, Response
from gfs.errors import DataLoss, GfsError, StoreUnavailable
from gfs.seaweedfs.proto import volume_pb2 as pb
from gfs.seaweedfs.servers import fid as fids
from gfs.seaweedfs.servers import signing
from gfs.seaweedfs.servers.address import Address
from gfs.seaweedfs.servers.master import Masters
from gfs.seaweedfs.servers.rpc import Channels, Method
from gfs.types import Bytes

PUT_SECONDS = 10.0
"""For writing one chunk to all its replicas, which takes about 20 ms."""

FREE_SECONDS = 3.0
"""For one server to delete a batch of needles."""

ALIVE_SECONDS = 1.0
"""How long a server may take to respond to a probe."""

SUSPECT_SECONDS = 15.0
"""How long a server that failed is asked last."""

MAX_STATUS_BYTES = 4096
"""The longest body of a response that only says whether a request succeeded."""

FREE_BATCH = 1_000
"""How many needles are deleted by one call."""

NO_NEEDLE = "0,0100000000"
"""The name of a needle that cannot exist, since there is no volume 0."""

PROBED_SERVERS = 3
"""How many servers are asked whether they refuse our signatures."""

_FREE = Method(
    "/volume_server_pb.VolumeServer/BatchDelete", pb.BatchDeleteRequest, pb.BatchDeleteResponse
)
_GONE = frozenset({200, 202, 304, 404})
"""The statuses of BatchDelete for a needle that was deleted, or is not there."""

_log = logging.getLogger(__name__)


class VolumeServers:
    """The volume servers of one cluster: a :class:`gfs.chunkservers.Chunkservers`. ``close`` it
    after the last response."""

    def __init__(
        self,
        channels: Channels,
        masters: Masters,
        *,
        read_key: bytes | None,
        write_key: bytes | None,
        on_failover: Callable[[GfsError], None] | None = None,
    ) -> None:
        """``read_key``, ``write_key``: what requests are signed with, where the cluster wants that.
        ``on_failover`` is called with the failure of each replica that a reading passed over."""
        self._channels = channels
        self._masters = masters
        self._read_key = read_key
        self._write_key = write_key
        self._on_failover = on_failover
        self.connections = Connections()
        self._suspect: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<VolumeServers {self.connections!r} suspect={list(self._suspect)}>"

    def suspect(self, server: str) -> None:
        """Ask ``server`` (HTTP ``host:port``) last for the next SUSPECT_SECONDS."""
        self._suspect[server] = clock.monotonic() + SUSPECT_SECONDS

    def suspected(self, server: str) -> bool:
        """Whether ``server`` has failed within the last SUSPECT_SECONDS."""
        return self._suspect.get(server, 0.0) > clock.monotonic()

    def order(self, servers: Iterable[str]) -> list[str]:
        """The servers in a random order, the suspected ones at the end."""
        shuffled = list(servers)
        random.shuffle(shuffled)
        if self._suspect:
            shuffled.sort(key=self.suspected)
        return shuffled

    async def put(self, server: str, fid: str, pieces: Sequence[Bytes], crc: int) -> None:
        """Store the needle ``fid``, with the bytes of ``pieces``, on all its replicas, through
        ``server``.

        ``crc`` is the CRC32C of the pieces. After StoreUnavailable, some replicas may have it.
        """
        headers = [("Content-Type", "application/octet-stream")]
        if self._write_key is not None:
            headers.append(_bearer(self._write_key, fid))
        try:
            async with asyncio.timeout(PUT_SECONDS):
                target = f"/{fid}?fsync=true"
                response = await self.connections.ask(server, "PUT", target, headers, pieces)
                try:
                    await response.read(MAX_STATUS_BYTES)
                finally:
                    response.close()
        except TimeoutError as error:
            raise StoreUnavailable(f"{server}: silent for {PUT_SECONDS:g} s") from error
        except (StoreUnavailable, DataLoss) as error:
            raise StoreUnavailable(f"{server}: {error}") from error
        if response.status == 204:
            return  # it had the same bytes already
        if response.status != 201:
            raise StoreUnavailable(f"{server}: status {response.status}")
        if response.headers.get("etag", "").strip('"') != f"{crc:08x}":
            raise StoreUnavailable(f"{server}: it stored other bytes than were sent")

    async def locate(self, chunk: Chunk, *, again: bool) -> list[str]:
        """See :class:`gfs.chunkservers.Chunkservers`, also for ``ask`` and ``failed``."""
        servers = await self._masters.locations(fids.volume_of(chunk.key), fresh=again)
        return self.order(server.http for server in servers)

    async def ask(self, address: str, chunk: Chunk, start: int, expect: int) -> Response:
        """Ask one server for a needle; one that was deleted is served until it is vacuumed, so that
        a reader can go on after its file was overwritten or deleted."""
        headers = [("Accept-Encoding", "identity")]
        if self._read_key is not None:
            headers.append(_bearer(self._read_key, chunk.key))
        if start and chunk.size is not None:
            headers.append(("Range", f"bytes={start}-{chunk.size - 1}"))
        target = f"/{chunk.key}?readDeleted=true"
        return await self.connections.ask(address, "GET", target, headers, expect=expect)

    async def gone(self, fid: str) -> bool:
        """Whether a needle was deleted, or never written. Raises StoreUnavailable if a server that
        may have it does not respond, and none says that it has it.

        Of a needle that is there only the first byte is sent.
        """
        headers = [("Range", "bytes=0-0")]
        if self._read_key is not None:
            headers.append(_bearer(self._read_key, fid))
        volume = fids.volume_of(fid)
        for fresh in (False, True):  # the volume may have been moved
            servers = [server.http for server in await self._masters.locations(volume, fresh=fresh)]
            statuses = await asyncio.gather(
                *(self._status(server, "GET", f"/{fid}", headers) for server in servers)
            )
            if any(status not in (None, 404) for status in statuses):
                return False
        if None in statuses or not statuses:
            raise StoreUnavailable("it is not known whether a chunk is still there")
        return True

    def failed(self, address: str, error: GfsError) -> None:
        """Log the failure; a server that does not respond is suspected."""
        _log.info("volume server %s was passed over: %s", address, error)
        if isinstance(error, StoreUnavailable):
            self.suspect(address)
        if self._on_failover is not None:
            self._on_failover(error)

    async def probe(self, servers: Iterable[str]) -> None:
        """Ask all servers whether they are healthy, and suspect those that do not respond within
        ALIVE_SECONDS."""
        await asyncio.gather(*map(self._probe, servers))

    async def _probe(self, server: str) -> None:
        if await self._status(server, "GET", "/healthz", ()) is None:
            self.suspect(server)

    async def refused(self, servers: Iterable[str]) -> str | None:
        """Which signed requests every server that responds refuses: ``"reads"``, ``"writes"``, or
        None.

        A volume server checks a signature before anything else. So a request for NO_NEEDLE, or for
        its deletion, shows whether our keys are those of the cluster: the response is 401 if they
        differ, and 404 if not. Asks PROBED_SERVERS of the servers.
        """
        found = sorted(servers)
        asked = random.sample(found, min(len(found), PROBED_SERVERS))  # nosec B311
        for what, method, key in (
            ("reads", "GET", self._read_key),
            ("writes", "DELETE", self._write_key),
        ):
            headers = () if key is None else (_bearer(key, NO_NEEDLE),)
            statuses = await asyncio.gather(
                *(self._status(server, method, f"/{NO_NEEDLE}", headers) for server in asked)
            )
            responded = [status for status in statuses if status is not None]
            if responded and all(status == 401 for status in responded):
                return what
        return None

    async def _status(
        self, server: str, method: str, target: str, headers: Sequence[tuple[str, str]]
    ) -> int | None:
        """The status of a response; None if there is none within ALIVE_SECONDS."""
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                response = await self.connections.ask(server, method, target, headers)
                try:
                    await response.read(MAX_STATUS_BYTES)
                finally:
                    response.close()
        except (StoreUnavailable, DataLoss, TimeoutError):
            return None
        return response.status

    async def free(self, needles: Mapping[Address, Sequence[str]]) -> int:
        """Delete the needles of each server, and return how many copies could not be deleted.

        The cluster's own ``volume.fsck`` finds those that are left.
        """
        batches = [
            (server, found[start : start + FREE_BATCH])
            for server, found in needles.items()
            for start in range(0, len(found), FREE_BATCH)
        ]
        results = await asyncio.gather(*(self._free(*batch) for batch in batches))
        return sum(results)

    async def _free(self, server: Address, needles: Sequence[str]) -> int:
        request = pb.BatchDeleteRequest(file_ids=needles)
        try:
            response = await self._channels.call(server.grpc, _FREE, request, FREE_SECONDS)
        except StoreUnavailable as error:
            _log.warning("%d chunks may be left on %s: %s", len(needles), server, error)
            return len(needles)
        return sum(result.status not in _GONE for result in response.results)

    async def close(self) -> None:
        """Close the connections."""
        await self.connections.close()


def _bearer(key: bytes, fid: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {signing.token(key, fid, clock.unix())}"


def by_server(
    needles: Iterable[tuple[str, Iterable[Address]]],
) -> dict[Address, list[str]]:
    """Each server's needles, from needles with their servers."""
    found: dict[Address, list[str]] = {}
    for fid, servers in needles:
        for server in servers:
            found.setdefault(server, []).append(fid)
    return found
