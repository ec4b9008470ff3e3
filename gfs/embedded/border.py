"""The embedded engine's border: what the operating system raises becomes an error of ours here."""

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
"""How a directory of the store is opened: no link leads out of it."""

FOREIGN = (
    "{} is on another file system, or is a mount of its own: files are published by rename(2), "
    "which needs one file system; put the whole store on one"
)

_ABSENT = frozenset(
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
"""What does not end by itself. All else may: a disk that responds again, memory, descriptors."""


@contextmanager
def border(place: str = "the disk") -> Iterator[None]:
    """Turn what the operating system raises into errors of :mod:`gfs.errors`.

    The messages say ``place``, a name within the store, and leave out the paths that an OSError
    carries.
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
        raise trouble(error, place) from error


def trouble(error: OSError, place: str) -> GfsError:
    """What an error of the operating system at ``place`` means: StoreBroken where it stays until
    somebody mends it, or StoreUnavailable."""
    if error.errno == errno.EXDEV:
        return StoreBroken(FOREIGN.format(place))
    kind = StoreBroken if error.errno in _LASTING else StoreUnavailable
    return kind(f"{place}: {reason(error)}")


def reason(error: OSError) -> str:
    """What went wrong, without a path. Not every OSError has a number."""
    return type(error).__name__ if error.errno is None else os.strerror(error.errno)


def open_directory(root: int, directory: str) -> int:
    """A descriptor of a directory of the store ``root``.

    Raises NoSuchDirectory where nothing has that name, and StoreBroken or StoreUnavailable where it
    is there and cannot be used: taking it for an empty one would look like a loss.
    """
    try:
        return os.open(directory, DIRECTORY_FLAGS, dir_fd=root)
    except FileNotFoundError as error:
        raise NoSuchDirectory(directory) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise not_a_directory(directory) from error
        raise trouble(error, directory) from error


def not_a_directory(directory: str) -> StoreBroken:
    """A link or a file in the place of a directory."""
    return StoreBroken(
        f"{directory} is a symbolic link or a file, and is not followed: put the directory itself "
        "there, or move the whole store to the other disk"
    )


def missing(error: OSError, name: str) -> GfsError:
    """What an ``open`` for reading that failed with ``error`` means, in a directory that is there.

    A link, a socket, or a file that this process may not read was put there by something else.
    It is no file of ours: for the reader there is none.
    """
    if error.errno in _ABSENT:
        return NoSuchFile(name)
    return trouble(error, "the disk")
