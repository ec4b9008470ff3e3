"""Directories and folders: made, and removed at once, whatever is in them.

The filer keeps every entry under its whole path. So it deletes what is in a directory entry by
entry, and its rename takes a millisecond for each. Therefore a directory or folder is removed by a
mark on its own entry, which is one atomic change: from then on this engine, in every process,
treats it as if it did not exist. What is in it is deleted afterwards.

One that is made again while its old entries are being deleted gets another place for the new ones,
next to it: ``photos~1f2e3d4c`` for the directory ``photos``, ``2024\\1f2e3d4c`` for the folder
``2024``, whose entry names that place (FILES_KEY) and keeps its mark. No other directory or folder
can have such a name. The mark lists the places that have to be emptied, and is NOTHING_LEFT when
that is done. If it was not made again by then, its entry is deleted too, and the next one of that
name has its entries in the usual place. A small one is emptied before it is made again, so that its
entries stay in that place.

The place of a folder has an entry of its own, which is that of the folder: it exists if that entry
does, and it is moved by moving that. A folder whose entry names a place that does not exist has its
entries in the usual place, unless there is a mark: so what is moved there appears in one step, in
the place of what was there before (:mod:`gfs.seaweedfs.moving`).

The process that removed a directory or folder empties it: page by page, PAGE entries at a time, and
never by the recursive deletion of the filer, whose memory and time grow with the directory.
Meanwhile it writes a note to the filers every NOTE_SECONDS. Every process looks for marks every
ROUND_SECONDS: in the entries of the directories, and in those of the folders that a register lists,
into which each was written before its mark. If a note is the same as a round before, the process
that wrote it was killed, and this one goes on. No clocks are compared. It does no harm if two
processes empty the same directory.

The entry of a directory or folder has a random ETag (``entries.directory_entry``); each change of
it is made on the condition of the ETag that was seen, and makes a new one. Deleting its entries is
on that condition too: a process that slept meanwhile deletes nothing of one that was made since.

The filer also makes a directory by itself when an entry is created in one that does not exist: a
publish that comes too late would restore a removed one. One that this engine made has an id
(DIRECTORY_KEY), and one that a filer made has none. A publish compares the identities before with
those after (:class:`gfs.seaweedfs.folders.Identity`), and deletes a file that came into another
directory or folder.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager, suppress

from gfs.clock import Deadline
from gfs.errors import GfsError, NoSuchFolder, StoreUnavailable, VersionMismatch
from gfs.paths import MAX_NAME_BYTES, check_directory
from gfs.seaweedfs import entries
from gfs.seaweedfs.folders import Folder, Folders
from gfs.seaweedfs.proto.filer_pb2 import Entry, FuseAttributes
from gfs.seaweedfs.servers import BUCKETS, PATIENCE_SECONDS, RETRY_SECONDS, CallFailed, Filers
from gfs.seaweedfs.watch import PLACES, EntryCache

PAGE = 128
"""How many entries are deleted by one call."""

PASSES = 10
"""How often a directory is emptied that has entries again when all were deleted."""

NOTE_SECONDS = 10.0
"""The time between two notes of a process that is emptying a directory."""

ROUND_SECONDS = 120.0
"""The time between two looks at all marks and notes: longer than NOTE_SECONDS and the
PATIENCE_SECONDS of a call together."""

EMPTY_FIRST_SECONDS = 0.5
"""How long making a directory again may wait for the old files to be deleted."""

BACK_SECONDS = 120.0
"""How long the filer may take to move something back."""

NOTHING_LEFT = b"0"
"""The mark of a directory that was made again and whose old files are all deleted."""

_PLAIN = "1"
"""The usual place of the entries, in a mark; marks of older versions have nothing else."""

_REGISTER = "~removed"
"""The directory, next to those of this store, whose entries list the folders that are removed."""

Place = tuple[str, str]
"""Where the own entry of a directory or folder is: the path of the filer's directory, and its name
there."""

_log = logging.getLogger(__name__)


class Directories:
    """The directories below ``prefix``, and their folders, are made and removed by it. ``close``
    it."""

    def __init__(self, filers: Filers, cache: EntryCache, folders: Folders, prefix: str) -> None:
        self._filers = filers
        self._cache = cache
        self._folders = folders
        self._prefix = prefix
        self._register = f"{prefix}{'' if prefix == BUCKETS else '/'}{_REGISTER}"
        self._removed: asyncio.Queue[tuple[Place, Entry | None]] = asyncio.Queue()
        self._notes: dict[Place, bytes] = {}
        self._tasks = [
            asyncio.create_task(self._empty_own(), name="gfs-removed"),
            asyncio.create_task(self._empty_orphaned(), name="gfs-orphaned"),
        ]

    async def make(self, directory: str) -> None:
        """Make a directory, unless it exists."""
        name = check_directory(directory)
        fresh = entries.directory_entry(name)
        if self._prefix == BUCKETS:
            fresh.extended[entries.EMPTY_FOLDERS_KEY] = b"true"
        deadline = Deadline(PATIENCE_SECONDS)
        try:
            while True:
                entry = await self._filers.make_directory(self._prefix, fresh)
                if not entry.is_directory:
                    raise StoreUnavailable("a file is where the directory should be")
                if entries.directory_exists(entry):
                    return
                if await self.emptied((self._prefix, name)):
                    continue
                if self._prefix == BUCKETS:  # the name of a bucket cannot have a "~"
                    await deadline.pause(RETRY_SECONDS, _stillemptied())
                    continue
                again = entries.changed(entry)
                again.extended[entries.DIRECTORY_KEY] = fresh.extended[entries.DIRECTORY_KEY]
                again.extended[entries.FILES_KEY] = f"{name}~{secrets.token_hex(4)}".encode()
                await self._replace(self._prefix, entry, again, deadline)
        finally:
            self._cache.drop(self._folders.key(directory, ""))

    async def make_folder(self, above: Folder, name: str) -> tuple[Entry | Folder, bool]:
        """Make a folder in ``above``, unless there is something of that name. Returns what is
        there now, and whether it was made."""
        fresh = entries.directory_entry(name)
        deadline = Deadline(PATIENCE_SECONDS)
        ours = fresh.extended[entries.DIRECTORY_KEY]
        key = self._folders.key(above.info.directory, _inside(above, name))
        try:
            while True:
                entry = await self._filers.make_directory(above.place, fresh)
                state = await self._folders.state(above, entry)
                if state is not None:
                    return state, entry.extended.get(entries.DIRECTORY_KEY) == ours
                if await self.emptied((above.place, name)):
                    continue
                place = another_place(name)
                if place is None:
                    await deadline.pause(RETRY_SECONDS, _stillemptied())
                    continue
                fresh.name = place
                await self._filers.make_directory(above.place, fresh)
                fresh.name = name
                again = entries.changed(entry)
                again.extended[entries.DIRECTORY_KEY] = ours
                again.extended[entries.FILES_KEY] = place.encode()
                if not await self._replace(above.place, entry, again, deadline):
                    await self._filers.remove_empty(above.place, place)
        finally:
            self._cache.drop(key)

    async def remove(self, directory: str) -> None:
        """Remove a directory and everything in it, if it exists."""
        name = check_directory(directory)
        deadline = Deadline(PATIENCE_SECONDS)
        try:
            while True:
                entry = await self._filers.lookup(self._prefix, name)
                if entry is None or not entry.is_directory:
                    return
                if not entries.directory_exists(entry):
                    break
                await self._replace(self._prefix, entry, _marked(entry), deadline)
        finally:
            self._cache.drop(self._folders.key(directory, ""))
        self._removed.put_nowait(((self._prefix, name), None))

    async def remove_folder(self, folder: Folder) -> None:
        """Remove a folder and everything in it. Raises NoSuchFolder if it is not there any more."""
        if folder.above is None:
            raise ValueError("a directory is no folder")
        above, name = folder.above, folder.info.name
        registered = await self.register((above.place, name))
        deadline = Deadline(PATIENCE_SECONDS)
        attempted = False
        try:
            while True:
                entry = await self._filers.lookup(above.place, name)
                state = await self._folders.state(above, entry)
                if (
                    entry is None
                    or not isinstance(state, Folder)
                    or state.identity != folder.identity
                ):
                    break
                attempted = True
                await self._replace(above.place, entry, _marked(entry), deadline)
        finally:
            self._cache.drop(self._folders.key(folder.info.directory, folder.info.path))
            self._removed.put_nowait(((above.place, name), registered))
        if not attempted:
            raise NoSuchFolder(folder.info.path)

    async def complete(self, where: str, name: str) -> None:
        """Mark the other places of a folder as removed if the first that its entry names exists: a
        move has put it there."""
        entry = await self._filers.lookup(where, name)
        if entry is None:
            return
        first, *others = entries.places_of(entry) or [""]
        if not first or (entries.is_removed(entry) and not others):
            return
        if await self._filers.lookup(where, first) is not None:
            marked = _marked(entry)
            places = [place for place in _places(marked) if place != first]
            marked.extended[entries.REMOVED_KEY] = _mark(places)
            marked.extended[entries.FILES_KEY] = first.encode()
            await self._filers.create(where, marked, over=entry)

    async def leave_place(self, where: str, name: str) -> None:
        """The other place of a folder was moved away: delete what is left of it."""
        with suppress(StoreUnavailable, VersionMismatch):  # it counts for nothing as it is
            entry = await self._filers.lookup(where, name)
            if entry is not None and entries.FILES_KEY in entry.extended:
                await self._filers.create(where, _marked(entry), over=entry)
                self.empty_later((where, name), None)

    def empty_later(self, place: Place, registered: Entry | None) -> None:
        """Empty what was removed, in a task."""
        self._removed.put_nowait((place, registered))

    async def register(self, place: Place) -> Entry:
        """Write down that a folder is about to be removed, so that every process can empty it."""
        content = "/".join(place).encode()
        registered = Entry(
            name=secrets.token_hex(8),
            attributes=FuseAttributes(file_mode=entries.FILE_MODE, file_size=len(content)),
            content=content,
        )
        await self._filers.make_directory(self._register, registered)
        return registered

    async def discard(self, where: str, name: str) -> None:
        """Delete a directory that a filer made for an entry that was deleted again."""
        entry = await self._filers.lookup(where, name)
        if entry is not None and entries.DIRECTORY_KEY not in entry.extended:
            await self._filers.remove_empty(where, name)

    async def close(self) -> None:
        """Stop deleting. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _replace(self, where: str, before: Entry, after: Entry, deadline: Deadline) -> bool:
        """Try to put ``after`` in the place of ``before``; if this is not known to have happened,
        the caller looks up what is there then. Raises StoreUnavailable after the deadline."""
        try:
            await self._filers.create(where, after, over=before)
        except (VersionMismatch, CallFailed):
            problem = StoreUnavailable("the directory could not be changed")
            await deadline.pause(RETRY_SECONDS, problem)
            return False
        return True

    async def _empty_own(self) -> None:
        """Empty what this process removes, until the task is cancelled."""
        while True:
            place, registered = await self._removed.get()
            await self._try(self._finish(place, registered), place[1])

    async def _empty_orphaned(self) -> None:
        """Empty what was removed by processes that were killed, until the task is cancelled."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            await self._try(self._look_for_orphans(), "the removed directories")

    async def _try(self, work: Awaitable[None], what: str) -> None:
        try:
            await work
        except GfsError as error:
            _log.info("%s: what was removed will be deleted later: %s", what, error)
        except Exception:  # noqa: BLE001 - logged; the task must go on deleting
            _log.exception("%s: deleting what was removed", what)

    async def _look_for_orphans(self) -> None:
        before, self._notes = self._notes, {}
        for place, registered in await self._listed():
            note = await self._filers.read_note(_key(place))
            if before.get(place) == note:
                await self._try(self._finish(place, registered), place[1])
            else:
                self._notes[place] = note

    async def _listed(self) -> list[tuple[Place, Entry | None]]:
        """The directories that have places to be emptied, and the folders of the register, with
        their entries there."""
        found: list[tuple[Place, Entry | None]] = []
        async with aclosing(self._pages(self._prefix)) as pages:
            async for page in pages:
                for entry in page:
                    if entry.is_directory and _places(entry):
                        found.append(((self._prefix, entry.name), None))
        async with aclosing(self._pages(self._register)) as pages:
            async for page in pages:
                for entry in page:
                    where, _, name = entry.content.decode().rpartition("/")
                    found.append(((where, name), entry))
        return found

    async def _pages(self, path: str) -> AsyncGenerator[list[Entry], None]:
        """Yield the entries of a directory of the filer, PAGE at a time."""
        after = ""
        while True:
            listing = self._filers.listing(
                path, prefix="", after=after, limit=PAGE, omit_chunks=True
            )
            async with aclosing(listing) as listed:
                page = [entry async for entry in listed]
            if not page:
                return
            yield page
            after = page[-1].name

    async def emptied(self, place: Place) -> bool:
        """Whether the old entries of what is to be made again could be deleted soon, so that it is
        made in its usual place."""
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(EMPTY_FIRST_SECONDS):
                await self._empty(place)
                entry = await self._filers.lookup(*place)
                return entry is None or not entries.is_removed(entry)
        return False

    async def _finish(self, place: Place, registered: Entry | None) -> None:
        """Empty what was removed, and strike it off the register."""
        where, name = place
        if PLACES[1] in name:
            await self.put_back(where, name)
        await self._empty(place)
        if registered is not None:
            await self._filers.delete(self._register, registered)

    async def put_back(self, where: str, name: str) -> None:
        """Move back what a move has put aside, if there is nothing in its usual place now; else
        remove it."""
        usual = name.partition(PLACES[1])[0]
        aside = await self._filers.lookup(where, name)
        if aside is None or entries.is_removed(aside):
            return
        if await self._filers.lookup(where, usual) is None:
            await self._filers.rename(f"{where}/{name}", f"{where}/{usual}", BACK_SECONDS)
        elif aside.is_directory:
            await self._filers.create(where, _marked(aside), over=aside)
        else:
            await self._filers.delete(where, aside)

    async def emptied_place(self, place: Place) -> bool:
        """Whether the places that a mark lists could be emptied soon, so that there is nothing in
        the usual place."""
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(EMPTY_FIRST_SECONDS):
                await self._empty(place)
                async with aclosing(self._pages("/".join(place))) as pages:
                    return await anext(pages, None) is None
        return False

    async def _empty(self, place: Place) -> None:
        """Delete everything in a removed directory or folder, and its entry if it was not made
        again. Does nothing for another one. After StoreUnavailable it may be called again."""
        async with self.noted(place):
            while True:
                where, name = place
                entry = await self._filers.lookup(where, name)
                if entry is None or not entry.is_directory or not _places(entry):
                    return
                with suppress(VersionMismatch):  # it was made again: look up what is left
                    await self._empty_places(where, entry)

    async def _empty_places(self, where: str, entry: Entry) -> None:
        """Empty the places that the mark of ``entry`` lists, and then delete the mark. Raises
        VersionMismatch if the entry changes meanwhile."""
        for place in _places(entry):
            name = entry.name if place == _PLAIN else place
            await self._empty_tree(f"{where}/{name}", where, entry)
            if name != entry.name:
                await self._filers.remove_empty(where, name)
        if entries.FILES_KEY not in entry.extended:
            await self._filers.delete(where, entry)
        else:
            done = entries.changed(entry)
            done.extended[entries.REMOVED_KEY] = NOTHING_LEFT
            await self._filers.create(where, done, over=entry)

    @asynccontextmanager
    async def noted(self, place: Place) -> AsyncIterator[None]:
        """Write a note every NOTE_SECONDS meanwhile, and delete it at the end."""
        noted = asyncio.create_task(self._note(place))
        try:
            yield
        finally:
            noted.cancel()
            await asyncio.wait([noted])
            await self._try(self._filers.write_note(_key(place), b""), place[1])

    async def _note(self, place: Place) -> None:
        """Write a note every NOTE_SECONDS, until the task is cancelled."""
        while True:
            note = secrets.token_bytes(8)
            await self._try(self._filers.write_note(_key(place), note), place[1])
            await asyncio.sleep(NOTE_SECONDS)

    async def _empty_tree(self, path: str, where: str, of: Entry) -> None:
        """Delete everything in a directory of the filer, as long as ``of``, an entry of
        the directory ``where``, does not change.

        An entry that cannot be deleted does not keep the others from being deleted; then
        StoreUnavailable is raised at the end.
        """
        for _ in range(PASSES):
            found, refused = await self._empty_pages(path, where, of)
            if not found:
                return
            if refused:
                break
        raise StoreUnavailable(f"there are entries in {path} that cannot be deleted")

    async def _empty_pages(self, path: str, where: str, of: Entry) -> tuple[int, int]:
        """Delete the entries in the order of their names, and return how many there were, and how
        many of them could not be deleted."""
        found = refused = 0
        async with aclosing(self._pages(path)) as pages:
            async for page in pages:
                found += len(page)
                for entry in page:
                    if entry.is_directory:
                        with suppress(StoreUnavailable):  # it is not empty: deleting it will fail
                            await self._empty_tree(f"{path}/{entry.name}", where, of)
                names = [entry.name for entry in page]
                refused += await self._delete(path, names, where, of)
        return found, refused

    async def _delete(self, path: str, names: list[str], where: str, of: Entry) -> int:
        """Delete entries, and return how many of them cannot be deleted. Raises CallFailed if no
        filer can be reached, VersionMismatch if ``of`` has changed."""
        try:
            await self._filers.delete_all(path, names, where=where, of=of)
        except StoreUnavailable as error:
            if isinstance(error, CallFailed):
                raise
            if len(names) > 1:
                return sum([await self._delete(path, [name], where, of) for name in names])
            _log.warning("%s/%s could not be deleted: %s", path, names[0], error)
            return 1
        return 0


def another_place(name: str) -> str | None:
    """The name of another place for the entries of a folder; None if its own is too long."""
    place = f"{name}{PLACES[1]}{secrets.token_hex(4)}"
    return place if len(place.encode()) <= MAX_NAME_BYTES else None


def _inside(above: Folder, name: str) -> str:
    return f"{above.info.path}/{name}" if above.info.path else name


def _stillemptied() -> StoreUnavailable:
    return StoreUnavailable("what was in it is still being deleted")


def _key(place: Place) -> str:
    """Of the note of a process that empties it."""
    return f"sfs-removed {'/'.join(place)}"


def _places(entry: Entry) -> list[str]:
    """The places that have to be emptied, as the mark lists them."""
    mark = entry.extended.get(entries.REMOVED_KEY, NOTHING_LEFT)
    return [] if mark == NOTHING_LEFT else mark.decode().split(_separator(mark.decode()))


def _separator(names: str) -> str:
    """What is between the names of places: those of a folder may have spaces."""
    return "/" if PLACES[1] in names else " "


def _marked(entry: Entry) -> Entry:
    """The entry of a directory or folder with the mark that it is removed: all its places have to
    be emptied."""
    removed = entries.changed(entry)
    removed.extended.pop(entries.FILES_KEY, None)
    places = dict.fromkeys([*_places(entry), _PLAIN, *entries.places_of(entry)])
    removed.extended[entries.REMOVED_KEY] = _mark(list(places))
    return removed


def _mark(places: list[str]) -> bytes:
    """The mark that lists these places."""
    return _separator("".join(places)).join(places).encode()
