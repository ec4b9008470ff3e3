"""Volume servers: needles in and out over HTTP, and freed over gRPC.

A write goes to one server, which passes it on to the other replicas and answers when all have it,
with the CRC32C of what it stored. That server may wait 30 s for a replica that hangs, so a write
has its own, shorter time; then every server of the volume is asked for a sign of life, so that
only the one that gives none is avoided.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

import aiohttp
import google_crc32c

from gfs.errors import DataLoss, StoreUnavailable
from gfs.replicas_http import CONNECT_SECONDS
from gfs.seaweedfs import signing
from gfs.seaweedfs.address import Address
from gfs.seaweedfs.entries import Needle
from gfs.seaweedfs.proto import volume_pb2 as pb
from gfs.seaweedfs.rpc import Channels, Method
from gfs.types import Bytes

GET_SECONDS = 10.0
PUT_SECONDS = 10.0
"""For one chunk to all its replicas, which takes about 20 ms."""

FREE_SECONDS = 3.0
"""For one server to forget needles."""

ALIVE_SECONDS = 1.0
SUSPECT_SECONDS = 15.0
"""A server that failed is tried last for so long."""

KEEPALIVE_SECONDS = 20.0
"""Volume servers close a connection that is idle for 30 s."""

SEND_BYTES = 256 * 1024
FREE_BATCH = 1_000

_FREE = Method(
    "/volume_server_pb.VolumeServer/BatchDelete", pb.BatchDeleteRequest, pb.BatchDeleteResponse
)
_GONE = frozenset({200, 202, 304, 404})
"""What BatchDelete says of a needle that is not there any more, or never was."""

_log = logging.getLogger(__name__)


class VolumeServers:
    """The data plane of one cluster. ``close`` it after the last answer."""

    def __init__(
        self, channels: Channels, *, read_key: bytes | None, write_key: bytes | None
    ) -> None:
        self._channels = channels
        self._read_key = read_key
        self._write_key = write_key
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        self._suspect: dict[str, float] = {}

    def suspect(self, server: str) -> None:
        """Try ``server`` (HTTP ``host:port``) last from now on, for a while."""
        self._suspect[server] = time.monotonic() + SUSPECT_SECONDS

    def suspected(self, server: str) -> bool:
        """Whether ``server`` failed lately."""
        return self._suspect.get(server, 0.0) > time.monotonic()

    def order(self, servers: Iterable[str]) -> list[str]:
        """The order to ask them in: by chance, but those that failed lately at the end."""
        shuffled = list(servers)
        random.shuffle(shuffled)
        return sorted(shuffled, key=self.suspected)

    async def put(self, server: str, fid: str, pieces: Sequence[bytes], crc: int) -> None:
        """Store a needle on all its replicas, by way of ``server``.

        ``crc`` is the CRC32C of the pieces. Raises StoreUnavailable, and then it is not known
        which replicas have it.
        """
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(sum(map(len, pieces))),
        }
        if self._write_key is not None:
            headers["Authorization"] = f"Bearer {signing.token(self._write_key, fid, time.time())}"
        timeout = aiohttp.ClientTimeout(total=PUT_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with self.session.put(
                f"http://{server}/{fid}",
                data=_sending(pieces),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise StoreUnavailable(f"{server}: {type(error).__name__}") from error
        if response.status == 204:
            return  # the same bytes were there already
        if response.status != 201:
            raise StoreUnavailable(f"{server}: status {response.status}")
        if response.headers.get("ETag", "").strip('"') != f"{crc:08x}":
            raise StoreUnavailable(f"{server}: it stored other bytes than were sent")

    async def get(self, server: str, needle: Needle, limit: int) -> bytes:
        """A needle of at most ``limit`` bytes from one server, checked.

        Raises StoreUnavailable if the server gives no answer, DataLoss if it gives a wrong one.
        """
        timeout = aiohttp.ClientTimeout(total=GET_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with self.session.get(
                f"http://{server}/{needle.fid}?readDeleted=true",
                headers={"Accept-Encoding": "identity", **self.read_headers(needle.fid)},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    kind = StoreUnavailable if response.status >= 500 else DataLoss
                    raise kind(f"status {response.status}")
                if not 0 < (response.content_length or 0) <= limit:
                    raise DataLoss("a chunk of an impossible size")
                data = await response.read()
                etag = response.headers.get("ETag", "").strip('"')
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise StoreUnavailable(f"{server}: {type(error).__name__}") from error
        crc = f"{google_crc32c.value(data):08x}"
        if crc != (needle.crc or crc) or (not needle.compressed and crc != etag):
            raise DataLoss("the checksum does not agree")
        return data

    def read_headers(self, fid: str) -> dict[str, str]:
        """What a read of the needle has to carry."""
        if self._read_key is None:
            return {}
        return {"Authorization": f"Bearer {signing.token(self._read_key, fid, time.time())}"}

    async def probe(self, servers: Iterable[str]) -> None:
        """Ask all for a sign of life, and suspect those that give none within ALIVE_SECONDS."""
        await asyncio.gather(*map(self._probe, servers))

    async def _probe(self, server: str) -> None:
        timeout = aiohttp.ClientTimeout(total=ALIVE_SECONDS)
        try:
            async with self.session.get(f"http://{server}/healthz", timeout=timeout) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.suspect(server)

    async def free(self, needles: Mapping[Address, Sequence[str]]) -> int:
        """Delete needles on each of their servers; returns how many copies could not be.

        What is left behind is found by the cluster's own ``volume.fsck``.
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
        await self.session.close()


async def _sending(pieces: Sequence[bytes]) -> AsyncGenerator[Bytes, None]:
    """The pieces, none so large that aiohttp would hold the loop up with it."""
    for piece in pieces:
        if len(piece) <= SEND_BYTES:
            yield piece
            continue
        view = memoryview(piece)
        for start in range(0, len(piece), SEND_BYTES):
            yield view[start : start + SEND_BYTES]


def by_server(
    needles: Iterable[tuple[str, Iterable[Address]]],
) -> dict[Address, list[str]]:
    """Needles and their servers, sorted by server."""
    found: dict[Address, list[str]] = {}
    for fid, servers in needles:
        for server in servers:
            found.setdefault(server, []).append(fid)
    return found
