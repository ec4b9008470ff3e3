"""A transfer, the states that it goes through, and one event stream that shows them.

How they work together is said in :mod:`sfs_server.progress.hub`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from sfs_server.auth import Principal
from sfs_server.errors import Problem
from sfs_server.streams import COMMENT, COMMENT_SECONDS, RETRY, EventStream

GAP_SECONDS = 0.12
"""The shortest time between two events of one stream: the 100 ms of the contract, and 20 ms more,
because events do not all take equally long to arrive."""

START_SECONDS = 600.0
"""How long a stream waits for its transfer to start."""

NOT_STARTED = b": no transfer of this id has started, ask again if one will\nretry: 60000\n\n"
"""The end of a stream that has waited for START_SECONDS. A browser that still waits connects again
after a minute, not after its usual three seconds: a transfer that starts late is shown, and a
forgotten page costs little. Status 204 would end the stream for good."""

MAX_ERROR_CHARACTERS = 200
"""The longest error that is shown of a transfer; what exceeds that is cut off."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

Direction = Literal["upload", "download"]


def check_id(text: str) -> str:
    """Return ``text`` if it can be the id of a transfer. Raises Problem 400."""
    if _ID.fullmatch(text) is None:
        raise Problem(400, "The id of a transfer has 1 to 128 characters of A-Z a-z 0-9 . _ -")
    return text


def may_see(principal: Principal, transfer: Transfer) -> bool:
    """Whether ``principal`` is shown ``transfer``. Pure.

    The transfer of an anonymous caller is shown to anyone who knows its id; that of a user only to
    that user and to admins. An API token needs a scope as well: to read in the namespace of the
    transfer, or, for an upload, to upload there.
    """
    if transfer.owner is None:
        return True
    if not (principal.admin or principal.user == transfer.owner):
        return False
    if principal.scopes is None:
        return True
    actions = ("read", "create") if transfer.direction == "upload" else ("read",)
    resource = f"files.{transfer.namespace}"
    return transfer.namespace is not None and any(
        principal.granted(resource, action) for action in actions
    )


@dataclass(frozen=True)
class State:
    """How far a transfer is at one moment: ``moved`` of ``total`` bytes; ``total`` is None while it
    is not known. ``error`` says why it failed, if it is ``done`` and has failed."""

    id: str
    direction: Direction
    moved: int
    total: int | None
    done: bool
    error: str | None = None

    @cached_property
    def event(self) -> bytes:
        """The state as an event of a stream, encoded once for all streams."""
        shown: dict[str, object] = {
            "id": self.id,
            "direction": self.direction,
            "bytes": self.moved,
            "total": self.total,
            "done": self.done,
        }
        if self.error is not None:
            shown["error"] = self.error
        return b"data: %b\n\n" % json.dumps(shown).encode()


@dataclass(slots=True, eq=False)
class Transfer:
    """One upload or download, of this process or, in the hub, of another one.

    Every upload and download has one, and its byte loop adds to ``moved``, from one thread at a
    time. Only one that has an ``id``, because its client gave it one, is added to the hub and can
    be watched. Times are those of the event loop's clock.
    """

    direction: Direction
    id: str = ""
    """What its client calls it; empty if the client gave no id."""
    owner: str | None = None
    """The user who started it; None for an anonymous caller."""
    namespace: str | None = None
    """Where its file is; None while that is not known."""
    moved: int = 0
    """Bytes that have been sent or received."""
    offset: int = 0
    """How many of these earlier requests have moved."""
    total: int | None = None
    """Bytes that there are to send or receive; None while that is not known."""
    resumable: bool = False
    """Whether it is one request of an upload that may go on in another one, in any process."""
    run: str = ""
    """Distinguishes it from other transfers with the same id; the hub sets it at the start."""
    started: float | None = None
    """When it was added to the hub; None if it was not."""
    ended: float | None = None
    paused: bool = False
    """Whether its request has ended and its upload has not."""
    error: str | None = None
    """Why it failed, as a sentence for those who watch."""
    last_received: float | None = None
    """When its process last sent its state; None if it is a transfer of this process."""
    last_shown: State | None = field(default=None, repr=False)
    """The state that its watchers were given last."""
    watchers: set[Watcher] = field(default_factory=set, repr=False)
    _state: State | None = field(default=None, repr=False)

    def state(self) -> State:
        """The newest state; the same object as long as nothing has changed."""
        state, done = self._state, self.ended is not None
        if state is None or (state.moved, state.total, state.done) != (
            self.moved,
            self.total,
            done,
        ):
            state = State(self.id, self.direction, self.moved, self.total, done, self.error)
            self._state = state
        return state


