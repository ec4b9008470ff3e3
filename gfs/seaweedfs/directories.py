"""Directories: made, recognized, and removed at once, whatever is in them.

The filer keeps every entry under its whole path. So a directory can neither be renamed nor deleted
in one step: either goes from file to file. Therefore a directory is removed by a mark on its own
entry, which is one atomic change: from then on this engine, in every process, treats it as if it
were not there. Its files are deleted behind that.

A directory that is made again while its old files are being deleted gets another place for the new
ones: ``photos~1f2e3d4c`` besides ``photos``, whose entry says so (FILES_KEY) and keeps its mark.
The mark lists the places that have to be emptied, NOTHING_LEFT when that is done. When nothing is
left and the directory was not made again, its entry goes too, and whoever makes it then has it
where it belongs. A small directory is emptied before it is made again, so that it stays there.

Whoever removed a directory empties it: page by page, PAGE entries at a time, and never by the
recursive deletion of the filer, whose memory and time grow with the directory. While it works it
leaves a note with the filers every NOTE_SECONDS. The others look for marks every ROUND_SECONDS: one
whose note is the same as a round before is nobody's, because whoever worked on it was killed, and
the one that sees it goes on. No clocks are compared. Two that work on the same are no harm.

The entry of a directory has an ETag of its own (``entries.directory_entry``); each change of it is
made on the condition of the ETag that was seen, and makes a new one. Deleting its files is on that
condition too: whoever slept meanwhile deletes nothing of the directory that was made since.

The filer also makes a directory by itself, when a file is created in one that is not there: a
publish that comes too late would bring a removed directory back. A directory that this engine made
carries an id, and one that a filer made has its own time and inode. That is its identity: a publish
compares the one before with the one after, and takes a file back that came into another directory.
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
"""How many entries are deleted with one call."""

PASSES = 10
"""How often a directory is gone through that has something again when all was deleted."""

NOTE_SECONDS = 10.0
ROUND_SECONDS = 120.0
"""Longer than NOTE_SECONDS and the PATIENCE_SECONDS of a call together."""

EMPTY_FIRST_SECONDS = 0.5
"""How long making a directory again may wait for the old files to be deleted."""

NOTHING_LEFT = b"0"
_PLAIN = "1"
"""The place of a directory that was never made again, in a mark; all that marks of older versions
say."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a directory from another one of the same name. ``mark``: the id given by this
    engine, empty for one that somebody else made. ``files``: the name, below the prefix, of the
    directory of the filer that has the files."""

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
        """The identity of a directory, cached. Raises NoSuchDirectory."""
        key = self._prefix, check_directory(directory)
        return await self._cache.get(key, Identity, lambda: self.look(directory))

    async def look(self, directory: str, *, patience: float = PATIENCE_SECONDS) -> Identity:
        """The identity of a directory, as it is now. Raises NoSuchDirectory."""
        name = check_directory(directory)
        entry = await self._filers.lookup(self._prefix, name, patience=patience)
        if entry is None or not _is_there(entry):
            raise NoSuchDirectory(directory)
        attributes = entry.attributes
        mark = entry.extended.get(entries.DIRECTORY_KEY, b"")
        return Identity(mark, attributes.crtime, attributes.inode, _files(entry))

    async def make(self, directory: str) -> None:
        """Make a directory. One that is there is left as it is."""
        name = check_directory(directory)
        fresh = entries.directory_entry(name)
        fresh.extended[entries.DIRECTORY_KEY] = secrets.token_hex(8).encode()
        deadline = Deadline(PATIENCE_SECONDS)
        try:
            while True:
                entry = await self._filers.make_directory(self._prefix, fresh)
                if not entry.is_directory:
                    raise StoreUnavailable("a file is where the directory should be")
                if _is_there(entry):
                    return
                with suppress(TimeoutError, StoreUnavailable):
                    async with asyncio.timeout(EMPTY_FIRST_SECONDS):
                        await self._empty(name)
                        continue
                if self._prefix == BUCKETS:  # a bucket has no place besides
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
        """Remove a directory and all in it; one that is not there is no error."""
        name = check_directory(directory)
        deadline = Deadline(PATIENCE_SECONDS)
        try:
            while True:
                entry = await self._filers.lookup(self._prefix, name)
                if entry is None or not entry.is_directory:
                    return
                if not _is_there(entry):
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
        """Delete a directory that a filer made for a file which has been taken back: ``files`` of
        an Identity."""
        entry = await self._filers.lookup(self._prefix, files)
        if entry is not None and entries.DIRECTORY_KEY not in entry.extended:
            await self._filers.remove_empty(self._prefix, files)

    async def close(self) -> None:
        """Stop deleting. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _replace(self, before: Entry, after: Entry, deadline: Deadline) -> None:
        """Put ``after`` in the place of ``before``, or find out that it has changed: look again
        then. Raises StoreUnavailable after the deadline."""
        try:
            await self._filers.create(self._prefix, after, over=before)
        except (VersionMismatch, CallFailed):
            problem = StoreUnavailable("the directory could not be changed")
            await deadline.pause(RETRY_SECONDS, problem)

    async def _empty_own(self) -> None:
        """Empty what this process removes, until it is cancelled."""
        while True:
            name = await self._removed.get()
            await self._try(self._empty(name), name)

    async def _empty_orphaned(self) -> None:
        """Empty what somebody else has removed and does not empty any more, until it is
        cancelled."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            await self._try(self._look_for_orphans(), "the removed directories")

    async def _try(self, work: Awaitable[None], what: str) -> None:
        try:
            await work
        except GfsError as error:
            _log.info("%s: what was removed will be deleted later: %s", what, error)
        except Exception:  # noqa: BLE001 - logged; a task that ended would delete nothing any more
            _log.exception("%s: deleting what was removed", what)

    async def _look_for_orphans(self) -> None:
        before, self._notes = self._notes, {}
        for name in await self._marked():
            note = await self._filers.note(self._key(name))
            if before.get(name) == note:
                await self._try(self._empty(name), name)
            else:
                self._notes[name] = note

    async def _marked(self) -> list[str]:
        """The directories of whose places some have to be emptied."""
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
        nothing for one that is not removed. Raises StoreUnavailable: it may be called again."""
        noted = asyncio.create_task(self._note(name))
        try:
            while True:
                entry = await self._filers.lookup(self._prefix, name)
                if entry is None or not entry.is_directory or not _places(entry):
                    return
                with suppress(VersionMismatch):  # it is made again: look what is left by now
                    await self._empty_places(entry)
        finally:
            noted.cancel()
            await asyncio.wait([noted])
            await self._try(self._filers.remember(self._key(name), b""), name)

    async def _empty_places(self, entry: Entry) -> None:
        """Delete what the mark of ``entry`` names, and then the mark. Raises VersionMismatch if the
        entry changes meanwhile."""
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
        """Say again and again that somebody works on it, until it is cancelled."""
        while True:
            await self._try(self._filers.remember(self._key(name), secrets.token_bytes(8)), name)
            await asyncio.sleep(NOTE_SECONDS)

    async def _empty_tree(self, path: str, of: Entry) -> None:
        """Delete everything in a directory of the filer, as long as ``of`` does not change.

        What cannot be deleted does not keep what comes behind it; then this raises StoreUnavailable
        at the end.
        """
        for _ in range(PASSES):
            found, refused = await self._empty_pages(path, of)
            if not found:
                return
            if refused:
                break
        raise StoreUnavailable(f"there are entries in {path} that cannot be deleted")

    async def _empty_pages(self, path: str, of: Entry) -> tuple[int, int]:
        """Delete what is there, in the order of names; how much there was, and was refused."""
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
                    with suppress(StoreUnavailable):  # of it something is left, which is refused
                        await self._empty_tree(f"{path}/{entry.name}", of)
            refused += await self._delete(path, [entry.name for entry in page], of)

    async def _delete(self, path: str, names: list[str], of: Entry) -> int:
        """Delete what was listed; how much of it cannot be deleted. Raises StoreUnavailable where
        no filer can be reached, VersionMismatch if ``of`` has changed."""
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


def _is_there(entry: Entry) -> bool:
    """Whether the entry is of a directory that was not removed, or was made again since."""
    removed = entries.is_removed(entry) and entries.FILES_KEY not in entry.extended
    return bool(entry.is_directory) and not removed


def _files(entry: Entry) -> str:
    """The name of the directory that has the files."""
    files: bytes = entry.extended.get(entries.FILES_KEY, entry.name.encode())
    return files.decode()


def _places(entry: Entry) -> list[str]:
    """What has to be emptied."""
    mark: bytes = entry.extended.get(entries.REMOVED_KEY, NOTHING_LEFT)
    return [] if mark == NOTHING_LEFT else mark.decode().split()


def _changed(entry: Entry) -> Entry:
    """A copy, to be changed, with another ETag."""
    copy = Entry()
    copy.CopyFrom(entry)
    copy.attributes.md5 = entries.directory_entry(entry.name).attributes.md5
    return copy
