"""How many event streams one client may have open in a process.

They are counted by the address of the client, and by its user where there is one. An IPv6 address
counts together with its whole network of 64 bits, which is what one customer is given (RFC 6177). A
link is opened by others than the user who made it, so it counts by the address alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sfs_server.errors import RETRY_AFTER_SECONDS, Problem
from sfs_server.http import client_network


class Streams:
    """The open event streams of one process. ``most``: how many one address, and one user, may
    have; 0 is no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[tuple[str, str]] = Counter()

    def __repr__(self) -> str:
        return f"<Streams open={self._open.total()} most={self._most}>"

    @contextmanager
    def one(self, address: str, user: str | None) -> Iterator[None]:
        """Count a stream of ``address``, and of ``user`` unless it is None, until the body of the
        ``with`` ends. Raises Problem 429 if there are too many."""
        keys = [("address", client_network(address))]
        if user is not None:
            keys.append(("user", user))
        for kind, name in keys:
            if self._most and self._open[kind, name] >= self._most:
                raise Problem(
                    429,
                    f"Your {kind} has {self._most} event streams open, and may have no more at "
                    "once. Close some, or try again later.",
                    {"Retry-After": str(RETRY_AFTER_SECONDS)},
                )
        self._open.update(keys)
        try:
            yield
        finally:
            for key in keys:
                self._open[key] -= 1
                if not self._open[key]:
                    del self._open[key]