def _progress(state: State) -> tuple[int, int]:
    """What grows while a transfer runs."""
    return state.moved, -1 if state.total is None else state.total


class Watcher(EventStream):
    """The event stream of one transfer. The hub offers it states."""

    __slots__ = ("_last_offered", "_next", "_until", "id", "paused", "principal", "transfer")

    def __init__(self, id_: str, principal: Principal) -> None:
        super().__init__()
        self.id = id_
        self.principal = principal
        self.transfer: Transfer | None = None
        self.paused: Transfer | None = None
        """The transfer that it has shown and that goes on in another one."""
        self._next: State | None = None  # to be sent
        self._last_offered: State | None = None
        self._until = self._loop.time() + START_SECONDS

    def __repr__(self) -> str:
        return f"<Watcher {self.id!r} leaving={self.leaving} over={self.over}>"

    def awaits(self, transfer: Transfer) -> bool:
        """Whether it is to show ``transfer``: one that its caller may see, and, where it has shown
        one that was paused, the rest of that and nothing that had ended before."""
        before = self.paused
        if before is not None and (
            (transfer.owner, transfer.direction) != (before.owner, before.direction)
            or (transfer.ended is not None and transfer.ended <= (before.started or 0.0))
        ):
            return False
        return may_see(self.principal, transfer)

    def wait_for_rest(self, paused: Transfer) -> None:
        """Wait for the transfer in which ``paused`` goes on, as long as for one that starts."""
        self.paused = paused
        self.transfer = None
        self._until = self._loop.time() + START_SECONDS

    def offer(self, state: State) -> None:
        """Send ``state`` at once if the stream is free; otherwise it replaces the state that waits
        to be sent.

        One that is not newer than the last is ignored: the hub spreads its offers over time, and
        they may come late; and an upload that was paused goes on from what is durable, which may be
        less than what was shown. If it fails there, its bytes are those that were shown.
        """
        last = self._last_offered
        if last is not None:
            if last.done or (not state.done and _progress(state) <= _progress(last)):
                return
            if state.moved < last.moved and state.error is not None:
                state = replace(state, moved=last.moved)
        self._last_offered = state
        now = self._loop.time()
        free = self._next is None and not state.done and now >= self._not_before
        if free and self.send_at_once is not None and self.send_at_once(state.event):
            self._not_before = now + GAP_SECONDS
            return
        self._next = state
        self.wake()

    def pending(self) -> bool:
        """Whether a state is to be sent."""
        return self._next is not None

    def patience(self) -> float:
        """Until a comment is due, or until the transfer should have started."""
        if self.transfer is not None:
            return COMMENT_SECONDS
        return min(COMMENT_SECONDS, max(self._until - self._loop.time(), 0.0))

    def take(self) -> bytes:
        """The newest state, a comment, or an end of the stream."""
        state, self._next = self._next, None
        if self.leaving and (state is None or not state.done):
            self.over = True
            return RETRY
        if state is None:
            if self.transfer is None and self._loop.time() >= self._until:
                self.over = True
                return NOT_STARTED
            return COMMENT
        self.over = state.done
        self._not_before = self._loop.time() + GAP_SECONDS
        return state.event
