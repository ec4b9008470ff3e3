"""Directories of the cluster engine: gone at once, and never back by accident."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager, nullcontext

import pytest

from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.waiting import eventually

# The engine's libraries are there from here on.
from gfs.errors import NoSuchDirectory, NoSuchFile, StoreUnavailable  # isort: skip
from gfs.errors import VersionMismatch  # isort: skip
from gfs.seaweedfs import entries  # isort: skip
from gfs.seaweedfs.directories import Directories  # isort: skip
from gfs.seaweedfs.servers.filer import Filers  # isort: skip
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.proto import filer_pb2 as pb  # isort: skip
from gfs.seaweedfs.publishing import CommitUnknown  # isort: skip
from gfs.seaweedfs.servers.rpc import CallFailed  # isort: skip
from tests.gfs.suite import DIR, content, listed, load, store  # isort: skip
from tests.gfs.seaweedfs.test_filesystem import fs  # isort: skip

__all__ = ["cluster", "fs", "seaweed"]

PREFIX = "/sfs"
PLACE = PREFIX, DIR


@contextmanager
def nothing_is_emptied(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if there were so many files that none of them is deleted for now."""

    async def works_on(self: Directories, place: tuple[str, str]) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(Directories, "_empty", works_on)
        patch.setattr("gfs.seaweedfs.directories.EMPTY_FIRST_SECONDS", 0.01)
        yield


async def left(fs: SeaweedFileSystem) -> list[str]:
    """The names in the directory of all directories, but those of the filers' fences."""
    listing = fs._filers.listing(PREFIX, prefix="", after="", limit=1000)
    async with aclosing(listing) as found:
        return [entry.name async for entry in found if not entry.name.startswith("~")]


async def emptied(fs: SeaweedFileSystem) -> None:
    """Wait until nothing is left."""
    await eventually(lambda: left(fs), equals=[])


