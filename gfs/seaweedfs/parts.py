"""Writing on at the end of a version that is made in parts.

Its chunks are those of :mod:`gfs.seaweedfs.chunking`. They are stored in any order; a Part has the
first ones of those that are in no Part yet, as far as all of them are stored. So nothing has to be
waited for to make one, and no byte is lost when its making is cancelled.

No entry of the filer names these chunks before the version is published. So that none is forgotten
when the process is killed, the needles are recorded (``Ledger.reserve``) before they are written.
When all needles of a reservation are in Parts, or will never be written, it is released by the
next Part. One of which a write failed is kept until the upload ends: some replicas may have it.
"""

from __future__ import annotations

import asyncio

from gfs.api import Ledger, PartWriter
from gfs.seaweedfs import tokens
from gfs.seaweedfs.chunking import ChunkSink
from gfs.seaweedfs.servers import Assigned
from gfs.seaweedfs.uploads import Sender, Uploads
from gfs.types import Part

STORE_SECONDS = 0.5
"""How long a Part waits for the chunks that are on their way, so that they are in it: else they
would be in the next one, and a process that is killed would lose 4 MiB more."""


class SeaweedPartWriter(ChunkSink, PartWriter):
    """The bytes of a version from byte ``offset`` on. ``path``: where in the filer it is to be."""

    def __init__(self, uploads: Uploads, path: str, ledger: Ledger, offset: int) -> None:
        sender = recording_sender(uploads, path, ledger)
        super().__init__(uploads, sender, path.rpartition("/")[2], offset)
        self._raised = False

    async def part(self, *, rest: bool = False) -> Part | None:
        """See :class:`gfs.api.PartWriter`. A chunk that cannot be stored, and those behind it, are
        in no Part; ``rest`` raises its failure once, unless a ``write`` has raised it."""
        if rest:
            self._send_rest()
            while self._tasks:
                await self._wait_stored()
            self._sender.drop_unused()
        elif self._tasks:
            await asyncio.wait(self._tasks, timeout=STORE_SECONDS)
        part = self._take()
        if rest and part is None and not self._raised:
            self._require_stored()
        return part

    def _take(self) -> Part | None:
        count = 0
        for chunk in self._chunks[: tokens.PART_CHUNKS]:
            if not chunk.file_id:
                break
            count += 1
        if not count:
            return None
        chunks, self._chunks = self._chunks[:count], self._chunks[count:]
        return tokens.part(chunks, self._sender.hand_over(chunk.file_id for chunk in chunks))

    def _require_stored(self) -> None:
        if self._failure is not None:
            self._raised = True
        super()._require_stored()

    async def _drop(self) -> None:
        self._chunks = []
        await super()._drop()


def recording_sender(
    uploads: Uploads, path: str, ledger: Ledger, *, manifests: bool = False
) -> Sender:
    """A Sender that records in ``ledger`` what it reserves."""

    async def record(assigned: Assigned) -> str:
        token = tokens.reservation(assigned.fid, assigned.count, manifest=manifests)
        await ledger.reserve(token)
        return token

    return Sender(uploads, path, record)
