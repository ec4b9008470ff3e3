"""Folders of the cluster engine: the filer's own tree, at any depth, true in every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext, suppress
from dataclasses import replace
from functools import partial

import pytest

from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.waiting import eventually

# The engine's libraries are there from here on.
from gfs.errors import (  # isort: skip
    AlreadyExists,
    FolderTooLarge,
    IsFolder,
    MovesIntoItself,
    NoSuchDirectory,
    NoSuchFile,
    NoSuchFolder,
    NotAFolder,
    StoreBroken,
    StoreUnavailable,
    VersionMismatch,
)
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.servers.filer import Filers  # isort: skip
from gfs.types import ABSENT, ANYTHING, Expect, FileInfo, FolderInfo  # isort: skip
from tests.gfs.suite import CHUNK, DIR, content, load, store  # isort: skip
from tests.gfs.seaweedfs.test_directories import nothing_is_emptied  # isort: skip
from tests.gfs.seaweedfs.test_filesystem import fs  # isort: skip

__all__ = ["cluster", "fs", "seaweed"]

TOP = f"/sfs/{DIR}"
REGISTER = "/sfs/~removed"


@pytest.fixture
async def other(cluster: Cluster) -> AsyncIterator[SeaweedFileSystem]:
    """Another process on the same store."""
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        yield other
    finally:
        await other.close()


async def paths(fs: SeaweedFileSystem, directory: str = DIR) -> list[str]:
    async with aclosing(fs.list_files(directory)) as batches:
        return [info.path async for batch in batches for info in batch]


async def tree(fs: SeaweedFileSystem, place: str = TOP) -> list[str]:
    """What the filer has below ``place``."""
    found = []
    async with aclosing(fs._filers.listing(place, prefix="", after="", limit=1000)) as listed:
        entries = [entry async for entry in listed]
    for entry in entries:
        found.append(entry.name)
        if entry.is_directory:
            inner = await tree(fs, f"{place}/{entry.name}")
            found += [f"{entry.name}/{below}" for below in inner]
    return found


async def test_files_are_in_the_tree_of_the_filer(
    fs: SeaweedFileSystem, other: SeaweedFileSystem, cluster: Cluster
) -> None:
    await store(fs, "a/b/c", content(10))
    assert await tree(fs) == ["a", "a/b", "a/b/c"]
    assert cluster.get(cluster.filer, f"{TOP}/a/b/c") == content(10)
    for each in (fs, other):
        assert (await each.stat(DIR, "a/b/c")).path == "a/b/c"
        assert await load(each, "a/b/c") == content(10)
        assert (await each.stat_folder(DIR, "a/b")).name == "b"
        for folder in ("a", "a/b"):
            with pytest.raises(IsFolder):
                await each.stat(DIR, folder)
            with pytest.raises(IsFolder):
                await each.create(DIR, folder)
            with pytest.raises(AlreadyExists):
                await each.create(DIR, folder, expect=ABSENT)
            with pytest.raises(IsFolder):
                await each.delete(DIR, folder)
        with pytest.raises(NotAFolder):
            await each.create(DIR, "a/b/c/d")
        with pytest.raises(NoSuchFile):
            await each.stat(DIR, "a/b/c/d")
        with pytest.raises(NoSuchFolder):
            await each.stat_folder(DIR, "a/b/c")
    assert (await other.delete(DIR, "a/b/c")).size == 10
    assert await tree(fs) == ["a", "a/b"]


async def test_what_other_programs_put_into_folders_is_served(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    cluster.put(f"{TOP}/theirs/deep/f", b"theirs")
    assert (await fs.stat_folder(DIR, "theirs/deep")).path == "theirs/deep"
    assert await load(fs, "theirs/deep/f") == b"theirs"
    await store(fs, "theirs/deep/g", b"ours")
    assert await paths(fs) == ["theirs/deep/f", "theirs/deep/g"]
    await fs.remove_folder(DIR, "theirs")
    assert await paths(fs) == []


async def test_many_uploads_make_their_folders_together(
    fs: SeaweedFileSystem, other: SeaweedFileSystem
) -> None:
    names = [f"a/b/{number % 3}/f{number:02}" for number in range(40)]
    both = [fs, other]
    await asyncio.gather(*(store(both[n % 2], name, b"x") for n, name in enumerate(names)))
    assert await paths(fs) == sorted(names)


async def test_a_file_below_a_folder_costs_no_call_while_it_is_cached(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(fs, "a/b/c/d/e", b"x")
    await eventually(lambda: fs._cache.in_use)
    await load(fs, "a/b/c/d/e")
    await asyncio.sleep(0.1)
    await fs.stat(DIR, "a/b/c/d/e")

    async def none(*_: object, **__: object) -> None:
        raise AssertionError("a call")

    monkeypatch.setattr(Filers, "lookup", none)
    assert isinstance(await fs.stat(DIR, "a/b/c/d/e"), FileInfo)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_folder_is_removed_at_once_and_can_be_made_again(
    fs: SeaweedFileSystem,
    other: SeaweedFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    kept: bool,
) -> None:
    """``kept``: its old entries are still there for a while."""
    await store(fs, "a/b/f", content(10))
    await store(fs, "a/b/deep/f", content(10))
    for each in (fs, other):
        await load(each, "a/b/f")
        await load(each, "a/b/deep/f")
    async with await fs.create(DIR, "a/b/deep/late") as late:
        with nothing_is_emptied(monkeypatch):
            await fs.remove_folder(DIR, "a/b")
            assert await tree(fs) == ["a", "a/b", "a/b/deep", "a/b/deep/f", "a/b/f"]
            await asyncio.sleep(0.1)  # by then every process was notified
            for each in (fs, other):
                for path in ("a/b/f", "a/b/deep/f"):
                    with pytest.raises(NoSuchFile):
                        await each.stat(DIR, path)
                with pytest.raises(NoSuchFolder):
                    await each.stat_folder(DIR, "a/b")
                with pytest.raises(NoSuchFolder):
                    await each.remove_folder(DIR, "a/b")
                assert await paths(each) == []
            with pytest.raises(NoSuchFolder):
                await late.commit()
            if kept:
                await store(other, "a/b/f", b"new")
        if not kept:
            await store(other, "a/b/f", b"new")
        with pytest.raises(NoSuchFolder):
            await late.commit()
    for each in (fs, other):
        await eventually(partial(paths, each), equals=["a/b/f"])
        assert await load(each, "a/b/f") == b"new"
    await store(fs, "a/b/f", b"newer")
    await asyncio.sleep(0.1)
    assert await load(other, "a/b/f") == b"newer"
    await fs.remove_folder(DIR, "a/b")
    await fs._directories._empty((f"{TOP}/a", "b"))
    assert await tree(fs) == ["a"]


async def test_a_file_moves_with_its_version_and_times(
    fs: SeaweedFileSystem, other: SeaweedFileSystem
) -> None:
    data = content(3 * CHUNK)
    before = (await store(fs, "a/f", data)).info
    await store(fs, "b/old", content(CHUNK))
    for each in (fs, other):
        await load(each, "a/f")
        await load(each, "b/old")
    async with await other.open(DIR, "a/f") as reader:
        moved = await fs.move(DIR, "a/f", DIR, "b/old")
        assert moved.entry == replace(before, path="b/old")
        assert moved.replaced is not None
        assert moved.replaced.path == "b/old"
        moved = await fs.move(DIR, "b/old", DIR, "new/deep/g")
        assert moved.replaced is None
        await asyncio.sleep(0.1)  # by then every process was notified
        async with aclosing(reader.read(0, len(data))) as pieces:
            assert b"".join([bytes(piece) async for piece in pieces]) == data
    for each in (fs, other):
        assert await each.stat(DIR, "new/deep/g") == replace(before, path="new/deep/g")
        assert await load(each, "new/deep/g") == data
        for path in ("a/f", "b/old"):
            with pytest.raises(NoSuchFile):
                await each.stat(DIR, path)
    assert await tree(fs) == ["a", "b", "new", "new/deep", "new/deep/g"]


async def test_a_folder_moves_with_everything_in_it_and_is_forgotten_everywhere(
    fs: SeaweedFileSystem, other: SeaweedFileSystem
) -> None:
    infos = {path: (await store(fs, f"a/{path}", b"x")).info for path in ("f", "b/f", "b/c/f")}
    await fs.make_folder(DIR, "a/empty")
    await fs.make_directory("another")
    for each in (fs, other):
        for path in infos:
            await load(each, f"a/{path}")
    async with await other.create(DIR, "a/b/late") as late:
        # The name of the target begins with that of the source.
        moved = await fs.move(DIR, "a", DIR, "ab/c")
        assert isinstance(moved.entry, FolderInfo)
        assert moved.entry.path == "ab/c"
        with pytest.raises(NoSuchFolder):
            await late.commit()
    await asyncio.sleep(0.1)
    await fs.move(DIR, "ab/c", "another", "d")
    await asyncio.sleep(0.1)
    for each in (fs, other):
        assert await paths(each) == []
        with pytest.raises(NoSuchFolder):
            await each.stat_folder(DIR, "a")
        for path, info in infos.items():
            for gone in (f"a/{path}", f"ab/c/{path}"):
                with pytest.raises(NoSuchFile):
                    await each.stat(DIR, gone)
            now = await each.stat("another", f"d/{path}")
            assert now == replace(info, directory="another", path=f"d/{path}")
        assert (await each.stat_folder("another", "d/empty")).name == "empty"


@pytest.mark.parametrize("source", ["file", "folder"])
@pytest.mark.parametrize("there", ["file", "folder", "removed", "again"])
async def test_what_is_at_the_target_is_replaced_as_a_whole(
    fs: SeaweedFileSystem,
    other: SeaweedFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    there: str,
) -> None:
    monkeypatch.setattr("gfs.seaweedfs.directories.EMPTY_FIRST_SECONDS", 5)
    registered = await tree(fs, REGISTER)
    mine = "s" if source == "file" else "s/in/f"
    old = "t" if there == "file" else "t/old"
    await store(fs, mine, b"mine")
    await store(fs, old, b"old")
    if there in ("removed", "again"):
        with nothing_is_emptied(monkeypatch):
            await fs.remove_folder(DIR, "t")
            if there == "again":
                await store(fs, "t/again", b"again")
    if source == "file" and there == "again":
        with pytest.raises(FolderTooLarge, match="remove it first"):
            await fs.move(DIR, "s", DIR, "t")
        return
    with pytest.raises(AlreadyExists) if there != "removed" else nullcontext():
        await fs.move(DIR, "s", DIR, "t", expect_there=ABSENT)
    if there != "removed":
        moved = await fs.move(DIR, "s", DIR, "t")
        assert isinstance(moved.replaced, FileInfo if there == "file" else FolderInfo)
    wanted = mine.replace("s", "t", 1)
    await asyncio.sleep(0.1)
    for each in (fs, other):
        assert await paths(each) == [wanted]
        assert await load(each, wanted) == b"mine"
    parts = wanted.split("/")
    natural = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    await eventually(partial(tree, fs), equals=natural)
    if there in ("file", "folder"):
        await eventually(partial(tree, fs, REGISTER), equals=registered)


async def test_a_folder_that_replaced_a_large_one_moves_on_from_its_other_place(
    fs: SeaweedFileSystem, other: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s1", "s2", "s3"):
        await store(fs, f"{name}/f", name.encode())
    await store(fs, "t/old", b"old")
    with nothing_is_emptied(monkeypatch):
        for name in ("s1", "s2", "s3"):
            await fs.move(DIR, name, DIR, "t")
            await asyncio.sleep(0.1)
            for each in (fs, other):
                assert await paths(each) == sorted(
                    ["t/f", *(f"{one}/f" for one in ("s2", "s3") if one > name)]
                )
                assert await load(each, "t/f") == name.encode()
        await fs.move(DIR, "t", DIR, "u/v")
        await asyncio.sleep(0.1)
        for each in (fs, other):
            assert await paths(each) == ["u/v/f"]
            with pytest.raises(NoSuchFolder):
                await each.stat_folder(DIR, "t")
    await fs._directories._empty((TOP, "t"))
    assert await tree(fs) == ["u", "u/v", "u/v/f"]


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        (("a", "a"), MovesIntoItself),
        (("a", "a/b/x"), MovesIntoItself),
        (("a/b", "a"), MovesIntoItself),
        (("nothing", "x"), NoSuchFile),
        (("nothing/at/all", "x"), NoSuchFile),
        (("a/f/x", "x"), NoSuchFile),
        (("a", "f/x"), NotAFolder),
    ],
)
async def test_a_move_that_cannot_be_changes_nothing(
    fs: SeaweedFileSystem, ends: tuple[str, str], error: type[Exception]
) -> None:
    await store(fs, "a/b/f", b"1")
    await store(fs, "a/f", b"1")
    await store(fs, "f", b"1")
    with pytest.raises(error):
        await fs.move(DIR, ends[0], DIR, ends[1])
    with pytest.raises(VersionMismatch):
        await fs.move(DIR, "f", DIR, "x", expect=Expect(versions=frozenset({"other"})))
    with pytest.raises(NoSuchDirectory):
        await fs.move(DIR, "f", "nowhere", "x")
    assert await tree(fs) == ["a", "a/b", "a/b/f", "a/f", "f"]


async def test_a_folder_of_too_many_entries_is_refused(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs.seaweedfs.moving.MOST_ENTRIES", 5)
    monkeypatch.setattr("gfs.seaweedfs.moving.PAGE", 2)
    for number in range(4):
        await store(fs, f"a/b/{number}", b"")
    await fs.move(DIR, "a", DIR, "c")
    await store(fs, "c/5", b"")
    with pytest.raises(FolderTooLarge, match="more than 5 entries"):
        await fs.move(DIR, "c", DIR, "new/d")
    assert len(await paths(fs)) == 5
    with pytest.raises(NoSuchFolder):
        await fs.stat_folder(DIR, "new")


async def test_what_was_removed_below_a_folder_that_moved_is_deleted_where_it_is(
    fs: SeaweedFileSystem,
    other: SeaweedFileSystem,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await store(fs, "a/b/f", b"1")
    await store(fs, "a/f", b"1")
    with nothing_is_emptied(monkeypatch):
        await fs.remove_folder(DIR, "a/b")
        await fs.move(DIR, "a", DIR, "c")
        assert await paths(fs) == await paths(other) == ["c/f"]
        assert await tree(fs) == ["c", "c/b", "c/b/f", "c/f"]
    monkeypatch.setattr("gfs.seaweedfs.directories.ROUND_SECONDS", 0.2)
    later = await SeaweedFileSystem.start(cluster.masters)
    try:
        await eventually(partial(tree, fs), equals=["c", "c/f"])
    finally:
        await later.close()


async def test_uploads_into_a_folder_that_moves_lose_nothing(
    fs: SeaweedFileSystem,
) -> None:
    published: list[str] = []

    async def upload(number: int) -> None:
        for turn in range(6):
            for folder in ("a", "b"):
                try:
                    name = f"{folder}/in/{number}-{turn}"
                    await store(fs, name, b"1")
                    published.append(f"{number}-{turn}")
                except NoSuchFolder:
                    pass

    async def move() -> None:
        for _ in range(5):
            for here, there in (("a", "b"), ("b", "a")):
                with suppress(NoSuchFile, AlreadyExists):
                    await fs.move(DIR, here, DIR, there, expect_there=ABSENT)
                await asyncio.sleep(0.01)

    await store(fs, "a/in/first", b"1")
    await asyncio.gather(*(upload(number) for number in range(10)), move())
    found = [path.rpartition("/")[2] for path in await paths(fs)]
    assert set(published) <= set(found)


async def test_a_folder_that_is_half_moved_is_not_taken_for_one_that_was_there(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store without transactions does not undo what it did before something failed."""
    await store(fs, "a/f", b"1")
    await store(fs, "a/g", b"1")
    rename = Filers.rename

    async def fails(self: Filers, place: str, to: str, seconds: float) -> None:
        folder = await self.lookup(*place.rsplit("/", 1))
        assert folder is not None
        folder.name = to.rpartition("/")[2]
        await self.create(to.rpartition("/")[0], folder, over=None)
        await rename(self, f"{place}/f", f"{to}/f", seconds)
        raise VersionMismatch("refused")

    with monkeypatch.context() as patch:
        patch.setattr(Filers, "rename", fails)
        with pytest.raises(StoreBroken, match="without transactions"):
            await fs.move(DIR, "a", DIR, "b")
    assert await paths(fs) == ["a/g", "b/f"]