async def test_a_directory_disappears_before_its_files_are_deleted(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        for each in (fs, other):
            await store(fs, "f", content(10))
            await load(each, "f")  # it is in the cache
        async with await fs.open(DIR, "f"), await fs.create(DIR, "late") as late:
            with nothing_is_emptied(monkeypatch):
                await fs.remove_directory(DIR)
                await asyncio.sleep(0.1)  # by then every process was notified
            assert await fs._filers.lookup(f"{PREFIX}/{DIR}", "f") is not None
            for each in (fs, other):
                with pytest.raises(NoSuchFile):
                    await each.stat(DIR, "f")
                with pytest.raises(NoSuchFile):
                    await each.open(DIR, "f")
                assert await listed(each) == []
                assert (await each.usage(DIR)).files == 0
                with pytest.raises(NoSuchDirectory):
                    await each.create(DIR, "g")
            with pytest.raises(NoSuchDirectory):
                await late.commit()
    finally:
        await other.close()


@pytest.mark.parametrize("kept", [False, True])
async def test_a_directory_that_is_made_again_is_empty(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """``kept``: the old files are still there for a while."""
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        await store(fs, "f", content(10))
        await store(fs, "old", content(10))
        with nothing_is_emptied(monkeypatch) if kept else nullcontext():
            for number in range(3):
                await fs.remove_directory(DIR)
                await fs.make_directory(DIR)
                await fs.make_directory(DIR)
                for each in (fs, other):
                    assert await listed(each) == []
                    assert (await each.usage(DIR)).files == 0
                    with pytest.raises(NoSuchFile):
                        await each.open(DIR, "f")
                data = content(20 + number)
                await store(other, "f", data)
                await store(fs, "g", data)
                for each in (fs, other):
                    assert await load(each, "f") == await load(each, "g") == data
                    assert [info.name for info in await listed(each)] == ["f", "g"]
                await store(fs, "f", data[::-1])
                await asyncio.sleep(0.1)  # the filer notifies of it
                assert await load(other, "f") == data[::-1]
                await fs.delete(DIR, "g")
            assert len(await left(fs)) == (4 if kept else 1)
            await fs.remove_directory(DIR)
        await fs._directories._empty(PLACE)
        assert await left(fs) == []
        await fs.make_directory(DIR)
        assert await listed(other) == []
        assert await left(fs) == [DIR]
    finally:
        await other.close()


async def test_a_directory_that_was_made_again_meanwhile_is_kept_when_the_old_files_are_gone(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(fs, "f", content(10))
    with nothing_is_emptied(monkeypatch):
        await fs.remove_directory(DIR)
        await fs.make_directory(DIR)
        await store(fs, "f", content(20))
    for _ in range(2):
        await fs._directories._empty(PLACE)
        assert await load(fs, "f") == content(20)
    listing = fs._filers.listing(f"{PREFIX}/{DIR}", prefix="", after="", limit=9)
    async with aclosing(listing) as found:
        assert [entry.name async for entry in found] == []
    await fs.remove_directory(DIR)
    await fs._directories._empty(PLACE)
    assert await left(fs) == []


async def test_what_a_killed_process_has_not_deleted_another_one_deletes(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs.seaweedfs.directories.ROUND_SECONDS", 0.2)
    names = [f"f{number:03}" for number in range(30)]
    for name in names:
        await store(fs, name, b"1")
    cluster.put(f"{PREFIX}/{DIR}/below/deeper/inner", b"1")
    killed = await SeaweedFileSystem.start(cluster.masters)
    with nothing_is_emptied(monkeypatch):
        await killed.remove_directory(DIR)
    await killed.close()
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        await emptied(other)
    finally:
        await other.close()


async def test_what_cannot_be_deleted_does_not_keep_what_comes_behind_it(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        await store(fs, name, b"1")
    delete_all = Filers.delete_all

    async def refused(
        self: Filers, directory: str, names: Sequence[str], *, where: str, of: pb.Entry
    ) -> None:
        before, after = ([n for n in names if n < "b"], [n for n in names if n > "b"])
        await delete_all(self, directory, before, where=where, of=of)
        if "b" in names:
            raise StoreUnavailable("refused")
        await delete_all(self, directory, after, where=where, of=of)

    with monkeypatch.context() as patch:
        patch.setattr(Filers, "delete_all", refused)
        await fs.remove_directory(DIR)
        await eventually(lambda: fs._filers.lookup(f"{PREFIX}/{DIR}", "c"), equals=None)
        with pytest.raises(StoreUnavailable, match="cannot be deleted"):
            await fs._directories._empty(PLACE)
    assert await fs._filers.lookup(f"{PREFIX}/{DIR}", "b") is not None
    await fs._directories._empty(PLACE)
    assert await left(fs) == []


async def test_what_is_made_again_is_not_deleted_by_a_process_that_slept(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(fs, "f", content(10))
    with nothing_is_emptied(monkeypatch):
        await fs.remove_directory(DIR)
    seen = await fs._filers.lookup(PREFIX, DIR)
    assert seen is not None
    await fs._directories._empty(PLACE)
    await fs.make_directory(DIR)
    await store(fs, "f", content(20))
    with pytest.raises(VersionMismatch):
        await fs._filers.delete_all(f"{PREFIX}/{DIR}", ["f"], where=PREFIX, of=seen)
    assert await load(fs, "f") == content(20)


async def test_the_mark_of_an_older_version_is_understood(fs: SeaweedFileSystem) -> None:
    await store(fs, "f", b"1")
    entry = await fs._filers.lookup(PREFIX, DIR)
    assert entry is not None
    entry.extended[entries.REMOVED_KEY] = b"1"
    entry.attributes.md5 = b""
    await fs._filers.create(PREFIX, entry, over=await fs._filers.lookup(PREFIX, DIR))
    await asyncio.sleep(0.1)  # the filer notifies of it
    with pytest.raises(NoSuchFile):
        await fs.stat(DIR, "f")
    await fs.make_directory(DIR)
    assert await listed(fs) == []
    assert await left(fs) == [DIR]


@pytest.mark.parametrize("made_again", [False, True])
async def test_a_publish_that_comes_too_late_leaves_nothing(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch, made_again: bool
) -> None:
    create = Filers.create

    async def late(self: Filers, directory: str, entry: pb.Entry, *, over: pb.Entry | None) -> None:
        monkeypatch.setattr(Filers, "create", create)
        holder = await self.lookup(PREFIX, DIR)
        assert holder is not None
        await self.delete(PREFIX, holder)
        if made_again:
            await fs.make_directory(DIR)
        await create(self, directory, entry, over=over)

    async with await fs.create(DIR, "f") as writer:
        await writer.write(b"late")
        monkeypatch.setattr(Filers, "create", late)
        with pytest.raises(NoSuchDirectory):
            await writer.commit()
    entry = await fs._filers.lookup(PREFIX, DIR)
    assert (entry is not None) == made_again
    assert await listed(fs) == []


async def test_a_publish_that_comes_too_late_into_another_place_leaves_nothing(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(fs, "old", b"1")
    with nothing_is_emptied(monkeypatch):
        await fs.remove_directory(DIR)
        await fs.make_directory(DIR)
    create = Filers.create

    async def late(self: Filers, directory: str, entry: pb.Entry, *, over: pb.Entry | None) -> None:
        monkeypatch.setattr(Filers, "create", create)
        await fs.remove_directory(DIR)
        await fs._directories._empty(PLACE)
        assert await left(fs) == []
        await create(self, directory, entry, over=over)

    async with await fs.create(DIR, "f") as writer:
        await writer.write(b"late")
        monkeypatch.setattr(Filers, "create", late)
        with pytest.raises(NoSuchDirectory):
            await writer.commit()
    assert await left(fs) == []


async def test_the_outcome_of_a_publish_that_cannot_be_taken_back_is_unknown(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Filers.create

    async def fails(self: Filers, directory: str, over: pb.Entry) -> bool:
        raise CallFailed.given_up("filer")

    with nothing_is_emptied(monkeypatch), monkeypatch.context() as patch:

        async def late(
            self: Filers, directory: str, entry: pb.Entry, *, over: pb.Entry | None
        ) -> None:
            patch.setattr(Filers, "create", create)
            patch.setattr(Filers, "delete", fails)
            await create(self, directory, entry, over=over)
            await fs.remove_directory(DIR)

        async with await fs.create(DIR, "f") as writer:
            await writer.write(b"late")
            patch.setattr(Filers, "create", late)
            with pytest.raises(CommitUnknown):  # or its chunks would be freed
                await writer.commit()
    await fs._directories._empty(PLACE)


@pytest.mark.parametrize("error", [StoreUnavailable("refused"), RecursionError()])
async def test_a_directory_that_cannot_be_emptied_does_not_keep_those_behind_it(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("gfs.seaweedfs.directories.ROUND_SECONDS", 0.1)
    names = ("another", DIR)
    assert sorted(names) == list(names)
    await fs.make_directory("another")
    with nothing_is_emptied(monkeypatch):
        for name in names:
            await fs.remove_directory(name)
    empty = Directories._empty

    async def refused(self: Directories, place: tuple[str, str]) -> None:
        if place[1] == "another":
            raise error
        await empty(self, place)

    with monkeypatch.context() as patch:
        patch.setattr(Directories, "_empty", refused)
        other = await SeaweedFileSystem.start(cluster.masters)
        try:
            await eventually(lambda: left(fs), equals=["another"])
        finally:
            await other.close()
    await fs._directories._empty((PREFIX, "another"))


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
    assert (await fs.usage("another")).files == 2


async def test_where_directories_are_buckets_one_is_made_again_under_its_own_name(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filer takes no other names there than those that a bucket may have."""
    monkeypatch.setattr("gfs.seaweedfs.directories.EMPTY_FIRST_SECONDS", 0.001)
    fs = await SeaweedFileSystem.start(cluster.masters, prefix="/buckets")
    try:
        assert await fs.identity()
        for content in (b"first", b"second"):
            await fs.make_directory("photos")
            for name in ("a", "b"):
                async with await fs.create("photos", name) as writer:
                    await writer.write(content)
                    await writer.flush()
                    await writer.commit()
            assert await fs._folders.place("photos") == "/buckets/photos"
            bucket = await fs._filers.lookup("/buckets", "photos")
            assert bucket is not None
            # Else the filer deletes empty folders in a bucket after two minutes.
            assert bucket.extended["Seaweed-X-Amz-Allow-Empty-Folders"] == b"true"
            await fs.remove_directory("photos")
    finally:
        await fs.close()
