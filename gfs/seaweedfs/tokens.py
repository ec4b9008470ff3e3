"""How a version that is made in parts is written down: the tokens of its Parts and reservations.
Pure.

A Part's token lists its chunks in the order of their bytes, with spaces between them, and of each
one ``needle/size/crc/modified``: the identifier of its needle, its size in bytes, its CRC32C, and
the time in nanoseconds since the Unix epoch that its extent in the entry has; numbers in
hexadecimal. A chunk takes at most 70 characters.

A reservation is ``needle+count``, the first needle and how many there are, in decimal; one for
manifests has an ``m`` before that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from gfs.seaweedfs.proto.filer_pb2 import FileChunk
from gfs.seaweedfs.servers import fid as fids
from gfs.types import Part

PART_CHUNKS = 64
"""The most chunks of a Part."""

_MANIFEST = "m"
_NEEDLE = "[0-9]{1,10},[0-9a-f]{10,24}"
_CHUNK = re.compile(rf"({_NEEDLE})/([1-9a-f][0-9a-f]{{0,7}})/([0-9a-f]{{8}})/([0-9a-f]{{1,16}})")
_RESERVATION = re.compile(rf"({_MANIFEST}?)({_NEEDLE})\+([1-9][0-9]?)")


@dataclass(frozen=True, slots=True)
class Reservation:
    """Needles that may have been written, and whether they were for manifests."""

    needles: tuple[str, ...]
    manifest: bool


def mark_of(upload: str) -> str:
    """The id in the entry of what is published of an upload. It does not give the name of the
    upload away."""
    return blake2b(upload.encode(), digest_size=8).hexdigest()


def part(chunks: Sequence[FileChunk], released: tuple[str, ...]) -> Part:
    """The Part of 1 to PART_CHUNKS stored chunks, one behind the other."""
    token = " ".join(
        f"{chunk.file_id}/{chunk.size:x}/{chunk.e_tag}/{chunk.modified_ts_ns:x}" for chunk in chunks
    )
    return Part(chunks[0].offset, sum(chunk.size for chunk in chunks), token, released)


def chunks_of(part: Part) -> list[FileChunk]:
    """The chunks of a Part. Raises ValueError if its token is not one of this engine, or says
    another size."""
    chunks: list[FileChunk] = []
    offset = part.offset
    for text in part.token.split(" "):
        match = _CHUNK.fullmatch(text)
        if match is None or len(chunks) == PART_CHUNKS:
            raise ValueError("not the token of a part")
        fid, size, crc, modified = match.groups()
        fids.split(fid)
        chunk = FileChunk(
            file_id=fid,
            offset=offset,
            size=int(size, 16),
            e_tag=crc,
            modified_ts_ns=int(modified, 16),
        )
        chunks.append(chunk)
        offset += chunk.size
    if offset != part.end:
        raise ValueError("the chunks of a part have another size")
    return chunks


def reservation(fid: str, count: int, *, manifest: bool) -> str:
    """The token of ``count`` needles, the first of them ``fid``."""
    return f"{_MANIFEST if manifest else ''}{fid}+{count}"


def reserved(token: str) -> Reservation:
    """What a token of ``reservation`` says. Raises ValueError if it is none."""
    match = _RESERVATION.fullmatch(token)
    if match is None:
        raise ValueError("not the token of a reservation")
    manifest, fid, count = match.groups()
    needles = tuple(fids.following(fid, step) for step in range(int(count)))
    return Reservation(needles, bool(manifest))
