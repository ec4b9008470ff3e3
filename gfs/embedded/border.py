"""The embedded engine's border: what the operating system raises becomes an error of ours here."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from gfs.errors import GfsError, InvalidName, NoSuchFile, StoreFull, StoreUnavailable

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory of the store is opened: no link leads out of it."""

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


@contextmanager
def border() -> Iterator[None]:
    """Turn what the operating system raises into errors of :mod:`gfs.errors`.

    The messages leave out the paths that an OSError carries.
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
        raise StoreUnavailable(f"the disk: {os.strerror(error.errno or 0)}") from error


def missing(error: OSError, name: str) -> GfsError:
    """What an ``open`` for reading that failed with ``error`` means.

    A link, a socket, or a file that this process may not read was put there by something else.
    It is no file of ours: for the reader there is none.
    """
    if error.errno in _ABSENT:
        return NoSuchFile(name)
    return StoreUnavailable(f"the disk: {os.strerror(error.errno or 0)}")
