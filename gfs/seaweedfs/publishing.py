"""Publishing and deleting one file: atomic, as expected, and with a known outcome.

The current entry is looked up, compared with what is expected, and named (by its chunks) in the
condition that the filer checks; so this is atomic among all processes that use the same filer. The
caller has to keep two processes from doing it at once through different filers; the HTTP service
holds a lock in PostgreSQL. Within a process there is a lock for each name.

The filer would make a directory that is missing, and so restore a deleted namespace. (With its
option not to check, it makes a file without a directory.) So the directory is looked up again right
after a publish: a file that came too late, into no directory or into another one, is deleted.

A call that failed may have been carried out. So the entry, into which each publish writes an id of
its own, is looked up before anything is repeated. What a filer that does not respond still holds of
the call is made void first (:mod:`gfs.seaweedfs.servers.filer`), so that it does not take effect
later.

A publish returns or raises within DECISION_SECONDS, and the time that the last call takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from weakref import WeakValueDictionary

from gfs.clock import Deadline
from gfs.errors import AlreadyExists, NoSuchDirectory, NoSuchFile, StoreUnavailable, VersionMismatch
from gfs.seaweedfs import entries
from gfs.seaweedfs.directories import Directories, Identity
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.servers import RETRY_SECONDS, Filers
from gfs.seaweedfs.watch import EntryCache
from gfs.types import Expect, Published

DECISION_SECONDS = 8.0
"""For all attempts to publish or delete a file."""

CONFIRM_SECONDS = 3.0
"""At least so long for looking up what an attempt at the very end of that has done."""


class CommitUnknown(StoreUnavailable):
    """The file may have been published or not: no filer could be asked."""


class Publisher:
    """Changes the files below ``prefix``; in this process nothing else does."""

    def __init__(
        self, filers: Filers, cache: EntryCache, directories: Directories, prefix: str
    ) -> None:
        self._filers = filers
        self._directories = directories
        self._cache = cache
        self._prefix = prefix
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def find(self, directory: str, name: str) -> Entry | None:
        """The entry of a file, or None. Raises NoSuchDirectory."""
        identity = await self._directories.require(directory)
        entry = await self._filers.lookup(self._path(identity), name)
        return None if entry is None or entry.is_directory else entry

    async def publish(self, directory: str, entry: Entry, expect: Expect) -> Published:
        """Publish ``entry``, and return what was published.

        Raises what ``Writer.commit`` raises, and then nothing was published; only after
        CommitUnknown, or a cancellation, is that not known.
        """
        deadline = Deadline(DECISION_SECONDS)
        async with self._locked(directory, entry.name):
            before = await self._directories.require(directory)
            stored, replaced = await self._create(directory, before, entry, expect, deadline)
            await self._confirm(directory, before, stored, deadline)
            return Published(entries.file_info(directory, stored), replaced)

    async def _confirm(
        self, directory: str, before: Identity, stored: Entry, deadline: Deadline
    ) -> None:
        """Delete what was stored unless its directory is still the one ``before``."""
        try:
            with suppress(NoSuchDirectory):
                if await self._directories.identify(directory, patience=_left(deadline)) == before:
                    return
            await self._filers.delete(self._path(before), stored)
            await self._directories.discard(before.files)
        except StoreUnavailable as error:
            raise CommitUnknown(str(error)) from error
        raise NoSuchDirectory(directory)

    async def delete(self, directory: str, name: str, expect: Expect) -> None:
        """Delete a file. Raises what ``FileSystem.delete`` raises."""
        unknown = False
        deadline = Deadline(DECISION_SECONDS)
        async with self._locked(directory, name):
            try:
                path = self._path(await self._directories.require(directory))
            except NoSuchDirectory:
                raise NoSuchFile(name) from None
            while True:
                entry = await self._lookup(path, name, deadline)
                if entry is None or entry.is_directory:
                    if unknown:
                        return  # an earlier attempt deleted it
                    raise NoSuchFile(name)
                expect.check(entries.file_info(directory, entry))
                try:
                    if await self._filers.delete(path, entry):
                        return
                except StoreUnavailable:
                    unknown = True
                problem = StoreUnavailable("the file could not be deleted")
                await deadline.pause(RETRY_SECONDS, problem)

    async def _create(
        self, directory: str, identity: Identity, entry: Entry, expect: Expect, deadline: Deadline
    ) -> tuple[Entry, bool]:
        """Store the entry, in as many attempts as it takes to know that it is stored. Returns it as
        it is stored, and whether it replaced another one."""
        path = self._path(identity)
        unknown = replaced = False
        while True:
            try:
                if unknown:
                    await self._filers.settle(_left(deadline))
                current = await self._lookup(path, entry.name, deadline)
            except StoreUnavailable as error:
                raise _given_up(error, unknown) from error
            if unknown and current is not None and _same(current, entry):
                return current, replaced
            if current is not None and current.is_directory:
                raise AlreadyExists(entry.name)
            expect.check(None if current is None else entries.file_info(directory, current))
            replaced = current is not None
            try:
                await self._filers.create(path, entry, over=current)
                return _stored(entry, current), replaced
            except VersionMismatch:  # replaced meanwhile: look it up again
                problem = StoreUnavailable("others change the file all the time")
            except StoreUnavailable as error:
                unknown = True  # also if the filer reports it: its store may have done it
                problem = error
            await deadline.pause(RETRY_SECONDS, _given_up(problem, unknown))

    async def _lookup(self, path: str, name: str, deadline: Deadline) -> Entry | None:
        return await self._filers.lookup(path, name, patience=_left(deadline))

    def _path(self, identity: Identity) -> str:
        """The path of the files of a directory."""
        return f"{self._prefix}/{identity.files}"

    @asynccontextmanager
    async def _locked(self, directory: str, name: str) -> AsyncIterator[None]:
        """One change at a time of each name, within this process."""
        key = directory, name
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            try:
                yield
            finally:
                # The filer notifies of it too, but this process must see it at once.
                self._cache.drop((f"{self._prefix}/{directory}", name))


def _given_up(error: StoreUnavailable, unknown: bool) -> StoreUnavailable:
    return (CommitUnknown if unknown else StoreUnavailable)(str(error))


def _same(one: Entry, other: Entry) -> bool:
    """Whether both entries are of the same publish."""
    key = entries.VERSION_KEY
    return key in one.extended and one.extended[key] == other.extended.get(key)


def _stored(entry: Entry, before: Entry | None) -> Entry:
    """The entry as the filer stores it: created when the entry that it replaced was."""
    if before is None:
        return entry
    stored = Entry()
    stored.CopyFrom(entry)
    stored.attributes.crtime = before.attributes.crtime
    stored.attributes.crtime_ns = before.attributes.crtime_ns
    return stored


def _left(deadline: Deadline) -> float:
    return max(deadline.left, CONFIRM_SECONDS)
