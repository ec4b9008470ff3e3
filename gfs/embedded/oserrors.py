"""What an error of the operating system means, as an error of :mod:`gfs.errors`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from gfs.errors import (
    GfsError,
    InvalidName,
    NoSuchDirectory,
    NoSuchFile,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
)

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory of the store is opened: a symbolic link in its place is not followed."""

FOREIGN = (
    "{} is on another file system, or is a mount of its own: files are published by rename(2), "
    "which needs one file system; put the whole store on one"
)

_NO_FILE = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENXIO,
        errno.ENAMETOOLONG,
        errno.EISDIR,
        errno.EACCES,
    }
)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LASTING = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EXDEV,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENOTEMPTY,
        errno.EMLINK,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
    }
)
"""What stays until an operator repairs it. Everything else may end by itself: a disk responds
again, there is memory again, or a descriptor."""


@contextmanager
def translated(place: str = "the disk") -> Iterator[None]:
    """Turn each OSError that is raised within into an error of :mod:`gfs.errors`.

    Its text says ``place``, a name within the store, and not the path that an OSError names.
    """
    try:
        yield
    except GfsError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull("the disk is full") from error
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidName("the file system does not take a name of this length") from error
        raise gfs_error(error, place) from error


def gfs_error(error: OSError, place: str) -> GfsError:
    """What ``error`` at ``place``, a name within the store, means: StoreBroken if it stays until an
    operator repairs it, else StoreUnavailable."""
    if error.errno == errno.EXDEV:
        return StoreBroken(FOREIGN.format(place))
    kind = StoreBroken if error.errno in _LASTING else StoreUnavailable
    return kind(f"{place}: {reason(error)}")


def reason(error: OSError) -> str:
    """What went wrong, without a path; the name of the class for an OSError without a number."""
    return type(error).__name__ if error.errno is None else os.strerror(error.errno)


def open_directory(root: int, directory: str) -> int:
    """Open a directory of the store, whose own descriptor is ``root``, and return the descriptor.

    Raises NoSuchDirectory if nothing has that name, and StoreBroken or StoreUnavailable if it is
    there but cannot be used: an empty listing would look like a loss of all files.
    """
    try:
        return os.open(directory, DIRECTORY_FLAGS, dir_fd=root)
    except FileNotFoundError as error:
        raise NoSuchDirectory(directory) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise not_a_directory(directory) from error
        raise gfs_error(error, directory) from error


def not_a_directory(directory: str) -> StoreBroken:
    """The error for a link or a file in the place of a directory."""
    return StoreBroken(
        f"{directory} is a symbolic link or a file, and is not followed: put the directory itself "
        "there, or move the whole store to the other disk"
    )


def open_error(error: OSError, path: str, directory: str) -> GfsError:
    """What it means that opening ``path`` for reading, in a directory that exists, failed.

    NoSuchFile also for a link, a socket, or a file that this process may not read: another program
    put it there, and it is no file of this store.
    """
    if error.errno in _NO_FILE:
        return NoSuchFile(path)
    return gfs_error(error, f"{directory}/{path}" if error.errno == errno.EXDEV else "the disk")
