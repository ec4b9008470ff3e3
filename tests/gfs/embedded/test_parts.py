"""Versions that are made in parts on the embedded engine: what the suite cannot see."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from gfs.api import BlockingWriter
from gfs.embedded import copying, parts
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.errors import (
    DataLoss,
    GfsError,
    InvalidName,
    NoSuchUpload,
    StoreFull,
    StoreUnavailable,
)
from gfs.types import ABSENT, Published
from tests.gfs.suite_parts import DIR, content, feed, load, names, store
from tests.gfs.upload_suite import append, assemble, commit, publish, whole
from tests.support.ledger import MemoryLedger
from tests.support.waiting import eventually

MIB = 1 << 20


def kept(root: Path) -> list[str]:
    """What is in ``~uploads``; nothing may be in ``~tmp``."""
    assert os.listdir(root / "~tmp") == []
    return os.listdir(root / "~uploads")


async def test_an_upload_is_one_file_until_it_is_published_or_discarded(
    fs: EmbeddedFileSystem, root: Path
) -> None:
    one, other = MemoryLedger(), MemoryLedger()
    for ledger in (one, other):
        await append(fs, ledger, b"12")
        await append(fs, ledger, b"345")
        assert (root / "~uploads" / ledger.upload).read_bytes() == b"12345"
    await commit(fs, one)
    assert sorted(kept(root)) == sorted([one.upload, other.upload])
    assert (root / DIR / "f").samefile(root / "~uploads" / one.upload)
    await publish(fs, one)
    assert kept(root) == [other.upload]
    await fs.discard(other)
    assert kept(root) == []
    assert await load(fs, "f") == b"12345"


async def test_what_is_made_in_parts_outlives_a_start_and_is_in_no_copy(root: Path) -> None:
    ledger = MemoryLedger()
    for end in (3, 6):
        fs = await EmbeddedFileSystem.start(str(root))
        await fs.make_directory(DIR)
        await append(fs, ledger, b"123456"[ledger.end : end])
        assert fs.swept == 0
        await fs.close()
    copied = copying.copy(str(root), str(root.parent / "copy"), [DIR])
    assert copied.files == 0
    assert os.listdir(root.parent / "copy") == [DIR]
    assert list(copying.left_out(str(root), [DIR])) == []


@pytest.mark.parametrize("recorded", [0, 2])
@pytest.mark.parametrize("goes_on", [False, True])
async def test_what_a_crash_left_behind_the_last_part_is_cut_off(
    fs: EmbeddedFileSystem, root: Path, recorded: int, goes_on: bool
) -> None:
    ledger = MemoryLedger()
    await append(fs, ledger, b"12"[:recorded])
    with open(root / "~uploads" / ledger.upload, "ab") as file:
        file.write(b"of no part")
    if goes_on:
        await append(fs, ledger, b"345")
    await publish(fs, ledger)
    assert await load(fs, "f") == b"12"[:recorded] + b"345" * goes_on


async def test_bytes_that_are_gone_are_missed(fs: EmbeddedFileSystem, root: Path) -> None:
    ledger = MemoryLedger()
    await append(fs, ledger, b"12345")
    os.truncate(root / "~uploads" / ledger.upload, 4)
    with pytest.raises(NoSuchUpload):
        await ledger.appending(fs, DIR)
    with pytest.raises(ValueError, match="less than 5 bytes"):
        await assemble(fs, ledger)


async def test_a_file_that_is_cut_while_it_is_read_is_a_loss(
    fs: EmbeddedFileSystem, root: Path
) -> None:
    ledger = MemoryLedger()
    await append(fs, ledger, b"12345")
    async with await assemble(fs, ledger) as assembly:
        os.truncate(root / "~uploads" / ledger.upload, 4)
        with pytest.raises(DataLoss):
            await whole(assembly)


@pytest.mark.parametrize("upload", ["", "../suite/f", "0" * 31, "0" * 33, "G" * 32, "A" * 32])
async def test_an_upload_that_is_no_name_is_refused(fs: EmbeddedFileSystem, upload: str) -> None:
    await store(fs, "f", b"old")
    ledger = MemoryLedger()
    ledger.upload = upload
    for attempt in (ledger.appending(fs, DIR), assemble(fs, ledger), fs.discard(ledger)):
        with pytest.raises(InvalidName):
            await attempt
    assert await load(fs, "f") == b"old"


# What is published is never written to.


@pytest.mark.parametrize("offset", [0, 3, 5])
async def test_a_published_file_is_not_appended_to(fs: EmbeddedFileSystem, offset: int) -> None:
    """By a caller that is late, and does not know yet."""
    ledger = MemoryLedger()
    await append(fs, ledger, b"12345")
    published = await commit(fs, ledger)
    with pytest.raises(StoreUnavailable, match="another name"):
        async with await fs.append(DIR, ledger, offset) as writer:
            await writer.write(b"late")
            await writer.part(rest=True)
    with pytest.raises(StoreUnavailable, match="another name"):
        await fs.assemble(DIR, "g", ledger, 3)
    assert await load(fs, "f") == b"12345"
    assert await fs.stat(DIR, "f") == published.info


async def test_a_version_that_was_moved_away_is_published_again_and_stays_the_same(
    fs: EmbeddedFileSystem,
) -> None:
    ledger = MemoryLedger()
    await append(fs, ledger, b"12345")
    first = await commit(fs, ledger, expect=ABSENT)
    await fs.move(DIR, "f", DIR, "g")
    moved = await fs.stat(DIR, "g")
    assert await publish(fs, ledger, expect=ABSENT) == Published(first.info, None)
    assert await fs.stat(DIR, "g") == moved
    assert await load(fs, "f") == await load(fs, "g") == b"12345"


async def test_a_publish_that_fails_leaves_no_second_name(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = MemoryLedger()
    await append(fs, ledger, b"12345")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "as ordered")

    async with await assemble(fs, ledger) as assembly:
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", fail)
            with pytest.raises(StoreUnavailable):
                await assembly.commit()
    assert kept(root) == [ledger.upload]
    await append(fs, ledger, b"6")
    await publish(fs, ledger)
    assert await load(fs, "f") == b"123456"


# Turns.


async def test_who_was_overtaken_fails_at_its_next_call(fs: EmbeddedFileSystem) -> None:
    for overtake in (MemoryLedger.appending, lambda ledger, fs, _: assemble(fs, ledger)):
        ledger = MemoryLedger()
        await append(fs, ledger, b"1")
        old = await ledger.appending(fs, DIR)
        assert isinstance(old, BlockingWriter)
        await old.write(b"2")
        new = await overtake(ledger, fs, DIR)
        for attempt in (old.write(b"3"), old.part(), old.part(rest=True)):
            with pytest.raises(StoreUnavailable):
                await attempt
        with pytest.raises(StoreUnavailable):
            await asyncio.to_thread(old.write_blocking, b"4")
        await old.abort()
        await new.abort()
        await publish(fs, ledger)
        assert await load(fs, "f") == b"1"


async def test_a_publish_that_was_overtaken_publishes_nothing(fs: EmbeddedFileSystem) -> None:
    ledger = MemoryLedger()
    await append(fs, ledger, b"1")
    async with await assemble(fs, ledger) as old:
        await old.flush()
        await append(fs, ledger, b"2")
        for attempt in (old.commit, old.flush):
            with pytest.raises(StoreUnavailable):
                await attempt()
    assert await names(fs) == []
    await publish(fs, ledger)
    assert await load(fs, "f") == b"12"


@pytest.mark.parametrize("waits", [True, False])
async def test_a_batch_that_is_under_way_is_waited_for_but_not_for_ever(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    ledger = MemoryLedger()
    await append(fs, ledger, b"1")
    stuck, ends, real = threading.Event(), threading.Event(), os.writev

    def slow(descriptor: int, batch: list[bytes]) -> int:
        stuck.set()
        assert ends.wait(30)
        return real(descriptor, batch)

    old = await ledger.appending(fs, DIR)
    assert isinstance(old, BlockingWriter)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", slow)
        writing = asyncio.create_task(asyncio.to_thread(old.write_blocking, b"old"))
        await eventually(stuck.is_set)
    if not waits:
        monkeypatch.setattr(parts, "TURN_SECONDS", 0.01)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="still writes"):
                await ledger.appending(fs, DIR)
    going_on = asyncio.create_task(append(fs, ledger, b"new"))
    if waits:
        await asyncio.sleep(0.05)
        assert not going_on.done()
    else:
        with pytest.raises(StoreUnavailable, match="still writes"):
            await going_on
    ends.set()
    await writing
    if waits:
        await going_on
    else:
        await append(fs, ledger, b"new")
    await old.abort()
    await publish(fs, ledger)
    assert await load(fs, "f") == b"1new"


async def test_what_is_discarded_is_not_made_again_by_who_is_late(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = MemoryLedger()
    making, ends, real = threading.Event(), threading.Event(), os.open

    def slow(path: str, flags: int, *args: int, **options: int) -> int:
        if flags & os.O_CREAT:
            making.set()
            assert ends.wait(30)
        return real(path, flags, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", slow)
        appending = asyncio.create_task(ledger.appending(fs, DIR))
        await eventually(making.is_set)
    discarding = asyncio.create_task(fs.discard(ledger))
    await asyncio.sleep(0.05)
    ends.set()
    await discarding
    writer = await appending
    with pytest.raises(StoreUnavailable):
        await writer.write(b"1")
    await writer.abort()
    assert kept(root) == []


async def test_turns_are_forgotten(fs: EmbeddedFileSystem) -> None:
    for _ in range(3):
        ledger = MemoryLedger()
        await append(fs, ledger, b"1")
        await publish(fs, ledger)
        await fs.discard(ledger)
    gc.collect()
    assert len(fs._turns._uploads) == 0


async def test_nothing_is_written_after_an_abort(fs: EmbeddedFileSystem) -> None:
    """Its descriptor may be that of another file by then."""
    ledger = MemoryLedger()
    writer = await ledger.appending(fs, DIR)
    assert isinstance(writer, BlockingWriter)
    await writer.abort()
    for attempt in (writer.write(b"1"), writer.part(rest=True)):
        with pytest.raises(StoreUnavailable):
            await attempt
    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(writer.write_blocking, b"1")


# Durability, and full disks.


async def test_a_part_is_what_was_written_before_the_sync(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not what a thread writes during it. The name of the file is durable before."""
    durable: list[str] = []
    ledger = MemoryLedger()

    def place(descriptor: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

    monkeypatch.setattr(os, "fsync", lambda descriptor: durable.append(place(descriptor)))
    writer = await ledger.appending(fs, DIR)
    assert durable == ["~uploads"]
    assert isinstance(writer, BlockingWriter)
    blocking = writer

    def sync(descriptor: int) -> None:
        blocking.write_blocking(b"of the next")
        durable.append(place(descriptor))

    monkeypatch.setattr(os, "fdatasync", sync)
    await asyncio.to_thread(writer.write_blocking, b"first")
    first = await writer.part()
    assert first is not None
    assert (first.offset, first.size, first.token) == (0, 5, "")
    assert durable == ["~uploads", ledger.upload]
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    second = await writer.part()
    assert second is not None
    assert (second.offset, second.size) == (5, 11)
    assert await writer.part() is None
    await writer.abort()
    await publish(fs, MemoryLedger())
    assert (root / "~uploads" / ledger.upload).read_bytes() == b"firstof the next"


@pytest.mark.parametrize("blocking", [False, True])
async def test_what_was_written_before_the_disk_was_full_is_in_a_part(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch, blocking: bool
) -> None:
    data, ledger = content(3 * MIB), MemoryLedger()
    real, left = os.writev, MIB + 5

    def full(descriptor: int, batch: list[bytes]) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "no space")
        count = real(descriptor, [b"".join(batch)[:left]])
        left -= count
        return count

    writer = await ledger.appending(fs, DIR)
    assert isinstance(writer, BlockingWriter)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        with pytest.raises(StoreFull):
            if blocking:
                await asyncio.to_thread(writer.write_blocking, data)
            else:
                await feed(writer, data)
        part = await writer.part(rest=True)
        assert part is not None
        ledger.record(part)
        assert ledger.end == MIB + 5
        if blocking:
            assert await writer.part(rest=True) is None
        else:
            for _ in range(2):
                with pytest.raises(StoreFull):
                    await writer.part(rest=True)
        await writer.abort()
    await append(fs, ledger, data[ledger.end :])
    await publish(fs, ledger)
    assert await load(fs, "f") == data


