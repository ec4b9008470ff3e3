"""The errors of a GFS. An engine raises these and no others: it turns what the operating system or
a library raises into one of them, in one place, and keeps the original as ``__cause__``.

The text of an error may be logged: it names no path of the machine and no secret. Decisions are
made by the class alone; no program reads the text.
"""


class GfsError(Exception):
    """What every error of a GFS is; for callers that treat all alike."""


class InvalidName(GfsError):
    """A directory or a path that the store cannot keep (see :mod:`gfs.paths`)."""


class NoSuchFile(GfsError):
    """There is no such file now; for a move, nothing at all."""


class NoSuchFolder(GfsError):
    """There is no such folder now: it was never made, or it was moved or removed."""


class IsFolder(GfsError):
    """There is a folder at that path, and the caller required a file or nothing."""


class NotAFolder(GfsError):
    """A file is where the path needs a folder."""


class MovesIntoItself(GfsError):
    """A move whose two ends are one, or of which one is inside of the other."""


class FolderTooLarge(GfsError):
    """The engine cannot move a folder of so many entries in one step. The text says how many it
    can."""


class NoSuchDirectory(GfsError):
    """There is no such directory now: it was never made, or it was removed."""


class NoSuchUpload(GfsError):
    """The bytes of a version that was made in parts are not there: it was discarded, or the store
    is another one."""


class AlreadyExists(GfsError):
    """There is a file or a folder at that path, and the caller required that there be nothing."""


class VersionMismatch(GfsError):
    """What is at that path is not of the version that the caller required."""


class StoreFull(GfsError):
    """There is no space for more bytes (disk full, quota reached, no writable volume)."""


class StoreUnavailable(GfsError):
    """The store cannot be reached, or did not respond in time. Trying again later may help."""


class StoreBroken(GfsError):
    """The store refuses, and goes on refusing until its operator repairs it: a directory of another
    user, a read-only file system, another file system or a link in the place of a directory. The
    text says where and why."""


class DataLoss(GfsError):
    """The store does not have the exact bytes that were asked for: every replica sent too few, too
    many or other ones, or a file was cut short while it was read."""
