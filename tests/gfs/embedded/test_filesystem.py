"""The embedded engine: the suite, and what is special to plain files in a directory."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from unittest.mock import Mock

import pytest

from gfs import clock, linux
from gfs.embedded import listing, tree
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.embedded.infos import file_info
from gfs.embedded.trash import Leftovers
from gfs.errors import AlreadyExists, NoSuchFile, StoreFull, StoreUnavailable
from gfs.types import ABSENT, Usage
from tests.gfs.suite import DIR, FileSystemSuite, content, feed, load, names, store
from tests.gfs.suite_parts import entries
from tests.gfs.upload_suite import Reopen, reopening
from tests.support.waiting import eventually


@pytest.fixture
async def reopen(fs: EmbeddedFileSystem, root: Path) -> AsyncIterator[Reopen]:
    async with reopening(fs, lambda: EmbeddedFileSystem.start(str(root))) as reopen:
        yield reopen


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
    os.mkfifo(root / DIR / "fifo")
    (root / DIR / " spaced ").write_bytes(b"")
    os.close(os.open(os.fsencode(root / DIR) + b"/\xff", os.O_CREAT))
    for name in ("link", "fifo"):
        async with asyncio.timeout(5):
            with pytest.raises(NoSuchFile):
                await fs.open(DIR, name)
    assert await names(fs) == []
    assert await fs.usage(DIR) == Usage(0, 0, 0)


async def test_exclusive_creation_is_right_next_to_another_program(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / DIR / "f").write_bytes(b"theirs")
    monkeypatch.setattr(tree.Tree, "_entry", lambda *_: None)  # they came just after we had looked
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
    await eventually(lambda: os.listdir(root / "~trash"), equals=[])
    await fs.close()


async def test_removed_directories_are_emptied_one_after_the_other(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once would remove each other's files, and both give up."""
    running, most = 0, 0

    def counted(*_: object) -> Leftovers:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1
        return Leftovers()

    monkeypatch.setattr(tree.Tree, "empty_trash", counted)
    for name in ("a", "b", "c"):
        await fs.make_directory(name)
        await fs.remove_directory(name)
    while fs._emptying:
        await asyncio.sleep(0.01)
    assert most == 1


async def test_trash_that_cannot_be_emptied_is_logged_and_does_no_harm(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tree.Tree, "empty_trash", Mock(side_effect=StoreFull("the disk is full")))
    await fs.make_directory("a")
    await fs.remove_directory("a")
    while fs._emptying:
        await asyncio.sleep(0.01)
    assert [record.message for record in caplog.records] == [
        "removed directories still take space: the disk is full"
    ]


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
        raise OSError(errno.ENOSPC, "no space")

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
    monkeypatch.setattr(clock, "unix_ns", lambda: 1_700_000_000_000_000_000)
    versions = {(await store(fs, "f", b"same")).info.version for _ in range(5)}
    assert len(versions) == 5


async def test_a_listing_takes_as_many_passes_as_it_needs(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "FIRST_PASS_NAMES", 7)
    monkeypatch.setattr(listing, "PASS_NAMES", 10)
    expected = [f"{n:03}" for n in range(107)]
    for name in reversed(expected):
        (root / DIR / name).touch()
    assert await names(fs) == expected
    assert await names(fs, after="050", limit=30) == expected[51:81]
    assert await names(fs, prefix="09") == expected[90:100]


