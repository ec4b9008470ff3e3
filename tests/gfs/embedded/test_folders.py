"""Folders of the embedded engine: what is on the way to a file, what a move does on the disk."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable
from contextlib import aclosing
from pathlib import Path

import pytest

from gfs import clock, linux
from gfs.embedded import folders, listing, tree, walks
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.embedded.folders import Way
from gfs.embedded.gate import Gate
from gfs.errors import (
    AlreadyExists,
    GfsError,
    InvalidName,
    NoSuchFile,
    NoSuchFolder,
    NotAFolder,
    StoreBroken,
    StoreUnavailable,
)
from gfs.paths import MAX_PATH_BYTES
from gfs.types import ABSENT, Usage
from tests.gfs.folder_suite import FolderSuite, plant, shown
from tests.gfs.suite_parts import DIR, entries, load, names, store
from tests.support.mounts import mounted
from tests.support.rooted import place

__all__ = ["place"]


@pytest.fixture
def root(place: Path) -> Path:
    return place / "files"


async def refused(attempt: Awaitable[object], kind: type[GfsError]) -> str:
    with pytest.raises(kind) as caught:
        await attempt
    return str(caught.value)


# What is on the way.


@pytest.fixture(params=["openat2", "one by one"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that has openat2, and one that has not."""
    if request.param == "one by one":
        monkeypatch.setattr("gfs.embedded.folders.open_beneath", lambda *_: None)
        monkeypatch.setattr("gfs.embedded.filesystem.open_cached", lambda *_: None)


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("link", ["real", "../../../outside", "nowhere", None])
async def test_what_is_neither_file_nor_folder_leads_nowhere(
    fs: EmbeddedFileSystem, root: Path, place: Path, link: str | None
) -> None:
    await plant(fs, "a/real/f", "b/f")
    (place / "outside").mkdir()
    (place / "outside" / "f").write_bytes(b"secret")
    odd = root / DIR / "a" / "odd"
    if link is None:
        os.mkfifo(odd)
    else:
        odd.symlink_to(link)
    before = ["a/", "a/real/", "a/real/f", "b/", "b/f"]
    assert await shown(fs) == before
    assert await names(fs) == ["a/real/f", "b/f"]
    assert await fs.usage(DIR) == Usage(2, 3, 11)
    for path in ("a/odd", "a/odd/f", "a/odd/f/g"):
        for call in (fs.stat, fs.open, fs.delete):
            await refused(call(DIR, path), NoSuchFile)
        await refused(fs.move(DIR, path, DIR, "c"), NoSuchFile)
        for change in (fs.stat_folder, fs.remove_folder):
            await refused(change(DIR, path), NoSuchFolder)
        assert await entries(fs, path) == []
        assert await names(fs, prefix=f"{path}/") == []
        assert await fs.usage(DIR, path) == Usage(0, 0, 0)
    for path in ("a/odd/f", "a/odd/f/g"):
        await refused(fs.create(DIR, path), NotAFolder)
        await refused(fs.make_folder(DIR, path), NotAFolder)
        await refused(fs.move(DIR, "b", DIR, path), NotAFolder)
    await refused(fs.make_folder(DIR, "a/odd"), AlreadyExists)
    await refused(fs.move(DIR, "b", DIR, "a/odd", expect_there=ABSENT), AlreadyExists)
    assert await shown(fs) == before
    assert (await fs.move(DIR, "b", DIR, "a/odd")).replaced is None
    assert await load(fs, "a/odd/f") == b"b/f"
    assert os.listdir(place / "outside") == ["f"]
    assert await load(fs, "a/real/f") == b"a/real/f"


@pytest.mark.usefixtures("each_way")
async def test_a_folder_that_becomes_a_link_during_an_upload_is_not_followed(
    fs: EmbeddedFileSystem, root: Path, place: Path
) -> None:
    await plant(fs, "a/f")
    (place / "outside").mkdir()
    async with await fs.create(DIR, "a/new") as writer:
        await writer.write(b"late")
        os.rename(root / DIR / "a", root / DIR / "elsewhere")
        (root / DIR / "a").symlink_to(place / "outside")
        await refused(writer.commit(), NotAFolder)
    assert os.listdir(place / "outside") == []


