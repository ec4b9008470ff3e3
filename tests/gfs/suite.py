"""What every engine must do: the contract of :mod:`gfs.api` as tests.

An engine runs it by a subclass of :class:`FileSystemSuite` that has a fixture ``fs``: an open
FileSystem with an empty directory ``DIR``, and a fixture ``reopen``
(:data:`tests.gfs.upload_suite.Reopen`). What an engine cannot do, it declares in ``lacks``, with
the reason that the skipped tests show; it never overrides a test. What concerns folders is in
:mod:`tests.gfs.folder_suite`, and versions that are made in parts in :mod:`tests.gfs.upload_suite`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import aclosing
from itertools import cycle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gfs.api import BufferWriter, DescriptorReader, FileSystem
from gfs.errors import (
    AlreadyExists,
    InvalidName,
    NoSuchDirectory,
    NoSuchFile,
    StoreFull,
    VersionMismatch,
)
from gfs.paths import check_name, check_store_id
from gfs.types import ABSENT, ANYTHING, PRESENT, Expect, FileInfo, Published, Usage
from tests.gfs.folder_suite import FolderSuite
from tests.gfs.suite_parts import CHUNK, DIR, NAMES, content, feed, listed, load, names, store
from tests.gfs.upload_suite import UploadSuite

__all__ = ["CHUNK", "DIR", "FileSystemSuite", "content", "feed", "listed", "load", "names", "store"]

SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7)
BAD_NAMES = ("", ".", "..", "a\\b", "a\0b", "a\nb", "\x7f", " a", "a ", "é" * 128, "\udcff")
BAD_DIRECTORIES = ("", ".", "..", "a/b", "a b", "~tmp", "x" * 64, "ü", "a\0")


class FileSystemSuite(FolderSuite, UploadSuite):
    """Subclass it in a module of ``tests/gfs``, with fixtures ``fs`` and ``reopen``."""

    # Bytes.

    @pytest.mark.parametrize("size", SIZES)
    async def test_what_went_in_comes_out(self, fs: FileSystem, size: int) -> None:
        data = content(size)
        published = await store(fs, "f", data)
        assert (published.info.size, published.replaced) == (size, None)
        assert hashlib.sha256(await load(fs, "f")).digest() == hashlib.sha256(data).digest()
        async with await fs.open(DIR, "f") as reader:
            assert reader.info == published.info == await fs.stat(DIR, "f")

    async def test_any_span_can_be_read(self, fs: FileSystem) -> None:
        data = content(3 * CHUNK + 7)
        await store(fs, "f", data)
        edges = sorted(
            {0, 1, len(data) - 1, len(data)}
            | {n * CHUNK + d for n in (1, 2, 3) for d in (-1, 0, 1)}
        )
        spans = [(a, b - a) for a in edges for b in edges if a <= b]
        chosen = random.Random(2).sample(spans, 30)
        for start, length in [*chosen, (0, 0), (len(data), 0)]:
            assert await load(fs, "f", start, length) == data[start : start + length]

    async def test_a_span_beyond_the_end_is_a_mistake_of_the_caller(self, fs: FileSystem) -> None:
        await store(fs, "f", b"12345")
        for start, length in ((0, 6), (5, 1), (6, 0), (-1, 1), (0, -1)):
            with pytest.raises(ValueError, match=r"."):
                await load(fs, "f", start, length)

    async def test_two_reads_of_one_reader_do_not_disturb_each_other(self, fs: FileSystem) -> None:
        data = content(2 * CHUNK)
        await store(fs, "f", data)
        async with (
            await fs.open(DIR, "f") as reader,
            aclosing(reader.read(0, CHUNK)) as one,
            aclosing(reader.read(CHUNK, CHUNK)) as two,
        ):
            first, second = bytearray(), bytearray()
            async for piece in one:
                first += piece
                second += await anext(two, b"")
            second += b"".join([bytes(piece) async for piece in two])
        assert (bytes(first), bytes(second)) == (data[:CHUNK], data[CHUNK:])

    async def test_what_is_open_shows_its_state_in_one_line(self, fs: FileSystem) -> None:
        await store(fs, "f", b"12345")
        writer = await fs.create(DIR, "g")
        await writer.write(b"123")
        async with await fs.open(DIR, "f") as reader:
            for shown in map(repr, (fs, reader, writer)):
                assert " object at 0x" not in shown
                assert "\n" not in shown
                assert len(shown) < 300
            assert "'f' size=5" in repr(reader)
        assert "'g'" in repr(writer)
        await writer.abort()

    async def test_pieces_are_not_empty_and_not_large(self, fs: FileSystem) -> None:
        await store(fs, "f", content(CHUNK + 1))
        async with (
            await fs.open(DIR, "f") as reader,
            aclosing(reader.read(0, CHUNK + 1)) as pieces,
        ):
            sizes = [len(piece) async for piece in pieces]
        assert sum(sizes) == CHUNK + 1
        assert all(1 <= size <= 1024 * 1024 for size in sizes)

    async def test_pieces_of_any_size_can_be_written(self, fs: FileSystem) -> None:
        data = content(CHUNK + 3)
        async with await fs.create(DIR, "f") as writer:
            position = 0
            for size in (0, 1, 7, 5000, 0, 600_000, 1, 2 * 1024 * 1024):
                await writer.write(memoryview(data)[position : position + size])
                position += size
            await feed(writer, data[position:], 999)
            await writer.commit()
        assert await load(fs, "f") == data

    async def test_a_writers_own_memory_can_be_filled(self, fs: FileSystem) -> None:
        data = content(CHUNK + 5000)
        async with await fs.create(DIR, "f") as writer:
            if not isinstance(writer, BufferWriter):
                pytest.skip("this engine's writers lend no memory")
            position = 0
            for most in cycle((1, 7, 100_000, CHUNK, 3)):
                if position == len(data):
                    break
                space = await writer.space(min(most, len(data) - position))
                assert 1 <= len(space) <= most
                count = len(space) if most != 7 else 0
                space[:count] = data[position : position + count]
                await writer.advance(count)
                position += count
            await writer.write(b"the end")
            await writer.commit()
        assert await load(fs, "f") == data + b"the end"

    async def test_a_descriptor_has_the_bytes_of_the_version(self, fs: FileSystem) -> None:
        data = content(5000)
        await store(fs, "f", data)
        async with await fs.open(DIR, "f") as reader:
            if not isinstance(reader, DescriptorReader):
                pytest.skip("this engine's readers have no descriptor")
            await store(fs, "f", b"other")
            with open(reader.fileno(), "rb", closefd=False) as file:
                assert file.read() == data

    # Versions.

    async def test_a_version_changes_with_every_publish(self, fs: FileSystem) -> None:
        versions = [(await store(fs, "f", b"same")).info.version for _ in range(50)]
        assert len(set(versions)) == 50
        for version in versions:
            assert version.isascii()
            assert version.isprintable()
            assert 1 <= len(version) <= 64
            assert not set(version) & set("\"\\ '")

    async def test_an_overwrite_keeps_the_time_of_creation(self, fs: FileSystem) -> None:
        first = (await store(fs, "f", b"1")).info
        await asyncio.sleep(0.01)
        second = await store(fs, "f", b"2")
        assert second.replaced == first
        assert second.info.created_ns == first.created_ns
        assert second.info.modified_ns > first.modified_ns

    async def test_a_copy_has_the_times_of_its_original(self, fs: FileSystem) -> None:
        original = FileInfo("", "", 1, "", 1_000_000_000_123_456_789, 1_500_000_000_987_654_321)
        async with await fs.create(DIR, "copy", times_of=original) as writer:
            await writer.write(b"2")
            published = (await writer.commit()).info
        for copy in (published, await fs.stat(DIR, "copy")):
            assert copy.created_ns // 10**9 == original.created_ns // 10**9
            assert copy.modified_ns == original.modified_ns

    async def test_an_overwrite_is_not_seen_by_an_open_reader(self, fs: FileSystem) -> None:
        old = content(3 * CHUNK, 1)
        await store(fs, "f", old)
        async with (
            await fs.open(DIR, "f") as reader,
            aclosing(reader.read(0, len(old))) as pieces,
        ):
            got = bytearray(await anext(pieces))
            await store(fs, "f", content(3 * CHUNK, 2))
            async for piece in pieces:
                got += piece
        assert bytes(got) == old

    async def test_a_delete_is_not_seen_by_an_open_reader(self, fs: FileSystem) -> None:
        old = content(3 * CHUNK, 1)
        await store(fs, "f", old)
        async with (
            await fs.open(DIR, "f") as reader,
            aclosing(reader.read(0, len(old))) as pieces,
        ):
            got = bytearray(await anext(pieces))
            await fs.delete(DIR, "f")
            with pytest.raises(NoSuchFile):
                await fs.stat(DIR, "f")
            async for piece in pieces:
                got += piece
        assert bytes(got) == old

    # Publishing.

    async def test_nothing_is_visible_before_the_commit(self, fs: FileSystem) -> None:
        async with await fs.create(DIR, "f") as writer:
            await feed(writer, content(CHUNK + 1))
            await writer.flush()
            with pytest.raises(NoSuchFile):
                await fs.stat(DIR, "f")
            assert await names(fs) == []
            await writer.commit()
        assert await names(fs) == ["f"]

    @pytest.mark.parametrize("pieces", [0, 1, 5, 30, 45])
    @pytest.mark.parametrize("flushed", [False, True])
    async def test_an_abort_leaves_what_was_there(
        self, fs: FileSystem, pieces: int, flushed: bool
    ) -> None:
        await store(fs, "f", b"old")
        writer = await fs.create(DIR, "f")
        await feed(writer, content(pieces * 100_000))
        if flushed:
            await writer.flush()
        await writer.abort()
        await writer.abort()
        assert await load(fs, "f") == b"old"
        assert await names(fs) == ["f"]

    async def test_leaving_the_context_aborts(self, fs: FileSystem) -> None:
        with pytest.raises(RuntimeError, match="the source died"):
            async with await fs.create(DIR, "f") as writer:
                await writer.write(b"half")
                raise RuntimeError("the source died")
        assert await names(fs) == []

    @pytest.mark.parametrize("after", [0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03])
    async def test_a_cancelled_upload_is_there_whole_or_not_at_all(
        self, fs: FileSystem, after: float
    ) -> None:
        await store(fs, "f", b"old")
        new = content(2 * CHUNK)
        task = asyncio.create_task(store(fs, "f", new))
        await asyncio.sleep(after)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await load(fs, "f") in (b"old", new)
        assert await names(fs) == ["f"]
        await store(fs, "f", b"newer")  # and nothing stands in the way of the next one
        assert await load(fs, "f") == b"newer"

    async def test_an_upload_that_ends_leaves_no_task_behind(self, fs: FileSystem) -> None:
        before = asyncio.all_tasks()
        await store(fs, "f", content(CHUNK))
        writer = await fs.create(DIR, "g")
        await feed(writer, content(CHUNK))
        await writer.abort()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() <= before

    async def test_exclusive_creation_refuses_at_once_and_at_commit(self, fs: FileSystem) -> None:
        async with await fs.create(DIR, "f", expect=ABSENT) as writer:
            await writer.write(b"late")
            await store(fs, "f", b"early", expect=ABSENT)
            with pytest.raises(AlreadyExists):
                await fs.create(DIR, "f", expect=ABSENT)
            with pytest.raises(AlreadyExists):
                await writer.commit()
        assert await load(fs, "f") == b"early"

    async def test_of_many_exclusive_creators_one_wins(self, fs: FileSystem) -> None:
        contents = [content(1000 + n, n) for n in range(12)]
        results = await asyncio.gather(
            *(store(fs, "f", data, expect=ABSENT) for data in contents), return_exceptions=True
        )
        won = [n for n, result in enumerate(results) if isinstance(result, Published)]
        assert len(won) == 1
        lost = [result for n, result in enumerate(results) if n not in won]
        assert all(isinstance(result, AlreadyExists) for result in lost)
        assert await load(fs, "f") == contents[won[0]]

    async def test_of_two_writers_one_is_there_whole(self, fs: FileSystem) -> None:
        contents = [content(CHUNK + n, n) for n in range(2)]
        await asyncio.gather(*(store(fs, "f", data) for data in contents))
        assert await load(fs, "f") in contents

    async def test_a_required_version_is_required_at_commit(self, fs: FileSystem) -> None:
        old = (await store(fs, "f", b"old")).info
        mine = Expect(versions=frozenset({old.version, "another"}))
        async with await fs.create(DIR, "f", expect=mine) as writer:
            await writer.write(b"mine")
            await store(fs, "f", b"theirs", expect=mine)
            with pytest.raises(VersionMismatch):
                await writer.commit()
        with pytest.raises(VersionMismatch):
            await fs.create(DIR, "f", expect=mine)
        assert await load(fs, "f") == b"theirs"

    async def test_presence_is_required_at_commit(self, fs: FileSystem) -> None:
        with pytest.raises(VersionMismatch):
            await fs.create(DIR, "f", expect=PRESENT)
        await store(fs, "f", b"old")
        async with await fs.create(DIR, "f", expect=PRESENT) as writer:
            await fs.delete(DIR, "f")
            with pytest.raises(VersionMismatch):
                await writer.commit()
        assert await names(fs) == []

    async def test_a_size_that_no_store_has_is_refused_before_the_bytes(
        self, fs: FileSystem
    ) -> None:
        with pytest.raises(StoreFull):
            await fs.create(DIR, "f", size=2**62)

    # Deleting.

    async def test_delete(self, fs: FileSystem) -> None:
        info = (await store(fs, "f", b"1")).info
        with pytest.raises(VersionMismatch):
            await fs.delete(DIR, "f", expect=Expect(versions=frozenset({"other"})))
        mine = Expect(versions=frozenset({info.version}))
        assert await fs.delete(DIR, "f", expect=mine) == info
        for expect in (ANYTHING, Expect(versions=frozenset({info.version}))):
            with pytest.raises(NoSuchFile):
                await fs.delete(DIR, "f", expect=expect)
        with pytest.raises(NoSuchFile):
            await fs.open(DIR, "f")

    # Directories.

    async def test_directories_are_made_and_removed_any_number_of_times(
        self, fs: FileSystem
    ) -> None:
        await fs.make_directory("another")
        await fs.make_directory("another")
        await fs.remove_directory("another")
        await fs.remove_directory("another")
        assert await fs.usage("another") == Usage(0, 0, 0)

    async def test_a_removed_directory_takes_its_files_along(self, fs: FileSystem) -> None:
        data = content(2 * CHUNK)
        await store(fs, "f", data)
        async with await fs.open(DIR, "f") as reader:
            await fs.remove_directory(DIR)
            assert await names(fs) == []
            with pytest.raises(NoSuchFile):
                await fs.stat(DIR, "f")
            with pytest.raises(NoSuchDirectory):
                await fs.create(DIR, "f")
            async with aclosing(reader.read(0, len(data))) as pieces:
                assert b"".join([bytes(piece) async for piece in pieces]) == data
        await fs.make_directory(DIR)
        assert await names(fs) == []

    async def test_an_upload_does_not_bring_its_directory_back(self, fs: FileSystem) -> None:
        for expect in (ANYTHING, ABSENT):
            async with await fs.create(DIR, "f", expect=expect) as writer:
                await writer.write(b"1")
                await fs.remove_directory(DIR)
                with pytest.raises(NoSuchDirectory):
                    await writer.commit()
            await fs.make_directory(DIR)
            assert await names(fs) == []

    async def test_files_of_two_directories_are_apart(self, fs: FileSystem) -> None:
        await fs.make_directory("another")
        await store(fs, "f", b"1")
        with pytest.raises(NoSuchFile):
            await fs.stat("another", "f")
        await fs.remove_directory("another")
        assert await load(fs, "f") == b"1"

    # Listing.

    async def test_a_listing_is_sorted_by_bytes_and_can_be_paged(self, fs: FileSystem) -> None:
        expected = sorted(NAMES, key=str.encode)
        for number, name in enumerate(random.Random(3).sample(NAMES, len(NAMES))):
            await store(fs, name, b"x" * number)
        assert await names(fs) == expected
        assert (await fs.usage(DIR)).files == len(NAMES)
        for limit in (1, 4, len(NAMES), 1000):
            paged: list[str] = []
            while page := await names(fs, limit=limit, after=paged[-1] if paged else ""):
                assert len(page) <= limit
                paged += page
            assert paged == expected
        assert await names(fs, limit=0) == []

    async def test_a_listing_says_what_stat_says(self, fs: FileSystem) -> None:
        await store(fs, "a", b"1")
        await store(fs, "b", b"22")
        await store(fs, "b", b"333")
        assert await listed(fs) == [await fs.stat(DIR, "a"), await fs.stat(DIR, "b")]

    async def test_a_listing_filters_by_prefix(self, fs: FileSystem) -> None:
        for name in ("a", "ab", "abc", "b", "ü", "üb"):
            await store(fs, name, b"")
        assert await names(fs, prefix="ab") == ["ab", "abc"]
        assert await names(fs, prefix="ab", after="ab") == ["abc"]
        assert await names(fs, prefix="a", limit=2) == ["a", "ab"]
        assert await names(fs, prefix="ü", after="a") == ["ü", "üb"]
        assert await names(fs, prefix="c") == []

    async def test_a_listing_survives_what_comes_and_goes_meanwhile(self, fs: FileSystem) -> None:
        stay = [f"{n:04}" for n in range(0, 600, 2)]
        for name in stay:
            await store(fs, name, b"")
        async with aclosing(fs.list_files(DIR)) as batches:
            found = [info.path for info in await anext(batches)]
            await store(fs, "0599", b"")
            await fs.delete(DIR, "0000")
            found += [info.path async for batch in batches for info in batch]
        assert [name for name in found if name in stay] == stay
        assert len(found) == len(set(found))

    # Names.

    @pytest.mark.parametrize("name", NAMES)
    async def test_a_name_comes_out_as_it_went_in(self, fs: FileSystem, name: str) -> None:
        await store(fs, name, name.encode())
        assert await load(fs, name) == name.encode()
        assert await names(fs) == [name]
        await fs.delete(DIR, name)
        assert await names(fs) == []

    @pytest.mark.parametrize("name", BAD_NAMES)
    async def test_a_name_that_cannot_be_is_refused(self, fs: FileSystem, name: str) -> None:
        for call in (fs.stat, fs.open, fs.create, fs.delete):
            with pytest.raises(InvalidName):
                await call(DIR, name)

    @pytest.mark.parametrize("directory", BAD_DIRECTORIES)
    async def test_a_directory_that_cannot_be_is_refused(
        self, fs: FileSystem, directory: str
    ) -> None:
        for call in (fs.make_directory, fs.remove_directory, fs.usage):
            with pytest.raises(InvalidName):
                await call(directory)
        for reach in (fs.stat, fs.open, fs.create, fs.delete):
            with pytest.raises(InvalidName):
                await reach(directory, "f")

    def test_names_that_pass_are_one_segment(self) -> None:
        @settings(max_examples=300, suppress_health_check=list(HealthCheck))
        @given(st.text(st.characters(), max_size=300))
        def check(name: str) -> None:
            try:
                check_name(name)
            except InvalidName:
                return
            assert 1 <= len(name.encode()) <= 255
            assert not set(name) & set("/\\\0\r\n")
            assert name not in (".", "..")

        check()

    # The store itself.

    async def test_a_store_has_an_id_that_stays(self, fs: FileSystem) -> None:
        found = await fs.identity()
        assert check_store_id(found) == found
        await store(fs, "file", b"x")
        assert await fs.identity() == found

    async def test_status_and_check(self, fs: FileSystem) -> None:
        status = await fs.status()
        assert status.engine
        assert 0 <= status.used <= status.capacity
        assert 1 <= status.chunkservers <= status.servers
        await fs.check()
