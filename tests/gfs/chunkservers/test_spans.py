"""Spans: every byte that was asked for, once, in order, from the chunk that holds it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfs.chunkservers.spans import Span, spans
from gfs.errors import DataLoss
from gfs.types import Chunk


def chunks_of(*sizes: int) -> list[Chunk]:
    """Chunks that follow each other without a hole."""
    offsets = [sum(sizes[:index]) for index in range(len(sizes))]
    return [
        Chunk(str(index), offset, size, ())
        for index, (offset, size) in enumerate(zip(offsets, sizes, strict=True))
    ]


def cut(chunks: list[Chunk], start: int, length: int) -> list[tuple[str, int, int]]:
    return [(span.chunk.key, span.start, span.length) for span in spans(chunks, start, length)]


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 0, []),
        (30, 0, []),
        (0, 30, [("0", 0, 10), ("1", 0, 10), ("2", 0, 10)]),
        (0, 1, [("0", 0, 1)]),
        (9, 1, [("0", 9, 1)]),
        (10, 1, [("1", 0, 1)]),
        (9, 2, [("0", 9, 1), ("1", 0, 1)]),
        (10, 10, [("1", 0, 10)]),
        (5, 20, [("0", 5, 5), ("1", 0, 10), ("2", 0, 5)]),
        (29, 1, [("2", 9, 1)]),
    ],
)
def test_table(start: int, length: int, expected: list[tuple[str, int, int]]) -> None:
    assert cut(chunks_of(10, 10, 10), start, length) == expected


def test_a_span_keeps_its_chunk() -> None:
    chunk = Chunk("key", 100, 10, (), "v1")
    assert list(spans([chunk], 103, 4)) == [Span(chunk, 3, 4)]


@pytest.mark.parametrize(
    ("start", "length", "before"),
    [
        (0, 11, [("0", 0, 10)]),
        (10, 1, []),
        (9, 12, [("0", 9, 1)]),
        (20, 11, [("2", 0, 10)]),
        (30, 1, []),
        (-1, 2, []),
    ],
)
def test_a_hole_is_never_served(start: int, length: int, before: list[object]) -> None:
    first, _, last = chunks_of(10, 10, 10)
    found: list[Span] = []
    with pytest.raises(DataLoss):
        found.extend(spans([first, last], start, length))
    assert [(span.chunk.key, span.start, span.length) for span in found] == before


def test_no_chunks() -> None:
    assert cut([], 0, 0) == []
    with pytest.raises(DataLoss):
        cut([], 0, 1)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), max_size=12), st.data())
def test_like_a_table_of_bytes(layout: list[tuple[int, int]], data: st.DataObject) -> None:
    """``layout``: the hole before each chunk, often none, and its size."""
    chunks: list[Chunk] = []
    holder: dict[int, tuple[str, int]] = {}
    offset = 0
    for hole, size in layout:
        offset += max(hole - 2, 0)
        chunk = Chunk(str(len(chunks)), offset, size, ())
        chunks.append(chunk)
        holder.update({offset + byte: (chunk.key, byte) for byte in range(size)})
        offset += size
    start = data.draw(st.integers(0, offset + 1))
    length = data.draw(st.integers(0, offset + 2 - start))
    expected = []
    for byte in range(start, start + length):
        if byte not in holder:
            break
        expected.append(holder[byte])
    found: list[tuple[str, int]] = []
    keys = []
    try:
        for span in spans(chunks, start, length):
            assert span.length > 0
            keys.append(span.chunk.key)
            found += [(span.chunk.key, span.start + byte) for byte in range(span.length)]
        assert len(found) == length
    except DataLoss:
        assert len(found) < length
    assert found == expected
    assert len(set(keys)) == len(keys)