@pytest.mark.parametrize("moved", [False, True])
async def test_what_a_killed_process_put_aside_is_put_back_unless_it_was_replaced(
    fs: SeaweedFileSystem,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    moved: bool,
) -> None:
    """``moved``: it was killed after the move and not before it."""
    await store(fs, "f", b"mine")
    await store(fs, "t/old", b"old")
    rename = Filers.rename

    async def dies(self: Filers, place: str, to: str, seconds: float) -> None:
        if "\\" in to:
            await rename(self, place, to, seconds)
        else:
            if moved:
                await rename(self, place, to, seconds)
            patch.setattr(Filers, "rename", never)
            await asyncio.Event().wait()

    async def never(self: Filers, place: str, to: str, seconds: float) -> None:
        raise StoreUnavailable("it is dead")

    dying = await SeaweedFileSystem.start(cluster.masters)
    with monkeypatch.context() as patch, nothing_is_emptied(monkeypatch):
        patch.setattr(Filers, "rename", dies)
        moving = asyncio.create_task(dying._mover.move(DIR, "f", DIR, "t", ANYTHING, ANYTHING))
        await eventually(lambda: Filers.rename is never)
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
        await dying.close()
    monkeypatch.setattr("gfs.seaweedfs.directories.ROUND_SECONDS", 0.2)
    later = await SeaweedFileSystem.start(cluster.masters)
    try:
        wanted = ["t"] if moved else ["f", "t", "t/old"]
        await eventually(partial(tree, fs), equals=wanted)
        assert await paths(later) == (["t"] if moved else ["f", "t/old"])
    finally:
        await later.close()


