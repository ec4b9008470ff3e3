"""Moving a file or a folder: one transaction of the filer's store.

The filer moves a folder entry by entry, some thousands a second, in one transaction of its store:
every lookup sees the old place or the new one. That is so on PostgreSQL and other databases with
transactions; LevelDB, Redis and the like have none. There readers may see a part of a folder at
either end, and a move that fails is left half done, which is reported as StoreBroken.
The transaction, and the memory of the filer, grow with the folder, so more than MOST_ENTRIES are
refused. It fails, and nothing is moved, if an entry comes into the folder meanwhile.

**What is there already.** The filer replaces a file by a file. A folder is not replaced entry by
entry: its own entry first names another place (:mod:`gfs.seaweedfs.directories`), where there is
nothing yet, so that it keeps what it has; then what is moved appears in that place, and so it is
the folder from one moment to the next. What it had is marked as removed. If that is soon deleted,
the new entries are moved on to the usual place, which no reader notices. Where a file takes the
place of a folder, or a folder that of a file, what is there is moved aside first, and moved back
if the move fails: for that time, some milliseconds for each thousand entries, there is nothing at
the path.

**What is not known.** A call that had no response may have been carried out. So both ends are
looked up until the one or the other has what was moved, by its inode and version, which a move
keeps. A filer that was killed in the middle has moved nothing, or all: its database ends the
transaction. One that is frozen finds the call given up when it wakes, and ends the transaction
without any effect; only if it stops in the last moment, after its last message and before its
database has the commit, less than a millisecond later, does it move what was reported as not moved.
Until it wakes or is killed, its database lets nobody else change what it was about to move.

What was written down of removed folders below (``Directories.register``) names their old paths; so
the new ones are written down first.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace

from gfs.clock import Deadline
from gfs.errors import (
    FolderTooLarge,
    MovesIntoItself,
    NoSuchDirectory,
    NoSuchFile,
    NotAFolder,
    StoreBroken,
    StoreUnavailable,
    VersionMismatch,
)
from gfs.paths import within
from gfs.seaweedfs import entries
from gfs.seaweedfs.directories import Directories, another_place
from gfs.seaweedfs.folders import Folder, Folders
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.publishing import Publisher, info_of
from gfs.seaweedfs.servers import BUCKETS, RETRY_SECONDS, CallFailed, Filers
from gfs.seaweedfs.turns import Turns
from gfs.seaweedfs.watch import EntryCache
from gfs.types import Expect, Moved

MOST_ENTRIES = 20_000
"""How many entries a folder that is moved may have at all depths."""

PAGE = 1_000
"""How many of them are listed at once."""

RENAME_SECONDS = 10.0
"""How long the filer may take for a file, or an empty folder."""

ENTRIES_A_SECOND = 200
"""How many more seconds it has for a folder: it moves about 1000 a second, or fewer if others keep
its database busy."""

DECISION_SECONDS = 8.0
"""For all attempts together, but for the last call."""

USUAL_ENTRIES = 1_000
"""A folder of at most so many entries that has replaced another one is moved on to the usual
place."""

OUTCOME_SECONDS = 2.0
"""How long both ends are looked at after a call without a response."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a move: the ``entry`` at the path, what it stands for (``state``), and the folder
    that it is in, with those above it (``chain``)."""

    directory: str
    path: str
    entry: Entry | None
    state: Entry | Folder | None
    chain: Sequence[Folder]

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]

    @property
    def where(self) -> str:
        """The path of the filer's directory that has the entry."""
        return self.chain[-1].place

    @property
    def folder(self) -> Folder | None:
        """The folder at the path, if it is one."""
        return self.state if isinstance(self.state, Folder) else None

    @property
    def usual(self) -> str:
        """The usual path of the entry."""
        return f"{self.where}/{self.name}"

    @property
    def place(self) -> str:
        """The path of the entry that is moved: a folder's may be in another place."""
        return self.usual if self.folder is None else self.folder.place


@dataclass(frozen=True, slots=True)
class Size:
    """How many ``entries`` are in a folder at all depths, and which of them have something to be
    emptied: the paths below it."""

    entries: int
    removed: tuple[str, ...]


