"""The cluster engine on clusters that are set up otherwise: several masters, signed requests."""

from __future__ import annotations

import asyncio
import json
import urllib.error

import pytest

from manifests.laptop.weed import Sizes
from tests.gfs.cluster import VOLUME_SERVERS, Cluster, Process, require, running

require()

from gfs.errors import StoreFull, StoreUnavailable  # noqa: E402
from gfs.seaweedfs.address import parse  # noqa: E402
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # noqa: E402
from tests.gfs.suite import CHUNK, DIR, content, feed, load, store  # noqa: E402


def leads(cluster: Cluster, master: Process) -> bool:
    try:
        return bool(json.loads(cluster.get(master, "/cluster/status")).get("IsLeader"))
    except (OSError, urllib.error.URLError):
        return False


async def leader(cluster: Cluster) -> Process:
    async with asyncio.timeout(20):
        while True:
            for master in cluster.all_masters:
                if leads(cluster, master):
                    return master
            await asyncio.sleep(0.05)


async def serving(fs: SeaweedFileSystem) -> bool:
    """Whether a leader counts all volume servers."""
    try:
        return (await fs.status()).chunkservers == VOLUME_SERVERS
    except StoreUnavailable:
        return False


async def test_the_leading_master_is_found_and_followed() -> None:
    with running(masters=3) as cluster:
        first = await leader(cluster)
        follower = next(master for master in cluster.all_masters if master is not first)
        data = content(2 * CHUNK)
        fs = await SeaweedFileSystem.start(f"{follower.dotted},{cluster.masters}")
        try:
            await fs.make_directory(DIR)
            await store(fs, "f", data)
            assert (await fs.status()).servers == 3 + 3 + 1
            async with await fs.create(DIR, "g") as writer:
                await feed(writer, data[:CHUNK])
                first.kill()
                assert await load(fs, "f") == data
                await feed(writer, data[CHUNK:])
                await writer.commit()
            assert await load(fs, "g") == data
            async with asyncio.timeout(20):
                while not await serving(fs):
                    await asyncio.sleep(0.1)
        finally:
            await fs.close()


async def test_another_filer_serves_while_the_first_is_away() -> None:
    """Each of these has a store of its own, and they tell each other within a second."""
    with running(filers=2) as cluster:
        fs = await SeaweedFileSystem.start(cluster.masters)
        try:
            async with asyncio.timeout(10):
                while len(fs._masters.filers) < 2:
                    await asyncio.sleep(0.05)
            await fs.make_directory(DIR)
            await store(fs, "f", b"1")
            assert (await fs.status()).servers == VOLUME_SERVERS + 1 + 2
            await asyncio.sleep(2)
            first = min(cluster.filers, key=lambda filer: parse(filer.dotted))
            first.kill()
            assert await load(fs, "f") == b"1"
            assert (await store(fs, "f", b"2")).replaced
            assert await load(fs, "f") == b"2"
            async with asyncio.timeout(10):
                while not fs._cache.up:
                    await asyncio.sleep(0.05)
            assert await load(fs, "f") == b"2"
        finally:
            await fs.close()


async def test_requests_are_signed_where_the_cluster_asks_for_it() -> None:
    settings = {
        "WEED_JWT_SIGNING_KEY": "to write",
        "WEED_JWT_SIGNING_READ_KEY": "to read",
    }
    with running(settings=settings) as cluster:
        data = content(3 * CHUNK)
        fs = await SeaweedFileSystem.start(
            cluster.masters, read_key=b"to read", write_key=b"to write"
        )
        stranger = await SeaweedFileSystem.start(cluster.masters, write_key=b"to write")
        try:
            await fs.make_directory(DIR)
            await store(fs, "f", data)
            assert await load(fs, "f") == data
            await store(fs, "f", data[::-1])
            assert await load(fs, "f") == data[::-1]
            with pytest.raises(StoreUnavailable):
                await load(stranger, "f")
        finally:
            await stranger.close()
            await fs.close()


async def test_uploads_outlive_a_volume_server_that_hangs() -> None:
    """It takes volumes that are not on that server. A cluster that has just made its volumes has
    some; none can be made while the server hangs."""
    data = content(6 * CHUNK)
    with running() as cluster:
        fs = await SeaweedFileSystem.start(cluster.masters)
        try:
            await fs.make_directory(DIR)
            await store(fs, "before", data)
            await asyncio.sleep(0.5)
            async with await fs.create(DIR, "f") as writer:
                await feed(writer, data[:CHUNK])
                cluster.volumes[1].stop()
                await feed(writer, data[CHUNK:])
                await writer.commit()
            assert await load(fs, "f") == data
        finally:
            await fs.close()


async def test_a_cluster_that_is_full_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gfs.seaweedfs.uploads.FULL_SECONDS", 0.5)
    with running(sizes=Sizes(volume_megabytes=8, volumes_grown=1, volumes_most=2)) as cluster:
        fs = await SeaweedFileSystem.start(cluster.masters)
        try:
            await fs.make_directory(DIR)
            data = content(CHUNK)
            await store(fs, "before", b"1")
            with pytest.raises(StoreFull):
                await fs.create(DIR, "f", size=100 * CHUNK)
            with pytest.raises(StoreFull):
                async with await fs.create(DIR, "f") as writer:
                    await feed(writer, data * 100, CHUNK)
            assert await load(fs, "before") == b"1"
            assert await fs.count(DIR) == 1
        finally:
            await fs.close()
