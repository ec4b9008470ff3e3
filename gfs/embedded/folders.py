"""The way from a directory of the store along the path of a file or folder.

It leads nowhere else: a symbolic link on it is not followed, and a mount is not entered, because
nothing could be published or moved there by rename(2). A link, a FIFO or a socket is neither a file
nor a folder of the store. Where the kernel has openat2(2) it holds to that in one call
(:func:`gfs.linux.open_beneath`), else each folder is opened in the one before it.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress

from gfs.embedded.oserrors import DIRECTORY_FLAGS, gfs_error, open_directory
from gfs.errors import NotAFolder
from gfs.linux import open_beneath
from gfs.paths import MAX_NAME_BYTES, parents

NO_FOLDER = frozenset({errno.ENOTDIR, errno.ELOOP})
"""What opening a file or a link as a folder fails with."""

_LINKS_WITHOUT_FOLDERS = 2
"""Its own name and ``.``; each folder in it adds ``..``."""

_PASS_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_within(directory: int, path: str, flags: int) -> int:
    """Open ``path``, relative to the open directory ``directory``. Raises OSError: one of NO_FOLDER
    for a file or a link in the place of a folder, EXDEV for a mount."""
    opened = open_beneath(directory, path.encode(), flags | os.O_NOFOLLOW)
    return _walk(directory, path, flags) if opened is None else opened


def _walk(directory: int, path: str, flags: int) -> int:
    device = os.fstat(directory).st_dev
    *above, last = path.split("/")
    with ExitStack() as passed:
        for segment in above:
            directory = os.open(segment.encode(), _PASS_FLAGS, dir_fd=directory)
            passed.callback(os.close, directory)
        opened = os.open(last.encode(), flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    if os.fstat(opened).st_dev != device:
        os.close(opened)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return opened


def open_folder(directory: int, path: str, place: str) -> int | None:
    """Open the folder ``path``, "" for the directory itself, in the open directory ``directory``;
    None if there is none. Raises NotAFolder if there is something else on the way, and StoreBroken
    or StoreUnavailable for a folder that cannot be read; ``place`` is where, in their text."""
    if not path:
        return os.dup(directory)
    try:
        return open_within(directory, path, DIRECTORY_FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in NO_FOLDER:
            raise NotAFolder(path) from error
        raise gfs_error(error, place) from error


def has_space_below(folder: int, segments: int, size: int) -> bool:
    """Whether every path below an open folder is at most ``segments`` and ``size`` bytes longer
    than that of the folder, slashes included.

    A folder in which there is none, and with space for every name, is not read: its number of links
    says so, except on file systems that do not count them. Raises OSError.
    """
    is_last = os.fstat(folder).st_nlink == _LINKS_WITHOUT_FOLDERS
    if is_last and segments and size > MAX_NAME_BYTES:
        return True
    with os.scandir(folder) as entries:
        for entry in entries:
            left = size - 1 - len(os.fsencode(entry.name))
            if left < 0 or not segments:
                return False
            if entry.is_dir(follow_symlinks=False):
                try:
                    below = os.open(entry.name, DIRECTORY_FLAGS, dir_fd=folder)
                except (FileNotFoundError, PermissionError):
                    continue  # nobody lists what is in it
                try:
                    if not has_space_below(below, segments - 1, left):
                        return False
                finally:
                    os.close(below)
    return True


class Way:
    """The folders above one path, held open for a change.

    ``name`` is the last segment of the path. ``missing`` are the names of the folders that are not
    there, the outermost first: :meth:`make` makes them.
    """

    def __init__(self, root: int, directory: str, path: str, *, whole: bool = False) -> None:
        """Open the folders above ``path`` in a directory of the store, whose own descriptor is
        ``root``. ``whole``: :meth:`sync` is to make durable each folder on the way, not only what
        changes.

        Raises NoSuchDirectory, NotAFolder, and StoreBroken or StoreUnavailable for what cannot be
        opened.
        """
        above, _, self.name = path.rpartition("/")
        self.directory = directory
        self.path = path
        self.missing: list[str] = []
        self._changed: list[int] = []
        self._others: list[int] = []
        place = f"{directory}/{path}"
        top = open_directory(root, directory)
        try:
            while (folder := open_folder(top, above, place)) is None:
                above, _, name = above.rpartition("/")
                self.missing.insert(0, name)
            self._changed.append(folder)
            if whole and above:
                for outer in ("", *parents(above)):
                    if (folder := open_folder(top, outer, place)) is not None:
                        self._others.append(folder)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(top)

    @property
    def folder(self) -> int:
        """The descriptor of the innermost folder that is there."""
        return self._changed[-1]

    @property
    def made(self) -> int:
        """How many folders have been made."""
        return len(self._changed) - 1

    def look(self) -> os.stat_result | None:
        """What is at the path, itself if it is a link; None if nothing is."""
        if self.missing:
            return None
        try:
            return os.stat(self.name.encode(), dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def make(self) -> None:
        """Make the folders that are missing."""
        while self.missing:
            name = self.missing[0].encode()
            os.mkdir(name, 0o700, dir_fd=self.folder)
            self._changed.append(os.open(name, DIRECTORY_FLAGS, dir_fd=self.folder))
            self.missing.pop(0)

    def unmake(self) -> None:
        """Remove the folders that :meth:`make` made, as far as they are empty."""
        names = self.path.split("/")[:-1]
        with suppress(OSError):
            for _ in range(self.made):
                os.close(self._changed.pop())
                os.rmdir(names.pop().encode(), dir_fd=self.folder)

    def sync(self) -> None:
        """Make what has changed durable."""
        for descriptor in (*reversed(self._changed), *reversed(self._others)):
            os.fsync(descriptor)

    def release(self) -> int:
        """Give the descriptor of the innermost folder to the caller, who closes it."""
        return self._changed.pop()

    def close(self) -> None:
        """Close the folders. Idempotent."""
        for held in (self._changed, self._others):
            while held:
                os.close(held.pop())
