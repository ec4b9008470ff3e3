"""Lists of the cluster engine: the right order, page by page, whatever is in the filer."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import aclosing

import pytest

from tests.gfs.cluster import cluster, seaweed

# The engine's libraries are there from here on.
from gfs.errors import StoreUnavailable  # isort: skip
from gfs.paths import MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_SEGMENTS, within  # isort: skip
from gfs.seaweedfs import entries, listing  # isort: skip
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.proto import filer_pb2 as pb  # isort: skip
from gfs.seaweedfs.servers import filer  # isort: skip
from gfs.seaweedfs.servers.filer import Filers  # isort: skip
from gfs.seaweedfs.servers.rpc import CallFailed, Channels  # isort: skip
from gfs.types import FileInfo, Usage  # isort: skip
from tests.gfs.suite import DIR, content, listed, load, store  # isort: skip
from tests.gfs.seaweedfs.test_directories import nothing_is_emptied  # isort: skip
from tests.gfs.seaweedfs.test_filesystem import fs  # isort: skip

__all__ = ["cluster", "fs", "seaweed"]

SEGMENTS = ("a", "a-b", "a-b.c", "a.b", "a b", "a!", "a0", "aa", "A", "-", "é", "日", "\U0001f986")
"""Names around the slash, which lies between ``.`` and ``0``, and names of several bytes."""

FOREIGN = ("back\\slash", "con\x01trol", " blank", "..", ".")
TOGETHER = 100


async def place(fs: SeaweedFileSystem) -> str:
    """Where the filer has what is in DIR."""
    return (await fs._folders.find(DIR)).place


async def put(fs: SeaweedFileSystem, paths: Iterable[str], size: int = 3) -> None:
    """Put files into the filer as other programs do: it makes the folders. A path that ends with
    a slash is a folder."""
    top = await place(fs)
    mutations = []
    for path in paths:
        above, _, name = path.rstrip("/").rpartition("/")
        entry = pb.Entry(name=name)
        if path.endswith("/"):
            entry = entries.directory_entry(name)
        else:
            entry.attributes.file_mode, entry.attributes.file_size = entries.FILE_MODE, size
        directory = f"{top}/{above}" if above else top
        mutations.append(pb.ObjectMutation(type=0, directory=directory, entry=entry))
    for start in range(0, len(mutations), TOGETHER):
        request = pb.ObjectTransactionRequest(
            lock_key=top, mutations=mutations[start : start + TOGETHER]
        )
        assert not (await fs._filers._retried(filer._TRANSACTION, request)).error


def tree(seed: int) -> tuple[list[str], set[str]]:
    """The paths of the files of a tree, and of all its folders."""
    chance = random.Random(seed)
    files: set[str] = set()
    folders: set[str] = set()

    def grow(above: str, depth: int) -> None:
        for name in chance.sample(SEGMENTS, chance.randint(1, 9)):
            path = f"{above}{name}"
            if depth < 4 and chance.random() < 0.45:
                folders.add(path)
                grow(f"{path}/", depth + 1)
            else:
                files.add(path)

    for name in chance.sample(SEGMENTS, 5):
        folders.add(name)
        grow(f"{name}/", 1)
    files |= {name for name in SEGMENTS if name not in folders}
    return sorted(files, key=str.encode), folders


def small(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Make pages and batches so small that all edges are met."""
    for name in ("PAGE_ENTRIES", "FIRST", "BATCH"):
        monkeypatch.setattr(listing, name, size)


async def paths(fs: SeaweedFileSystem, **query: object) -> list[str]:
    return [info.path for info in await listed(fs, **query)]


async def level(fs: SeaweedFileSystem, folder: str = "", **query: object) -> list[str]:
    """The names that are right in a folder, those of folders with a slash behind them."""
    async with aclosing(fs.list_folder(DIR, folder, **query)) as batches:  # type: ignore[arg-type]
        found = [entry async for batch in batches for entry in batch]
    return [entry.name + ("" if isinstance(entry, FileInfo) else "/") for entry in found]


