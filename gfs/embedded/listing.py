"""A sorted listing of a directory of any size in bounded memory.

A directory gives its names in no order and cannot be asked for "the next ones". So each pass
over it keeps the smallest names behind the last one listed, PASS of them, and throws the rest
away: a million files take about 30 passes of half a second, and 5 MB. The first pass keeps fewer,
since somebody waits for the first line.
"""

from __future__ import annotations

from gfs.embedded.tree import Tree
from gfs.errors import InvalidName
from gfs.paths import check_name

FIRST_PASS = 1_000
PASS = 32_768


def smallest(tree: Tree, directory: str, prefix: str, after: str, keep: int) -> list[str]:
    """The first ``keep`` names behind ``after`` that begin with ``prefix``, sorted.

    The order is that of code points, which is that of the bytes of UTF-8. Fewer than ``keep``
    means that there are no more. Blocks: use a thread.
    """
    kept: list[str] = []
    bound = ""
    for name in tree.scan(directory):
        if name > after and (not bound or name < bound) and name.startswith(prefix):
            kept.append(name)
            if len(kept) >= 2 * keep:
                kept.sort()
                del kept[keep:]
                bound = kept[-1]
    kept.sort()
    return kept[:keep]


def valid(name: str) -> bool:
    """Whether ``name`` can be asked for; something else may have put a file there."""
    try:
        check_name(name)
    except InvalidName:
        return False
    return True
