"""What a server records of a version that is made in parts, in memory."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence

from gfs.api import FileSystem, Ledger, PartWriter
from gfs.types import Part

BATCH = 3
"""How many Parts are yielded at once: so few that a test has several batches."""


class MemoryLedger(Ledger):
    """Like a server, it keeps only the Parts that have a token, and of the others where the last
    one ended: ``end``."""

    def __init__(self) -> None:
        self.upload = secrets.token_hex(16)
        self.end = 0
        self._parts: list[Part] = []
        self._reserved: list[str] = []

    async def reserve(self, token: str) -> None:
        assert token.isascii()
        assert len(token) <= 256
        self._reserved.append(token)

    async def reserved(self) -> Sequence[str]:
        return list(self._reserved)

    async def parts(self) -> AsyncGenerator[Sequence[Part], None]:
        for start in range(0, len(self._parts), BATCH):
            yield self._parts[start : start + BATCH]

    def record(self, part: Part) -> None:
        """Record ``part``, which must be the next one."""
        assert part.offset == self.end
        assert part.size > 0
        assert part.token.isascii()
        assert len(part.token) <= 8192
        self.end = part.end
        if part.token:
            self._parts.append(part)
        for token in part.released:
            self._reserved.remove(token)

    async def record_rest(self, writer: PartWriter) -> None:
        """Record all that was written with ``writer``."""
        while (part := await writer.part(rest=True)) is not None:
            self.record(part)

    async def appending(self, fs: FileSystem, directory: str) -> PartWriter:
        """A writer that goes on behind what is recorded."""
        return await fs.append(directory, self, self.end)
