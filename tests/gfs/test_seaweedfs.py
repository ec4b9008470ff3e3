"""The cluster engine on a real SeaweedFS: the conformance suite. Faults are in tests/faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from tests.gfs.cluster import Cluster, cluster, seaweed

# The engine's libraries are there from here on.
from gfs.errors import NoSuchFile  # isort: skip
from gfs.seaweedfs import address  # isort: skip
from gfs.seaweedfs.filer import Filers  # isort: skip
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.proto import filer_pb2 as pb  # isort: skip
from gfs.seaweedfs.watch import EntryCache  # isort: skip
from tests.gfs.suite import DIR, FileSystemSuite, listed, load, store  # isort: skip

__all__ = ["cluster", "seaweed"]


@pytest.fixture
async def fs(cluster: Cluster) -> AsyncIterator[SeaweedFileSystem]:
    fs = await SeaweedFileSystem.start(cluster.masters)
    await fs.make_directory(DIR)
    try:
        yield fs
    finally:
        cluster.mend()
        await fs.remove_directory(DIR)
        await fs.remove_directory("another")
        await fs.close()


class TestSeaweed(FileSystemSuite):
    """The conformance suite."""


async def test_what_another_process_changed_is_seen_before_the_filers_have_told_each_other(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = Filers.changes

    async def slow(
        self: Filers, request: pb.SubscribeMetadataRequest, *, local: bool = False
    ) -> AsyncGenerator[pb.SubscribeMetadataResponse, None]:
        async with aclosing(changes(self, request, local=local)) as messages:
            async for message in messages:
                yield message
                if not local:
                    await asyncio.Event().wait()

    monkeypatch.setattr(Filers, "changes", slow)
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        assert other._cache.up
        await store(fs, "f", b"1")
        while (f"/sfs/{DIR}", "f") not in other._cache._known:
            assert (await other.stat(DIR, "f")).size == 1
        await store(fs, "f", b"22")
        async with asyncio.timeout(5):  # less than the silence that ends a cache
            while (await other.stat(DIR, "f")).size != 2:
                await asyncio.sleep(0.01)
    finally:
        await other.close()


async def test_when_another_filers_turn_begins_it_is_listened_to(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, begun = Filers.changes, []

    async def counted(
        self: Filers, request: pb.SubscribeMetadataRequest, *, local: bool = False
    ) -> AsyncGenerator[pb.SubscribeMetadataResponse, None]:
        if local:
            begun.append(request.since_ns)
            while True:
                yield pb.SubscribeMetadataResponse(ts_ns=2**62)  # a sign of life
                await asyncio.sleep(0.01)
        async with aclosing(changes(self, request)) as messages:
            async for message in messages:
                yield message

    monkeypatch.setattr(Filers, "changes", counted)
    monkeypatch.setattr("gfs.seaweedfs.watch.RETRY_SECONDS", 0.01)
    fs = await SeaweedFileSystem.start(cluster.masters)
    try:
        await asyncio.sleep(0.05)
        assert len(begun) == 1
        monkeypatch.setattr(Filers, "turn", address.parse("another:1"))
        async with asyncio.timeout(5):
            while len(begun) == 1:
                await asyncio.sleep(0.01)
        assert begun[1] == 2**62 - 1
    finally:
        monkeypatch.undo()
        await fs.close()


@pytest.mark.parametrize("mute", [True, False])
async def test_a_filer_that_gives_no_sign_of_life_is_listened_to_anew(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, mute: bool
) -> None:
    begun = 0

    async def signs(
        self: Filers, request: pb.SubscribeMetadataRequest, *, local: bool = False
    ) -> AsyncGenerator[pb.SubscribeMetadataResponse, None]:
        nonlocal begun
        begun += local is mute
        while True:
            yield pb.SubscribeMetadataResponse()
            await (asyncio.Event().wait() if local is mute else asyncio.sleep(0.01))

    monkeypatch.setattr(Filers, "changes", signs)
    monkeypatch.setattr("gfs.seaweedfs.watch.SILENT_SECONDS", 0.3)
    monkeypatch.setattr("gfs.seaweedfs.watch.RETRY_SECONDS", 0.01)
    fs = await SeaweedFileSystem.start(cluster.masters)
    try:
        async with asyncio.timeout(5):
            while begun < 2:
                await asyncio.sleep(0.01)
    finally:
        await fs.close()


async def test_a_listing_has_nothing_that_a_filer_finds_beside_the_prefix(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = Filers.listing

    def of_sql(self: Filers, directory: str, *, prefix: str, after: str, **rest: Any) -> object:
        assert "\0" not in prefix + after  # PostgreSQL refuses it, and the filer fails
        return listing(self, directory, prefix=prefix.replace("_", ""), after=after, **rest)

    for name in ("_", "a", "a_b", "axb", "b"):
        await store(fs, name, b"")
    monkeypatch.setattr(Filers, "listing", of_sql)
    assert [info.name for info in await listed(fs, prefix="_")] == ["_"]
    assert [info.name for info in await listed(fs, prefix="a_", limit=1)] == ["a_b"]
    assert await listed(fs, prefix="a\0") == []
    assert [info.name for info in await listed(fs, after="a\0b")] == ["a_b", "axb", "b"]


async def test_what_is_forgotten_is_seen_as_others_have_left_it(
    fs: SeaweedFileSystem, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the filer has told of it, which it never does here."""
    monkeypatch.setattr(EntryCache, "_told", lambda *_: None)
    other = await SeaweedFileSystem.start(cluster.masters)
    try:
        await store(fs, "f", b"1")
        assert await load(fs, "f") == b"1"
        await store(other, "f", b"22")
        assert await load(fs, "f") == b"1", "this is what it is for"
        fs.forget(DIR, "f")
        assert await load(fs, "f") == b"22"
        assert (await fs.stat(DIR, "f")).size == 2
        await other.delete(DIR, "f")
        fs.forget(DIR, "f")
        with pytest.raises(NoSuchFile):
            await fs.open(DIR, "f")
    finally:
        await other.close()
