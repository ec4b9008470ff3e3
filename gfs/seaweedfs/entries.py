"""What an entry of the filer means: a FileInfo, and which chunks have which of its bytes. Pure.

An entry lists chunks, each with the place of its bytes in the file: an *extent*. Extents may
overlap; a byte is that of the extent that was modified last (writes through a mount make such
entries), and of two of the same time, that of the one further back in the list. Bytes in no extent
are zero, up to the size of the file. A small file may be in the entry itself (``content``). A chunk
may be a *manifest*: a list of more chunks, whose extent is the span of all of them.

What this engine cannot read it refuses with a clear error before the first byte: chunks that were
encrypted by the program that wrote them, and files whose bytes are in a remote store.

The version of a file is a digest of everything that determines its bytes. Chunks are written once,
so these are their names and extents, with the id that SFS writes into each entry that it makes, so
that two publishes of equal bytes differ. The version also changes when another client of SeaweedFS
changes the file and copies the attributes.
"""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import pairwise

from gfs import clock
from gfs.chunkservers import Chunk
from gfs.errors import DataLoss
from gfs.seaweedfs.proto.filer_pb2 import Entry, FileChunk, FuseAttributes
from gfs.seaweedfs.servers import fid as fids
from gfs.types import FileInfo

DIRECTORY_MODE = 0x80000000 | 0o755
"""The mode of a directory. The bit of Go's os.ModeDir makes it one; the filer ignores
``is_directory``."""

FILE_MODE = 0o644
"""The mode of a file."""

VERSION_KEY = "Sfs-Version"
"""The extended attribute of a file with the id of its publish."""

DIGEST_KEY = "Sfs-Sha256"
"""The one with the SHA-256 of its bytes, in hexadecimal."""

DIRECTORY_KEY = "Sfs-Directory"
"""The extended attribute of a directory or folder with the id that this engine gave it."""

REMOVED_KEY = "Sfs-Removed"
"""The one that marks it as removed: see :mod:`gfs.seaweedfs.directories`."""

FILES_KEY = "Sfs-Files"
"""The one with the name of the place of its entries, next to it, where that is another one; for a
folder several, with slashes between them."""

EMPTY_FOLDERS_KEY = "Seaweed-X-Amz-Allow-Empty-Folders"
"""The extended attribute of a bucket of S3 whose empty folders the filer must not delete."""

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Extent:
    """What an entry says of one chunk: it has the ``size`` bytes of the file from ``offset`` on.
    ``manifest``: it has a list of the extents of these bytes instead."""

    offset: int
    size: int
    modified_ns: int
    chunk: Chunk
    manifest: bool = False

    @property
    def end(self) -> int:
        """The byte of the file behind the last one."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Span:
    """``length`` bytes of the file from ``offset`` on: those from ``start`` on in the chunk,
    or zeros where there is none."""

    offset: int
    length: int
    chunk: Chunk | None
    start: int = 0


def directory_entry(name: str) -> Entry:
    """The entry of a new directory or folder. Its ETag is random, so that a change of it can name
    the state that it expects, and so is its inode, which distinguishes it from others."""
    attributes = FuseAttributes(
        file_mode=DIRECTORY_MODE,
        mtime=int(clock.unix()),
        md5=secrets.token_bytes(16),
        inode=secrets.randbits(63),
    )
    extended = {DIRECTORY_KEY: secrets.token_hex(8).encode()}
    return Entry(name=name, is_directory=True, attributes=attributes, extended=extended)


def file_entry(name: str, chunks: Sequence[FileChunk], size: int, mark: str) -> Entry:
    """The entry of a file of ``size`` bytes, without its times. ``mark``: the id of its publish."""
    return Entry(
        name=name,
        chunks=chunks,
        attributes=FuseAttributes(file_size=size, file_mode=FILE_MODE),
        extended={VERSION_KEY: mark.encode()},
    )


def changed(entry: Entry) -> Entry:
    """A copy with another ETag, for the caller to change."""
    copy = Entry()
    copy.CopyFrom(entry)
    copy.attributes.md5 = secrets.token_bytes(16)
    return copy


def mark_of(entry: Entry) -> str | None:
    """The id of the publish of a file; None if another program made it."""
    mark: bytes | None = entry.extended.get(VERSION_KEY)
    return None if mark is None else mark.decode("latin-1")


def is_removed(entry: Entry) -> bool:
    """Whether the directory or folder was removed, even if it was made again since."""
    return REMOVED_KEY in entry.extended


def directory_exists(entry: Entry) -> bool:
    """Whether the entry is of a directory that was not removed, or was made again."""
    return bool(entry.is_directory) and (not is_removed(entry) or FILES_KEY in entry.extended)


def places_of(entry: Entry) -> list[str]:
    """The names of the other places that the entries of a folder may have: the first that exists
    has them."""
    places: bytes = entry.extended.get(FILES_KEY, b"")
    return places.decode().split("/") if places else []


def files_of(entry: Entry) -> str:
    """The name of the filer's directory that has the entries of a directory."""
    files: bytes = entry.extended.get(FILES_KEY, entry.name.encode())
    return files.decode()


def size_of(entry: Entry) -> int:
    """The size of the file, in bytes."""
    if entry.content and not entry.chunks:
        return len(entry.content)
    end = max((chunk.offset + chunk.size for chunk in entry.chunks), default=0)
    return max(entry.attributes.file_size, end)


