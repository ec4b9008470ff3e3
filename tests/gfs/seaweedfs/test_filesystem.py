"""The cluster engine on a real SeaweedFS: the conformance suite. Faults are in tests/faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

import pytest

from tests.gfs.cluster import Cluster, cluster, empty_store, running, seaweed
from tests.support.postgres import Postgres
from tests.support.waiting import eventually

# The engine's libraries are there from here on.
from gfs import clock  # isort: skip
from gfs.errors import NoSuchFile, StoreUnavailable, VersionMismatch  # isort: skip
from gfs.seaweedfs.servers import address  # isort: skip
from gfs.seaweedfs.servers.filer import Filers, Page  # isort: skip
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.folders import Folder, Identity  # isort: skip
from gfs.seaweedfs.proto import filer_pb2 as pb  # isort: skip
from gfs.seaweedfs.publishing import CommitUnknown  # isort: skip
from gfs.seaweedfs.servers.rpc import CallFailed, Channels  # isort: skip
from gfs.seaweedfs.watch import EntryCache  # isort: skip
from gfs.types import FolderInfo  # isort: skip
from tests.gfs.folder_suite import FolderSuite  # isort: skip
from tests.gfs.suite import CHUNK, DIR, FileSystemSuite, content, listed, load, store  # isort: skip
from tests.gfs.upload_suite import Reopen  # isort: skip

__all__ = ["cluster", "seaweed"]


@pytest.fixture
async def fs(cluster: Cluster) -> AsyncIterator[SeaweedFileSystem]:
    fs = await SeaweedFileSystem.start(cluster.masters)
    await fs.make_directory(DIR)
    try:
        yield fs
    finally:
        cluster.mend()
        await fs.remove_directory(DIR)
        await fs.remove_directory("another")
        await fs.close()


@pytest.fixture
async def reopen(fs: SeaweedFileSystem, cluster: Cluster) -> AsyncIterator[Reopen]:
    opened: list[SeaweedFileSystem] = []

    async def open_again() -> SeaweedFileSystem:
        opened.append(await SeaweedFileSystem.start(cluster.masters))
        return opened[-1]

    yield open_again
    for other in opened:
        await other.close()


class TestSeaweed(FileSystemSuite):
    """The conformance suite, on LevelDB."""

    lacks: ClassVar[Mapping[str, str]] = dict.fromkeys(
        [
            "test_a_folder_that_is_moved_is_seen_at_one_place",
            "test_nobody_sees_half_of_a_move_over_a_folder",
        ],
        "a filer that keeps its entries in LevelDB has no transactions",
    )


class TestFoldersInTransactions(FolderSuite):
    """What the suite has of folders, on PostgreSQL."""

    @pytest.fixture
    def cluster(self, postgres: Postgres) -> Iterator[Cluster]:
        with running(store=empty_store(postgres)) as cluster:
            yield cluster


async def used(fs: SeaweedFileSystem, *, up: bool = True) -> None:
    """Wait until the cache is used, or is not."""
    await eventually(lambda: fs._cache.in_use is up)


async def test_while_a_filer_is_silent_it_is_asked_last_and_nothing_is_read_from_the_cache(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    (filer,) = fs._filers.named
    other = address.parse("zz:1")
    await store(fs, "f", b"1")
    await used(fs)
    assert await load(fs, "f") == b"1"
    assert fs._cache._cached

    async def silent(self: Filers, filer: address.Address, seconds: float) -> int:
        await asyncio.sleep(seconds)
        raise StoreUnavailable("silent")

    with monkeypatch.context() as patch:
        patch.setattr(Filers, "ping", silent)
        await used(fs, up=False)
        assert await load(fs, "f") == b"1"
        assert not fs._cache._cached
        while fs._filers.preferred == filer:
            patch.setattr(Filers, "named", [filer, other])
            await asyncio.sleep(0.01)
        assert fs._filers.preferred == other
    await used(fs)
    assert fs._filers.preferred == filer


async def test_a_filer_is_followed_again_whatever_went_wrong(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await used(fs)

    async def broken(self: Filers, filer: address.Address, seconds: float) -> int:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(Filers, "ping", broken)
        await used(fs, up=False)
    await used(fs)
    assert "a bug" in caplog.text


async def test_a_filer_that_the_masters_name_counts_before_anything_was_heard_of_it(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used(fs)
    with monkeypatch.context() as patch:
        patch.setattr(Filers, "named", [*fs._filers.named, address.parse("127.0.0.1:1.1")])
        fs._masters.on_filers()
        assert not fs._cache.in_use
    await used(fs)


async def test_a_call_is_given_up_when_its_filer_is_lost_and_another_one_responds(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(fs, "f", b"1")
    (filer,) = fs._filers.named
    call, waiting = Channels.call, asyncio.Event()

    async def slow(self: Channels, peer: str, *rest: Any) -> Any:
        if peer == filer.grpc and rest[0].path.endswith("/LookupDirectoryEntry"):
            waiting.set()
            await asyncio.Event().wait()
        return await call(self, peer if peer == filer.grpc else filer.grpc, *rest)

    monkeypatch.setattr(Channels, "call", slow)
    monkeypatch.setattr(Filers, "named", [filer, address.parse("zz:1")])
    looking = asyncio.create_task(fs._filers.lookup(f"/sfs/{DIR}", "f"))
    async with asyncio.timeout(2):  # less than the call would wait
        await waiting.wait()
        fs._filers.mark_lost(filer)
        assert (await looking) is not None


async def test_what_changes_during_a_look_is_looked_at_again_whatever_looks_came_before(
    fs: SeaweedFileSystem,
) -> None:
    await used(fs)
    cache, key = fs._cache, ("/sfs/d", "f")

    async def look(number: int, ends: asyncio.Event) -> Folder:
        await ends.wait()
        identity = Identity(b"", number, 0, "/sfs/d/f")
        return Folder(FolderInfo("d", "f", 0), identity, None)

    ends = [asyncio.Event() for _ in range(3)]
    first = asyncio.create_task(cache.get(key, Folder, lambda: look(1, ends[0])))
    await asyncio.sleep(0)
    cache.drop(key)
    second = asyncio.create_task(cache.get(key, Folder, lambda: look(2, ends[1])))
    await asyncio.sleep(0)
    ends[0].set()
    assert (await first).identity.created == 1
    cache.drop(key)  # the second may have found what was there before
    ends[1].set()
    assert (await second).identity.created == 2
    ends[2].set()
    assert (await cache.get(key, Folder, lambda: look(3, ends[2]))).identity.created == 3
    assert not cache._pending


async def test_calls_of_settle_do_not_wait_one_after_the_other(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    (filer,) = fs._filers.named
    call, silent = Channels.call, True

    async def slow(self: Channels, peer: str, *rest: Any) -> Any:
        if silent and rest[0].path.endswith("/ObjectTransaction"):
            await asyncio.Event().wait()
        return await call(self, peer, *rest)

    monkeypatch.setattr(Channels, "call", slow)
    fs._filers.mark_lost(filer)
    async with asyncio.timeout(5):
        settling = (fs._filers.settle(0.5) for _ in range(100))
        results = await asyncio.gather(*settling, return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    silent = False
    await fs._filers.settle(5)  # it was not forgotten
    assert not fs._filers._doubtful


async def test_a_change_of_a_fence_that_is_carried_out_late_brings_none_back(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    (filer,) = fs._filers.named
    ask = Filers._ask
    late: list[pb.ObjectTransactionRequest] = []

    async def frozen(
        self: Filers, filer: address.Address, method: Any, request: Any, *rest: Any
    ) -> Any:
        if not late:
            late.append(pb.ObjectTransactionRequest.FromString(request.SerializeToString()))
            raise CallFailed.given_up("filer")
        return await ask(self, filer, method, request, *rest)

    monkeypatch.setattr(Filers, "_ask", frozen)
    etag = await fs._filers._change_fence(filer, 5)
    assert late[0].mutations[0].entry.attributes.md5.hex() != etag
    assert await fs._filers._fence(filer) == etag
    await store(fs, "f", b"1")


async def test_what_a_killed_process_left_with_a_filer_does_not_replace_what_was_created_since(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    """As if a filer had been frozen with a creation of a process that was killed then."""
    (filer,) = fs._filers.named
    await store(fs, "before", b"0")
    killed = await SeaweedFileSystem.start(cluster.masters)
    try:
        await killed._filers.create(f"/sfs/{DIR}", pb.Entry(name="other"), over=None)
        fs._filers.mark_lost(filer)
        await store(fs, "f", b"1")
        with pytest.raises(VersionMismatch):  # it arrives at last
            await killed._filers.create(f"/sfs/{DIR}", pb.Entry(name="f"), over=None)
        assert await load(fs, "f") == b"1"
    finally:
        await killed.close()


async def test_a_change_that_the_filer_made_and_calls_a_failure_is_made(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if its database had failed after it stored it."""
    ask = Filers._ask

    async def fails(self: Filers, *rest: Any) -> Any:
        response = await ask(self, *rest)
        if isinstance(response, pb.ObjectTransactionResponse):
            response.error = "driver: bad connection"
        return response

    with monkeypatch.context() as patch:
        patch.setattr(Filers, "_ask", fails)
        await store(fs, "f", b"1")
        assert await load(fs, "f") == b"1"
        patch.setattr("gfs.seaweedfs.publishing.DECISION_SECONDS", 0)
        with pytest.raises(CommitUnknown):
            await store(fs, "f", b"2")
    assert await load(fs, "f") == b"2"
    with monkeypatch.context() as patch:
        patch.setattr(Filers, "_ask", fails)
        await fs.delete(DIR, "f")


