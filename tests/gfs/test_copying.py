"""Copying between file systems: whole versions, with their times; and the names of what is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from gfs import copying
from gfs.api import Reader
from gfs.copying import Copied, copy_files
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.errors import DataLoss, GfsError, InvalidName, StoreUnavailable
from gfs.paths import MAX_SEGMENTS
from gfs.types import Bytes, Usage
from tests.gfs.suite import DIR, content, load, store


class Broken(Reader):
    """Its bytes break off in the middle."""

    def __init__(self, inner: Reader, error: GfsError) -> None:
        self._inner = inner
        self._error = error
        self.info = inner.info

    async def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        async with aclosing(self._inner.read(start, length // 2)) as pieces:
            async for piece in pieces:
                yield piece
        raise self._error

    async def close(self) -> None:
        await self._inner.close()


class Faulty(EmbeddedFileSystem):
    """``faults``: what the next openings of a name bring; ``opened``: how often each was opened."""

    faults: dict[str, list[GfsError]]
    opened: dict[str, int]
    before_open: Callable[[str], None]

    async def open(self, directory: str, name: str) -> Reader:
        self.opened[name] = self.opened.get(name, 0) + 1
        self.before_open(name)
        reader = await super().open(directory, name)
        faults = self.faults.get(name)
        return Broken(reader, faults.pop(0)) if faults else reader


@pytest.fixture
async def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Faulty]:
    monkeypatch.setattr(copying, "PAUSE_SECONDS", 0.001)
    fs = await Faulty.start(str(tmp_path / "source"))
    assert isinstance(fs, Faulty)
    fs.faults, fs.opened, fs.before_open = {}, {}, lambda _: None
    await fs.make_directory(DIR)
    yield fs
    await fs.close()


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[EmbeddedFileSystem]:
    fs = await EmbeddedFileSystem.start(str(tmp_path / "target"))
    yield fs
    await fs.close()


async def names(fs: EmbeddedFileSystem) -> list[str]:
    async with aclosing(fs.list_files(DIR)) as batches:
        return [info.path async for batch in batches for info in batch]


async def test_all_pages_are_copied_with_their_times(
    source: Faulty, target: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE", 7)
    for number in range(20):
        await store(source, f"{number}", content(number * 1000, number))
    await store(source, "3", content(5, 5))  # replaced: its two times differ
    copied = await copy_files(source, target, [DIR, "absent"])
    assert (copied.files, copied.size) == (20, sum(range(20)) * 1000 - 3000 + 5)
    for number in range(20):
        there, here = [await fs.stat(DIR, f"{number}") for fs in (source, target)]
        assert (here.created_ns, here.modified_ns) == (there.created_ns, there.modified_ns)
        assert await load(target, f"{number}") == await load(source, f"{number}")
    assert await target.usage("absent") == Usage(0, 0, 0)


async def test_folders_are_copied_with_what_is_in_them_and_empty_ones_too(
    source: Faulty, target: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE", 2)
    deepest = "/".join("d" * MAX_SEGMENTS)
    paths = [f"a/{number}/file" for number in range(5)] + ["a/b/c/d", deepest]
    for path in paths:
        await store(source, path, path.encode())
    for folder in ("empty", "a/b/empty/too"):
        await source.make_folder(DIR, folder)
    await target.make_directory(DIR)
    await target.make_folder(DIR, "empty")
    copied = await copy_files(source, target, [DIR])
    assert copied.files == len(paths)
    assert await names(target) == sorted(paths)
    for path in paths:
        assert await load(target, path) == path.encode()
    assert await target.usage(DIR) == await source.usage(DIR)
    await target.stat_folder(DIR, "a/b/empty/too")


async def test_what_is_moved_meanwhile_is_copied_where_it_is_then(
    source: Faulty, target: EmbeddedFileSystem, tmp_path: Path
) -> None:
    """Where the walk has been, when it comes to where the files were."""
    for path in ("a/1", "z/2", "z/y/3"):
        await store(source, path, path.encode())
    top = tmp_path / "source" / DIR

    def move(path: str) -> None:
        if path == "a/1" and (top / "z").exists():
            (top / "z").rename(top / "0")

    source.before_open = move
    assert (await copy_files(source, target, [DIR])).files == 3
    assert await names(target) == ["0/2", "0/y/3", "a/1"]


async def test_what_is_moved_all_the_time_ends_the_copy_at_some_time(
    source: Faulty, target: EmbeddedFileSystem, tmp_path: Path
) -> None:
    await store(source, "a", b"data")
    top = tmp_path / "source" / DIR
    passes = iter("9876543210")

    def move(path: str) -> None:
        (top / path).rename(top / next(passes))

    source.before_open = move
    assert (await copy_files(source, target, [DIR])).files == 0
    assert next(passes) == str(9 - copying.MOST_PASSES)


async def test_a_folder_in_the_place_of_a_file_ends_the_copy(
    source: Faulty, target: EmbeddedFileSystem, tmp_path: Path
) -> None:
    """What was in the place may be lost then."""
    await store(source, "a", b"a")
    await store(source, "b", b"b")
    top = tmp_path / "source" / DIR

    def change(path: str) -> None:
        if path == "b" and (top / "a").is_file():
            (top / "a").unlink()
            (top / "a").mkdir()
            (top / "a" / "c").touch()

    source.before_open = change
    source.faults["b"] = [DataLoss("gone")]
    with pytest.raises(StoreUnavailable, match="in the place of"):
        await copy_files(source, target, [DIR])


async def test_a_file_that_breaks_off_is_copied_again(
    source: Faulty, target: EmbeddedFileSystem
) -> None:
    data = content(300_000)
    await store(source, "a", data)
    source.faults["a"] = [DataLoss("gone"), StoreUnavailable("unavailable"), DataLoss("gone")]
    assert await copy_files(source, target, [DIR]) == Copied(files=1, size=300_000)
    assert await load(target, "a") == data
    assert source.opened["a"] == copying.TRIES


async def test_a_file_that_is_removed_meanwhile_is_no_error(
    source: Faulty, target: EmbeddedFileSystem, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        await store(source, name, b"data")
    source.before_open = lambda _: (tmp_path / "source" / DIR / "a").unlink(missing_ok=True)
    assert await copy_files(source, target, [DIR]) == Copied(files=1, size=4)
    assert await names(target) == ["b"]


async def test_files_without_their_bytes_are_left_out_and_named(
    source: Faulty, target: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "MOST_NAMED", 2)
    for name in ("a", "b", "c", "d"):
        await store(source, name, b"data")
        source.faults[name] = [StoreUnavailable("status 500")] * (copying.TRIES * (name != "d"))
    copied = await copy_files(source, target, [DIR])
    assert (copied.files, copied.lost, len(copied.lost_names)) == (1, 3, 2)
    assert {f"{DIR}/{name}" for name in "abc"} >= set(copied.lost_names)
    assert await names(target) == ["d"]
    monkeypatch.setattr(copying, "MOST_LOST", 2)
    for name in ("a", "b", "c"):
        source.faults[name] = [DataLoss("gone")] * copying.TRIES
    with pytest.raises(StoreUnavailable, match="more than 2 files"):
        await copy_files(source, target, [DIR])


async def test_a_store_that_stays_unavailable_ends_the_copy(
    source: Faulty, target: EmbeddedFileSystem
) -> None:
    await store(source, "a", b"data")

    def fail(_: str) -> None:
        raise StoreUnavailable("unavailable")

    source.before_open = fail
    with pytest.raises(StoreUnavailable, match="unavailable"):
        await copy_files(source, target, [DIR])
    assert await names(target) == []
    with pytest.raises(InvalidName):
        await copy_files(source, target, ["../outside"])


async def test_at_most_eight_files_are_copied_at_a_time(
    source: Faulty, target: EmbeddedFileSystem
) -> None:
    """Each open waits for as many as may be under way, and then whether one more comes."""
    for number in range(3 * copying.PARALLEL):
        await store(source, f"{number}", b"data")
    running, most = 0, 0
    all_run = asyncio.Event()
    opening = source.open

    async def open_together(directory: str, name: str) -> Reader:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == copying.PARALLEL:
            all_run.set()
        await all_run.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        running -= 1
        return await opening(directory, name)

    source.open = open_together  # type: ignore[method-assign]
    async with asyncio.timeout(60):
        assert (await copy_files(source, target, [DIR])).files == 3 * copying.PARALLEL
    assert most == copying.PARALLEL
