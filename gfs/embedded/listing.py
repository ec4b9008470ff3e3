"""A sorted listing of a directory of any size in bounded memory.

A directory gives its names in no order and cannot be asked for "the next ones". So each pass over
it keeps the smallest names after the last one listed, PASS_NAMES of them, and drops the rest: a
million files take about 30 passes of half a second. The first pass keeps fewer, since a caller
waits for the first names.

Most directories are listed more often than they change, and page by page. So the second pass over a
directory that has not changed since the first caches all of its names, sorted, and the next listing
needs no pass: 100,000 names are 1.6 MB, and the first of them are found within a millisecond
instead of 70. Only names are cached; what a file is, is looked up when it is listed. Names for
which the cache has no space (CACHE_BYTES; about 270,000 of 15 characters) are listed in passes.
While names are gathered they take three times that space, so only one thread at a time gathers, and
another one makes a pass meanwhile.

What is cached is true as long as the directory's change time is the same: every entry that is made
or removed, by this program or another, sets it. (The modification time would not do: ``rsync`` and
``tar`` set it back.) The kernel's clock for it ticks every 1 to 10 ms, so a change can have the
time of the one before. Therefore names are cached only if the change time was SETTLED_NS old when
the scan started; a time in the future, as after a clock was set back, is never old. What is made or
removed during the scan or after it changes the time, and then what was found is not used. It
follows that a directory in which files are published all the time is listed in passes.
"""

from __future__ import annotations

import heapq
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice

from gfs import clock
from gfs.embedded.oserrors import open_directory, translated
from gfs.errors import InvalidName, NoSuchDirectory
from gfs.paths import check_name

FIRST_PASS_NAMES = 1_000
"""How many names the first pass of a listing keeps."""

PASS_NAMES = 32_768
"""How many names each later pass keeps."""

CACHE_BYTES = 8 << 20
"""How much the cached names of all directories may take, as far as it is counted here."""

SETTLED_NS = 50_000_000
"""The age, in nanoseconds, from which on a change time is trusted: several ticks of any clock by
which a kernel dates directories."""

_RUN_NAMES = 4096
"""How many names are sorted at once. The interpreter is not free during a sort: for 1 ms, not
30."""

_BLOCK_NAMES = 256
"""How many names are packed into one ``bytes``."""

_NAME_COST = 16
"""What a name counts against CACHE_BYTES, besides its characters."""

_DIRECTORY_COST = 512
"""What a directory counts against it, besides its names."""


@dataclass(frozen=True, slots=True)
class _State:
    """A directory when it was scanned. The same ``identity`` means the same names, if it was
    ``settled``: its last change was long enough ago."""

    identity: tuple[int, int, int]
    settled: bool


@dataclass(frozen=True, slots=True)
class _Cached:
    """What is cached of a directory as long as it has this ``identity``.

    ``passed``: there was a pass over it. ``large``: its names do not fit into the cache. ``count``:
    how many valid names it has. ``blocks``: all names. ``cost``: what it counts against
    CACHE_BYTES.
    """

    identity: tuple[int, int, int]
    passed: bool = False
    large: bool = False
    count: int | None = None
    blocks: tuple[bytes, ...] | None = None
    cost: int = _DIRECTORY_COST


