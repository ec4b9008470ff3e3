"""What the suite has of folders: paths, lists by level and of all depths, removals and moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial

import pytest

from gfs.api import FileSystem
from gfs.errors import (
    AlreadyExists,
    GfsError,
    InvalidName,
    IsFolder,
    MovesIntoItself,
    NoSuchDirectory,
    NoSuchFile,
    NoSuchFolder,
    NotAFolder,
    VersionMismatch,
)
from gfs.paths import MAX_PATH_BYTES, MAX_SEGMENTS, parents
from gfs.types import ABSENT, ANYTHING, PRESENT, Expect, FileInfo, FolderInfo, Moved, Usage
from tests.gfs.suite_parts import (
    CHUNK,
    DIR,
    NAMES,
    Suite,
    content,
    entries,
    listed,
    load,
    names,
    store,
)
from tests.support.waiting import eventually

OTHER = "suite-2"
DEEPEST = "/".join(f"{n:02}" for n in range(MAX_SEGMENTS))
LONGEST = "/".join(["x" * 255, "é" * 127 + "y", "z" * 255, "w" * 254, "v"])
BAD_PATHS = (
    *(
        "/",
        "/a",
        "a/",
        "a//b",
        "a/./b",
        "a/../b",
        "../a",
        "a/ b",
        "a /b",
        "a/b\\c",
        "a/\0",
        "a/\x01",
    ),
    "/".join("a" * (MAX_SEGMENTS + 1)),
    LONGEST + "v",
    "a/" + "é" * 128,
)
SEGMENTS = ("a", "a-", "a.txt", "a0", "a b", "b", "ü", "~", "🦆")
"""Names of which some begin like others, and go on with what comes before a slash or behind it."""


def of(info: FileInfo) -> Expect:
    """That the file is of this version."""
    return Expect(versions=frozenset({info.version}))


OF_ANOTHER = Expect(versions=frozenset({"another"}))


async def shown(fs: FileSystem) -> list[str]:
    """What is in the directory: each file, and each folder with a slash behind it, that walks by
    level find."""
    found: list[str] = []
    waiting = [""]
    while waiting:
        for entry in await entries(fs, waiting.pop()):
            if isinstance(entry, FolderInfo):
                waiting.append(entry.path)
            found.append(entry.path + "/" * isinstance(entry, FolderInfo))
    return sorted(found)


@contextmanager
def raises(*kinds: type[GfsError]) -> Iterator[None]:
    with pytest.raises(kinds):
        yield


async def move(fs: FileSystem, path: str, to: str, **expected: Expect) -> Moved:
    return await fs.move(DIR, path, DIR, to, **expected)


async def plant(fs: FileSystem, *paths: str) -> None:
    """Publish files, whose bytes are their paths; make the folders, which end with a slash."""
    for path in paths:
        if path.endswith("/"):
            await fs.make_folder(DIR, path[:-1])
        else:
            await store(fs, path, path.encode())


def random_paths() -> tuple[set[str], set[str]]:
    """Paths of files, and those of the folders that they are in and of empty ones."""
    dice = random.Random(5)
    files: set[str] = set()
    folders: set[str] = set()
    for _ in range(120):
        path = "/".join(dice.choice(SEGMENTS) for _ in range(dice.randint(1, 4)))
        above = parents(path)
        if path not in folders and path not in files and not files & set(above):
            folders.update(above)
            (folders if dice.random() < 0.1 else files).add(path)
    return files, folders


class FolderSuite(Suite):
    """What :class:`tests.gfs.suite.FileSystemSuite` has of it."""

    # Paths.

    @pytest.mark.parametrize("path", ["a/b", "a/b/c.txt", "~/.hidden/-", DEEPEST, LONGEST])
    async def test_a_file_is_at_its_whole_path(self, fs: FileSystem, path: str) -> None:
        published = await store(fs, path, b"deep")
        assert (published.info.path, published.replaced) == (path, None)
        assert published.info.name == path.rpartition("/")[2]
        assert await fs.stat(DIR, path) == published.info
        assert await load(fs, path) == b"deep"
        assert await listed(fs) == [published.info]
        assert await fs.usage(DIR) == Usage(1, len(parents(path)), 4)
        for folder in parents(path):
            assert (await fs.stat_folder(DIR, folder)).path == folder
        second = await store(fs, path, b"deeper")
        assert second.replaced == published.info
        assert await fs.delete(DIR, path) == second.info
        assert await shown(fs) == sorted(f"{folder}/" for folder in parents(path))

    async def test_every_name_can_be_that_of_a_folder(self, fs: FileSystem) -> None:
        for name in NAMES:
            await plant(fs, f"{name}/f")
        assert await names(fs) == sorted((f"{name}/f" for name in NAMES), key=str.encode)
        assert [entry.name for entry in await entries(fs)] == sorted(NAMES, key=str.encode)
        for name in NAMES:
            assert [entry.path for entry in await entries(fs, name)] == [f"{name}/f"]
            await move(fs, f"{name}/f", f"{name}/g")
            await fs.remove_folder(DIR, name)
        assert await shown(fs) == []

    async def test_the_longest_paths_are_as_long_as_may_be(self) -> None:
        assert len(LONGEST.encode()) == MAX_PATH_BYTES

    @pytest.mark.parametrize("path", BAD_PATHS)
    async def test_a_path_that_cannot_be_is_refused(self, fs: FileSystem, path: str) -> None:
        await plant(fs, "a")
        refused: list[Callable[[], Awaitable[object]]] = [
            *(
                lambda call=call: call(DIR, path)
                for call in (fs.stat, fs.open, fs.create, fs.delete)
            ),
            *(
                lambda call=call: call(DIR, path)
                for call in (fs.stat_folder, fs.make_folder, fs.remove_folder, fs.usage)
            ),
            lambda: entries(fs, path),
            lambda: move(fs, path, "b"),
            lambda: move(fs, "a", path),
        ]
        for call in refused:
            with pytest.raises(InvalidName):
                await call()
        assert await shown(fs) == ["a"]

    async def test_the_top_is_no_folder_that_could_be_changed(self, fs: FileSystem) -> None:
        await plant(fs, "a")
        for refused in (
            fs.make_folder(DIR, ""),
            fs.remove_folder(DIR, ""),
            move(fs, "", "b"),
            move(fs, "a", ""),
        ):
            with pytest.raises(InvalidName):
                await refused
        assert (await fs.stat_folder(DIR, "")).path == ""
        assert await shown(fs) == ["a"]

    # Folders.

    async def test_a_folder_is_there_until_it_is_removed(self, fs: FileSystem) -> None:
        made = await fs.make_folder(DIR, "a/b/c")
        assert (made.directory, made.path, made.name) == (DIR, "a/b/c", "c")
        assert made.modified_ns > 10**18
        assert await fs.stat_folder(DIR, "a/b/c") == made
        assert await shown(fs) == ["a/", "a/b/", "a/b/c/"]
        await plant(fs, "a/b/c/f")
        await fs.delete(DIR, "a/b/c/f")
        assert await shown(fs) == ["a/", "a/b/", "a/b/c/"]
        await fs.remove_folder(DIR, "a/b/c")
        assert await shown(fs) == ["a/", "a/b/"]
        assert await fs.usage(DIR) == Usage(0, 2, 0)
        assert await names(fs) == []

    async def test_a_folder_that_is_there_is_not_made_again(self, fs: FileSystem) -> None:
        await plant(fs, "a/b/f")
        for path in ("a", "a/b", "a/b/f"):
            with raises(AlreadyExists):
                await fs.make_folder(DIR, path)
        with raises(NotAFolder):
            await fs.make_folder(DIR, "a/b/f/g")
        with raises(NoSuchDirectory):
            await fs.make_folder("absent", "a")
        assert await shown(fs) == ["a/", "a/b/", "a/b/f"]

    async def test_of_many_who_make_a_folder_one_does(self, fs: FileSystem) -> None:
        results = await asyncio.gather(
            *(fs.make_folder(DIR, "a/b") for _ in range(8)), return_exceptions=True
        )
        assert sum(isinstance(result, FolderInfo) for result in results) == 1
        assert sum(isinstance(result, AlreadyExists) for result in results) == 7

    async def test_what_is_not_there_is_no_folder(self, fs: FileSystem) -> None:
        await plant(fs, "f", "a/")
        for directory, path in ((DIR, "b"), (DIR, "a/b"), (DIR, "f"), (DIR, "f/g"), ("absent", "")):
            with raises(NoSuchFolder):
                await fs.stat_folder(directory, path)
        for directory, path in (
            (DIR, "b"),
            (DIR, "a/b"),
            (DIR, "f"),
            (DIR, "f/g"),
            ("absent", "a"),
        ):
            with raises(NoSuchFolder):
                await fs.remove_folder(directory, path)
        for path in ("b", "a/b", "f", "f/g"):
            assert await entries(fs, path) == []
            assert await fs.usage(DIR, path) == Usage(0, 0, 0)
        assert await shown(fs) == ["a/", "f"]

    async def test_a_path_is_a_file_or_a_folder(self, fs: FileSystem) -> None:
        await plant(fs, "file", "a/b/f")
        for folder in ("a", "a/b"):
            for call in (fs.stat, fs.open, fs.create, fs.delete):
                with raises(IsFolder):
                    await call(DIR, folder)
            with raises(IsFolder):
                await fs.create(DIR, folder, expect=PRESENT)
            with raises(AlreadyExists):
                await fs.create(DIR, folder, expect=ABSENT)
            with raises(VersionMismatch):
                await fs.create(DIR, folder, expect=OF_ANOTHER)
        for below in ("file/f", "file/a/b", "a/b/f/g"):
            for call in (fs.stat, fs.open, fs.delete):
                with raises(NoSuchFile):
                    await call(DIR, below)
            for expect in (ANYTHING, ABSENT):
                with raises(NotAFolder):
                    await fs.create(DIR, below, expect=expect)
        assert await shown(fs) == ["a/", "a/b/", "a/b/f", "file"]

    @pytest.mark.parametrize(
        ("made", "kind"),
        [("a/f/", IsFolder), ("a/f/g", IsFolder), ("a", NotAFolder)],
    )
    @pytest.mark.parametrize("expect", [ANYTHING, ABSENT])
    async def test_what_is_in_the_way_by_then_refuses_the_commit(
        self, fs: FileSystem, made: str, kind: type[GfsError], expect: Expect
    ) -> None:
        async with await fs.create(DIR, "a/f", expect=expect) as writer:
            await writer.write(b"late")
            await plant(fs, made)
            before = await shown(fs)
            with raises(kind, *([AlreadyExists] if expect.absent else [])):
                await writer.commit()
        assert await shown(fs) == before

    async def test_many_uploads_make_the_folder_that_they_are_in(self, fs: FileSystem) -> None:
        paths = [f"a/b/{n % 3}/{n:02}" for n in range(24)]
        await asyncio.gather(*(store(fs, path, b"x") for path in paths))
        assert await names(fs) == sorted(paths)

    async def test_an_upload_that_is_given_up_makes_no_folder(self, fs: FileSystem) -> None:
        async with await fs.create(DIR, "a/f") as writer:
            await writer.write(b"1")
            await writer.flush()
            assert await shown(fs) == []
        assert await shown(fs) == []

    # Removing.

    async def test_a_removed_folder_takes_everything_along(self, fs: FileSystem) -> None:
        data = content(2 * CHUNK)
        await store(fs, "a/b/f", data)
        await plant(fs, "a/b/c/d/g", "a/b/empty/", "a/bc/f", "a/b.txt", "a/b-/f")
        async with await fs.open(DIR, "a/b/f") as reader:
            await fs.remove_folder(DIR, "a/b")
            for path in ("a/b/f", "a/b/c/d/g"):
                with raises(NoSuchFile):
                    await fs.stat(DIR, path)
            for path in ("a/b", "a/b/c", "a/b/empty"):
                with raises(NoSuchFolder):
                    await fs.stat_folder(DIR, path)
            with raises(NoSuchFolder):
                await fs.remove_folder(DIR, "a/b")
            assert await names(fs, prefix="a/b/") == []
            assert await entries(fs, "a/b") == []
            async with aclosing(reader.read(0, len(data))) as pieces:
                assert b"".join([bytes(piece) async for piece in pieces]) == data
        rest = ["a/", "a/b-/", "a/b-/f", "a/b.txt", "a/bc/", "a/bc/f"]
        assert await shown(fs) == rest
        await plant(fs, "a/b/f")
        assert await load(fs, "a/b/f") == b"a/b/f"
        assert await shown(fs) == sorted([*rest, "a/b/", "a/b/f"])

    @pytest.mark.parametrize("removed", ["a", "a/b"])
    @pytest.mark.parametrize("path", ["a/b/f", "a/b/c/d/f"])
    @pytest.mark.parametrize("way", ["removed", "moved", "replaced"])
    async def test_an_upload_does_not_bring_its_folder_back(
        self, fs: FileSystem, removed: str, path: str, way: str
    ) -> None:
        await plant(fs, "a/b/old", "other/old")
        async with await fs.create(DIR, path) as writer:
            await writer.write(b"late")
            await writer.flush()
            if way == "removed":
                await fs.remove_folder(DIR, removed)
            elif way == "moved":
                await move(fs, removed, "gone")
            else:
                await move(fs, "other", removed)
            before = await shown(fs)
            with raises(NoSuchFolder):
                await writer.commit()
        assert await shown(fs) == before

    async def test_a_listing_goes_on_when_a_folder_is_removed_or_moved(
        self, fs: FileSystem
    ) -> None:
        stay = [f"s/{n:03}" for n in range(120)]
        for folder in ("a", "m", "r"):
            await asyncio.gather(*(store(fs, f"{folder}/{n:03}", b"") for n in range(40)))
        await asyncio.gather(*(store(fs, path, b"") for path in stay))
        async with aclosing(fs.list_files(DIR)) as batches:
            found = [info.path for info in await anext(batches)]
            await move(fs, "m", "z")
            await fs.remove_folder(DIR, "r")
            found += [info.path async for batch in batches for info in batch]
        assert [path for path in found if path in stay] == stay
        assert found == sorted(set(found))
        assert len([path for path in found if path.startswith("a/")]) == 40

    # Moving.

    async def test_a_file_moves_with_its_version_and_times(self, fs: FileSystem) -> None:
        await fs.make_directory(OTHER)
        await store(fs, "a/f", b"1")
        await asyncio.sleep(0.01)
        info = (await store(fs, "a/f", b"22")).info
        for directory, path, to_directory, to_path in (
            (DIR, "a/f", DIR, "a/g"),
            (DIR, "a/g", DIR, "new/folder/f"),
            (DIR, "new/folder/f", OTHER, "f"),
            (OTHER, "f", DIR, "b"),
        ):
            moved = await fs.move(directory, path, to_directory, to_path)
            assert moved.replaced is None
            assert moved.entry == await fs.stat(to_directory, to_path)
            assert isinstance(moved.entry, FileInfo)
            assert moved.entry.version == info.version
            assert moved.entry.size == 2
            assert moved.entry.created_ns == info.created_ns
            assert moved.entry.modified_ns == info.modified_ns
            with raises(NoSuchFile):
                await fs.stat(directory, path)
        assert await load(fs, "b") == b"22"
        assert await shown(fs) == ["a/", "b", "new/", "new/folder/"]
        await fs.remove_directory(OTHER)

    async def test_a_folder_moves_with_everything_in_it(self, fs: FileSystem) -> None:
        await fs.make_directory(OTHER)
        await plant(fs, "a/f", "a/b/c/d/f", "a/empty/", "ab/f", "a.txt")
        data = content(2 * CHUNK)
        infos = {info.path: info for info in await listed(fs, prefix="a/")}
        await store(fs, "a/large", data)
        async with await fs.open(DIR, "a/large") as reader:
            moved = await move(fs, "a", "new/place")
            assert moved == Moved(await fs.stat_folder(DIR, "new/place"), None)
            with raises(NoSuchFile):
                await fs.stat(DIR, "a/b/c/d/f")
            with raises(NoSuchFolder):
                await fs.stat_folder(DIR, "a")
            async with aclosing(reader.read(0, len(data))) as pieces:
                assert b"".join([bytes(piece) async for piece in pieces]) == data
        assert await load(fs, "new/place/b/c/d/f") == b"a/b/c/d/f"
        for path, info in infos.items():
            there = await fs.stat(DIR, f"new/place{path[1:]}")
            assert (there.version, there.created_ns) == (info.version, info.created_ns)
        assert await shown(fs) == [
            *("a.txt", "ab/", "ab/f", "new/", "new/place/", "new/place/b/", "new/place/b/c/"),
            *("new/place/b/c/d/", "new/place/b/c/d/f", "new/place/empty/", "new/place/f"),
            "new/place/large",
        ]
        await fs.move(DIR, "new/place", OTHER, "a")
        assert await fs.usage(OTHER) == Usage(3, 5, 2 * CHUNK + 12)
        assert await entries(fs, "new") == []
        await fs.move(OTHER, "a", DIR, "a")
        assert await names(fs, prefix="a/") == ["a/b/c/d/f", "a/f", "a/large"]
        await fs.remove_directory(OTHER)

    async def test_nothing_moves_into_itself(self, fs: FileSystem) -> None:
        await plant(fs, "a/b/f", "file")
        before = await shown(fs)
        for path, to in (
            *(("a", "a"), ("a/b", "a/b"), ("file", "file"), ("a/b/f", "a/b/f")),
            *(("a", "a/b"), ("a", "a/new/x"), ("a", "a/b/f"), ("file", "file/x")),
            *(("a/b", "a"), ("a/b/f", "a"), ("a/b/f", "a/b")),
        ):
            for expect_there in (ANYTHING, ABSENT):
                with raises(MovesIntoItself, AlreadyExists):
                    await move(fs, path, to, expect_there=expect_there)
            with raises(MovesIntoItself):
                await move(fs, path, to)
        assert await shown(fs) == before

    @pytest.mark.parametrize("to", ["file", "folder", "empty", "deep/file", "deep/folder"])
    @pytest.mark.parametrize("path", ["my-file", "my-folder", "mine/empty"])
    async def test_what_is_there_is_replaced_as_a_whole(
        self, fs: FileSystem, path: str, to: str
    ) -> None:
        await plant(fs, "my-file", "my-folder/new", "mine/empty/")
        await plant(fs, "file", "folder/old", "folder/in/old", "empty/", "deep/file")
        await plant(fs, "deep/folder/old")
        before = await shown(fs)
        old = await (fs.stat if to.endswith("file") else fs.stat_folder)(DIR, to)
        with raises(AlreadyExists):
            await move(fs, path, to, expect_there=ABSENT)
        assert await shown(fs) == before
        moved = await move(fs, path, to, expect_there=PRESENT)
        assert moved.replaced == old
        assert moved.entry.path == to
        gone = {to, f"{to}/", f"{to}/old", f"{to}/in/", f"{to}/in/old"}
        gone |= {path, f"{path}/", f"{path}/new"}
        come = [to] if path == "my-file" else [f"{to}/"]
        come += [f"{to}/new"] if path == "my-folder" else []
        assert await shown(fs) == sorted({*before, *come} - (gone - set(come)))

    async def test_a_file_that_is_moved_over_keeps_its_own_age(self, fs: FileSystem) -> None:
        await store(fs, "old", b"old")
        await asyncio.sleep(0.01)
        new = (await store(fs, "new", b"new")).info
        moved = await move(fs, "new", "old")
        assert isinstance(moved.entry, FileInfo)
        assert moved.entry.created_ns == new.created_ns
        assert await listed(fs) == [moved.entry]

    async def test_what_is_expected_at_both_ends_is_checked(self, fs: FileSystem) -> None:
        await plant(fs, "a", "b", "folder/f")
        a, b = await fs.stat(DIR, "a"), await fs.stat(DIR, "b")
        before = await shown(fs)
        for path, to, expected in (
            ("a", "b", {"expect": OF_ANOTHER}),
            ("a", "b", {"expect": of(b)}),
            ("a", "b", {"expect_there": OF_ANOTHER}),
            ("a", "b", {"expect": of(a), "expect_there": of(a)}),
            ("a", "new/place", {"expect_there": PRESENT}),
            ("a", "new/place", {"expect_there": of(a)}),
            ("a", "folder", {"expect_there": of(a)}),
            ("folder", "c", {"expect": of(a)}),
        ):
            with raises(VersionMismatch):
                await move(fs, path, to, **expected)
        for to in ("b", "folder"):
            with raises(AlreadyExists):
                await move(fs, "a", to, expect=of(a), expect_there=ABSENT)
        assert await shown(fs) == before
        await move(fs, "a", "b", expect=of(a), expect_there=of(b))
        await move(fs, "folder", "new/place", expect=PRESENT, expect_there=ABSENT)
        assert await shown(fs) == ["b", "new/", "new/place/", "new/place/f"]

    async def test_what_cannot_be_moved_stays(self, fs: FileSystem) -> None:
        await plant(fs, "a/f", "file")
        before = await shown(fs)
        for path in ("absent", "a/absent", "absent/f", "file/f"):
            with raises(NoSuchFile):
                await move(fs, path, "b/c")
            with raises(NoSuchFile):
                await move(fs, path, "b")
        with raises(NoSuchFile):
            await fs.move("absent", "f", DIR, "b/c")
        for path in ("a", "a/f"):
            for to in ("file/g", "file/g/h"):
                with raises(NotAFolder):
                    await move(fs, path, to)
            with raises(NoSuchDirectory):
                await fs.move(DIR, path, "absent", "b/c")
        assert await shown(fs) == before

    async def test_an_upload_over_what_was_moved_away_is_a_new_file(self, fs: FileSystem) -> None:
        await store(fs, "f", b"old")
        async with await fs.create(DIR, "f") as writer:
            await writer.write(b"new")
            await move(fs, "f", "g")
            assert (await writer.commit()).replaced is None
        assert [await load(fs, name) for name in ("f", "g")] == [b"new", b"old"]

    async def test_of_many_who_move_a_folder_one_does(self, fs: FileSystem) -> None:
        await plant(fs, "a/f", "a/b/g")
        results = await asyncio.gather(
            *(move(fs, "a", f"to/{n}") for n in range(8)), return_exceptions=True
        )
        (won,) = [n for n, result in enumerate(results) if isinstance(result, Moved)]
        assert sum(isinstance(result, NoSuchFile) for result in results) == 7
        assert await names(fs) == [f"to/{won}/b/g", f"to/{won}/f"]

    async def test_two_who_swap_places_lose_nothing(self, fs: FileSystem) -> None:
        """Each would be inside of the other, if both were moved."""
        await plant(fs, "a/f", "b/f")
        results = await asyncio.gather(
            move(fs, "a", "b/a"), move(fs, "b", "a/b"), return_exceptions=True
        )
        moved = [result for result in results if isinstance(result, Moved)]
        assert len(moved) in (1, 2)
        assert len(await names(fs)) == 2

    async def test_a_folder_that_is_moved_is_seen_at_one_place(self, fs: FileSystem) -> None:
        await plant(fs, "0/f", "0/g/h")
        ended = False

        async def watch() -> int:
            looks = 0
            while not ended:
                found = [entry.path for entry in await entries(fs)]
                assert len(found) == 1, found
                looks += 1
            return looks

        watching = asyncio.gather(watch(), watch())
        for number in range(30):
            await move(fs, f"{number}", f"{number + 1}")
        ended = True
        assert min(await watching) > 0

    async def test_nobody_sees_half_of_a_move_over_a_folder(self, fs: FileSystem) -> None:
        """There is always one at the end, and what is replaced is never at the beginning."""
        await plant(fs, "there/f")
        ended = False
        replaced: set[str] = set()

        async def watch_there() -> None:
            while not ended:
                assert (await fs.stat(DIR, "there/f")).size > 0
                assert [entry.path for entry in await entries(fs, "there")] == ["there/f"]

        async def watch_here() -> None:
            while not ended:
                gone = frozenset(replaced)
                with suppress(NoSuchFile):
                    assert (await fs.stat(DIR, "here/f")).version not in gone
                await asyncio.sleep(0)

        watching = asyncio.gather(watch_there(), watch_there(), watch_here())
        for _ in range(20):
            await plant(fs, "here/f")
            replaced.add((await fs.stat(DIR, "there/f")).version)
            assert isinstance((await move(fs, "here", "there")).replaced, FolderInfo)
        ended = True
        await watching

    async def test_uploads_into_a_folder_that_is_moved_are_all_somewhere(
        self, fs: FileSystem
    ) -> None:
        await plant(fs, "busy/first")
        published = {"first"}
        ended = False

        async def upload(client: int) -> None:
            number = 0
            while not ended:
                name = f"{client}-{number}"
                number += 1
                try:
                    await store(fs, f"busy/{name}", name.encode())
                except NoSuchFolder:
                    continue
                published.add(name)

        async def read() -> None:
            while not ended:
                for place in ("busy", "moved/0", "moved/1", "moved/2"):
                    for info in await listed(fs, prefix=f"{place}/"):
                        with suppress(NoSuchFile):
                            assert (await load(fs, info.path)).decode() in (info.name, "busy/first")

        def grown(wanted: int) -> bool:
            return len(published) >= wanted

        running = asyncio.gather(*(upload(client) for client in range(6)), read(), read())
        for number in range(3):
            await eventually(partial(grown, len(published) + 12))  # by then it was made again
            await move(fs, "busy", f"moved/{number}")
        ended = True
        await running
        found = [info.name for info in await listed(fs)]
        assert sorted(found) == sorted(published)

    # Listing.

    async def test_folders_are_listed_among_the_files(self, fs: FileSystem) -> None:
        await plant(fs, "a/b", "a.txt", "a0", "b/c/d", "e/")
        assert await names(fs) == ["a.txt", "a/b", "a0", "b/c/d"]
        assert await entries(fs) == [
            await fs.stat_folder(DIR, "a"),
            await fs.stat(DIR, "a.txt"),
            await fs.stat(DIR, "a0"),
            await fs.stat_folder(DIR, "b"),
            await fs.stat_folder(DIR, "e"),
        ]
        assert await entries(fs, "b") == [await fs.stat_folder(DIR, "b/c")]
        assert await entries(fs, "b/c") == [await fs.stat(DIR, "b/c/d")]
        assert await entries(fs, "e") == []

    async def test_lists_have_their_order_at_every_depth(self, fs: FileSystem) -> None:
        files, folders = random_paths()
        await asyncio.gather(*(store(fs, path, b"x") for path in files))
        for folder in folders - {above for path in files | folders for above in parents(path)}:
            await fs.make_folder(DIR, folder)
        ordered = sorted(files, key=str.encode)
        assert await names(fs) == ordered
        assert await fs.usage(DIR) == Usage(len(files), len(folders), len(files))
        for prefix in ("/", "/a", "//", "a//"):  # no path has these
            assert await names(fs, prefix=prefix) == []
        dice = random.Random(6)
        there = [*files, *folders, *(f"{folder}/" for folder in folders)]
        odd = ["", "/", "a/", "a//b", "a/\x01", "a/b/a/b/a/b", "zz", "b/zz", "\U0010ffff"]

        def some() -> str:
            text = dice.choice(there if dice.random() < 0.8 else odd)
            return text[: dice.randint(0, len(text))] if dice.random() < 0.5 else text

        for _ in range(150):
            prefix, after, limit = some(), some(), dice.choice([None, 0, 1, 3, 10])
            wanted = [p for p in ordered if p.startswith(prefix) and p.encode() > after.encode()]
            found = await names(fs, prefix=prefix, after=after, limit=limit)
            assert found == wanted[:limit], (prefix, after, limit)
        starts = ("", "a", "a-", "a ", "a/", "ü", "b", "\x01", "a\x01", "~", "🦆", "zz")
        for _ in range(150):
            folder = dice.choice(["", *sorted(folders)])
            prefix, after, limit = (
                dice.choice(starts),
                dice.choice(starts),
                dice.choice([None, 0, 1, 3, 10]),
            )
            kind = dice.choice([None, "file", "folder"])
            base = f"{folder}/" if folder else ""
            below = {
                p[len(base) :].partition("/")[0] for p in files | folders if p.startswith(base)
            }
            wanted = [n for n in below if n.startswith(prefix) and n.encode() > after.encode()]
            if kind is not None:
                wanted = [n for n in wanted if (base + n in folders) == (kind == "folder")]
            listing = await entries(fs, folder, prefix=prefix, after=after, limit=limit, kind=kind)
            assert [entry.name for entry in listing] == sorted(wanted, key=str.encode)[:limit]
            for entry in listing:
                assert isinstance(entry, FolderInfo) == (entry.path in folders)

    async def test_pages_of_a_listing_fit_together(self, fs: FileSystem) -> None:
        paths = [f"{folder}/{n:03}" for folder in ("a", "a/b", "c") for n in range(40)]
        await asyncio.gather(*(store(fs, path, b"") for path in paths))
        for limit in (1, 7, 40, 1000):
            found: list[str] = []
            while page := await names(fs, limit=limit, after=found[-1] if found else ""):
                assert len(page) <= limit
                found += page
            assert found == sorted(paths)

    async def test_usage_counts_all_depths_and_can_be_bounded(self, fs: FileSystem) -> None:
        await plant(fs, "f", "a/f", "a/b/f", "a/b/empty/", "a/b.txt")
        assert await fs.usage(DIR) == Usage(4, 3, 16)
        assert await fs.usage(DIR, "a") == Usage(3, 2, 15)
        assert await fs.usage(DIR, "a/b") == Usage(1, 1, 5)
        assert await fs.usage(DIR, "a/b/empty") == Usage(0, 0, 0)
        for most in (1, 3, 6):
            part = await fs.usage(DIR, most=most)
            assert not part.complete
            assert part.files + part.folders < 7
        assert await fs.usage(DIR, most=1000) == Usage(4, 3, 16)

    async def test_a_removed_directory_takes_its_folders_along(self, fs: FileSystem) -> None:
        await plant(fs, "a/b/f", "a/empty/")
        await fs.remove_directory(DIR)
        assert await names(fs) == []
        assert await entries(fs) == []
        with raises(NoSuchFolder):
            await fs.stat_folder(DIR, "a")
        with raises(NoSuchFile):
            await fs.stat(DIR, "a/b/f")
        with raises(NoSuchDirectory):
            await fs.make_folder(DIR, "a")
        await fs.make_directory(DIR)
        assert await shown(fs) == []
