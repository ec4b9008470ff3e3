"""The values that cross the GFS interface. All are frozen, so they can be shared and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gfs.errors import AlreadyExists, VersionMismatch

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One version of one file: the one at ``path`` in ``directory``.

    ``path`` has 1 to 32 segments (:mod:`gfs.paths`). ``size`` is in bytes. ``version`` is an opaque
    string of at most 64 printable ASCII characters without quotes or backslashes; two versions at
    one path that have different bytes never share it. Times are nanoseconds since the Unix epoch:
    ``created_ns`` is when the file was first published, ``modified_ns`` when this version was. A
    move keeps version and times.
    """

    directory: str
    path: str
    size: int
    version: str
    created_ns: int
    modified_ns: int

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class FolderInfo:
    """A folder at ``path`` in ``directory``; the path "" is that of the directory itself.
    ``modified_ns`` is when an entry of it was last made or removed, in nanoseconds since the Unix
    epoch, as far as the engine can tell."""

    directory: str
    path: str
    modified_ns: int

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]


Entry = FileInfo | FolderInfo
"""What a folder has in it. A path is a file or a folder, never both."""

Kind = Literal["file", "folder"]
"""What an Entry is."""


@dataclass(frozen=True, slots=True)
class Expect:
    """What must be at a path at the moment of a commit, a delete or a move.

    ``absent``: nothing. ``present``: a file or a folder. ``versions``: a file of one of these
    versions (None: any; a folder has none). By default nothing is required.
    """

    absent: bool = False
    present: bool = False
    versions: frozenset[str] | None = None

    def check(self, current: Entry | None) -> None:
        """Raise AlreadyExists or VersionMismatch if ``current`` is not what was expected."""
        if self.absent and current is not None:
            raise AlreadyExists(current.path)
        if current is None:
            if self.present or self.versions is not None:
                raise VersionMismatch("the file does not exist")
        elif self.versions is not None:
            if isinstance(current, FolderInfo):
                raise VersionMismatch("a folder has no version")
            if current.version not in self.versions:
                raise VersionMismatch("the file has been replaced")


ANYTHING = Expect()
ABSENT = Expect(absent=True)
PRESENT = Expect(present=True)


@dataclass(frozen=True, slots=True)
class Published:
    """What a commit did: the version that it published, and the one that this replaced, if any."""

    info: FileInfo
    replaced: FileInfo | None


@dataclass(frozen=True, slots=True)
class Part:
    """A run of bytes, durable and not visible, of a version that is made in parts: the ``size`` of
    them from byte ``offset`` on.

    ``token`` says where they are: opaque text in ASCII of at most 8192 characters, which any
    process with the same store understands; it may be empty. ``released`` are the tokens of
    reservations (``Ledger.reserve``) that are not needed any more once the Part is recorded.
    """

    offset: int
    size: int
    token: str
    released: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """The byte behind the last one."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did: what was moved, as it is at its new place, and what it replaced there, if
    anything."""

    entry: Entry
    replaced: Entry | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a folder holds at all depths: how many ``files``, and their ``size`` together in bytes,
    and how many ``folders``. ``complete``: whether all of it was counted; if not, there is more."""

    files: int
    folders: int
    size: int
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Status:
    """The size and health of a store. ``capacity`` and ``used`` are in bytes; ``chunkservers`` is
    how many there are now, ``servers`` counts the masters and filers too."""

    engine: str
    chunkservers: int
    servers: int
    capacity: int
    used: int


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts for mutual TLS: ``ca``, the certificates that the other side's must be signed by;
    ``certificate`` and ``key``, our own certificate with its private key."""

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)
