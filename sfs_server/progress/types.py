"""A transfer that is watched, the states that it goes through, and one stream that tells of them.

The hub (:mod:`sfs_server.progress.hub`) says how they go together.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from gfs.futures import resolve
from sfs_server.auth import Principal
from sfs_server.errors import Problem

GAP_SECONDS = 0.12
"""Between two events of one stream at least: the 100 ms of the contract, and some for the way."""

COMMENT_SECONDS = 15.0
MAX_ERROR_CHARACTERS = 200
COMMENT = b":\n\n"
START_SECONDS = 600.0
"""How long a stream waits for its transfer to start."""

NOT_STARTED = b": no transfer of this id has started, ask again if one will\nretry: 60000\n\n"
"""A browser that still waits asks again after a minute, not after its three seconds, so that a
transfer that starts late is seen and a forgotten page costs little. A 204 would end it for good."""

RETRY = b"retry: 1000\n\n"
"""Asks a browser to come back in a second: another process will have it."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

Direction = Literal["upload", "download"]


def check_id(text: str) -> str:
    """Return ``text`` if it can be the id of a transfer. Raises Problem 400."""
    if _ID.fullmatch(text) is None:
        raise Problem(400, "The id of a transfer has 1 to 128 characters of A-Z a-z 0-9 . _ -")
    return text


def may_see(principal: Principal, transfer: Transfer) -> bool:
    """Whether ``principal`` is shown ``transfer``. Pure.

    Anyone who knows the id of an anonymous caller's transfer may see it. Another one is shown to
    its user and to admins. An API token needs a scope as well: to read in the namespace of the
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
    """What is known of a transfer at one moment. ``total`` is None while nobody knows it."""

    id: str
    direction: Direction
    moved: int
    total: int | None
    done: bool
    error: str | None = None

    @cached_property
    def event(self) -> bytes:
        """The state as an event of the stream; encoded once."""
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

    @cached_property
    def chunk(self) -> bytes:
        """The event as a chunk of a body (RFC 9112 §7.1)."""
        return b"%x\r\n%b\r\n" % (len(self.event), self.event)


@dataclass(slots=True, eq=False)
class Transfer:
    """One upload or download, of this process or, in the hub, of another one.

    Every upload and download has one, and its byte loop adds to ``moved``, from one thread at a
    time. Only one that has an ``id``, because its client gave it one, is known to the hub and can
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
    """Bytes that have been moved."""
    total: int | None = None
    """Bytes that there are to move; None while nobody knows."""
    run: str = ""
    """Distinguishes it from other transfers with the same id; the hub sets it at the start."""
    started: float | None = None
    """When it started; None if it has not, and then the hub does not know it."""
    ended: float | None = None
    error: str | None = None
    """Why it failed, as a sentence for those who watch."""
    heard: float | None = None
    """When its process last sent its state; None if it is a transfer of this process."""
    shown: State | None = field(default=None, repr=False)
    """The state that its watchers were given last."""
    watchers: set[Watcher] = field(default_factory=set, repr=False)
    _state: State | None = field(default=None, repr=False)

    def state(self) -> State:
        """The newest state; the same object as long as nothing has moved."""
        state, done = self._state, self.ended is not None
        if state is None or (state.moved, state.total, state.done) != (
            self.moved,
            self.total,
            done,
        ):
            state = State(self.id, self.direction, self.moved, self.total, done, self.error)
            self._state = state
        return state


class Watcher:
    """One event stream. ``over`` is set when ``take`` has given the last that is to be sent.

    ``sink`` sends a state if the socket takes it at once, and says whether it has. It saves the
    waking of a task, two thirds of the cost of an event.
    """

    __slots__ = (
        "_loop",
        "_offered",
        "_sent",
        "_slot",
        "_until",
        "_waiter",
        "id",
        "leaving",
        "over",
        "principal",
        "sink",
        "transfer",
    )

    def __init__(self, id_: str, principal: Principal) -> None:
        self.id = id_
        self.principal = principal
        self.transfer: Transfer | None = None
        self.sink: Callable[[State], bool] | None = None
        self.leaving = False
        self.over = False
        self._loop = asyncio.get_running_loop()
        self._slot: State | None = None
        self._offered: State | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sent = -math.inf
        self._until = self._loop.time() + START_SECONDS

    def __repr__(self) -> str:
        return f"<Watcher {self.id!r} leaving={self.leaving} over={self.over}>"

    def offer(self, state: State) -> None:
        """Send ``state`` at once if the stream is free, else let it replace what waits to be sent.

        What is no news is ignored: the hub spreads its offers, and they may come late.
        """
        last = self._offered
        if last is not None and (state is last or last.done or state.moved < last.moved):
            return
        self._offered = state
        now = self._loop.time()
        at_once = self._slot is None and not state.done and now - self._sent >= GAP_SECONDS
        if at_once and self.sink is not None and self.sink(state):
            self._sent = now
            return
        self._slot = state
        self.prod()

    def leave(self) -> None:
        """End the stream, with a hint to come back."""
        self.leaving = True
        self.prod()

    def prod(self) -> None:
        """Send something now, be it a comment: nothing else shows whether the client is there."""
        if self._waiter is not None:
            resolve(self._waiter, None)

    async def news(self) -> None:
        """Wait until there is something to ``take``, every COMMENT_SECONDS at least."""
        if self._slot is None and not self.leaving:
            self._waiter = self._loop.create_future()
            seconds = COMMENT_SECONDS
            if self.transfer is None:
                seconds = min(seconds, max(self._until - self._loop.time(), 0.0))
            timer = self._loop.call_later(seconds, resolve, self._waiter, None)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        early = self._sent + GAP_SECONDS - self._loop.time()
        if self._slot is not None and early > 0:
            await asyncio.sleep(early)

    def take(self) -> bytes:
        """What is to be sent now: the newest event, a comment, or the hint to come back."""
        state, self._slot = self._slot, None
        if self.leaving and (state is None or not state.done):
            self.over = True
            return RETRY
        if state is None:
            if self.transfer is None and self._loop.time() >= self._until:
                self.over = True
                return NOT_STARTED
            return COMMENT
        self.over = state.done
        self._sent = self._loop.time()
        return state.event


class Elsewhere(Protocol):
    """The other processes, as the hub sees them. No method waits."""

    def wants(self, id_: str) -> bool:
        """Whether another process has a watcher of ``id_``."""

    def tell(self, transfer: Transfer) -> None:
        """Send them the state of ``transfer`` soon, the newest there is then."""

    def ask(self, id_: str) -> bool:
        """Ask them for transfers of ``id_``, now and from now on. False if nobody can answer."""


class Nowhere:
    """No other processes."""

    def wants(self, id_: str) -> bool:
        return False

    def tell(self, transfer: Transfer) -> None:
        pass

    def ask(self, id_: str) -> bool:
        return False
