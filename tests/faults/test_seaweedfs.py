"""The cluster engine under faults, and beside other clients of the same SeaweedFS."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests.faults.replicas import flip, holders
from tests.gfs.cluster import Cluster, Process, cluster, seaweed
from tests.support.waiting import eventually

# The engine's libraries are there from here on.
from gfs.errors import DataLoss, InvalidName, IsFolder, NoSuchFile  # isort: skip
from gfs.errors import StoreUnavailable  # isort: skip
from gfs.seaweedfs.servers import volume  # isort: skip
from gfs.seaweedfs.servers.filer import Filers  # isort: skip
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.folders import Folder  # isort: skip
from gfs.seaweedfs.proto import filer_pb2 as pb  # isort: skip
from gfs.seaweedfs.manifests import store_manifest  # isort: skip
from gfs.seaweedfs.writer import SeaweedWriter  # isort: skip
from gfs.types import ABSENT, Published  # isort: skip
from tests.gfs.suite import (  # isort: skip
    CHUNK,
    DIR,
    content,
    feed,
    listed,
    load,
    names,
    store,
)

from tests.gfs.seaweedfs.test_filesystem import fs  # isort: skip

__all__ = ["cluster", "fs", "seaweed"]

PATH = f"/sfs/{DIR}"


async def drain(
    fs: SeaweedFileSystem, name: str, data: bytes, at: int, then: Sequence[Process], how: str
) -> None:
    """Download a file, do ``how`` to the servers when ``at`` bytes have come, and compare."""
    got = bytearray()
    async with (
        await fs.open(DIR, name) as reader,
        aclosing(reader.read(0, len(data))) as pieces,
    ):
        done = False
        async for piece in pieces:
            got += piece
            if len(got) >= at and not done:
                done = True
                for process in then:
                    getattr(process, how)()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


# Corruption.


async def test_a_corrupt_replica_costs_no_byte(fs: SeaweedFileSystem, cluster: Cluster) -> None:
    data = content(3 * CHUNK, 101)
    await store(fs, "f", data)
    first, second = holders(cluster, data[CHUNK + 5000 : CHUNK + 5064])
    for path, place in (first, second):
        flip(path, place)
        for _ in range(4):
            assert await load(fs, "f") == data
            assert await load(fs, "f", CHUNK + 4990, 20) == data[CHUNK + 4990 : CHUNK + 5010]
            assert await load(fs, "f", CHUNK + 9000, 99) == data[CHUNK + 9000 : CHUNK + 9099]
        flip(path, place)


async def test_a_chunk_without_a_right_replica_is_never_served(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    data = content(3 * CHUNK, 102)
    await store(fs, "f", data)
    for path, place in holders(cluster, data[CHUNK + 5000 : CHUNK + 5064]):
        flip(path, place)
    for start, length in ((0, len(data)), (CHUNK + 4990, 20), (CHUNK + 9000, 99)):
        with pytest.raises((DataLoss, StoreUnavailable)):
            await load(fs, "f", start, length)
    assert await load(fs, "f", 2 * CHUNK, CHUNK) == data[2 * CHUNK :]


@pytest.mark.parametrize("place", [100, 3 * CHUNK - 100])
async def test_a_large_chunk_with_a_corrupt_replica_is_right_or_refused(
    fs: SeaweedFileSystem, cluster: Cluster, place: int
) -> None:
    """A volume server sends most of a chunk of more than 4 MiB before it has checked it."""
    data = content(3 * CHUNK, 1000 + place)
    cluster.put(f"{PATH}/f?maxMB=16", data)
    flip(*holders(cluster, data[place : place + 64])[0])
    refused = 0
    for _ in range(6):
        try:
            assert await load(fs, "f") == data
        except DataLoss:
            refused += 1
    assert refused < 6 or place == 100


# Servers that die.


async def test_downloads_outlive_a_killed_volume_server(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    data = content(6 * CHUNK)
    await store(fs, "f", data)
    for number in range(6):
        at = random.Random(number).randrange(len(data))
        await drain(fs, "f", data, at, [cluster.volumes[number % 3]], "kill")
        cluster.mend()


async def test_downloads_outlive_a_volume_server_that_hangs(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs.chunkservers.reading.IDLE_SECONDS", 0.5)
    data = content(6 * CHUNK)
    await store(fs, "f", data)
    for number in range(3):
        await drain(fs, "f", data, number * CHUNK + 17, [cluster.volumes[number]], "stop")
        cluster.mend()


async def test_uploads_outlive_a_killed_volume_server(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    data = content(8 * CHUNK)
    for number in range(3):
        async with await fs.create(DIR, "f") as writer:
            await feed(writer, data[: (2 + number) * CHUNK])
            cluster.volumes[number].kill()
            await feed(writer, data[(2 + number) * CHUNK :])
            await writer.commit()
        assert await load(fs, "f") == data
        cluster.mend()
        assert await load(fs, "f") == data


async def test_commits_outlive_a_filer_that_is_killed(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    for number in range(4):
        tasks = [
            asyncio.create_task(store(fs, f"{number}-{n}", b"x" * n, expect=ABSENT))
            for n in range(20)
        ]
        await asyncio.sleep(0.002 * number)
        cluster.filer.kill()
        await asyncio.sleep(0.2)
        cluster.filer.start()
        published = await asyncio.gather(*tasks)
        assert not any(one.replaced for one in published)
        for n, one in enumerate(published):
            assert await fs.stat(DIR, f"{number}-{n}") == one.info


async def test_files_are_served_while_no_master_is_there(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    data = content(2 * CHUNK)
    await store(fs, "f", data)
    cluster.master.kill()
    assert await load(fs, "f") == data
    await store(fs, "empty", b"")
    await fs.delete(DIR, "empty")
    with pytest.raises(StoreUnavailable):
        await fs.status()


async def test_an_upload_waits_for_a_master_that_comes_back(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    cluster.master.kill()
    task = asyncio.create_task(store(fs, "f", b"1"))
    await asyncio.sleep(0.3)
    cluster.master.start()
    assert isinstance(await task, Published)
    assert await load(fs, "f") == b"1"


async def test_a_cluster_that_is_not_there_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gfs.seaweedfs.filesystem.START_SECONDS", 0.3)
    with pytest.raises(StoreUnavailable):
        await SeaweedFileSystem.start("127.0.0.1:1.2")
    with pytest.raises(ValueError, match="address"):
        await SeaweedFileSystem.start("nonsense")


async def test_a_reading_that_is_given_up_leaves_nothing_open(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    data = content(4 * CHUNK)
    await store(fs, "f", data)
    before = asyncio.all_tasks()
    for stop in (1, CHUNK - 1, CHUNK, 2 * CHUNK + 1):
        async with (
            await fs.open(DIR, "f") as reader,
            aclosing(reader.read(0, len(data))) as pieces,
        ):
            got = 0
            async for piece in pieces:
                got += len(piece)
                if got >= stop:
                    break
    for seconds in (0.0, 0.001, 0.003, 0.01):
        task = asyncio.create_task(load(fs, "f"))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() <= before
    kept = {c._socket.fileno() for idle in fs._volumes.connections._idle.values() for c in idle}
    volumes = {int(process.http.rpartition(":")[2]) for process in cluster.volumes}
    assert kept == {
        connection.fd
        for connection in psutil.Process().net_connections("tcp4")
        if connection.raddr and connection.raddr.port in volumes
    }
    assert await load(fs, "f") == data


async def test_slow_readers_outlive_an_overwrite_and_a_delete(fs: SeaweedFileSystem) -> None:
    old = content(3 * CHUNK, 5)
    await store(fs, "f", old)

    async def slowly() -> bool:
        got = bytearray()
        async with (
            await fs.open(DIR, "f") as reader,
            aclosing(reader.read(0, len(old))) as pieces,
        ):
            async for piece in pieces:
                got += piece
                await asyncio.sleep(0.2)
        return got == old

    readers = [asyncio.create_task(slowly()) for _ in range(20)]
    await asyncio.sleep(0.2)
    await store(fs, "f", b"new")
    await fs.delete(DIR, "f")
    assert await asyncio.gather(*readers) == [True] * 20


# What is left behind.


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The needles that were written."""
    found: list[str] = []
    put = volume.VolumeServers.put

    async def recording(self: volume.VolumeServers, server: str, fid: str, *rest: object) -> None:
        found.append(fid)
        await put(self, server, fid, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(volume.VolumeServers, "put", recording)
    return found


def alive(cluster: Cluster, needles: Sequence[str]) -> list[str]:
    """Those that some volume server still has."""
    return [
        fid
        for fid in needles
        if any(cluster.status(process, f"/{fid}") == 200 for process in cluster.volumes)
    ]


@pytest.mark.parametrize("flushed", [False, True])
async def test_an_abort_frees_the_chunks(
    fs: SeaweedFileSystem, cluster: Cluster, written: list[str], flushed: bool
) -> None:
    writer = await fs.create(DIR, "f")
    await feed(writer, content(5 * CHUNK))
    if flushed:
        await writer.flush()
    await writer.abort()
    assert len(written) >= 2
    assert alive(cluster, written) == []


async def test_a_commit_that_is_refused_frees_the_chunks(
    fs: SeaweedFileSystem, cluster: Cluster, written: list[str]
) -> None:
    async with await fs.create(DIR, "f") as writer:
        await writer.write(b"late")
        await fs.remove_directory(DIR)
        with pytest.raises(Exception, match=DIR):
            await writer.commit()
    assert len(written) == 1
    assert alive(cluster, written) == []


async def test_a_chunk_that_was_sent_twice_is_kept_once(
    fs: SeaweedFileSystem, cluster: Cluster, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put = volume.VolumeServers.put
    failures = iter([True, False, True])

    async def failing(self: volume.VolumeServers, *call: object) -> None:
        await put(self, *call)  # type: ignore[arg-type]
        if next(failures, False):
            raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(volume.VolumeServers, "put", failing)
    data = content(3 * CHUNK)
    await store(fs, "f", data)
    assert await load(fs, "f") == data
    assert len(written) == 5
    assert len(alive(cluster, written)) == 3


# Files of others, and what others see.


TEXT = b"".join(b"line %d of a text that compresses well\n" % n for n in range(400_000))


@pytest.mark.parametrize(
    ("query", "data", "kind"),
    [
        ("", content(100), "application/octet-stream"),
        ("", content(2 * CHUNK + 5), "application/octet-stream"),
        ("?maxMB=1", content(2 * CHUNK + 5), "application/octet-stream"),
        ("?maxMB=32", content(2 * CHUNK + 5), "application/octet-stream"),
        ("", TEXT, "text/plain"),
        ("?maxMB=1", TEXT, "text/plain"),
        ("?saveInside=true", content(999), "application/octet-stream"),
        ("", b"", "application/octet-stream"),
    ],
    ids="small plain 1M 32M text text-1M inline empty".split(),
)
async def test_what_the_filer_wrote_is_read_right(
    fs: SeaweedFileSystem, cluster: Cluster, query: str, data: bytes, kind: str
) -> None:
    cluster.put(f"{PATH}/f{query}", data, kind)
    assert await load(fs, "f") == data
    assert await listed(fs) == [await fs.stat(DIR, "f")]
    for seed in range(5):
        start, end = sorted(random.Random(seed).choices(range(len(data) + 1), k=2))
        assert await load(fs, "f", start, end - start) == data[start:end]
    before = await fs.stat(DIR, "f")
    cluster.put(f"{PATH}/f{query}", data, kind)
    await asyncio.sleep(0.1)  # the filer tells of it
    if data and "Inside" not in query:
        assert (await fs.stat(DIR, "f")).version != before.version


@pytest.mark.parametrize("size", [0, 1, 5000, CHUNK, 2 * CHUNK + 7])
async def test_what_was_written_here_is_served_by_the_filer(
    fs: SeaweedFileSystem, cluster: Cluster, size: int
) -> None:
    data = content(size)
    await store(fs, "ü +%.bin", data)
    digest = cluster.sha256(f"{PATH}/%C3%BC%20%2B%25.bin")
    assert digest == hashlib.sha256(data).hexdigest()


@asynccontextmanager
async def small_chunks(
    cluster: Cluster, group: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SeaweedFileSystem]:
    """A file system that writes chunks of 1000 bytes, and manifests of ``group`` chunks."""
    monkeypatch.setattr("gfs.seaweedfs.filesystem.CHUNK_BYTES", 1000)
    monkeypatch.setattr("gfs.seaweedfs.manifests.MANIFEST_CHUNKS", group)
    fs = await SeaweedFileSystem.start(cluster.masters)
    try:
        yield fs
    finally:
        await fs.close()


@pytest.mark.parametrize(("chunks", "group"), [(57, 10), (57, 4), (1001, 1000)])
async def test_long_chunk_lists_are_in_manifests(
    cluster: Cluster,
    fs: SeaweedFileSystem,
    written: list[str],
    chunks: int,
    group: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = content(chunks * 1000 - 1)
    async with small_chunks(cluster, group, monkeypatch) as small:
        await store(small, "f", data)
    assert len(written) > chunks
    assert await load(fs, "f") == data
    assert await load(fs, "f", 12_345, 6789) == data[12_345 : 12_345 + 6789]
    assert cluster.sha256(f"{PATH}/f") == hashlib.sha256(data).hexdigest()
    await fs.delete(DIR, "f")
    await asyncio.sleep(2)
    assert alive(cluster, random.Random(1).sample(written, 20)) == []


async def put_entry(fs: SeaweedFileSystem, name: str, **fields: object) -> None:
    """Create an entry as another client may."""
    entry = pb.Entry(name=name, attributes=pb.FuseAttributes(file_mode=0o644))
    entry.MergeFrom(pb.Entry(**fields))  # type: ignore[arg-type]
    await fs._filers.create(PATH, entry, over=await fs._filers.lookup(PATH, name))


async def chunks_of(fs: SeaweedFileSystem, name: str) -> list[pb.FileChunk]:
    entry = await fs._filers.lookup(PATH, name)
    assert entry is not None
    return list(entry.chunks)


async def test_manifests_inside_manifests_are_read(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content(9000)
    async with small_chunks(cluster, 3, monkeypatch) as small:
        await store(small, "f", data)
        writer = await small.create(DIR, "nested")
        assert isinstance(writer, SeaweedWriter)
        manifest = await store_manifest(writer._sender, await chunks_of(fs, "f"))
        await put_entry(fs, "nested", chunks=[manifest])
        assert await load(fs, "nested") == data
        assert await load(fs, "nested", 4567, 1111) == data[4567:5678]
        await writer.abort()


async def test_overlapping_chunks_and_holes_are_read_as_others_read_them(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    await store(fs, "old", b"o" * 1000)
    await store(fs, "new", b"n" * 100)
    (old,), (new,) = await chunks_of(fs, "old"), await chunks_of(fs, "new")
    new.offset, new.modified_ts_ns = 300, old.modified_ts_ns + 1
    late = pb.FileChunk()
    late.CopyFrom(old)
    late.offset = 2000
    attributes = pb.FuseAttributes(file_size=3500, file_mode=0o644)
    await put_entry(fs, "f", chunks=[new, old, late], attributes=attributes)
    data = b"o" * 300 + b"n" * 100 + b"o" * 600 + b"\0" * 1000 + b"o" * 1000 + b"\0" * 500
    assert await load(fs, "f") == data
    assert await load(fs, "f", 350, 1700) == data[350:2050]
    assert cluster.get(cluster.filer, f"{PATH}/f") == data


async def test_what_cannot_be_read_is_refused_at_open(fs: SeaweedFileSystem) -> None:
    await store(fs, "f", b"1")
    (chunk,) = await chunks_of(fs, "f")
    chunk.cipher_key = b"k" * 32
    await put_entry(fs, "encrypted", chunks=[chunk])
    remote = pb.RemoteEntry(storage_name="s3", remote_size=5)
    await put_entry(fs, "remote", remote_entry=remote)
    for name in ("encrypted", "remote"):
        with pytest.raises(DataLoss):
            await fs.open(DIR, name)
    assert await names(fs) == ["encrypted", "f", "remote"]


async def test_what_is_no_file_of_ours_is_not_listed(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    cluster.put(f"{PATH}/directory/inner", b"1")
    cluster.put(f"{PATH}/%20spaced", b"1")
    await store(fs, "f", b"1")
    cluster.put(f"{PATH}/%20folder/inner", b"1")
    assert await names(fs) == ["directory/inner", "f"]
    assert (await fs.usage(DIR)).files == 2
    for call in (fs.stat, fs.open, fs.delete):
        with pytest.raises(IsFolder):
            await call(DIR, "directory")
        with pytest.raises(InvalidName):
            await call(DIR, " folder/inner")


async def test_a_long_listing_with_a_prefix_is_complete(fs: SeaweedFileSystem) -> None:
    wanted = [f"p{n:04}" for n in range(260)]
    await asyncio.gather(*(put_entry(fs, name) for name in ("a", "q", *wanted)))
    assert await names(fs, prefix="p") == wanted
    assert await names(fs, prefix="p", after="p0099", limit=120) == wanted[100:220]
    assert await names(fs, prefix="p", after="q") == []


# The cache of entries.


async def cached(fs: SeaweedFileSystem) -> None:
    """Wait until the cache is used."""
    await eventually(lambda: fs._cache.in_use)


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that filers were asked for."""
    found: list[str] = []
    lookup = Filers.lookup

    async def recording(self: Filers, directory: str, name: str, **rest: float) -> pb.Entry | None:
        found.append(name)
        return await lookup(self, directory, name, **rest)

    monkeypatch.setattr(Filers, "lookup", recording)
    return found


async def test_a_file_that_was_read_costs_no_lookup(
    fs: SeaweedFileSystem, lookups: list[str]
) -> None:
    await cached(fs)
    await store(fs, "f", b"1")
    await asyncio.sleep(0.1)  # the filer tells of the publish
    assert await load(fs, "f") == b"1"
    del lookups[:]
    for _ in range(5):
        assert await load(fs, "f") == b"1"
    assert lookups == []


async def test_changes_by_others_are_seen_at_once(fs: SeaweedFileSystem, cluster: Cluster) -> None:
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        await cached(fs)
        for number in range(10):
            data = b"%d" % number
            await store(other, "f", data)
            await asyncio.sleep(0.1)
            assert await load(fs, "f") == data
            cluster.put(f"{PATH}/f", data + b"!")
            await asyncio.sleep(0.1)
            assert await load(fs, "f") == data + b"!"
        await other.delete(DIR, "f")
        await asyncio.sleep(0.1)
        with pytest.raises(NoSuchFile):
            await fs.open(DIR, "f")
        await store(other, "f", b"1")
        assert await load(fs, "f") == b"1"
        await other.remove_directory(DIR)
        await asyncio.sleep(0.1)
        with pytest.raises(NoSuchFile):
            await fs.stat(DIR, "f")
    finally:
        await other.close()


async def test_what_was_changed_here_is_seen_here_immediately(fs: SeaweedFileSystem) -> None:
    await cached(fs)
    for number in range(50):
        data = b"%d" % number
        await store(fs, "f", data)
        assert await load(fs, "f") == data
        assert await load(fs, "f") == data


async def test_without_the_subscription_the_cache_is_not_used(
    fs: SeaweedFileSystem, cluster: Cluster, lookups: list[str]
) -> None:
    await cached(fs)
    await store(fs, "f", b"1")
    await load(fs, "f")
    cluster.filer.kill()
    await eventually(lambda: not fs._cache.in_use)
    cluster.filer.start()
    assert await load(fs, "f") == b"1"
    assert "f" in lookups
    await cached(fs)
    await load(fs, "f")
    del lookups[:]
    assert await load(fs, "f") == b"1"
    assert lookups == []


async def test_a_change_during_a_lookup_is_not_missed(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cached(fs)
    await store(fs, "f", b"1")
    find = fs._folders.entry

    async def slowly(directory: str, path: str) -> tuple[pb.Entry | Folder | None, Folder]:
        found = await find(directory, path)
        await asyncio.sleep(0.2)
        return found

    monkeypatch.setattr(fs._folders, "entry", slowly)
    loading = asyncio.create_task(load(fs, "f"))
    await asyncio.sleep(0.1)
    await store(fs, "f", b"2")
    assert await loading == b"1"
    assert await load(fs, "f") == b"2"
