"""Publishing and deleting: one entry, atomically, as expected, and known to have happened.

Where a version is expected, the entry is looked up, compared, and named in the filer's own
condition (the same chunks), so that it is atomic among all that use the same filer. Two versions of
an empty file have the same chunks, none; a lock per name makes this safe within the process.
Between processes the HTTP service holds a lock in PostgreSQL.

The filer would make a directory that is missing, and so bring a deleted namespace back. Telling it
not to check makes a file without a directory. So the directory is looked up once more right after a
publish: a file that came too late, into none or into another one, is deleted again.

A call that failed may have been carried out. Then the entry is looked up before anything is
repeated: each publish writes an id of its own into it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from gfs.errors import AlreadyExists, NoSuchDirectory, NoSuchFile, StoreUnavailable, VersionMismatch
from gfs.seaweedfs import entries
from gfs.seaweedfs.directories import Directories, Identity
from gfs.seaweedfs.filer import PATIENCE_SECONDS, RETRY_SECONDS, Filers
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.rpc import CallFailed
from gfs.seaweedfs.watch import EntryCache
from gfs.types import Expect, FileInfo, Published


class CommitUnknown(StoreUnavailable):
    """The file may have been published, or not; nobody could be asked."""


class Publisher:
    """The one way by which this process changes the files below ``prefix``."""

    def __init__(
        self, filers: Filers, cache: EntryCache, directories: Directories, prefix: str
    ) -> None:
        self._filers = filers
        self._directories = directories
        self._cache = cache
        self._prefix = prefix
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def find(self, directory: str, name: str) -> Entry | None:
        """The entry of a file, if there is one."""
        entry = await self._filers.lookup(f"{self._prefix}/{directory}", name)
        return None if entry is None or entry.is_directory else entry

    async def publish(self, directory: str, entry: Entry, expect: Expect) -> Published:
        """Publish ``entry``, and say what was published.

        Raises what ``Writer.commit`` does, and then nothing was published; but CommitUnknown, and
        a cancellation, mean that this is not known.
        """
        async with self._locked(directory, entry.name):
            before = await self._directories.require(directory)
            stored, replaced = await self._create(directory, entry, expect)
            await self._confirm(directory, before, stored)
            return Published(entries.file_info(directory, stored), replaced)

    async def _confirm(self, directory: str, before: Identity, stored: Entry) -> None:
        """Take back what was stored unless its directory is the one ``before``."""
        try:
            if await self._directories.look(directory) == before:
                return
        except NoSuchDirectory:
            pass
        except StoreUnavailable as error:
            raise CommitUnknown(str(error)) from error
        await self._filers.delete(f"{self._prefix}/{directory}", stored)
        await self._directories.discard(directory)
        raise NoSuchDirectory(directory)

    async def delete(self, directory: str, name: str, expect: Expect) -> None:
        """Delete a file. Raises what ``FileSystem.delete`` does."""
        path = f"{self._prefix}/{directory}"
        unknown = False
        deadline = _now() + PATIENCE_SECONDS
        async with self._locked(directory, name):
            while True:
                entry = await self.find(directory, name)
                if entry is None:
                    if unknown:
                        return  # the attempt before did it
                    raise NoSuchFile(name)
                expect.check(entries.file_info(directory, entry))
                try:
                    if await self._filers.delete(path, entry):
                        return
                except StoreUnavailable as error:
                    unknown = unknown or isinstance(error, CallFailed)
                if _now() > deadline:
                    raise StoreUnavailable("the file could not be deleted")
                await asyncio.sleep(RETRY_SECONDS)

    async def _create(self, directory: str, entry: Entry, expect: Expect) -> tuple[Entry, bool]:
        """Create the entry, and again until it is known that it is there. Returns it as it is
        stored, and whether it replaced one."""
        path = f"{self._prefix}/{directory}"
        particular = expect.present or expect.versions is not None
        unknown = False
        deadline = _now() + PATIENCE_SECONDS
        while True:
            current = None
            if particular or unknown:
                current = await self._look(directory, entry.name, unknown)
                if unknown and current is not None and _same(current, entry):
                    return current, current.attributes.crtime != entry.attributes.crtime
                expect.check(_info(directory, current))
            over = current if particular else None
            try:
                return await self._filers.create(path, entry, exclusive=expect.absent, over=over)
            except VersionMismatch:
                if _now() > deadline:
                    raise  # else: replaced meanwhile, and the next look says by what
            except AlreadyExists:
                if not unknown or _now() > deadline:
                    raise  # else: perhaps by the attempt before
            except StoreUnavailable as error:
                unknown = unknown or isinstance(error, CallFailed)
                if _now() > deadline:
                    raise _given_up(error, unknown) from error
            await asyncio.sleep(RETRY_SECONDS)

    async def _look(self, directory: str, name: str, unknown: bool) -> Entry | None:
        try:
            return await self.find(directory, name)
        except StoreUnavailable as error:
            if unknown:
                raise CommitUnknown(str(error)) from error
            raise

    @asynccontextmanager
    async def _locked(self, directory: str, name: str) -> AsyncIterator[None]:
        """One at a time for each name, within this process."""
        key = directory, name
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            try:
                yield
            finally:
                # The filer tells of it too, but who did it must see it at once.
                self._cache.drop((f"{self._prefix}/{directory}", name))


def _given_up(error: StoreUnavailable, unknown: bool) -> StoreUnavailable:
    return (CommitUnknown if unknown else StoreUnavailable)(str(error))


def _same(one: Entry, other: Entry) -> bool:
    """Whether both are the same publish."""
    key = entries.VERSION_KEY
    return key in one.extended and one.extended[key] == other.extended.get(key)


def _info(directory: str, entry: Entry | None) -> FileInfo | None:
    return None if entry is None else entries.file_info(directory, entry)


def _now() -> float:
    return asyncio.get_running_loop().time()
