"""The cluster engine as a :class:`gfs.api.FileSystem`.

A file ``f`` of the directory ``d`` is the entry ``<prefix>/d/f`` of the filer, so that mounts, the
S3 gateway and the filer's own pages show the same files. Files that other programs put there are
listed and served too, if :mod:`gfs.paths` allows their names.
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
from gfs.seaweedfs.servers import Channels, Filers, FreeSpace, Masters, VolumeServers, parse_list
from gfs.seaweedfs.uploads import CHUNK_BYTES, Uploads
from gfs.seaweedfs.watch import CachedFile, Count, EntryCache
from gfs.seaweedfs.writer import SeaweedWriter
from gfs.threads import shielded
from gfs.types import ANYTHING, Expect, FileInfo, Published, Status, Tls

PREFIX = "/sfs"
"""The directory of the filer that holds everything, by default."""

UPLOAD_BUFFER = 128_000_000
"""How many bytes all uploads together hold in memory, by default."""

START_SECONDS = 10.0
"""How long a start waits for a leading master and a filer."""

CACHE_SECONDS = 2.0
"""How long it waits for the entry cache, which is not needed."""

CHECK_SECONDS = 2.0
"""How long ``check`` waits for the filer; the master has two more seconds."""

SPACE_SECONDS = 5.0
"""How old the free space may be that the size of an upload is compared with."""

KEYS_SECONDS = 5.0
"""The time between two checks whether volume servers accept our signatures."""

LIST_FIRST = 100
"""How many files are in the first page and the first batch of a listing."""

LIST_PAGE = 1_000
"""How many entries are in each later page that is asked for."""

LIST_BATCH = 250
"""How many files are in each later batch."""

COUNT_PAGE = 10_000
"""How many entries are in a page when files are counted."""

ID_NAME = "~id"
"""The name of the entry with the id of the store, in the directory that holds everything."""

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
        self._free_space: tuple[float, FreeSpace] | None = None
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
        """Connect to the cluster of ``masters``: ``host:port`` or ``host:http.grpc``, several with
        commas between them.

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
            return (await self._find(directory, name)).info
        except DataLoss:  # it cannot be read, but it exists
            return entries.file_info(directory, await self._entry(directory, name))

    async def open(self, directory: str, name: str) -> Reader:
        found = await self._find(directory, name)
        return SeaweedReader(self._volumes, found.info, found.content, found.extents)

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
            await self._require_space(size)

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
        after = after.partition("\0")[0]  # no name has a NUL, and a filer may fail at one
        if after and not after.startswith(prefix):
            if after.encode() > prefix.encode():
                return
            after = ""  # the filer lists nothing after a name without the prefix
        left = math.inf if limit is None else limit
        batch = LIST_FIRST
        infos: list[FileInfo] = []
        async with aclosing(self._walk(path, prefix, after, limit)) as found:
            async for entry in found:
                if left <= 0:
                    break
                # A filer with an SQL database treats % and _ as wildcards.
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
        """Yield all entries, page by page. ``limit``: how many are probably needed."""
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
        # The number is cached until one of the directory's entries changes.
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
        # It makes the entry if there is none, and returns the one that is there.
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
        await self._require_space(1)

    async def close(self) -> None:
        self._buffers.close()
        await self._directories.close()
        await self._cache.close()
        await self._masters.close()
        await self._volumes.close()
        await self._channels.close()

    def _path(self, directory: str) -> str:
        """The path of a directory's own entry. Its files may be elsewhere: see ``_place``."""
        return f"{self._prefix}/{check_directory(directory)}"

    async def _find(self, directory: str, name: str) -> CachedFile:
        """What a reader needs of a file. Raises DataLoss if the file cannot be read."""

        async def look_up() -> CachedFile:
            entry = await self._entry(directory, name)
            entries.require_readable(entry)
            extents = entries.extents_of(entry.chunks)
            return CachedFile(entries.file_info(directory, entry), entry.content, extents)

        return await self._cache.get((self._path(directory), check_name(name)), CachedFile, look_up)

    async def _entry(self, directory: str, name: str) -> Entry:
        try:
            entry = await self._publisher.find(directory, check_name(name))
        except NoSuchDirectory:
            entry = None
        if entry is None:
            raise NoSuchFile(name)
        return entry

    async def _place(self, directory: str) -> str | None:
        """The path of the filer's directory that has the files; None if there is none."""
        try:
            identity = await self._directories.require(directory)
        except NoSuchDirectory:
            return None
        return f"{self._prefix}/{identity.files}"

    async def _require_keys(self) -> None:
        """Raise StoreUnavailable if volume servers refuse our signatures; they are asked every
        KEYS_SECONDS."""
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

    async def _require_space(self, size: int) -> None:
        """Raise StoreFull if ``size`` bytes do not fit into the space that was last reported."""
        now = clock.monotonic()
        if self._free_space is None or now - self._free_space[0] > SPACE_SECONDS:
            try:
                self._free_space = now, await self._masters.free_space()
            except StoreUnavailable as error:
                _log.warning("the free space of the cluster is not known: %s", error)
                return
        space = self._free_space[1]
        if space.settled and not space.fits(size):
            raise StoreFull("the file is larger than the free space")


def _is_file(entry: Entry) -> bool:
    """Whether the entry is a file with a valid name; another program may have made it."""
    if entry.is_directory:
        return False
    try:
        check_name(entry.name)
    except InvalidName:
        return False
    return True
