"""The masters: which one leads, which filers there are, and which servers hold which volume.

One task follows the leader. It asks the masters in turn which one leads, opens ``KeepConnected`` to
that one, and keeps what comes: first a message for each volume server with all its volumes, and one
for each filer, then the changes. A server that was killed is no longer listed after about 50 ms.
When the stream ends, the task starts again with the next master. What was received is kept
meanwhile: needles do not move because a master is unavailable, and reads and publishes go on.

``ListClusterNodes`` must be asked of the leader: every other master returns an empty list and OK.
``LookupVolume`` may be asked of any; it is for volumes that the stream did not mention, right after
the start for example.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from gfs.errors import StoreUnavailable
from gfs.seaweedfs.proto import master_pb2 as pb
from gfs.seaweedfs.servers import address
from gfs.seaweedfs.servers.address import Address
from gfs.seaweedfs.servers.rpc import CallFailed, Channels, Method
from gfs.types import Status

CALL_SECONDS = 2.0
"""For one call. A master responds in about a millisecond; one that needs longer is passed over."""

RETRY_SECONDS = 0.2
"""The time between two attempts to find a leader."""

SETTLE_SECONDS = 60.0
"""For so long a master that has just started to lead may list too few volume servers."""

MAX_VOLUMES_ASKED = 512
"""How many volumes that the stream did not mention are cached."""

_KEEP = Method(
    "/master_pb.Seaweed/KeepConnected", pb.KeepConnectedRequest, pb.KeepConnectedResponse
)
_LOOKUP = Method("/master_pb.Seaweed/LookupVolume", pb.LookupVolumeRequest, pb.LookupVolumeResponse)
_VOLUMES = Method("/master_pb.Seaweed/VolumeList", pb.VolumeListRequest, pb.VolumeListResponse)
_CONFIGURATION = Method(
    "/master_pb.Seaweed/GetMasterConfiguration",
    pb.GetMasterConfigurationRequest,
    pb.GetMasterConfigurationResponse,
)
_NODES = Method(
    "/master_pb.Seaweed/ListClusterNodes", pb.ListClusterNodesRequest, pb.ListClusterNodesResponse
)
_RAFT = Method(
    "/master_pb.Seaweed/RaftListClusterServers",
    pb.RaftListClusterServersRequest,
    pb.RaftListClusterServersResponse,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """The space of the volume servers, in bytes. ``free`` is what each of them has left; of each
    chunk ``copies`` are made."""

    used: int
    free: tuple[int, ...]
    copies: int
    settled: bool = True
    """Whether the leader lists all volume servers by now."""

    def fits(self, size: int) -> bool:
        """Whether ``size`` bytes fit. Each copy is on a server of its own, so what one server has
        left beyond one copy is of no use."""
        return sum(min(left, size) for left in self.free) >= self.copies * size


class Masters:
    """The masters of one cluster. ``close`` it."""

    def __init__(self, channels: Channels, masters: Sequence[Address]) -> None:
        self._channels = channels
        self._masters = list(masters)
        self._leader: Address | None = None
        self._filers: set[Address] = set()
        self._filers_before: set[Address] = set()
        self.on_filers: Callable[[], None] = lambda: None
        """Is called whenever ``filers`` may have changed."""

        self._volumes: dict[int, dict[str, Address]] = {}
        self.servers: dict[str, Address] = {}
        """Every volume server that a master has named, by its HTTP address."""

        self._servers_before = 1
        self._followed = 0.0
        self._asked: dict[int, tuple[Address, ...]] = {}
        self._failures: dict[Address, str] = {}
        """Why the last attempt to follow a master failed."""

        self._foreign: set[Address] = set()
        """Addresses at which another kind of server responded."""

        self._changed = asyncio.Event()
        self._following = asyncio.create_task(self._follow(), name="gfs-masters")

    def __repr__(self) -> str:
        return (
            f"<Masters leader={self._leader} filers={len(self._filers)} "
            f"servers={len(self.servers)} volumes={len(self._volumes)}>"
        )

    @property
    def filers(self) -> list[Address]:
        """The filers, in the same order in every process. If the masters name none, those that
        they named last: a filer that is restarted responds before the masters name it."""
        return sorted(self._filers or self._filers_before)

    @property
    def led(self) -> bool:
        """Whether there is a master that leads, as far as is known."""
        return self._leader is not None

    async def ready(self, seconds: float) -> None:
        """Return when a leader and a filer have been found. Raises StoreUnavailable after
        ``seconds``, or as soon as every address of a master has turned out to be something else."""
        try:
            async with asyncio.timeout(seconds):
                while self._leader is None or not self._filers:
                    self._changed.clear()
                    await self._changed.wait()
                    if self._foreign.issuperset(self._masters):
                        raise StoreUnavailable(f"this is no SeaweedFS master: {self._reasons()}")
        except TimeoutError as error:
            if self._leader is not None:
                raise StoreUnavailable(f"the cluster has no filer after {seconds:g} s") from error
            what = f"no SeaweedFS master leads after {seconds:g} s: {self._reasons()}"
            raise StoreUnavailable(what) from error

    async def locations(self, volume: int, *, fresh: bool = False) -> tuple[Address, ...]:
        """The servers that hold ``volume``; an empty tuple if no master knows one.

        ``fresh``: ask the masters even if the servers are cached; if none responds, return those.
        """
        servers = self._volumes.get(volume)
        if servers and not fresh:
            return tuple(servers.values())
        if not fresh and volume in self._asked:
            return self._asked[volume]
        try:
            found = await self._look_up(volume)
        except StoreUnavailable:
            _log.warning("no master says where volume %d is", volume)
            return tuple(servers.values()) if servers else self._asked.get(volume, ())
        if found:
            while len(self._asked) >= MAX_VOLUMES_ASKED:
                del self._asked[next(iter(self._asked))]
            self._asked[volume] = found
        return found

    async def free_space(self) -> FreeSpace:
        """The space of the volume servers. Raises StoreUnavailable without a leader."""
        leader = self._leader
        if leader is None:
            raise StoreUnavailable("no master leads")
        listing = self._channels.call(leader.grpc, _VOLUMES, pb.VolumeListRequest(), CALL_SECONDS)
        listed, configuration = await asyncio.gather(listing, self._configuration(leader))
        copies = 1 + sum(int(c) for c in configuration.default_replication if c.isdigit())
        space = _free_space(listed, copies)
        young = asyncio.get_running_loop().time() - self._followed < SETTLE_SECONDS
        return replace(space, settled=len(space.free) >= self._servers_before or not young)

    async def status(self) -> Status:
        """The size of the cluster and its number of servers, filers not counted. Raises
        StoreUnavailable without a leader."""
        space = await self.free_space()
        leader = self._leader
        masters = 1
        if leader is not None:
            raft = await self._channels.call(
                leader.grpc, _RAFT, pb.RaftListClusterServersRequest(), CALL_SECONDS
            )
            masters = max(len(raft.cluster_servers), 1)
        return Status(
            "seaweedfs",
            chunkservers=len(space.free),
            servers=len(space.free) + masters,
            capacity=space.used + sum(space.free),
            used=space.used,
        )

    async def close(self) -> None:
        """Stop following. Idempotent."""
        self._following.cancel()
        await asyncio.wait([self._following])

    async def _look_up(self, volume: int) -> tuple[Address, ...]:
        request = pb.LookupVolumeRequest(volume_or_file_ids=[str(volume)])
        failure = StoreUnavailable("there is no master")
        for master in self._candidates():
            try:
                response = await self._channels.call(master.grpc, _LOOKUP, request, CALL_SECONDS)
            except StoreUnavailable as error:
                failure = error
                continue
            found = {
                location.url: address.parse(location.url, location.grpc_port)
                for one in response.volume_id_locations
                for location in one.locations
            }
            self.servers.update(found)
            return tuple(found.values())
        raise failure

    def _candidates(self) -> list[Address]:
        """The masters, the leader first."""
        first = [self._leader] if self._leader is not None else []
        return first + [master for master in self._masters if master != self._leader]

    async def _follow(self) -> None:
        """Follow one leader after another, until the task is cancelled."""
        while True:
            for master in self._candidates():
                try:
                    leader = await self._leader_by(master)
                    if leader is not None:
                        await self._follow_leader(leader)
                except (StoreUnavailable, ValueError) as error:
                    self._fail(master, str(error))
                self._leader = None
            await asyncio.sleep(RETRY_SECONDS)

    async def _leader_by(self, master: Address) -> Address | None:
        """The leader, as ``master`` names it; None, with the reason noted, if it names none."""
        try:
            configuration = await self._configuration(master)
        except CallFailed as error:
            if error.foreign:
                self._foreign.add(master)
            self._fail(master, error.why)
            return None
        self._foreign.discard(master)
        if not configuration.leader:
            self._fail(master, "it names no leader yet")
            return None
        return address.parse(configuration.leader)

    def _fail(self, master: Address, reason: str) -> None:
        """Note why ``master`` cannot be followed, and log it if that has changed."""
        if self._failures.get(master) != reason:
            self._failures[master] = reason
            _log.info("master %s (gRPC at %s): %s", master.http, master.grpc, reason)
        self._changed.set()

    def _reasons(self) -> str:
        reasons = "; ".join(
            f"{master.http} (gRPC at {master.grpc}): {reason}"
            for master, reason in self._failures.items()
        )
        return (
            f"{reasons}. The gRPC of a master is {address.GRPC_OFFSET} above its port, unless "
            "HOST:PORT.GRPC says where it is"
        )

    async def _configuration(self, master: Address) -> pb.GetMasterConfigurationResponse:
        request = pb.GetMasterConfigurationRequest()
        return await self._channels.call(master.grpc, _CONFIGURATION, request, CALL_SECONDS)

    async def _follow_leader(self, leader: Address) -> None:
        """Keep what ``leader`` sends, until the stream ends or another master leads."""
        nodes = await self._channels.call(
            leader.grpc, _NODES, pb.ListClusterNodesRequest(client_type="filer"), CALL_SECONDS
        )
        if nodes.cluster_nodes:
            self._filers = {address.parse(node.address) for node in nodes.cluster_nodes}
            self.on_filers()
        named: set[str] = set()
        stream = self._channels.converse(leader.grpc, _KEEP, _introduction())
        async with aclosing(stream) as messages:
            async for message in messages:
                if self._leader is None:
                    _log.info("following master %s", leader)
                    self._leader = leader
                    self._failures.clear()
                    self._followed = asyncio.get_running_loop().time()
                    self._servers_before = max(1, len(self._holders()))
                if message.HasField("cluster_node_update"):
                    self._keep_node(message.cluster_node_update)
                if message.HasField("volume_location"):
                    location = message.volume_location
                    if location.leader and address.parse(location.leader) != leader:
                        return
                    if location.url:
                        self._keep_volumes(location, first=location.url not in named)
                        named.add(location.url)
                self._changed.set()

    def _holders(self) -> set[str]:
        """The volume servers that hold a volume."""
        return {url for holders in self._volumes.values() for url in holders}

    def _keep_node(self, update: pb.ClusterNodeUpdate) -> None:
        if update.node_type != "filer":
            return
        filer = address.parse(update.address)
        self._filers_before = set(self._filers) or self._filers_before
        if update.is_add:
            self._filers.add(filer)
        else:
            self._filers.discard(filer)
        self.on_filers()

    def _keep_volumes(self, location: pb.VolumeLocation, *, first: bool) -> None:
        """``first``: the first message of this stream about the server, with all its volumes."""
        url = location.url
        if first:
            for holders in self._volumes.values():
                holders.pop(url, None)
        server = self.servers[url] = address.parse(url, location.grpc_port)
        for volume in location.new_vids:
            self._volumes.setdefault(volume, {})[url] = server
            self._asked.pop(volume, None)
        for volume in location.deleted_vids:
            self._volumes.get(volume, {}).pop(url, None)
            self._asked.pop(volume, None)


async def _introduction() -> AsyncIterator[pb.KeepConnectedRequest]:
    """The one message that this client sends; the stream of requests stays open after it."""
    yield pb.KeepConnectedRequest(client_type="sfs", version="sfs")
    await asyncio.Event().wait()


def _free_space(listed: pb.VolumeListResponse, copies: int) -> FreeSpace:
    """The free space of each server: what its disks have left, or, if that is less, what fits into
    its volumes and into those that it may still make."""
    limit = listed.volume_size_limit_mb * 1024 * 1024
    used, free = 0, []
    for center in listed.topology_info.data_center_infos:
        for rack in center.rack_infos:
            for node in rack.data_node_infos:
                left = 0
                for disk in node.diskInfos.values():
                    sizes = [v.size for v in disk.volume_infos]
                    used += sum(sizes)
                    volumes = sum(
                        max(limit - v.size, 0) for v in disk.volume_infos if not v.read_only
                    )
                    space = volumes + max(disk.free_volume_count, 0) * limit
                    left += min(space, disk.disk_free_bytes) if disk.disk_total_bytes else space
                free.append(left)
    return FreeSpace(used, tuple(free), copies)
