"""The cluster engine as a :class:`gfs.api.FileSystem`.

A file ``f`` of the directory ``d`` is the entry ``<prefix>/d/f`` of the filer, so that mounts, the
S3 gateway and the filer's own pages show the same files. What others put there is listed and
served too, as far as its name passes :mod:`gfs.paths`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from gfs import clock
from gfs.api import FileSystem, Reader, Writer
from gfs.errors import (
    DataLoss,
    GfsError,
    InvalidName,
    NoSuchDirectory,
    NoSuchFile,
    StoreFull,
    StoreUnavailable,
)
from gfs.paths import check_directory, check_name, check_store_id, new_store_id
from gfs.seaweedfs import entries
from gfs.seaweedfs.buffers import Buffers
from gfs.seaweedfs.directories import Directories
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.publishing import Publisher
from gfs.seaweedfs.reader import SeaweedReader
from gfs.seaweedfs.servers import Channels, Filers, Masters, Room, VolumeServers, parse_list
from gfs.seaweedfs.uploads import CHUNK_BYTES, Uploads
from gfs.seaweedfs.watch import Count, EntryCache, Known
from gfs.seaweedfs.writer import SeaweedWriter
from gfs.threads import shielded
from gfs.types import ANYTHING, Expect, FileInfo, Published, Status, Tls

PREFIX = "/sfs"
UPLOAD_BUFFER = 128_000_000
START_SECONDS = 10.0
CACHE_SECONDS = 2.0
CHECK_SECONDS = 2.0
"""For the filer; the master has two more."""

ROOM_SECONDS = 5.0
"""How old the count of free bytes may be that an upload is compared with."""

KEYS_SECONDS = 5.0
"""Between two looks at whether volume servers take our signatures."""

LIST_FIRST = 100
LIST_PAGE = 1_000
LIST_BATCH = 250
COUNT_PAGE = 10_000
ID_NAME = "~id"
"""The entry that has the id of the store, in the directory that everything is in."""

_log = logging.getLogger(__name__)


class SeaweedFileSystem(FileSystem):
    """Files on a SeaweedFS cluster. Open it with :meth:`start`."""

    def __init__(
        self,
        channels: Channels,
        masters: Masters,
        volumes: VolumeServers,
        prefix: str,
        upload_buffer: int,
    ) -> None:
        self._channels = channels
        self._masters = masters
        self._volumes = volumes
        self._filers = Filers(channels, masters, prefix)
        self._buffers = Buffers(upload_buffer, CHUNK_BYTES)
        self._uploads = Uploads(masters, self._filers, volumes, self._buffers)
        self._cache = EntryCache(self._filers, prefix)
        self._directories = Directories(self._filers, self._cache, prefix)
        self._publisher = Publisher(self._filers, self._cache, self._directories, prefix)
        self._prefix = prefix
        self._room: tuple[float, Room] | None = None
        self._keys_asked = -math.inf
        self._refused: str | None = None

    def __repr__(self) -> str:
        return f"<SeaweedFileSystem {self._prefix} {self._masters!r} {self._buffers!r}>"

    @classmethod
    async def start(
        cls,
        masters: str,
        *,
        prefix: str = PREFIX,
        read_key: bytes | None = None,
        write_key: bytes | None = None,
        tls: Tls | None = None,
        upload_buffer: int = UPLOAD_BUFFER,
        on_failover: Callable[[GfsError], None] | None = None,
    ) -> SeaweedFileSystem:
        """Connect to the cluster of ``masters``: ``host:port`` or ``host:http.grpc``, with commas
        between several.

        ``prefix`` is the directory of the filer that everything is in. ``read_key`` and
        ``write_key`` are the cluster's ``jwt.signing.read`` and ``jwt.signing`` keys, where it has
        them; ``tls`` is for gRPC with mutual TLS. ``upload_buffer`` is how many bytes all uploads
        may hold in memory together. ``on_failover`` is called with the failure of each replica that
        a reading had to pass over. Raises StoreUnavailable if there is no
        leading master or no filer within START_SECONDS, ValueError for a malformed address.
        """
        addresses = parse_list(masters)
        channels = Channels(tls)
        leaders = Masters(channels, addresses)
        volumes = VolumeServers(
            channels, leaders, read_key=read_key, write_key=write_key, on_failover=on_failover
        )
        self = cls(
            channels,
            leaders,
            volumes,
            prefix.rstrip("/"),
            upload_buffer,
        )
        try:
            await self._masters.ready(START_SECONDS)
            above, _, name = self._prefix.rpartition("/")
            await self._filers.make_directory(above or "/", entries.directory_entry(name))
            await self._cache.ready(CACHE_SECONDS)
        except BaseException:
            await self.close()
            raise
        return self

    async def make_directory(self, directory: str) -> None:
        await self._directories.make(directory)

    async def remove_directory(self, directory: str) -> None:
        await self._directories.remove(directory)

    async def stat(self, directory: str, name: str) -> FileInfo:
        try:
            return (await self._known(directory, name)).info
        except DataLoss:  # it cannot be read, but it is there
            return entries.file_info(directory, await self._entry(directory, name))

    async def open(self, directory: str, name: str) -> Reader:
        known = await self._known(directory, name)
        return SeaweedReader(self._volumes, known.info, known.content, known.extents)

    def forget(self, directory: str, name: str) -> None:
        self._cache.drop((self._path(directory), check_name(name)))

    async def create(
        self,
        directory: str,
        name: str,
        *,
        expect: Expect = ANYTHING,
        size: int | None = None,
        times_of: FileInfo | None = None,
    ) -> Writer:
        check_name(name)
        await self._directories.require(directory)
        if expect != ANYTHING:
            current = await self._publisher.find(directory, name)
            expect.check(None if current is None else entries.file_info(directory, current))
        if size:
            await self._require_room(size)

        async def publish(entry: Entry) -> Published:
            return await shielded(self._publisher.publish(directory, entry, expect))

        return SeaweedWriter(
            self._uploads,
            f"{self._path(directory)}/{name}",
            publish,
            times_of=times_of,
        )

    async def delete(self, directory: str, name: str, *, expect: Expect = ANYTHING) -> None:
        check_directory(directory)
        await self._publisher.delete(directory, check_name(name), expect)

    async def list_files(
        self, directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        path = await self._place(directory)
        if path is None or "\0" in prefix:
            return
        after = after.partition("\0")[0]  # a filer may fail at a NUL, and no name has one
        if after and not after.startswith(prefix):
            if after.encode() > prefix.encode():
                return
            after = ""  # the filer finds nothing from a name on that lacks the prefix
        left = math.inf if limit is None else limit
        batch = LIST_FIRST
        infos: list[FileInfo] = []
        async with aclosing(self._walk(path, prefix, after, limit)) as found:
            async for entry in found:
                if left <= 0:
                    break
                # A filer that keeps its entries in an SQL database takes % and _ for wildcards.
                if entry.name.startswith(prefix) and _is_file(entry):
                    infos.append(entries.file_info(directory, entry))
                    left -= 1
                if len(infos) == batch:
                    yield infos
                    infos, batch = [], LIST_BATCH
        if infos:
            yield infos

    async def _walk(
        self, path: str, prefix: str, after: str, limit: int | None
    ) -> AsyncGenerator[Entry, None]:
        """All entries, page by page. ``limit``: how many are probably wanted."""
        page = min(LIST_FIRST, LIST_FIRST if limit is None else max(limit, 1))
        while True:
            seen = 0
            listing = self._filers.listing(path, prefix=prefix, after=after, limit=page)
            async with aclosing(listing) as found:
                async for entry in found:
                    seen += 1
                    after = entry.name
                    yield entry
            if seen < page:
                return
            page = LIST_PAGE

    async def count(self, directory: str) -> int:
        # Until one of its entries changes.
        key = self._path(directory), ""
        return (await self._cache.get(key, Count, lambda: self._count(directory))).files

    async def _count(self, directory: str) -> Count:
        path = await self._place(directory)
        if path is None:
            return Count(0)
        total, after = 0, ""
        while True:
            seen = 0
            listing = self._filers.listing(
                path, prefix="", after=after, limit=COUNT_PAGE, omit_chunks=True
            )
            async with aclosing(listing) as found:
                async for entry in found:
                    seen += 1
                    after = entry.name
                    total += _is_file(entry)
            if seen < COUNT_PAGE:
                return Count(total)

    async def identity(self) -> str:
        made = Entry(name=ID_NAME, content=new_store_id().encode())
        made.attributes.file_mode = entries.FILE_MODE
        # It makes what is not there, and returns what is.
        entry = await self._filers.make_directory(self._prefix, made)
        return check_store_id(entry.content.decode("ascii", "replace"))

    async def status(self) -> Status:
        status = await self._masters.status()
        filers = len(self._masters.filers)
        return Status(
            status.engine,
            status.chunkservers,
            status.servers + filers,
            status.capacity,
            status.used,
        )

    async def check(self) -> None:
        above, _, name = self._prefix.rpartition("/")
        await self._filers.lookup(above or "/", name, patience=CHECK_SECONDS)
        await self._require_keys()
        await self._require_room(1)

    async def close(self) -> None:
        self._buffers.close()
        await self._directories.close()
        await self._cache.close()
        await self._masters.close()
        await self._volumes.close()
        await self._channels.close()

    def _path(self, directory: str) -> str:
        """The directory by its name; its files may be somewhere else: ``_place``."""
        return f"{self._prefix}/{check_directory(directory)}"

    async def _known(self, directory: str, name: str) -> Known:
        """What a reader needs. Raises DataLoss for a file that cannot be read."""

        async def look() -> Known:
            entry = await self._entry(directory, name)
            entries.refuse(entry)
            extents = entries.extents_of(entry.chunks)
            return Known(entries.file_info(directory, entry), entry.content, extents)

        return await self._cache.get((self._path(directory), check_name(name)), Known, look)

    async def _entry(self, directory: str, name: str) -> Entry:
        try:
            entry = await self._publisher.find(directory, check_name(name))
        except NoSuchDirectory:
            entry = None
        if entry is None:
            raise NoSuchFile(name)
        return entry

    async def _place(self, directory: str) -> str | None:
        """The directory of the filer that has the files; None if there is none."""
        try:
            identity = await self._directories.require(directory)
        except NoSuchDirectory:
            return None
        return f"{self._prefix}/{identity.files}"

    async def _require_keys(self) -> None:
        """Raise StoreUnavailable if volume servers refuse how we sign; asked now and then."""
        now = clock.monotonic()
        if now - self._keys_asked > KEYS_SECONDS:
            self._keys_asked = now
            servers = [one for one in self._masters.servers if not self._volumes.suspected(one)]
            refused = await self._volumes.refused(servers)
            if refused and refused != self._refused:
                key = "jwt.signing.read" if refused == "reads" else "jwt.signing"
                _log.error("the cluster refuses all %s: its key %s differs from ours", refused, key)
            self._refused = refused
        if self._refused:
            raise StoreUnavailable(f"the cluster refuses all {self._refused}: the keys differ")

    async def _require_room(self, size: int) -> None:
        """Raise StoreFull if ``size`` bytes do not fit. Where that is not known, they may."""
        now = clock.monotonic()
        if self._room is None or now - self._room[0] > ROOM_SECONDS:
            try:
                self._room = now, await self._masters.room()
            except StoreUnavailable as error:
                _log.warning("the free room of the cluster is not known: %s", error)
                return
        room = self._room[1]
        if room.settled and not room.takes(size):
            raise StoreFull("the file is larger than the room that is left")


def _is_file(entry: Entry) -> bool:
    """Whether the entry is a file that can be asked for; something else may have put it there."""
    if entry.is_directory:
        return False
    try:
        check_name(entry.name)
    except InvalidName:
        return False
    return True
