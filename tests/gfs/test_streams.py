"""Exactly as many bytes as were promised, or DataLoss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfs.errors import DataLoss
from gfs.streams import exactly
from gfs.types import Bytes


class Source:
    """Pieces that know whether they were closed."""

    def __init__(self, *pieces: Bytes, error: BaseException | None = None) -> None:
        self._given, self._error = pieces, error
        self.closed = False

    async def pieces(self) -> AsyncGenerator[Bytes, None]:
        try:
            for piece in self._given:
                yield piece
            if self._error is not None:
                raise self._error
        finally:
            # A generator that is left to the garbage collector does not come this far.
            await asyncio.sleep(0)
            self.closed = True


async def collect(length: int, source: Source) -> tuple[list[bytes], BaseException | None]:
    got: list[bytes] = []
    try:
        async with aclosing(exactly(length, source.pieces())) as pieces:
            async for piece in pieces:
                got.append(bytes(piece))
    except (DataLoss, RuntimeError) as error:
        return got, error
    return got, None


@pytest.mark.parametrize(
    ("length", "given_pieces", "expected", "right"),
    [
        (0, [], [], True),
        (0, [b""], [], True),
        (3, [b"abc"], [b"abc"], True),
        (3, [b"", b"a", b"", b"bc", b""], [b"a", b"bc"], True),
        (3, [bytearray(b"ab"), memoryview(b"c")], [b"ab", b"c"], True),
        (0, [b"a"], [], False),
        (3, [b"abcd"], [], False),
        (3, [b"ab", b"cd"], [b"ab"], False),
        (3, [b"abc", b"d"], [b"abc"], False),
        (3, [], [], False),
        (3, [b"ab"], [b"ab"], False),
        (3, [b"ab", b""], [b"ab"], False),
    ],
)
async def test_table(
    length: int, given_pieces: list[Bytes], expected: list[bytes], right: bool
) -> None:
    source = Source(*given_pieces)
    got, error = await collect(length, source)
    assert got == expected
    assert error is None if right else isinstance(error, DataLoss)
    assert source.closed


async def test_an_error_passes_through() -> None:
    broken = RuntimeError("from below")
    source = Source(b"a", error=broken)
    assert await collect(2, source) == ([b"a"], broken)
    assert source.closed


async def test_closing_closes_the_source() -> None:
    source = Source(b"a", b"b")
    pieces = exactly(2, source.pieces())
    assert await anext(pieces) == b"a"
    await pieces.aclose()
    assert source.closed


async def test_a_cancellation_closes_the_source() -> None:
    source = Source(b"a")
    started = asyncio.Event()

    async def stalls() -> AsyncGenerator[Bytes, None]:
        async with aclosing(source.pieces()) as pieces:
            async for piece in pieces:
                yield piece
                started.set()
                await asyncio.sleep(60)

    async def consume() -> None:
        async with aclosing(exactly(2, stalls())) as pieces:
            async for _ in pieces:
                pass

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed


@given(st.integers(0, 12), st.lists(st.binary(max_size=4), max_size=6))
def test_like_joining_them(length: int, given_pieces: list[bytes]) -> None:
    source = Source(*given_pieces)
    got, error = asyncio.run(collect(length, source))
    whole = b"".join(given_pieces)
    assert (error is None) == (len(whole) == length)
    assert b"".join(got) == whole[: sum(map(len, got))]
    assert len(b"".join(got)) <= length
    assert all(got)
    assert source.closed
    if len(whole) <= length:
        assert b"".join(got) == whole
