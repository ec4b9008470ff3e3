"""What is known of namespaces, and since when. Pure.

A row that was read while changes are heard of is right until a change of it is heard of. A read and
a change may cross: what was read is kept only if nothing was heard between the question and its
answer, which ``generation`` tells. When changes are not heard of any more, what was kept counts as
confirmed when the database last answered: it is *stale*, and does for reads while the database is
away, for STALE_SECONDS. Absent names are kept apart, so that asking for made-up names does not push
out the real ones.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from sfs_server.access import Namespace

MAX_CACHED = 4096
"""Of the present names, of the absent ones, and of the stale ones: each at most so many."""

STALE_SECONDS = 300.0


class Missing(Enum):
    """The type of MISSING."""

    MISSING = "not in the cache"


MISSING: Final = Missing.MISSING
"""What ``get`` says of a name of which nothing is known."""


class NamespaceCache:
    """Namespaces by their names. Times are the loop's; whether changes are heard of now is the
    caller's to know."""

    def __init__(self) -> None:
        self.generation = 0
        """Another one after everything that was heard."""
        self._present: dict[str, Namespace] = {}
        self._absent: dict[str, None] = {}
        self._stale: dict[str, tuple[Namespace, float]] = {}

    def get(self, name: str) -> Namespace | Missing | None:
        """The namespace, None if there is none, MISSING if that is not known."""
        found = self._present.get(name)
        if found is not None:
            return found
        return None if name in self._absent else MISSING

    def remembered(self, name: str, now: float, answered: float) -> Namespace | None:
        """A row that was right within the last STALE_SECONDS. ``answered``: when the database last
        said that nothing had changed."""
        present = self._present.get(name)
        if present is not None:
            found, confirmed = present, answered
        elif name in self._stale:
            found, confirmed = self._stale[name]
        else:
            return None
        return found if now - confirmed < STALE_SECONDS else None

    def keep(self, name: str, found: Namespace | None, now: float, *, heard: bool) -> None:
        """Keep what was read of a name. ``heard``: whether changes are heard of."""
        self._stale.pop(name, None)
        if heard and found is None:
            _keep(self._absent, name, None)
        elif heard:
            _keep(self._present, name, found)
        elif found is not None:
            _keep(self._stale, name, (found, now))

    def forget(self, name: str) -> None:
        """A change of the namespace was heard of, or made."""
        self.generation += 1
        self._present.pop(name, None)
        self._absent.pop(name, None)
        self._stale.pop(name, None)

    def clear(self) -> None:
        """A change of all was heard of."""
        self.generation += 1
        self._present.clear()
        self._absent.clear()
        self._stale.clear()

    def lose(self, answered: float) -> None:
        """Changes are not heard of any more; the database last answered at ``answered``."""
        self.generation += 1
        for name, found in self._present.items():
            _keep(self._stale, name, (found, answered))
        self._present.clear()
        self._absent.clear()

    def begin(self) -> None:
        """Changes are heard of again: what is on its way may be from before."""
        self.generation += 1


def _keep(cache: dict[str, Any], name: str, value: object) -> None:
    """Put ``value`` into ``cache``, whose oldest entry makes room."""
    cache.pop(name, None)
    if len(cache) >= MAX_CACHED:
        del cache[next(iter(cache))]
    cache[name] = value
