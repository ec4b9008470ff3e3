"""A transfer that is watched, the states that it goes through, and one stream that tells of them.

The hub (:mod:`sfs_server.progress`) says how they go together.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from sfs_server.claims import Principal
from sfs_server.errors import Problem

GAP_SECONDS = 0.12
"""Between two events of one stream at least: the 100 ms of the contract, and some for the way."""

COMMENT_SECONDS = 15.0
MAX_ERROR_CHARACTERS = 200
COMMENT = b":\n\n"
RETRY = b"retry: 1000\n\n"
"""Asks a browser to come back in a second: another process will have it."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

Direction = Literal["upload", "download"]


def check_id(text: str) -> str:
    """Return ``text`` if it can be the id of a transfer. Raises Problem 400."""
    if _ID.fullmatch(text) is None:
        raise Problem(400, "The id of a transfer has 1 to 128 characters of A-Z a-z 0-9 . _ -")
    return text


def may_see(principal: Principal, owner: str | None) -> bool:
    """Whether ``principal`` is shown a transfer that ``owner`` began, None being anonymous. Pure.

    Whoever knows the id of an anonymous caller's transfer may see it.
    """
    return owner is None or principal.admin or principal.user == owner


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


class Count:
    """Bytes that have been moved. A byte loop adds to it, from one thread at a time."""

    __slots__ = ("moved",)

    def __init__(self) -> None:
        self.moved = 0


class Transfer(Count):
    """One upload or download with an id, here or in another process. Times are the loop's.

    ``run`` tells it from others of its id. ``heard`` is when another process last spoke of it, None
    if it is one of this process; ``shown`` is the state that its watchers were last given.
    """

    __slots__ = (
        "_state",
        "began",
        "direction",
        "ended",
        "error",
        "heard",
        "id",
        "owner",
        "run",
        "shown",
        "total",
        "watchers",
    )

    def __init__(self, id_: str, direction: Direction, owner: str | None, began: float) -> None:
        super().__init__()
        self.id = id_
        self.direction: Direction = direction
        self.owner = owner
        self.began = began
        self.run = os.urandom(8).hex()
        self.total: int | None = None
        self.ended: float | None = None
        self.error: str | None = None
        self.heard: float | None = None
        self.shown: State | None = None
        self._state: State | None = None
        self.watchers: set[Watcher] = set()

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
    """One event stream. ``over`` is set when ``next`` has given the last that is to be sent."""

    __slots__ = (
        "_loop",
        "_offered",
        "_sent",
        "_slot",
        "_waiter",
        "id",
        "leaving",
        "over",
        "principal",
        "transfer",
    )

    def __init__(self, id_: str, principal: Principal) -> None:
        self.id = id_
        self.principal = principal
        self.transfer: Transfer | None = None
        self.leaving = False
        self.over = False
        self._loop = asyncio.get_running_loop()
        self._slot: State | None = None
        self._offered: State | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sent = -math.inf

    def offer(self, state: State) -> None:
        """Replace what has not been sent yet. What was offered before is no news."""
        if state is self._offered:
            return
        self._offered = self._slot = state
        _wake(self._waiter)

    def leave(self) -> None:
        """End the stream, with a hint to come back."""
        self.leaving = True
        _wake(self._waiter)

    async def next(self) -> bytes:
        """Wait for what is to be sent: an event, or every COMMENT_SECONDS a comment."""
        if self._slot is None and not self.leaving:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(COMMENT_SECONDS, _wake, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        early = self._sent + GAP_SECONDS - self._loop.time()
        if self._slot is not None and early > 0:
            await asyncio.sleep(early)
        state, self._slot = self._slot, None
        if self.leaving and (state is None or not state.done):
            self.over = True
            return RETRY
        if state is None:
            return COMMENT
        self.over = state.done
        self._sent = self._loop.time()
        return state.event


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
