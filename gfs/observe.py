"""The same FileSystem, observed: a listener is notified of each operation, how long the engine
took, what failed, and how many bytes went.

What is measured is the engine, not its user: of a reading, a listing or a writing, which take as
long as their consumer or producer, the time counts in which the engine was waited for, and the
listener is notified once, at their end. The bytes that are moved by a reader's descriptor
(:class:`gfs.api.DescriptorReader`) are not seen here; nothing could see them and leave them fast.

A wrapper must not hide what an engine can do: methods that are not measured are handed on as they
are, and there are two classes of readers and three of writers of each kind, with a fast path and
without.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Sized
from contextlib import aclosing
from functools import cache
from time import perf_counter
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from gfs.api import (
    Assembly,
    BlockingWriter,
    BufferWriter,
    DescriptorReader,
    FileSystem,
    PartWriter,
    Reader,
    Sink,
    Writer,
)
from gfs.errors import GfsError
from gfs.types import Bytes, Entry, FileInfo, Kind, Part

OPERATIONS = (
    *("make_directory", "remove_directory", "stat", "open", "create", "delete", "list_files"),
    *("stat_folder", "make_folder", "remove_folder", "move", "list_folder"),
    *("append", "assemble", "discard"),
    *("usage", "identity", "status", "check", "read", "write", "part", "flush", "commit"),
)
"""What a listener is notified of: the methods of a FileSystem; of a Reader and an Assembly
``read``; of a Sink ``write`` (all the writes of one together); of a PartWriter ``part``; of a
Writer ``flush`` and ``commit``."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Inner = TypeVar("_Inner")
_Step = TypeVar("_Step", bound=Sized)


class Listener(Protocol):
    """Is notified of everything, in the event loop. It must not block or raise, and be quick."""

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


