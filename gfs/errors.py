"""The errors of a GFS. An engine raises these and no others; what the operating system or a
library raised is turned into one of them at the engine's border and kept as ``__cause__``.

The text of an error may be logged. It names no path of the machine and no secret, but nothing
outside this package reads it to decide: the class alone says what happened.
"""


class GfsError(Exception):
    """The root. Callers that need no distinction catch this."""


class InvalidName(GfsError):
    """A directory or file name that the store cannot keep (see :mod:`gfs.paths`)."""


class NoSuchFile(GfsError):
    """There is no such file under that name now."""


class NoSuchDirectory(GfsError):
    """There is no such directory now: it never was, or it was removed."""


class AlreadyExists(GfsError):
    """The name was to be created exclusively, and it is taken."""


class VersionMismatch(GfsError):
    """The file under the name is not of the version that the caller required."""


class StoreFull(GfsError):
    """There is no room for more bytes (disk full, quota reached, no writable volume)."""


class StoreUnavailable(GfsError):
    """The store cannot be reached, or did not answer in time. Trying again later may help."""


class StoreBroken(GfsError):
    """The store refuses, and will refuse again until somebody mends it: a directory of another
    user, a read-only file system, another file system or a link in the place of a directory.
    The text says where and why; trying again does not help."""


class DataLoss(GfsError):
    """The exact bytes asked for cannot be had: a short, over-long or changed answer from every
    replica, or a file that was cut while it was read."""