class NameCache:
    """The names in the directories of the store, whose own descriptor is ``root``. Its methods may
    be called from several threads, and wait for the disk. A directory that does not exist is
    empty."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._cached: OrderedDict[str, _Cached] = OrderedDict()
        self._cost = 0
        self._lock = threading.Lock()
        self._gathering = threading.Lock()

    def names(self, directory: str, prefix: str, after: str, keep: int) -> list[str]:
        """The first ``keep`` names after ``after`` that start with ``prefix``, sorted.

        The order is that of code points, which is that of the bytes of UTF-8. If there are fewer
        than ``keep``, these are all. Names that are not :func:`valid` are among them.
        """
        with translated(directory), _opened(self._root, directory) as descriptor:
            if descriptor is None:
                return []
            state = _state(descriptor)
            cached = self._find(directory, state.identity)
            if cached.blocks is not None:
                return _names_after(cached.blocks, prefix, after, keep)
            found = scan(descriptor)
            gathers = cached.passed and not cached.large and self._gathering.acquire(blocking=False)
            try:
                if gathers:
                    cached, found = _gather(cached, found)
                if cached.blocks is None:
                    names = smallest(found, prefix, after, keep)
                else:
                    names = _names_after(cached.blocks, prefix, after, keep)
            finally:
                if gathers:
                    self._gathering.release()
            self._keep(directory, state, replace(cached, passed=True))
            return names

    def count(self, directory: str) -> int:
        """How many valid names a directory holds."""
        with translated(directory), _opened(self._root, directory) as descriptor:
            if descriptor is None:
                return 0
            state = _state(descriptor)
            cached = self._find(directory, state.identity)
            if cached.count is not None:
                return cached.count
            names = scan(descriptor) if cached.blocks is None else _unpacked(cached.blocks)
            count = sum(map(valid, names))
            self._keep(directory, state, replace(cached, count=count))
            return count

    def _find(self, directory: str, identity: tuple[int, int, int]) -> _Cached:
        with self._lock:
            cached = self._cached.get(directory)
            if cached is None or cached.identity != identity:
                return _Cached(identity)
            self._cached.move_to_end(directory)
            return cached

    def _keep(self, directory: str, state: _State, cached: _Cached) -> None:
        """Cache what a scan found in a directory that was in ``state`` when the scan started."""
        if not state.settled:
            return
        with self._lock:
            old = self._cached.pop(directory, None)
            if old is not None:
                self._cost -= old.cost
            self._cached[directory] = cached
            self._cost += cached.cost
            while self._cost > CACHE_BYTES:
                self._cost -= self._cached.popitem(last=False)[1].cost


def _gather(cached: _Cached, found: Iterator[str]) -> tuple[_Cached, Iterator[str]]:
    """Gather the names of ``found``: ``cached`` with all of them, or marked as too large; and an
    iterator over the names that still have to be listed."""
    runs: list[list[str]] = []
    cost = _DIRECTORY_COST
    while run := sorted(islice(found, _RUN_NAMES)):
        runs.append(run)
        cost += sum(map(len, run)) + _NAME_COST * len(run)
        if cost > CACHE_BYTES:
            return replace(cached, large=True), chain(chain.from_iterable(runs), found)
    blocks = _packed(heapq.merge(*runs))
    # What was counted above is one byte for each character.
    cost = max(cost, _DIRECTORY_COST + sum(map(len, blocks)))
    if cost > CACHE_BYTES:
        return replace(cached, large=True), _unpacked(blocks)
    return replace(cached, blocks=blocks, cost=cost), found


def _packed(names: Iterator[str]) -> tuple[bytes, ...]:
    """Sorted names as blocks that compare like their first names. No name contains a NUL, and a
    name that is not UTF-8 holds surrogates, which stay in their place."""
    blocks = []
    while block := list(islice(names, _BLOCK_NAMES)):
        blocks.append("\0".join(block).encode("utf-8", "surrogatepass"))
    return tuple(blocks)


def _unpacked(blocks: Iterable[bytes]) -> Iterator[str]:
    for block in blocks:
        yield from block.decode("utf-8", "surrogatepass").split("\0")


def _names_after(blocks: tuple[bytes, ...], prefix: str, after: str, keep: int) -> list[str]:
    first = max(prefix, after).encode("utf-8", "surrogatepass")
    kept: list[str] = []
    for position in range(max(bisect_right(blocks, first) - 1, 0), len(blocks)):
        block = list(_unpacked(blocks[position : position + 1]))
        kept += [name for name in block if name > after and name.startswith(prefix)]
        if len(kept) >= keep or (block[-1] > prefix and not block[-1].startswith(prefix)):
            break
    return kept[:keep]


def smallest(names: Iterable[str], prefix: str, after: str, keep: int) -> list[str]:
    """The first ``keep`` names after ``after`` that start with ``prefix``, sorted, in one pass over
    ``names``, which are in any order."""
    kept: list[str] = []
    bound = ""
    for name in names:
        if name > after and (not bound or name < bound) and name.startswith(prefix):
            kept.append(name)
            if len(kept) >= 2 * keep:
                kept.sort()
                del kept[keep:]
                bound = kept[-1]
    kept.sort()
    return kept[:keep]


def scan(descriptor: int) -> Iterator[str]:
    """Yield the names of the plain files in an open directory, in no order."""
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry.name


def valid(name: str) -> bool:
    """Whether ``name`` can name a file of the store; another program may have made it."""
    try:
        check_name(name)
    except InvalidName:
        return False
    return True


@contextmanager
def _opened(root: int, directory: str) -> Iterator[int | None]:
    try:
        descriptor = open_directory(root, directory)
    except NoSuchDirectory:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _state(descriptor: int) -> _State:
    now = clock.unix_ns()  # before fstat: otherwise the change time would seem older than it is
    found = os.fstat(descriptor)
    identity = (found.st_dev, found.st_ino, found.st_ctime_ns)
    return _State(identity, settled=found.st_ctime_ns + SETTLED_NS <= now)
