"""A ZIP file whose length is known before its first byte, by the standard ``zipfile``. Pure.

The format is that of PKWARE's APPNOTE. Entries are stored, not compressed, so that the length of
the whole follows from names and sizes. The CRC of a file is known only when its bytes have passed,
so it stands behind them, in a data descriptor (flag bit 3, §4.3.9), and again in the directory at
the end of the ZIP file, which is what programs that open it read. Names that are not ASCII are in
UTF-8 (flag bit 11). The format has times in whole 2 seconds of an unknown zone; the time in Unix
seconds is added to each entry (extra field 0x5455, "UT").

``zipfile`` uses ZIP64 for files, offsets and a directory of more than ZIP64_LIMIT bytes (2 GiB, so
before the format's 4 GiB) and for more than 65,535 entries. ``Contents.add`` repeats these rules to
know the length: ``tests/server/transfer/test_zips.py`` compares it with what ``zipfile`` writes.
"""

from __future__ import annotations

import io
import stat
import struct
from datetime import UTC, datetime
from typing import IO
from zipfile import ZIP64_LIMIT, ZIP_FILECOUNT_LIMIT, ZipFile, ZipInfo

from gfs.types import Bytes

_LOCAL = 30
_DIRECTORY = 46
_DESCRIPTOR, _DESCRIPTOR64 = 16, 24
_END, _END64 = 22, 76
"""The lengths of what ``zipfile`` writes: the header of a file, its entry in the directory, both
without name and extra fields; a data descriptor; what ends the directory."""

_EXTRA64 = 20
"""The length of the ZIP64 field in the header of a large file; in the directory it is 4 bytes, and
8 for each number in it."""

_FIRST = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())
_LAST = int(datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC).timestamp())
"""The first and the last time that the format can express, in Unix seconds."""

_NS = 1_000_000_000


class Contents:
    """What is to be in a ZIP file, and how long that makes it. An entry takes some 450 bytes of
    memory."""

    def __init__(self) -> None:
        self.entries: list[ZipInfo] = []
        self._files = 0
        self._directory = 0

    def __repr__(self) -> str:
        return f"<Contents entries={len(self.entries)} length={self.length}>"

    def add(self, name: str, size: int | None, modified_ns: int) -> None:
        """Add a file of ``size`` bytes, or a folder, whose size is None. ``name`` is its path in
        the ZIP file, without a slash at the end. The time is in nanoseconds since the Unix
        epoch."""
        info = ZipInfo(name if size is not None else f"{name}/", _dos_time(modified_ns))
        seconds = min(max(modified_ns // _NS, 0), 2**31 - 1)
        info.extra = struct.pack("<HHBl", 0x5455, 5, 1, seconds)
        mode = stat.S_IFDIR | 0o755 if size is None else stat.S_IFREG | 0o644
        info.external_attr = mode << 16 | (0x10 if size is None else 0)
        info.file_size = size or 0
        info.CRC = 0
        self.entries.append(info)
        named = len(info.filename.encode()) + len(info.extra)
        numbers = 2 * _is_large(info) + (self._files > ZIP64_LIMIT)
        self._directory += _DIRECTORY + named + (4 + 8 * numbers if numbers else 0)
        self._files += _LOCAL + named + info.file_size
        if size is not None:
            large = _is_large(info)
            self._files += _EXTRA64 + _DESCRIPTOR64 if large else _DESCRIPTOR

    @property
    def length(self) -> int:
        """The length of the ZIP file in bytes."""
        sizes = (self._files, self._directory)
        large = len(self.entries) > ZIP_FILECOUNT_LIMIT or max(sizes) > ZIP64_LIMIT
        return sum(sizes) + _END + (_END64 if large else 0)


class ZipWriter:
    """Makes the bytes of a ZIP file that are not those of files, which only pass through the CRC.

    For each entry of Contents, in its order: ``start``; for a file then ``data`` for all its bytes,
    and ``end``. At last ``finish``, or at any time ``abort``.
    """

    def __init__(self) -> None:
        self._out = _Out()
        self._zip = ZipFile(self._out, "w")
        self._file: IO[bytes] = io.BytesIO()  # the entry that is being written

    def __repr__(self) -> str:
        return f"<ZipWriter entries={len(self._zip.filelist)} position={self._out.tell()}>"

    def start(self, entry: ZipInfo) -> bytes:
        """What stands before the bytes of ``entry``."""
        if entry.is_dir():
            self._zip.mkdir(entry)
        else:
            large = _is_large(entry)
            entry.file_size = 0  # for ``zipfile`` to count; else it decides itself what is large
            self._file = self._zip.open(entry, "w", force_zip64=large)
        return self._out.take()

    def data(self, piece: Bytes) -> None:
        """The next bytes of the file. They are looked at, and not kept."""
        self._out.counts_only = True
        self._file.write(piece)
        self._out.counts_only = False

    def end(self) -> bytes:
        """What stands behind the bytes of a file."""
        self._file.close()
        return self._out.take()

    def finish(self) -> bytes:
        """The directory, which ends the ZIP file. 100,000 entries take half a second."""
        self._zip.close()
        return self._out.take()

    def abort(self) -> None:
        """Write nothing more. Idempotent; does nothing after ``finish``."""
        self.end()
        self._zip.fp = None  # closed, as far as ``zipfile`` knows: it would write a directory


class _Out:
    """The file that ``zipfile`` writes to. It cannot seek: hence the data descriptors."""

    def __init__(self) -> None:
        self.counts_only = False
        """Whether what is written now is counted, and not kept."""
        self._position = 0
        self._kept = bytearray()

    def write(self, piece: bytes, /) -> int:
        self._position += len(piece)
        if not self.counts_only:
            self._kept += piece
        return len(piece)

    def take(self) -> bytes:
        """What was written and kept since the last call."""
        kept, self._kept = self._kept, bytearray()
        return bytes(kept)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing waits to be written."""

    def close(self) -> None:
        """Nothing is open."""


def _is_large(entry: ZipInfo) -> bool:
    """Whether the size of a file needs ZIP64."""
    return entry.file_size > ZIP64_LIMIT


def _dos_time(modified_ns: int) -> tuple[int, int, int, int, int, int]:
    """A time as the format has it, in UTC."""
    seconds = min(max(modified_ns // _NS, _FIRST), _LAST)
    return datetime.fromtimestamp(seconds, UTC).timetuple()[:6]
