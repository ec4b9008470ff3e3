"""One event stream of changes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable

from sfs_server.changes.messages import FIRST, MANY, Event
from sfs_server.streams import COMMENT, COMMENT_SECONDS, RETRY, EventStream

__all__ = ["FIRST", "ChangeStream"]

MAX_EVENTS = 4
"""Events of one stream within WINDOW_SECONDS, and events that wait to be sent: more are one of
MANY."""

WINDOW_SECONDS = 1.05
"""The second of the contract, and some more, because events do not all take equally long to
arrive."""

RECHECK_SECONDS = 5.0
"""How long a stream goes on without asking again whether its caller may still read."""


class ChangeStream(EventStream):
    """One event stream of changes in a namespace, or in one folder of it, where ``folder`` is not
    None.

    ``may_read`` is asked before each event, and every RECHECK_SECONDS: when it says no, the stream
    ends, after a last event of MANY: the namespace may be gone, or hidden.
    """

    __slots__ = ("_comment_at", "_many", "_may_read", "_queue", "_refused", "_sent", "folder", "ns")

    def __init__(
        self, namespace: str, folder: str | None, may_read: Callable[[], Awaitable[bool]]
    ) -> None:
        super().__init__()
        self.ns = namespace
        self.folder = folder
        self._may_read = may_read
        self._queue: dict[tuple[str, ...], Event] = {}  # to be sent, in their order
        self._many = False  # is to be sent, instead of what was
        self._refused = False
        self._sent: deque[float] = deque([-math.inf] * MAX_EVENTS, MAX_EVENTS)  # when
        self._comment_at = self._loop.time() + COMMENT_SECONDS

    def __repr__(self) -> str:
        return f"<ChangeStream {self.ns}/{self.folder} waiting={len(self._queue)} over={self.over}>"

    def offer(self, event: Event) -> None:
        """Send ``event`` as soon as it may be sent."""
        if event is MANY or (len(self._queue) >= MAX_EVENTS and event.key not in self._queue):
            self._many = True
            self._queue.clear()
        elif not self._many:
            self._queue.pop(event.key, None)
            self._queue[event.key] = event
        self.wake()

    def connected_again(self) -> None:
        """The client had a stream before, and may have missed changes since."""
        self.offer(MANY)

    def pending(self) -> bool:
        """Whether an event is to be sent."""
        return self._many or bool(self._queue)

    def patience(self) -> float:
        """Until a comment is due, or the question whether the caller may read."""
        return min(RECHECK_SECONDS, max(self._comment_at - self._loop.time(), 0.0))

    def wake(self) -> None:
        """End ``wait`` now; if there is no event, a comment is sent."""
        self._comment_at = -math.inf
        super().wake()

    async def wait(self) -> None:
        """Wait until something is to be sent, or was asked again."""
        await super().wait()
        if not self.leaving:
            self._refused = not await self._may_read()

    def take(self) -> bytes:
        """The next event, a comment, an end of the stream, or nothing."""
        now = self._loop.time()
        self.over = self.leaving or self._refused
        if self.leaving:
            return RETRY
        if self._refused or self._many:
            self._many = False
            event = MANY
        elif self._queue:
            event = self._queue.pop(next(iter(self._queue)))
        elif now >= self._comment_at:
            self._comment_at = now + COMMENT_SECONDS
            return COMMENT
        else:
            return b""
        self._sent.append(now)
        self._not_before = self._sent[0] + WINDOW_SECONDS
        self._comment_at = now + COMMENT_SECONDS
        return event.data
