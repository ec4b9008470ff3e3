"""The chunk list of an entry. That of a file of more than MANIFEST_CHUNKS chunks is itself stored
in chunks, the *manifests*, so that the entry stays small (for 200 GB it lists 50 instead of 50 000
chunks) and reading a range loads one or two of them. Manifests never list manifests: a filer that
deletes such a file would only free the first level.
"""

from __future__ import annotations

from collections.abc import Sequence

import google_crc32c

from gfs.seaweedfs.proto.filer_pb2 import FileChunk, FileChunkManifest, FileId
from gfs.seaweedfs.servers import fid as fids
from gfs.seaweedfs.uploads import Sender

MANIFEST_CHUNKS = 1_000
"""How many chunks an entry or a manifest lists."""


class ChunkList:
    """The chunk list of one entry, of chunks that are added in the order of their bytes. Manifests
    are stored with ``sender`` on the way, so no more than MANIFEST_CHUNKS chunks are in memory."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._chunks: list[FileChunk] = []
        self._manifests: list[FileChunk] = []

    async def add(self, chunk: FileChunk) -> None:
        """Add the next chunk. Raises what ``Sender.send`` raises, like ``listed``."""
        if len(self._chunks) == MANIFEST_CHUNKS:
            await self._store()
        self._chunks.append(chunk)

    async def listed(self) -> list[FileChunk]:
        """What the entry lists, after the last ``add``: the chunks; if there are many, a manifest
        for each group of them."""
        if self._manifests and self._chunks:
            await self._store()
        return self._manifests or self._chunks

    async def _store(self) -> None:
        self._manifests.append(await store_manifest(self._sender, self._chunks))
        self._chunks = []


async def store_manifest(sender: Sender, chunks: Sequence[FileChunk]) -> FileChunk:
    """Store a list of chunks as a chunk. Raises what ``Sender.send`` raises."""
    content = FileChunkManifest(chunks=map(_for_manifest, chunks)).SerializeToString()
    crc = google_crc32c.value(content)
    last = chunks[-1]
    return FileChunk(
        file_id=await sender.send([content], crc),
        offset=chunks[0].offset,
        size=last.offset + last.size - chunks[0].offset,
        modified_ts_ns=last.modified_ts_ns,
        e_tag=f"{crc:08x}",
        is_chunk_manifest=True,
    )


def _for_manifest(chunk: FileChunk) -> FileChunk:
    """A chunk in the form of manifests, which have the identifier of its needle in numbers."""
    inner = FileChunk()
    inner.CopyFrom(chunk)
    inner.ClearField("file_id")
    volume, key, cookie = fids.split(chunk.file_id)
    inner.fid.CopyFrom(FileId(volume_id=volume, file_key=key, cookie=cookie))
    return inner
