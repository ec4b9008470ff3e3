"""Ranges: which bytes a ``Range`` field selects, and the framing of several in one body."""

from __future__ import annotations

import re
import timeit
from email.parser import BytesParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_server.http.ranges import (
    MAX_RANGES,
    ByteRange,
    byteranges,
    content_range,
    merge,
    new_boundary,
    select,
    unsatisfied_range,
)

Pairs = list[tuple[int, int]]

HUGE = "9" * 5000
"""More digits than int() converts."""


@pytest.mark.parametrize(
    ("size", "field", "expected"),
    [
        # RFC 9110 §14.1.2, a file of 10000 bytes
        (10000, "bytes=0-499", [(0, 500)]),
        (10000, "bytes=500-999", [(500, 500)]),
        (10000, "bytes=-500", [(9500, 500)]),
        (10000, "bytes=9500-", [(9500, 500)]),
        (10000, "bytes=0-0,-1", [(0, 1), (9999, 1)]),
        (10000, "bytes= 0-999, 4500-5499, -1000", [(0, 1000), (4500, 1000), (9000, 1000)]),
        (10000, "bytes=500-600,601-999", [(500, 500)]),
        (10000, "bytes=500-700,601-999", [(500, 500)]),
        # the ends of the file
        (10, "bytes=0-", [(0, 10)]),
        (10, "bytes=0-9", [(0, 10)]),
        (10, "bytes=0-10", [(0, 10)]),
        (10, "bytes=9-9", [(9, 1)]),
        (10, "bytes=-10", [(0, 10)]),
        (10, "bytes=-11", [(0, 10)]),
        (10, f"bytes=3-{HUGE}", [(3, 7)]),
        (10, f"bytes=-{HUGE}", [(0, 10)]),
        (2**62, f"bytes={2**62 - 1}-", [(2**62 - 1, 1)]),
        (10, "bytes=0000000000000000000000003-0000000000000000000000004", [(3, 2)]),
        # form
        (10, "BYTES=0-1", [(0, 2)]),
        (10, "bytes=,, 0-1\t,,5-6 ,", [(0, 2), (5, 2)]),
        # members that are not satisfiable are dropped
        (10, "bytes=20-, 2-3", [(2, 2)]),
        (10, "bytes=-0, 2-3", [(2, 2)]),
        (10, f"bytes={HUGE}-, 2-3", [(2, 2)]),
        # none is satisfiable
        (10, "bytes=10-", []),
        (10, "bytes=10-20", []),
        (10, "bytes=-0", []),
        (10, "bytes=-000", []),
        (10, "bytes=-0,10-,11-12", []),
        (10, f"bytes={HUGE}-", []),
        (10, f"bytes={HUGE[:4000]}-{HUGE[:4000]}", []),
        (10, f"bytes={HUGE[:3998]}0-{HUGE[:3999]}", []),
        # merged, in the order of the request
        (10, "bytes=8-9,0-1", [(8, 2), (0, 2)]),
        (10, "bytes=6-7,0-1,4-5", [(4, 4), (0, 2)]),
        (10, "bytes=0-4,5-9", [(0, 10)]),
        (10, "bytes=-5,0-4", [(0, 10)]),
        (10, "bytes=8-9,3-3,0-1,2-2", [(8, 2), (0, 4)]),
        (10, "bytes=1-1,1-1,1-1", [(1, 1)]),
        # an empty file
        (0, "bytes=0-", []),
        (0, "bytes=0-0", []),
        (0, "bytes=-0", []),
        (0, "bytes=-1", None),
        (0, "bytes=0-,-1", None),
        # malformed, or of another unit: ignored
        (10, "", None),
        (10, "bytes", None),
        (10, "bytes=", None),
        (10, "bytes=,", None),
        (10, "bytes=-", None),
        (10, "bytes=1", None),
        (10, "bytes=a-b", None),
        (10, "bytes=0-1-2", None),
        (10, "bytes=--1", None),
        (10, "bytes=+1-2", None),
        (10, "bytes=1 - 2", None),
        (10, "bytes=1_0-", None),
        (10, "bytes=\u0661-\u0662", None),
        (10, "bytes =0-1", None),
        (10, " bytes=0-1", None),
        (10, "bytes:0-1", None),
        (10, "items=0-1", None),
        (10, "kilobytes=0-1", None),
        (10, "bytes=0-1;2-3", None),
        (10, "bytes=0-1, x", None),
        (10, "bytes=20-, x", None),
        (10, "bytes=2-1", None),
        (10, "bytes=0-1,2-1", None),
        (10, f"bytes={HUGE[:4001]}-{HUGE[:4000]}", None),
        (10, f"bytes={HUGE[:4000]}-{HUGE[:3999]}0", None),
        # greedy: ignored
        (10, "bytes=0-,0-", None),
        (10, "bytes=0-5,5-9", None),
        (1, "bytes=0-0,-1", None),
        (10**6, "bytes=" + ",".join(f"{n * 10}-{n * 10}" for n in range(MAX_RANGES + 1)), None),
        (10**6, "bytes=" + ",".join(["0-0"] * (MAX_RANGES + 1)), None),
        (10, "bytes=0-1," + " " * 8192, None),
    ],
)
def test_select(size: int, field: str, expected: Pairs | None) -> None:
    assert select(field, size) == (None if expected is None else tuple(expected))


def test_sixteen_ranges_are_served() -> None:
    field = "bytes=" + ",".join(f"{n * 10}-{n * 10}" for n in range(MAX_RANGES))
    assert select(field, 1000) == tuple(ByteRange(n * 10, 1) for n in range(MAX_RANGES))


