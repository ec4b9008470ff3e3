"""Lists of files and folders, in the order of the bytes of their paths.

A filer lists one directory, in the order of the names. In the order of the paths, what is in the
folder ``a`` comes where ``a/`` would be: behind ``a-b`` and ``a.b``, which the filer lists behind
``a``. So a folder waits until a name comes that is behind ``a/``. The names of all that wait start
with each other (``a``, ``a-b``, ``a-b.c``): they are at most as many as a name has bytes, and the
last one that came is the first to be listed.

A list that starts after ``x/y`` starts in each folder of that path behind the name that is in it,
and reads nothing before that. But the folders that would be waiting there have been passed, so they
are looked up: those whose names are the start of ``x``, if what follows it there is before a ``/``.

What is slow is to wait for the filer. So each level has its next page fetched while one is read,
and the first pages of the next folders are fetched before their turn. Memory is bounded by the
pages: one that is read and one that is fetched for each level, and AHEAD for folders.

A batch is decoded in one piece, in a few milliseconds at most; then others get their turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import islice
from typing import NamedTuple

from gfs.clock import Deadline
from gfs.errors import (
    InvalidName,
    NoSuchDirectory,
    NoSuchFolder,
    NotAFolder,
    StoreUnavailable,
)
from gfs.paths import MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_SEGMENTS, check_name, check_path
from gfs.seaweedfs import entries
from gfs.seaweedfs.folders import Folder, Folders
from gfs.seaweedfs.proto.filer_pb2 import Entry as FilerEntry
from gfs.seaweedfs.servers import (
    PAGE_ENTRIES,
    PATIENCE_SECONDS,
    Filers,
    Page,
    decode,
)
from gfs.types import Entry, FileInfo, Kind, Usage

FIRST = 100
"""How many entries are in the first page that is asked for, so that a list starts soon."""

BATCH = 250
"""How many entries are decoded, and how many are in a batch, at most."""

BATCH_BYTES = 64 * 1024
"""How many bytes of entries are decoded at once: an entry may list thousands of chunks."""

AHEAD = 8
"""How many folders of a list are fetched before their turn, together; and LEAST_AHEAD of each level
in any case."""

LEAST_AHEAD = 2


class Run(NamedTuple):
    """``files``: entries that follow one another in the order of the paths, all in ``folder``. None
    if it is the folder itself: what is in it follows."""

    folder: Folder
    files: list[FilerEntry] | None


class Listing:
    """Lists what is below the prefix of a store."""

    def __init__(self, filers: Filers, folders: Folders) -> None:
        self._filers = filers
        self._folders = folders

    async def files(
        self, directory: str, prefix: str, after: str, limit: int | None
    ) -> AsyncGenerator[list[FileInfo], None]:
        """See ``FileSystem.list_files``."""
        above, slash, start = prefix.rpartition("/")
        behind = _below(_below(after.partition("\0")[0], above + slash), start, keep=True)
        within = _valid(above) if slash else True  # no path starts with a slash
        top = await self._find(directory, above) if within else None
        if top is None or behind is None or limit == 0:
            return
        batch: list[FileInfo] = []
        left, size = limit, 1
        walk = _Walk(self._filers, self._folders, limit)
        async with aclosing(walk.runs(top, start, behind)) as runs:
            async for folder, files in runs:
                way = f"{folder.info.path}/" if folder.info.path else ""
                for entry in islice(files or (), left):
                    batch.append(entries.file_info(directory, way + entry.name, entry))
                if left is not None and files:
                    left = walk.left = max(left - len(files), 0)
                if len(batch) >= size or left == 0:
                    yield batch
                    batch, size = [], BATCH
                if left == 0:
                    return
        if batch:
            yield batch

    async def folder(
        self,
        directory: str,
        folder: str,
        prefix: str,
        after: str,
        limit: int | None,
        kind: Kind | None,
    ) -> AsyncGenerator[list[Entry], None]:
        """See ``FileSystem.list_folder``.

        A folder that is moved or removed meanwhile may seem to have fewer entries than it ever had.
        So its state is compared at the end: a short list, of which nothing was yielded yet, starts
        again, and a longer one ends with StoreUnavailable. A short list starts again too if it has
        one folder twice, which was moved: a filer reads even a few entries in two steps.
        """
        deadline = Deadline(PATIENCE_SECONDS)
        after = after.partition("\0")[0]
        while (of := await self._find(directory, folder)) is not None and limit != 0:
            held: list[FileInfo | Folder] = []
            yielded = False
            async with aclosing(self._level(of, prefix, after, limit, kind)) as batches:
                async for batch in batches:
                    if held:
                        yield _infos(held)
                        yielded, held = True, []
                    if len(batch) < FIRST and not yielded:
                        held = batch
                    else:
                        yield _infos(batch)
                        yielded = True
            if await self._folders.still(of) and not _twice(held):
                if held:
                    yield _infos(held)
                return
            problem = StoreUnavailable("the folder was moved or removed while it was listed")
            if yielded:
                raise problem
            await deadline.pause(0, problem)

    async def _level(
        self, of: Folder, prefix: str, after: str, limit: int | None, kind: Kind | None
    ) -> AsyncGenerator[list[FileInfo | Folder], None]:
        """Yield what is right in a folder, in batches that are not empty."""
        directory, folder = of.info.directory, of.info.path
        left = limit
        # Of one kind there may be few on a page of as many as are wanted.
        level = _Level(
            self._filers,
            of,
            prefix,
            after,
            left if kind is None else None,
            omit_chunks=kind == "folder",
        )
        try:
            while (found := await level.next()) is not None:
                batch: list[FileInfo | Folder] = []
                for entry in found:
                    if kind is not None and entry.is_directory is (kind == "file"):
                        continue
                    if not entry.is_directory:
                        path = f"{folder}/{entry.name}" if folder else entry.name
                        batch.append(entries.file_info(directory, path, entry))
                    else:
                        state = await self._folders.state(of, entry, others=level.others(entry))
                        if isinstance(state, Folder):
                            batch.append(state)
                batch = batch[:left]
                if left is not None:
                    left -= len(batch)
                    if kind is None:
                        level.left = left
                if batch:
                    yield batch
                if left == 0:
                    return
        finally:
            level.close()

    async def usage(self, directory: str, folder: str, most: int | None) -> Usage:
        """See ``FileSystem.usage``."""
        files = folders = size = 0
        of = await self._find(directory, folder)
        if of is None:
            return Usage(0, 0, 0)
        walk = _Walk(self._filers, self._folders, most, omit_chunks=True)
        async with aclosing(walk.runs(of, "", "")) as runs:
            async for _, found in runs:
                if most is not None and files + folders >= most:
                    return Usage(files, folders, size, complete=False)
                if found is None:
                    folders += 1
                else:
                    files += len(found)
                    size += sum(map(entries.size_of, found))
        return Usage(files, folders, size)

    async def _find(self, directory: str, folder: str) -> Folder | None:
        try:
            return await self._folders.find(directory, folder and check_path(folder))
        except (NoSuchDirectory, NoSuchFolder, NotAFolder):
            return None


def _infos(batch: list[FileInfo | Folder]) -> list[Entry]:
    return [one.info if isinstance(one, Folder) else one for one in batch]


def _twice(batch: list[FileInfo | Folder]) -> bool:
    """Whether it has one folder by two names."""
    marks = [(one.identity.created, one.identity.inode) for one in batch if isinstance(one, Folder)]
    return len(set(marks)) < len(marks)


class _Level:
    """The entries right in ``folder`` whose names start with ``prefix``, page by page. Fetching
    starts at once. ``left``: about how many entries are wanted."""

    def __init__(
        self,
        filers: Filers,
        folder: Folder,
        prefix: str = "",
        after: str = "",
        left: int | None = None,
        *,
        first: int = FIRST,
        omit_chunks: bool = False,
    ) -> None:
        self.left = left
        self._filers = filers
        self._folder = folder
        self._prefix = prefix
        self._omit_chunks = omit_chunks
        self._fits = _fits(folder)
        self._messages: deque[bytes] = deque()
        self._places: dict[str, FilerEntry] = {}
        self._end: str | None = ""
        self._fetching: asyncio.Task[Page] | None = None
        # No name starts with what no name can have; stores may fail at that.
        nameable = "\\" not in prefix and "\0" not in prefix and len(prefix) <= self._fits
        if nameable and self._fits and (after < prefix or after.startswith(prefix)):
            # A name may have MAX_NAME_BYTES, so what is behind them decides nothing.
            start = max(after, prefix)[: MAX_NAME_BYTES + 1]
            self._fetch(start, first, inclusive=after < prefix)

    async def next(self) -> list[FilerEntry] | None:
        """The next of them, those that paths can name, or None at the end."""
        if not self._messages:
            if self._fetching is None:
                return None
            page = await self._fetching
            self._fetching = None
            self._messages.extend(page.messages)
            places = [message for message in page.messages if b"\\" in message]
            self._places = {entry.name: entry for entry in decode(places)}
            self._end = None if page.last else decode(page.messages[-1:])[0].name
            if self._end is not None and self._end.startswith(self._prefix):
                self._fetch(self._end, PAGE_ENTRIES)
        await asyncio.sleep(0)  # whatever came at once, others get their turn
        batch: list[bytes] = []
        size = 0
        while self._messages and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._messages.popleft())
            size += len(batch[-1])
        return [
            entry
            for entry in decode(batch)
            if entry.name.startswith(self._prefix) and self._possible(entry.name)
        ]

    def others(self, entry: FilerEntry) -> dict[str, FilerEntry | None]:
        """The entries of the other places of a folder, as far as they were read with it.

        A page is what was there at one moment. If they were looked up later, a folder that is moved
        there meanwhile would be listed twice.
        """
        return {
            name: self._places.get(name)
            for name in entries.places_of(entry)
            if name in self._places
            or (name.startswith(entry.name) and (self._end is None or name <= self._end))
        }

    def close(self) -> None:
        """Give up what is being fetched."""
        if self._fetching is not None:
            self._fetching.cancel()

    def _fetch(self, after: str, count: int, *, inclusive: bool = False) -> None:
        if self.left is not None:
            count = min(count, max(self.left, 1))
        page = self._filers.page(
            self._folder.place,
            prefix=self._prefix,
            after=after,
            inclusive=inclusive,
            limit=count,
            omit_chunks=self._omit_chunks,
        )
        self._fetching = asyncio.create_task(page)

    def _possible(self, name: str) -> bool:
        """Whether a path can have the name here; another program may have made it."""
        if name.isascii() and name.isprintable() and "\\" not in name:
            if not 1 <= len(name) <= self._fits or name in (".", ".."):
                return False
            return name[0] != " " and name[-1] != " "
        try:
            return len(check_name(name).encode()) <= self._fits
        except InvalidName:
            return False


class _Child:
    """A folder that will be listed when its turn comes. ``after``: only what is behind that."""

    def __init__(self, folder: Folder, after: str = "") -> None:
        self.folder = folder
        self.after = after
        self.level: _Level | None = None


class _Frame:
    """One folder on the way to where a walk is.

    ``batch`` from ``position`` on are the entries that were decoded and not walked yet;
    ``children`` the folders among them, by name; ``waiting`` those before them. ``upcoming`` are
    the folders of both that are not being fetched yet, ``fetched`` those that are.
    """

    def __init__(self, folder: Folder, level: _Level, waiting: list[_Child]) -> None:
        self.folder = folder
        self.level = level
        self.batch: list[FilerEntry] = []
        self.position = 0
        self.children: dict[str, _Child] = {}
        self.waiting = waiting
        self.upcoming = deque(reversed(waiting))
        self.fetched: set[_Child] = set()

    def advance(self) -> tuple[list[FilerEntry], _Child | None]:
        """The files up to the end of the batch, or up to a folder whose turn has come."""
        files: list[FilerEntry] = []
        if not self.waiting and not self.children and self.position == 0:
            files, self.batch = self.batch, []
            return files, None
        for position in range(self.position, len(self.batch)):
            entry = self.batch[position]
            name = entry.name
            if self.waiting and f"{self.waiting[-1].folder.info.name}/" < name:
                self.position = position
                return files, self.waiting.pop()
            if not entry.is_directory:
                files.append(entry)
            elif name in self.children:
                self.waiting.append(self.children[name])
        self.batch, self.position = [], 0
        return files, None

    def close(self) -> None:
        """Give up what is being fetched."""
        self.level.close()
        for child in self.fetched:
            if child.level is not None:
                child.level.close()


class _Walk:
    """One walk through a folder and all below it. ``left``: about how many files are wanted."""

    def __init__(
        self, filers: Filers, folders: Folders, left: int | None, *, omit_chunks: bool = False
    ) -> None:
        self.left = left
        self._filers = filers
        self._folders = folders
        self._omit_chunks = omit_chunks
        self._ahead = 0

    async def runs(self, top: Folder, prefix: str, after: str) -> AsyncGenerator[Run, None]:
        """Yield what is in ``top`` at all depths, in the order of the paths; only what starts with
        ``prefix``, which has no slash, and comes behind ``after``, both without the way to
        ``top``."""
        stack = [await self._enter(_Child(top, after), prefix)]
        try:
            while stack:
                frame = stack[-1]
                if not frame.batch:
                    batch = await frame.level.next()
                    if batch is not None:
                        await self._load(frame, batch)
                        continue
                    if not frame.waiting:
                        stack.pop()
                        continue
                    child: _Child | None = frame.waiting.pop()
                else:
                    files, child = frame.advance()
                    if files:
                        yield Run(frame.folder, files)
                if child is not None:
                    yield Run(child.folder, None)
                    if child in frame.fetched:
                        frame.fetched.discard(child)
                        self._ahead -= 1
                    stack.append(await self._enter(child))
                    self._fetch_ahead(frame)
        finally:
            for frame in stack:
                frame.close()

    async def _enter(self, child: _Child, prefix: str = "") -> _Frame:
        """Start with a folder."""
        if child.level is None:
            child.level = self._level(child, prefix)
        waiting = await self._passed(child, prefix) if child.after else []
        frame = _Frame(child.folder, child.level, waiting)
        self._fetch_ahead(frame)
        return frame

    def _level(self, child: _Child, prefix: str = "") -> _Level:
        head, slash, _ = child.after.partition("/")
        return _Level(
            self._filers,
            child.folder,
            prefix,
            head + slash,
            self.left,
            first=PAGE_ENTRIES if child.folder.info.path else FIRST,
            omit_chunks=self._omit_chunks,
        )

    async def _passed(self, child: _Child, prefix: str) -> list[_Child]:
        """The folders that are waiting where the walk starts."""
        head, _, rest = child.after.partition("/")
        starts = [head[:end] for end in range(len(head)) if head[end] < "/"]
        names = [name for name in (*starts, head) if name.startswith(prefix) and _valid(name)]
        waiting = []
        for start in range(0, len(names), AHEAD):
            some = names[start : start + AHEAD]
            place = child.folder.place
            found = await asyncio.gather(*(self._filers.lookup(place, name) for name in some))
            for name, entry in zip(some, found, strict=True):
                state = await self._folders.state(child.folder, entry)
                if isinstance(state, Folder):
                    waiting.append(_Child(state, rest if name == head else ""))
        return waiting

    async def _load(self, frame: _Frame, batch: list[FilerEntry]) -> None:
        """Take the next entries of a folder, without the folders that were removed."""
        frame.children = {}
        removed = set()
        for entry in batch:
            if entry.is_directory:
                others = frame.level.others(entry)
                state = await self._folders.state(frame.folder, entry, others=others)
                if isinstance(state, Folder):
                    frame.children[entry.name] = child = _Child(state)
                    frame.upcoming.append(child)
                else:
                    removed.add(entry.name)
        frame.batch = [entry for entry in batch if entry.name not in removed] if removed else batch
        self._fetch_ahead(frame)

    def _fetch_ahead(self, frame: _Frame) -> None:
        """Have the first pages of the next folders fetched, up to the bound."""
        while frame.upcoming and (self._ahead < AHEAD or len(frame.fetched) < LEAST_AHEAD):
            child = frame.upcoming.popleft()
            if child.level is None:
                child.level = self._level(child)
                frame.fetched.add(child)
                self._ahead += 1


def _valid(path: str) -> bool:
    try:
        check_path(path)
    except InvalidName:
        return False
    return True


def _fits(folder: Folder) -> int:
    """How many bytes the name of an entry of a folder may have; 0 if paths get no deeper."""
    path = folder.info.path
    if not path:
        return MAX_NAME_BYTES
    if path.count("/") + 1 >= MAX_SEGMENTS:
        return 0
    return max(min(MAX_NAME_BYTES, MAX_PATH_BYTES - len(path.encode()) - 1), 0)


def _below(after: str | None, way: str, *, keep: bool = False) -> str | None:
    """``after`` without ``way``, the start of all paths of a list, or with it; "" if all of them
    are behind ``after``, None if none is."""
    if after is None or (after > way and not after.startswith(way)):
        return None
    if not after.startswith(way):
        return ""
    return after if keep else after.removeprefix(way)
