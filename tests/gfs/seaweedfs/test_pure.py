"""The pure parts of the cluster engine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gfs.cluster import require

require()

from gfs.chunkservers import Chunk  # noqa: E402
from gfs.errors import DataLoss  # noqa: E402
from gfs.seaweedfs import entries, tokens  # noqa: E402
from gfs.seaweedfs.entries import Extent, visible  # noqa: E402
from gfs.seaweedfs.proto.filer_pb2 import Entry, FileChunk, FileId, FuseAttributes  # noqa: E402
from gfs.seaweedfs.servers import address, fid, signing  # noqa: E402
from gfs.seaweedfs.servers.master import FreeSpace  # noqa: E402
from gfs.types import Part  # noqa: E402


@pytest.mark.parametrize(
    ("text", "http", "grpc"),
    [
        ("127.0.0.1:9333", "127.0.0.1:9333", "127.0.0.1:19333"),
        ("master:22000.22001", "master:22000", "master:22001"),
        (" m.example:1.2 ", "m.example:1", "m.example:2"),
        ("[::1]:9333", "[::1]:9333", "[::1]:19333"),
    ],
)
def test_an_address_has_two_ports(text: str, http: str, grpc: str) -> None:
    found = address.parse(text)
    assert (found.http, found.grpc) == (http, grpc)
    assert address.parse(str(found)) == found


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":80", "host:0", "host:x", "host:1.x", "host:60000", "::1:80"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        address.parse(text)


def test_a_port_that_is_given_apart_is_used() -> None:
    assert address.parse("host:60000", 5).grpc == "host:5"
    assert address.parse_list("a:1, b:2.3,")[1].grpc == "b:3"
    with pytest.raises(ValueError, match="no address"):
        address.parse_list(" , ")


@pytest.mark.parametrize(
    ("text", "step", "following"),
    [
        ("3,01637037d6", 0, "3,01637037d6"),
        ("3,ff637037d6", 1, "3,0100637037d6"),
        ("12,044e12345678", 2, "12,045012345678"),
    ],
)
def test_the_needles_of_one_assign_follow_each_other(text: str, step: int, following: str) -> None:
    assert fid.following(text, step) == following
    assert fid.make(*fid.split(following)) == following


@pytest.mark.parametrize("text", ["", "3", "3,", "3,12345678", "3,01637037d6_1", "x,01637037d6"])
def test_what_is_no_needle_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the identifier"):
        fid.volume_of(text)


def test_a_key_has_64_bits() -> None:
    with pytest.raises(ValueError, match="64"):
        fid.make(1, 2**64, 0)


def test_a_token_is_a_jwt_that_names_its_needle() -> None:
    head, body, signature = signing.token(b"key", "3,01637037d6", 1000.9).split(".")
    digest = hmac.digest(b"key", f"{head}.{body}".encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(signature + "=") == digest
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert claims == {"fid": "3,01637037d6", "exp": 1060}


SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30), st.integers(0, 3)), max_size=12)


@given(SPANS, st.integers(0, 60), st.integers(1, 60))
def test_of_chunks_that_overlap_the_newest_shows(
    chosen: list[tuple[int, int, int]], start: int, length: int
) -> None:
    end = start + length
    extents = [
        Extent(offset, size, modified, Chunk(f"{index},0100000000", size))
        for index, (offset, size, modified) in enumerate(chosen)
    ]
    painted: list[tuple[str, int] | None] = [None] * 200
    for extent in sorted(extents, key=lambda extent: extent.modified_ns):
        for byte in range(extent.size):
            painted[extent.offset + byte] = (extent.chunk.key, byte)
    got: list[tuple[str, int] | None] = []
    position = start
    for span in visible(extents, start, end):
        assert span.offset == position
        position += span.length
        for byte in range(span.length):
            chunk = span.chunk
            got.append(None if chunk is None else (chunk.key, span.start + byte))
    assert got == painted[start:end]


def chunk(**fields: object) -> FileChunk:
    return FileChunk(**{"file_id": "3,01637037d6", "size": 5, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        chunk(cipher_key=b"k"),
        chunk(sse_type=1),
        chunk(file_id="3,01637037d6_1"),
        chunk(offset=-1),
        chunk(size=0),
    ],
)
def test_a_chunk_that_cannot_be_read_is_refused(bad: FileChunk) -> None:
    with pytest.raises(DataLoss):
        entries.extents_of([bad])


def test_both_forms_of_a_needles_name_are_one() -> None:
    inner = FileChunk(fid=FileId(volume_id=3, file_key=0x163, cookie=0x7037D6), size=5)
    assert entries.fid_of(inner) == "3,0163007037d6"


def test_a_size_is_what_the_filer_says_it_is() -> None:
    def size(**fields: object) -> int:
        return entries.size_of(Entry(**fields))  # type: ignore[arg-type]

    assert size() == 0
    assert size(content=b"123") == 3
    assert size(chunks=[chunk(offset=10)]) == 15
    assert size(chunks=[chunk()], attributes=FuseAttributes(file_size=9)) == 9


def test_other_bytes_have_another_version() -> None:
    some = [
        Entry(),
        Entry(content=b"1"),
        Entry(content=b"2"),
        Entry(extended={entries.VERSION_KEY: b"1"}),
        Entry(attributes=FuseAttributes(file_size=9)),
        Entry(chunks=[chunk()]),
        Entry(chunks=[chunk(offset=1)]),
        Entry(chunks=[chunk(file_id="4,01637037d6")]),
        Entry(chunks=[chunk(), chunk(offset=5)]),
    ]
    versions = [entries.version_of(entry) for entry in some]
    assert len(set(versions)) == len(some)
    touched = Entry(attributes=FuseAttributes(mtime=5))
    assert entries.version_of(touched) == versions[0]


def test_a_version_is_the_same_in_every_release() -> None:
    """Clients and caches keep it as an ETag."""
    stored = FileChunk(file_id="3,01637037d6", offset=5, size=7, modified_ts_ns=9)
    entry = Entry(content=b"in it", extended={entries.VERSION_KEY: b"0123"}, chunks=[stored])
    assert entries.version_of(entry) == "5756c4a3fb173d6a20c7dd88d8476099"
    assert entries.file_info("d", "f", entry).size == entries.size_of(entry) == 12


@pytest.mark.parametrize(
    ("free", "copies", "size", "takes"),
    [
        ((8, 8, 8), 2, 12, True),
        ((8, 8, 8), 2, 13, False),
        ((0, 0, 16), 2, 4, False),  # nowhere to put the second copy
        ((0, 4, 16), 2, 4, True),
        ((3, 3, 16), 2, 8, False),
        ((16,), 1, 16, True),
        ((), 1, 1, False),
    ],
)
def test_each_copy_needs_a_server_of_its_own(
    free: tuple[int, ...], copies: int, size: int, takes: bool
) -> None:
    assert FreeSpace(0, free, copies).fits(size) is takes


NEEDLES = st.builds(
    fid.make, st.integers(0, 2**32 - 1), st.integers(0, fid.MAX_KEY), st.integers(0, 2**32 - 1)
)
STORED = st.builds(
    FileChunk,
    file_id=NEEDLES,
    size=st.integers(1, 4 * 1024 * 1024),
    e_tag=st.integers(0, 2**32 - 1).map("{:08x}".format),
    modified_ts_ns=st.integers(0, 2**63 - 1),
)


@given(st.lists(STORED, min_size=1, max_size=tokens.PART_CHUNKS), st.integers(0, 2**50))
def test_a_part_says_which_chunks_it_has(chunks: list[FileChunk], offset: int) -> None:
    end = offset
    for chunk in chunks:
        chunk.offset = end
        end += chunk.size
    part = tokens.part(chunks, ("r",))
    assert (part.offset, part.end, part.released) == (offset, end, ("r",))
    assert len(part.token) <= 8192
    assert part.token.isascii()
    assert tokens.chunks_of(part) == chunks


A_CHUNK = "3,01637037d6/5/0a1b2c3d/18a5f"


@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        f" {A_CHUNK}",
        f"{A_CHUNK} ",
        f"{A_CHUNK}\n",
        A_CHUNK.replace("/5/", "/6/"),
        A_CHUNK.replace("/5/", "/05/"),
        A_CHUNK.replace("/5/", "/0/"),
        A_CHUNK.replace("/5/", "/+5/"),
        A_CHUNK.replace("0a1b2c3d", "0A1B2C3D"),
        A_CHUNK.replace("3,", "x,"),
        A_CHUNK.replace("3,", "3/"),
        A_CHUNK.replace("18a5f", ""),
        A_CHUNK.replace("18a5f", "f" * 16),
        f"{A_CHUNK}/",
        f"{A_CHUNK} {A_CHUNK}",
    ],
)
def test_what_is_no_token_of_a_part_is_refused(token: str) -> None:
    assert tokens.chunks_of(Part(0, 5, A_CHUNK))
    with pytest.raises(ValueError, match=r"."):
        tokens.chunks_of(Part(0, 5, token))


def test_a_part_has_a_bounded_number_of_chunks() -> None:
    many = tokens.PART_CHUNKS + 1
    with pytest.raises(ValueError, match="not the token"):
        tokens.chunks_of(Part(0, 5 * many, " ".join([A_CHUNK] * many)))


@given(NEEDLES, st.integers(1, 99), st.booleans())
def test_a_reservation_says_which_needles_it_has(first: str, count: int, manifest: bool) -> None:
    token = tokens.reservation(first, count, manifest=manifest)
    assert len(token) <= 256
    if fid.split(first)[1] + count - 1 > fid.MAX_KEY:
        with pytest.raises(ValueError, match="64 bits"):
            tokens.reserved(token)
        return
    found = tokens.reserved(token)
    assert found.manifest == manifest
    assert found.needles == tuple(fid.following(first, step) for step in range(count))


@pytest.mark.parametrize(
    "token",
    ["", "m", "3,01637037d6", "3,01637037d6+0", "3,01637037d6+100", "n3,01637037d6+1", "3+1"],
)
def test_what_is_no_reservation_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        tokens.reserved(token)
