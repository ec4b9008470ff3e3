"""Versions that are made in parts, on a real cluster: what concerns only this engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.ledger import MemoryLedger
from tests.support.waiting import eventually

# The engine's libraries are there from here on.
from gfs.api import Assembly, PartWriter  # isort: skip
from gfs.errors import AlreadyExists, NoSuchUpload, StoreFull, StoreUnavailable  # isort: skip
from gfs.seaweedfs import parts, tokens  # isort: skip
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.parts import SeaweedPartWriter  # isort: skip
from gfs.seaweedfs.proto import filer_pb2 as pb  # isort: skip
from gfs.seaweedfs.publishing import CommitUnknown  # isort: skip
from gfs.seaweedfs.servers.filer import Filers  # isort: skip
from gfs.seaweedfs.servers.rpc import CallFailed  # isort: skip
from gfs.seaweedfs.uploads import Sender  # isort: skip
from gfs.types import ABSENT, Bytes, Part  # isort: skip
from tests.faults.replicas import copies, referenced  # isort: skip
from tests.gfs.suite_parts import CHUNK, DIR, content, load, store  # isort: skip
from tests.gfs.upload_suite import append, commit, publish, whole  # isort: skip

__all__ = ["cluster", "seaweed"]

SMALL = 1000
"""The size of a chunk where there are many."""


@pytest.fixture
async def fs(cluster: Cluster) -> AsyncIterator[SeaweedFileSystem]:
    async with started(cluster) as fs:
        await fs.make_directory(DIR)
        yield fs
        cluster.mend()
        await fs.remove_directory(DIR)


@asynccontextmanager
async def started(cluster: Cluster) -> AsyncIterator[SeaweedFileSystem]:
    fs = await SeaweedFileSystem.start(cluster.masters)
    try:
        yield fs
    finally:
        await fs.close()


Left = Callable[[], Awaitable[int]]


@pytest.fixture
def left(cluster: Cluster, fs: SeaweedFileSystem) -> Left:
    """How many copies of needles there are more than when the test started, without those in which
    the filer keeps its journal."""
    before = copies(cluster)

    async def count() -> int:
        found = copies(cluster) - before
        journal = await referenced(fs._filers, "/topics")
        return sum(copy[1:] not in journal for copy in found)

    return count


async def remain(left: Left, count: int) -> None:
    """Wait until there are ``count`` more copies than when the test started."""
    await eventually(left, equals=count)


async def stored(writer: PartWriter, count: int) -> None:
    """Wait until ``count`` chunks are stored that are in no Part."""
    assert isinstance(writer, SeaweedPartWriter)
    await eventually(lambda: sum(bool(chunk.file_id) for chunk in writer._chunks), equals=count)


async def test_a_part_has_what_is_stored_and_waits_for_the_rest_for_a_moment(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "STORE_SECONDS", 0.05)
    ledger = MemoryLedger()
    send, gate = Sender.send, asyncio.Event()
    sent = Counter[int]()

    async def slow(self: Sender, pieces: Sequence[Bytes], crc: int) -> str:
        number = sent.total()
        sent[number] += 1
        if number == 1:
            await gate.wait()
        return await send(self, pieces, crc)

    monkeypatch.setattr(Sender, "send", slow)
    data = content(3 * CHUNK + 5)
    async with await ledger.appending(fs, DIR) as writer:
        assert await writer.part() is None
        await writer.write(data)
        await stored(writer, 2)
        part = await writer.part()
        assert part is not None
        assert (part.offset, part.size) == (0, CHUNK)
        assert await writer.part() is None
        ledger.record(part)
        rest = asyncio.create_task(writer.part(rest=True))
        await asyncio.sleep(0.05)
        rest.cancel()
        await asyncio.wait([rest])
        assert rest.cancelled()
        gate.set()
        await ledger.record_rest(writer)
    assert [part.size for part in ledger._parts] == [CHUNK, 2 * CHUNK + 5]
    assert not ledger._reserved
    await publish(fs, ledger)
    assert await load(fs, "f") == data


async def test_a_part_has_what_is_on_its_way_when_it_is_asked_for(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "STORE_SECONDS", 60.0)
    ledger = MemoryLedger()
    send, gate = Sender.send, asyncio.Event()

    async def slow(self: Sender, pieces: Sequence[Bytes], crc: int) -> str:
        await gate.wait()
        return await send(self, pieces, crc)

    monkeypatch.setattr(Sender, "send", slow)
    async with await ledger.appending(fs, DIR) as writer:
        await writer.write(content(2 * CHUNK))
        asked = asyncio.create_task(writer.part())
        await asyncio.sleep(0)  # until it waits
        gate.set()
        part = await asked
        assert part is not None
        assert part.size == 2 * CHUNK
        await fs.discard(ledger, [part])


async def test_what_is_in_no_part_is_freed_by_an_abort(fs: SeaweedFileSystem, left: Left) -> None:
    ledger = MemoryLedger()
    async with await ledger.appending(fs, DIR) as writer:
        await writer.write(content(2 * CHUNK))
        part = await writer.part(rest=True)
        assert part is not None
        await writer.write(content(2 * CHUNK))
        await remain(left, 8)
    await remain(left, 4)
    await fs.discard(ledger, [part])
    await remain(left, 0)
    await fs.discard(ledger, [part])
    await fs.discard(ledger)


@pytest.mark.parametrize("how", ["publish", "discard"])
async def test_what_a_killed_process_left_is_freed_in_the_end(
    cluster: Cluster, fs: SeaweedFileSystem, left: Left, how: str
) -> None:
    ledger = MemoryLedger()
    data = content(5 * CHUNK + 5)
    await append(fs, ledger, data[: 2 * CHUNK])
    async with started(cluster) as killed:
        writer = await killed.append(DIR, ledger, ledger.end)
        await writer.write(data[: 3 * CHUNK])
        await remain(left, 2 * 5)
        part = await writer.part(rest=True)
        assert part is not None  # and is never recorded
    assert ledger._reserved
    await append(fs, ledger, data[2 * CHUNK :])
    await remain(left, 2 * (2 + 3 + 4))
    if how == "discard":
        await fs.discard(ledger)
        await remain(left, 0)
        await fs.discard(ledger)
        return
    async with await fs.assemble(DIR, "f", ledger, len(data)) as assembly:
        assert b"".join(await whole(assembly)) == data
        await assembly.commit()
        await remain(left, 2 * (2 + 3 + 4))
        await assembly.clear()
        await remain(left, 2 * 6)
        await assembly.clear()
    assert await load(fs, "f") == data
    await fs.discard(ledger, published=True)
    assert await load(fs, "f") == data
    await remain(left, 2 * 6)
    await fs.delete(DIR, "f")
    await remain(left, 0)


async def test_what_was_published_is_not_freed_when_its_parts_are_not_recorded_any_more(
    fs: SeaweedFileSystem, left: Left
) -> None:
    ledger = MemoryLedger()
    data = content(2 * CHUNK)
    async with await ledger.appending(fs, DIR) as writer:
        await writer.write(data)
        await stored(writer, 2)
        part = await writer.part()  # of its reservations, one is not used up
        assert part is not None
        ledger.record(part)
    assert ledger._reserved
    await publish(fs, ledger)
    parts, ledger._parts = ledger._parts, []
    for some in ([], [Part(CHUNK, part.size, part.token)]):
        ledger._parts = some
        await fs.discard(ledger, published=True)
    ledger._parts = parts
    await fs.discard(ledger, published=True)
    await remain(left, 4)
    assert await load(fs, "f") == data


async def test_a_volume_server_that_dies_costs_time_and_leaves_nothing(
    cluster: Cluster, fs: SeaweedFileSystem, left: Left
) -> None:
    ledger = MemoryLedger()
    data = content(12 * CHUNK)
    async with await ledger.appending(fs, DIR) as writer:
        for start in range(0, len(data), CHUNK):
            if start == 3 * CHUNK:
                cluster.volumes[0].kill()
            await writer.write(data[start : start + CHUNK])
            if (part := await writer.part()) is not None:
                ledger.record(part)
        await ledger.record_rest(writer)
    assert ledger.end == len(data)
    cluster.mend()
    async with await fs.assemble(DIR, "f", ledger, len(data)) as assembly:
        await assembly.commit()
        await assembly.clear()
    assert await load(fs, "f") == data
    await remain(left, 2 * 12)


async def test_after_a_chunk_that_is_not_stored_comes_no_part_but_those_before_it_do(
    fs: SeaweedFileSystem, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = MemoryLedger()
    send, sent = Sender.send, Counter[str]()

    async def full(self: Sender, pieces: Sequence[Bytes], crc: int) -> str:
        sent["chunks"] += 1
        if sent["chunks"] == 2:
            raise StoreFull("as ordered")
        return await send(self, pieces, crc)

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "send", full)
        async with await ledger.appending(fs, DIR) as writer:
            await writer.write(content(3 * CHUNK))
            part = await writer.part(rest=True)
            assert part is not None
            assert part.size == CHUNK
            ledger.record(part)
            with pytest.raises(StoreFull):
                await writer.part(rest=True)
            assert await writer.part(rest=True) is None
            with pytest.raises(StoreFull):
                await writer.write(b"1")
            assert await writer.part(rest=True) is None
    await remain(left, 2)
    await append(fs, ledger, b"more")
    async with await fs.assemble(DIR, "f", ledger, CHUNK + 4) as assembly:
        assert b"".join(await whole(assembly)) == content(3 * CHUNK)[:CHUNK] + b"more"
    await fs.discard(ledger)
    await remain(left, 0)


@pytest.fixture
async def small(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SeaweedFileSystem]:
    """With small chunks."""
    monkeypatch.setattr("gfs.seaweedfs.filesystem.CHUNK_BYTES", SMALL)
    async with started(cluster) as fs:
        yield fs


async def test_many_chunks_are_listed_in_manifests(
    fs: SeaweedFileSystem, small: SeaweedFileSystem, left: Left
) -> None:
    ledger = MemoryLedger()
    data = content(3001 * SMALL)
    for start, end in ((0, 1300), (1300, 2600), (2600, 2995)):
        await append(small, ledger, data[start * SMALL : end * SMALL])
    assert len(ledger._parts) == 2 * 21 + 7
    assert not ledger._reserved
    async with await ledger.appending(small, DIR) as writer:
        await writer.write(data[ledger.end :])
        await stored(writer, 6)
        part = await writer.part()
        assert part is not None
        ledger.record(part)
    (reservation,) = ledger._reserved
    assert tokens.reserved(reservation).needles[0] in part.token  # and one of them is not used
    async with await fs.assemble(DIR, "f", ledger, len(data)) as assembly:
        assert b"".join(await whole(assembly)) == data
        await assembly.abort()
    assert [tokens.reserved(token).manifest for token in ledger._reserved[1:]] == [True] * 3
    await remain(left, 2 * 3001)
    async with started_assembly(fs, ledger) as forgotten:
        await publish(fs, ledger)
        assert forgotten is not None
    await remain(left, 2 * 3005)
    assert await load(fs, "f") == data
    assert await load(fs, "f", 1_999_990, 20) == data[1_999_990:2_000_010]
    await fs.delete(DIR, "f")
    await remain(left, 0)


@asynccontextmanager
async def started_assembly(
    fs: SeaweedFileSystem, ledger: MemoryLedger, name: str = "f"
) -> AsyncIterator[Assembly]:
    """An Assembly of a process that is killed: nobody aborts it."""
    yield await fs.assemble(DIR, name, ledger, ledger.end)


@pytest.fixture
def short_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 chunks."""
    monkeypatch.setattr("gfs.seaweedfs.manifests.MANIFEST_CHUNKS", 100)


