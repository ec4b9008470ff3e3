"""Streams of bytes of which the consumer says in advance how many there must be."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from gfs.errors import DataLoss
from gfs.types import Bytes


async def exactly(length: int, pieces: AsyncGenerator[Bytes, None]) -> AsyncGenerator[Bytes, None]:
    """Pass ``pieces`` on, and raise DataLoss unless they are ``length`` bytes in all.

    A piece that exceeds ``length`` is not passed on, not even in part, because bytes of a wrong
    length cannot be trusted. Empty pieces are dropped. Closes ``pieces``.
    """
    left = length
    async with aclosing(pieces):
        async for piece in pieces:
            if len(piece) > left:
                raise DataLoss(f"more than the {length} bytes that were asked for")
            left -= len(piece)
            if piece:
                yield piece
    if left:
        raise DataLoss(f"{left} of {length} bytes are missing")
