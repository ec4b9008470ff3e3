"""The same FileSystem, wrapped: a listener is told of operations, how long the engine took, how
many bytes went and what failed.

What is measured is the engine, not its user: of a reading, a listing or a writing, which take as
long as whoever consumes or feeds them, the time counts in which the engine was waited for, and they
are told once, at their end. The bytes that somebody moves by an engine's descriptor
(:class:`gfs.api.DescriptorReader`) are not seen here; nothing could see them and leave them fast.

A wrapper must not hide what an engine can do, so there are two classes of readers and three of
writers, with a fast path and without. They cost a hot ``open`` and ``close`` about 1 µs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sized
from contextlib import aclosing
from functools import cache
from time import perf_counter
from typing import Protocol, TypeVar, cast

from gfs.api import BlockingWriter, BufferWriter, DescriptorReader, FileSystem, Reader, Writer
from gfs.errors import GfsError
from gfs.types import ANYTHING, Bytes, Expect, FileInfo, Published, Status

OPERATIONS = (
    *("make_directory", "remove_directory", "stat", "open", "create", "delete", "list_files"),
    *("count", "identity", "status", "check", "read", "write", "flush", "commit"),
)
"""What a listener is told of: the methods of a FileSystem; of a Reader ``read``; of a Writer
``write`` (all the writes of one version together), ``flush`` and ``commit``."""

_T = TypeVar("_T")
_Step = TypeVar("_Step", bound=Sized)


class Listener(Protocol):
    """Told of everything, in the event loop. It must not block or raise, and should be quick."""

    def done(self, operation: str, seconds: float, error: BaseException | None) -> None:
        """One of OPERATIONS has ended; ``error`` is what it raised, a cancellation included."""
        ...

    def read(self, count: int) -> None:
        """``count`` bytes have been read, but for those that went by a descriptor."""
        ...

    def wrote(self, count: int) -> None:
        """``count`` bytes have been written, published or not."""
        ...

    def failover(self, error: GfsError) -> None:
        """A replica was passed over because of ``error``; the reading goes on with the next."""
        ...


class ObservedFileSystem(FileSystem):
    """``inner``, which belongs to this one from now on."""

    def __init__(self, inner: FileSystem, listener: Listener) -> None:
        self._inner = inner
        self._listener = listener

    def __repr__(self) -> str:
        return f"<ObservedFileSystem {self._inner!r}>"

    async def make_directory(self, directory: str) -> None:
        await _told(self._listener, "make_directory", self._inner.make_directory(directory))

    async def remove_directory(self, directory: str) -> None:
        await _told(self._listener, "remove_directory", self._inner.remove_directory(directory))

    async def stat(self, directory: str, name: str) -> FileInfo:
        return await _told(self._listener, "stat", self._inner.stat(directory, name))

    async def open(self, directory: str, name: str) -> Reader:
        began = perf_counter()  # as _told does it, at half its cost
        try:
            reader = await self._inner.open(directory, name)
        except BaseException as error:
            self._listener.done("open", perf_counter() - began, error)
            raise
        self._listener.done("open", perf_counter() - began, None)
        return _reader_class(type(reader))(reader, self._listener)

    def forget(self, directory: str, name: str) -> None:
        self._inner.forget(directory, name)

    async def create(
        self,
        directory: str,
        name: str,
        *,
        expect: Expect = ANYTHING,
        size: int | None = None,
        times_of: FileInfo | None = None,
    ) -> Writer:
        creating = self._inner.create(directory, name, expect=expect, size=size, times_of=times_of)
        writer = await _told(self._listener, "create", creating)
        if isinstance(writer, BufferWriter):
            return _ObservedBufferWriter(writer, self._listener)
        if isinstance(writer, BlockingWriter):
            return _ObservedBlockingWriter(writer, writer, self._listener)
        return _ObservedWriter(writer, self._listener)

    async def delete(self, directory: str, name: str, *, expect: Expect = ANYTHING) -> None:
        deleting = self._inner.delete(directory, name, expect=expect)
        await _told(self._listener, "delete", deleting)

    def list_files(
        self, directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        batches = self._inner.list_files(directory, prefix=prefix, after=after, limit=limit)
        return _stepped(self._listener, "list_files", batches)

    async def count(self, directory: str) -> int:
        return await _told(self._listener, "count", self._inner.count(directory))

    async def identity(self) -> str:
        return await _told(self._listener, "identity", self._inner.identity())

    async def status(self) -> Status:
        return await _told(self._listener, "status", self._inner.status())

    async def check(self) -> None:
        await _told(self._listener, "check", self._inner.check())

    async def close(self) -> None:
        await self._inner.close()


class _ObservedReader(Reader):
    def __init__(self, inner: Reader, listener: Listener) -> None:
        self._inner = inner
        self._listener = listener
        self._info = inner.info

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._inner!r}>"

    @property
    def info(self) -> FileInfo:
        return self._info

    def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        pieces = self._inner.read(start, length)
        return _stepped(self._listener, "read", pieces, self._listener.read)

    async def close(self) -> None:
        await self._inner.close()


class _ObservedDescriptorReader(_ObservedReader):
    def fileno(self) -> int:
        return cast(DescriptorReader, self._inner).fileno()


@cache
def _reader_class(kind: type[Reader]) -> type[_ObservedReader]:
    """What wraps a reader of this class; isinstance would look each time."""
    return _ObservedDescriptorReader if issubclass(kind, DescriptorReader) else _ObservedReader


class _ObservedWriter(Writer):
    def __init__(self, inner: Writer, listener: Listener) -> None:
        self._inner = inner
        self._listener = listener
        self._seconds = 0.0
        self._count = 0
        self._told = True  # there is nothing to tell of the writes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._inner!r}>"

    async def write(self, piece: Bytes) -> None:
        await self._timed(self._inner.write(piece), len(piece))

    async def flush(self) -> None:
        self._tell(None)
        await _told(self._listener, "flush", self._inner.flush())

    async def commit(self) -> Published:
        self._tell(None)
        return await _told(self._listener, "commit", self._inner.commit())

    async def abort(self) -> None:
        self._tell(None)
        await self._inner.abort()

    async def _timed(self, call: Awaitable[_T], count: int) -> _T:
        """Wait for a call that writes ``count`` bytes."""
        began = perf_counter()
        try:
            result = await call
        except BaseException as error:
            self._written(0, perf_counter() - began)
            self._tell(error)
            raise
        self._written(count, perf_counter() - began)
        return result

    def _written(self, count: int, seconds: float) -> None:
        self._told = False
        self._count += count
        self._seconds += seconds

    def _tell(self, error: BaseException | None) -> None:
        """Tell of the writes since the last time, all together."""
        if not self._told:
            self._listener.wrote(self._count)
            self._listener.done("write", self._seconds, error)
            self._seconds, self._count, self._told = 0.0, 0, True


class _ObservedBufferWriter(_ObservedWriter):
    def __init__(self, inner: BufferWriter, listener: Listener) -> None:
        super().__init__(inner, listener)
        self._memory = inner

    async def space(self, most: int) -> memoryview:
        return await self._timed(self._memory.space(most), 0)

    async def advance(self, count: int) -> None:
        await self._timed(self._memory.advance(count), count)


class _ObservedBlockingWriter(_ObservedWriter):
    def __init__(self, inner: Writer, sink: BlockingWriter, listener: Listener) -> None:
        super().__init__(inner, listener)
        self._sink = sink
        self._failed: Exception | None = None

    def write_blocking(self, piece: Bytes) -> None:
        # In a thread, which may not call the listener; ``abort`` tells of a failure.
        began = perf_counter()
        try:
            self._sink.write_blocking(piece)
        except Exception as error:
            self._written(0, perf_counter() - began)
            self._failed = error
            raise
        self._written(len(piece), perf_counter() - began)

    def _tell(self, error: BaseException | None) -> None:
        failed, self._failed = self._failed, None
        super()._tell(error or failed)


async def _told(listener: Listener, operation: str, call: Awaitable[_T]) -> _T:
    began = perf_counter()
    try:
        result = await call
    except BaseException as error:
        listener.done(operation, perf_counter() - began, error)
        raise
    listener.done(operation, perf_counter() - began, None)
    return result


async def _stepped(
    listener: Listener,
    operation: str,
    steps: AsyncGenerator[_Step, None],
    count: Callable[[int], None] | None = None,
) -> AsyncGenerator[_Step, None]:
    """Pass ``steps`` on, ``count`` their lengths, and tell at the end how long they were waited
    for. Closes ``steps``."""
    seconds = 0.0
    async with aclosing(steps):
        try:
            while True:
                began = perf_counter()
                try:
                    step = await anext(steps)
                finally:
                    seconds += perf_counter() - began
                if count is not None:
                    count(len(step))
                yield step
        except (StopAsyncIteration, GeneratorExit):  # the end, or nobody wants more
            listener.done(operation, seconds, None)
        except BaseException as error:
            listener.done(operation, seconds, error)
            raise