@pytest.mark.parametrize(("seed", "size"), [(1, 1), (2, 2), (3, 3), (4, 7), (5, 1_000)])
async def test_a_tree_is_listed_in_the_order_of_its_paths_bytes(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch, seed: int, size: int
) -> None:
    files, folders = tree(seed)
    await put(fs, files)
    small(monkeypatch, size)
    assert await paths(fs) == files
    chance = random.Random(seed)
    every = [*files, *folders, *(f"{folder}/" for folder in folders)]
    for path in chance.sample(every, 25):
        afters = [
            path,
            path[: chance.randint(0, len(path))],
            path + chance.choice("-/0\0\U0010ffff"),
        ]
        for after in afters:
            limit = chance.randint(1, 20)
            behind = [file for file in files if file.encode() > after.encode()]
            assert await paths(fs, after=after, limit=limit) == behind[:limit], after
            prefix = chance.choice([path, path[: chance.randint(0, len(path))]])
            found = await paths(fs, after=after, prefix=prefix)
            assert found == [file for file in behind if file.startswith(prefix)], (prefix, after)
    for folder in ("", *chance.sample(sorted(folders), 5)):
        below = {path for path in (*files, *folders) if path != folder and within(path, folder)}
        names = {path.removeprefix(f"{folder}/" if folder else "") for path in below}
        right = sorted((name for name in names if "/" not in name), key=str.encode)
        shown = [name + "/" * (f"{folder}/{name}".lstrip("/") in folders) for name in right]
        assert await level(fs, folder) == shown
        after, prefix = chance.choice(right), chance.choice(right)[:1]
        late = [name for name in shown if name.rstrip("/").encode() > after.encode()]
        assert await level(fs, folder, after=after, limit=2) == late[:2]
        assert await level(fs, folder, after=after, prefix=prefix) == [
            name for name in late if name.startswith(prefix)
        ]
        inside = [path for path in files if within(path, folder)]
        counted = Usage(len(inside), len(below) - len(inside), 3 * len(inside))
        assert await fs.usage(DIR, folder) == counted


async def test_what_no_path_can_name_is_not_listed(fs: SeaweedFileSystem) -> None:
    deep = "/".join("d" * MAX_SEGMENTS)
    long = "/".join(["l" * 200] * 5)
    fits = "f" * (MAX_PATH_BYTES - len(long) - 1)
    good = ["good", f"{deep[:-2]}/x", f"{long}/{fits}", "e/" + "é" * 127]
    bad = [f"{deep}/x", f"{long}/{fits}x", *FOREIGN, *(f"sub/{name}/f" for name in FOREIGN[:3])]
    await put(fs, [*good, *bad, "sub/"])
    assert await paths(fs) == sorted(good)
    assert await paths(fs, prefix="back\\") == await paths(fs, prefix="sub//") == []
    assert await paths(fs, prefix="x" * (MAX_NAME_BYTES + 1)) == []
    assert await paths(fs, after="f" * 2_000) == [path for path in sorted(good) if path > "f"]
    assert await level(fs) == ["d/", "e/", "good", "l" * 200 + "/", "sub/"]
    assert await level(fs, "sub") == await level(fs, "nothing") == await level(fs, "good") == []


