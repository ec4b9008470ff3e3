"""The values that cross the GFS interface. All are frozen: they can be shared and kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs.errors import AlreadyExists, VersionMismatch

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One version of one file.

    ``version`` is an opaque printable ASCII string without quotes or backslashes, at most 64
    characters. Two versions with different bytes under one name never share it. Times are
    nanoseconds since the Unix epoch; ``created_ns`` is when the name was first published,
    ``modified_ns`` when this version was.
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

    ``absent``: nothing. ``present``: something. ``versions``: one of these versions (``None``:
    no matter). Without any of them nothing is required.
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
    """What a commit did: the version that is now under the name, and whether it replaced one."""

    info: FileInfo
    replaced: bool


@dataclass(frozen=True, slots=True)
class Status:
    """How the store is. ``capacity`` and ``used`` are bytes; ``chunkservers`` is how many serve
    now, ``servers`` counts the masters too."""

    engine: str
    chunkservers: int
    servers: int
    capacity: int
    used: int


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts: the certificates of who may be talked to, and a certificate of our own with its
    private key, which the other side asks for."""

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)