@pytest.mark.usefixtures("short_manifests")
@pytest.mark.parametrize("size", [0, 5, 300 * SMALL])
async def test_a_process_that_publishes_an_upload_again_finds_it(
    fs: SeaweedFileSystem,
    small: SeaweedFileSystem,
    left: Left,
    size: int,
) -> None:
    ledger = MemoryLedger()
    data = content(size)
    await append(small, ledger, data)
    first = await fs.assemble(DIR, "a/f", ledger, size, expect=ABSENT)
    second = await fs.assemble(DIR, "a/f", ledger, size, expect=ABSENT)
    published = await first.commit()
    assert (published.info.size, published.replaced) == (size, None)
    third = await fs.assemble(DIR, "a/f", ledger, size, expect=ABSENT)
    for again in (second, third):
        assert await again.commit() == published
    await third.clear()
    await remain(left, 2 * (size // SMALL + (size > 5) * 3 + (size == 5)))
    assert await load(fs, "a/f") == data
    other = MemoryLedger()
    await append(fs, other, data)
    with pytest.raises(AlreadyExists):
        await fs.assemble(DIR, "a/f", other, size, expect=ABSENT)
    await fs.discard(other)
    await fs.delete(DIR, "a/f")
    await remain(left, 0)
    if size:
        with pytest.raises(NoSuchUpload):
            await fs.assemble(DIR, "a/f", ledger, size, expect=ABSENT)
        with pytest.raises(NoSuchUpload):
            await fs.append(DIR, ledger, size)


@pytest.mark.usefixtures("short_manifests")
async def test_a_publish_of_unknown_outcome_frees_nothing(
    fs: SeaweedFileSystem, small: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = MemoryLedger()
    data = content(101 * SMALL)
    await append(small, ledger, data)
    create = Filers.create

    async def silent(
        self: Filers, directory: str, entry: pb.Entry, *, over: pb.Entry | None
    ) -> None:
        await create(self, directory, entry, over=over)
        raise CallFailed.given_up("filer")

    with monkeypatch.context() as patch:
        patch.setattr(Filers, "create", silent)
        patch.setattr("gfs.seaweedfs.publishing.DECISION_SECONDS", 0)
        async with await fs.assemble(DIR, "f", ledger, len(data)) as assembly:
            with pytest.raises(CommitUnknown):
                await assembly.commit()
            await assembly.clear()
    await fs.discard(ledger, published=True)
    assert await load(fs, "f") == data
    await publish(fs, ledger)
    assert await load(fs, "f") == data


async def test_parts_with_a_gap_are_not_put_together(
    fs: SeaweedFileSystem, small: SeaweedFileSystem, left: Left
) -> None:
    ledger = MemoryLedger()
    await append(small, ledger, content(130 * SMALL))
    size, parts = ledger.end, ledger._parts
    for some, length in ((parts, size + 1), (parts[1:], size), (parts[::2], size), ([], size)):
        ledger._parts = some
        with pytest.raises(ValueError, match="part"):
            await fs.assemble(DIR, "f", ledger, length)
    ledger._parts = parts
    with pytest.raises(StoreUnavailable):
        async with await fs.assemble(DIR, "f", ledger, size) as assembly:
            await assembly.write(b"1")
    await fs.discard(ledger)
    await remain(left, 0)


@pytest.mark.parametrize("published", [False, True])
async def test_what_cannot_be_freed_now_is_freed_later(
    cluster: Cluster, fs: SeaweedFileSystem, left: Left, published: bool
) -> None:
    ledger = MemoryLedger()
    data = content(3 * CHUNK)
    await append(fs, ledger, data)
    async with started(cluster) as killed:
        writer = await ledger.appending(killed, DIR)
        await writer.write(data)
        await remain(left, 2 * 6)
    if published:
        await commit(fs, ledger)
    for process in cluster.volumes:
        process.stop()
    with pytest.raises(StoreUnavailable):
        await fs.discard(ledger, published=published)
    await fs.discard(ledger, [Part(0, 5, "3,01637037d6/5/0a1b2c3d/18a5f")])
    cluster.mend()

    async def discarded() -> bool:
        with suppress(StoreUnavailable):
            await fs.discard(ledger, published=published)
            return True
        return False

    await eventually(discarded)
    await remain(left, 2 * 3 * published)


async def test_an_upload_of_another_store_is_none_of_this_one(fs: SeaweedFileSystem) -> None:
    ledger = MemoryLedger()
    ledger._parts = [Part(0, 5, "")]
    await ledger.reserve("embedded")
    with pytest.raises(NoSuchUpload):
        await fs.append(DIR, ledger, 5)
    with pytest.raises(NoSuchUpload):
        await fs.assemble(DIR, "f", ledger, 5)
    await fs.discard(ledger)
    await fs.discard(ledger, published=True)


async def test_what_a_ledger_raises_ends_the_writing(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch, left: Left
) -> None:
    class Overtaken(Exception):
        pass

    async def refuse(token: str) -> None:
        raise Overtaken

    ledger = MemoryLedger()
    monkeypatch.setattr(ledger, "reserve", refuse)
    async with await ledger.appending(fs, DIR) as writer:
        with pytest.raises(Overtaken):
            await writer.write(content(20 * CHUNK))
        assert await writer.part(rest=True) is None
    await remain(left, 0)


async def test_memory_that_others_wait_for_is_sent_on_as_a_short_chunk(
    cluster: Cluster, fs: SeaweedFileSystem
) -> None:
    ledger = MemoryLedger()
    fs._buffers.limit = CHUNK
    async with await ledger.appending(fs, DIR) as writer:
        await writer.write(content(CHUNK - 5))
        await store(fs, "other", content(CHUNK))
        await writer.write(content(10))
        await ledger.record_rest(writer)
    (part,) = ledger._parts
    assert [chunk.size for chunk in tokens.chunks_of(part)] == [CHUNK - 5, 10]
