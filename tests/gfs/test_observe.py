"""The wrapper that notifies a listener: the suite, and of what it notifies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import NoReturn

import pytest

from gfs.api import BlockingWriter, BufferWriter, DescriptorReader, FileSystem, Reader, Writer
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.errors import (
    AlreadyExists,
    DataLoss,
    GfsError,
    NoSuchFile,
    StoreFull,
    StoreUnavailable,
)
from gfs.factory import open_filesystem
from gfs.observe import ObservedFileSystem
from gfs.types import ABSENT, Bytes, FileInfo, Published
from tests.gfs.suite import DIR, FileSystemSuite, content, listed, load, store
from tests.gfs.upload_suite import Reopen, reopening

INFO = FileInfo(DIR, "f", 6, "v", 0, 0)


class Heard:
    """A listener that keeps what it is notified of."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, type[BaseException] | None]] = []
        self.seconds: list[float] = []
        self.bytes_read = 0
        self.bytes_written = 0

    def done(self, operation: str, seconds: float, error: BaseException | None) -> None:
        self.operations.append((operation, None if error is None else type(error)))
        self.seconds.append(seconds)

    def read(self, count: int) -> None:
        self.bytes_read += count

    def wrote(self, count: int) -> None:
        self.bytes_written += count

    def failover(self, error: GfsError) -> None:
        raise AssertionError("this engine has no replicas")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def fs(tmp_path: Path, heard: Heard) -> AsyncIterator[FileSystem]:
    engines = []

    def listening(engine: str) -> Heard:
        engines.append(engine)
        return heard

    fs = await open_filesystem(str(tmp_path / "files"), None, listening)
    assert engines == ["embedded"]
    await fs.make_directory(DIR)
    heard.operations.clear()
    yield fs
    await fs.close()


@pytest.fixture
async def reopen(fs: FileSystem, tmp_path: Path, heard: Heard) -> AsyncIterator[Reopen]:
    def start() -> Awaitable[FileSystem]:
        return open_filesystem(str(tmp_path / "files"), None, lambda _: heard)

    async with reopening(fs, start) as reopen:
        yield reopen


class TestObserved(FileSystemSuite):
    """The conformance suite."""


async def test_without_a_listener_nothing_is_wrapped(tmp_path: Path) -> None:
    fs = await open_filesystem(str(tmp_path))
    assert type(fs) is EmbeddedFileSystem
    await fs.close()


async def test_every_operation_is_notified_with_what_it_raised(
    fs: FileSystem, heard: Heard
) -> None:
    await store(fs, "f", content(300_000))
    await load(fs, "f")
    await fs.stat(DIR, "f")
    await listed(fs)
    await fs.usage(DIR)
    await fs.status()
    await fs.check()
    with pytest.raises(AlreadyExists):
        await fs.create(DIR, "f", expect=ABSENT)
    await fs.delete(DIR, "f")
    with pytest.raises(NoSuchFile):
        await fs.open(DIR, "f")
    await fs.remove_directory(DIR)
    assert heard.operations == [
        ("create", None),
        ("write", None),
        ("flush", None),
        ("commit", None),
        ("open", None),
        ("read", None),
        ("stat", None),
        ("list_files", None),
        ("usage", None),
        ("status", None),
        ("check", None),
        ("create", AlreadyExists),
        ("delete", None),
        ("open", NoSuchFile),
        ("remove_directory", None),
    ]
    assert all(0 <= seconds < 10 for seconds in heard.seconds)
    assert (heard.bytes_read, heard.bytes_written) == (300_000, 300_000)


async def test_the_fast_paths_of_an_engine_are_not_hidden(fs: FileSystem) -> None:
    async with await fs.create(DIR, "f") as writer:
        assert isinstance(writer, BlockingWriter)
        assert issubclass(type(writer), BlockingWriter)
        await writer.commit()
    async with await fs.open(DIR, "f") as reader:
        assert isinstance(reader, DescriptorReader)
        assert issubclass(type(reader), DescriptorReader)


async def test_what_a_thread_writes_is_notified_in_the_event_loop(
    fs: FileSystem, heard: Heard
) -> None:
    async with await fs.create(DIR, "f") as writer:
        assert isinstance(writer, BlockingWriter)
        with ThreadPoolExecutor(1) as pool:
            for _ in range(3):
                await asyncio.wrap_future(pool.submit(writer.write_blocking, b"12345"))
        assert heard.operations == [("create", None)]
        await writer.flush()
        assert heard.operations[1:] == [("write", None), ("flush", None)]
        await writer.commit()
    assert heard.bytes_written == 15


