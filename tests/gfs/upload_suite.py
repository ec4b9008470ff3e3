"""What the suite has of versions that are made in parts: by several writers one after the other,
in several processes, published at most once and never mixed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import pairwise

import pytest

from gfs.api import Assembly, BlockingWriter, BufferWriter, FileSystem, PartWriter, Sink
from gfs.errors import (
    AlreadyExists,
    InvalidName,
    IsFolder,
    NoSuchDirectory,
    NoSuchFile,
    NoSuchFolder,
    NoSuchUpload,
    NotAFolder,
    StoreUnavailable,
    VersionMismatch,
)
from gfs.types import ABSENT, ANYTHING, PRESENT, Expect, Part, Published, Usage
from tests.gfs.folder_suite import BAD_PATHS, of
from tests.gfs.suite_parts import CHUNK, DIR, Suite, content, feed, load, names, store
from tests.support.ledger import MemoryLedger
from tests.support.waiting import eventually

Reopen = Callable[[], Awaitable[FileSystem]]
"""Opens the store again, as another process does when this one has ended: what the FileSystem
before it has made is not used any more."""


SHORT = 24
"""The length of what is cut at every byte."""

LONG = 3 * CHUNK + 7


@asynccontextmanager
async def reopening(
    fs: FileSystem, start: Callable[[], Awaitable[FileSystem]]
) -> AsyncIterator[Reopen]:
    """A Reopen for a store that one process at a time can have: it closes ``fs``, and what it has
    opened with ``start`` since."""
    opened = [fs]

    async def reopen() -> FileSystem:
        await opened[-1].close()
        opened.append(await start())
        return opened[-1]

    yield reopen
    await opened[-1].close()


async def feed_blocking(sink: Sink, data: bytes, piece: int) -> None:
    assert isinstance(sink, BlockingWriter)
    for start in range(0, len(data), piece):
        await asyncio.to_thread(sink.write_blocking, data[start : start + piece])


async def feed_buffers(sink: Sink, data: bytes, piece: int) -> None:
    assert isinstance(sink, BufferWriter)
    position = 0
    while position < len(data):
        space = await sink.space(min(piece, len(data) - position))
        count = len(space)
        space[:] = data[position : position + count]
        await sink.advance(count)
        position += count


WAYS = {
    "write": (feed, object),
    "blocking": (feed_blocking, BlockingWriter),
    "buffers": (feed_buffers, BufferWriter),
}
"""How bytes can be written, and what a Sink has to be for it."""


async def append(fs: FileSystem, ledger: MemoryLedger, data: bytes, piece: int = 100_000) -> None:
    """Write ``data`` behind what is recorded, and record it."""
    async with await ledger.appending(fs, DIR) as writer:
        await feed(writer, data, piece)
        await ledger.record_rest(writer)


async def assemble(
    fs: FileSystem, ledger: MemoryLedger, path: str = "f", *, expect: Expect = ANYTHING
) -> Assembly:
    return await fs.assemble(DIR, path, ledger, ledger.end, expect=expect)


async def commit(
    fs: FileSystem, ledger: MemoryLedger, path: str = "f", *, expect: Expect = ANYTHING
) -> Published:
    """Publish what is recorded, and leave what the publish leaves."""
    async with await assemble(fs, ledger, path, expect=expect) as assembly:
        await assembly.flush()
        return await assembly.commit()


async def publish(
    fs: FileSystem, ledger: MemoryLedger, path: str = "f", *, expect: Expect = ANYTHING
) -> Published:
    """Publish what is recorded, and free what the publish left over, as a server does."""
    async with await assemble(fs, ledger, path, expect=expect) as assembly:
        await assembly.flush()
        published = await assembly.commit()
        await assembly.clear()
        await assembly.clear()
    return published


async def whole(assembly: Assembly) -> list[bytes]:
    async with aclosing(assembly.read()) as pieces:
        return [bytes(piece) async for piece in pieces]


async def spoil(fs: FileSystem, ledger: MemoryLedger, old: PartWriter, data: bytes) -> None:
    """Do all that a writer can do that was overtaken; its Parts are not recorded."""
    try:
        await feed(old, data)
        while (part := await old.part(rest=True)) is not None:
            await fs.discard(ledger, [part])
    except StoreUnavailable:
        return


class UploadSuite(Suite):
    """What :class:`tests.gfs.suite.FileSystemSuite` has of it. Besides ``fs`` there is a fixture
    ``reopen``, a :data:`Reopen`."""

    # Bytes.

    @pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, LONG])
    @pytest.mark.parametrize("way", WAYS)
    async def test_what_came_in_parts_comes_out_whole(
        self, fs: FileSystem, size: int, way: str
    ) -> None:
        feeding, kind = WAYS[way]
        data, ledger = content(size), MemoryLedger()
        cuts = [0, size // 3, size // 3 + 1, size]
        for start, end in pairwise(cuts):
            async with await ledger.appending(fs, DIR) as writer:
                if not isinstance(writer, kind):
                    pytest.skip("this engine's writers have no such way")
                await feeding(writer, data[start:end], 70_001)
                await ledger.record_rest(writer)
            assert ledger.end == end
        published = await publish(fs, ledger, "a/b")
        assert (published.info.size, published.replaced) == (size, None)
        assert published.info == await fs.stat(DIR, "a/b")
        assert await load(fs, "a/b") == data

    async def test_writers_can_change_at_every_byte(self, fs: FileSystem) -> None:
        data = content(SHORT)
        for cut in range(SHORT + 1):
            ledger = MemoryLedger()
            await append(fs, ledger, data[:cut])
            await append(fs, ledger, data[cut:])
            await publish(fs, ledger)
            assert await load(fs, "f") == data, cut

    async def test_many_parts_of_few_bytes(self, fs: FileSystem) -> None:
        data, ledger = content(100), MemoryLedger()
        async with await ledger.appending(fs, DIR) as writer:
            for byte in data:
                await writer.write(bytes([byte]))
                await ledger.record_rest(writer)
        await publish(fs, ledger)
        assert await load(fs, "f") == data

    async def test_parts_are_taken_while_bytes_are_written(self, fs: FileSystem) -> None:
        data, ledger = content(4 * CHUNK + 3), MemoryLedger()
        writing = True

        async def take(writer: PartWriter) -> None:
            while writing:
                part = await writer.part()
                if part is not None:
                    ledger.record(part)
                await asyncio.sleep(0.001)

        async with await ledger.appending(fs, DIR) as writer:
            taking = asyncio.create_task(take(writer))
            await feed(writer, data, 30_000)
            writing = False
            await taking
            await ledger.record_rest(writer)
            assert await writer.part() is None
        assert ledger.end == len(data)
        await publish(fs, ledger)
        assert await load(fs, "f") == data

    async def test_a_part_has_what_it_says_and_no_byte_twice(self, fs: FileSystem) -> None:
        data, ledger = content(LONG), MemoryLedger()
        async with await ledger.appending(fs, DIR) as writer:
            assert await writer.part() is None
            assert await writer.part(rest=True) is None
            await feed(writer, data[: CHUNK + 5])
            while (part := await writer.part()) is not None:
                ledger.record(part)
            assert ledger.end <= CHUNK + 5
            await ledger.record_rest(writer)
            assert ledger.end == CHUNK + 5
            await feed(writer, data[CHUNK + 5 :])
            await ledger.record_rest(writer)
        assert ledger.end == LONG
        await publish(fs, ledger)
        assert await load(fs, "f") == data

    @pytest.mark.parametrize("turns", [0, 1, 3, 10, 50])
    async def test_a_cancellation_loses_no_bytes_and_mixes_none(
        self, fs: FileSystem, turns: int
    ) -> None:
        """Of the writing, and of the taking of a Part: a later call returns what was written."""
        data, ledger = content(LONG), MemoryLedger()
        async with await ledger.appending(fs, DIR) as writer:
            for doing in (feed(writer, data), writer.part(rest=True)):
                task = asyncio.ensure_future(doing)
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                done = await asyncio.gather(task, return_exceptions=True)
                if isinstance(done[0], Part):
                    ledger.record(done[0])
            await ledger.record_rest(writer)
        await append(fs, ledger, data[ledger.end :])
        await publish(fs, ledger)
        assert await load(fs, "f") == data

    @pytest.mark.parametrize("recorded", [0, 1, CHUNK + 5])
    async def test_what_is_in_no_part_is_dropped(self, fs: FileSystem, recorded: int) -> None:
        data, ledger = content(LONG), MemoryLedger()
        async with await ledger.appending(fs, DIR) as writer:
            await feed(writer, data[:recorded])
            await ledger.record_rest(writer)
            await feed(writer, content(LONG, 2))
        await writer.abort()
        assert ledger.end == recorded
        await append(fs, ledger, data[recorded:])
        await publish(fs, ledger)
        assert await load(fs, "f") == data

    async def test_a_part_that_is_not_recorded_is_discarded_alone(self, fs: FileSystem) -> None:
        data, ledger = content(LONG), MemoryLedger()
        await append(fs, ledger, data[:CHUNK])
        async with await ledger.appending(fs, DIR) as writer:
            await feed(writer, content(CHUNK + 1, 2))
            while (part := await writer.part(rest=True)) is not None:
                await fs.discard(ledger, [part])
                await fs.discard(ledger, [part])
        await append(fs, ledger, data[CHUNK:])
        await publish(fs, ledger)
        assert await load(fs, "f") == data

    @pytest.mark.parametrize("size", [1000, CHUNK + 5])
    async def test_who_was_overtaken_changes_nothing(self, fs: FileSystem, size: int) -> None:
        """Whatever was written, or was on its way, and whatever it goes on to do."""
        data, other, ledger = content(2 * LONG), content(LONG, 2), MemoryLedger()
        old = await ledger.appending(fs, DIR)
        await feed(old, data[:size])
        await ledger.record_rest(old)
        await feed(old, other[:size])
        new = await ledger.appending(fs, DIR)
        await spoil(fs, ledger, old, other)
        await feed(new, data[ledger.end : LONG])
        await spoil(fs, ledger, old, other)
        await ledger.record_rest(new)
        await spoil(fs, ledger, old, other)
        await old.abort()
        await feed(new, data[LONG:])
        await ledger.record_rest(new)
        await new.abort()
        await publish(fs, ledger)
        assert await load(fs, "f") == data

    async def test_who_is_overtaken_while_it_writes_mixes_no_bytes(self, fs: FileSystem) -> None:
        data, ledger = content(2 * LONG), MemoryLedger()
        writers = []
        for number in range(4):
            writer = await ledger.appending(fs, DIR)
            rest = data[ledger.end :] if number == 3 else content(LONG, number)
            writers.append((writer, asyncio.create_task(feed(writer, rest, 50_000))))
            await asyncio.sleep(0.001)
        for writer, writing in writers[:-1]:
            with suppress(StoreUnavailable):
                await writing
            await spoil(fs, ledger, writer, content(1000, 9))
            await writer.abort()
        writer, writing = writers[-1]
        await writing
        await ledger.record_rest(writer)
        await writer.abort()
        await publish(fs, ledger)
        assert await load(fs, "f") == data

    async def test_an_upload_that_ends_leaves_no_task(self, fs: FileSystem) -> None:
        before = asyncio.all_tasks()
        ledger = MemoryLedger()
        await append(fs, ledger, content(CHUNK))
        async with await ledger.appending(fs, DIR) as writer:
            await feed(writer, content(CHUNK))
        await publish(fs, ledger)
        await fs.discard(ledger, published=True)
        await eventually(lambda: asyncio.all_tasks() <= before)

    # Other processes.

    async def test_parts_outlive_their_process(self, fs: FileSystem, reopen: Reopen) -> None:
        data, ledger = content(LONG), MemoryLedger()
        await append(fs, ledger, data[:5])
        await append(fs, ledger, data[5 : CHUNK + 1])
        fs = await reopen()
        await append(fs, ledger, data[CHUNK + 1 :])
        fs = await reopen()
        assert await names(fs) == []
        await publish(fs, ledger)
        fs = await reopen()
        assert await load(fs, "f") == data

    @pytest.mark.parametrize("reopened", [False, True])
    @pytest.mark.parametrize(
        "expected", ["anything", "absent", "present", "version"], ids=lambda case: case
    )
    async def test_a_commit_can_be_made_again(
        self, fs: FileSystem, reopen: Reopen, reopened: bool, expected: str
    ) -> None:
        data, ledger, old = content(CHUNK + 5), MemoryLedger(), None
        if expected != "absent":
            old = (await store(fs, "a/f", b"old")).info
        expect = {"absent": ABSENT, "present": PRESENT}.get(expected, ANYTHING)
        if expected == "version" and old is not None:
            expect = of(old)
        await append(fs, ledger, data)
        first = await commit(fs, ledger, "a/f", expect=expect)
        assert first.replaced == old
        if reopened:
            fs = await reopen()
        second = await commit(fs, ledger, "a/f", expect=expect)
        assert second == Published(first.info, None)
        assert await publish(fs, ledger, "a/f", expect=expect) == second
        assert await fs.stat(DIR, "a/f") == first.info
        assert await load(fs, "a/f") == data
        assert await names(fs) == ["a/f"]

    async def test_who_assembles_at_the_same_time_publishes_once(self, fs: FileSystem) -> None:
        data, ledger = content(CHUNK + 5), MemoryLedger()
        await append(fs, ledger, data)
        assemblies = [await assemble(fs, ledger, expect=ABSENT) for _ in range(2)]
        published = []
        for assembly in assemblies:
            with suppress(StoreUnavailable):
                await assembly.flush()
                published.append(await assembly.commit())
            await assembly.abort()
        again = await publish(fs, ledger, expect=ABSENT)
        assert {one.info for one in published} == {again.info}
        assert await load(fs, "f") == data

    async def test_what_is_published_stays_when_the_rest_is_discarded(
        self, fs: FileSystem, reopen: Reopen
    ) -> None:
        data, ledger = content(LONG), MemoryLedger()
        await append(fs, ledger, data[:7])
        await append(fs, ledger, data[7:])
        await commit(fs, ledger)
        fs = await reopen()
        for _ in range(2):
            await fs.discard(ledger, published=True)
        assert await load(fs, "f") == data
        await fs.delete(DIR, "f")

    async def test_what_was_discarded_is_gone(self, fs: FileSystem, reopen: Reopen) -> None:
        ledger = MemoryLedger()
        await append(fs, ledger, content(CHUNK + 1))
        fs = await reopen()
        for _ in range(2):
            await fs.discard(ledger)
        with pytest.raises(NoSuchUpload):
            await assemble(fs, ledger)
        with pytest.raises(NoSuchUpload):
            await ledger.appending(fs, DIR)
        assert await names(fs) == []

    async def test_what_was_never_started_can_be_discarded(self, fs: FileSystem) -> None:
        await fs.discard(MemoryLedger())
        await fs.discard(MemoryLedger(), published=True)

    # Publishing.

    async def test_nothing_of_an_upload_is_visible_before_the_commit(self, fs: FileSystem) -> None:
        ledger = MemoryLedger()
        await append(fs, ledger, content(CHUNK + 1))
        async with await assemble(fs, ledger, "a/f") as assembly:
            await assembly.flush()
            with pytest.raises(NoSuchFile):
                await fs.stat(DIR, "a/f")
            assert await fs.usage(DIR) == Usage(0, 0, 0)
            await assembly.commit()
        assert await names(fs) == ["a/f"]

    @pytest.mark.parametrize("appended", [False, True])
    async def test_a_version_without_bytes(self, fs: FileSystem, appended: bool) -> None:
        ledger = MemoryLedger()
        if appended:
            await append(fs, ledger, b"")
        first = await commit(fs, ledger)
        assert await publish(fs, ledger) == Published(first.info, None)
        assert await load(fs, "f") == b""

    async def test_an_upload_replaces_and_keeps_the_time_of_creation(self, fs: FileSystem) -> None:
        old = (await store(fs, "f", b"old")).info
        await asyncio.sleep(0.01)
        ledger = MemoryLedger()
        await append(fs, ledger, b"new")
        published = await publish(fs, ledger, expect=of(old))
        assert published.replaced == old
        assert published.info.created_ns == old.created_ns
        assert published.info.modified_ns > old.modified_ns
        assert published.info.version != old.version
        assert await load(fs, "f") == b"new"

    async def test_an_upload_is_not_seen_by_an_open_reader(self, fs: FileSystem) -> None:
        data, ledger = content(CHUNK + 5), MemoryLedger()
        await append(fs, ledger, content(CHUNK + 5, 2))
        await store(fs, "f", data)
        async with (
            await fs.open(DIR, "f") as reader,
            aclosing(reader.read(0, len(data))) as pieces,
        ):
            got = bytearray(await anext(pieces))
            await publish(fs, ledger)
            async for piece in pieces:
                got += piece
        assert bytes(got) == data

    async def test_a_publish_is_refused_at_once_and_at_commit(self, fs: FileSystem) -> None:
        """And the bytes are kept for the next one."""
        data, ledger = content(CHUNK + 5), MemoryLedger()
        await append(fs, ledger, data)
        with pytest.raises(VersionMismatch):
            await assemble(fs, ledger, expect=PRESENT)
        async with await assemble(fs, ledger, expect=ABSENT) as assembly:
            theirs = (await store(fs, "f", b"theirs")).info
            with pytest.raises(AlreadyExists):
                await assembly.commit()
        with pytest.raises(AlreadyExists):
            await assemble(fs, ledger, expect=ABSENT)
        async with await assemble(fs, ledger, expect=of(theirs)) as assembly:
            await store(fs, "f", b"theirs too")
            with pytest.raises(VersionMismatch):
                await assembly.commit()
        assert await load(fs, "f") == b"theirs too"
        await publish(fs, ledger, expect=PRESENT)
        assert await load(fs, "f") == data

    async def test_folders_and_files_in_the_way_are_refused(self, fs: FileSystem) -> None:
        ledger = MemoryLedger()
        await append(fs, ledger, b"x")
        await store(fs, "file", b"")
        await fs.make_folder(DIR, "folder")
        for path, kind in (("folder", IsFolder), ("file/f", NotAFolder), ("file/a/f", NotAFolder)):
            with pytest.raises(kind):
                await assemble(fs, ledger, path)
        async with await assemble(fs, ledger, "new/f") as assembly:
            await store(fs, "new", b"")
            with pytest.raises(NotAFolder):
                await assembly.commit()
        async with await assemble(fs, ledger, "newer") as assembly:
            await fs.make_folder(DIR, "newer")
            with pytest.raises(IsFolder):
                await assembly.commit()
        with pytest.raises(NoSuchDirectory):
            await fs.assemble("another", "f", ledger, 1)
        await publish(fs, ledger, "folder/f")
        assert await load(fs, "folder/f") == b"x"

    async def test_a_folder_that_is_gone_is_not_made_again(self, fs: FileSystem) -> None:
        ledger = MemoryLedger()
        await append(fs, ledger, b"x")
        await fs.make_folder(DIR, "a/b")
        async with await assemble(fs, ledger, "a/b/f") as assembly:
            await fs.remove_folder(DIR, "a/b")
            with pytest.raises(NoSuchFolder):
                await assembly.commit()
        await publish(fs, ledger, "a/b/f")
        assert await names(fs) == ["a/b/f"]

    async def test_an_abort_of_a_publish_keeps_the_parts(self, fs: FileSystem) -> None:
        data, ledger = content(CHUNK + 5), MemoryLedger()
        await append(fs, ledger, data)
        for flushed in (False, True):
            assembly = await assemble(fs, ledger)
            if flushed:
                await assembly.flush()
            await assembly.abort()
            await assembly.abort()
        assert await names(fs) == []
        await append(fs, ledger, b"more")
        await publish(fs, ledger)
        assert await load(fs, "f") == data + b"more"

    async def test_what_is_assembled_can_be_read_and_not_be_added_to(self, fs: FileSystem) -> None:
        data, ledger = content(LONG), MemoryLedger()
        await append(fs, ledger, data[: CHUNK - 1])
        await append(fs, ledger, data[CHUNK - 1 :])
        async with await assemble(fs, ledger) as assembly:
            pieces = await whole(assembly)
            assert b"".join(pieces) == data
            assert all(1 <= len(piece) <= 1024 * 1024 for piece in pieces)
            with pytest.raises(StoreUnavailable):
                await assembly.write(b"more")
            async with aclosing(assembly.read()) as reading:
                await anext(reading)
            assert b"".join(await whole(assembly)) == data

    async def test_parts_that_are_not_all_are_not_published(self, fs: FileSystem) -> None:
        data, ledger = content(CHUNK + 5), MemoryLedger()
        await append(fs, ledger, data)
        with pytest.raises(ValueError, match=r"."):
            await fs.assemble(DIR, "f", ledger, ledger.end + 1)
        await publish(fs, ledger)
        assert await load(fs, "f") == data

    async def test_an_upload_to_where_nothing_can_be_is_refused(self, fs: FileSystem) -> None:
        ledger = MemoryLedger()
        await append(fs, ledger, b"x")
        for path in ("", *BAD_PATHS):
            with pytest.raises(InvalidName):
                await assemble(fs, ledger, path)
        for directory in ("", "..", "~uploads"):
            with pytest.raises(InvalidName):
                await fs.append(directory, ledger, 1)
            with pytest.raises(InvalidName):
                await fs.assemble(directory, "f", ledger, 1)

    async def test_an_upload_shows_its_state_in_one_line(self, fs: FileSystem) -> None:
        ledger = MemoryLedger()
        async with await ledger.appending(fs, DIR) as writer:
            await writer.write(b"x")
            await ledger.record_rest(writer)
            assert ledger.upload in repr(writer)
        async with await assemble(fs, ledger) as assembly:
            assert "'f'" in repr(assembly)
        for shown in map(repr, (writer, assembly)):
            assert " object at 0x" not in shown
            assert "\n" not in shown
            assert len(shown) < 300
