"""The names in one folder of any size, sorted, in bounded memory.

A folder gives its names in no order and cannot be asked for "the next ones". So each pass over
it keeps the smallest names after the last one listed, PASS_NAMES of them, and drops the rest: a
million files take about 30 passes of half a second. The first pass keeps fewer, since a caller
waits for the first names.

The name of a folder carries a mark at its end, with which it is sorted. By level, that is LEVEL,
which comes before every character that a name can have: so the order is that of the names
themselves. Where all depths are listed it is FLAT, the slash: so a folder stands where the paths
belong that are in it ("a.txt", "a/b", "a0"). Names that nothing in the store can have are dropped.

Most folders are listed more often than they change, and page by page. So the second pass over a
folder that has not changed since the first caches all of its names, sorted, and the next listing
needs no pass: 100,000 names are 1.6 MB, and the first of them are found within a millisecond
instead of 70. Only names are cached; what a file is, is looked up when it is listed. Names for
which the cache has no space (CACHE_BYTES; about 270,000 of 15 characters) are listed in passes.
While names are gathered they take three times that space, so only one thread at a time gathers, and
another one makes a pass meanwhile. Folders with fewer than CACHED_FROM names are read each time,
which costs little, and leave the space to the large ones.

A folder is cached by its inode, wherever it is moved. What is cached is true as long as the
folder's change time is the same: every entry that is made or removed, by this program or another,
sets it. (The modification time would not do: ``rsync`` and ``tar`` set it back.) The kernel's clock
for it ticks every 1 to 10 ms, so a change can have the time of the one before. Therefore names are
cached only if the change time was SETTLED_NS old when the scan started; a time in the future, as
after a clock was set back, is never old. What is made or removed during the scan or after it
changes the time, and then what was found is not used. It follows that a folder in which files are
published all the time is listed in passes.
"""

from __future__ import annotations

import heapq
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

from gfs import clock
from gfs.errors import InvalidName
from gfs.paths import check_name
from gfs.types import Kind

FIRST_PASS_NAMES = 1_000
"""How many names the first pass of a listing keeps."""

PASS_NAMES = 32_768
"""How many names each later pass keeps."""

CACHE_BYTES = 8 << 20
"""How much the cached names of all folders may take, as far as it is counted here."""

SETTLED_NS = 50_000_000
"""The age, in nanoseconds, from which on a change time is trusted: several ticks of any clock by
which a kernel dates folders."""

CACHED_FROM = 256
"""How many names a folder has at least for them to be cached."""

LEVEL = "\x01"
"""The mark behind the name of a folder, where one level is listed."""

FLAT = "/"
"""The mark where all depths are listed."""

_RUN_NAMES = 4096
"""How many names are sorted at once. The interpreter is not free during a sort: for 1 ms, not
30."""

_BLOCK_NAMES = 256
"""How many names are packed into one ``bytes``."""

_NAME_COST = 16
"""What a name counts against CACHE_BYTES, besides its characters."""

_FOLDER_COST = 512
"""What a folder counts against it, besides its names."""

_FEW_CHARACTERS = 63
"""A name of so many is never too long in bytes."""


@dataclass(frozen=True, slots=True)
class _State:
    """A folder when it was scanned: ``key`` says which. The same ``changed`` means the same names,
    if it was ``settled``: its last change was long enough ago."""

    key: tuple[int, int]
    changed: int
    settled: bool


@dataclass(frozen=True, slots=True)
class _Cached:
    """What is cached of a folder as long as its change time is ``changed``.

    ``passed``: there was a pass over it. ``large``: its names do not fit into the cache.
    ``blocks``: all names. ``cost``: what it counts against CACHE_BYTES.
    """

    changed: int
    passed: bool = False
    large: bool = False
    blocks: tuple[bytes, ...] | None = None
    cost: int = _FOLDER_COST


class NameCache:
    """The names in folders. Its methods may be called from several threads, and wait for the
    disk."""

    def __init__(self) -> None:
        self._cached: OrderedDict[tuple[str, int, int], _Cached] = OrderedDict()
        self._cost = 0
        self._lock = threading.Lock()
        self._gathering = threading.Lock()

    def names(
        self,
        folder: int,
        mark: str,
        prefix: str,
        after: str,
        keep: int,
        kind: Kind | None = None,
    ) -> list[str]:
        """The first ``keep`` names after ``after`` that start with ``prefix``, sorted, of what is
        in the folder of the descriptor ``folder``: files, and folders with ``mark`` behind the
        name; or only those of a ``kind``.

        The order is that of code points, which is that of the bytes of UTF-8. If there are fewer
        than ``keep``, these are all. Raises OSError.
        """
        state = _state(folder)
        key = (mark, *state.key)
        cached = self._find(key, state.changed)
        if cached.blocks is not None:
            return _names_after(cached.blocks, mark, prefix, after, keep, kind)
        found = scan(folder, mark)
        if not cached.passed:
            few = list(islice(found, CACHED_FROM))
            if len(few) < CACHED_FROM:
                return smallest(_only(few, mark, kind), prefix, after, keep)
            found = chain(few, found)
        gathers = cached.passed and not cached.large and self._gathering.acquire(blocking=False)
        try:
            if gathers:
                cached, found = _gather(cached, found)
            if cached.blocks is None:
                names = smallest(_only(found, mark, kind), prefix, after, keep)
            else:
                names = _names_after(cached.blocks, mark, prefix, after, keep, kind)
        finally:
            if gathers:
                self._gathering.release()
        if state.settled:
            self._keep(key, replace(cached, passed=True))
        return names

    def _find(self, key: tuple[str, int, int], changed: int) -> _Cached:
        with self._lock:
            cached = self._cached.get(key)
            if cached is None or cached.changed != changed:
                return _Cached(changed)
            self._cached.move_to_end(key)
            return cached

    def _keep(self, key: tuple[str, int, int], cached: _Cached) -> None:
        with self._lock:
            old = self._cached.pop(key, None)
            if old is not None:
                self._cost -= old.cost
            self._cached[key] = cached
            self._cost += cached.cost
            while self._cost > CACHE_BYTES:
                self._cost -= self._cached.popitem(last=False)[1].cost


