"""Which namespaces are cached, and since when. Pure.

While the listener is trusted, a row is right until a notification of its change arrives. A read and
a change may cross: what was read is kept only if no notification arrived between the SELECT and its
response, by which ``generation`` would have changed. When the listener is not trusted any more,
what was kept counts as confirmed when its last ping was sent: it is *stale*, and does for reads
while the database is unavailable, for STALE_SECONDS. Nothing is kept of names that do not exist.
"""

from __future__ import annotations

from typing import Any

from sfs_server.auth import Namespace

MAX_CACHED = 4096
"""How many rows that are right are kept, and how many stale ones."""

STALE_SECONDS = 300.0
"""How long after it was confirmed a stale row may be used."""


class NamespaceCache:
    """Namespaces by their names. Times are the loop's; whether the listener is trusted now is the
    caller's to know."""

    def __init__(self) -> None:
        self.generation = 0
        """Another one after each notification, and after each loss of them."""
        self.present: dict[str, Namespace] = {}
        """What can be used while the listener is trusted; to be read only."""
        self._stale: dict[str, tuple[Namespace, float]] = {}

    def __repr__(self) -> str:
        return (
            f"<NamespaceCache present={len(self.present)} stale={len(self._stale)} "
            f"generation={self.generation}>"
        )

    def stale(self, name: str, now: float, confirmed_at: float) -> Namespace | None:
        """A row that was right within the last STALE_SECONDS. ``confirmed_at``: up to when all
        notifications have arrived."""
        present = self.present.get(name)
        if present is not None:
            found, confirmed = present, confirmed_at
        elif name in self._stale:
            found, confirmed = self._stale[name]
        else:
            return None
        return found if now - confirmed < STALE_SECONDS else None

    def keep(self, name: str, found: Namespace, now: float, *, trusted: bool) -> None:
        """Keep what was read of a name. ``trusted``: whether the listener was, before that."""
        self._stale.pop(name, None)
        if trusted:
            _keep(self.present, name, found)
        else:
            _keep(self._stale, name, (found, now))

    def forget(self, name: str) -> None:
        """The namespace was changed, here or elsewhere."""
        self.generation += 1
        self.present.pop(name, None)
        self._stale.pop(name, None)

    def clear(self) -> None:
        """All of them were changed."""
        self.generation += 1
        self.present.clear()
        self._stale.clear()

    def lose(self, confirmed_at: float) -> None:
        """No notifications arrive any more; those up to ``confirmed_at`` have."""
        self.generation += 1
        for name, found in self.present.items():
            _keep(self._stale, name, (found, confirmed_at))
        self.present.clear()

    def start(self) -> None:
        """Notifications arrive again: a row that is being read may be from before."""
        self.generation += 1


def _keep(cache: dict[str, Any], name: str, value: object) -> None:
    """Put ``value`` into ``cache``, whose oldest entry goes if it is full."""
    cache.pop(name, None)
    if len(cache) >= MAX_CACHED:
        del cache[next(iter(cache))]
    cache[name] = value