@pytest.mark.usefixtures("each_way")
async def test_a_file_system_that_is_mounted_at_a_folder_is_not_entered(
    fs: EmbeddedFileSystem, root: Path
) -> None:
    await plant(fs, "a/m/", "b/f")
    with mounted(root / DIR / "a" / "m", "-t", "tmpfs", "sfs-test"):
        (root / DIR / "a" / "m" / "f").write_bytes(b"theirs")
        for attempt in (
            *(fs.stat(DIR, "a/m/f"), fs.create(DIR, "a/m/g"), fs.delete(DIR, "a/m/f")),
            *(fs.make_folder(DIR, "a/m/g"), entries(fs, "a/m"), names(fs), fs.usage(DIR)),
            *(fs.move(DIR, "a/m/f", DIR, "f"), fs.move(DIR, "b", DIR, "a/m/b")),
        ):
            assert "is on another file system" in await refused(attempt, StoreBroken)
        for change in (fs.remove_folder(DIR, "a/m"), fs.move(DIR, "a/m", DIR, "m")):
            assert "mount point: unmount it first" in await refused(change, StoreBroken)
        assert await load(fs, "b/f") == b"b/f"
        assert [entry.name for entry in await entries(fs)] == ["a", "b"]


async def test_names_that_other_programs_made_are_not_listed_where_none_can_be_so(
    fs: EmbeddedFileSystem, root: Path
) -> None:
    await plant(fs, "a/f")
    for bad in (b" blank", b"a\x01", b"back\\slash", b"\xff", b"line\nfeed"):
        os.mkdir(os.fsencode(root / DIR / "a") + b"/" + bad)
        os.close(os.open(os.fsencode(root / DIR / "a") + b"/" + bad + b"/f", os.O_CREAT))
    (root / DIR / "/".join("d" * 33)).mkdir(parents=True)
    (root / DIR / "/".join("d" * 31) / "f").touch()
    (root / DIR / "/".join("d" * 32) / "f").touch()
    long = root / DIR / "/".join(["l" * 250] * 4)
    long.mkdir(parents=True)
    for name in ("x" * 20, "x" * 21):
        (long / name).touch()
    listed = ["a/f", "/".join("d" * 31) + "/f", "/".join(["l" * 250] * 4) + "/" + "x" * 20]
    assert await names(fs) == listed
    counted = await fs.usage(DIR)
    assert (counted.files, counted.folders) == (3, 1 + 32 + 4)
    assert [entry.name for entry in await entries(fs, "a")] == ["f"]
    assert [entry.name for entry in await entries(fs, "/".join(["l" * 250] * 4))] == ["x" * 20]
    assert await entries(fs, "/".join("d" * 32)) == []


# Durability.


