"""Storing chunks: assign, put, and put again elsewhere what failed.

One chunk in memory is 4 MiB, and of one upload IN_FLIGHT are on their way to volume servers while
the next one fills; of all uploads of a process together TOTAL_IN_FLIGHT. What all hold together is
bounded by :mod:`gfs.seaweedfs.buffers`. Needles are reserved several at a time, since an assign
costs as much as a small write; the numbers double up to ASSIGN_MOST, so that a small file reserves
one.

A write that failed is not repeated where it failed: the needles that were reserved with it are
forgotten, and the chunk goes to a newly assigned volume. What the failed write may have left on
some replica is noted and freed with the rest. This goes on for SEND_SECONDS: a cluster needs about
27 s for a new leading master, and its masters need 76 s to notice that a volume server hangs. Until
then they go on assigning its volumes. So a write that has not been answered after SLOW_SECONDS has
the servers of its volume asked for a sign of life: if one gives none, the write is given up, the
server is suspect, and for a while volumes are asked for until one is not on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from gfs.clock import Deadline
from gfs.errors import StoreFull, StoreUnavailable
from gfs.seaweedfs.buffers import Buffers
from gfs.seaweedfs.servers import Assigned, CallFailed, Filers, Masters, VolumeServers, by_server
from gfs.seaweedfs.servers import fid as fids
from gfs.types import Bytes

CHUNK_BYTES = 4 * 1024 * 1024
"""What a volume server checks before it sends it; see :mod:`gfs.seaweedfs.servers.volume`."""

IN_FLIGHT = 3
TOTAL_IN_FLIGHT = 16
ASSIGN_MOST = 8
AVOID_TRIES = 12
"""How often another volume is asked for, where the one assigned is on a suspect server."""

SLOW_SECONDS = 1.0
SEND_SECONDS = 90.0
FULL_SECONDS = 3.0
"""A volume server that is away for a moment makes a small cluster look full."""

RETRY_SECONDS = 0.1
RETRY_MOST_SECONDS = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """A needle that was reserved, and the servers (HTTP ``host:port``) of its volume."""

    fid: str
    servers: tuple[str, ...]


class Uploads:
    """What all uploads of one process share."""

    def __init__(
        self, masters: Masters, filers: Filers, volumes: VolumeServers, buffers: Buffers
    ) -> None:
        self.masters = masters
        self.filers = filers
        self.volumes = volumes
        self.buffers = buffers
        self.slots = asyncio.Semaphore(TOTAL_IN_FLIGHT)

    async def assign(self, path: str, count: int) -> Assigned:
        """Reserve ``count`` needles for the file ``path``. Raises StoreFull, StoreUnavailable."""
        try:
            return await self.filers.assign(path, count)
        except CallFailed as error:
            # A master that cannot make a volume sometimes says so, and sometimes not for 30 s.
            if error.late and await self._is_full():
                raise StoreFull("no volume of the cluster takes more") from error
            raise

    async def _is_full(self) -> bool:
        try:
            room = await self.masters.room()
        except StoreUnavailable:
            return False
        return room.settled and not room.takes(CHUNK_BYTES)

    async def free(self, targets: Sequence[Target]) -> None:
        """Delete needles on all their servers, as far as these can be reached.

        The servers are those that were assigned: of a volume that was just made, and of a server
        that had none before, the masters tell a little later. Then they are asked.
        """
        known = self.masters.servers
        for volume, servers in {fids.volume_of(t.fid): t.servers for t in targets}.items():
            if not known.keys() >= set(servers):
                await self.masters.locations(volume, fresh=True)
        located = [
            (target.fid, [known[server] for server in target.servers if server in known])
            for target in targets
        ]
        lost = sum(
            len(t.servers) - len(found) for t, (_, found) in zip(targets, located, strict=True)
        )
        lost += await self.volumes.free(by_server(located))
        if lost:
            _log.warning("%d copies of chunks of no file are left for volume.fsck", lost)


class Sender:
    """Stores the chunks of one file. ``path`` is its path in the filer."""

    def __init__(self, uploads: Uploads, path: str) -> None:
        self._uploads = uploads
        self._path = path
        self._lock = asyncio.Lock()
        self._targets: list[Target] = []
        self._count = 1
        self._stopped = False
        self.stored: list[Target] = []
        """The needles that hold chunks of the file."""

        self.spoiled: list[Target] = []
        """Those that may hold something, but are not used."""

    async def send(self, pieces: Sequence[Bytes], crc: int) -> str:
        """Store one chunk, whose CRC32C is ``crc``; returns its needle.

        Raises StoreFull, and StoreUnavailable after SEND_SECONDS. When cancelled, the needle that
        was being written is among the spoiled ones.
        """
        until_sent, until_space = Deadline(SEND_SECONDS), Deadline(FULL_SECONDS)
        pause = RETRY_SECONDS
        while True:
            try:
                return await self._try(pieces, crc)
            except StoreFull as error:
                await until_space.pause(pause, error)
            except StoreUnavailable as error:
                await until_sent.pause(pause, error)
                _log.info("a chunk is sent again: %s", error)
            pause = min(2 * pause, RETRY_MOST_SECONDS)

    def stop(self) -> None:
        """Begin nothing more: what ``send`` is doing ends with the write that is under way."""
        self._stopped = True

    async def free(self, *, stored: bool) -> None:
        """Delete the spoiled needles, and if the file is given up those that are ``stored``."""
        targets, self.spoiled = self.spoiled, []
        if stored:
            targets, self.stored = targets + self.stored, []
        if targets:
            await self._uploads.free(targets)

    async def _try(self, pieces: Sequence[Bytes], crc: int) -> str:
        volumes = self._uploads.volumes
        target = await self._target()
        if self._stopped:
            raise asyncio.CancelledError
        self.spoiled.append(target)
        try:
            await self._put(target, pieces, crc)
        except StoreUnavailable:
            volume = fids.volume_of(target.fid)
            self._targets = [t for t in self._targets if fids.volume_of(t.fid) != volume]
            if self._stopped:
                raise asyncio.CancelledError from None
            await volumes.probe(target.servers)
            raise
        self.spoiled.remove(target)
        self.stored.append(target)
        return target.fid

    async def _put(self, target: Target, pieces: Sequence[Bytes], crc: int) -> None:
        """Write one needle. Raises StoreUnavailable, soon if one of its servers hangs."""
        volumes = self._uploads.volumes
        server = volumes.order(target.servers)[0]
        putting = asyncio.ensure_future(volumes.put(server, target.fid, pieces, crc))
        try:
            while not (await asyncio.wait([putting], timeout=SLOW_SECONDS))[0]:
                await volumes.probe(target.servers)
                if any(map(volumes.suspected, target.servers)) and not putting.done():
                    raise StoreUnavailable("a server of the volume gives no sign of life")
            putting.result()
        finally:
            if not putting.done():
                putting.cancel()
                await asyncio.wait([putting])

    async def _target(self) -> Target:
        """A needle that nothing was written to, on servers that are not suspect if possible."""
        async with self._lock:
            for _ in range(AVOID_TRIES):
                while self._targets:
                    target = self._targets.pop()
                    if not any(map(self._uploads.volumes.suspected, target.servers)):
                        self._count = min(2 * self._count, ASSIGN_MOST)
                        return target
                self._targets = _targets(await self._uploads.assign(self._path, self._count))
            self._count = min(2 * self._count, ASSIGN_MOST)
            return self._targets.pop()


def _targets(assigned: Assigned) -> list[Target]:
    """All needles of an assign, the first of them at the end."""
    return [
        Target(fids.following(assigned.fid, step), assigned.servers)
        for step in reversed(range(assigned.count))
    ]
