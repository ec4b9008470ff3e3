"""The memory of all uploads together: which gets it, which waits, and what is sent on for them."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import hashlib
import os
import random
import re
from collections.abc import AsyncIterator, Callable, Sequence
from unittest.mock import AsyncMock, Mock

import google_crc32c
import pytest

from gfs.errors import StoreUnavailable
from gfs.types import Bytes
from tests.gfs.cluster import Cluster, cluster, require, seaweed
from tests.support.waiting import eventually

require()

from gfs.seaweedfs.buffers import Buffer, Buffers  # noqa: E402
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # noqa: E402
from gfs.seaweedfs.proto.filer_pb2 import Entry  # noqa: E402
from gfs.seaweedfs.writer import SeaweedWriter  # noqa: E402
from tests.gfs.suite import DIR, content, load  # noqa: E402

__all__ = ["cluster", "seaweed"]

PAGE = 4096


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gfs.seaweedfs.buffers.IDLE_SECONDS", 0.05)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Chunks:
    """Where chunks are stored: by their names, when they may be (``gate``)."""

    def __init__(self, limit: int, chunk_bytes: int, *, slots: int = 16) -> None:
        self.buffers = Buffers(limit, chunk_bytes)
        self.slots = asyncio.Semaphore(slots)
        self.stored: dict[str, bytes] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.most = 0
        self.fails: Callable[[], bool] = lambda: False

    def writer(self) -> SeaweedWriter:
        writer = SeaweedWriter(
            Mock(slots=self.slots, buffers=self.buffers),
            "/sfs/d/f",
            AsyncMock(),
        )
        writer._sender = AsyncMock(send=self.send, stop=Mock())
        return writer

    async def send(self, pieces: Sequence[Bytes], crc: int) -> str:
        self.most = max(self.most, self.buffers.held)
        await self.gate.wait()
        await asyncio.sleep(0.001)
        if self.fails():
            raise StoreUnavailable("as ordered")
        data = b"".join(pieces)
        assert google_crc32c.value(data) == crc
        name = f"1,{len(self.stored) + 1:02x}00000001"
        self.stored[name] = data
        return name

    def content(self, entry: Entry) -> bytes:
        """The bytes that the entry stands for, without a gap."""
        data = b""
        for chunk in entry.chunks:
            assert chunk.offset == len(data)
            stored = self.stored[chunk.file_id]
            assert (chunk.size, chunk.e_tag) == (len(stored), f"{google_crc32c.value(stored):08x}")
            data += stored
        assert entry.attributes.file_size == len(data)
        assert entry.extended["Sfs-Sha256"] == hashlib.sha256(data).hexdigest().encode()
        return data


class Idle:
    """An upload that has ``filled`` bytes and does not move."""

    def __init__(self, buffers: Buffers, moved_at: float = 0.0) -> None:
        self.buffers = buffers
        self.moved_at = moved_at
        self.buffer = buffers.open(self)
        self.sent = False

    async def fill(self, count: int) -> Idle:
        await self.buffers.grant(count)
        self.buffer.granted += count
        self.buffer.filled += count
        self.buffers.settle(self.buffer)
        return self

    def unsent(self) -> Buffer | None:
        return self.buffer if self.buffer.filled and not self.sent else None

    def send_on(self) -> None:
        self.sent = True
        self.buffers.sent(self, self.buffer)


async def test_a_buffer_that_shrinks_while_it_waits_for_memory_gets_all_that_it_needs() -> None:
    chunks = Chunks(12 * PAGE, 8 * PAGE)
    async with chunks.writer() as writer:
        await writer.write(b"1" * 4 * PAGE)
        await writer.flush()  # its buffer is kept, with four pages
        await writer.write(b"2" * PAGE)
        assert chunks.buffers.held == 4 * PAGE
        await chunks.buffers.grant(6 * PAGE)
        space = await writer.space(6 * PAGE)  # frees three pages, and gets three others
        count = len(space)
        assert chunks.buffers.held - 6 * PAGE >= count
        space[:] = b"3" * count
        await writer.advance(count)
        assert chunks.buffers.held <= 12 * PAGE
        chunks.buffers.free(6 * PAGE)
        content = chunks.content(await writer._sealed())
        assert content == b"1" * 4 * PAGE + b"2" * PAGE + b"3" * count


async def test_memory_is_granted_in_the_order_of_asking() -> None:
    buffers = Buffers(100, 100)
    await buffers.grant(90)
    got: list[int] = []

    async def ask(count: int) -> None:
        await buffers.grant(count)
        got.append(count)

    async with asyncio.TaskGroup() as tasks:
        for count in (60, 5, 40):
            tasks.create_task(ask(count))
        await turns()
        assert got == []  # not even the one that would fit: it would be overtaken for ever
        buffers.free(50)
        await turns()
        assert (got, buffers.held) == ([60], 100)
        buffers.free(45)
        await turns()
        assert (got, buffers.held) == ([60, 5, 40], 100)
    buffers.close()


@pytest.mark.parametrize("granted", [False, True])
async def test_a_cancelled_upload_holds_no_memory_and_no_other_upload_up(granted: bool) -> None:
    buffers = Buffers(100, 100)
    await buffers.grant(80)
    first = asyncio.create_task(buffers.grant(50))
    second = asyncio.create_task(buffers.grant(20))
    await turns()
    if granted:
        buffers.free(80)
    first.cancel()
    if not granted:
        buffers.free(1)  # before it knows that it was cancelled
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert buffers.held == (20 if granted else 99)
    buffers.close()


async def test_one_alone_gets_what_it_asks_for() -> None:
    buffers = Buffers(10, 100)
    await buffers.grant(50)
    assert buffers.held == 50
    buffers.close()


async def test_of_those_that_do_not_move_the_fullest_are_sent_on() -> None:
    buffers = Buffers(100, 100)
    idle = [await Idle(buffers).fill(count) for count in (1, 30, 10, 40, 19)]
    waiting = asyncio.create_task(buffers.grant(30))
    await eventually(lambda: any(one.sent for one in idle))
    # Until half of the limit is free; what has too little of it is left alone.
    assert [one.sent for one in idle] == [False, True, False, True, False]
    buffers.stored(idle[3].buffer)
    await waiting
    assert buffers.held == 90
    buffers.close()


async def test_if_all_move_and_wait_the_fullest_is_sent_on() -> None:
    buffers = Buffers(100, 100)
    future = asyncio.get_running_loop().time() + 1000
    moving = [await Idle(buffers, future).fill(count) for count in (40, 50, 10)]
    waiting = asyncio.create_task(buffers.grant(10))
    await eventually(lambda: any(one.sent for one in moving))
    await asyncio.sleep(0.1)
    assert [one.sent for one in moving] == [False, True, False]  # and that is enough
    buffers.drop(moving[1], moving[1].buffer, sent=True)
    await waiting
    assert buffers.held == 60
    buffers.close()


async def test_nothing_is_sent_on_while_nobody_waits() -> None:
    buffers = Buffers(100, 100)
    idle = await Idle(buffers).fill(100)
    await asyncio.sleep(0.2)
    assert not idle.sent
    buffers.close()


async def test_memory_is_used_again_and_given_back_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gfs.seaweedfs.buffers.KEEP_SECONDS", 0.05)
    buffers = Buffers(10 * PAGE, 4 * PAGE)
    first = await Idle(buffers).fill(3 * PAGE)
    first.send_on()
    buffers.stored(first.buffer)
    assert buffers.held == 0
    second = Idle(buffers)
    assert second.buffer is first.buffer
    assert buffers.held == 3 * PAGE, "all of it is there, filled or not"
    second.buffer.filled = 10
    third = Idle(buffers)
    assert third.buffer is not first.buffer
    # The waiting one gets what the second does not need.
    async with asyncio.timeout(5):
        await third.fill(8 * PAGE)
    assert buffers.held < 10 * PAGE
    third.send_on()
    buffers.stored(third.buffer)
    assert buffers._spare == [third.buffer]
    await eventually(lambda: not buffers._spare)
    buffers.close()


async def test_what_is_spare_makes_way() -> None:
    buffers = Buffers(100, 100)
    one = await Idle(buffers).fill(60)
    one.send_on()
    buffers.stored(one.buffer)
    await buffers.grant(90)
    assert (buffers._spare, buffers.held) == ([], 90)
    buffers.close()


@pytest.mark.parametrize("seed", range(8))
async def test_many_uploads_within_little_memory_are_stored_as_they_are(seed: int) -> None:
    """Fast, slow and idle ones, some of which are given up; more of them than there is memory."""
    chance = random.Random(seed)
    chunks = Chunks(10 * PAGE, PAGE * chance.choice((1, 4, 16)), slots=chance.choice((1, 16)))

    async def one(number: int) -> None:
        data = random.Random(number).randbytes(chance.choice((0, 1, 5000, 100_000)))
        given_up = chance.random() < 0.2
        async with chunks.writer() as writer:
            left = memoryview(data)
            while left:
                piece = left[: chance.choice((1, 700, 5000, 40_000))]
                await writer.write(piece)
                left = left[len(piece) :]
                if chance.random() < 0.3:
                    await asyncio.sleep(chance.choice((0, 0.001, 0.1)))
                if given_up and chance.random() < 0.2:
                    return
            assert chunks.content(await writer._sealed()) == data

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for number in range(40):
            tasks.create_task(one(number))
    assert chunks.most <= 10 * PAGE
    assert chunks.buffers.held == 0
    assert not chunks.buffers._fillers
    chunks.buffers.close()


async def test_a_trickle_among_uploads_that_need_memory_makes_few_chunks() -> None:
    chunks = Chunks(100_000, 50_000)
    slow = chunks.writer()
    busy = True

    async def fast() -> None:
        async with chunks.writer() as writer:
            while busy:
                await writer.write(bytes(20_000))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(fast())
        for _ in range(30):
            await slow.write(b"x")
            await asyncio.sleep(0.08)  # it is idle between two bytes
        busy = False
    assert len(slow._chunks) <= 5
    assert chunks.content(await slow._sealed()) == b"x" * 30
    await slow.abort()
    chunks.buffers.close()


async def test_a_store_that_fails_fails_only_the_uploads_that_wait_for_it() -> None:
    chunks = Chunks(100, 100)
    chunks.gate.clear()
    first, second = chunks.writer(), chunks.writer()
    await first.write(bytes(100))
    waiting = asyncio.create_task(second.write(bytes(100)))
    await turns()
    assert not waiting.done()
    failing = True
    chunks.fails = lambda: failing
    chunks.gate.set()
    async with asyncio.timeout(5):
        await waiting
        with pytest.raises(StoreUnavailable):
            await first.flush()
    failing = False
    await first.abort()
    await second.abort()
    assert chunks.buffers.held == 0
    chunks.buffers.close()


async def test_an_upload_that_gives_up_while_it_waits_for_memory_holds_none() -> None:
    chunks = Chunks(100, 100)
    chunks.gate.clear()
    first, second = chunks.writer(), chunks.writer()
    await first.write(bytes(100))
    waiting = asyncio.create_task(second.write(bytes(10)))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await second.abort()
    chunks.gate.set()
    await first.abort()
    assert (chunks.buffers.held, chunks.buffers._waiting) == (
        0,
        chunks.buffers._waiting.__class__(),
    )
    chunks.buffers.close()


async def test_memory_that_was_lent_and_not_filled_is_given_back_at_the_end() -> None:
    chunks = Chunks(10 * PAGE, PAGE)
    writer = chunks.writer()
    await writer.write(bytes(PAGE))
    await eventually(lambda: chunks.buffers._spare)
    await writer.space(10)
    await writer.advance(0)
    assert chunks.content(await writer._sealed()) == bytes(PAGE)
    assert chunks.buffers.held == 0
    assert not chunks.buffers._fillers
    chunks.buffers.close()


async def test_where_the_system_gives_no_memory_the_store_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "as ordered")

    chunks = Chunks(10 * PAGE, PAGE)
    with monkeypatch.context() as patch:
        patch.setattr("mmap.mmap", refused)
        async with chunks.writer() as writer:
            with pytest.raises(StoreUnavailable):
                await writer.write(b"1")
    assert not chunks.buffers._fillers
    chunks.buffers.close()


def test_one_byte_takes_one_page() -> None:
    """Where the kernel gives huge pages to all that is large enough for one, it takes 2 MiB."""
    if not os.path.exists("/sys/kernel/mm/transparent_hugepage"):
        pytest.skip("this kernel has no huge pages that come by themselves")
    memory = Buffer(4 * 1024 * 1024).memory
    first = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(first)
    flags: list[str] = []
    inside = False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            if found := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
                inside = int(found[1], 16) <= address < int(found[2], 16)
            elif inside and line.startswith("VmFlags:"):
                flags = line.split()
    assert "nh" in flags
    del first


@pytest.fixture
async def tight(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SeaweedFileSystem]:
    """A file system with memory for four chunks."""
    monkeypatch.setattr("gfs.seaweedfs.filesystem.CHUNK_BYTES", 100_000)
    monkeypatch.setattr("gfs.seaweedfs.manifests.MANIFEST_CHUNKS", 7)
    fs = await SeaweedFileSystem.start(cluster.masters, upload_buffer=400_000)
    await fs.make_directory(DIR)
    try:
        yield fs
    finally:
        await fs.remove_directory(DIR)
        await fs.close()


async def test_files_of_short_chunks_are_read_like_others(tight: SeaweedFileSystem) -> None:
    datas = [content(1_000_000, seed) for seed in range(12)]
    writers = [await tight.create(DIR, f"{number}") for number in range(12)]
    async with asyncio.timeout(60):
        for start in range(
            0, 1_000_000, 125_000
        ):  # each has 25,000 bytes and more that do not move
            async with asyncio.TaskGroup() as tasks:
                for writer, data in zip(writers, datas, strict=True):
                    tasks.create_task(writer.write(data[start : start + 125_000]))
    assert max(len(writer._chunks) for writer in writers) > 10  # type: ignore[attr-defined]
    for number, (writer, data) in enumerate(zip(writers, datas, strict=True)):
        await writer.commit()
        assert await load(tight, f"{number}") == data
        for start, length in ((0, 1), (99_999, 2), (123_456, 400_001), (999_999, 1)):
            assert await load(tight, f"{number}", start, length) == data[start : start + length]
    assert tight._buffers.held == 0
