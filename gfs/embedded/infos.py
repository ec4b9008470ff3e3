"""What an open file is, as a :class:`gfs.types.FileInfo`.

The version of a file is made of its inode, its size and its modification time, which a publish sets
to a clock that never gives the same nanosecond twice. The kernel's own times are too coarse (4 ms):
after three publishes within that, the same inode, size and time could come back. A file that
another program puts there, or changes in place, gets its version from the same three. A move
changes none of them.

The time when a path was first published is in an extended attribute, which is written only when a
file is replaced; where the file system has none, it is the time of the newest version. To list the
names of the attributes of an open file takes 0.4 µs, and to ask for one that is not there 1.2 µs
(an error, in Python); by a path it would be 2 µs and 5 µs. So a file is opened to be listed, which
takes no longer than stat(2) and one of those, and one that this process may not read is left out.
"""

from __future__ import annotations

import os
import stat

from gfs.errors import IsFolder, NoSuchFile
from gfs.types import FileInfo, FolderInfo

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A symbolic link is not followed, and opening a FIFO does not block."""

MAX_INFOS = 4096
"""How many versions have their FileInfo cached: about 2 MB."""

_CREATED = "user.sfs.created"
"""The extended attribute with the time when the path was first published, in decimal."""


class Infos:
    """The FileInfo of the files that are opened, cached: what a version is never changes."""

    def __init__(self) -> None:
        self._cached: dict[tuple[str, str, int, int, int], FileInfo] = {}

    def of(self, descriptor: int, directory: str, path: str) -> FileInfo:
        """The version that is open as ``descriptor``. Raises NoSuchFile if it is no plain file,
        IsFolder if it is a folder."""
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise IsFolder(path) if stat.S_ISDIR(found.st_mode) else NoSuchFile(path)
        key = (directory, path, found.st_ino, found.st_size, found.st_mtime_ns)
        info = self._cached.get(key)
        if info is None:
            info = file_info(descriptor, found, directory, path)
            if len(self._cached) >= MAX_INFOS:
                self._cached.clear()
            self._cached[key] = info
        return info


def file_info(descriptor: int, found: os.stat_result, directory: str, path: str) -> FileInfo:
    """The version that is open as ``descriptor``, a plain file of which fstat(2) says ``found``."""
    size, modified = found.st_size, found.st_mtime_ns
    version = f"{found.st_ino:x}-{size:x}-{modified:x}"
    return FileInfo(directory, path, size, version, _created(descriptor, modified), modified)


def folder_info(found: os.stat_result, directory: str, path: str) -> FolderInfo:
    """The folder of which stat(2) says ``found``."""
    return FolderInfo(directory, path, found.st_mtime_ns)


def _created(descriptor: int, otherwise: int) -> int:
    try:
        if _CREATED in os.listxattr(descriptor):
            return int(os.getxattr(descriptor, _CREATED))
    except (OSError, ValueError):
        return otherwise  # a file system without attributes
    return otherwise


def set_created(descriptor: int, created_ns: int) -> None:
    """Write down when the path of an open file was first published. Raises OSError."""
    os.setxattr(descriptor, _CREATED, str(created_ns).encode())
