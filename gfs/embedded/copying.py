"""Copying a store while it is served.

A file of the store is never changed: a new version is a new file that is renamed over the old one
(:mod:`gfs.embedded.tree`). So what a name leads to at any moment is one whole version. A hard link
to it (link(2)) is a copy that takes no time and no space. Where the copy is on another disk, the
bytes are read through one descriptor, which keeps its version even when the name is removed. A walk
over a directory and the folders in it finds every file that was there when it started and is still
there; of one that is replaced it finds the old or the new version. What is being written is in
``~tmp`` or, in parts, in ``~uploads``, which are left out like every name that starts with ``~``.

A file that is moved while the walk goes on may be found at both places, or at none. So there is a
second pass, which copies what the copy does not have at its path; and if it came upon a file that
is older than the whole copy, one more, at most MOST_PASSES of them.

A store holds directories, and folders and files in them. What else is there was put there by
another program; it is left out, and ``left_out`` names it. A file or a folder that cannot be read
is left out too, and does not keep the others from being copied.

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

from gfs import clock
from gfs.api import FileSystem
from gfs.copying import MOST_PASSES, Copied
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.embedded.folders import open_within
from gfs.embedded.infos import READ_FLAGS
from gfs.embedded.listing import valid
from gfs.embedded.oserrors import DIRECTORY_FLAGS, reason, translated
from gfs.errors import StoreUnavailable
from gfs.paths import MAX_PATH_BYTES, MAX_SEGMENTS, check_directory

COPY_BUFFER = 1024 * 1024
"""How many bytes are read at once where a file cannot be linked."""

LOST_FOUND = "lost+found"
"""A directory that ext4 makes at the root of every disk."""

_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})

_NOT_ENTERED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EXDEV})
"""What opening a folder fails with that is not copied: it is gone, or ``left_out`` names it."""


def copy(source: str, target: str, directories: Iterable[str]) -> Copied:
    """Copy ``directories`` of the store under ``source``, with all that is in them, to the
    directory ``target``, which is made, or is empty; durable when it returns.

    Blocks. Not idempotent: the caller removes what a failure leaves in ``target``. Raises
    StoreFull, and StoreUnavailable, also if ``target`` is not empty.
    """
    copied = Copied()
    started_ns = clock.unix_ns()
    names = [check_directory(name) for name in directories]
    with translated():
        os.makedirs(target, mode=0o700, exist_ok=True)
        with _directory(source) as store, _directory(target) as copy_of_it:
            if any(not name.startswith("~") for name in os.listdir(copy_of_it)):
                raise StoreUnavailable("there are files already where the copy is to be")
            for number in range(MOST_PASSES):
                this_pass = _Pass(copied, started_ns)
                for name in names:
                    this_pass.copy_folder(store, copy_of_it, name, "")
                if number and not this_pass.saw_moves:
                    break
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
    what it is. Copied are the files and folders with valid paths in ``directories``; other
    directories are only named if they are not empty. Blocks. Raises StoreUnavailable."""
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
                        yield from _left_out_of(directory, entry.name, "")
                    elif os.listdir(directory):
                        yield entry.name, "a directory that is no namespace"
            except FileNotFoundError:
                continue
            except OSError as error:
                yield entry.name, f"a directory that cannot be read ({reason(error)})"


def _left_out_of(folder: int, directory: str, base: str) -> Iterator[tuple[str, str]]:
    """Yield what is left out of an open folder, whose path in ``directory`` is ``base`` without the
    slash at its end."""
    for entry in _entries(folder):
        path = base + entry.name
        what = _why_left_out(entry, base)
        if what is not None:
            yield f"{directory}/{path}", what
        elif entry.is_dir(follow_symlinks=False):
            try:
                below = open_within(folder, entry.name, DIRECTORY_FLAGS)
            except FileNotFoundError:
                continue
            except OSError as error:
                yield f"{directory}/{path}", f"a folder that cannot be read ({reason(error)})"
                continue
            try:
                yield from _left_out_of(below, directory, f"{path}/")
            finally:
                os.close(below)


