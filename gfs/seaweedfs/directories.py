"""Directories: made, recognized, and removed at once.

The filer keeps every entry under its whole path. So a directory can neither be renamed nor deleted
in one step: either goes from file to file, and readers see them vanish one by one. Therefore a
directory is removed in two steps. Its own entry is marked, which is one atomic change, and from
then on this engine, in every process, treats it as if it were not there; then it and all in it is
deleted. A mark that a crash left behind is found by whoever makes the directory again, and the
deletion is finished first.

The filer also makes a directory by itself, when a file is created in one that is not there: a
publish that comes too late would bring a removed directory back. A directory that this engine made
carries an id, and one that a filer made has its own time and inode. That is its identity: a publish
compares the one before with the one after, and takes a file back that came into another directory.

Removing a directory while it is being made again is for the caller to prevent.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from gfs.errors import AlreadyExists, NoSuchDirectory, StoreUnavailable
from gfs.paths import check_directory
from gfs.seaweedfs import entries
from gfs.seaweedfs.filer import Filers
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.watch import EntryCache


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a directory from another one of the same name. ``mark``: the id given by this
    engine, empty for one that somebody else made."""

    mark: bytes
    created: int
    inode: int

    @property
    def weight(self) -> int:
        """What it counts in the cache."""
        return 1


class Directories:
    """The directories below ``prefix``."""

    def __init__(self, filers: Filers, cache: EntryCache, prefix: str) -> None:
        self._filers = filers
        self._cache = cache
        self._prefix = prefix

    async def require(self, directory: str) -> Identity:
        """The identity of a directory, cached. Raises NoSuchDirectory."""
        key = self._prefix, check_directory(directory)
        return await self._cache.get(key, Identity, lambda: self.look(directory))

    async def look(self, directory: str) -> Identity:
        """The identity of a directory, as it is now. Raises NoSuchDirectory."""
        entry = await self._filers.lookup(self._prefix, check_directory(directory))
        if entry is None or not entry.is_directory or entries.is_removed(entry):
            raise NoSuchDirectory(directory)
        attributes = entry.attributes
        mark = entry.extended.get(entries.DIRECTORY_KEY, b"")
        return Identity(mark, attributes.crtime, attributes.inode)

    async def make(self, directory: str) -> None:
        """Make a directory. One that is there is left as it is."""
        name = check_directory(directory)
        entry = await self._filers.lookup(self._prefix, name)
        if entry is not None and entry.is_directory:
            if not entries.is_removed(entry):
                return
            await self._filers.remove_tree(self._prefix, name)
        fresh = entries.directory_entry(name)
        fresh.extended[entries.DIRECTORY_KEY] = secrets.token_hex(8).encode()
        try:
            await self._filers.make_directory(self._prefix, fresh)
        except AlreadyExists as error:
            raise StoreUnavailable("a file is where the directory should be") from error
        finally:
            self._cache.clear()

    async def remove(self, directory: str) -> None:
        """Remove a directory and all in it; one that is not there is no error."""
        name = check_directory(directory)
        try:
            entry = await self._filers.lookup(self._prefix, name)
            if entry is None or not entry.is_directory:
                return
            await self._mark(entry)
            self._cache.clear()
            await self._filers.remove_tree(self._prefix, name)
        finally:
            self._cache.clear()

    async def discard(self, directory: str) -> None:
        """Delete a directory that a filer made for a file which has been taken back."""
        entry = await self._filers.lookup(self._prefix, check_directory(directory))
        if entry is not None and entries.DIRECTORY_KEY not in entry.extended:
            await self._filers.remove_empty(self._prefix, directory)

    async def _mark(self, entry: Entry) -> None:
        if not entries.is_removed(entry):
            entry.extended[entries.REMOVED_KEY] = b"1"
            await self._filers.update(self._prefix, entry)
