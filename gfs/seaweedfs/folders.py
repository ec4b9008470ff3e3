"""Where things are: the way from the name of a directory and a path to an entry of the filer.

The entry of ``a/b/c`` in the directory ``d`` is ``<prefix>/d/a/b/c``, unless ``d``, ``a`` or
``a/b`` has its entries in another place (:mod:`gfs.seaweedfs.directories`). It counts only if each
of them exists: what is below one that was removed is there for a while, until it is deleted.

So a lookup needs the state of all folders above. They are cached, each with the one above it, and
a file with its folder (:mod:`gfs.seaweedfs.watch`): then a lookup asks nothing. What is not cached
is asked for all at once, as if everything were in its usual place. Where one turns out to be
elsewhere, what is below it is asked for again, and so is what is missing: it may have come there
with a folder that was moved between the two lookups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gfs.errors import NoSuchDirectory, NoSuchFolder, NotAFolder
from gfs.paths import check_directory
from gfs.seaweedfs import entries
from gfs.seaweedfs.proto.filer_pb2 import Entry
from gfs.seaweedfs.servers import PATIENCE_SECONDS, Filers
from gfs.seaweedfs.watch import EntryCache, Key
from gfs.types import FolderInfo


@dataclass(frozen=True, slots=True)
class Identity:
    """What distinguishes a directory or folder from another one at the same path.

    ``mark``: the id that this engine gave to a directory, b"" if a filer or another program made
    it, and for a folder: two processes that make one at once write an id each, but the first inode
    stays. ``created``, ``inode``: as its entry says; a move keeps them. ``place``: the path of the
    filer's directory that has its entries.
    """

    mark: bytes
    created: int
    inode: int
    place: str


class Folder:
    """A directory or folder, as its entry was when it was looked up."""

    weight = 1

    def __init__(self, info: FolderInfo, identity: Identity, above: Folder | None) -> None:
        """``above``: the folder that it is in, None for a directory."""
        self.info = info
        self.identity = identity
        self.above = above
        self._outdated = False

    def __repr__(self) -> str:
        return f"<Folder {self.info.directory}/{self.info.path} in {self.place!r}>"

    @property
    def place(self) -> str:
        """The path of the filer's directory that has its entries."""
        return self.identity.place

    @property
    def chain(self) -> list[Folder]:
        """The directory, and the folders from there on, the outermost first; it is the last one."""
        chain, folder = [self], self.above
        while folder is not None:
            chain.append(folder)
            folder = folder.above
        return chain[::-1]

    @property
    def current(self) -> bool:
        """Whether it is in the cache, and all those above it."""
        folder: Folder | None = self
        while folder is not None:
            if folder._outdated:
                return False
            folder = folder.above
        return True

    def outdate(self) -> None:
        """It is not in the cache, or not any more."""
        self._outdated = True


