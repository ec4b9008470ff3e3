"""The cluster engine as a :class:`gfs.api.FileSystem`.

The file ``a/f`` of the directory ``d`` is the entry ``<prefix>/d/a/f`` of the filer, so that
mounts, the S3 gateway and the filer's own pages show the same files and folders. Those that other
programs put there are listed and served too, if :mod:`gfs.paths` allows their names.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial

from gfs import clock
from gfs.api import Assembly, FileSystem, Ledger, PartWriter, Reader, Writer
from gfs.clock import Deadline
from gfs.errors import (
    DataLoss,
    GfsError,
    IsFolder,
    NoSuchDirectory,
    NoSuchFile,
    NoSuchFolder,
    NotAFolder,
    StoreFull,
    StoreUnavailable,
)
from gfs.paths import check_directory, check_path, check_store_id, new_store_id, parents
from gfs.seaweedfs import entries
from gfs.seaweedfs.assembling import (
    SeaweedAssembly,
    discard,
    discard_parts,
    require_parts,
)
from gfs.seaweedfs.buffers import Buffers
from gfs.seaweedfs.directories import Directories
from gfs.seaweedfs.folders import Folder, Folders
from gfs.seaweedfs.listing import Listing
from gfs.seaweedfs.moving import Mover
from gfs.seaweedfs.parts import SeaweedPartWriter
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.publishing import Publisher, info_of
from gfs.seaweedfs.reader import SeaweedReader
from gfs.seaweedfs.servers import (
    PATIENCE_SECONDS,
    Channels,
    Filers,
    FreeSpace,
    Masters,
    VolumeServers,
    parse_list,
)
from gfs.seaweedfs.tokens import mark_of
from gfs.seaweedfs.turns import Turns
from gfs.seaweedfs.uploads import CHUNK_BYTES, Uploads
from gfs.seaweedfs.watch import CachedFile, EntryCache
from gfs.seaweedfs.writer import Publish, SeaweedWriter
from gfs.threads import shielded
from gfs.types import (
    ANYTHING,
    Expect,
    FileInfo,
    FolderInfo,
    Kind,
    Moved,
    Part,
    Published,
    Status,
    Tls,
    Usage,
)

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
        self._folders = Folders(self._filers, self._cache, prefix)
        self._listing = Listing(self._filers, self._folders)
        self._directories = Directories(self._filers, self._cache, self._folders, prefix)
        turns = Turns()
        parts = (self._filers, self._cache, self._folders, self._directories)
        self._publisher = Publisher(*parts, turns)
        self._mover = Mover(*parts, self._publisher, turns, prefix)
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

    async def stat(self, directory: str, path: str) -> FileInfo:
        try:
            return (await self._find(directory, path)).info
        except DataLoss:  # it cannot be read, but it exists
            return entries.file_info(directory, path, (await self._entry(directory, path))[0])

    async def open(self, directory: str, path: str) -> Reader:
        found = await self._find(directory, path)
        return SeaweedReader(self._volumes, found.info, found.content, found.extents)

    def forget(self, directory: str, path: str) -> None:
        check_directory(directory)
        for one in ("", *parents(check_path(path)), path):
            self._cache.drop(self._folders.key(directory, one))

    async def create(
        self,
        directory: str,
        path: str,
        *,
        expect: Expect = ANYTHING,
        size: int | None = None,
        times_of: FileInfo | None = None,
    ) -> Writer:
        chain = await self._check(directory, path, expect)
        if size:
            await self._require_space(size)
        publish = self._publish(chain, path, expect)
        return SeaweedWriter(self._uploads, _place(chain, path), publish, times_of=times_of)

    async def append(self, directory: str, ledger: Ledger, offset: int) -> PartWriter:
        folder = await self._folders.find(directory)
        if offset:
            await require_parts(self._uploads, ledger)
        place = f"{folder.place}/{ledger.upload}"
        return SeaweedPartWriter(self._uploads, place, ledger, offset)

    async def assemble(
        self,
        directory: str,
        path: str,
        ledger: Ledger,
        size: int,
        *,
        expect: Expect = ANYTHING,
    ) -> Assembly:
        chain = await self._check(directory, path, expect, mark_of(ledger.upload))
        publish = self._publish(chain, path, expect, again=True)
        look = partial(self._file, directory, path)
        assembly = SeaweedAssembly(self._uploads, _place(chain, path), ledger, publish, look)
        try:
            await assembly.load(size)
        except BaseException:
            await assembly.abort()
            raise
        return assembly

    async def discard(
        self, ledger: Ledger, parts: Sequence[Part] | None = None, *, published: bool = False
    ) -> None:
        if parts is not None:
            await discard_parts(self._uploads, parts)
        else:
            await discard(self._uploads, ledger, published=published)

    async def delete(self, directory: str, path: str, *, expect: Expect = ANYTHING) -> FileInfo:
        check_directory(directory)
        return await self._publisher.delete(directory, check_path(path), expect)

    async def stat_folder(self, directory: str, path: str) -> FolderInfo:
        try:
            return (await self._folders.find(directory, path and check_path(path))).info
        except (NoSuchDirectory, NotAFolder):
            raise NoSuchFolder(path) from None

    async def make_folder(self, directory: str, path: str) -> FolderInfo:
        check_directory(directory)
        return await self._publisher.make_folder(directory, check_path(path))

    async def remove_folder(self, directory: str, path: str) -> None:
        check_directory(directory)
        await shielded(self._publisher.remove_folder(directory, check_path(path)))

    async def move(
        self,
        directory: str,
        path: str,
        to_directory: str,
        to_path: str,
        *,
        expect: Expect = ANYTHING,
        expect_there: Expect = ANYTHING,
    ) -> Moved:
        for one in (directory, to_directory):
            check_directory(one)
        ends = directory, check_path(path), to_directory, check_path(to_path)
        return await shielded(self._mover.move(*ends, expect, expect_there))

    def list_files(
        self, directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        check_directory(directory)
        return self._listing.files(directory, prefix, after, limit)

    def list_folder(
        self,
        directory: str,
        folder: str = "",
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        kind: Kind | None = None,
    ) -> AsyncGenerator[list[FileInfo | FolderInfo], None]:
        check_directory(directory)
        return self._listing.folder(directory, folder, prefix, after, limit, kind)

    async def usage(self, directory: str, folder: str = "", *, most: int | None = None) -> Usage:
        check_directory(directory)
        return await self._listing.usage(directory, folder, most)

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

    async def _check(
        self, directory: str, path: str, expect: Expect, mark: str | None = None
    ) -> list[Folder]:
        """The directory, and the folders above ``path`` as far as they exist, if something can be
        published there now; also if what is there was published with ``mark``. Raises what
        ``FileSystem.create`` raises."""
        above = check_path(path).rpartition("/")[0]
        chain = await self._folders.chain(directory, above)
        if chain[-1].info.path != above:
            expect.check(None)
            return chain
        state, _ = await self._folders.entry(directory, path)
        if mark is None or not isinstance(state, Entry) or entries.mark_of(state) != mark:
            current = info_of(directory, path, state)
            expect.check(current)
            if isinstance(current, FolderInfo):
                raise IsFolder(path)
        return chain

    def _publish(
        self, chain: Sequence[Folder], path: str, expect: Expect, *, again: bool = False
    ) -> Publish:
        """What publishes at ``path``, below the folders of ``chain``."""
        directory = chain[0].info.directory
        known = [folder.identity for folder in chain]

        async def publish(entry: Entry) -> Published:
            publishing = self._publisher.publish(directory, path, entry, expect, known, again=again)
            return await shielded(publishing)

        return publish

    async def _file(self, directory: str, path: str) -> Entry | None:
        """The entry of the file at ``path``, if there is one."""
        try:
            return (await self._entry(directory, path))[0]
        except (NoSuchFile, IsFolder):
            return None

    async def _find(self, directory: str, path: str) -> CachedFile:
        """What a reader needs of a file. Raises DataLoss if the file cannot be read."""

        async def look_up() -> CachedFile:
            entry, folder = await self._entry(directory, path)
            entries.require_readable(entry)
            extents = entries.extents_of(entry.chunks)
            info = entries.file_info(directory, path, entry)
            return CachedFile(info, entry.content, extents, folder)

        key = self._folders.key(check_directory(directory), check_path(path))
        return await self._cache.get(key, CachedFile, look_up)

    async def _entry(self, directory: str, path: str) -> tuple[Entry, Folder]:
        """The entry of a file, and the folder that it is in. Raises NoSuchFile and IsFolder.

        A file that is missing may be where its folder is by now.
        """
        deadline = Deadline(PATIENCE_SECONDS)
        while True:
            try:
                entry, folder = await self._folders.entry(directory, path)
            except (NoSuchDirectory, NoSuchFolder, NotAFolder):
                raise NoSuchFile(path) from None
            if entry is not None:
                break
            if await self._folders.still(folder):
                raise NoSuchFile(path)
            await deadline.pause(0, StoreUnavailable("the folder is moved all the time"))
        if isinstance(entry, Folder):
            raise IsFolder(path)
        return entry, folder

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


def _place(chain: Sequence[Folder], path: str) -> str:
    """Where in the filer ``path`` is to be, as far as its folders exist."""
    return f"{chain[-1].place}/{path.rpartition('/')[2]}"
