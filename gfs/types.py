"""The values that cross the GFS interface. All are frozen, so they can be shared and kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs.errors import AlreadyExists, VersionMismatch

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One version of one file.

    ``size`` is in bytes. ``version`` is an opaque string of at most 64 printable ASCII characters
    without quotes or backslashes; two versions of one name that have different bytes never share
    it. Times are nanoseconds since the Unix epoch: ``created_ns`` is when the name was first
    published, ``modified_ns`` when this version was.
    """

    directory: str
    name: str
    size: int
    version: str
    created_ns: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Expect:
    """What must be under a name at the moment of a commit or a delete.

    ``absent``: no file. ``present``: a file. ``versions``: one of these versions (None: any).
    By default nothing is required.
    """

    absent: bool = False
    present: bool = False
    versions: frozenset[str] | None = None

    def check(self, current: FileInfo | None) -> None:
        """Raise AlreadyExists or VersionMismatch if ``current`` is not what was expected."""
        if self.absent and current is not None:
            raise AlreadyExists(current.name)
        if current is None:
            if self.present or self.versions is not None:
                raise VersionMismatch("the file does not exist")
        elif self.versions is not None and current.version not in self.versions:
            raise VersionMismatch("the file has been replaced")


ANYTHING = Expect()
ABSENT = Expect(absent=True)
PRESENT = Expect(present=True)


@dataclass(frozen=True, slots=True)
class Published:
    """What a commit did: the version that it published, and whether that replaced another one."""

    info: FileInfo
    replaced: bool


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