def _why_left_out(entry: os.DirEntry[str], base: str) -> str | None:
    """What an entry of a folder is, if it is nothing of a store. ``base``: the path of the folder,
    with a slash at its end, "" for the directory."""
    is_folder = entry.is_dir(follow_symlinks=False)
    if not is_folder and not entry.is_file(follow_symlinks=False):
        return _kind(entry)
    if not valid(entry.name):
        return f"a name that no {'folder' if is_folder else 'file'} can have"
    path = base + entry.name
    if path.count("/") >= MAX_SEGMENTS or len(path.encode()) > MAX_PATH_BYTES:
        return "a path that is too long"
    return None


def _entries(directory: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        yield from entries


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "a symbolic link"
    return "a file" if entry.is_file(follow_symlinks=False) else "a socket, a FIFO or a device"


class _Pass:
    """A walk over what is to be copied, which adds what it copies to ``copied``."""

    def __init__(self, copied: Copied, started_ns: int) -> None:
        self._copied = copied
        self._started_ns = started_ns
        self.saw_moves = False
        """Whether a file was copied that was there before ``started_ns``, or something was gone
        when it was to be copied: it may have been moved."""

    def copy_folder(self, within: int, target: int, directory: str, path: str) -> None:
        """Copy the folder at ``path`` in ``directory``, "" for the directory itself, with all that
        is in it. The folders that it is in are open: ``within`` in the store, ``target`` in the
        copy."""
        name = path.rpartition("/")[2] or directory
        try:
            if path:
                source = open_within(within, name, DIRECTORY_FLAGS)
            else:
                source = os.open(name, DIRECTORY_FLAGS, dir_fd=within)
        except OSError as error:
            if error.errno in _NOT_ENTERED:
                self.saw_moves |= error.errno == errno.ENOENT
                return
            raise
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=target)
            _require_same_kind(target, name, is_folder=True)
            with _directory(name, target) as made:
                self._copy_entries(source, made, directory, f"{path}/" if path else "")
                os.fsync(made)
        finally:
            os.close(source)

    def _copy_entries(self, source: int, target: int, directory: str, base: str) -> None:
        for entry in _entries(source):
            if _why_left_out(entry, base) is not None:
                continue
            path = base + entry.name
            if entry.is_dir(follow_symlinks=False):
                self.copy_folder(source, target, directory, path)
                continue
            try:
                modified_ns = _copy_file(source, target, entry.name, self._copied)
                self.saw_moves |= modified_ns is not None and modified_ns < self._started_ns
            except FileNotFoundError:
                self.saw_moves = True
            except _Unreadable:
                self._copied.lose(f"{directory}/{path}")


def _require_same_kind(target: int, name: str, *, is_folder: bool) -> None:
    """Raise StoreUnavailable if the copy has, from a pass before, a file where there is a folder
    now, or the other way round."""
    found = os.stat(name, dir_fd=target, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode) != is_folder:
        raise StoreUnavailable(
            "a file or folder came in the place of the other while it was copied: try again"
        )


class _Unreadable(Exception):
    """The file that is to be copied cannot be read; nothing is wrong with the copy."""


def _copy_file(directory: int, target: int, name: str, copied: Copied) -> int | None:
    """Copy the file that ``name`` leads to now, and return its modification time in nanoseconds;
    not one that the copy has, and nothing that is not a plain file. Raises FileNotFoundError and
    _Unreadable."""
    try:
        descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return None
        if error.errno == errno.ENOENT:
            raise
        raise _Unreadable from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        try:
            if _link(directory, target, name):
                found = os.stat(name, dir_fd=target, follow_symlinks=False)  # a newer one, perhaps
                copied.linked += 1
            else:
                _copy_bytes(descriptor, target, name, found)
        except FileExistsError:
            _require_same_kind(target, name, is_folder=False)
            return None
        copied.files += 1
        copied.size += found.st_size
        return found.st_mtime_ns
    finally:
        os.close(descriptor)


def _link(directory: int, target: int, name: str) -> bool:
    """Link ``name``, or return False where it can only be copied. Raises OSError."""
    try:
        os.link(name, name, src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True


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