def _gather(cached: _Cached, found: Iterator[str]) -> tuple[_Cached, Iterator[str]]:
    """Gather the names of ``found``: ``cached`` with all of them, or marked as too large; and an
    iterator over the names that still have to be listed."""
    runs: list[list[str]] = []
    cost = _FOLDER_COST
    while run := sorted(islice(found, _RUN_NAMES)):
        runs.append(run)
        cost += sum(map(len, run)) + _NAME_COST * len(run)
        if cost > CACHE_BYTES:
            return replace(cached, large=True), chain(chain.from_iterable(runs), found)
    blocks = _packed(heapq.merge(*runs))
    # What was counted above is one byte for each character.
    cost = max(cost, _FOLDER_COST + sum(map(len, blocks)))
    if cost > CACHE_BYTES:
        return replace(cached, large=True), _unpacked(blocks)
    return replace(cached, blocks=blocks, cost=cost), found


def _packed(names: Iterator[str]) -> tuple[bytes, ...]:
    """Sorted names as blocks that compare like their first names. No name contains a NUL."""
    blocks = []
    while block := list(islice(names, _BLOCK_NAMES)):
        blocks.append("\0".join(block).encode())
    return tuple(blocks)


def _unpacked(blocks: Iterable[bytes]) -> Iterator[str]:
    for block in blocks:
        yield from block.decode().split("\0")


def _only(names: Iterable[str], mark: str, kind: Kind | None) -> Iterable[str]:
    """Those of ``names`` that are of a ``kind``."""
    if kind is None:
        return names
    folders = kind == "folder"
    return (name for name in names if (name[-1] == mark) is folders)


def _names_after(
    blocks: tuple[bytes, ...], mark: str, prefix: str, after: str, keep: int, kind: Kind | None
) -> list[str]:
    marked = mark.encode() if kind == "folder" else b""
    first = max(prefix, after).encode("utf-8", "surrogatepass")
    kept: list[str] = []
    for position in range(max(bisect_right(blocks, first) - 1, 0), len(blocks)):
        if marked and marked not in blocks[position]:
            continue  # it has no folder, and need not be unpacked
        block = list(_unpacked(blocks[position : position + 1]))
        some = _only(block, mark, kind)
        kept += [name for name in some if name > after and name.startswith(prefix)]
        if len(kept) >= keep or (block[-1] > prefix and not block[-1].startswith(prefix)):
            break
    return kept[:keep]


def smallest(names: Iterable[str], prefix: str, after: str, keep: int) -> list[str]:
    """The first ``keep`` names after ``after`` that start with ``prefix``, sorted, in one pass over
    ``names``, which are in any order."""
    kept: list[str] = []
    bound = ""
    wanted = (n for n in names if n > after and n.startswith(prefix) and (not bound or n < bound))
    while run := list(islice(wanted, _RUN_NAMES)):
        run.sort()
        kept += run
        kept.sort()  # of two sorted runs, which is a merge
        del kept[keep:]
        if len(kept) == keep:
            bound = kept[-1]
    return kept


def scan(folder: int, mark: str) -> Iterator[str]:
    """Yield the valid names of the files and folders in an open folder, in no order; those of
    folders with ``mark`` behind them."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                if valid(entry.name):
                    yield entry.name
            elif entry.is_dir(follow_symlinks=False) and valid(entry.name):
                yield entry.name + mark


def valid(name: str) -> bool:
    """Whether ``name`` can be that of a file or folder; another program may have made it."""
    if (
        name.isprintable()
        and len(name) <= _FEW_CHARACTERS
        and "\\" not in name
        and name[0] != " " != name[-1]
        and name not in (".", "..")
    ):
        return True  # what is printable has no control character and no other white space
    try:
        check_name(name)
    except InvalidName:
        return False
    return True


def _state(folder: int) -> _State:
    now = clock.unix_ns()  # before fstat: otherwise the change time would seem older than it is
    found = os.fstat(folder)
    settled = found.st_ctime_ns + SETTLED_NS <= now
    return _State((found.st_dev, found.st_ino), found.st_ctime_ns, settled)