class Mover:
    """Moves files and folders of a store; in this process nothing else does."""

    def __init__(
        self,
        filers: Filers,
        cache: EntryCache,
        folders: Folders,
        directories: Directories,
        publisher: Publisher,
        turns: Turns,
        prefix: str,
    ) -> None:
        self._filers = filers
        self._cache = cache
        self._folders = folders
        self._directories = directories
        self._publisher = publisher
        self._turns = turns
        self._prefix = prefix

    async def move(
        self,
        directory: str,
        path: str,
        to_directory: str,
        to_path: str,
        expect: Expect,
        expect_there: Expect,
    ) -> Moved:
        """See ``FileSystem.move``."""
        if directory == to_directory and (within(path, to_path) or within(to_path, path)):
            raise MovesIntoItself(to_path)
        deadline = Deadline(DECISION_SECONDS)
        ends = ((directory, path), (to_directory, to_path))
        async with self._turns.change(*ends):
            try:
                while True:
                    source = await self._source(directory, path)
                    info = info_of(directory, path, source.state)
                    if info is None:
                        raise NoSuchFile(path)
                    expect.check(info)
                    target = await self._target(to_directory, to_path)
                    replaced = info_of(to_directory, to_path, target.state)
                    expect_there.check(replaced)
                    try:
                        await self._move(source, target, deadline)
                    except VersionMismatch:
                        problem = StoreUnavailable("others change the folder all the time")
                        await deadline.pause(RETRY_SECONDS, problem)
                        continue
                    return Moved(replace(info, directory=to_directory, path=to_path), replaced)
            finally:
                for end in ends:
                    self._cache.drop(self._folders.key(*end))

    async def _source(self, directory: str, path: str) -> End:
        above = path.rpartition("/")[0]
        try:
            source = await self._target(directory, path)
        except (NoSuchDirectory, NotAFolder):
            raise NoSuchFile(path) from None
        if source.chain[-1].info.path != above:
            raise NoSuchFile(path)
        return source

    async def _target(self, directory: str, path: str) -> End:
        """Look up what is at ``path``; the chain ends where there are no more folders."""
        above, _, name = path.rpartition("/")
        chain = await self._folders.chain(directory, above)
        entry = state = None
        if chain[-1].info.path == above:
            entry = await self._filers.lookup(chain[-1].place, name)
            state = await self._folders.state(chain[-1], entry)
        return End(directory, path, entry, state, chain)

    async def _move(self, source: End, target: End, deadline: Deadline) -> None:
        """Move what is at the source. Raises VersionMismatch if both ends must be looked at
        again."""
        if self._apart(source, target):
            raise FolderTooLarge("nothing can be moved from one bucket to another in one step")
        size = await self._size(source)
        chain = await self._publisher.made(target.directory, target.path)
        target = replace(target, chain=chain)
        for end in (source, target):
            lost = await self._folders.unchanged(end.chain, patience=RENAME_SECONDS)
            if lost is not None:
                for folder in end.chain:
                    self._cache.drop(self._folders.key(end.directory, folder.info.path))
                raise VersionMismatch("a folder above has changed")
        there = target.entry is not None and target.entry.is_directory
        if target.entry is None or (source.folder is None and not there):
            await self._rename(source, target.usual, size)
        elif source.folder is not None and there:
            await self._replace(source, target, target.entry, size)
        else:
            async with self._aside(target, deadline):
                await self._rename(source, target.usual, size)
        if source.place != source.usual:
            await self._directories.leave_place(source.where, source.name)

    def _apart(self, source: End, target: End) -> bool:
        """Whether the filer's store keeps them in two tables: it does so for buckets."""
        return self._prefix == BUCKETS and source.directory != target.directory

    async def _replace(self, source: End, target: End, there: Entry, size: Size) -> None:
        """Put a folder in the place of another one, or of one that was removed."""
        name = another_place(target.name)
        if name is None:
            raise FolderTooLarge("a folder of so long a name cannot be replaced: remove it first")
        pointer = entries.changed(there)
        pointer.extended[entries.FILES_KEY] = "/".join([name, *entries.places_of(there)]).encode()
        registered = await self._directories.register((target.where, target.name))
        await self._filers.create(target.where, pointer, over=there)
        await self._rename(source, f"{target.where}/{name}", size)
        try:
            await self._directories.complete(target.where, target.name)
            place = target.where, target.name
            if size.entries <= USUAL_ENTRIES and await self._directories.emptied_place(place):
                await self._filers.rename(f"{target.where}/{name}", target.usual, _seconds(size))
        except (StoreUnavailable, VersionMismatch) as error:
            _log.info("%s: its entries stay in another place: %s", target.path, error)
        self._directories.empty_later((target.where, target.name), registered)

    @asynccontextmanager
    async def _aside(self, target: End, deadline: Deadline) -> AsyncIterator[None]:
        """Move what is at the target aside; back if the body raises, and away if not."""
        if target.state is None:
            if not await self._directories.emptied((target.where, target.name)):
                problem = StoreUnavailable("the folder that was there is still being deleted")
                await deadline.pause(RETRY_SECONDS, problem)
            raise VersionMismatch("what was there is deleted")
        name = another_place(target.name)
        if name is None or target.place != target.usual:
            raise FolderTooLarge("the folder there cannot be replaced by a file: remove it first")
        size = await self._size(target)
        registered = await self._directories.register((target.where, name))
        aside = f"{target.where}/{name}"
        async with self._directories.noted((target.where, name)):
            await self._rename(target, aside, size)
            try:
                yield
            except BaseException:
                await self._filers.rename(aside, target.usual, _seconds(size))
                raise
            else:
                with suppress(StoreUnavailable, VersionMismatch):  # or later, in a task
                    await self._directories.put_back(target.where, name)
            finally:
                self._directories.empty_later((target.where, name), registered)

    async def _rename(self, source: End, to: str, size: Size) -> None:
        """Move what is at the source to the path ``to`` of the filer. Raises VersionMismatch if it
        was refused, StoreUnavailable if it was not moved or that is not known."""
        below = [f"{to}{path}".rpartition("/") for path in size.removed]
        noted = [
            ((where, name), await self._directories.register((where, name)))
            for where, _, name in below
        ]
        entry = await self._filers.lookup(*source.place.rsplit("/", 1))
        if entry is None:
            raise VersionMismatch("it is not there any more")
        try:
            await self._filers.rename(source.place, to, _seconds(size))
        except CallFailed as error:
            await self._outcome(entry, source.place, to, error)
        except VersionMismatch as error:
            moved, left = await self._at(entry, to), await self._at(entry, source.place)
            if moved and left:
                raise _half_moved() from error
            raise
        for place, registered in noted:
            self._directories.empty_later(place, registered)

    async def _outcome(self, entry: Entry, place: str, to: str, error: CallFailed) -> None:
        """Return if ``entry`` goes from the path ``place`` to the path ``to``; else raise
        StoreUnavailable, or StoreBroken if it is at both."""
        deadline = Deadline(OUTCOME_SECONDS)
        while True:
            moved, left = await self._at(entry, to), await self._at(entry, place)
            if moved and not left:
                return
            problem = StoreUnavailable(f"it was not moved: {error}")
            await deadline.pause(RETRY_SECONDS, _half_moved() if moved else problem)

    async def _at(self, entry: Entry, place: str) -> bool:
        """Whether ``entry`` is at the path ``place``."""
        found = await self._filers.lookup(*place.rsplit("/", 1))
        return found is not None and _mark(found) == _mark(entry)

    async def _size(self, end: End) -> Size:
        """What is in a folder. Raises FolderTooLarge."""
        if end.folder is None:
            return Size(0, ())
        count, removed = 0, []
        waiting = [""]
        while waiting:
            inside, after = waiting.pop(), ""
            while True:
                listing = self._filers.listing(
                    end.place + inside, prefix="", after=after, limit=PAGE, omit_chunks=True
                )
                seen = 0
                async with aclosing(listing) as found:
                    async for entry in found:
                        seen, after = seen + 1, entry.name
                        if entry.is_directory:
                            waiting.append(f"{inside}/{entry.name}")
                            if entries.is_removed(entry):
                                removed.append(f"{inside}/{entry.name}")
                count += seen
                if count > MOST_ENTRIES:
                    raise FolderTooLarge(
                        f"a folder of more than {MOST_ENTRIES} entries cannot be moved in one "
                        "step: move the folders in it one by one"
                    )
                if seen < PAGE:
                    break
        return Size(count, tuple(removed))


def _half_moved() -> StoreBroken:
    return StoreBroken(
        "a move failed and was not undone: its two ends have a part of the folder each, because "
        "the filer keeps its entries in a store without transactions"
    )


def _seconds(size: Size) -> float:
    """How long a filer may take."""
    return RENAME_SECONDS + size.entries / ENTRIES_A_SECOND


def _mark(entry: Entry) -> tuple[bool, int, int, str]:
    """What distinguishes an entry from others, and stays when it is moved."""
    attributes = entry.attributes
    return entry.is_directory, attributes.crtime, attributes.inode, entries.version_of(entry)