POSITION = st.one_of(st.integers(0, 60), st.integers(0, 10**30))
SPEC = st.one_of(
    st.tuples(POSITION, POSITION).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    POSITION.map(lambda first: f"{first}-"),
    POSITION.map(lambda suffix: f"-{suffix}"),
)


def naive(specs: list[str], size: int) -> list[set[int]]:
    """Which bytes each range-spec asks for, straight from RFC 9110 §14.1.2."""
    asked = []
    for spec in specs:
        first, _, last = spec.partition("-")
        if not first:
            wanted = set(range(max(0, size - int(last)), size))
        else:
            end = size - 1 if not last else min(int(last), size - 1)
            wanted = set(range(int(first), end + 1)) if int(first) < size else set()
        asked.append(wanted)
    return asked


@given(st.integers(0, 50), st.lists(SPEC, min_size=1, max_size=20))
def test_select_agrees_with_a_naive_model(size: int, specs: list[str]) -> None:
    ranges = select("bytes=" + ", ".join(specs), size)
    asked = naive(specs, size)
    greedy = len(specs) > MAX_RANGES or sum(map(len, asked)) > size
    empty_suffix = size == 0 and any(spec.startswith("-") and int(spec[1:]) > 0 for spec in specs)
    if greedy or empty_suffix:
        assert ranges is None
        return
    assert ranges is not None
    assert len(ranges) <= MAX_RANGES
    assert all(each.length > 0 and each.start >= 0 for each in ranges)
    assert all(each.start + each.length <= size for each in ranges)
    sent = [set(range(each.start, each.start + each.length)) for each in ranges]
    assert set().union(*sent) == set().union(*asked)
    assert sum(map(len, sent)) == len(set().union(*sent))
    # No two of them overlap or touch, and they stand in the order of their first members.
    ordered = sorted(ranges)
    for before, after in pairwise(ordered):
        assert before.start + before.length < after.start
    places = [
        min(n for n, wanted in enumerate(asked) if wanted and wanted <= part) for part in sent
    ]
    assert places == sorted(places)


@given(st.integers(0, 10**20), st.text(alphabet="0123456789-, \tbytes=x", max_size=60))
def test_any_field_selects_within_the_file(size: int, text: str) -> None:
    for field in (text, "bytes=" + text):
        ranges = select(field, size)
        assert ranges is None or all(
            0 <= start < start + length <= size for start, length in ranges
        )


def test_merge_of_nothing_is_nothing() -> None:
    assert merge(()) == ()


@pytest.mark.parametrize(
    "field", ["bytes=" + HUGE + "-", "bytes=" + "," * 8000 + "1-", "bytes=" + " " * 8000 + "-1"]
)
def test_hostile_fields_cost_little(field: str) -> None:
    assert timeit.timeit(lambda: select(field, 1000), number=10) < 0.5


def test_content_ranges() -> None:
    assert content_range(ByteRange(0, 1), 1) == "bytes 0-0/1"
    assert content_range(ByteRange(500, 500), 10000) == "bytes 500-999/10000"
    assert unsatisfied_range(0) == "bytes */0"


def body_of(content: bytes, ranges: list[ByteRange], content_type: str) -> tuple[str, bytes]:
    framed = byteranges(ranges, len(content), content_type, new_boundary())
    pieces = []
    for head, (start, length) in framed.parts:
        pieces += [head, content[start : start + length]]
    body = b"".join([*pieces, framed.tail])
    assert len(body) == framed.length
    return framed.content_type, body


def test_the_framing_byte_for_byte() -> None:
    framed = byteranges([ByteRange(0, 2), ByteRange(7, 1)], 10, "text/plain; charset=utf-8", "B")
    assert framed.content_type == "multipart/byteranges; boundary=B"
    assert [part.range for part in framed.parts] == [(0, 2), (7, 1)]
    assert framed.parts[0].head == (
        b"--B\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 0-1/10\r\n\r\n"
    )
    assert framed.parts[1].head == (
        b"\r\n--B\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 7-7/10\r\n\r\n"
    )
    assert framed.tail == b"\r\n--B--\r\n"


CUTS = st.lists(st.tuples(st.integers(0, 199), st.integers(1, 50)), min_size=1, max_size=MAX_RANGES)


@given(st.binary(min_size=200, max_size=200), CUTS)
def test_a_parser_gets_the_bytes_back(content: bytes, cuts: Pairs) -> None:
    ranges = [ByteRange(start, min(length, 200 - start)) for start, length in cuts]
    header, body = body_of(content, ranges, "application/octet-stream")
    message = BytesParser().parsebytes(
        b"Content-Type: " + header.encode() + b"\r\nMIME-Version: 1.0\r\n\r\n" + body
    )
    assert message.get_content_type() == "multipart/byteranges"
    assert message.is_multipart()
    assert message.preamble in (None, "")
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert len(parts) == len(ranges)
    for part, each in zip(parts, ranges, strict=True):
        assert not isinstance(part, str)
        assert part["Content-Range"] == content_range(each, 200)
        assert part.get_content_type() == "application/octet-stream"
    # That parser normalizes line ends in what it takes for text, so the bytes are taken apart here.
    boundary = message.get_boundary()
    assert boundary is not None
    opening, *framed, closing = re.split(rb"(?:^|\r\n)--" + boundary.encode(), body)
    assert (opening, closing) == (b"", b"--\r\n")
    bodies = [piece.partition(b"\r\n\r\n")[2] for piece in framed]
    assert bodies == [content[start : start + length] for start, length in ranges]


def test_boundaries_are_random_and_need_no_quotes() -> None:
    drawn = {new_boundary() for _ in range(100)}
    assert len(drawn) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", boundary) for boundary in drawn)
