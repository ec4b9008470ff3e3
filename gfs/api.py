"""The interface of a GFS: what an engine must do, and all that its callers may rely on.

A *file* has a name inside a *directory* and is published in *versions*; each version is a fixed
run of bytes. There are no directories inside directories. Everything here is called from one
event loop. Every method may raise :class:`gfs.errors.StoreUnavailable`, or
:class:`gfs.errors.StoreBroken` where trying again does not help, after a bounded time; no method
waits for ever. The docstrings say what else a method raises, whether it may be called again, what
a cancellation leaves behind and who closes; ``tests/gfs/suite.py`` holds every engine to them.

What only some engines can do is a Protocol of its own, which callers look for with ``isinstance``
or ``issubclass``; a wrapper of a Reader or Writer must not hide it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from gfs.types import ANYTHING, Bytes, Expect, FileInfo, Published, Status


class Reader(Protocol):
    """One pinned version of one file. The caller that opened it closes it."""

    info: FileInfo
    """The version that is pinned."""

    def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        """Yield exactly ``length`` bytes from byte ``start`` on, in pieces of 1 B to 1 MiB.

        Raises ValueError unless ``0 <= start`` and ``start + length <= info.size``. The bytes are
        those of the pinned version, whatever is published or deleted meanwhile. Raises DataLoss or
        StoreUnavailable when the store cannot give them; what was yielded before is right all the
        same. The caller may keep a piece. Hold the generator in ``contextlib.aclosing``; several
        may be open at once. After a generator was closed, a new one may go on from any byte of the
        last piece: meanwhile the reader holds no bytes and no connection, only the checksum of what
        it yielded, which it compares with what follows.
        """
        ...

    async def close(self) -> None:
        """Release the version. Idempotent; close open ``read`` generators first."""
        ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


@runtime_checkable
class DescriptorReader(Protocol):
    """A Reader whose version is one open regular file, so that the kernel can move its bytes."""

    def fileno(self) -> int:
        """The descriptor: byte n of the file is byte n of the version. Valid until ``close``."""
        ...


class Writer(Protocol):
    """One version that is being made. Used by one task at a time. The caller that created it ends
    it, with ``commit`` or with ``abort``; as a context manager it aborts what was not committed."""

    async def write(self, piece: Bytes) -> None:
        """Append ``piece``, which the caller must not change afterwards.

        Returns when the store can take more: it holds a bounded number of bytes in memory,
        whatever the size of the file. Raises StoreFull. After an error or a cancellation only
        ``abort`` may follow.
        """
        ...

    async def flush(self) -> None:
        """Make every byte written so far durable, but not visible. This is the slow half of a
        commit: a caller can then hold locks for the quick half alone. Raises StoreFull."""
        ...

    async def commit(self) -> Published:
        """Publish the version in one atomic, durable step, and return what was published.

        Every reader sees either what was there before or the whole new version. Raises what
        ``Expect.check`` raises when the expectation given to ``create`` does not hold now, and
        NoSuchDirectory when the directory was removed: then nothing is published and ``abort``
        must follow. Shield it from cancellation: a caller that is cancelled does not know whether
        the version was published; if so, it was published whole.
        """
        ...

    async def abort(self) -> None:
        """Give the version up and free its bytes. Idempotent; does nothing after ``commit``."""
        ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.abort()


@runtime_checkable
class BlockingWriter(Protocol):
    """A Writer that a thread can write to, past the event loop and without a copy of the bytes."""

    def write_blocking(self, piece: Bytes) -> None:
        """Append ``piece`` before returning; the caller may change it afterwards. Raises StoreFull.

        Call it in a thread, instead of ``write`` for the whole version, and never at the same time
        as another method.
        """
        ...


@runtime_checkable
class BufferWriter(Writer, Protocol):
    """A Writer whose memory the caller fills itself: no byte is copied on its way, and the caller
    holds no bytes that the store has no memory for."""

    async def space(self, most: int) -> memoryview:
        """Memory for the next bytes of the version, 1 to ``most`` of them.

        Waits until the store has it. Fill it without waiting, call ``advance`` at once, and do not
        use it afterwards. Raises what ``write`` raises.
        """
        ...

    async def advance(self, count: int) -> None:
        """Append the first ``count`` >= 0 bytes of what ``space`` returned. Raises what ``write``
        raises."""
        ...


class FileSystem(Protocol):
    """A GFS. Every method that takes a name raises InvalidName for one that :mod:`gfs.paths`
    refuses."""

    async def make_directory(self, directory: str) -> None:
        """Make a directory, durably. Idempotent: one that exists stays as it is."""
        ...

    async def remove_directory(self, directory: str) -> None:
        """Remove a directory and every file in it. Idempotent.

        The whole directory disappears at once; its space may be freed later. Open readers go on;
        writers into it fail at ``commit``.
        """
        ...

    async def stat(self, directory: str, name: str) -> FileInfo:
        """The current version of a file. Raises NoSuchFile, also without such a directory."""
        ...

    async def open(self, directory: str, name: str) -> Reader:
        """Pin the current version for reading. Raises NoSuchFile like ``stat``.

        As cheap as ``stat``: no byte of the file is read yet. A cancellation leaves nothing open.
        """
        ...

    def forget(self, directory: str, name: str) -> None:
        """Drop what is cached of a file: the next ``stat`` or ``open`` sees what any process has
        published before it.

        Without this, a change by another process may be seen late, by a second at most.
        """

    async def create(
        self,
        directory: str,
        name: str,
        *,
        expect: Expect = ANYTHING,
        size: int | None = None,
        times_of: FileInfo | None = None,
    ) -> Writer:
        """Start a new version of ``name``; nothing is visible before its commit.

        ``expect`` is checked now, so that an upload that cannot succeed fails before its bytes are
        sent, and again at commit, where the check is atomic. ``size``, in bytes, lets a full store
        refuse at once. ``times_of`` is a version of which the new one is a copy: it gets its times.
        Raises NoSuchDirectory, StoreFull, and what ``Expect.check`` raises. A cancellation leaves
        nothing behind.
        """
        ...

    async def delete(self, directory: str, name: str, *, expect: Expect = ANYTHING) -> None:
        """Remove a file, durably. Raises NoSuchFile, and what ``Expect.check`` raises.

        Open readers keep the version that they have pinned.
        """
        ...

    def list_files(
        self, directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        """Yield the files in batches, in the order of their names' UTF-8 bytes.

        Only names that start with ``prefix`` and come behind ``after``, at most ``limit`` of
        them. Memory is bounded, however many there are. A file that is there during the whole
        listing is listed once; one that is made or removed meanwhile may be listed or not. A
        directory that does not exist is empty. Hold the generator in ``contextlib.aclosing``.
        """
        ...

    async def count(self, directory: str) -> int:
        """How many files a directory holds; 0 if it does not exist."""
        ...

    async def identity(self) -> str:
        """The id of this store, 32 hexadecimal digits, which no other store has.

        It is kept with the files, and made, durably, where there is none yet: processes that may be
        the first at the same time have to take turns. A copy that is made file by file is another
        store.
        """
        ...

    async def status(self) -> Status:
        """Size and health of the store."""
        ...

    async def check(self) -> None:
        """Return if the store responds; raise StoreUnavailable, or StoreFull where it takes no
        bytes at all, within 5 s."""
        ...

    async def close(self) -> None:
        """Release everything. Idempotent. Close readers and writers first."""
        ...
