"""The embedded engine: the suite, and what is special to plain files in a directory."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gfs import pagecache
from gfs.embedded import listing, tree
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.errors import AlreadyExists, NoSuchFile, StoreFull, StoreUnavailable
from gfs.types import ABSENT
from tests.gfs.suite import DIR, FileSystemSuite, content, feed, load, names, store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
async def fs(root: Path) -> AsyncIterator[EmbeddedFileSystem]:
    fs = await EmbeddedFileSystem.start(str(root))
    await fs.make_directory(DIR)
    yield fs
    await fs.close()


class TestEmbedded(FileSystemSuite):
    """The conformance suite."""


def leftovers(root: Path) -> list[str]:
    return os.listdir(root / "~tmp")


async def test_a_file_is_a_plain_file(fs: EmbeddedFileSystem, root: Path) -> None:
    await store(fs, "ü.txt", b"hello")
    assert (root / DIR / "ü.txt").read_bytes() == b"hello"
    assert leftovers(root) == []


async def test_a_file_that_was_copied_in_is_served(fs: EmbeddedFileSystem, root: Path) -> None:
    (root / DIR / "by hand").write_bytes(b"1")
    assert await load(fs, "by hand") == b"1"
    first = await fs.stat(DIR, "by hand")
    time.sleep(0.01)
    (root / DIR / "by hand").write_bytes(b"2")
    assert (await fs.stat(DIR, "by hand")).version != first.version


@pytest.mark.parametrize("cached", [False, True])
async def test_what_is_not_a_plain_file_does_not_exist(
    fs: EmbeddedFileSystem,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cached: bool,
) -> None:
    if not cached:
        monkeypatch.setattr("gfs.embedded.filesystem.open_cached", lambda *_: None)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (root / DIR / "link").symlink_to(secret)
    (root / DIR / "directory").mkdir()
    os.mkfifo(root / DIR / "fifo")
    (root / DIR / " spaced ").write_bytes(b"")
    os.close(os.open(os.fsencode(root / DIR) + b"/\xff", os.O_CREAT))
    for name in ("link", "directory", "fifo"):
        async with asyncio.timeout(5):
            with pytest.raises(NoSuchFile):
                await fs.open(DIR, name)
    assert await names(fs) == []
    assert await fs.count(DIR) == 0


async def test_exclusive_creation_is_right_beside_a_program_that_is_not_ours(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / DIR / "f").write_bytes(b"theirs")
    monkeypatch.setattr(tree.Tree, "look", lambda *_: None)  # they came just after we had looked
    with pytest.raises(AlreadyExists):
        await store(fs, "f", b"ours", expect=ABSENT)
    assert (root / DIR / "f").read_bytes() == b"theirs"
    assert leftovers(root) == []


async def test_every_way_out_of_an_upload_leaves_no_temporary_file(
    fs: EmbeddedFileSystem, root: Path
) -> None:
    for delay in (0.0, 0.001, 0.003, 0.01):
        task = asyncio.create_task(store(fs, "f", content(3_000_000)))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert leftovers(root) == []
    writer = await fs.create(DIR, "f")
    await feed(writer, content(3_000_000))
    await writer.abort()
    assert leftovers(root) == []


async def test_an_abort_that_is_cancelled_twice_is_still_an_abort(
    fs: EmbeddedFileSystem, root: Path
) -> None:
    writer = await fs.create(DIR, "f")
    await feed(writer, content(2_000_000))
    task = asyncio.create_task(writer.abort())
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leftovers(root) == []


async def test_descriptors_are_given_back(fs: EmbeddedFileSystem) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    await store(fs, "f", content(1_000_000))
    before = count()
    for _ in range(20):
        await store(fs, "f", content(100_000))
        await load(fs, "f")
        with pytest.raises(NoSuchFile):
            await fs.open(DIR, "absent")
        task = asyncio.create_task(fs.open(DIR, "f"))
        await asyncio.sleep(0)
        task.cancel()
        for opened in await asyncio.gather(task, return_exceptions=True):
            if not isinstance(opened, BaseException):
                await opened.close()
    assert count() == before


async def test_an_open_that_is_cancelled_in_its_thread_leaves_nothing_open(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(fs, "f", b"1")
    real = tree.Tree.open

    def slow(self: tree.Tree, directory: str, name: str) -> int:
        time.sleep(0.05)
        return real(self, directory, name)

    monkeypatch.setattr(tree.Tree, "open", slow)
    monkeypatch.setattr("gfs.embedded.filesystem.open_cached", lambda *_: None)
    before = len(os.listdir("/proc/self/fd"))
    task = asyncio.create_task(fs.open(DIR, "f"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_start_removes_what_a_crash_left(root: Path) -> None:
    fs = await EmbeddedFileSystem.start(str(root))
    await fs.make_directory(DIR)
    await store(fs, "kept", b"1")
    await fs.close()
    (root / "~tmp" / "unfinished").write_bytes(b"half")
    (root / "~trash" / "removed").mkdir()
    (root / "~trash" / "removed" / "file").write_bytes(b"old")
    fs = await EmbeddedFileSystem.start(str(root))
    assert fs.swept == 1
    assert leftovers(root) == []
    assert await load(fs, "kept") == b"1"
    async with asyncio.timeout(5):
        while os.listdir(root / "~trash"):
            await asyncio.sleep(0.01)
    await fs.close()


async def test_a_directory_has_one_owner(fs: EmbeddedFileSystem, root: Path) -> None:
    with pytest.raises(StoreUnavailable, match="another process"):
        await EmbeddedFileSystem.start(str(root))
    await store(fs, "f", b"1")


@pytest.mark.parametrize("call", ["writev", "fsync", "utime"])
async def test_a_full_disk_says_so_and_publishes_nothing(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    await store(fs, "f", b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StoreFull):
            await store(fs, "f", content(3_000_000))
    assert await load(fs, "f") == b"old"
    assert leftovers(root) == []


async def test_a_short_write_is_continued(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(descriptor: int, batch: list[bytes]) -> int:
        return os.write(descriptor, bytes(batch[0][:1000]))

    data = content(700_000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", short)
        await store(fs, "f", data, piece=3001)
    assert await load(fs, "f") == data


@pytest.mark.parametrize("cached", [False, True])
async def test_pages_that_are_not_in_memory_are_read_by_a_thread(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    data = content(1_500_000)
    await store(fs, "f", data)
    if not cached:
        monkeypatch.setattr("gfs.embedded.reader._NOWAIT", 0)
    assert await load(fs, "f", 3, 1_400_000) == data[3:1_400_003]


async def test_a_short_read_is_continued(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content(100_000)
    await store(fs, "f", data)
    real = os.preadv

    def short(descriptor: int, buffers: list[bytearray], start: int, flags: int = 0) -> int:
        return real(descriptor, [memoryview(buffers[0])[:777]], start, flags)

    monkeypatch.setattr(os, "preadv", short)
    assert await load(fs, "f") == data


async def test_a_file_of_a_foreign_clock_and_of_no_attributes(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no attributes")

    monkeypatch.setattr(os, "setxattr", unsupported)
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    versions = {(await store(fs, "f", b"same")).info.version for _ in range(5)}
    assert len(versions) == 5


async def test_a_listing_takes_as_many_passes_as_it_needs(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "FIRST_PASS", 7)
    monkeypatch.setattr(listing, "PASS", 10)
    expected = [f"{n:03}" for n in range(107)]
    for name in reversed(expected):
        (root / DIR / name).touch()
    assert await names(fs) == expected
    assert await names(fs, after="050", limit=30) == expected[51:81]
    assert await names(fs, prefix="09") == expected[90:100]


def test_the_page_cache_can_be_asked(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(100_000))
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor = pagecache.open_cached(root, b"f", os.O_RDONLY)
        if descriptor is None:
            pytest.skip("this kernel has no openat2 with RESOLVE_CACHED, or forbids it")
        try:
            os.fsync(descriptor)
            os.pread(descriptor, 100_000, 0)
            if not pagecache.resident(descriptor, 0, 1):
                pytest.skip("this kernel has no cachestat, or forbids it")
            assert pagecache.resident(descriptor, 5000, 95_000)
            assert not pagecache.resident(descriptor, 90_000, 1_000_000)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            assert not pagecache.resident(descriptor, 0, 100_000)
        finally:
            os.close(descriptor)
        (tmp_path / "out").symlink_to("/etc/passwd")
        for path in (b"absent", b"../f", b"out"):
            assert cannot_open(root, path)
    finally:
        os.close(root)


def cannot_open(root: int, path: bytes) -> bool:
    """Refused, or left to a thread."""
    try:
        return pagecache.open_cached(root, path, os.O_RDONLY) is None
    except OSError:
        return True
