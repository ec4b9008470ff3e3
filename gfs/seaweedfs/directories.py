"""Directories: made, identified, and removed at once, whatever is in them.

The filer keeps every entry under its whole path. So it can neither rename nor delete a directory in
one step: it does either file by file. Therefore a directory is removed by a mark on its own entry,
which is one atomic change: from then on this engine, in every process, treats it as if it did not
exist. Its files are deleted afterwards.

A directory that is made again while its old files are being deleted gets another place for the new
ones: ``photos~1f2e3d4c`` next to ``photos``, whose entry names that place (FILES_KEY) and keeps its
mark. The mark lists the places that have to be emptied, and is NOTHING_LEFT when that is done. If
the directory was not made again by then, its entry is deleted too, and the next one of that name
has its files in the usual place. A small directory is emptied before it is made again, so that its
files stay in that place.

The process that removed a directory empties it: page by page, PAGE entries at a time, and never by
the recursive deletion of the filer, whose memory and time grow with the directory. Meanwhile it
writes a note to the filers every NOTE_SECONDS. Every process looks for marks every ROUND_SECONDS:
if a note is the same as a round before, the process that wrote it was killed, and this one goes on.
No clocks are compared. It does no harm if two processes empty the same directory.

The entry of a directory has a random ETag (``entries.directory_entry``); each change of it is made
on the condition of the ETag that was seen, and makes a new one. Deleting its files is on that
condition too: a process that slept meanwhile deletes nothing of a directory that was made since.

The filer also makes a directory by itself when a file is created in one that does not exist: a
publish that comes too late would restore a removed directory. A directory that this engine made has
an id, and one that a filer made has a time and an inode. They are its identity: a publish compares
the identity before with the one after, and deletes a file that came into another directory.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from gfs.clock import Deadline
from gfs.errors import GfsError, NoSuchDirectory, StoreUnavailable, VersionMismatch
from gfs.paths import check_directory
from gfs.seaweedfs import entries
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.servers import BUCKETS, PATIENCE_SECONDS, RETRY_SECONDS, CallFailed, Filers
from gfs.seaweedfs.watch import EntryCache

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

NOTHING_LEFT = b"0"
"""The mark of a directory that was made again and whose old files are all deleted."""

_PLAIN = "1"
"""The usual place of a directory's files, in a mark; marks of older versions have nothing else."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What distinguishes a directory from another one of the same name.

    ``mark``: the id that this engine gave it, b"" if a filer or another program made it.
    ``created``, ``inode``: as its entry says. ``files``: the name, below the prefix, of the filer's
    directory that has its files.
    """

    mark: bytes
    created: int
    inode: int
    files: str

    @property
    def weight(self) -> int:
        """What it counts in the cache."""
        return 1


class Directories:
    """The directories below ``prefix``. ``close`` it."""

    def __init__(self, filers: Filers, cache: EntryCache, prefix: str) -> None:
        self._filers = filers
        self._cache = cache
        self._prefix = prefix
        self._removed: asyncio.Queue[str] = asyncio.Queue()
        self._notes: dict[str, bytes] = {}
        self._tasks = [
            asyncio.create_task(self._empty_own(), name="gfs-removed"),
            asyncio.create_task(self._empty_orphaned(), name="gfs-orphaned"),
        ]

    async def require(self, directory: str) -> Identity:
        """The identity of a directory, from the cache if it is there. Raises NoSuchDirectory."""
        key = self._prefix, check_directory(directory)
        return await self._cache.get(key, Identity, lambda: self.identify(directory))

    async def identify(self, directory: str, *, patience: float = PATIENCE_SECONDS) -> Identity:
        """The identity of a directory, as the filer has it now. Raises NoSuchDirectory."""
        name = check_directory(directory)
        entry = await self._filers.lookup(self._prefix, name, patience=patience)
        if entry is None or not _exists(entry):
            raise NoSuchDirectory(directory)
        attributes = entry.attributes
        mark = entry.extended.get(entries.DIRECTORY_KEY, b"")
        return Identity(mark, attributes.crtime, attributes.inode, _files(entry))

    async def make(self, directory: str) -> None:
        """Make a directory, unless it exists."""
        name = check_directory(directory)
        fresh = entries.directory_entry(name)
        fresh.extended[entries.DIRECTORY_KEY] = secrets.token_hex(8).encode()
        deadline = Deadline(PATIENCE_SECONDS)
        try:
            while True:
                entry = await self._filers.make_directory(self._prefix, fresh)
                if not entry.is_directory:
                    raise StoreUnavailable("a file is where the directory should be")
                if _exists(entry):
                    return
                with suppress(TimeoutError, StoreUnavailable):
                    async with asyncio.timeout(EMPTY_FIRST_SECONDS):
                        await self._empty(name)
                        continue
                if self._prefix == BUCKETS:  # the name of a bucket cannot have a "~"
                    problem = StoreUnavailable("the files that were in it are still being deleted")
                    await deadline.pause(RETRY_SECONDS, problem)
                    continue
                again = _changed(entry)
                again.extended[entries.DIRECTORY_KEY] = fresh.extended[entries.DIRECTORY_KEY]
                again.extended[entries.FILES_KEY] = f"{name}~{secrets.token_hex(4)}".encode()
                await self._replace(entry, again, deadline)
        finally:
            self._cache.clear()

    async def remove(self, directory: str) -> None:
        """Remove a directory and everything in it, if it exists."""
        name = check_directory(directory)
        deadline = Deadline(PATIENCE_SECONDS)
        try:
            while True:
                entry = await self._filers.lookup(self._prefix, name)
                if entry is None or not entry.is_directory:
                    return
                if not _exists(entry):
                    break
                removed = _changed(entry)
                removed.extended.pop(entries.FILES_KEY, None)
                files = _PLAIN if _files(entry) == name else _files(entry)
                left = [place for place in _places(entry) if place != files]
                removed.extended[entries.REMOVED_KEY] = " ".join([*left, files]).encode()
                await self._replace(entry, removed, deadline)
        finally:
            self._cache.clear()
        self._removed.put_nowait(name)

    async def discard(self, files: str) -> None:
        """Delete a directory that a filer made for a file that was deleted again; ``files`` is that
        of its Identity."""
        entry = await self._filers.lookup(self._prefix, files)
        if entry is not None and entries.DIRECTORY_KEY not in entry.extended:
            await self._filers.remove_empty(self._prefix, files)

    async def close(self) -> None:
        """Stop deleting. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _replace(self, before: Entry, after: Entry, deadline: Deadline) -> None:
        """Try to put ``after`` in the place of ``before``; the caller looks up what is there then.
        Raises StoreUnavailable after the deadline."""
        try:
            await self._filers.create(self._prefix, after, over=before)
        except (VersionMismatch, CallFailed):
            problem = StoreUnavailable("the directory could not be changed")
            await deadline.pause(RETRY_SECONDS, problem)

    async def _empty_own(self) -> None:
        """Empty the directories that this process removes, until the task is cancelled."""
        while True:
            name = await self._removed.get()
            await self._try(self._empty(name), name)

    async def _empty_orphaned(self) -> None:
        """Empty the directories of processes that were killed, until the task is cancelled."""
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
        for name in await self._marked():
            note = await self._filers.read_note(self._key(name))
            if before.get(name) == note:
                await self._try(self._empty(name), name)
            else:
                self._notes[name] = note

    async def _marked(self) -> list[str]:
        """The directories that have places to be emptied."""
        found, after = [], ""
        while True:
            seen = 0
            listing = self._filers.listing(
                self._prefix, prefix="", after=after, limit=PAGE, omit_chunks=True
            )
            async with aclosing(listing) as listed:
                async for entry in listed:
                    seen, after = seen + 1, entry.name
                    if entry.is_directory and _places(entry):
                        found.append(entry.name)
            if seen < PAGE:
                return found

    async def _empty(self, name: str) -> None:
        """Delete all files of a removed directory, and its entry if it was not made again. Does
        nothing for another directory. After StoreUnavailable it may be called again."""
        noted = asyncio.create_task(self._note(name))
        try:
            while True:
                entry = await self._filers.lookup(self._prefix, name)
                if entry is None or not entry.is_directory or not _places(entry):
                    return
                with suppress(VersionMismatch):  # it was made again: look up what is left
                    await self._empty_places(entry)
        finally:
            noted.cancel()
            await asyncio.wait([noted])
            await self._try(self._filers.write_note(self._key(name), b""), name)

    async def _empty_places(self, entry: Entry) -> None:
        """Empty the places that the mark of ``entry`` lists, and then delete the mark. Raises
        VersionMismatch if the entry changes meanwhile."""
        for place in _places(entry):
            path = entry.name if place == _PLAIN else place
            await self._empty_tree(f"{self._prefix}/{path}", entry)
            if path != entry.name:
                await self._filers.remove_empty(self._prefix, path)
        if entries.FILES_KEY not in entry.extended:
            await self._filers.delete(self._prefix, entry)
        else:
            done = _changed(entry)
            done.extended[entries.REMOVED_KEY] = NOTHING_LEFT
            await self._filers.create(self._prefix, done, over=entry)

    async def _note(self, name: str) -> None:
        """Write a note every NOTE_SECONDS, until the task is cancelled."""
        while True:
            await self._try(self._filers.write_note(self._key(name), secrets.token_bytes(8)), name)
            await asyncio.sleep(NOTE_SECONDS)

    async def _empty_tree(self, path: str, of: Entry) -> None:
        """Delete everything in a directory of the filer, as long as ``of`` does not change.

        An entry that cannot be deleted does not keep the others from being deleted; then
        StoreUnavailable is raised at the end.
        """
        for _ in range(PASSES):
            found, refused = await self._empty_pages(path, of)
            if not found:
                return
            if refused:
                break
        raise StoreUnavailable(f"there are entries in {path} that cannot be deleted")

    async def _empty_pages(self, path: str, of: Entry) -> tuple[int, int]:
        """Delete the entries in the order of their names, and return how many there were, and how
        many of them could not be deleted."""
        after, found, refused = "", 0, 0
        while True:
            listing = self._filers.listing(
                path, prefix="", after=after, limit=PAGE, omit_chunks=True
            )
            async with aclosing(listing) as listed:
                page = [entry async for entry in listed]
            if not page:
                return found, refused
            after, found = page[-1].name, found + len(page)
            for entry in page:
                if entry.is_directory:
                    with suppress(StoreUnavailable):  # it is not empty: deleting it will fail
                        await self._empty_tree(f"{path}/{entry.name}", of)
            refused += await self._delete(path, [entry.name for entry in page], of)

    async def _delete(self, path: str, names: list[str], of: Entry) -> int:
        """Delete entries, and return how many of them cannot be deleted. Raises CallFailed if no
        filer can be reached, VersionMismatch if ``of`` has changed."""
        try:
            await self._filers.delete_all(path, names, of=of)
        except StoreUnavailable as error:
            if isinstance(error, CallFailed):
                raise
            if len(names) > 1:
                return sum([await self._delete(path, [name], of) for name in names])
            _log.warning("%s/%s could not be deleted: %s", path, names[0], error)
            return 1
        return 0

    def _key(self, name: str) -> str:
        return f"sfs-removed {self._prefix}/{name}"


def _exists(entry: Entry) -> bool:
    """Whether the entry is of a directory that was not removed, or was made again."""
    removed = entries.is_removed(entry) and entries.FILES_KEY not in entry.extended
    return bool(entry.is_directory) and not removed


def _files(entry: Entry) -> str:
    """The name of the filer's directory that has the files."""
    files: bytes = entry.extended.get(entries.FILES_KEY, entry.name.encode())
    return files.decode()


def _places(entry: Entry) -> list[str]:
    """The places that have to be emptied."""
    mark: bytes = entry.extended.get(entries.REMOVED_KEY, NOTHING_LEFT)
    return [] if mark == NOTHING_LEFT else mark.decode().split()


def _changed(entry: Entry) -> Entry:
    """A copy with another ETag, for the caller to change."""
    copy = Entry()
    copy.CopyFrom(entry)
    copy.attributes.md5 = entries.directory_entry(entry.name).attributes.md5
    return copy
