"""The directory that the embedded engine keeps its files in, and every blocking call on it.

Layout under the root, which one process at a time owns (``flock`` on ``~lock``):

- ``<directory>/<name>``: one plain file for each file, published whole;
- ``~tmp/<random>``: what is being written;
- ``~trash/<random>``: removed directories on their way out;
- ``~id``: the id of the store.

``~`` cannot begin a directory's name (:mod:`gfs.paths`), so nothing collides. All of it is one
file system, because rename(2) and link(2) are what make a publish atomic; POSIX promises that a
reader sees the old file or the new one, and the fsync of file and directory that it stays so
after a power cut. What a crash left in ``~tmp`` and ``~trash`` is removed at the next start.

The root itself may be reached by a symbolic link. A directory in it may not be one: it could lead
to another file system, where nothing can be published, and removing it would remove no file. What
is there instead of a directory, or cannot be read or written, is StoreBroken, and never an empty
directory.

A reserve of the disk is kept free of uploads, for what else lives there and must go on when users
have filled the rest: the database and its log, names of directories, the deletions that help. It is
counted in bytes, and in files where the file system has a fixed number of them: one for each
BYTES_FOR_A_FILE of the reserve, 1,000 for 256 MB.

The version of a file is its inode, its size and its modification time, which is set by hand to a
clock that never gives the same nanosecond twice. The kernel's own stamps are too coarse (4 ms):
three publishes within one tick could come back to the same inode, size and time. A file that
something else puts there, or changes in place, gets a version from the same three. The time when
a name was first published lives in an extended attribute, written only when a file is replaced;
where the file system has none, it is the time of the newest version.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress

from gfs import clock
from gfs.embedded import trash
from gfs.embedded.border import (
    DIRECTORY_FLAGS,
    FOREIGN,
    border,
    missing,
    not_a_directory,
    open_directory,
)
from gfs.embedded.trash import Left, scratch_name
from gfs.errors import (
    AlreadyExists,
    GfsError,
    InvalidName,
    NoSuchDirectory,
    NoSuchFile,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
)
from gfs.paths import STORE_ID_DIGITS, check_directory, check_store_id, new_store_id
from gfs.types import Expect, FileInfo, Published

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A link is not followed out of the tree, and a FIFO that somebody put there does not block."""

_CREATED = "user.sfs.created"
MOST_KNOWN = 4096
"""Versions whose FileInfo is kept at most: about 2 MB."""

BYTES_FOR_A_FILE = 256_000
"""Of the reserve. SQLite, PostgreSQL and logs have files of about that size and more."""

_UNFIT = (
    "its file system has no {}, which are needed: choose one that has, as ext4, xfs, btrfs, tmpfs, "
    "mergerfs or bindfs (the database may be on another one)"
)


