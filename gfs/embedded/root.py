"""The directory that the embedded engine keeps its files in, and what is not theirs.

Layout under the root, which one process at a time owns (``flock`` on ``~lock``):

- ``<directory>/<path>``: one plain file for each file, published whole, and a directory for each
  folder (:mod:`gfs.embedded.tree`);
- ``~tmp/<random>``: what is being written;
- ``~uploads/<id>``: one plain file for each version that is made in parts
  (:mod:`gfs.embedded.parts`), until it was published or discarded;
- ``~trash/<random>``: removed directories and folders on their way out;
- ``~moving``: what a move does that takes two renames, while it does it;
- ``~id``: the id of the store.

No directory of a caller has a name that starts with ``~`` (:mod:`gfs.paths`), so the names do not
collide. All of it is on one file system, because a publish is one rename(2) or link(2): a reader
sees the old file or the new one, and after the fsync of file and directory a power cut does not
change that. What a crash left in ``~tmp`` and ``~trash`` is removed at the next start; what is in
``~uploads`` stays, because its upload may go on.

The root itself may be reached through a symbolic link. A directory in it may not be one: it could
lead to another file system, where nothing can be published, and removing the link would remove no
file. What is there instead of a directory, or cannot be read or written, is StoreBroken; it is
never treated as an empty directory.

A reserve of the disk is kept free of uploads, for what must go on when users have filled the rest:
the database and its log, new directories, deletions. It is counted in bytes, and, where the file
system has a fixed number of files, in files too: one for each BYTES_PER_FILE of the reserve, which
is 1,000 for 256 MB.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from gfs.embedded import trash
from gfs.embedded.infos import READ_FLAGS
from gfs.embedded.oserrors import FOREIGN, not_a_directory, open_directory, translated
from gfs.embedded.trash import Leftovers, scratch_name
from gfs.errors import (
    GfsError,
    InvalidName,
    NoSuchDirectory,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
)
from gfs.paths import STORE_ID_DIGITS, check_directory, check_store_id, new_store_id

BYTES_PER_FILE = 256_000
"""For so many bytes of the reserve, one file is reserved: databases and logs have files of about
that size and more."""

_UNFIT = (
    "its file system has no {}, which are needed: choose one that has, as ext4, xfs, btrfs, tmpfs, "
    "mergerfs or bindfs (the database may be on another one)"
)


class Root:
    """The root directory, open. Every method may wait for the disk: call it in a thread."""

    def __init__(self, root: str, reserve: int = 0) -> None:
        """Open ``root``, making it if need be, and remove what a crash left in ``~tmp``. Uploads
        leave ``reserve`` bytes of the disk free.

        Raises StoreUnavailable when another process has it open, StoreBroken when its file system
        cannot do what a publish needs, or when ``~tmp``, ``~uploads`` or ``~trash`` cannot be
        used.
        """
        self._reserve = reserve
        with translated("the directory of the files"):
            os.makedirs(root, mode=0o700, exist_ok=True)
            self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._device = os.fstat(self.root).st_dev
            self._lock()
            for scratch in ("~tmp", "~uploads", "~trash"):
                self.make(scratch)
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
        """Move a file as publishing and removing do: from ``~tmp`` and ``~uploads`` to the root,
        and to ``~trash``."""
        root = self.root
        probe, probe_of_uploads = "~probe", "~uploads/~probe"
        for left in (probe, probe_of_uploads):
            with suppress(FileNotFoundError):
                os.unlink(left, dir_fd=root)
        try:
            os.link(path, probe_of_uploads, src_dir_fd=root, dst_dir_fd=root)
            os.rename(probe_of_uploads, probe, src_dir_fd=root, dst_dir_fd=root)
            trashed = f"~trash/{scratch_name()}"
            os.rename(probe, trashed, src_dir_fd=root, dst_dir_fd=root)
            os.unlink(trashed, dir_fd=root)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise StoreBroken(FOREIGN.format("~tmp, ~uploads or ~trash")) from error
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
        self.write_whole("~id", made.encode())
        return made

    def write_whole(self, name: str, content: bytes) -> None:
        """Write a small file of the store itself, durably, and in one step for readers."""
        descriptor, path = self.make_temporary()
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(path, name, src_dir_fd=self.root, dst_dir_fd=self.root)
        os.fsync(self.root)

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
            self.require_access(directory, self.root, directory)

    def require_access(self, name: str, within: int, place: str) -> None:
        """Raise StoreBroken unless this user may read and write the directory ``name`` in an open
        one."""
        effective = os.access in os.supports_effective_ids
        wanted = os.R_OK | os.W_OK | os.X_OK
        if not os.access(name, wanted, dir_fd=within, effective_ids=effective):
            raise StoreBroken(
                f"{place}: this user may not read and write there: give it to the user of the "
                "service, or mount the disk for writing"
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

    def make_temporary(self) -> tuple[int, str]:
        """Make a file in ``~tmp``: its descriptor, and its path relative to the root."""
        path = f"~tmp/{scratch_name()}"
        with translated("~tmp"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(path, flags, 0o600, dir_fd=self.root), path

    def make(self, directory: str) -> None:
        """Make a directory, unless it exists; not durable yet. Raises StoreFull."""
        with translated(directory), suppress(FileExistsError):
            os.mkdir(directory, 0o700, dir_fd=self.root)
