"""Publishing and deleting a file, making a folder: atomic, as expected, with a known outcome.

The current entry is looked up, compared with what is expected, and named (by its chunks) in the
condition that the filer checks; so this is atomic among all processes that use the same filer. The
caller has to keep two processes from doing it at once through different filers; the HTTP service
holds a lock in PostgreSQL. Within a process they take turns (:mod:`gfs.seaweedfs.turns`).

The folders that are missing are made first. The filer would make those too that are removed
meanwhile, and so restore them. (With its option not to check, it makes a file without a directory.)
So the directory and all folders of the path are looked up again right after a publish: a file that
came too late, into no folder or into another one, is deleted. If it is not there any more, it was
moved with its folder, and it is not known what became of it.

A call that failed may have been carried out. So the entry, into which each publish writes an id of
its own, is looked up before anything is repeated. What a filer that does not respond still holds of
the call is made void first (:mod:`gfs.seaweedfs.servers.filer`), so that it does not take effect
later. A version that is made in parts may be published by several processes, one after the other
crashed: the id is that of the upload, and the first thing that each does is to look it up.

A publish returns or raises within DECISION_SECONDS, and the time that the last call takes. The
filer cannot be asked to create an entry only if there is none. So a process that was frozen does
not create one when it wakes, if others may have had their turn meanwhile (LATE_SECONDS).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gfs.clock import Deadline
from gfs.errors import (
    AlreadyExists,
    IsFolder,
    NoSuchDirectory,
    NoSuchFile,
    NoSuchFolder,
    NotAFolder,
    StoreUnavailable,
    VersionMismatch,
)
from gfs.paths import parents
from gfs.seaweedfs import entries
from gfs.seaweedfs.directories import Directories
from gfs.seaweedfs.folders import Folder, Folders, Identity
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.servers import RETRY_SECONDS, Filers
from gfs.seaweedfs.turns import Turns
from gfs.seaweedfs.watch import EntryCache
from gfs.types import Entry as Found
from gfs.types import Expect, FileInfo, FolderInfo, Published

DECISION_SECONDS = 8.0
"""For all attempts to publish or delete a file."""

CONFIRM_SECONDS = 3.0
"""At least so long for looking up what an attempt at the very end of that has done."""

LATE_SECONDS = 30.0
"""So long after DECISION_SECONDS no attempt starts any more."""


class CommitUnknown(StoreUnavailable):
    """The file may have been published or not: no filer could be asked."""


class Publisher:
    """Changes the files of a store; in this process nothing else does."""

    def __init__(
        self,
        filers: Filers,
        cache: EntryCache,
        folders: Folders,
        directories: Directories,
        turns: Turns,
    ) -> None:
        self._filers = filers
        self._folders = folders
        self._directories = directories
        self._cache = cache
        self._turns = turns

    async def publish(
        self,
        directory: str,
        path: str,
        entry: Entry,
        expect: Expect,
        known: Sequence[Identity],
        *,
        again: bool = False,
    ) -> Published:
        """Publish ``entry`` at ``path``, and return what was published. ``known``: the directory,
        and the folders of the path, as far as they were there when the version was started.
        ``again``: another process may have published the same version, with the same id: if it is
        there, it is returned.

        Raises what ``Writer.commit`` raises, and then nothing was published; only after
        CommitUnknown, or a cancellation, is that not known.
        """
        deadline = Deadline(DECISION_SECONDS)
        async with self._changing(directory, path):
            chain = await self.made(directory, path, known)
            stored, replaced = await self._create(chain[-1], path, entry, expect, deadline, again)
            await self._confirm(chain, stored, deadline)
            return Published(entries.file_info(directory, path, stored), replaced)

    async def make_folder(self, directory: str, path: str) -> FolderInfo:
        """Make a folder, and those above it that are missing. Raises what
        ``FileSystem.make_folder`` raises."""
        deadline = Deadline(DECISION_SECONDS)
        name = path.rpartition("/")[2]
        async with self._changing(directory, path):
            while True:
                chain = await self.made(directory, path)
                made, new = await self._directories.make_folder(chain[-1], name)
                if not new or not isinstance(made, Folder):
                    raise AlreadyExists(path)
                lost = await self._folders.unchanged(chain, patience=_left(deadline))
                if lost is None:
                    return made.info
                await self._filers.remove_empty(*made.place.rsplit("/", 1))
                await self._discard(chain)
                problem = StoreUnavailable("others remove the folder above all the time")
                await deadline.pause(RETRY_SECONDS, problem)

    async def remove_folder(self, directory: str, path: str) -> None:
        """Remove a folder and everything in it. Raises NoSuchFolder."""
        async with self._changing(directory, path):
            try:
                folder = await self._folders.find(directory, path)
            except (NoSuchDirectory, NotAFolder):
                raise NoSuchFolder(path) from None
            await self._directories.remove_folder(folder)

    async def made(self, directory: str, path: str, known: Sequence[Identity] = ()) -> list[Folder]:
        """The directory and the folders above ``path``; those that are missing are made. Raises
        NoSuchDirectory and NoSuchFolder, if one of ``known`` is missing or another one, and
        NotAFolder."""
        chain = await self._folders.chain(directory, path.rpartition("/")[0])
        for number, identity in enumerate(known):
            if number == len(chain) or chain[number].identity != identity:
                raise _missing(directory, path, number)
        for above in parents(path)[len(chain) - 1 :]:
            made, _ = await self._directories.make_folder(chain[-1], above.rpartition("/")[2])
            if not isinstance(made, Folder):
                raise NotAFolder(f"{above} is a file")
            chain.append(made)
        return chain

    async def _confirm(self, chain: Sequence[Folder], stored: Entry, deadline: Deadline) -> None:
        """Delete what was stored in the last folder of the chain, unless all of it is as before."""
        try:
            lost = await self._folders.unchanged(chain, patience=_left(deadline))
            if lost is None:
                return
            if not await self._filers.delete(chain[-1].place, stored):
                raise CommitUnknown("the folder was moved or removed with what was published")
            await self._discard(chain)
        except StoreUnavailable as error:
            raise CommitUnknown(str(error)) from error
        raise _missing(chain[0].info.directory, chain[-1].info.path, lost)

    async def _discard(self, chain: Sequence[Folder]) -> None:
        """Delete the directories that the filer made in the place of folders of a chain that are
        not there any more."""
        for folder in reversed(chain):
            self._cache.drop(self._folders.key(folder.info.directory, folder.info.path))
            await self._directories.discard(*folder.place.rsplit("/", 1))

    async def delete(self, directory: str, path: str, expect: Expect) -> FileInfo:
        """Delete a file. Raises what ``FileSystem.delete`` raises."""
        attempted: FileInfo | None = None
        deadline = Deadline(DECISION_SECONDS)
        above, _, name = path.rpartition("/")
        async with self._changing(directory, path):
            try:
                folder = await self._folders.find(directory, above)
            except (NoSuchDirectory, NoSuchFolder, NotAFolder):
                raise NoSuchFile(path) from None
            while True:
                entry = await self._lookup(folder.place, name, deadline)
                found = info_of(directory, path, await self._folders.state(folder, entry))
                if found is None and attempted is not None:
                    return attempted
                if entry is None or found is None:
                    raise NoSuchFile(path)
                expect.check(found)
                if isinstance(found, FolderInfo):
                    raise IsFolder(path)
                try:
                    if await self._filers.delete(folder.place, entry):
                        return found
                except StoreUnavailable:
                    attempted = found
                problem = StoreUnavailable("the file could not be deleted")
                await deadline.pause(RETRY_SECONDS, problem)

    async def _create(
        self,
        folder: Folder,
        path: str,
        entry: Entry,
        expect: Expect,
        deadline: Deadline,
        unknown: bool,
    ) -> tuple[Entry, FileInfo | None]:
        """Store the entry, in as many attempts as it takes to know that it is stored. Returns it as
        it is stored, and what it replaced. ``unknown``: an attempt was made before."""
        replaced: FileInfo | None = None
        while True:
            try:
                if unknown:
                    await self._filers.settle(_left(deadline))
                current = await self._lookup(folder.place, entry.name, deadline)
                state = await self._folders.state(folder, current, patience=_left(deadline))
            except StoreUnavailable as error:
                raise _given_up(error, unknown) from error
            if unknown and current is not None and _same(current, entry):
                return current, replaced
            found = info_of(folder.info.directory, path, state)
            expect.check(found)
            if isinstance(found, FolderInfo):
                raise IsFolder(path)
            if current is not None and found is None:  # a folder that was removed
                if await self._directories.emptied((folder.place, entry.name)):
                    continue
                problem = StoreUnavailable("the folder that was there is still being deleted")
                await deadline.pause(RETRY_SECONDS, _given_up(problem, unknown))
                continue
            replaced = found
            problem = StoreUnavailable("this process was frozen for too long")
            deadline.require(_given_up(problem, unknown), late=LATE_SECONDS)
            try:
                await self._filers.create(folder.place, entry, over=current)
                return _stored(entry, current), replaced
            except VersionMismatch:  # replaced meanwhile: look it up again
                problem = StoreUnavailable("others change the file all the time")
            except StoreUnavailable as error:
                unknown = True  # also if the filer reports it: its store may have done it
                problem = error
            await deadline.pause(RETRY_SECONDS, _given_up(problem, unknown))

    async def _lookup(self, place: str, name: str, deadline: Deadline) -> Entry | None:
        return await self._filers.lookup(place, name, patience=_left(deadline))

    @asynccontextmanager
    async def _changing(self, directory: str, path: str) -> AsyncIterator[None]:
        """One change at a time of each path, within this process."""
        async with self._turns.change((directory, path)):
            try:
                yield
            finally:
                # The filer notifies of it too, but this process must see it at once.
                self._cache.drop(self._folders.key(directory, path))


def info_of(directory: str, path: str, state: Entry | Folder | None) -> Found | None:
    """What is at ``path``, as callers of the engine know it."""
    if state is None or isinstance(state, Folder):
        return state if state is None else state.info
    return entries.file_info(directory, path, state)


def _missing(directory: str, path: str, number: int) -> NoSuchDirectory | NoSuchFolder:
    """The directory, or the folder of that number above ``path``, is not there any more."""
    return NoSuchFolder(parents(f"{path}/")[number - 1]) if number else NoSuchDirectory(directory)


def _given_up(error: StoreUnavailable, unknown: bool) -> StoreUnavailable:
    return (CommitUnknown if unknown else StoreUnavailable)(str(error))


def _same(one: Entry, other: Entry) -> bool:
    """Whether both entries are of the same publish."""
    return entries.mark_of(one) is not None and entries.mark_of(one) == entries.mark_of(other)


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