class Folders:
    """The directories below ``prefix``, and the folders in them."""

    def __init__(self, filers: Filers, cache: EntryCache, prefix: str) -> None:
        self._filers = filers
        self._cache = cache
        self._prefix = prefix

    def key(self, directory: str, path: str) -> Key:
        """The key in the cache of what is at ``path``; "" is the directory itself."""
        if not path:
            return self._prefix, directory
        above, _, name = path.rpartition("/")
        return self._usual(directory, above), name

    async def find(self, directory: str, path: str = "") -> Folder:
        """The folder at ``path``, "" for the directory itself; from the cache if it is there.

        Raises NoSuchDirectory, NoSuchFolder, and NotAFolder if there is a file at the path or above
        it.
        """
        check_directory(directory)
        segments = path.split("/") if path else []
        paths = ["/".join(segments[:count]) for count in range(len(segments) + 1)]
        found: Folder | None = None
        while paths:
            cached = self._cache.find(self.key(directory, paths[0]), Folder)
            if cached is None:
                break
            found = cached
            del paths[0]
        if found is not None and not paths:
            return found
        if len(paths) == 1:
            return await self._get(directory, paths[0], found)
        tasks: list[asyncio.Task[Folder]] = []
        for one in paths:
            above = tasks[-1] if tasks else found
            tasks.append(asyncio.create_task(self._get(directory, one, above)))
        try:
            return await tasks[-1]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def place(self, directory: str, path: str = "") -> str | None:
        """The path of the filer's directory that has the entries of a folder; None if there is no
        such folder."""
        try:
            return (await self.find(directory, path)).place
        except (NoSuchDirectory, NoSuchFolder, NotAFolder):
            return None

    async def chain(self, directory: str, path: str) -> list[Folder]:
        """The directory, and the folders on the way to the folder ``path`` as far as they exist,
        the outermost first. Raises NoSuchDirectory, and NotAFolder if one of them is a file."""
        while True:
            try:
                folder = await self.find(directory, path)
            except NoSuchFolder:
                path = path.rpartition("/")[0]
                continue
            return folder.chain

    async def entry(self, directory: str, path: str) -> tuple[Entry | Folder | None, Folder]:
        """What is at ``path`` now: the entry of a file, a folder, or nothing; and the folder that
        it is in. Raises what ``find`` raises."""
        above, _, name = path.rpartition("/")
        folder = self._cache.find(self.key(directory, above), Folder)
        if folder is not None:
            entry = await self._filers.lookup(folder.place, name)
        else:
            usual = self._usual(check_directory(directory), above)
            looking = asyncio.create_task(self._filers.lookup(usual, name))
            try:
                folder = await self.find(directory, above)
                entry = await looking if folder.place == usual else None
                if entry is None:
                    entry = await self._filers.lookup(folder.place, name)
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        return await self.state(folder, entry), folder

    async def state(
        self,
        above: Folder,
        entry: Entry | None,
        *,
        patience: float = PATIENCE_SECONDS,
        others: Mapping[str, Entry | None] | None = None,
    ) -> Entry | Folder | None:
        """What ``entry``, which is in the folder ``above``, stands for: a file, a folder, or
        nothing, if it was removed. ``others`` are entries next to it, None for those that are not
        there, as they were at the same moment: they are not looked up."""
        if entry is None or not entry.is_directory:
            return entry
        for name in entries.places_of(entry):
            if others is not None and name in others:
                elsewhere = others[name]
            else:
                elsewhere = await self._filers.lookup(above.place, name, patience=patience)
            if elsewhere is not None:
                return self._folder(above, entry.name, elsewhere, f"{above.place}/{name}")
        place = f"{above.place}/{entry.name}"
        if not entries.is_removed(entry):
            return self._folder(above, entry.name, entry, place)
        if others is None and entries.places_of(entry):
            # Its other place may have come to the usual one between these lookups.
            now = await self._filers.lookup(above.place, entry.name, patience=patience)
            if now != entry:
                return await self.state(above, now, patience=patience)
        return None

    async def unchanged(self, chain: Sequence[Folder], *, patience: float) -> int | None:
        """Compare the folders of a ``chain`` with what the filer has now: None if they are all
        there, else the index of the first that is not."""

        async def same(folder: Folder) -> bool:
            name = folder.info.name or folder.info.directory
            where = self._prefix if folder.above is None else folder.above.place
            entry = await self._filers.lookup(where, name, patience=patience)
            if folder.above is None:
                now = self._directory(folder.info.directory, entry)
            else:
                state = await self.state(folder.above, entry, patience=patience)
                now = state if isinstance(state, Folder) else None
            return now is not None and now.identity == folder.identity

        results = await asyncio.gather(*map(same, chain))
        return None if all(results) else results.index(False)

    async def still(self, folder: Folder) -> bool:
        """Whether a folder is where it was, as the filer has it now; if not, it is forgotten. The
        directory itself is not asked for: it is not moved."""
        chain = folder.chain[1:]
        if not chain or await self.unchanged(chain, patience=PATIENCE_SECONDS) is None:
            return True
        for one in chain:
            self._cache.drop(self.key(one.info.directory, one.info.path))
        return False

    def _usual(self, directory: str, path: str) -> str:
        """The usual place of a folder's entries."""
        return f"{self._prefix}/{directory}/{path}" if path else f"{self._prefix}/{directory}"

    async def _get(
        self, directory: str, path: str, above: asyncio.Task[Folder] | Folder | None
    ) -> Folder:
        """The folder at ``path``, which is in ``above``, or what that task returns."""
        look_up = partial(self._look_up, directory, path, above)
        return await self._cache.get(self.key(directory, path), Folder, look_up)

    async def _look_up(
        self, directory: str, path: str, above: asyncio.Task[Folder] | Folder | None
    ) -> Folder:
        if above is None:
            found = self._directory(directory, await self._filers.lookup(self._prefix, directory))
            if found is None:
                raise NoSuchDirectory(directory)
            return found
        outer, _, name = path.rpartition("/")
        guess = above.place if isinstance(above, Folder) else self._usual(directory, outer)
        entry = await self._filers.lookup(guess, name)
        if isinstance(above, Folder):
            folder = above
        else:
            folder = await above
            if folder.place != guess or entry is None:
                entry = await self._filers.lookup(folder.place, name)
        state = await self.state(folder, entry)
        if state is None:
            raise NoSuchFolder(path)
        if not isinstance(state, Folder):
            raise NotAFolder(f"{path} is a file")
        return state

    def _directory(self, directory: str, entry: Entry | None) -> Folder | None:
        """The state of a directory, None if its entry says that there is none."""
        if entry is None or not entries.directory_exists(entry):
            return None
        place = f"{self._prefix}/{entries.files_of(entry)}"
        return _folder(FolderInfo(directory, "", entries.modified_ns(entry)), entry, place, None)

    def _folder(self, above: Folder, name: str, entry: Entry, place: str) -> Folder:
        inside = above.info
        path = f"{inside.path}/{name}" if inside.path else name
        info = FolderInfo(inside.directory, path, entries.modified_ns(entry))
        return _folder(info, entry, place, above)


def _folder(info: FolderInfo, entry: Entry, place: str, above: Folder | None) -> Folder:
    mark = entry.extended.get(entries.DIRECTORY_KEY, b"") if above is None else b""
    attributes = entry.attributes
    return Folder(info, Identity(mark, attributes.crtime, attributes.inode, place), above)
