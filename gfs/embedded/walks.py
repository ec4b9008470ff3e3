"""Walks over folders: what is in one, or in all below it, a slice at a time.

A slice is made in one call in a thread, and takes about SLICE_SECONDS at most: SLICE_FILES entries,
or SLICE_FOLDERS folders in which there is less to list. Nothing is moved meanwhile
(:mod:`gfs.embedded.gate`), except while the names of a large folder are read: if anything was moved
then, they are read again. So one slice shows what is moved at one place. A listing has nothing open
from one slice to the next; each opens its folder by its path again. So what is moved or removed
meanwhile ends there, and what is found is what is there at the time.

At all depths the order is that of the bytes of the whole path, so the walk goes down into a folder
where its name with a slash behind it comes in the sorted names. It keeps the names that are still
to come of each folder that it is in: at most PASS_NAMES of all together, but up to FIRST_PASS_NAMES
of each.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self, TypeVar

from gfs import clock
from gfs.embedded import listing
from gfs.embedded.folders import open_within
from gfs.embedded.gate import Gate
from gfs.embedded.infos import READ_FLAGS, file_info, folder_info
from gfs.embedded.listing import FLAT, LEVEL, NameCache, valid
from gfs.embedded.oserrors import DIRECTORY_FLAGS, open_error, translated
from gfs.embedded.tree import Tree
from gfs.errors import InvalidName, NoSuchFile
from gfs.paths import MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_SEGMENTS, check_path
from gfs.types import Entry, FileInfo, Kind, Usage

FIRST_FILES = 100
"""How many entries are in the first slice of a listing, which a caller waits for."""

SLICE_FILES = 500
"""How many are in the later ones."""

SLICE_SECONDS = 0.01
"""After so long a slice ends, with the entries that it has: a disk may be slow."""

SLICE_FOLDERS = 20
"""How many folders one slice visits at most."""

SMALL_BYTES = 65_536
"""A folder whose own size is at most this, which has some thousand names at most, is read without
leaving the gate."""

MOST_SCANS = 3
"""How often the names of a folder are read again because something was replaced meanwhile."""

SLICE_COUNTED = 2_000
"""How many entries are counted in one slice."""


_Found = TypeVar("_Found", bound=Entry)


@dataclass(slots=True)
class _Frame:
    """A folder that a listing is in: ``base`` is its path with a slash behind it, "" at the top.
    ``kind`` is what is listed of it, None for all.

    ``names`` are the next names in it, marked with ``mark`` where they are of folders, ``at`` the
    first that was not listed yet. Those behind them come after ``after`` and start with ``prefix``;
    if it is ``ended``, there are none.
    """

    base: str
    mark: str
    prefix: str = ""
    after: str = ""
    kind: Kind | None = None
    names: list[str] = field(default_factory=list)
    at: int = 0
    ended: bool = False

    @property
    def left(self) -> int:
        """How many names there are still to be listed."""
        return len(self.names) - self.at

    @property
    def done(self) -> bool:
        """Whether everything has been listed."""
        return self.ended and not self.left

    @property
    def next_folder(self) -> str | None:
        """The path of the folder that is next, with a slash behind it; None if a file is, or what
        is next is not known yet."""
        if self.left and self.names[self.at][-1] == FLAT:
            return self.base + self.names[self.at]
        return None

    def end(self) -> None:
        """There is nothing more: the folder is gone."""
        self.names, self.at, self.ended = [], 0, True

    def load(self, names: list[str], keep: int) -> None:
        """Take ``names`` as the next ones, which are all if they are less than ``keep``."""
        self.ended = len(names) < keep
        if names:
            self.after = names[-1]
        most = MAX_PATH_BYTES - len(self.base.encode())
        if most < MAX_NAME_BYTES:
            names = [name for name in names if len(name.removesuffix(self.mark).encode()) <= most]
        self.names, self.at = names, 0

    def take(self, most: int) -> list[str]:
        """The next ``most`` names."""
        taken = self.names[self.at : self.at + most]
        self.at += len(taken)
        return taken

    def take_files(self, most: int) -> list[str]:
        """The next ``most`` names of files, up to the next folder."""
        end = self.at
        while end < len(self.names) and end - self.at < most and self.names[end][-1] != FLAT:
            end += 1
        return self.take(end - self.at)


class Walks:
    """The walks in one store."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._cache = NameCache()

    def level(
        self, directory: str, folder: str, prefix: str, after: str, kind: Kind | None
    ) -> Iterator[list[Entry]]:
        """Yield what is in a folder, in slices: see :meth:`gfs.api.FileSystem.list_folder`."""
        base = f"{folder}/" if folder else ""
        if base.count("/") >= MAX_SEGMENTS or LEVEL in prefix:
            return
        frame = _Frame(base, LEVEL, prefix, after and after + LEVEL, kind)
        keep, most = listing.FIRST_PASS_NAMES, FIRST_FILES
        while not frame.done:
            ends = clock.monotonic() + SLICE_SECONDS
            with self._tree.gate.entered(), self._opened(directory, frame, ends) as opened:
                if not frame.left and opened.load(keep):
                    keep = listing.PASS_NAMES
                found = opened.entries(most)
            yield found
            most = SLICE_FILES

    def flat(self, directory: str, prefix: str, after: str) -> Iterator[list[FileInfo]]:
        """Yield the files at all depths, in slices: see :meth:`gfs.api.FileSystem.list_files`."""
        frames = _frames(prefix, after)
        keep, most = listing.FIRST_PASS_NAMES, FIRST_FILES
        while frames:
            found: list[FileInfo] = []
            ends = clock.monotonic() + SLICE_SECONDS
            with self._tree.gate.entered():
                for _ in range(SLICE_FOLDERS):
                    if frames[-1].next_folder is None:
                        with self._opened(directory, frames[-1], ends) as opened:
                            if not opened.frame.left and opened.load(keep):
                                held = sum(one.left for one in frames)
                                keep = max(listing.FIRST_PASS_NAMES, listing.PASS_NAMES - held)
                            found += opened.files(most - len(found))
                    _go_on(frames)
                    if not frames or len(found) >= most or clock.monotonic() >= ends:
                        break
            yield found
            most = SLICE_FILES

    @contextmanager
    def _opened(self, directory: str, frame: _Frame, ends: float) -> Iterator[_Opened]:
        """The folder of ``frame``, open. If it is gone, the frame is ended. ``ends``: when the
        slice ends."""
        descriptor = self._tree.open_folder(directory, frame.base[:-1])
        if descriptor is None:
            frame.end()
            yield _Opened(self._cache, self._tree.gate, -1, directory, frame, ends)
            return
        try:
            with translated(directory):
                yield _Opened(self._cache, self._tree.gate, descriptor, directory, frame, ends)
        finally:
            os.close(descriptor)

    def count(self, directory: str, folder: str, most: int | None) -> Generator[Usage, None, None]:
        """Yield what has been counted, slice by slice: see :meth:`gfs.api.FileSystem.usage`. Close
        it."""
        files = folders = size = 0
        with (
            _Down(self._tree.open_folder(directory, folder), folder) as down,
            translated(directory),
        ):
            for entry in down:
                if files + folders == most:
                    yield Usage(files, folders, size, complete=False)
                    return
                with suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        folders += 1
                        down.enter(entry.name)
                    else:
                        size += entry.stat(follow_symlinks=False).st_size
                        files += 1
                if (files + folders) % SLICE_COUNTED == 0:
                    yield Usage(files, folders, size)
        yield Usage(files, folders, size)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A folder that is open, and where a listing is in it."""

    cache: NameCache
    gate: Gate
    descriptor: int
    directory: str
    frame: _Frame
    ends: float

    def load(self, keep: int) -> bool:
        """Get the next ``keep`` names, if the folder is there."""
        if self.frame.done:
            return False
        if os.fstat(self.descriptor).st_size <= SMALL_BYTES:
            names = self._names(keep)
        else:
            for _ in range(MOST_SCANS):
                closings = self.gate.closings
                with self.gate.left():
                    names = self._names(keep)
                if closings == self.gate.closings:
                    break
        self.frame.load(names, keep)
        return True

    def _names(self, keep: int) -> list[str]:
        frame = self.frame
        where = frame.prefix, frame.after
        return self.cache.names(self.descriptor, frame.mark, *where, keep, frame.kind)

    def entries(self, most: int) -> list[Entry]:
        """What is there under the next names, folders among them."""
        return self._found(self.frame.take(most), self._entry)

    def files(self, most: int) -> list[FileInfo]:
        """The files that are there under the next names, up to the next folder."""
        return self._found(self.frame.take_files(most), self._file)

    def _found(self, names: list[str], look: Callable[[str], _Found | None]) -> list[_Found]:
        """What ``look`` finds under ``names``; those for which there is no time are given back."""
        found = []
        for number, name in enumerate(names, 1):
            entry = look(name)
            if entry is not None:
                found.append(entry)
            if clock.monotonic() >= self.ends:
                self.frame.at -= len(names) - number
                break
        return found

    def _entry(self, name: str) -> Entry | None:
        if name[-1] != LEVEL:
            return self._file(name)
        name = name[:-1]
        try:
            said = os.stat(name.encode(), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISDIR(said.st_mode):
            return None
        return folder_info(said, self.directory, self.frame.base + name)

    def _file(self, name: str) -> FileInfo | None:
        path = self.frame.base + name
        try:
            file = os.open(name.encode(), READ_FLAGS, dir_fd=self.descriptor)
        except OSError as error:
            failure = open_error(error, path, self.directory)
            if isinstance(failure, NoSuchFile):
                return None
            raise failure from error
        try:
            said = os.fstat(file)
            if stat.S_ISREG(said.st_mode):
                return file_info(file, said, self.directory, path)
            return None
        finally:
            os.close(file)


class _Down:
    """The entries that are listed of a folder, and of those below it that are entered. A context
    manager, which closes what is open."""

    def __init__(self, folder: int | None, path: str) -> None:
        self._within: list[tuple[int, str, os._ScandirIterator[str]]] = []
        if folder is not None:
            self._enter(folder, f"{path}/" if path else "")

    def _enter(self, folder: int, base: str) -> None:
        try:
            self._within.append((folder, base, os.scandir(folder)))
        except BaseException:
            os.close(folder)
            raise

    def enter(self, name: str) -> None:
        """Go on with what is in the folder ``name`` of the entry that came last."""
        folder, base, _ = self._within[-1]
        if base.count("/") < MAX_SEGMENTS - 1:
            self._enter(open_within(folder, name, DIRECTORY_FLAGS), f"{base}{name}/")

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        while self._within:
            _, base, entries = self._within[-1]
            for entry in entries:
                if _is_listed(entry, base):
                    yield entry
                    break
            else:
                self._leave()

    def _leave(self) -> None:
        folder, _, entries = self._within.pop()
        entries.close()
        os.close(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._within:
            self._leave()


def _is_listed(entry: os.DirEntry[str], base: str) -> bool:
    """Whether an entry of the folder whose path is ``base``, with a slash behind it, is one of the
    store."""
    kept = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
    return kept and valid(entry.name) and len((base + entry.name).encode()) <= MAX_PATH_BYTES


def _go_on(frames: list[_Frame]) -> None:
    """Go down into the folder that is next, and up from those of which all has been listed."""
    below = frames[-1].next_folder
    if below is not None:
        frames[-1].take(1)
        if below.count("/") < MAX_SEGMENTS:
            frames.append(_Frame(below, FLAT))
    while frames and frames[-1].done:
        frames.pop()


def _frames(prefix: str, after: str) -> list[_Frame]:
    """Where a listing of all depths begins: the folder that all paths with ``prefix`` are in, and
    the folders below it that ``after`` leads to."""
    folder, slash, start = prefix.rpartition("/")
    base = folder + slash
    if not after.startswith(base):
        if after > base:
            return []  # everything there comes before it
        after = ""
    if base:
        try:
            check_path(folder)
        except InvalidName:
            return []
    frames = [_Frame(base, FLAT, start)]
    rest = after[len(base) :]
    while rest:
        name, slash, below = rest.partition("/")
        frame = frames[-1]
        down = frame.base + name + slash
        if not slash or not name or not valid(name) or down.count("/") >= MAX_SEGMENTS:
            frame.after = rest
            break
        frame.after = name + slash
        if not frame.after.startswith(frame.prefix):
            break
        frames.append(_Frame(down, FLAT))
        rest = below
    return frames
