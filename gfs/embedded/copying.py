"""Copying a store while it is served.

A file of the store is never changed: a new version is a new file that is renamed over the old one
(:mod:`gfs.embedded.tree`). So whatever a name leads to at some moment is one whole version, and
stays it. A second name for that (link(2)) is a copy that takes no time and no room; where the copy
is on another disk, the bytes are read through one descriptor, which keeps its version even when the
name goes. A walk meanwhile finds every file that was there when it began and was not deleted since;
of one that is replaced it finds the old or the new version. What is being written is in ``~tmp``,
and is left out with all that begins with ``~``.

A store has files in directories, and no more. Whatever else somebody has put there is left out, and
``left_out`` names it: nothing goes in silence. A file or a directory that cannot be read is left
out too, and does not keep the others from being copied.

The copy is a store too: the same layout, the same times, and so the same way back. What is on
another engine is copied file by file (:mod:`gfs.copying`), to such a copy and from it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from gfs.api import FileSystem
from gfs.copying import Copied
from gfs.embedded.border import DIRECTORY_FLAGS, border, reason
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.embedded.listing import valid
from gfs.embedded.tree import READ_FLAGS
from gfs.errors import StoreUnavailable
from gfs.paths import check_directory

COPY_BUFFER = 1024 * 1024
LOST_FOUND = "lost+found"
"""What ext4 has at the root of a disk."""

_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


def copy(source: str, target: str, directories: Iterable[str]) -> Copied:
    """Copy ``directories`` of the store under ``source`` to ``target``, which is made, or is empty;
    durable at return.

    Blocks. Not idempotent: what a failure leaves in ``target`` is for the caller to remove. Raises
    StoreUnavailable, also where ``target`` is not empty, and StoreFull.
    """
    copied = Copied()
    with border():
        os.makedirs(target, mode=0o700, exist_ok=True)
        with _directory(source) as store, _directory(target) as copy_of_it:
            if any(not name.startswith("~") for name in os.listdir(copy_of_it)):
                raise StoreUnavailable("there are files already where the copy is to be")
            for name in directories:
                _copy_directory(store, copy_of_it, check_directory(name), copied)
            os.fsync(copy_of_it)
    return copied


@asynccontextmanager
async def open_copy(root: str) -> AsyncIterator[FileSystem]:
    """The copy under ``root``, which is made if need be, to read or to fill it. At the end nothing
    is left there but files. Raises StoreUnavailable."""
    fs = await EmbeddedFileSystem.start(root)
    try:
        yield fs
    finally:
        await fs.close()
        await asyncio.to_thread(_clear, root)


def _clear(root: str) -> None:
    with border():
        for entry in os.scandir(root):
            if entry.name.startswith("~"):
                (shutil.rmtree if entry.is_dir() else os.unlink)(entry.path)


def left_out(root: str, directories: Collection[str]) -> Iterator[tuple[str, str]]:
    """What :func:`copy` leaves out of the store under ``root``, each as its path in there and what
    it is: all that is no file of a name that can be, in one of ``directories``. Empty directories
    that are not of those hold nothing, and are passed over. Blocks. Raises StoreUnavailable."""
    with border("the files to be copied"), _directory(root) as store:
        for entry in _entries(store):
            if entry.name.startswith("~") or entry.name == LOST_FOUND:
                continue  # the store's own, and the file system's
            if not entry.is_dir(follow_symlinks=False):
                yield entry.name, f"{_kind(entry)} that is in no namespace"
                continue
            try:
                with _directory(entry.name, store) as directory:
                    if entry.name in directories:
                        yield from _left_out_of(directory, entry.name)
                    elif os.listdir(directory):
                        yield entry.name, "a directory that is no namespace"
            except FileNotFoundError:
                continue
            except OSError as error:
                yield entry.name, f"a directory that cannot be read ({reason(error)})"


def _left_out_of(directory: int, name: str) -> Iterator[tuple[str, str]]:
    for entry in _entries(directory):
        if not entry.is_file(follow_symlinks=False):
            yield f"{name}/{entry.name}", _kind(entry)
        elif not valid(entry.name):
            yield f"{name}/{entry.name}", "a name that no file can have"


def _entries(directory: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        yield from entries


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "a symbolic link"
    if entry.is_dir(follow_symlinks=False):
        return "a directory"
    return "a file" if entry.is_file(follow_symlinks=False) else "a socket, a FIFO or a device"


def _copy_directory(store: int, copy_of_it: int, name: str, copied: Copied) -> None:
    try:
        directory = os.open(name, DIRECTORY_FLAGS, dir_fd=store)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            return  # there is none, or left_out() names it
        raise
    try:
        os.mkdir(name, 0o700, dir_fd=copy_of_it)
        with _directory(name, copy_of_it) as target:
            for entry in filter(valid, os.listdir(directory)):
                try:
                    _copy_file(directory, target, entry, copied)
                except _Unreadable:
                    copied.lose(f"{name}/{entry}")
            os.fsync(target)
    finally:
        os.close(directory)


class _Unreadable(Exception):
    """The file that is to be copied cannot be read; nothing is wrong with the copy."""


def _copy_file(directory: int, target: int, name: str, copied: Copied) -> None:
    """Copy what ``name`` leads to now, unless it is gone or no plain file. Raises _Unreadable."""
    try:
        descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return
        raise _Unreadable from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return
        try:
            os.link(name, name, src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False)
            found = os.stat(name, dir_fd=target, follow_symlinks=False)  # perhaps a newer version
            copied.linked += 1
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            _copy_bytes(descriptor, target, name, found)
        copied.files += 1
        copied.size += found.st_size
    finally:
        os.close(descriptor)


def _copy_bytes(descriptor: int, target: int, name: str, found: os.stat_result) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    written = os.open(name, flags, 0o600, dir_fd=target)
    try:
        with open(written, "wb") as file:
            while piece := _read(descriptor):
                file.write(piece)
            file.flush()
            if os.fstat(written).st_size != found.st_size:
                raise StoreUnavailable("a file was changed in place while it was copied")
            for attribute in os.listxattr(descriptor):
                if attribute.startswith("user."):
                    with suppress(OSError):  # the age of a replaced file, where it can be kept
                        os.setxattr(written, attribute, os.getxattr(descriptor, attribute))
            os.utime(written, ns=(found.st_mtime_ns, found.st_mtime_ns))
            os.fsync(written)
    except _Unreadable:
        os.unlink(name, dir_fd=target)
        raise


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, COPY_BUFFER)
    except OSError as error:
        raise _Unreadable from error


@contextmanager
def _directory(path: str, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, DIRECTORY_FLAGS, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
