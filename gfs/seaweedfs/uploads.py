"""Storing chunks: assign, put, and put again elsewhere what failed.

A chunk has 4 MiB. While the next one fills, IN_FLIGHT chunks of an upload are on their way to
volume servers, and TOTAL_IN_FLIGHT of all uploads of a process together. The memory that all of
them hold is bounded by :mod:`gfs.seaweedfs.buffers`. Needles are reserved several at a time, since
an assign costs as much as a small write: first one, which is enough for a small file, then twice as
many each time, up to MAX_ASSIGN.

A write that failed is not repeated on the same volume: the needles that were reserved with it are
dropped, and the chunk goes to a newly assigned volume. What the failed write may have left on some
replica is noted, and deleted in the end. This goes on for SEND_SECONDS: a cluster needs about 27 s
to elect a new leading master, and its masters need 76 s to notice that a volume server hangs; until
then they go on assigning its volumes. So when a write has no response after SLOW_SECONDS, the
servers of its volume are probed: if one does not respond, the write is given up, the server is
suspected, and for a while volumes are assigned until one is not on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from gfs.clock import Deadline
from gfs.errors import StoreFull, StoreUnavailable
from gfs.seaweedfs.buffers import Buffers
from gfs.seaweedfs.servers import (
    FREE_BATCH,
    Assigned,
    CallFailed,
    Filers,
    Masters,
    VolumeServers,
    by_server,
)
from gfs.seaweedfs.servers import fid as fids
from gfs.types import Bytes

CHUNK_BYTES = 4 * 1024 * 1024
"""The size of a chunk: the most that a volume server checks before it sends the first byte."""

IN_FLIGHT = 3
"""How many chunks of one upload are being stored at once."""

TOTAL_IN_FLIGHT = 16
"""How many of all uploads of a process."""

MAX_ASSIGN = 8
"""How many needles are reserved at once."""

AVOID_TRIES = 12
"""How often another volume is assigned if the one before is on a suspected server."""

SLOW_SECONDS = 1.0
"""After so long without a response to a write, the servers of its volume are probed."""

SEND_SECONDS = 90.0
"""How long it is tried to store one chunk."""

FULL_SECONDS = 3.0
"""How long, if the cluster is full: a restart of a volume server makes a small one look so."""

RETRY_SECONDS = 0.1
"""The pause after the first failed attempt; each following one is twice as long."""

MAX_RETRY_SECONDS = 2.0
"""The longest pause."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """A needle that was reserved, and the servers (HTTP ``host:port``) of its volume. ``token``:
    how the reservation was recorded, if it was."""

    fid: str
    servers: tuple[str, ...]
    token: str = ""


class Uploads:
    """What all uploads of one process have in common."""

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
            space = await self.masters.free_space()
        except StoreUnavailable:
            return False
        return space.settled and not space.fits(CHUNK_BYTES)

    async def free(self, targets: Sequence[Target]) -> None:
        """Delete needles on all their servers, as far as these can be reached.

        The servers are those that were assigned. The masters' stream names a new volume, or the
        first volume of a server, a little later; if it has not yet, the masters are asked.
        """
        named = self.masters.servers
        for volume, servers in {fids.volume_of(t.fid): t.servers for t in targets}.items():
            if not named.keys() >= set(servers):
                await self.masters.locations(volume, fresh=True)
        located = [
            (target.fid, [named[server] for server in target.servers if server in named])
            for target in targets
        ]
        lost = sum(
            len(t.servers) - len(found) for t, (_, found) in zip(targets, located, strict=True)
        )
        lost += await self.volumes.free(by_server(located))
        if lost:
            _log.warning("%d copies of chunks of no file are left for volume.fsck", lost)

    async def free_anywhere(self, needles: Sequence[str]) -> int:
        """Delete needles wherever the masters say that their volumes are, FREE_BATCH at a time.
        Returns how many copies could not be deleted now; those that are gone do not count, nor
        those of a volume that no server has."""
        left = 0
        for start in range(0, len(needles), FREE_BATCH):
            batch = needles[start : start + FREE_BATCH]
            volumes = {fids.volume_of(fid) for fid in batch}
            where = {volume: await self.masters.locations(volume) for volume in volumes}
            located = [(fid, where[fids.volume_of(fid)]) for fid in batch]
            if not self.masters.led:
                left += sum(not servers for _, servers in located)
            left += await self.volumes.free(by_server(located))
        return left


Record = Callable[[Assigned], Awaitable[str]]
"""Records durably that needles were reserved, and returns the token under which."""


class Sender:
    """Stores the chunks of one file. ``path`` is its path in the filer. ``record`` is called with
    all needles that are reserved, before the first of them is written."""

    def __init__(self, uploads: Uploads, path: str, record: Record | None = None) -> None:
        self._uploads = uploads
        self._path = path
        self._record = record
        self._lock = asyncio.Lock()
        self._targets: list[Target] = []
        self._count = 1
        self._stopped = False
        self._open: dict[str, int] = {}  # how many needles of a reservation are still kept here
        self._closed: list[str] = []  # the reservations of which none is
        self.stored: dict[str, Target] = {}
        """The needles that have chunks of the file, by their identifiers."""

        self.spoiled: list[Target] = []
        """The needles of failed writes, which some replicas may have."""

    async def send(self, pieces: Sequence[Bytes], crc: int) -> str:
        """Store one chunk, whose CRC32C is ``crc``, and return the identifier of its needle.

        Raises StoreFull, and StoreUnavailable after SEND_SECONDS. After a cancellation, the needle
        that was being written is one of the ``spoiled``.
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
            pause = min(2 * pause, MAX_RETRY_SECONDS)

    def stop(self) -> None:
        """Start no more writes: ``send`` ends with the write that is under way."""
        self._stopped = True

    async def free(self, *, stored: bool) -> None:
        """Delete the spoiled needles, and also those that are ``stored`` if the file is given
        up."""
        targets, self.spoiled = self.spoiled, []
        if stored:
            targets += self.stored.values()
            self.stored = {}
        if targets:
            await self._uploads.free(targets)

    def drop_unused(self) -> None:
        """Give up what is reserved and not written; the next ``send`` reserves other needles. Call
        it while none is under way."""
        self._keep([])

    def hand_over(self, needles: Iterable[str]) -> tuple[str, ...]:
        """``needles``, which are ``stored``, belong to the caller from now on. Returns the tokens
        of the reservations of which every needle was handed over, or will never be written."""
        for fid in needles:
            self._leave(self.stored.pop(fid))
        closed, self._closed = self._closed, []
        return tuple(closed)

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
            self._keep([t for t in self._targets if fids.volume_of(t.fid) != volume])
            if self._stopped:
                raise asyncio.CancelledError from None
            await volumes.probe(target.servers)
            raise
        self.spoiled.remove(target)
        self.stored[target.fid] = target
        return target.fid

    async def _put(self, target: Target, pieces: Sequence[Bytes], crc: int) -> None:
        """Write one needle. Raises StoreUnavailable, early if one of its servers hangs."""
        volumes = self._uploads.volumes
        server = volumes.order(target.servers)[0]
        putting = asyncio.ensure_future(volumes.put(server, target.fid, pieces, crc))
        try:
            while not (await asyncio.wait([putting], timeout=SLOW_SECONDS))[0]:
                await volumes.probe(target.servers)
                if any(map(volumes.suspected, target.servers)) and not putting.done():
                    raise StoreUnavailable("a server of the volume does not respond")
            putting.result()
        finally:
            if not putting.done():
                putting.cancel()
                await asyncio.wait([putting])

    async def _target(self) -> Target:
        """A reserved needle that was not written yet, if possible on servers that are not
        suspected."""
        async with self._lock:
            for _ in range(AVOID_TRIES):
                while self._targets:
                    target = self._targets.pop()
                    if not any(map(self._uploads.volumes.suspected, target.servers)):
                        self._count = min(2 * self._count, MAX_ASSIGN)
                        return target
                    self._leave(target)
                self._targets = await self._reserve()
            self._count = min(2 * self._count, MAX_ASSIGN)
            return self._targets.pop()

    async def _reserve(self) -> list[Target]:
        """Newly reserved needles, the last one first."""
        assigned = await self._uploads.assign(self._path, self._count)
        token = ""
        if self._record is not None:
            token = await self._record(assigned)
            self._open[token] = assigned.count
        return [
            Target(fids.following(assigned.fid, step), assigned.servers, token)
            for step in reversed(range(assigned.count))
        ]

    def _keep(self, targets: list[Target]) -> None:
        """Never write the reserved needles that are not among ``targets``."""
        dropped = [target for target in self._targets if target not in targets]
        self._targets = targets
        for target in dropped:
            self._leave(target)

    def _leave(self, target: Target) -> None:
        """A needle is not kept here any more."""
        if target.token:
            self._open[target.token] -= 1
            if not self._open[target.token]:
                del self._open[target.token]
                self._closed.append(target.token)
