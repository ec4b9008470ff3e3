"""Reading a pinned version: an open descriptor pins it, since a file is never changed in place."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from dataclasses import dataclass

from gfs.api import Reader
from gfs.embedded.oserrors import translated
from gfs.errors import DataLoss
from gfs.threads import in_thread
from gfs.types import Bytes, FileInfo

PIECE_BYTES = 256 * 1024
"""The size of a piece: it does not hold other transfers up, and a system call for each is cheap."""

_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
"""Linux 4.14: read what is in memory, and fail with EAGAIN instead of waiting for the disk."""


@dataclass(eq=False)
class EmbeddedReader(Reader):
    """One open file. It has a descriptor (:class:`gfs.api.DescriptorReader`). ``pool``: threads
    that read what is not in memory."""

    pool: Executor
    descriptor: int
    info: FileInfo

    def __repr__(self) -> str:
        return (
            f"<EmbeddedReader {self.info.path!r} size={self.info.size} "
            f"descriptor={self.descriptor}>"
        )

    def fileno(self) -> int:
        return self.descriptor

    def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        if start < 0 or length < 0 or start + length > self.info.size:
            raise ValueError(f"no {length} bytes from {start} on in {self.info.size}")
        return read_file(self.pool, self.descriptor, start, length)

    async def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


async def read_file(
    pool: Executor, descriptor: int, start: int, length: int
) -> AsyncGenerator[Bytes, None]:
    """Yield ``length`` bytes of an open file from byte ``start`` on, in pieces of PIECE_BYTES at
    most; ``pool`` reads what is not in memory. Raises DataLoss if the file is shorter, and
    StoreUnavailable."""
    end = start + length
    while start < end:
        wanted = min(PIECE_BYTES, end - start)
        piece = _read_cached(descriptor, start, wanted)
        if piece is None:
            piece = await in_thread(pool, _read, descriptor, start, wanted)
        if not piece:
            raise DataLoss("the file was cut short while it was read")
        start += len(piece)
        yield piece


def _read(descriptor: int, start: int, wanted: int) -> bytes:
    with translated():
        return os.pread(descriptor, wanted, start)


def _read_cached(descriptor: int, start: int, wanted: int) -> Bytes | None:
    """The next bytes, up to ``wanted``, if they are in memory; None if not."""
    if not _NOWAIT:
        return None
    buffer = bytearray(wanted)
    try:
        count = os.preadv(descriptor, [buffer], start, _NOWAIT)
    except OSError:
        return None  # EAGAIN, or a file system without this; a thread reads then
    return buffer if count == wanted else memoryview(buffer)[:count]
