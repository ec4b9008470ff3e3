"""Folders of the cluster engine: the filer's own tree, at any depth, true in every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import pytest

from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.waiting import eventually

# The engine's libraries are there from here on.
from gfs.errors import AlreadyExists, IsFolder, NoSuchFile, NoSuchFolder  # isort: skip
from gfs.errors import NotAFolder  # isort: skip
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.servers.filer import Filers  # isort: skip
from gfs.types import ABSENT, FileInfo  # isort: skip
from tests.gfs.suite import DIR, content, load, store  # isort: skip
from tests.gfs.seaweedfs.test_directories import nothing_is_emptied  # isort: skip
from tests.gfs.seaweedfs.test_filesystem import fs  # isort: skip

__all__ = ["cluster", "fs", "seaweed"]

TOP = f"/sfs/{DIR}"


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
