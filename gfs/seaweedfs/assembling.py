"""Publishing a version that was made in parts, and freeing what is left of one.

The Parts that are recorded name the chunks of the version; the chunk list of its entry is made of
them as they are read from the Ledger, with manifests where there are many, so that memory is
bounded. The needles of the manifests are reserved like those of the Parts.

**Publishing twice.** A process may be killed between the publish and the moment at which its caller
records it. So the id in the entry is made from the name of the upload, and a process that publishes
the same upload again finds what is there. If that was deleted or replaced since, its chunks are
gone with it. So before a publish, the first and the last chunk are asked for. (The first one is the
oldest: if ``volume.fsck`` took the chunks of the Parts for those of no file, it is gone too.)

**Freeing.** What is freed must be in no Part that a file was or will be made of. After a publish
these are the needles that were reserved and are in no Part. They are only known where all Parts
are: an Assembly has read all of them, without a gap, and ``discard`` frees nothing where the Ledger
has lost the first one. A reservation that is recorded after that belongs to a writer that was
overtaken, or to another Assembly, of which only the one that was published counts: its manifests
are in the entry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing

from gfs.api import Assembly, Ledger
from gfs.errors import NoSuchUpload, StoreUnavailable
from gfs.seaweedfs import entries, tokens
from gfs.seaweedfs.manifests import ChunkList
from gfs.seaweedfs.parts import recording_sender
from gfs.seaweedfs.proto.filer_pb2 import Entry, FileChunk
from gfs.seaweedfs.reader import SeaweedReader
from gfs.seaweedfs.uploads import Uploads
from gfs.seaweedfs.writer import Publish, Version
from gfs.threads import shielded
from gfs.types import Bytes, Part, Published

_log = logging.getLogger(__name__)

Look = Callable[[], Awaitable[Entry | None]]
"""Looks up the entry of the file that is at the path now, if there is one."""


class SeaweedAssembly(Version, Assembly):
    """The version of the Parts of ``ledger``. Call ``load`` first, and ``abort`` if it fails."""

    def __init__(
        self, uploads: Uploads, path: str, ledger: Ledger, publish: Publish, look: Look
    ) -> None:
        """``path``: where in the filer it is to be."""
        self._uploads = uploads
        self._sender = recording_sender(uploads, path, ledger, manifests=True)
        self._name = path.rpartition("/")[2]
        self._ledger = ledger
        self._publish = publish
        self._look = look
        self._ended = False
        self._entry = Entry()
        self._reserved: set[str] = set()
        self._unused: set[str] = set()
        self._published: Published | None = None

    def __repr__(self) -> str:
        return f"<SeaweedAssembly {self._name!r} ended={self._ended}>"

    async def load(self, size: int) -> None:
        """Read the Ledger. Raises what ``FileSystem.assemble`` says of the Parts."""
        self._reserved = set(await self._ledger.reserved())
        self._unused = {fid for one in _reservations(self._reserved) for fid in one.needles}
        chunks = ChunkList(self._sender)
        first = last = ""
        end = 0
        async with aclosing(self._ledger.parts()) as batches:
            async for batch in batches:
                for part in batch:
                    if part.offset != end:
                        raise ValueError(f"no part starts at byte {end}")
                    for chunk in _chunks_of(part):
                        self._unused.discard(chunk.file_id)
                        await chunks.add(chunk)
                        first, last = first or chunk.file_id, chunk.file_id
                    end = part.end
        if end != size:
            raise ValueError(f"the parts have {end} bytes, not {size}")
        await require_needles(self._uploads, {first, last} - {""})
        mark = tokens.mark_of(self._ledger.upload)
        self._entry = entries.file_entry(self._name, await chunks.listed(), size, mark)

    def read(self) -> AsyncGenerator[Bytes, None]:
        info = entries.file_info("", self._name, self._entry)
        extents = entries.extents_of(self._entry.chunks)
        return SeaweedReader(self._uploads.volumes, info, b"", extents).read(0, info.size)

    async def write(self, piece: Bytes) -> None:
        raise StoreUnavailable("nothing is added to a version whose parts are put together")

    async def flush(self) -> None:
        if self._ended:
            raise StoreUnavailable("this version has been ended")

    async def commit(self) -> Published:
        await self.flush()
        entries.set_times(self._entry, None)
        self._published = await self._commit(self._entry)
        return self._published

    async def abort(self) -> None:
        if not self._ended:
            self._ended = True
            await shielded(self._sender.free(stored=True))

    async def clear(self) -> None:
        if self._published is None:
            return
        later = set(await self._ledger.reserved()) - self._reserved
        entry: Entry | None = self._entry
        if entries.version_of(self._entry) != self._published.info.version:
            entry = await self._look()
            if entry is not None and entries.version_of(entry) != self._published.info.version:
                entry = None
        found = _reservations(later | self._reserved)
        manifests = {fid for one in found if one.manifest for fid in one.needles}
        needles = self._unused | {fid for one in _reservations(later) for fid in one.needles}
        # Those of the published entry are not known if it has been replaced since: they were freed.
        needles -= manifests if entry is None else {chunk.file_id for chunk in entry.chunks}
        _require_free(await self._uploads.free_anywhere(sorted(needles)))


async def discard(uploads: Uploads, ledger: Ledger, *, published: bool) -> None:
    """Free what is recorded in ``ledger``; if it was ``published``, only what that left over.
    Raises StoreUnavailable if some of it could not be freed now."""
    found = _reservations(await ledger.reserved())
    if published:
        await _discard_unused(uploads, ledger, found)
        return
    left = 0
    async with aclosing(ledger.parts()) as batches:
        async for batch in batches:
            left += await _free_parts(uploads, batch)
    left += await uploads.free_anywhere([fid for one in found for fid in one.needles])
    _require_free(left)


async def _discard_unused(
    uploads: Uploads, ledger: Ledger, found: Sequence[tokens.Reservation]
) -> None:
    """Free the needles of reservations that are in no Part and were not for manifests."""
    unused = {fid for one in found if not one.manifest for fid in one.needles}
    end = 0
    async with aclosing(ledger.parts()) as batches:
        async for batch in batches:
            for part in batch:
                try:
                    chunks = _chunks_of(part)
                except NoSuchUpload:
                    return
                if part.offset != end:
                    return  # the Ledger has lost some of them
                unused.difference_update(chunk.file_id for chunk in chunks)
                end = part.end
    if end:
        _require_free(await uploads.free_anywhere(sorted(unused)))


async def discard_parts(uploads: Uploads, parts: Sequence[Part]) -> None:
    """Free the bytes of Parts that were not recorded. Their reservations may be, so that what is
    left can be freed later."""
    if left := await _free_parts(uploads, parts):
        _log.warning("%d copies of chunks of an upload could not be deleted now", left)


def _require_free(left: int) -> None:
    if left:
        raise StoreUnavailable(f"{left} copies of chunks could not be deleted now")


async def _free_parts(uploads: Uploads, parts: Sequence[Part]) -> int:
    """Returns how many copies of chunks could not be deleted now."""
    needles: list[str] = []
    for part in parts:
        try:
            needles += (chunk.file_id for chunk in tokens.chunks_of(part))
        except ValueError:
            _log.warning("%d bytes of an upload are in another store", part.size)
    return await uploads.free_anywhere(needles)


async def require_parts(uploads: Uploads, ledger: Ledger) -> None:
    """Raise NoSuchUpload unless the first byte that is recorded is still there."""
    async with aclosing(ledger.parts()) as batches:
        async for batch in batches:
            if batch:
                await require_needles(uploads, {_chunks_of(batch[0])[0].file_id})
                return
    raise NoSuchUpload("no part is recorded")


async def require_needles(uploads: Uploads, needles: set[str]) -> None:
    """Raise NoSuchUpload if one of them was deleted."""
    if any(await asyncio.gather(*map(uploads.volumes.gone, needles))):
        raise NoSuchUpload("chunks of the upload were deleted")


def _chunks_of(part: Part) -> list[FileChunk]:
    """The chunks of a Part. Raises NoSuchUpload if they are in another store."""
    try:
        return tokens.chunks_of(part)
    except ValueError as error:
        raise NoSuchUpload("the upload was started in another store") from error


def _reservations(found: Iterable[str]) -> list[tokens.Reservation]:
    """What the tokens of a Ledger have reserved in a store like this one."""
    reservations = []
    for token in found:
        try:
            reservations.append(tokens.reserved(token))
        except ValueError:
            _log.warning("a reservation of an upload is of another store")
    return reservations