async def test_the_reserve_is_left_to_the_service(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever starts, goes on, or writes; what is complete is published all the same."""
    ledger = MemoryLedger()
    writer = await ledger.appending(fs, DIR)
    await writer.write(b"1")
    await ledger.record_rest(writer)
    with monkeypatch.context() as patch:
        patch.setattr(fs._tree, "_reserve", 1 << 60)
        await writer.write(b"2")
        with pytest.raises(StoreFull):
            await writer.part(rest=True)
        await writer.abort()
        for attempt in (ledger, MemoryLedger()):
            with pytest.raises(StoreFull):
                await attempt.appending(fs, DIR)
        with pytest.raises(StoreFull):
            await assemble(fs, ledger, "new/f")
        await publish(fs, ledger)
    assert kept(root) == []


# Ways out.


async def cancelled(attempt: Awaitable[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel ``attempt`` while it is in a thread."""
    real, entered = os.ftruncate, threading.Event()

    def slow(descriptor: int, size: int) -> None:
        entered.set()
        time.sleep(0.02)
        real(descriptor, size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", slow)
        task = asyncio.ensure_future(attempt)
        await eventually(entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_every_way_out_gives_its_descriptors_back(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def fail(attempt: Awaitable[object], kind: type[Exception]) -> None:
        with pytest.raises(kind):
            await attempt

    ledger = MemoryLedger()
    await append(fs, ledger, b"12345")
    await store(fs, "old", b"")
    before = count()
    tries: list[Callable[[], Awaitable[object]]] = [
        lambda: append(fs, ledger, b"6"),
        lambda: fail(fs.append(DIR, ledger, 100), NoSuchUpload),
        lambda: fail(fs.append(DIR, MemoryLedger(), 1), NoSuchUpload),
        lambda: fail(fs.append("absent", ledger, ledger.end), GfsError),
        lambda: fail(fs.assemble(DIR, "f", ledger, 100), ValueError),
        lambda: fail(assemble(fs, ledger, "old", expect=ABSENT), GfsError),
        lambda: fail(assemble(fs, ledger, "old/f"), GfsError),
        lambda: cancelled(fs.append(DIR, ledger, ledger.end), monkeypatch),
        lambda: cancelled(assemble(fs, ledger, "a/b"), monkeypatch),
        lambda: commit(fs, ledger, "a/b"),
        lambda: commit(fs, ledger, "a/b"),
        lambda: publish(fs, ledger, "a/b"),
    ]
    for attempt in tries:
        if kept(root):
            with open(root / "~uploads" / ledger.upload, "ab") as file:
                file.write(b"tail" * (attempt in tries[7:9]))
        await attempt()
        assert count() == before, tries.index(attempt)
    assert await load(fs, "a/b") == b"123456"


async def test_a_writer_that_is_aborted_frees_its_tail(fs: EmbeddedFileSystem, root: Path) -> None:
    ledger = MemoryLedger()
    async with await ledger.appending(fs, DIR) as writer:
        await writer.write(b"12345")
        await ledger.record_rest(writer)
        await feed(writer, content(2 * MIB))
    assert (root / "~uploads" / ledger.upload).read_bytes() == b"12345"


async def test_reading_may_end_early(fs: EmbeddedFileSystem) -> None:
    ledger = MemoryLedger()
    await append(fs, ledger, content(MIB))
    async with await assemble(fs, ledger) as assembly:
        async with aclosing(assembly.read()) as pieces:
            assert len(await anext(pieces)) < MIB
        await assembly.commit()
    assert await load(fs, "f") == content(MIB)