async def test_what_a_killed_process_has_removed_another_one_deletes(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs.seaweedfs.directories.ROUND_SECONDS", 0.2)
    for number in range(30):
        await store(fs, f"a/b c/{number % 3}/{number}", b"1")
    killed = await SeaweedFileSystem.start(cluster.masters)
    with nothing_is_emptied(monkeypatch):
        await killed.remove_folder(DIR, "a/b c")
        await killed.make_folder(DIR, "a/b c")
        await killed.remove_folder(DIR, "a/b c")
    await killed.close()
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        await eventually(partial(tree, other), equals=["a"])
    finally:
        await other.close()


async def test_where_directories_are_buckets_nothing_moves_from_one_to_another(
    cluster: Cluster,
) -> None:
    """The filer keeps each bucket apart, and refuses it."""
    fs = await SeaweedFileSystem.start(cluster.masters, prefix="/buckets")
    try:
        for directory in ("photos", "more"):
            await fs.make_directory(directory)
        async with await fs.create("photos", "a/f") as writer:
            await writer.commit()
        await fs.move("photos", "a", "photos", "ab/c")
        for path in ("ab", "ab/c/f"):
            with pytest.raises(FolderTooLarge, match="bucket"):
                await fs.move("photos", path, "more", "x")
        assert await paths(fs, "photos") == ["ab/c/f"]
        await fs.remove_folder("photos", "ab")
        await eventually(partial(tree, fs, "/buckets/photos"), equals=[])
    finally:
        for directory in ("photos", "more"):
            await fs.remove_directory(directory)
        await fs.close()
