"""The bytes of a response's body where no descriptor has them: pieces, as the store gives them.

A volume server holds some 4 MiB for each response under way, and this process a piece of it. While
a client takes nothing, neither is held: the pieces are released, and fetched again from the next
byte on when the client reads.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from gfs.api import Reader
from gfs.streams import exactly
from gfs.types import Bytes
from sfs_server.http import ByteRange, Multipart


class Source(Protocol):
    """Where a client socket gets the pieces of a body from. The caller that made it closes it."""

    left: Bytes
    """What has been fetched of the body and has not been sent."""

    async def more(self) -> bool:
        """Have something ``left``; False at the end of the body. Raises what the store raises."""

    def sent(self, count: int) -> None:
        """The first ``count`` bytes of what was ``left`` have been sent."""

    async def release(self) -> None:
        """Hold nothing of what has not been sent; ``more`` fetches it again."""


class Pieces:
    """The bytes of a file, or of ranges of it: a :class:`Source`. ``aclose`` it."""

    def __init__(self, reader: Reader, body: ByteRange | Multipart) -> None:
        """``body`` is one range of the file that ``reader`` has, or several framed ones."""
        self._reader = reader
        self._body = body
        self._pieces: AsyncGenerator[Bytes, None] | None = None
        self._sent = 0
        self.left: Bytes = b""

    def __repr__(self) -> str:
        return f"<Pieces sent={self._sent} left={len(self.left)}>"

    async def more(self) -> bool:
        """Have something ``left``; False at the end of the body. Raises DataLoss if the store gives
        less or more than it should, and StoreUnavailable."""
        if not self.left:
            if self._pieces is None:
                self._pieces = _from(self._reader, self._body, self._sent)
            self.left = await anext(self._pieces, b"")
        return len(self.left) > 0

    def sent(self, count: int) -> None:
        """The first ``count`` bytes of what was ``left`` have been sent."""
        self._sent += count
        self.left = b"" if count == len(self.left) else memoryview(self.left)[count:]

    async def release(self) -> None:
        """Hold nothing of what has not been sent; ``more`` fetches it again."""
        self.left = b""
        await self.aclose()

    async def aclose(self) -> None:
        """Close what the pieces come from."""
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            await pieces.aclose()


def _from(reader: Reader, body: ByteRange | Multipart, start: int) -> AsyncGenerator[Bytes, None]:
    """The bytes of ``body`` from byte ``start`` of it on."""
    if isinstance(body, Multipart):
        return _framed(reader, body, start)
    length = body.length - start
    return exactly(length, reader.read(body.start + start, length))


async def _framed(reader: Reader, body: Multipart, start: int) -> AsyncGenerator[Bytes, None]:
    """Those of a multipart body. Its first piece is the head and the first bytes of a part."""
    for part in body.parts:
        head: Bytes = part.head[start:]
        start = max(start - len(part.head), 0)
        if start < part.range.length:
            async with aclosing(_from(reader, part.range, start)) as pieces:
                async for piece in pieces:
                    yield b"".join((head, piece)) if head else piece
                    head = b""
        start = max(start - part.range.length, 0)
    yield body.tail[start:]
