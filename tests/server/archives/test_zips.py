"""ZIP files, and their lengths, without a server."""

from __future__ import annotations

import io
import zipfile
import zlib

import pytest

from sfs_server.archives.zips import Contents, ZipWriter

LIMIT = zipfile.ZIP64_LIMIT
HEADER = len("a") + 30 + 9
"""What stands before the bytes of a file ``a`` that is not large."""
ENOUGH = bytearray(1 << 30)

Listed = tuple[str, int | None, int]


def written(contents: Contents, data: dict[str, bytes]) -> bytes:
    """The ZIP file with these contents."""
    writer, pieces = ZipWriter(), []
    for entry in contents.entries:
        pieces.append(writer.start(entry))
        if not entry.is_dir():
            piece = data[entry.filename]
            pieces.append(piece)
            for start in range(0, len(piece), 3):
                writer.data(memoryview(piece)[start : start + 3])
            pieces.append(writer.end())
    pieces.append(writer.finish())
    writer.abort()  # which does nothing any more
    return b"".join(pieces)


def listed(*entries: Listed) -> Contents:
    contents = Contents()
    for entry in entries:
        contents.add(*entry)
    return contents


def test_what_is_in_it() -> None:
    second = 1_700_000_001
    data = {"a": b"", "ü/ß.txt": b"12345678", "-" * 255: b"x"}
    entries = [(name, len(piece), second * 10**9 + 5) for name, piece in data.items()]
    contents = listed(*entries, ("empty", None, 0), ("ü", None, 2**62))
    whole = written(contents, data)
    assert len(whole) == contents.length
    with zipfile.ZipFile(io.BytesIO(whole)) as found:
        assert found.testzip() is None
        assert {info.filename: found.read(info) for info in found.infolist()} == {
            **data,
            "empty/": b"",
            "ü/": b"",
        }
        info = found.getinfo("ü/ß.txt")
        assert info.compress_type == zipfile.ZIP_STORED
        assert info.flag_bits & 0x800  # the name is UTF-8
        assert info.date_time == (2023, 11, 14, 22, 13, 20)
        assert info.extra == b"UT\x05\x00\x01" + second.to_bytes(4, "little")
        assert found.getinfo("empty/").is_dir()
        assert found.getinfo("empty/").date_time == (1980, 1, 1, 0, 0, 0)
        assert found.getinfo("ü/").date_time == (2107, 12, 31, 23, 59, 58)


def test_one_of_nothing() -> None:
    assert written(listed(), {}) == b"PK\x05\x06" + bytes(18)
    assert listed().length == 22


@pytest.mark.parametrize(
    "sizes",
    [
        *[(size,) for size in (LIMIT - 1, LIMIT, LIMIT + 1, 2**32 - 1, 2**32, 2**33)],
        (LIMIT * 20 // 21, 1),  # from there on ``zipfile`` would use ZIP64 by itself
        (LIMIT * 20 // 21 + 1, 1),
        *[(size - HEADER - 16, 1) for size in (LIMIT - 1, LIMIT, LIMIT + 1)],  # an offset
        *[(size - HEADER - 16,) for size in (LIMIT - 1, LIMIT, LIMIT + 1)],  # the directory's
        (2**32, 0, 2**32, 5),
    ],
)
def test_the_length_at_the_borders_of_zip64(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "crc32", lambda piece, crc: crc)  # none of the bytes matters
    contents = listed(*((chr(ord("a") + number), size, 0) for number, size in enumerate(sizes)))
    writer, length = ZipWriter(), 0
    for entry, size in zip(contents.entries, sizes, strict=True):
        length += size + len(writer.start(entry))
        for start in range(0, size, len(ENOUGH)):
            writer.data(memoryview(ENOUGH)[: size - start])
        length += len(writer.end())
    assert length + len(writer.finish()) == contents.length


@pytest.mark.parametrize("count", [65_535, 65_536])
def test_the_length_at_the_border_of_many_entries(count: int) -> None:
    contents = listed(*((str(number), None, 0) for number in range(count)))
    whole = written(contents, {})
    assert len(whole) == contents.length
    with zipfile.ZipFile(io.BytesIO(whole)) as found:
        assert len(found.infolist()) == count


def test_the_crc_is_that_of_the_bytes() -> None:
    whole = written(listed(("a", 8, 0)), {"a": b"12345678"})
    crc = zlib.crc32(b"12345678").to_bytes(4, "little")
    assert whole.count(crc) == 2  # behind the bytes, and in the directory


def test_an_abort_writes_nothing() -> None:
    contents = listed(("a", 8, 0), ("b", 8, 0))
    writer = ZipWriter()
    writer.start(contents.entries[0])
    writer.data(b"1234")
    writer.abort()
    writer.abort()
    assert writer.finish() == b""
