"""A sorted listing of a directory of any size in bounded memory.

A directory gives its names in no order and cannot be asked for "the next ones". So each pass
over it keeps the smallest names behind the last one listed, PASS of them, and throws the rest
away: a million files take about 30 passes of half a second. The first pass keeps fewer, since
somebody waits for the first line.

Most directories are listed more often than they change, and page by page. So the second pass over
a directory that has not changed since the first keeps all of its names, sorted, and whoever lists
it next needs no pass: 100,000 names are 1.6 MB, and the first of them are there within a
millisecond instead of 70. Only names are kept; what a file is, is looked up when it is listed.
Names that have no room (MOST_BYTES; about 270,000 of 15 characters) are left to the passes. While
they are being gathered they take three times that room, so only one thread at a time gathers, and
one that comes meanwhile makes a pass.

What is kept is true as long as the directory's change time is the same: every entry that comes or
goes, by this program or by another, sets it. Not the modification time, which ``rsync`` and ``tar``
set back. The kernel's clock for it ticks every 1 to 10 ms, so a change can hide in the tick of the
one before. Therefore names are kept only if the change time was TICKS old when the scan began; a
time in the future, as after a clock was set back, is never old. What comes or goes during the scan
or after it gives another time, and then what was found is not used. It follows that a directory in
which something is published all the time is listed in passes.
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
from gfs.embedded.border import border, open_directory
from gfs.errors import InvalidName, NoSuchDirectory
from gfs.paths import check_name

FIRST_PASS = 1_000
PASS = 32_768
MOST_BYTES = 8 << 20
TICKS = 50_000_000
"""Nanoseconds: several ticks of any clock that a kernel stamps directories with."""

_RUN = 4096
"""Names that are sorted at once. A sort does not let go of the interpreter: 1 ms, not 30."""

_BLOCK = 256
_NAME_COST = 16
_DIRECTORY_COST = 512


@dataclass(frozen=True, slots=True)
class _State:
    """What a directory was when it was scanned: the same ``identity`` means the same names."""

    identity: tuple[int, int, int]
    settled: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a directory as long as it has this identity."""

    identity: tuple[int, int, int]
    passed: bool = False
    large: bool = False
    count: int | None = None
    blocks: tuple[bytes, ...] | None = None
    cost: int = _DIRECTORY_COST


class NameCache:
    """The names in the directories under the descriptor ``root``. Its methods may be called from
    several threads; they wait for the disk. A directory that does not exist is empty."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._cost = 0
        self._lock = threading.Lock()
        self._gathering = threading.Lock()

    def names(self, directory: str, prefix: str, after: str, keep: int) -> list[str]:
        """The first ``keep`` names behind ``after`` that begin with ``prefix``, sorted.

        The order is that of code points, which is that of the bytes of UTF-8. Fewer than ``keep``
        means that there are no more. Names that are not :func:`valid` are among them.
        """
        with border(directory), _opened(self._root, directory) as descriptor:
            if descriptor is None:
                return []
            state = _state(descriptor)
            known = self._find(directory, state.identity)
            if known.blocks is not None:
                return _behind(known.blocks, prefix, after, keep)
            found = scan(descriptor)
            gathers = known.passed and not known.large and self._gathering.acquire(blocking=False)
            try:
                if gathers:
                    known, found = _gather(known, found)
                if known.blocks is None:
                    names = smallest(found, prefix, after, keep)
                else:
                    names = _behind(known.blocks, prefix, after, keep)
            finally:
                if gathers:
                    self._gathering.release()
            self._keep(directory, state, replace(known, passed=True))
            return names

    def count(self, directory: str) -> int:
        """How many valid names a directory holds."""
        with border(directory), _opened(self._root, directory) as descriptor:
            if descriptor is None:
                return 0
            state = _state(descriptor)
            known = self._find(directory, state.identity)
            if known.count is not None:
                return known.count
            names = scan(descriptor) if known.blocks is None else _unpacked(known.blocks)
            count = sum(map(valid, names))
            self._keep(directory, state, replace(known, count=count))
            return count

    def _find(self, directory: str, identity: tuple[int, int, int]) -> _Known:
        with self._lock:
            known = self._known.get(directory)
            if known is None or known.identity != identity:
                return _Known(identity)
            self._known.move_to_end(directory)
            return known

    def _keep(self, directory: str, state: _State, known: _Known) -> None:
        """Keep what a scan has found in a directory that was in ``state`` when it began."""
        if not state.settled:
            return
        with self._lock:
            old = self._known.pop(directory, None)
            if old is not None:
                self._cost -= old.cost
            self._known[directory] = known
            self._cost += known.cost
            while self._cost > MOST_BYTES:
                self._cost -= self._known.popitem(last=False)[1].cost


def _gather(known: _Known, found: Iterator[str]) -> tuple[_Known, Iterator[str]]:
    """``known`` with every name, or as too large, and then the names from the first one on."""
    runs: list[list[str]] = []
    cost = _DIRECTORY_COST
    while run := sorted(islice(found, _RUN)):
        runs.append(run)
        cost += sum(map(len, run)) + _NAME_COST * len(run)
        if cost > MOST_BYTES:
            return replace(known, large=True), chain(chain.from_iterable(runs), found)
    blocks = _packed(heapq.merge(*runs))
    # The room that was counted above is for one byte a character.
    cost = max(cost, _DIRECTORY_COST + sum(map(len, blocks)))
    if cost > MOST_BYTES:
        return replace(known, large=True), _unpacked(blocks)
    return replace(known, blocks=blocks, cost=cost), found


def _packed(names: Iterator[str]) -> tuple[bytes, ...]:
    """Sorted names as blocks that compare like their first names. No name contains a NUL, and a
    name that is not UTF-8 holds surrogates, which stay in their place."""
    blocks = []
    while block := list(islice(names, _BLOCK)):
        blocks.append("\0".join(block).encode("utf-8", "surrogatepass"))
    return tuple(blocks)


def _unpacked(blocks: Iterable[bytes]) -> Iterator[str]:
    for block in blocks:
        yield from block.decode("utf-8", "surrogatepass").split("\0")


def _behind(blocks: tuple[bytes, ...], prefix: str, after: str, keep: int) -> list[str]:
    begin = max(prefix, after).encode("utf-8", "surrogatepass")
    kept: list[str] = []
    for position in range(max(bisect_right(blocks, begin) - 1, 0), len(blocks)):
        block = list(_unpacked(blocks[position : position + 1]))
        kept += [name for name in block if name > after and name.startswith(prefix)]
        if len(kept) >= keep or (block[-1] > prefix and not block[-1].startswith(prefix)):
            break
    return kept[:keep]


def smallest(names: Iterable[str], prefix: str, after: str, keep: int) -> list[str]:
    """One pass over ``names`` in any order: the first ``keep`` of them that are wanted."""
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
    """The names of the plain files in the directory that is open, in no order."""
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry.name


def valid(name: str) -> bool:
    """Whether ``name`` can be asked for; something else may have put a file there."""
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
    now = clock.unix_ns()  # before the look, so that the change time is not younger than it seems
    found = os.fstat(descriptor)
    identity = (found.st_dev, found.st_ino, found.st_ctime_ns)
    return _State(identity, settled=found.st_ctime_ns + TICKS <= now)
