"""The interface of a GFS: what an engine must do, and all that its callers may rely on.

A *file* has a *path* inside a *directory* and is published in *versions*; each version is a fixed
run of bytes. The segments of its path but the last name the *folders* that it is in. A folder is
made by itself, or by what is published or moved into it, and stays until it is removed, also when
it is empty. One path is a file or a folder, never both. Everything here is called from one event
loop. Every method may raise :class:`gfs.errors.StoreUnavailable`, or
:class:`gfs.errors.StoreBroken` where trying again does not help, after a bounded time; no method
waits for ever. The docstrings say what else a method raises, whether it may be called again, what
a cancellation leaves behind and who closes; ``tests/gfs/suite.py`` holds every engine to them.

What only some engines can do is a Protocol of its own, which callers look for with ``isinstance``
or ``issubclass``; a wrapper of a Reader or Writer must not hide it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from gfs.types import (
    ANYTHING,
    Bytes,
    Entry,
    Expect,
    FileInfo,
    FolderInfo,
    Kind,
    Moved,
    Part,
    Published,
    Status,
    Usage,
)


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


class Sink(Protocol):
    """What bytes are written to, in their order, by one task at a time: a Writer or a PartWriter.
    The caller that got it ends it; as a context manager it aborts what was not ended."""

    async def write(self, piece: Bytes) -> None:
        """Append ``piece``, which the caller must not change afterwards.

        Returns when the store can take more: it holds a bounded number of bytes in memory,
        whatever the size of the file. Raises StoreFull. After an error or a cancellation nothing
        may be written any more.
        """
        ...

    async def abort(self) -> None:
        """End it, and free the bytes that nobody has: for a Writer all of its version, for a
        PartWriter those that are in no Part. Idempotent; does nothing after a ``commit``."""
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


class Writer(Sink, Protocol):
    """One version that is being made. Used by one task at a time. The caller that created it ends
    it, with ``commit`` or with ``abort``. After an error or a cancellation only ``abort`` may
    follow."""

    async def flush(self) -> None:
        """Make every byte written so far durable, but not visible. This is the slow half of a
        commit: a caller can then hold locks for the quick half alone. Raises StoreFull."""
        ...

    async def commit(self) -> Published:
        """Publish the version in one atomic, durable step, and return what was published.

        Every reader sees either what was there before or the whole new version. Raises what
        ``FileSystem.create`` says, as it is now: then nothing is published and ``abort`` must
        follow. Shield it from cancellation: a caller that is cancelled does not know whether
        the version was published; if so, it was published whole.
        """
        ...


class PartWriter(Sink, Protocol):
    """Writes on at the end of a version that is made in parts, perhaps by several processes one
    after the other (``FileSystem.append``)."""

    async def part(self, *, rest: bool = False) -> Part | None:
        """Make bytes durable that no Part has, and return the Part of them; None if there are none.
        It starts where the last Part ended.

        Without ``rest``, only what can be made durable as it is, so that nothing that was written
        lately may be in it; it may be called by another task while bytes are written. With
        ``rest``, and only between two writes, everything that was written; call it until it
        returns None. From the moment at which it was returned, the Part belongs to the caller, who
        records it, or discards it (``FileSystem.discard``). Raises StoreFull. A cancellation loses
        no bytes: a later call returns the Part.
        """
        ...


class Ledger(Protocol):
    """What a caller records, durably, of one version that is made in parts, so that any process
    can go on with it, publish it, or discard it. Whatever its methods raise, the engine's method
    that called them raises.

    Parts and reservations are forgotten together: a reservation that is left without the Parts
    would look as if nothing was made of it."""

    upload: str
    """The name of the version while it is made: 32 hexadecimal digits that no other one has."""

    async def reserve(self, token: str) -> None:
        """Record ``token``, at most 256 characters of ASCII, until a Part names it in ``released``
        or the upload ends: something may be stored under it by the time this returns."""
        ...

    async def reserved(self) -> Sequence[str]:
        """The tokens that are recorded by ``reserve``, of all writers."""
        ...

    def parts(self) -> AsyncGenerator[Sequence[Part], None]:
        """Yield the Parts that are recorded, in batches, in the order of their bytes. It may be
        closed after the first batch. Hold it in ``contextlib.aclosing``."""
        ...


class Assembly(Writer, Protocol):
    """A version that was made in parts, of which all bytes are durable. ``write`` raises
    StoreUnavailable: nothing is added any more. An ``abort`` frees no byte of the Parts."""

    def read(self) -> AsyncGenerator[Bytes, None]:
        """Yield all bytes of the version in their order, in pieces of 1 B to 1 MiB. Call it before
        ``commit``. Raises DataLoss or StoreUnavailable. Hold it in ``contextlib.aclosing``."""
        ...

    async def commit(self) -> Published:
        """Publish the version like ``Writer.commit``.

        It can be tried again, by any process, while the Ledger is kept, also when it is not known
        whether an earlier ``commit`` of the same upload published it: if the version is at its path
        already, nothing is published again, and this returns what is there, with ``replaced``
        None. After the caller has recorded that it was published, it calls ``clear``.
        """
        ...

    async def clear(self) -> None:
        """Free what the publish has left over, after ``commit``. Idempotent. If it fails or is
        never called, ``FileSystem.discard(published=True)`` frees most of it later."""
        ...


@runtime_checkable
class BlockingWriter(Protocol):
    """A Sink that a thread can write to, past the event loop and without a copy of the bytes."""

    def write_blocking(self, piece: Bytes) -> None:
        """Append ``piece`` before returning; the caller may change it afterwards. Raises StoreFull.

        Call it in a thread, instead of ``write`` for all that is written, and never at the same
        time as another method but ``PartWriter.part`` without ``rest``.
        """
        ...


@runtime_checkable
class BufferWriter(Sink, Protocol):
    """A Sink whose memory the caller fills itself: no byte is copied on its way, and the caller
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
    """A GFS. Every method that takes a directory or a path raises InvalidName for one that
    :mod:`gfs.paths` refuses.

    Each change is one step for every reader, in every process: they see what was there before or
    all of what is there afterwards. Callers that change the same path, or one inside of the other,
    in several processes have to take turns; whoever does not is still refused, or one of them is,
    but an engine may need longer for it.
    """

    async def make_directory(self, directory: str) -> None:
        """Make a directory, durably. Idempotent: one that exists stays as it is."""
        ...

    async def remove_directory(self, directory: str) -> None:
        """Remove a directory and everything in it. Idempotent.

        The whole directory disappears at once; its space may be freed later. Open readers go on;
        writers into it fail at ``commit``.
        """
        ...

    async def stat(self, directory: str, path: str) -> FileInfo:
        """The current version of a file. Raises NoSuchFile, also without such a directory or
        folder, and IsFolder."""
        ...

    async def open(self, directory: str, path: str) -> Reader:
        """Pin the current version for reading. Raises NoSuchFile and IsFolder like ``stat``.

        As cheap as ``stat``: no byte of the file is read yet. A cancellation leaves nothing open.
        """
        ...

    def forget(self, directory: str, path: str) -> None:
        """Drop what is cached of a path, and of the folders that it is in: the next call sees what
        any process has changed before it.

        Without this, a change by another process may be seen late, by a second at most.
        """

    async def create(
        self,
        directory: str,
        path: str,
        *,
        expect: Expect = ANYTHING,
        size: int | None = None,
        times_of: FileInfo | None = None,
    ) -> Writer:
        """Start a new version of ``path``; nothing is visible before its commit, which also makes
        the folders that are missing.

        ``expect`` is checked now, so that an upload that cannot succeed fails before its bytes are
        sent, and again at commit, where the check is atomic. ``size``, in bytes, lets a full store
        refuse at once. ``times_of`` is a version of which the new one is a copy: it gets its times.
        Raises NoSuchDirectory, StoreFull, IsFolder, NotAFolder, and what ``Expect.check`` raises.
        The commit raises them too, and NoSuchFolder when a folder of the path that is there now was
        moved or removed meanwhile: it is not made again. A cancellation leaves nothing behind.
        """
        ...

    async def append(self, directory: str, ledger: Ledger, offset: int) -> PartWriter:
        """Write on at byte ``offset`` of the version that is made in parts as ``ledger.upload``; at
        0, start it. ``offset`` is the end of the last Part that is recorded. ``directory`` is where
        it will be published: a store may have rules for where the bytes of each one are kept.

        Nothing is visible before ``assemble`` and its ``commit``. A Part is durable when it is
        returned: it survives a crash of this process and of one machine of a cluster, and stays
        until the version was published or discarded; nothing expires by itself. Callers that go on
        with the same upload take turns by the Ledger: a PartWriter that was overtaken may go on,
        but its Parts must not be recorded, and it changes no byte of those that are. Where one
        process has the store, a new PartWriter ends the old one, whose next call raises
        StoreUnavailable; and what is behind ``offset`` is cut off, so a caller that has read an
        earlier offset from the Ledger must have ended before a later one is recorded. Raises
        NoSuchUpload if the bytes before ``offset`` are gone, StoreFull, and NoSuchDirectory if the
        engine looks. A cancellation leaves nothing behind.
        """
        ...

    async def assemble(
        self,
        directory: str,
        path: str,
        ledger: Ledger,
        size: int,
        *,
        expect: Expect = ANYTHING,
    ) -> Assembly:
        """The version whose Parts are recorded in ``ledger``, ``size`` bytes together, to be
        published at ``path``. Memory is bounded, however many Parts there are.

        Raises what ``create`` raises, but not because of what an earlier commit of the same upload
        has published; NoSuchUpload if the bytes are gone; ValueError if the Parts do not have
        ``size`` bytes without a gap. A cancellation leaves the Parts as they were.
        """
        ...

    async def discard(
        self, ledger: Ledger, parts: Sequence[Part] | None = None, *, published: bool = False
    ) -> None:
        """Free the bytes of a version that is made in parts: all that the Ledger has recorded; or,
        if ``parts`` are given, which were never recorded, only theirs. Idempotent.

        ``published``: it was published, or may have been; only what the publish left over is freed.
        No Assembly and no PartWriter whose Parts are still recorded may be in use. Raises
        StoreUnavailable while some of what is recorded cannot be freed: call it again later.
        """
        ...

    async def delete(self, directory: str, path: str, *, expect: Expect = ANYTHING) -> FileInfo:
        """Remove a file, durably, and return what it was. Raises NoSuchFile, IsFolder, and what
        ``Expect.check`` raises.

        Open readers keep the version that they have pinned. The folder stays, if empty too.
        """
        ...

    async def stat_folder(self, directory: str, path: str) -> FolderInfo:
        """The folder at ``path``; "" is the directory itself. Raises NoSuchFolder, also where there
        is a file, or no such directory."""
        ...

    async def make_folder(self, directory: str, path: str) -> FolderInfo:
        """Make a folder, and those above it that are missing, durably. Raises AlreadyExists if
        there is a file or a folder at ``path``, NotAFolder if there is a file above it, and
        NoSuchDirectory. A cancellation may leave some of them."""
        ...

    async def remove_folder(self, directory: str, path: str) -> None:
        """Remove a folder and everything in it. Raises NoSuchFolder, also where there is a file.

        The whole folder disappears at once, durably; its space is freed later, by any process.
        Open readers go on; writers into it fail at ``commit``.
        """
        ...

    async def move(
        self,
        directory: str,
        path: str,
        to_directory: str,
        to_path: str,
        *,
        expect: Expect = ANYTHING,
        expect_there: Expect = ANYTHING,
    ) -> Moved:
        """Move a file or a folder with everything in it, in one durable step, and make the folders
        above ``to_path`` that are missing.

        ``expect`` is what must be at ``path``, ``expect_there`` what must be at ``to_path``, where
        a file or folder is replaced, as a whole. Versions and times go along; open readers go on;
        writers into what is moved fail at ``commit``. Raises NoSuchFile if nothing is at ``path``;
        MovesIntoItself if the two ends are one, or one is inside of the other; NotAFolder if a file
        is above ``to_path``; NoSuchDirectory for ``to_directory``; FolderTooLarge; StoreFull;
        InvalidName also, if the engine looks, for a path in the folder that would be too long; and
        what ``Expect.check`` raises. Shield it from cancellation: a caller that is cancelled does
        not know whether it was done; it is not half done. StoreUnavailable after a time-out may
        mean that too: look at both ends.
        """
        ...

    def list_files(
        self, directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        """Yield the files at all depths in batches, in the order of their paths' UTF-8 bytes.

        Only paths that start with ``prefix`` and come behind ``after``, at most ``limit`` of
        them. Memory is bounded, however many there are. A file that is there during the whole
        listing is listed once; one that is made, moved or removed meanwhile may be listed or not.
        A directory that does not exist is empty. Hold the generator in ``contextlib.aclosing``.
        """
        ...

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
        """Yield the files and folders right in ``folder``, "" for the top, in the order of their
        names' UTF-8 bytes; otherwise like ``list_files``.

        ``prefix`` and ``after`` are compared with the name, the last segment. ``kind`` yields only
        files, or only folders, and looks at no other entry more closely than to know what it is. A
        folder that does not exist is empty.
        """
        ...

    async def usage(self, directory: str, folder: str = "", *, most: int | None = None) -> Usage:
        """Count what a folder holds at all depths; nothing if it does not exist. It is a walk:
        ``most`` ends it after about so many entries, and then the result is not ``complete``."""
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
