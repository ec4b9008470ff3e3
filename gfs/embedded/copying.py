"""Copying a store while it is served.

A file of the store is never changed: a new version is a new file that is renamed over the old one
(:mod:`gfs.embedded.tree`). So what a name leads to at any moment is one whole version. A hard link
to it (link(2)) is a copy that takes no time and no space. Where the copy is on another disk, the
bytes are read through one descriptor, which keeps its version even when the name is removed. A walk
over a directory finds every file that was there when it started and is still there; of one that is
replaced it finds the old or the new version. What is being written is in ``~tmp``, which is left
out like every name that starts with ``~``.

A store holds directories, and files in them. What else is there was put there by another program;
it is left out, and ``left_out`` names it. A file or a directory that cannot be read is left out
too, and does not keep the others from being copied.

The copy is a store too, with the same layout and the same times, so it is restored in the same way.
What is on another engine is copied file by file (:mod:`gfs.copying`), to such a copy and from it.
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
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.embedded.infos import READ_FLAGS
from gfs.embedded.listing import valid
from gfs.embedded.oserrors import DIRECTORY_FLAGS, reason, translated
from gfs.errors import StoreUnavailable
from gfs.paths import check_directory

COPY_BUFFER = 1024 * 1024
"""How many bytes are read at once where a file cannot be linked."""

LOST_FOUND = "lost+found"
"""A directory that ext4 makes at the root of every disk."""

_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


def copy(source: str, target: str, directories: Iterable[str]) -> Copied:
    """Copy ``directories`` of the store under ``source`` to the directory ``target``, which is
    made, or is empty; durable when it returns.

    Blocks. Not idempotent: the caller removes what a failure leaves in ``target``. Raises
    StoreFull, and StoreUnavailable, also if ``target`` is not empty.
    """
    copied = Copied()
    with translated():
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
    """Open the copy under ``root``, which is made if need be, to read or to fill it. When it is
    closed, only the directories of files are left there. Raises StoreUnavailable."""
    fs = await EmbeddedFileSystem.start(root)
    try:
        yield fs
    finally:
        await fs.close()
        await asyncio.to_thread(_clear, root)


def _clear(root: str) -> None:
    with translated():
        for entry in os.scandir(root):
            if entry.name.startswith("~"):
                (shutil.rmtree if entry.is_dir() else os.unlink)(entry.path)


def left_out(root: str, directories: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield what :func:`copy` leaves out of the store under ``root``: its path in the store, and
    what it is. Copied are the files with valid names in ``directories``; other directories are only
    named if they are not empty. Blocks. Raises StoreUnavailable."""
    with translated("the files to be copied"), _directory(root) as store:
        for entry in _entries(store):
            if entry.name.startswith("~") or entry.name == LOST_FOUND:
                continue  # of the store itself, and of the file system
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
    """Copy the file that ``name`` leads to now; not one that was removed, and nothing that is not a
    plain file. Raises _Unreadable."""
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
                    with suppress(OSError):  # the age of a replaced file, if it can be stored
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
