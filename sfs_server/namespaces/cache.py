"""The cached rows of namespaces: fresh ones, and stale ones for when the database fails. Pure.

A row is *fresh* while the listener is trusted and no notification of a change of it has arrived. A
change may happen while a row is being read: the caller compares ``generation`` before and after the
SELECT, and puts the row into the cache only if no notification arrived in between. When the
listener loses its connection, the fresh rows become *stale*: each was right when
the listener's last ping was sent. For STALE_SECONDS after that a stale row may be used for reads
while the database is unavailable. Names that do not exist are not cached.
"""

from __future__ import annotations

from typing import Any

from sfs_server.auth import Namespace

MAX_CACHED = 4096
"""How many fresh rows are cached, and how many stale ones."""

STALE_SECONDS = 300.0
"""How long a stale row may be used after the last moment when it was known to be right."""


class NamespaceCache:
    """Namespaces by their names. All times are seconds of the loop's clock. The cache does not know
    whether the listener is trusted: the caller checks that before it uses ``fresh``."""

    def __init__(self) -> None:
        self.generation = 0
        """A number that grows with each notification, and when the listener's connection is lost
        or made again: a row whose SELECT was sent before may be out of date."""
        self.fresh: dict[str, Namespace] = {}
        """Name → row, to be used only while the listener is trusted. Callers do not change it."""
        self._stale: dict[str, tuple[Namespace, float]] = {}
        """Name → row, and the last moment when it was known to be right."""

    def __repr__(self) -> str:
        return (
            f"<NamespaceCache fresh={len(self.fresh)} stale={len(self._stale)} "
            f"generation={self.generation}>"
        )

    def stale(self, name: str, now: float, confirmed_at: float) -> Namespace | None:
        """The fresh or stale row of ``name``, None if there is none that was known to be right
        within the last STALE_SECONDS. ``confirmed_at``: the time up to which all notifications have
        arrived, at which the fresh rows were right."""
        fresh = self.fresh.get(name)
        if fresh is not None:
            found, confirmed = fresh, confirmed_at
        elif name in self._stale:
            found, confirmed = self._stale[name]
        else:
            return None
        return found if now - confirmed < STALE_SECONDS else None

    def put(self, name: str, found: Namespace, now: float, *, trusted: bool) -> None:
        """Cache the row ``found``, which was read just now. ``trusted``: whether the listener was
        trusted before it was read; if not, the row is stale."""
        self._stale.pop(name, None)
        if trusted:
            _put(self.fresh, name, found)
        else:
            _put(self._stale, name, (found, now))

    def remove(self, name: str) -> None:
        """Remove the row of ``name``, because it was changed, by this process or another one."""
        self.generation += 1
        self.fresh.pop(name, None)
        self._stale.pop(name, None)

    def clear(self) -> None:
        """Remove all rows, because all were changed."""
        self.generation += 1
        self.fresh.clear()
        self._stale.clear()

    def make_stale(self, confirmed_at: float) -> None:
        """Make all fresh rows stale, because notifications do not arrive any more.
        ``confirmed_at``: the time up to which they have arrived."""
        self.generation += 1
        for name, found in self.fresh.items():
            _put(self._stale, name, (found, confirmed_at))
        self.fresh.clear()

    def listening_again(self) -> None:
        """Notifications arrive from now on; a row that is being read may have changed before."""
        self.generation += 1


def _put(cache: dict[str, Any], name: str, value: object) -> None:
    """Set ``cache[name]``; the oldest entry is removed if there are MAX_CACHED."""
    cache.pop(name, None)
    if len(cache) >= MAX_CACHED:
        del cache[next(iter(cache))]
    cache[name] = value
