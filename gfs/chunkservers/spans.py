"""Which bytes of which chunks make a range of a file. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gfs.errors import DataLoss
from gfs.types import Chunk


@dataclass(frozen=True, slots=True)
class Span:
    """``length`` bytes of ``chunk``, from byte ``start`` of the chunk on."""

    chunk: Chunk
    start: int
    length: int


def spans(chunks: Sequence[Chunk], start: int, length: int) -> Iterator[Span]:
    """Cut ``length`` bytes from file offset ``start`` on out of ``chunks``.

    ``chunks`` are sorted by offset, none is empty, none overlaps another. Raises DataLoss at the
    first byte that no chunk holds, so that a hole in a chunk list is never served as if it were
    data.
    """
    position, end = start, start + length
    index = max(bisect_right(chunks, position, key=lambda chunk: chunk.offset) - 1, 0)
    while position < end:
        while index < len(chunks) and chunks[index].offset + chunks[index].size <= position:
            index += 1
        if index == len(chunks) or chunks[index].offset > position:
            raise DataLoss(f"no chunk holds byte {position}")
        chunk = chunks[index]
        take = min(end, chunk.offset + chunk.size) - position
        yield Span(chunk, position - chunk.offset, take)
        position += take
