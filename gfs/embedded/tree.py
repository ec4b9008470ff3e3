"""The directory that the embedded engine keeps its files in, and every blocking call on it.

Layout under the root, which one process at a time owns (``flock`` on ``~lock``):

- ``<directory>/<name>``: one plain file for each file, published whole;
- ``~tmp/<random>``: what is being written;
- ``~trash/<random>``: removed directories on their way out;
- ``~id``: the id of the store.

No directory of a caller has a name that starts with ``~`` (:mod:`gfs.paths`), so the names do not
collide. All of it is on one file system, because a publish is one rename(2) or link(2): a reader
sees the old file or the new one, and after the fsync of file and directory a power cut does not
change that. What a crash left in ``~tmp`` and ``~trash`` is removed at the next start.

The root itself may be reached through a symbolic link. A directory in it may not be one: it could
lead to another file system, where nothing can be published, and removing the link would remove no
file. What is there instead of a directory, or cannot be read or written, is StoreBroken; it is
never treated as an empty directory.

A reserve of the disk is kept free of uploads, for what must go on when users have filled the rest:
the database and its log, new directories, deletions. It is counted in bytes, and, where the file
system has a fixed number of files, in files too: one for each BYTES_PER_FILE of the reserve, which
is 1,000 for 256 MB.

The version of a file is made of its inode, its size and its modification time, which is set to a
clock that never gives the same nanosecond twice. The kernel's own times are too coarse (4 ms):
after three publishes within that, the same inode, size and time could come back. A file that
another program puts there, or changes in place, gets its version from the same three. The time when
a name was first published is in an extended attribute, which is written only when a file is
replaced; where the file system has none, it is the time of the newest version.
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
from gfs.embedded.oserrors import (
    DIRECTORY_FLAGS,
    FOREIGN,
    not_a_directory,
    open_directory,
    open_error,
    translated,
)
from gfs.embedded.trash import Leftovers, scratch_name
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
"""A symbolic link is not followed, and opening a FIFO does not block."""

MAX_INFOS = 4096
"""How many versions have their FileInfo cached: about 2 MB."""

BYTES_PER_FILE = 256_000
"""For so many bytes of the reserve, one file is reserved: databases and logs have files of about
that size and more."""

_CREATED = "user.sfs.created"
"""The extended attribute with the time when the name was first published, in decimal."""

_UNFIT = (
    "its file system has no {}, which are needed: choose one that has, as ext4, xfs, btrfs, tmpfs, "
    "mergerfs or bindfs (the database may be on another one)"
)


class Tree:
    """The root directory, open. Every method but ``info`` may wait for the disk: call it in a
    thread."""

    def __init__(self, root: str, reserve: int = 0) -> None:
        """Open ``root``, making it if need be, and remove what a crash left in ``~tmp``. Uploads
        leave ``reserve`` bytes of the disk free.

        Raises StoreUnavailable when another process has it open, StoreBroken when its file system
        cannot do what a publish needs, or when ``~tmp`` or ``~trash`` cannot be used.
        """
        self._reserve = reserve
        self._publish_lock = threading.Lock()
        self._time_lock = threading.Lock()
        # What a version is never changes, so it is cached: reading the attribute takes longer than
        # everything else that finding a file needs.
        self._infos: dict[tuple[str, str, int, int, int], FileInfo] = {}
        self._last_time = 0
        with translated("the directory of the files"):
            os.makedirs(root, mode=0o700, exist_ok=True)
            self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._device = os.fstat(self.root).st_dev
            self._lock()
            for scratch in ("~tmp", "~trash"):
                self._make(scratch)
                self.require_writable(scratch)
            self.unswept = Leftovers()
            self.swept = self._sweep_tmp()
            self._probe()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the root, and give up the lock on it. Idempotent."""
        for descriptor in (getattr(self, "_lock_fd", -1), self.root):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock_fd = self.root = -1

    def _lock(self) -> None:
        with translated("~lock"):
            self._lock_fd = os.open(
                "~lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self.root
            )
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreUnavailable("another process serves this data directory") from error

    def _sweep_tmp(self) -> int:
        """Remove unfinished uploads, and return how many. ``unswept`` has those that cannot be."""
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
            with translated(directory):
                return os.listdir(descriptor)
        finally:
            os.close(descriptor)

    def _probe(self) -> None:
        """Raise StoreBroken for a file system on which a publish is not atomic or a version not
        unique. A disk that takes no more files is not tried: it was tried at an earlier start."""
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
        """Move a file as publishing and removing do: from ``~tmp`` to the root, and to
        ``~trash``."""
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

    def empty_trash(self, goes_on: Callable[[], bool] = lambda: True) -> Leftovers:
        """Free the space of removed directories, for as long as ``goes_on`` returns True, and
        return what could not be removed. May take long. Other calls may run at the same time, but
        not a second one of this."""
        descriptor = open_directory(self.root, "~trash")
        try:
            with translated("~trash"):
                return trash.empty(descriptor, goes_on)
        finally:
            os.close(descriptor)

    def space(self) -> tuple[int, int, int]:
        """The bytes of the file system: all, used, and free for this process."""
        with translated():
            found = os.fstatvfs(self.root)
        unit = found.f_frsize
        return (
            found.f_blocks * unit,
            (found.f_blocks - found.f_bfree) * unit,
            found.f_bavail * unit,
        )

    def identity(self) -> str:
        """The id of the store, which is made if need be. Raises StoreUnavailable if it cannot be
        read."""
        with translated():
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
        """Raise StoreFull unless ``size`` more bytes and ``files`` more files leave the reserve
        free."""
        with translated():
            found = os.fstatvfs(self.root)
        free = found.f_bavail * found.f_frsize
        if free < size + self._reserve:
            raise StoreFull(
                f"{free} bytes are free, of which {self._reserve} are reserved; {size} are needed"
            )
        kept = self._reserve // BYTES_PER_FILE
        if found.f_files and found.f_favail < files + kept:  # some file systems do not count them
            raise StoreFull(
                f"the disk takes {found.f_favail} more files, of which {kept} are reserved"
            )

    def require_writable(self, directory: str) -> None:
        """Raise NoSuchDirectory or StoreBroken if it is clear beforehand that no file can be
        published in ``directory``."""
        with translated(directory):
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
        """The errors of all directories that cannot be used."""
        found = []
        with translated(), os.scandir(self.root) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith("~")]
        for name in names:
            try:
                self.require_writable(check_directory(name))
            except (NoSuchDirectory, InvalidName):
                continue  # removed meanwhile, or not made by this store
            except GfsError as error:
                found.append(error)
        return found

    def check(self) -> None:
        """Raise StoreFull, StoreBroken or StoreUnavailable if the store takes no files."""
        self.require_writable("~tmp")
        self.require_space()

    # Files.

    def info(self, descriptor: int, directory: str, name: str) -> FileInfo:
        """The version that is open as ``descriptor``. Raises NoSuchFile if it is no plain file."""
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NoSuchFile(name)
        key = (directory, name, found.st_ino, found.st_size, found.st_mtime_ns)
        info = self._infos.get(key)
        if info is None:
            version = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
            created = _created(descriptor, found.st_mtime_ns)
            info = FileInfo(directory, name, found.st_size, version, created, found.st_mtime_ns)
            if len(self._infos) >= MAX_INFOS:
                self._infos.clear()
            self._infos[key] = info
        return info

    def open(self, directory: str, name: str) -> int:
        """Open the current version, and return the descriptor. Raises NoSuchFile, StoreBroken or
        StoreUnavailable."""
        try:
            within = open_directory(self.root, directory)
        except NoSuchDirectory as error:
            raise NoSuchFile(name) from error
        try:
            return os.open(name.encode(), READ_FLAGS, dir_fd=within)
        except OSError as error:
            raise open_error(error, name) from error
        finally:
            os.close(within)

    def find(self, directory: str, name: str) -> FileInfo | None:
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
        """Make a file in ``~tmp``: its descriptor, and its path relative to the root."""
        path = f"~tmp/{scratch_name()}"
        with translated("~tmp"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(path, flags, 0o600, dir_fd=self.root), path

    def drop_temporary(self, descriptor: int, path: str) -> None:
        """Close a temporary file, and remove its temporary name."""
        os.close(descriptor)
        with translated(), suppress(FileNotFoundError):
            os.unlink(path, dir_fd=self.root)

    def seal(
        self, descriptor: int, directory: str, name: str, times_of: FileInfo | None = None
    ) -> None:
        """Give a temporary file the times of a version, new ones or those of ``times_of``, of which
        it is a copy, and make it durable."""
        older = times_of or self.find(directory, name)
        with translated():
            modified = self._new_time() if times_of is None else times_of.modified_ns
            if older is not None and older.created_ns != modified:
                # Without extended attributes only the age of a replaced file is lost.
                with suppress(OSError):
                    os.setxattr(descriptor, _CREATED, str(older.created_ns).encode())
            os.utime(descriptor, ns=(modified, modified))
            os.fsync(descriptor)

    def publish(
        self, descriptor: int, path: str, directory: str, name: str, expect: Expect
    ) -> Published:
        """Give a sealed temporary file its name. Raises what ``expect`` raises, and
        NoSuchDirectory."""
        target = f"{directory}/{name}".encode()
        with translated(directory):
            try:
                with self._publish_lock:
                    current = self.find(directory, name)
                    expect.check(current)
                    if expect.absent:
                        # link(2) itself refuses to replace a file, also one of another program.
                        os.link(path, target, src_dir_fd=self.root, dst_dir_fd=self.root)
                    else:
                        os.rename(path, target, src_dir_fd=self.root, dst_dir_fd=self.root)
            except FileExistsError as error:
                raise AlreadyExists(name) from error
            except FileNotFoundError as error:
                raise NoSuchDirectory(directory) from error
            except IsADirectoryError as error:
                raise InvalidName("something that is not a file has that name") from error
            # Outside of the lock, so that several publishes share one commit of the journal.
            self._sync(directory)
            return Published(self.info(descriptor, directory, name), current is not None)

    def delete(self, directory: str, name: str, expect: Expect) -> None:
        """Remove a file, durably. Raises NoSuchFile, or what ``expect`` raises."""
        with self._publish_lock, translated(directory):
            current = self.find(directory, name)
            if current is None:
                raise NoSuchFile(name)
            expect.check(current)
            os.unlink(f"{directory}/{name}".encode(), dir_fd=self.root)
        with translated(directory):
            self._sync(directory)

    def _new_time(self) -> int:
        """The time now in nanoseconds since the epoch, never the same twice in one process."""
        with self._time_lock:
            self._last_time = max(clock.unix_ns(), self._last_time + 1)
            return self._last_time

    # Directories.

    def make_directory(self, directory: str) -> None:
        """Make a directory, durably, unless it exists. Raises StoreFull."""
        self._make(directory)
        os.close(open_directory(self.root, directory))
        with translated():
            os.fsync(self.root)

    def _make(self, directory: str) -> None:
        with translated(directory), suppress(FileExistsError):
            os.mkdir(directory, 0o700, dir_fd=self.root)

    def discard_directory(self, directory: str) -> None:
        """Move a directory to ``~trash``, durably. Raises StoreBroken for a link or a mount point,
        whose files would stay."""
        with translated(directory):
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
        return otherwise  # never replaced, or a file system without attributes