def _timed(
    method: Callable[_P, Coroutine[Any, Any, _T]],
    wrapper: Callable[[type], Callable[[Any, Listener], Any]] | None = None,
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """``method`` of an interface, passed on by an _Observed; its listener is notified of it.
    ``wrapper``: the class that wraps the result, by the class of the result."""
    operation = method.__name__

    async def timed(self: _Observed[Any], *args: Any, **kwargs: Any) -> Any:
        if self._writes:
            self._end_writes()
        start = perf_counter()
        try:
            result = await getattr(self._inner, operation)(*args, **kwargs)
        except BaseException as error:
            self._listener.done(operation, perf_counter() - start, error)
            raise
        self._listener.done(operation, perf_counter() - start, None)
        return result if wrapper is None else wrapper(type(result))(result, self._listener)

    return cast(Callable[_P, Coroutine[Any, Any, _T]], timed)


def _summed(
    method: Callable[_P, Coroutine[Any, Any, _T]], count: Callable[[Any], int]
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """The same for a method that writes ``count(argument)`` bytes: the listener is notified of all
    writes of a version together, when something else follows, or one of them fails."""
    operation = method.__name__

    async def summed(self: _Observed[Any], argument: Any) -> Any:
        start = perf_counter()
        self._writes += 1
        try:
            result = await getattr(self._inner, operation)(argument)
        except BaseException as error:
            self._seconds += perf_counter() - start
            self._failure = error
            self._end_writes()
            raise
        self._seconds += perf_counter() - start
        self._count += count(argument)
        return result

    return cast(Callable[_P, Coroutine[Any, Any, _T]], summed)


class _Observed(Generic[_Inner]):
    """``inner``, of whose methods ``listener`` is notified.

    ``_writes``: how many writes it was not notified of yet; ``_count``: their bytes; ``_seconds``:
    how long they took; ``_failure``: what the last of them raised.
    """

    _writes = 0
    _count = 0
    _seconds = 0.0
    _failure: BaseException | None = None

    def __init__(self, inner: _Inner, listener: Listener) -> None:
        self._inner = inner
        self._listener = listener

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._inner!r}>"

    def _end_writes(self) -> None:
        """Notify of the writes since the last time."""
        self._listener.wrote(self._count)
        self._listener.done("write", self._seconds, self._failure)
        self._writes, self._count, self._seconds, self._failure = 0, 0, 0.0, None


class _ObservedReader(_Observed[Reader], Reader):
    close: Any

    def __init__(self, inner: Reader, listener: Listener) -> None:
        self._inner = inner
        self._listener = listener
        self.info = inner.info
        self.close = inner.close

    def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        pieces = self._inner.read(start, length)
        return _stepped(self._listener, "read", pieces, self._listener.read)


class _ObservedDescriptorReader(_ObservedReader):
    def fileno(self) -> int:
        return cast(DescriptorReader, self._inner).fileno()


class _ObservedSink(_Observed[Sink], Sink):
    write = _summed(Sink.write, len)

    async def abort(self) -> None:
        if self._writes:
            self._end_writes()
        await self._inner.abort()


class _ObservedBufferSink(_ObservedSink):
    space = _summed(BufferWriter.space, lambda _: 0)
    advance = _summed(BufferWriter.advance, lambda count: count)


class _ObservedBlockingSink(_ObservedSink):
    def write_blocking(self, piece: Bytes) -> None:
        # In a thread, which may not call the listener: the next call notifies of a failure.
        start = perf_counter()
        self._writes += 1
        try:
            cast(BlockingWriter, self._inner).write_blocking(piece)
        except Exception as error:  # raised again; the listener is notified of it later
            self._failure = error
            raise
        finally:
            self._seconds += perf_counter() - start
        self._count += len(piece)


class _ObservedWriter(_ObservedSink, Writer):
    flush = _timed(Writer.flush)
    commit = _timed(Writer.commit)


class _ObservedBufferWriter(_ObservedBufferSink, _ObservedWriter):
    pass


class _ObservedBlockingWriter(_ObservedBlockingSink, _ObservedWriter):
    pass


class _ObservedPartWriter(_ObservedSink, PartWriter):
    async def part(self, *, rest: bool = False) -> Part | None:
        # Others may be writing: their writes are left to be counted at the end.
        start, error = perf_counter(), None
        try:
            return await cast(PartWriter, self._inner).part(rest=rest)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._listener.done("part", perf_counter() - start, error)


class _ObservedBufferPartWriter(_ObservedBufferSink, _ObservedPartWriter):
    pass


class _ObservedBlockingPartWriter(_ObservedBlockingSink, _ObservedPartWriter):
    pass


class _ObservedAssembly(_ObservedWriter, Assembly):
    def read(self) -> AsyncGenerator[Bytes, None]:
        pieces = cast(Assembly, self._inner).read()
        return _stepped(self._listener, "read", pieces, self._listener.read)

    async def clear(self) -> None:
        await cast(Assembly, self._inner).clear()


@cache
def _reader_class(kind: type) -> type[_ObservedReader]:
    """What wraps a reader of the class ``kind``; isinstance would look each time."""
    return _ObservedDescriptorReader if issubclass(kind, DescriptorReader) else _ObservedReader


@cache
def _writer_class(kind: type) -> type[_ObservedWriter]:
    """What wraps a writer of the class ``kind``."""
    if issubclass(kind, BufferWriter):
        return _ObservedBufferWriter
    return _ObservedBlockingWriter if issubclass(kind, BlockingWriter) else _ObservedWriter


@cache
def _part_writer_class(kind: type) -> type[_ObservedPartWriter]:
    """What wraps a writer of parts of the class ``kind``."""
    if issubclass(kind, BufferWriter):
        return _ObservedBufferPartWriter
    return _ObservedBlockingPartWriter if issubclass(kind, BlockingWriter) else _ObservedPartWriter


class ObservedFileSystem(_Observed[FileSystem], FileSystem):
    """``inner``, which belongs to this one from now on."""

    forget: Any

    def __init__(self, inner: FileSystem, listener: Listener) -> None:
        super().__init__(inner, listener)
        self.forget = inner.forget

    make_directory = _timed(FileSystem.make_directory)
    remove_directory = _timed(FileSystem.remove_directory)
    stat = _timed(FileSystem.stat)
    open = _timed(FileSystem.open, _reader_class)
    create = _timed(FileSystem.create, _writer_class)
    append = _timed(FileSystem.append, _part_writer_class)
    assemble = _timed(FileSystem.assemble, lambda _: _ObservedAssembly)
    discard = _timed(FileSystem.discard)
    delete = _timed(FileSystem.delete)
    stat_folder = _timed(FileSystem.stat_folder)
    make_folder = _timed(FileSystem.make_folder)
    remove_folder = _timed(FileSystem.remove_folder)
    move = _timed(FileSystem.move)
    usage = _timed(FileSystem.usage)
    identity = _timed(FileSystem.identity)
    status = _timed(FileSystem.status)
    check = _timed(FileSystem.check)

    def list_files(
        self, directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        batches = self._inner.list_files(directory, prefix=prefix, after=after, limit=limit)
        return _stepped(self._listener, "list_files", batches)

    def list_folder(
        self,
        directory: str,
        folder: str = "",
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        kind: Kind | None = None,
    ) -> AsyncGenerator[list[Entry], None]:
        batches = self._inner.list_folder(
            directory, folder, prefix=prefix, after=after, limit=limit, kind=kind
        )
        return _stepped(self._listener, "list_folder", batches)

    async def close(self) -> None:
        await self._inner.close()


async def _stepped(
    listener: Listener,
    operation: str,
    steps: AsyncGenerator[_Step, None],
    count: Callable[[int], None] | None = None,
) -> AsyncGenerator[_Step, None]:
    """Pass ``steps`` on, ``count`` their lengths, and notify at the end how long they were waited
    for. Closes ``steps``."""
    seconds = 0.0
    async with aclosing(steps):
        try:
            while True:
                start = perf_counter()
                try:
                    step = await anext(steps)
                finally:
                    seconds += perf_counter() - start
                if count is not None:
                    count(len(step))
                yield step
        except (StopAsyncIteration, GeneratorExit):  # the end, or the caller closed it
            listener.done(operation, seconds, None)
        except BaseException as error:
            listener.done(operation, seconds, error)
            raise