async def test_a_process_that_was_frozen_creates_nothing_when_it_wakes(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is frozen after it has found that there is no such file."""
    lookup, now = Filers.lookup, clock.monotonic

    async def slept(self: Filers, directory: str, name: str, **rest: Any) -> Any:
        found = await lookup(self, directory, name, **rest)
        if name == "f":
            patch.setattr(clock, "monotonic", lambda: now() + 60.0)
        return found

    async with await fs.create(DIR, "f") as writer:
        await writer.write(b"late")
        await writer.flush()
        with monkeypatch.context() as patch:
            patch.setattr(Filers, "lookup", slept)
            with pytest.raises(StoreUnavailable, match="frozen"):
                await writer.commit()
    with pytest.raises(NoSuchFile):
        await fs.stat(DIR, "f")


async def test_a_publish_that_was_carried_out_late_keeps_its_bytes(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filer woke between the last look and the last attempt."""
    await store(fs, "f", b"before")
    monkeypatch.setattr("gfs.seaweedfs.publishing.DECISION_SECONDS", 0.3)
    create, attempts = Filers.create, 0

    async def frozen(
        self: Filers, directory: str, entry: pb.Entry, *, over: pb.Entry | None
    ) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise CallFailed.given_up("filer")
        await create(self, directory, entry, over=over)
        await asyncio.sleep(0.5)
        raise VersionMismatch("by the attempt before")

    with monkeypatch.context() as patch:
        patch.setattr(Filers, "create", frozen)
        async with await fs.create(DIR, "f") as writer:
            await writer.write(b"after")
            with pytest.raises(CommitUnknown):
                await writer.commit()
    assert attempts == 2
    assert await load(fs, "f") == b"after"


async def test_a_listing_has_nothing_that_a_filer_finds_beside_the_prefix(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Filers.page

    async def of_sql(self: Filers, directory: str, *, prefix: str, after: str, **rest: Any) -> Page:
        assert "\0" not in prefix + after  # PostgreSQL refuses it, and the filer fails
        assert not prefix.endswith("\\")
        return await page(self, directory, prefix=prefix.replace("_", ""), after=after, **rest)

    for name in ("_", "a", "a_b", "axb", "b"):
        await store(fs, name, b"")
    monkeypatch.setattr(Filers, "page", of_sql)
    assert [info.name for info in await listed(fs, prefix="_")] == ["_"]
    assert [info.name for info in await listed(fs, prefix="a_", limit=1)] == ["a_b"]
    assert await listed(fs, prefix="a\0") == await listed(fs, prefix="a\\") == []
    assert [info.name for info in await listed(fs, after="a\0b")] == ["a_b", "axb", "b"]


async def test_what_is_dropped_from_the_cache_is_seen_as_others_have_left_it(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the filer notifies of it, which it never does here."""
    monkeypatch.setattr(EntryCache, "_apply", lambda *_: None)
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        await store(fs, "f", b"1")
        assert await load(fs, "f") == b"1"
        await store(other, "f", b"22")
        assert await load(fs, "f") == b"1", "this is what it is for"
        fs.forget(DIR, "f")
        assert await load(fs, "f") == b"22"
        assert (await fs.stat(DIR, "f")).size == 2
        await other.delete(DIR, "f")
        fs.forget(DIR, "f")
        with pytest.raises(NoSuchFile):
            await fs.open(DIR, "f")
    finally:
        await other.close()


async def test_the_id_of_a_store_is_that_of_its_prefix(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    same = await SeaweedFileSystem.start(cluster.masters)
    other = await SeaweedFileSystem.start(cluster.masters, prefix="/elsewhere")
    try:
        found = await fs.identity()
        assert await same.identity() == found
        assert await other.identity() != found
    finally:
        await same.close()
        await other.close()


@pytest.mark.parametrize("size", [3 * CHUNK + 7, 9_000_000])
async def test_a_reading_that_was_given_up_goes_on_with_its_version(
    fs: SeaweedFileSystem, size: int
) -> None:
    """From the same server, which serves a range of a needle that was deleted meanwhile."""
    data = content(size)
    await store(fs, "f", data)
    async with await fs.open(DIR, "f") as reader:
        got = bytearray()
        for turn in range(12):
            async with aclosing(reader.read(len(got), size - len(got))) as pieces:
                for _ in range(3):
                    piece = await anext(pieces)
                    got += piece[: len(piece) - turn]
                    if turn:
                        break
            if turn == 3:
                await store(fs, "f", b"other")
            if turn == 6:
                await fs.delete(DIR, "f")
                await asyncio.sleep(1.5)  # its needles are deleted
        async with aclosing(reader.read(len(got), size - len(got))) as pieces:
            async for piece in pieces:
                got += piece
    assert got == data