def modified_ns(entry: Entry) -> int:
    """When it was modified, in nanoseconds since the Unix epoch."""
    return int(entry.attributes.mtime * _SECOND + entry.attributes.mtime_ns)


def file_info(directory: str, path: str, entry: Entry) -> FileInfo:
    """The FileInfo of the file at ``path`` in ``directory``, from its entry."""
    attributes = entry.attributes
    size, version = _size_and_version(entry)
    return FileInfo(
        directory=directory,
        path=path,
        size=size,
        version=version,
        created_ns=attributes.crtime * _SECOND + attributes.crtime_ns,
        modified_ns=attributes.mtime * _SECOND + attributes.mtime_ns,
    )


def set_times(entry: Entry, of: FileInfo | None) -> None:
    """Date the entry: now, or like the version ``of`` which it is a copy. Of the time of its
    creation, the filer keeps only the whole seconds."""
    modified = created = clock.unix_ns()
    if of is not None:
        modified, created = of.modified_ns, of.created_ns
    entry.attributes.mtime, entry.attributes.mtime_ns = divmod(modified, _SECOND)
    entry.attributes.crtime = created // _SECOND


def version_of(entry: Entry) -> str:
    """The version of a file: 32 hexadecimal digits."""
    return _size_and_version(entry)[1]


def _size_and_version(entry: Entry) -> tuple[int, str]:
    """Both in one pass: lists need them of every file."""
    size: int = entry.attributes.file_size
    places = []
    for chunk in entry.chunks:
        offset, length = chunk.offset, chunk.size
        if offset + length > size:
            size = offset + length
        fid = chunk.file_id or fid_of(chunk)
        places.append(f"{fid};{offset};{length};{chunk.modified_ts_ns}|")
    content: bytes = entry.content
    if content and not places:
        size = len(content)
    mark: bytes = entry.extended.get(VERSION_KEY, b"")
    head = b"%d;%d:%s%d:%s" % (size, len(mark), mark, len(content), content)
    return size, blake2b(head + "".join(places).encode(), digest_size=16).hexdigest()


def fid_of(chunk: FileChunk) -> str:
    """The identifier of a chunk's needle, which is in another form inside manifests."""
    if chunk.file_id or not chunk.HasField("fid"):
        return chunk.file_id
    return fids.make(chunk.fid.volume_id, chunk.fid.file_key, chunk.fid.cookie)


def require_readable(entry: Entry) -> None:
    """Raise DataLoss if the bytes of the file are where this engine cannot read them."""
    stored = entry.chunks or entry.content
    if entry.HasField("remote_entry") and entry.remote_entry.remote_size and not stored:
        raise DataLoss("the file is in a remote store and was never brought into the cluster")


def extents_of(chunks: Iterable[FileChunk]) -> tuple[Extent, ...]:
    """The chunks as Extents, in the order given. Raises DataLoss for those that are encrypted or
    make no sense."""
    return tuple(map(_extent, chunks))


def _extent(chunk: FileChunk) -> Extent:
    if chunk.cipher_key or chunk.sse_type:
        raise DataLoss("another program has encrypted the file, and this service has no key")
    fid = fid_of(chunk)
    try:
        fids.volume_of(fid)
    except ValueError as error:
        raise DataLoss("the entry names a chunk by a malformed identifier") from error
    if chunk.offset < 0 or chunk.size < 1:
        raise DataLoss("the entry has a chunk of an impossible place or size")
    etag = chunk.e_tag.strip('"')
    crc = etag if len(etag) == 8 and not chunk.is_compressed else ""
    # Of a manifest the entry says how many bytes of the file it covers, not how many it has.
    size = None if chunk.is_chunk_manifest else chunk.size
    stored = Chunk(fid, size, crc, chunk.is_compressed)
    return Extent(chunk.offset, chunk.size, chunk.modified_ts_ns, stored, chunk.is_chunk_manifest)


def visible(extents: Sequence[Extent], start: int, end: int) -> Iterator[Span]:
    """Which chunks have the bytes from ``start`` up to ``end``, in order and without a gap.

    ``extents`` may come in any order and overlap; none is a manifest.
    """
    chosen = sorted(
        (extent.offset, index)
        for index, extent in enumerate(extents)
        if extent.offset < end and extent.end > start
    )
    edges = sorted(
        {start, end}
        | {extents[index].offset for _, index in chosen}
        | {extents[index].end for _, index in chosen}
    )
    edges = edges[bisect_right(edges, start) - 1 : bisect_right(edges, end)]
    newest: list[tuple[int, int]] = []
    position = 0
    last: Span | None = None
    for left, right in pairwise(edges):
        while position < len(chosen) and chosen[position][0] <= left:
            index = chosen[position][1]
            heappush(newest, (-extents[index].modified_ns, -index))
            position += 1
        while newest and extents[-newest[0][1]].end <= left:
            heappop(newest)
        span = _span(extents[-newest[0][1]] if newest else None, left, right)
        if last is not None and last.chunk is span.chunk and _adjoin(last, span):
            last = Span(last.offset, last.length + span.length, last.chunk, last.start)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last


def _span(extent: Extent | None, left: int, right: int) -> Span:
    if extent is None:
        return Span(left, right - left, None)
    return Span(left, right - left, extent.chunk, left - extent.offset)


def _adjoin(first: Span, second: Span) -> bool:
    return first.chunk is None or first.start + first.length == second.start