async def test_a_list_reads_nothing_that_comes_before_its_start(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(fs, [f"{folder}/{number:03}" for folder in "abc" for number in range(300)])
    await put(fs, [f"f-{number:03}" for number in range(300)])
    small(monkeypatch, 10)
    read: list[str] = []
    page = Filers.page

    async def noted(self: Filers, directory: str, **rest: object) -> filer.Page:
        found = await page(self, directory, **rest)  # type: ignore[arg-type]
        read.extend(f"{directory}/{entry.name}" for entry in filer.decode(found.messages))
        return found

    monkeypatch.setattr(Filers, "page", noted)
    for query, expected in (
        ({"after": "b/123"}, ["b/124", "b/125"]),
        ({"after": "f-200"}, ["f-201", "f-202"]),
        ({"prefix": "c/2", "after": "c/288"}, ["c/289", "c/290"]),
    ):
        assert await paths(fs, limit=2, **query) == expected
        first = f"{await place(fs)}/{expected[0]}"
        assert first in read
        assert not [path for path in read if path.startswith(first[:-3]) and path < first]
        assert len(read) < 40
        read.clear()


async def test_removed_folders_are_not_listed_and_those_made_again_have_only_new_files(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(fs, ["a/old", "b/old", "b/c/old", "d", "empty/"])
    with nothing_is_emptied(monkeypatch):
        await fs.remove_folder(DIR, "a")
        await fs.remove_folder(DIR, "b")
        assert await paths(fs) == ["d"]
        assert await level(fs) == ["d", "empty/"]
        assert await fs.usage(DIR) == Usage(1, 1, 3)
        await store(fs, "b/new", content(5))
        assert await paths(fs) == await paths(fs, after="b") == ["b/new", "d"]
        assert await paths(fs, prefix="b/n", after="b/m") == ["b/new"]
        assert await level(fs) == ["b/", "d", "empty/"]
        assert await level(fs, "b") == ["new"]
        assert await fs.usage(DIR) == Usage(2, 2, 8)


async def test_a_list_says_of_every_kind_of_entry_what_stat_says(fs: SeaweedFileSystem) -> None:
    """One of more chunks than a page has bytes too, which another program made."""
    await store(fs, "folder/stored", content(10))
    top = await place(fs)
    (chunk,) = (await fs._filers.lookup(f"{top}/folder", "stored") or pb.Entry()).chunks
    chunks = []
    for number in range(9_999):
        chunks.append(pb.FileChunk())
        chunks[-1].CopyFrom(chunk)
        chunks[-1].offset = 10 * number
    await fs._filers.create(top, pb.Entry(name="big", chunks=chunks), over=None)
    await fs._filers.create(top, pb.Entry(name="inline", content=b"123"), over=None)
    await put(fs, ["plain"])
    found = await listed(fs)
    assert [info.path for info in found] == ["big", "folder/stored", "inline", "plain"]
    assert [info.size for info in found] == [99_990, 10, 3, 3]
    assert found == [await fs.stat(DIR, info.path) for info in found]
    assert await fs.usage(DIR) == Usage(4, 1, sum(info.size for info in found))
    assert await load(fs, "big", 0, 20) == 2 * content(10)


async def test_a_walk_that_counts_ends_at_its_bound(fs: SeaweedFileSystem) -> None:
    await put(fs, [f"{folder}/{number}" for folder in range(10) for number in range(100)])
    usage = await fs.usage(DIR, most=200)
    assert not usage.complete
    assert 200 <= usage.files + usage.folders <= 200 + listing.BATCH
    assert (await fs.usage(DIR, most=2_000)).complete


async def test_a_list_that_is_given_up_leaves_no_request(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(fs, [f"{folder:02}/{number}" for folder in range(20) for number in range(5)])
    small(monkeypatch, 3)
    for after in ("", "03/1"):
        async with aclosing(fs.list_files(DIR, after=after)) as batches:
            await anext(batches)
    async with aclosing(fs.list_folder(DIR)) as level:
        await anext(level)
    (connection,) = fs._channels._connections.values()
    for _ in range(100):
        if not connection._streams:
            break
        await fs.stat_folder(DIR, "01")
    assert not connection._streams


async def test_a_page_that_fails_is_asked_for_again(
    fs: SeaweedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(f"{folder}/{number}" for folder in range(5) for number in range(20))
    await put(fs, files)
    small(monkeypatch, 7)
    messages = Channels.messages
    asked = 0

    async def every_third(self: Channels, peer: str, *rest: object) -> tuple[list[bytes], bool]:
        nonlocal asked
        asked += 1
        if asked % 3 == 0:
            raise CallFailed.given_up(peer)
        return await messages(self, peer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Channels, "messages", every_third)
    assert await paths(fs) == files

    async def never(self: Channels, peer: str, *_: object) -> tuple[list[bytes], bool]:
        raise CallFailed.given_up(peer)

    monkeypatch.setattr(Channels, "messages", never)
    monkeypatch.setattr(filer, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(StoreUnavailable):
        await paths(fs)