def synced(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is made durable from now on: its name."""
    found: set[str] = set()
    real = os.fsync

    def noted(descriptor: int) -> None:
        found.add(os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2])
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return found


async def test_new_folders_are_durable_with_what_is_in_them(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fs.make_folder(DIR, "a")
    found = synced(monkeypatch)
    await store(fs, "a/b/c/f", b"1")
    assert {"a", "b", "c"} <= found
    assert DIR not in found
    found.clear()
    await fs.move(DIR, "a/b/c/f", DIR, "new/place/f")
    assert {DIR, "new", "place", "c"} <= found
    found.clear()
    await fs.remove_folder(DIR, "new/place")
    assert found == {"new"}


async def test_a_publish_into_a_folder_that_is_not_durable_yet_makes_it_so(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one, which made it, may still wait for the disk."""
    sync, began, may = Way.sync, threading.Event(), threading.Event()

    def slow(self: Way) -> None:
        if self.made:
            began.set()
            may.wait(10)
        sync(self)

    monkeypatch.setattr(Way, "sync", slow)
    making = asyncio.create_task(fs.make_folder(DIR, "a/b"))
    await asyncio.to_thread(began.wait, 10)
    found = synced(monkeypatch)
    await store(fs, "a/b/f", b"1")
    assert {DIR, "a", "b"} <= found
    may.set()
    await making
    found.clear()
    await store(fs, "a/b/g", b"1")
    assert not {DIR, "a"} & found


async def test_a_publish_that_fails_leaves_no_folder(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await fs.create(DIR, "a/b/f") as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", failing(errno.EIO))
            await refused(writer.commit(), StoreUnavailable)
    assert await shown(fs) == []


def failing(code: int, calls: int = 1000, real: object = None) -> object:
    """A function that fails with ``code`` for the first ``calls`` of its calls."""

    def call(*args: object, **options: object) -> object:
        nonlocal calls
        if calls:
            calls -= 1
            raise OSError(code, "as ordered")
        return real(*args, **options)  # type: ignore[operator]

    return call


# Moves.


@pytest.mark.parametrize("way", ["no function", "no call", "the call"])
async def test_a_move_onto_nothing_replaces_nothing_of_another_program(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "no function":
        monkeypatch.setattr(linux, "_RENAMEAT2", None)
    elif way == "no call":
        monkeypatch.setattr(linux, "_RENAMEAT2", lambda *_: -1)
        monkeypatch.setattr("ctypes.get_errno", lambda: errno.EINVAL)
    await plant(fs, "a/f", "g")
    await fs.move(DIR, "a", DIR, "b")
    await fs.move(DIR, "g", DIR, "h")
    assert await shown(fs) == ["b/", "b/f", "h"]
    monkeypatch.setattr(Way, "look", lambda _: None)  # they came just after we had looked
    monkeypatch.setattr(tree.Tree, "_entry", came(fs, root))
    if way == "the call":
        await refused(fs.move(DIR, "h", DIR, "i", expect_there=ABSENT), AlreadyExists)
        await refused(fs.move(DIR, "h", DIR, "j"), StoreUnavailable)
        assert (root / DIR / "i").read_bytes() == (root / DIR / "j").read_bytes() == b"theirs"


def came(fs: EmbeddedFileSystem, root: Path) -> object:
    """A look by which another program has put a file there just afterwards."""

    def look(self: tree.Tree, way: Way, directory: str, path: str) -> object:
        if path == "h":
            return fs._tree.find(directory, path)
        (root / directory / path).write_bytes(b"theirs")
        return None

    return look


async def test_a_replacement_that_fails_is_undone(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plant(fs, "a/f", "b/g")
    before = await shown(fs)
    with monkeypatch.context() as patch:
        patch.setattr(tree, "_rename", failing(errno.EIO, 1, tree._rename))
        await refused(fs.move(DIR, "a", DIR, "b"), StoreUnavailable)
    assert await shown(fs) == before
    assert not (root / "~moving").exists()
    await fs.move(DIR, "a", DIR, "b")
    assert await shown(fs) == ["b/", "b/f"]


async def test_a_replacement_that_cannot_be_undone_is_finished_by_the_next_move(
    fs: EmbeddedFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plant(fs, "a/f", "b/g", "c")
    rename = os.rename

    def broken(source: object, *args: object, **options: object) -> None:
        if source == b"a" or str(source).startswith("~trash/"):
            raise OSError(errno.EIO, "as ordered")
        rename(source, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", broken)
        await refused(fs.move(DIR, "a", DIR, "b"), StoreUnavailable)
        assert (root / "~moving").exists()
    await fs.move(DIR, "c", DIR, "d")
    assert await shown(fs) == ["b/", "b/f", "d"]
    assert not (root / "~moving").exists()


@pytest.mark.parametrize("counts_links", [True, False])
async def test_nothing_moves_to_where_it_could_not_be_reached(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch, counts_links: bool
) -> None:
    if not counts_links:
        monkeypatch.setattr(folders, "_LINKS_WITHOUT_FOLDERS", -1)
    deep, long = "/".join("d" * 29), "/".join(["x" * 250] * 3)
    await plant(fs, f"a/{deep}/f", f"b/{long}/{'y' * 250}", "c/f", "c/g/")
    before = await shown(fs)
    for path, to in (
        ("a", "1/2/3"),
        ("b", "b" * 21),
        ("b/" + "x" * 250, "b/" + "x" * 251 + "/" + "x" * 20),
        ("c", "/".join("e" * 32)),
        ("c", "/".join(["e" * 255] * 4)),
    ):
        await refused(fs.move(DIR, path, DIR, to), InvalidName)
    assert await shown(fs) == before
    await fs.move(DIR, "a", DIR, "1/2")
    await fs.move(DIR, "b", DIR, "b" * 20)
    await fs.move(DIR, "c", DIR, "/".join("e" * 31))
    assert len(await names(fs)) == 3
    assert max(len(path.encode()) for path in await names(fs)) == MAX_PATH_BYTES


async def test_what_was_replaced_is_freed(fs: EmbeddedFileSystem, root: Path) -> None:
    await plant(fs, "a/f", "b/g", "c", "d/e")
    await fs.move(DIR, "a", DIR, "b")
    await fs.move(DIR, "c", DIR, "d")
    while fs._emptying:
        await asyncio.sleep(0.01)
    assert os.listdir(root / "~trash") == []
    assert await shown(fs) == ["b/", "b/f", "d"]


# The gate.


def test_whoever_comes_while_the_gate_is_closed_waits() -> None:
    gate, seen = Gate(), []

    def read() -> None:
        with gate.entered():
            seen.append("read")

    with gate.closed():
        assert not gate.enter()
        reading = threading.Thread(target=read)
        reading.start()
        reading.join(0.05)
        assert seen == []
    reading.join()
    assert seen == ["read"]
    assert gate.closings == 1


def test_the_gate_closes_when_nobody_is_inside() -> None:
    gate, seen = Gate(), []

    def close() -> None:
        with gate.closed():
            seen.append("closed")

    with gate.entered():
        assert gate.enter()
        closing = threading.Thread(target=close)
        closing.start()
        while gate.enter():  # until it wants to be closed
            gate.leave()
        gate.leave()
        assert seen == []
        with gate.left():
            closing.join()
            assert seen == ["closed"]
    assert gate.enter()


# Listing.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes and slices of a few names each, and a cache of all."""
    for name, value in (("FIRST_PASS_NAMES", 3), ("PASS_NAMES", 7), ("CACHED_FROM", 2)):
        monkeypatch.setattr(listing, name, value)
    for name, value in (("FIRST_FILES", 2), ("SLICE_FILES", 5), ("SLICE_FOLDERS", 2)):
        monkeypatch.setattr(walks, name, value)
    monkeypatch.setattr(listing, "SETTLED_NS", 0)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seconds", [10, 0])
@pytest.mark.parametrize("small_bytes", [1 << 20, 0])
async def test_lists_are_the_same_in_passes_and_slices_of_any_size(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch, seconds: float, small_bytes: int
) -> None:
    monkeypatch.setattr(walks, "SLICE_SECONDS", seconds)
    monkeypatch.setattr(walks, "SMALL_BYTES", small_bytes)
    await FolderSuite().test_lists_have_their_order_at_every_depth(fs)


async def test_names_are_read_again_if_something_was_replaced_meanwhile(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "SMALL_BYTES", 0)
    await plant(fs, "a/f", "b")
    real, scans = listing.NameCache.names, 0

    def slow(self: listing.NameCache, *args: object) -> list[str]:
        nonlocal scans
        found = real(self, *args)  # type: ignore[arg-type]
        scans += 1
        if scans == 1:
            fs._tree.move(DIR, "b", DIR, "c")
        return found

    monkeypatch.setattr(listing.NameCache, "names", slow)
    assert [entry.name for entry in await entries(fs)] == ["a", "c"]
    assert scans == 2


async def test_a_cached_folder_is_cached_where_it_was_moved_to(
    fs: EmbeddedFileSystem, root: Path
) -> None:
    expected = [f"{n:03}" for n in range(listing.CACHED_FROM)]
    (root / DIR / "a").mkdir()
    for name in expected:
        (root / DIR / "a" / name).touch()
    await asyncio.sleep(listing.SETTLED_NS / 1e9 + 0.02)
    for _ in range(3):
        assert await names(fs) == [f"a/{name}" for name in expected]
    await fs.move(DIR, "a", DIR, "b")
    await plant(fs, "a/new")
    for _ in range(3):
        assert await names(fs) == ["a/new", *(f"b/{name}" for name in expected)]
    assert await names(fs, prefix="b/1", limit=2) == ["b/100", "b/101"]


async def test_a_listing_that_is_given_up_leaves_nothing_open(fs: EmbeddedFileSystem) -> None:
    await plant(fs, *(f"{n}/{m}/f" for n in range(9) for m in range(3)))
    before = len(os.listdir("/proc/self/fd"))
    for listing_ in (fs.list_files(DIR), fs.list_folder(DIR)):
        async with aclosing(listing_) as batches:
            await anext(batches)
        assert len(os.listdir("/proc/self/fd")) == before
    assert not (await fs.usage(DIR, most=5)).complete
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_slow_disk_makes_slices_short(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plant(fs, *(f"a/{n}" for n in range(20)))
    now = 0.0

    def slow() -> float:
        nonlocal now
        now += walks.SLICE_SECONDS / 4
        return now

    monkeypatch.setattr(clock, "monotonic", slow)
    async with aclosing(fs.list_files(DIR)) as batches:
        sizes = [len(batch) async for batch in batches]
    assert sum(sizes) == 20
    assert max(sizes) <= 5