class Tree:
    """Owns the root directory. Every method but ``info`` may wait for the disk: use a thread."""

    def __init__(self, root: str, reserve: int = 0) -> None:
        """Open ``root``, making it if need be, and clear what a crash left in it. Uploads leave
        ``reserve`` bytes of the disk free.

        Raises StoreUnavailable when another process has it, StoreBroken when its file system
        cannot do what a publish needs, or what is in it cannot be used.
        """
        self._reserve = reserve
        self._publishing = threading.Lock()
        self._stamping = threading.Lock()
        # What a version is never changes, so what was found of one is kept: asking for the
        # attribute costs more than all the rest of a look.
        self._known: dict[tuple[str, str, int, int, int], FileInfo] = {}
        self._last_stamp = 0
        with border("the directory of the files"):
            os.makedirs(root, mode=0o700, exist_ok=True)
            self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._device = os.fstat(self.root).st_dev
            self._lock()
            for scratch in ("~tmp", "~trash"):
                self._make(scratch)
                self.require_writable(scratch)
            self.unswept = Left()
            self.swept = self._sweep_tmp()
            self._probe()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the root, and of the lock on it. Idempotent."""
        for descriptor in (getattr(self, "_lock_fd", -1), self.root):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock_fd = self.root = -1

    def _lock(self) -> None:
        with border("~lock"):
            self._lock_fd = os.open(
                "~lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self.root
            )
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreUnavailable("another process serves this data directory") from error

    def _sweep_tmp(self) -> int:
        """Remove unfinished uploads; how many. What cannot be removed is in ``unswept``."""
        names = self._names("~tmp")
        for name in names:
            try:
                os.unlink(f"~tmp/{name}", dir_fd=self.root)
            except OSError as error:
                self.unswept.add(f"~tmp/{name}", error)
        return len(names) - self.unswept.count

    def _names(self, directory: str) -> list[str]:
        descriptor = open_directory(self.root, directory)
        try:
            with border(directory):
                return os.listdir(descriptor)
        finally:
            os.close(descriptor)

    def _probe(self) -> None:
        """Refuse a file system on which a publish would not be what it promises. A disk that has
        no place for one more file has been tried before: reads and deletes go on."""
        try:
            descriptor, path = self.make_temporary()
        except StoreFull:
            return
        try:
            self._probe_times(descriptor)
            self._probe_names(path)
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                os.unlink(path, dir_fd=self.root)

    def _probe_times(self, descriptor: int) -> None:
        stamp = 1_000_000_000_123_456_789
        with suppress(OSError):
            os.utime(descriptor, ns=(stamp, stamp))
        if os.fstat(descriptor).st_mtime_ns != stamp:
            raise StoreBroken(_UNFIT.format("times in nanoseconds"))

    def _probe_names(self, path: str) -> None:
        """The way of files and directories: from ``~tmp`` to the root, from there to ``~trash``."""
        root = self.root
        probe = "~probe"
        with suppress(FileNotFoundError):
            os.unlink(probe, dir_fd=root)
        try:
            os.link(path, probe, src_dir_fd=root, dst_dir_fd=root)
            trashed = f"~trash/{scratch_name()}"
            os.rename(probe, trashed, src_dir_fd=root, dst_dir_fd=root)
            os.unlink(trashed, dir_fd=root)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise StoreBroken(FOREIGN.format("~tmp or ~trash")) from error
            if error.errno == errno.ENOSPC:  # a directory that cannot grow
                return
            raise StoreBroken(_UNFIT.format("hard links")) from error
        try:
            os.stat("~TMP", dir_fd=root)
        except FileNotFoundError:
            return
        raise StoreBroken(_UNFIT.format("names that differ in case alone"))

    def empty_trash(self, goes_on: Callable[[], bool] = lambda: True) -> Left:
        """Free what removed directories still hold, for as long as ``goes_on``; what could not be
        removed. May take long; may run next to all else, but once at a time."""
        descriptor = open_directory(self.root, "~trash")
        try:
            with border("~trash"):
                return trash.empty(descriptor, goes_on)
        finally:
            os.close(descriptor)

    def space(self) -> tuple[int, int, int]:
        """Bytes of the file system: in all, used, and free for this process."""
        with border():
            found = os.fstatvfs(self.root)
        unit = found.f_frsize
        return (
            found.f_blocks * unit,
            (found.f_blocks - found.f_bfree) * unit,
            found.f_bavail * unit,
        )

    def identity(self) -> str:
        """The id of the store, which is made if need be. Raises StoreUnavailable where it cannot be
        read."""
        with border():
            try:
                descriptor = os.open("~id", READ_FLAGS, dir_fd=self.root)
            except FileNotFoundError:
                return self._make_identity()
            with open(descriptor, encoding="ascii", errors="replace") as file:
                return check_store_id(file.read(STORE_ID_DIGITS + 1))

    def _make_identity(self) -> str:
        made = new_store_id()
        descriptor, path = self.make_temporary()
        try:
            os.write(descriptor, made.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(path, "~id", src_dir_fd=self.root, dst_dir_fd=self.root)
        os.fsync(self.root)
        return made

    def require_space(self, size: int = 0, files: int = 0) -> None:
        """Return if ``size`` more bytes and ``files`` more files leave the reserve free. Raises
        StoreFull."""
        with border():
            found = os.fstatvfs(self.root)
        free = found.f_bavail * found.f_frsize
        if free < size + self._reserve:
            raise StoreFull(
                f"{free} bytes are free, of which {self._reserve} are reserved; {size} are needed"
            )
        kept = self._reserve // BYTES_FOR_A_FILE
        if found.f_files and found.f_favail < files + kept:  # some file systems do not count them
            raise StoreFull(
                f"the disk takes {found.f_favail} more files, of which {kept} are reserved"
            )

    def require_writable(self, directory: str) -> None:
        """Return if files can be published in ``directory``, as far as can be seen beforehand.
        Raises NoSuchDirectory and StoreBroken."""
        with border(directory):
            try:
                found = os.stat(directory, dir_fd=self.root, follow_symlinks=False)
            except FileNotFoundError as error:
                raise NoSuchDirectory(directory) from error
            if not stat.S_ISDIR(found.st_mode):
                raise not_a_directory(directory)
            if found.st_dev != self._device:
                raise StoreBroken(FOREIGN.format(directory))
            effective = os.access in os.supports_effective_ids
            wanted = os.R_OK | os.W_OK | os.X_OK
            if not os.access(directory, wanted, dir_fd=self.root, effective_ids=effective):
                raise StoreBroken(
                    f"{directory}: this user may not read and write there: give it to the user of "
                    "the service, or mount the disk for writing"
                )

    def unusable(self) -> list[GfsError]:
        """What keeps directories from being used, of each one that cannot be."""
        found = []
        with border(), os.scandir(self.root) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith("~")]
        for name in names:
            try:
                self.require_writable(check_directory(name))
            except (NoSuchDirectory, InvalidName):
                continue  # gone by now, or no directory of ours
            except GfsError as error:
                found.append(error)
        return found

    def check(self) -> None:
        """Return if the store takes files. Raises StoreFull, StoreBroken and StoreUnavailable."""
        self.require_writable("~tmp")
        self.require_space()

    # Files.

    def info(self, descriptor: int, directory: str, name: str) -> FileInfo:
        """The version that an open descriptor holds. Raises NoSuchFile if it is no plain file."""
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NoSuchFile(name)
        key = (directory, name, found.st_ino, found.st_size, found.st_mtime_ns)
        info = self._known.get(key)
        if info is None:
            version = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
            created = _created(descriptor, found.st_mtime_ns)
            info = FileInfo(directory, name, found.st_size, version, created, found.st_mtime_ns)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = info
        return info

    def open(self, directory: str, name: str) -> int:
        """A descriptor of the current version. Raises NoSuchFile, StoreBroken and the like."""
        try:
            within = open_directory(self.root, directory)
        except NoSuchDirectory as error:
            raise NoSuchFile(name) from error
        try:
            return os.open(name.encode(), READ_FLAGS, dir_fd=within)
        except OSError as error:
            raise missing(error, name) from error
        finally:
            os.close(within)

    def look(self, directory: str, name: str) -> FileInfo | None:
        """The current version, or None."""
        try:
            descriptor = self.open(directory, name)
        except NoSuchFile:
            return None
        try:
            return self.info(descriptor, directory, name)
        except NoSuchFile:
            return None
        finally:
            os.close(descriptor)

    def make_temporary(self) -> tuple[int, str]:
        """A new file in ``~tmp``: its descriptor, and its path relative to the root."""
        path = f"~tmp/{scratch_name()}"
        with border("~tmp"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(path, flags, 0o600, dir_fd=self.root), path

    def drop_temporary(self, descriptor: int, path: str) -> None:
        """Close a temporary file and remove it, published or not."""
        os.close(descriptor)
        with border(), suppress(FileNotFoundError):
            os.unlink(path, dir_fd=self.root)

    def seal(
        self, descriptor: int, directory: str, name: str, times_of: FileInfo | None = None
    ) -> None:
        """Give a temporary file the stamps of a version, its own or those of a version of which it
        is a copy, and make it durable as it is."""
        older = times_of or self.look(directory, name)
        with border():
            stamp = self._stamp() if times_of is None else times_of.modified_ns
            if older is not None and older.created_ns != stamp:
                # Without extended attributes the age of a replaced file is lost, no more.
                with suppress(OSError):
                    os.setxattr(descriptor, _CREATED, str(older.created_ns).encode())
            os.utime(descriptor, ns=(stamp, stamp))
            os.fsync(descriptor)

    def publish(
        self, descriptor: int, path: str, directory: str, name: str, expect: Expect
    ) -> Published:
        """Put a sealed temporary file under its name. Raises what ``expect`` raises."""
        target = f"{directory}/{name}".encode()
        with border(directory):
            try:
                with self._publishing:
                    current = self.look(directory, name)
                    expect.check(current)
                    if expect.absent:
                        # link(2) refuses by itself: right even beside a program that is not ours.
                        os.link(path, target, src_dir_fd=self.root, dst_dir_fd=self.root)
                    else:
                        os.rename(path, target, src_dir_fd=self.root, dst_dir_fd=self.root)
            except FileExistsError as error:
                raise AlreadyExists(name) from error
            except FileNotFoundError as error:
                raise NoSuchDirectory(directory) from error
            except IsADirectoryError as error:
                raise InvalidName("something that is not a file has that name") from error
            # Outside of the lock, so that publishes share the commits of a journal.
            self._sync(directory)
            return Published(self.info(descriptor, directory, name), current is not None)

    def delete(self, directory: str, name: str, expect: Expect) -> None:
        """Remove a file, durably. Raises NoSuchFile, or what ``expect`` raises."""
        with self._publishing, border(directory):
            current = self.look(directory, name)
            if current is None:
                raise NoSuchFile(name)
            expect.check(current)
            os.unlink(f"{directory}/{name}".encode(), dir_fd=self.root)
        with border(directory):
            self._sync(directory)

    def _stamp(self) -> int:
        """Nanoseconds since the epoch, never the same twice in one process."""
        with self._stamping:
            self._last_stamp = max(clock.unix_ns(), self._last_stamp + 1)
            return self._last_stamp

    # Directories.

    def make_directory(self, directory: str) -> None:
        """Make a directory, durably, unless it is there. Raises StoreFull."""
        self._make(directory)
        os.close(open_directory(self.root, directory))
        with border():
            os.fsync(self.root)

    def _make(self, directory: str) -> None:
        with border(directory), suppress(FileExistsError):
            os.mkdir(directory, 0o700, dir_fd=self.root)

    def discard_directory(self, directory: str) -> None:
        """Take a directory out of sight, durably; its files wait in ``~trash``. Raises StoreBroken
        where its files would stay: behind a link, or at a mount point."""
        with border(directory):
            try:
                found = os.stat(directory, dir_fd=self.root, follow_symlinks=False)
                if not stat.S_ISDIR(found.st_mode):
                    raise not_a_directory(directory)
                os.rename(
                    directory,
                    f"~trash/{scratch_name()}",
                    src_dir_fd=self.root,
                    dst_dir_fd=self.root,
                )
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                raise StoreBroken(f"{directory} is a mount point: unmount it first") from error
            os.fsync(self.root)

    def _sync(self, directory: str) -> None:
        descriptor = os.open(directory, DIRECTORY_FLAGS, dir_fd=self.root)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _created(descriptor: int, otherwise: int) -> int:
    try:
        return int(os.getxattr(descriptor, _CREATED))
    except (OSError, ValueError):
        return otherwise  # never replaced, or no such attributes here, or not one of ours
