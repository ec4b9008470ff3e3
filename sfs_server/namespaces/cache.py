"""Which namespaces are cached, and since when. Pure.

A row that was read while changes are heard of is right until a change of it is heard of. A read and
a change may cross: what was read is kept only if nothing was heard between the question and its
answer, which ``generation`` tells. When changes are not heard of any more, what was kept counts as
confirmed when the database last answered: it is *stale*, and does for reads while the database is
unavailable, for STALE_SECONDS. Nothing is kept of names that do not exist.
"""

from __future__ import annotations

from typing import Any

from sfs_server.auth import Namespace

MAX_CACHED = 4096
"""Of the rows that are right, and of the stale ones: each at most so many."""

STALE_SECONDS = 300.0


class NamespaceCache:
    """Namespaces by their names. Times are the loop's; whether changes are heard of now is the
    caller's to know."""

    def __init__(self) -> None:
        self.generation = 0
        """Another one after everything that was heard."""
        self._present: dict[str, Namespace] = {}
        self._stale: dict[str, tuple[Namespace, float]] = {}

    def get(self, name: str) -> Namespace | None:
        """The namespace, None if it is not cached."""
        return self._present.get(name)

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

    def keep(self, name: str, found: Namespace, now: float, *, heard: bool) -> None:
        """Keep what was read of a name. ``heard``: whether changes are heard of."""
        self._stale.pop(name, None)
        if heard:
            _keep(self._present, name, found)
        else:
            _keep(self._stale, name, (found, now))

    def forget(self, name: str) -> None:
        """A change of the namespace was heard of, or made."""
        self.generation += 1
        self._present.pop(name, None)
        self._stale.pop(name, None)

    def clear(self) -> None:
        """A change of all was heard of."""
        self.generation += 1
        self._present.clear()
        self._stale.clear()

    def lose(self, answered: float) -> None:
        """Changes are not heard of any more; the database last answered at ``answered``."""
        self.generation += 1
        for name, found in self._present.items():
            _keep(self._stale, name, (found, answered))
        self._present.clear()

    def begin(self) -> None:
        """Changes are heard of again: what is on its way may be from before."""
        self.generation += 1


def _keep(cache: dict[str, Any], name: str, value: object) -> None:
    """Put ``value`` into ``cache``, whose oldest entry makes room."""
    cache.pop(name, None)
    if len(cache) >= MAX_CACHED:
        del cache[next(iter(cache))]
    cache[name] = value