async def test_what_is_put_into_a_writers_memory_is_notified(
    poor: FileSystem, heard: Heard
) -> None:
    async with await poor.create(DIR, "lending") as writer:
        assert isinstance(writer, BufferWriter)
        (await writer.space(9))[:2] = b"12"
        await writer.advance(2)
        with pytest.raises(StoreFull):
            await writer.space(10)
    assert heard.operations == [("create", None), ("write", StoreFull)]
    assert heard.bytes_written == 2


async def test_a_reading_that_is_given_up_is_no_failure(fs: FileSystem, heard: Heard) -> None:
    await store(fs, "f", content(1_000_000))
    heard.operations.clear()
    async with await fs.open(DIR, "f") as reader, aclosing(reader.read(0, 1_000_000)) as pieces:
        count = len(await anext(pieces))
    assert heard.operations == [("open", None), ("read", None)]
    assert heard.bytes_read == count


async def test_of_an_upload_that_is_given_up_what_was_written_is_notified(
    fs: FileSystem, heard: Heard
) -> None:
    async with await fs.create(DIR, "f") as writer:
        await writer.write(b"123")
    assert heard.operations == [("create", None), ("write", None)]
    assert heard.bytes_written == 3


# An engine without fast paths, which fails.


class _Reader(Reader):
    info = INFO

    async def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        yield b"123"
        raise DataLoss("as ordered")

    async def close(self) -> None:
        pass


class _Writer(Writer):
    async def write(self, piece: Bytes) -> None:
        if piece == b"too much":
            raise StoreFull("as ordered")
        if piece == b"for ever":
            await asyncio.Event().wait()

    async def flush(self) -> NoReturn:
        raise StoreUnavailable("as ordered")

    async def commit(self) -> Published:
        return Published(INFO, replaced=None)

    async def abort(self) -> None:
        pass


class _BlockingWriter(_Writer):
    def write_blocking(self, piece: Bytes) -> None:
        raise StoreFull("as ordered")


class _BufferWriter(_Writer):
    async def space(self, most: int) -> memoryview:
        if most > 9:
            raise StoreFull("as ordered")
        return memoryview(bytearray(most))

    async def advance(self, count: int) -> None:
        pass


@pytest.fixture
async def poor(fs: FileSystem, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    """A file system that opens and creates the classes above."""
    assert isinstance(fs, ObservedFileSystem)

    async def opened(directory: str, name: str) -> Reader:
        return _Reader()

    async def created(directory: str, name: str, **_: object) -> Writer:
        return {"blocking": _BlockingWriter, "lending": _BufferWriter}.get(name, _Writer)()

    monkeypatch.setattr(fs._inner, "open", opened)
    monkeypatch.setattr(fs._inner, "create", created)
    return fs


async def test_no_fast_path_is_made_up(poor: FileSystem) -> None:
    async with await poor.open(DIR, "f") as reader, await poor.create(DIR, "f") as writer:
        assert reader.info == INFO
        assert not isinstance(reader, DescriptorReader)
        assert not isinstance(writer, BlockingWriter | BufferWriter)
        assert await writer.commit() == Published(INFO, replaced=None)


async def test_a_reading_that_breaks_is_a_failure(poor: FileSystem, heard: Heard) -> None:
    with pytest.raises(DataLoss):
        await load(poor, "f")
    assert heard.operations == [("open", None), ("read", DataLoss)]
    assert heard.bytes_read == 3


async def test_a_write_that_fails_is_notified_once(poor: FileSystem, heard: Heard) -> None:
    async with await poor.create(DIR, "f") as writer:
        await writer.write(b"123")
        with pytest.raises(StoreFull):
            await writer.write(b"too much")
    async with await poor.create(DIR, "f") as writer:
        with pytest.raises(StoreUnavailable):
            await writer.flush()
    async with await poor.create(DIR, "blocking") as writer:
        assert isinstance(writer, BlockingWriter)
        with pytest.raises(StoreFull):
            writer.write_blocking(b"too much")
    assert [one for one in heard.operations if one[0] != "create"] == [
        ("write", StoreFull),
        ("flush", StoreUnavailable),
        ("write", StoreFull),
    ]
    assert heard.bytes_written == 3


async def test_a_cancelled_operation_is_notified_as_one(poor: FileSystem, heard: Heard) -> None:
    async with await poor.create(DIR, "f") as writer:
        task = asyncio.ensure_future(writer.write(b"for ever"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert heard.operations == [("create", None), ("write", asyncio.CancelledError)]
