"""The interface of a GFS: what an engine must do, and all that a user of one may rely on.

A *file* has a name inside a *directory* and is published in *versions*; each version is a fixed
run of bytes. There are no directories inside directories. Everything here is called from one
event loop. Every method may raise :class:`gfs.errors.StoreUnavailable`, or
:class:`gfs.errors.StoreBroken` where trying again does not help, after a bounded time; no method
waits for ever. What else one raises, whether it may be called again, what is left behind
when its task is cancelled and who closes is said below, and held by ``tests/gfs/suite.py``.

Optional powers of an engine are Protocols of their own, asked for with ``isinstance``; a wrapper
of a Reader must not hide them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from gfs.types import ANYTHING, Bytes, Expect, FileInfo, Published, Status


class Reader(Protocol):
    """One pinned version of one file. Whoever opened it closes it."""

    info: FileInfo
    """The version that is pinned."""

    def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        """Yield exactly ``length`` bytes from ``start`` on, in pieces of 1 B to 1 MiB.

        Needs ``0 <= start`` and ``start + length <= info.size``; otherwise ValueError. The bytes
        are those of the pinned version, whatever is published or deleted meanwhile. Raises
        DataLoss or StoreUnavailable when they cannot be had; what was yielded before is right
        all the same. A piece is the caller's to keep. Hold the generator in
        ``contextlib.aclosing``; several may be open at once. Where a generator was closed, a new
        one may go on, from any byte of the last piece: nothing is held for it meanwhile, and what
        is known of the bytes so far is checked against those that follow.
        """
        ...

    async def close(self) -> None:
        """Let go of the version. Idempotent; open ``read`` generators must be closed before."""
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
        """The descriptor: byte n of the version is byte n of the file. Valid until ``close``."""
        ...


class Writer(Protocol):
    """One version that is being made. Used by one task at a time. Whoever created it ends it,
    with ``commit`` or with ``abort``; as a context manager it aborts what was not committed."""

    async def write(self, piece: Bytes) -> None:
        """Append ``piece``, which the caller must not change afterwards.

        Returns when the store can take more; its memory is bounded, whatever the size of the
        file. Raises StoreFull. After any error or cancellation only ``abort`` may follow.
        """
        ...

    async def flush(self) -> None:
        """Make every byte written so far durable, still invisible. The slow half of a commit, so
        that the caller can take locks for the quick half alone. Raises StoreFull."""
        ...

    async def commit(self) -> Published:
        """Publish the version in one atomic, durable step, and say what was published.

        Every reader sees what was there before, or the whole new version. Raises what
        ``Expect.check`` raises when the expectation given to ``create`` does not hold now, and
        NoSuchDirectory when the directory is gone: then nothing is published and ``abort`` must
        follow. Shield it: a caller that is cancelled does not know whether it was published,
        but it was published whole or not at all.
        """
        ...

    async def abort(self) -> None:
        """Forget the version and free its bytes. Idempotent; after ``commit`` it does nothing."""
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
    """A Writer that a thread can write to, without the event loop and without keeping a copy."""

    def write_blocking(self, piece: Bytes) -> None:
        """Append ``piece`` before returning; it may be changed afterwards. Raises StoreFull.

        To be called in a thread, and, in one version, instead of ``write`` and never at the same
        time as any other method.
        """
        ...


@runtime_checkable
class BufferWriter(Writer, Protocol):
    """A Writer whose memory the caller fills itself, so that nobody holds bytes that the store has
    no memory for, and no byte is copied on its way."""

    async def space(self, most: int) -> memoryview:
        """Memory for the bytes that are to be appended next, 1 to ``most`` of them.

        Waits until the store has it. It is the caller's until ``advance``, which must follow at
        once: fill it without waiting, and do not keep it. Raises what ``write`` raises.
        """
        ...

    async def advance(self, count: int) -> None:
        """Append the first ``count`` >= 0 bytes of what ``space`` returned. Like ``write``."""
        ...


class FileSystem(Protocol):
    """A GFS. Names are checked by :mod:`gfs.paths`; one that does not pass is InvalidName."""

    async def make_directory(self, directory: str) -> None:
        """Make a directory, durably. Idempotent: one that exists is left as it is."""
        ...

    async def remove_directory(self, directory: str) -> None:
        """Remove a directory and every file in it. Idempotent.

        The whole directory disappears at once; the room may be freed later. Open readers go on;
        writers into it fail at commit.
        """
        ...

    async def stat(self, directory: str, name: str) -> FileInfo:
        """The current version. Raises NoSuchFile, also when there is no such directory."""
        ...

    async def open(self, directory: str, name: str) -> Reader:
        """Pin the current version for reading. Raises NoSuchFile like ``stat``.

        About as cheap as ``stat``: no byte of the file is read yet. A cancellation leaves nothing
        open.
        """
        ...

    def forget(self, directory: str, name: str) -> None:
        """Let the next ``stat`` or ``open`` see what has been published, by whomever, before it.

        Without it, what another process has changed may be seen as it was before, for a moment
        that the engine keeps short.
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
        """Begin a new version of ``name``; nothing is visible before its commit.

        ``expect`` is checked now, so that a hopeless upload fails before its bytes are sent, and
        again at commit, where it is atomic. ``size`` in bytes, where it is known, lets a full
        store refuse at once. With ``times_of``, a version that is being copied, the new one gets
        its times, as if it had been published then. Raises NoSuchDirectory, StoreFull, and what
        ``Expect.check`` raises. A cancellation leaves nothing behind.
        """
        ...

    async def delete(self, directory: str, name: str, *, expect: Expect = ANYTHING) -> None:
        """Remove a file, durably. Raises NoSuchFile, and VersionMismatch by ``expect``.

        Open readers keep the version they have pinned.
        """
        ...

    def list_files(
        self, directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        """Yield the files in batches, in the order of their names' UTF-8 bytes.

        Only names that start with ``prefix`` and come behind ``after``, at most ``limit`` of
        them. Memory is bounded, however many there are. A file that is there during the whole
        listing is listed once; one that comes or goes meanwhile may be listed or not. A directory
        that does not exist is empty. Hold the generator in ``contextlib.aclosing``.
        """
        ...

    async def count(self, directory: str) -> int:
        """How many files a directory holds; 0 if it does not exist."""
        ...

    async def identity(self) -> str:
        """The id of this store, 32 hexadecimal digits: the same whoever asks, and another one than
        that of any other store. It is kept with the files, and made, durably, where there is none
        yet; those who may be the first ones at the same time have to take turns. A copy that is
        made file by file is another store."""
        ...

    async def status(self) -> Status:
        """Size and health of the store."""
        ...

    async def check(self) -> None:
        """Return if the store answers; raise StoreUnavailable, or StoreFull where it takes no
        bytes at all, within 5 s."""
        ...

    async def close(self) -> None:
        """Give everything back. Idempotent. Readers and writers must be closed before."""
        ...
