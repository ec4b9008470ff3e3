"""Directories of the cluster engine: gone at once, and never back by accident."""

from __future__ import annotations

import asyncio

import pytest

from tests.gfs.cluster import Cluster, cluster, seaweed

# The engine's libraries are there from here on.
from gfs.errors import NoSuchDirectory, NoSuchFile, StoreUnavailable  # isort: skip
from gfs.seaweedfs import entries  # isort: skip
from gfs.seaweedfs.filer import Filers  # isort: skip
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.proto import filer_pb2 as pb  # isort: skip
from tests.gfs.suite import DIR, content, listed, load, store  # isort: skip
from tests.gfs.test_seaweedfs import fs  # isort: skip

__all__ = ["cluster", "fs", "seaweed"]

PREFIX = "/sfs"


async def removal_that_stops_halfway(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is marked, and every file is still there."""

    async def dies(self: Filers, directory: str, name: str) -> None:
        raise StoreUnavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Filers, "remove_tree", dies)
        with pytest.raises(StoreUnavailable):
            await fs.remove_directory(DIR)


async def test_a_directory_disappears_before_its_files_are_deleted(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        for each in (fs, other):
            await store(fs, "f", content(10))
            await load(each, "f")  # it is in the cache
        async with await fs.open(DIR, "f"), await fs.create(DIR, "late") as late:
            await removal_that_stops_halfway(fs, monkeypatch)
            assert await fs._filers.lookup(f"{PREFIX}/{DIR}", "f") is not None
            await asyncio.sleep(0.1)  # by then every process has been told
            for each in (fs, other):
                with pytest.raises(NoSuchFile):
                    await each.stat(DIR, "f")
                with pytest.raises(NoSuchFile):
                    await each.open(DIR, "f")
                assert await listed(each) == []
                assert await each.count(DIR) == 0
                with pytest.raises(NoSuchDirectory):
                    await each.create(DIR, "g")
            with pytest.raises(NoSuchDirectory):
                await late.commit()
    finally:
        await other.close()


async def test_a_directory_that_is_made_again_is_empty(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(fs, "f", content(10))
    await removal_that_stops_halfway(fs, monkeypatch)
    await fs.make_directory(DIR)
    assert await listed(fs) == []
    await store(fs, "g", content(20))
    assert await load(fs, "g") == content(20)


async def test_a_removal_that_stopped_halfway_can_be_repeated(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(fs, "f", content(10))
    await removal_that_stops_halfway(fs, monkeypatch)
    await fs.remove_directory(DIR)
    assert await fs._filers.lookup(PREFIX, DIR) is None


@pytest.mark.parametrize("made_again", [False, True])
async def test_a_publish_that_comes_too_late_leaves_nothing(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch, made_again: bool
) -> None:
    create = Filers.create

    async def late(
        self: Filers, directory: str, entry: pb.Entry, **how: object
    ) -> tuple[pb.Entry, bool]:
        await self.remove_tree(PREFIX, DIR)
        if made_again:
            await fs.make_directory(DIR)
        return await create(self, directory, entry, **how)  # type: ignore[arg-type]

    async with await fs.create(DIR, "f") as writer:
        await writer.write(b"late")
        monkeypatch.setattr(Filers, "create", late)
        with pytest.raises(NoSuchDirectory):
            await writer.commit()
    entry = await fs._filers.lookup(PREFIX, DIR)
    assert (entry is not None) == made_again
    assert await listed(fs) == []


async def test_a_directory_that_somebody_else_made_is_served(
    fs: SeaweedFileSystem, cluster: Cluster
) -> None:
    cluster.put(f"{PREFIX}/another/f", b"theirs")
    entry = await fs._filers.lookup(PREFIX, "another")
    assert entry is not None
    assert entries.DIRECTORY_KEY not in entry.extended
    await fs.make_directory("another")
    async with await fs.open("another", "f") as reader:
        assert reader.info.size == 6
    async with await fs.create("another", "g") as writer:
        await writer.write(b"ours")
        await writer.commit()
    assert await fs.count("another") == 2