async def test_a_list_of_folders_looks_at_no_file(
    fs: EmbeddedFileSystem, root: Path, scans: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_BLOCK_NAMES", 3)
    for number in range(20):
        (root / DIR / f"{number:02}").touch()
    for name in ("00 first", "09 middle", "last"):
        (root / DIR / name).mkdir()
    settle()
    looked = Mock(wraps=file_info)
    monkeypatch.setattr("gfs.embedded.walks.file_info", looked)
    for _ in range(3):  # the third is of names that are cached
        found = await entries(fs, kind="folder")
        assert [entry.name for entry in found] == ["00 first", "09 middle", "last"]
        assert [entry.name for entry in await entries(fs, kind="folder", after="1", limit=1)] == [
            "last"
        ]
    assert len(scans) == 2
    assert not looked.called
    assert len(await entries(fs, kind="file")) == 20


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each scan of a directory."""
    made: list[int] = []
    real = listing.scan

    def counted(folder: int, mark: str) -> Iterator[str]:
        made.append(folder)
        return real(folder, mark)

    monkeypatch.setattr(listing, "scan", counted)
    monkeypatch.setattr(listing, "CACHED_FROM", 1)
    return made


def settle() -> None:
    """Let the last change of every directory become old enough to be trusted."""
    time.sleep(listing.SETTLED_NS / 1e9 + 0.02)


async def test_a_directory_that_does_not_change_is_scanned_twice(
    fs: EmbeddedFileSystem, root: Path, scans: list[int]
) -> None:
    expected = [f"{n:03}" for n in range(600)]
    for name in expected:
        (root / DIR / name).touch()
    (root / DIR / " spaced ").touch()
    settle()
    assert await names(fs) == expected
    assert await names(fs) == expected
    assert len(scans) == 2
    assert await names(fs) == expected
    assert await names(fs, prefix="1", after="150", limit=3) == ["151", "152", "153"]
    (root / DIR / "000").write_bytes(b"grown")  # what is kept is the names, nothing of the files
    async with aclosing(fs.list_files(DIR, limit=1)) as batches:
        assert (await anext(batches))[0].size == 5
    assert len(scans) == 2


def create_and_set_the_time_back(directory: Path) -> None:
    found = directory.stat()
    (directory / "c").touch()
    os.utime(directory, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda fs, _: store(fs, "c", b""), ["a", "b", "c"]),
        (lambda fs, _: fs.delete(DIR, "a"), ["b"]),
        (lambda _, directory: (directory / "c").touch(), ["a", "b", "c"]),
        (lambda _, directory: (directory / "a").unlink(), ["b"]),
        (lambda _, directory: os.rename(directory / "a", directory / "c"), ["b", "c"]),
        (lambda _, directory: os.rename(directory / "a", directory / "b"), ["b"]),
        (lambda _, directory: create_and_set_the_time_back(directory), ["a", "b", "c"]),
    ],
    ids="publish delete create unlink rename replace backdate".split(),
)
async def test_a_listing_sees_the_changes_of_every_program(
    fs: EmbeddedFileSystem,
    root: Path,
    scans: list[int],
    change: Callable[[EmbeddedFileSystem, Path], Awaitable[object] | None],
    expected: list[str],
) -> None:
    for name in ("a", "b"):
        (root / DIR / name).touch()
    settle()
    for _ in range(3):
        assert await names(fs) == ["a", "b"]
    assert len(scans) == 2
    changing = change(fs, root / DIR)
    if changing is not None:
        await changing
    for _ in range(3):
        assert await names(fs) == expected


async def test_a_directory_that_was_made_again_is_another(
    fs: EmbeddedFileSystem, scans: list[int]
) -> None:
    await store(fs, "old", b"")
    settle()
    assert [await names(fs) for _ in range(3)] == [["old"]] * 3
    assert len(scans) == 2
    await fs.remove_directory(DIR)
    assert await names(fs) == []
    await fs.make_directory(DIR)
    assert await names(fs) == []
    await store(fs, "new", b"")
    assert await names(fs) == ["new"]


@pytest.mark.parametrize("trusted_from", [-1, listing.SETTLED_NS - 1, listing.SETTLED_NS])
async def test_a_change_that_is_too_young_or_in_the_future_is_not_trusted(
    fs: EmbeddedFileSystem,
    root: Path,
    scans: list[int],
    monkeypatch: pytest.MonkeyPatch,
    trusted_from: int,
) -> None:
    (root / DIR / "f").touch()
    now = (root / DIR).stat().st_ctime_ns + trusted_from
    monkeypatch.setattr(clock, "unix_ns", lambda: now)
    for _ in range(5):
        assert await names(fs) == ["f"]
    assert len(scans) == (2 if trusted_from == listing.SETTLED_NS else 5)


async def test_pages_come_from_the_names_that_are_kept(
    fs: EmbeddedFileSystem, root: Path, scans: list[int]
) -> None:
    expected = sorted((f"{'aé😀'[n % 3]}{n * 7919 % 5000:04}" for n in range(5000)), key=str.encode)
    for name in expected:
        (root / DIR / name).touch()
    settle()
    for limit in (700, 4999, 5000):
        found: list[str] = []
        while page := await names(fs, limit=limit, after=found[-1] if found else ""):
            found += page
        assert found == expected
    assert len(scans) == 2
    assert await names(fs, prefix="é") == [name for name in expected if name[0] == "é"]


class Cache:
    """A NameCache, asked for the names of directories by their paths."""

    def __init__(self, place: Path) -> None:
        self.inner = listing.NameCache()
        self._place = place

    def names(self, directory: str, prefix: str, after: str, keep: int) -> list[str]:
        folder = os.open(self._place / directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return self.inner.names(folder, listing.LEVEL, prefix, after, keep)
        finally:
            os.close(folder)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def plant(directory: Path, *found: str) -> None:
    directory.mkdir()
    for name in found:
        (directory / name).touch()


def test_kept_names_are_found_wherever_one_begins(
    cache: Cache, tmp_path: Path, scans: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_BLOCK_NAMES", 3)
    monkeypatch.setattr(listing, "_RUN_NAMES", 5)
    present = ["a", "a b", "aa", "aaa", "ab", "b", "ü", "\uffee", "😀", "😀b", "Z"]
    plant(tmp_path / "d", *present, "a\n", "\udcff")
    settle()
    for _ in range(2):
        assert cache.names("d", "", "", 100) == sorted(present)
    asked = [*present, "", "A", "aab", "a\0", "\0", "\ud800", "\U0010ffff", "aaaa", "c"]
    for prefix in asked:
        for after in asked:
            wanted = [n for n in sorted(present) if n > after and n.startswith(prefix)]
            for keep in (1, 2, 100):
                assert cache.names("d", prefix, after, keep) == wanted[:keep], (prefix, after)
    assert len(scans) == 2


def test_the_names_used_last_are_kept(
    cache: Cache, tmp_path: Path, scans: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for directory in "abcd":
        plant(tmp_path / directory, *(f"{directory}{n:03}" for n in range(100)))
    settle()

    def scanned(directory: str) -> int:
        before = len(scans)
        assert len(cache.names(directory, "", "", 1000)) == 100
        return len(scans) - before

    monkeypatch.setattr(listing, "CACHE_BYTES", 3 * (512 + 100 * (16 + 4)))
    for directory in "abc":
        assert [scanned(directory) for _ in range(3)] == [1, 1, 0]
    assert scanned("a") == 0
    assert [scanned("d") for _ in range(3)] == [1, 1, 0]  # drops "b" to make space
    assert [scanned(directory) for directory in "acd"] == [0, 0, 0]
    assert [scanned("b") for _ in range(3)] == [1, 1, 0]
    assert scanned("a") == 1


@pytest.mark.parametrize("letter", ["a", "😀"])
def test_names_that_do_not_fit_into_the_cache_are_listed_in_passes(
    cache: Cache,
    tmp_path: Path,
    scans: list[int],
    monkeypatch: pytest.MonkeyPatch,
    letter: str,
) -> None:
    """Whether that is seen while they are gathered, or by what they are in UTF-8."""
    monkeypatch.setattr(listing, "CACHE_BYTES", 512 + (400 if letter == "a" else 450) * (16 + 43))
    monkeypatch.setattr(listing, "_RUN_NAMES", 50)
    gathered = Mock(wraps=listing._gather)
    monkeypatch.setattr(listing, "_gather", gathered)
    expected = [letter * 40 + f"{n:03}" for n in range(425)]
    plant(tmp_path / "d", *expected)
    settle()
    for _ in range(4):
        assert cache.names("d", "", "", 1000) == expected
        assert cache.names("d", "", expected[99], 10) == expected[100:110]
    assert len(scans) == 4 * 2
    assert gathered.call_count == 1


def test_one_thread_gathers_and_the_others_do_not_wait(
    cache: Cache, tmp_path: Path, scans: list[int]
) -> None:
    plant(tmp_path / "d", "a", "b")
    settle()
    with cache.inner._gathering:
        assert [cache.names("d", "", "", 9) for _ in range(3)] == [["a", "b"]] * 3
    assert len(scans) == 3
    assert [cache.names("d", "", "", 9) for _ in range(3)] == [["a", "b"]] * 3
    assert len(scans) == 4


def test_threads_list_what_changes_and_what_does_not(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "CACHE_BYTES", 2 * (512 + 300 * (16 + 3)))
    stay = [f"{n:03}" for n in range(300)]
    for directory in "abc":
        plant(tmp_path / directory, *stay)
    settle()
    ends = time.monotonic() + 0.5

    def lists(directory: str) -> int:
        done = 0
        while time.monotonic() < ends:
            assert [n for n in cache.names(directory, "", "", 1000) if n in stay] == stay
            done += 1
        return done

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(lists, directory) for directory in "abcabc"]
        while time.monotonic() < ends:
            (tmp_path / "c" / "comes").touch()
            assert "comes" in cache.names("c", "", "", 1000)
            (tmp_path / "c" / "comes").unlink()
            assert "comes" not in cache.names("c", "", "", 1000)
            time.sleep(0.001)
        assert all(thread.result() for thread in running)


def test_the_page_cache_can_be_asked(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(100_000))
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor = linux.open_cached(root, b"f", os.O_RDONLY)
        if descriptor is None:
            pytest.skip("this kernel has no openat2 with RESOLVE_CACHED, or forbids it")
        try:
            os.fsync(descriptor)
            os.pread(descriptor, 100_000, 0)
            if not linux.resident(descriptor, 0, 1):
                pytest.skip("this kernel has no cachestat, or forbids it")
            assert linux.resident(descriptor, 5000, 95_000)
            assert not linux.resident(descriptor, 90_000, 1_000_000)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            assert not linux.resident(descriptor, 0, 100_000)
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
        return linux.open_cached(root, path, os.O_RDONLY) is None
    except OSError:
        return True


async def test_the_id_of_a_store_outlives_its_process_and_is_no_others(tmp_path: Path) -> None:
    found = []
    for root in ("a", "b", "a"):
        fs = await EmbeddedFileSystem.start(str(tmp_path / root))
        found.append(await fs.identity())
        await fs.close()
    assert found[0] == found[2] != found[1]
    assert stat.S_IMODE((tmp_path / "a" / "~id").stat().st_mode) == 0o600


@pytest.mark.parametrize("damaged", [b"", b"x" * 32, b"0" * 33, "é".encode()])
async def test_a_damaged_id_is_refused(fs: EmbeddedFileSystem, root: Path, damaged: bytes) -> None:
    (root / "~id").write_bytes(damaged)
    with pytest.raises(StoreUnavailable, match="damaged"):
        await fs.identity()
    (root / "~id").unlink()
    assert await fs.identity() == await fs.identity()
