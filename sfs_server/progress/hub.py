"""Who watches which transfer: the hub between byte loops that count and streams that tell.

A transfer counts its bytes in an integer, which its byte loop adds to and nobody waits for; the hub
knows those that have an id. A clock of the hub's looks at the integers of the transfers that
somebody watches, every SAMPLE_SECONDS, and makes a :class:`State` of each that has moved. So the
cost of watching does not depend on how fast the bytes are: 3 events a second and watcher, each
encoded once for all watchers of the transfer. The contract has an event at least every 500 ms while
bytes move, and at most every 100 ms: the clock is between the two, with 100 ms to spare for the way
by another process, and only the first and the last event of a stream come beside it, so each stream
keeps GAP_SECONDS of its own between two. Measured on a busy machine: an event costs 10 to 28 µs, so
a thousand watchers take 3 to 9 % of a core; ten thousand idle ones take 14 KiB each. They are
served BATCH by BATCH, other work between.

A watcher whose socket has taken all before gets an event at once. Else it has one slot, with the
newest state that it has not sent yet, and no queue: states replace each other in the slot, and its
handler takes what is there when what it sent before has gone. So a slow client loses what lies
between, never the last state, and holds nothing up.

A watcher waits until there is a transfer of its id that it may see, and then stays with that one:
its ``bytes`` never fall, whoever uses the id again. If there are several, its own user's come
first, then those that run, then the youngest. A transfer is remembered for KEEP_SECONDS after its
end, of at most MAX_ENDED the youngest.

Other processes: :mod:`sfs_server.progress.relay` tells them of transfers that they want to know,
and tells the hub of theirs (``hear``). There they are transfers like any other, with a state that
arrives instead of being sampled. Because an id may have ended here and run again elsewhere, the
end of a transfer is shown to a watcher who comes after it only when nobody has answered within
ANSWER_SECONDS that it runs.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from sfs_server.auth import Principal
from sfs_server.errors import RETRY_AFTER_SECONDS, Problem
from sfs_server.progress.types import (
    MAX_ERROR_CHARACTERS,
    Elsewhere,
    Nowhere,
    State,
    Transfer,
    Watcher,
    may_see,
)

SAMPLE_SECONDS = 0.3
KEEP_SECONDS = 60.0
ANSWER_SECONDS = 0.2
BATCH = 100
"""Watchers that are served in one turn of the loop, which takes 1 to 2 ms."""

MAX_ENDED = 50_000
"""Some 25 MB; more than 800 transfers with an id would have to end in each second."""

MAX_WATCHERS = 30_000
MAX_REMOTE = 30_000

LOST = "The server that had this transfer has fallen silent."


class Hub:
    """The transfers and the watchers of one process. Belongs to one event loop.

    ``watchers`` is how many streams there are now. ``elsewhere`` is set before the first use.
    """

    def __init__(self) -> None:
        self.watchers = 0
        self.elsewhere: Elsewhere = Nowhere()
        self.ended: deque[Transfer] = deque()
        """Those that have ended, of this process and of others, in the order of their ends."""
        self.remote: dict[str, Transfer] = {}
        """Those that run in other processes, by their run."""
        self._runs: dict[str, dict[str, Transfer]] = {}
        self._waiting: dict[str, set[Watcher]] = {}
        self._seated: set[Watcher] = set()
        self._sampled: dict[Transfer, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return (
            f"<Hub running={sum(map(len, self._runs.values()))} remote={len(self.remote)} "
            f"ended={len(self.ended)} watchers={self.watchers} draining={self._draining}>"
        )

    def start(self, transfer: Transfer, total: int | None) -> None:
        """A transfer of this process that has an id starts, of ``total`` bytes if that is known.
        The caller calls ``end``, whatever happens."""
        transfer.total = total
        transfer.run = os.urandom(8).hex()
        transfer.started = self._loop.time()
        self._add(transfer)
        self._show(transfer)

    def end(self, transfer: Transfer, error: str | None = None) -> None:
        """A transfer that was started here has ended: well, or with an ``error``, a sentence for
        those who watch."""
        if error is not None:
            transfer.error = error[:MAX_ERROR_CHARACTERS]
        elif transfer.total is None:
            transfer.total = transfer.moved
        self._finish(transfer, self._loop.time())
        self._show(transfer)

    def hear(self, told: Transfer) -> None:
        """Another process has told of a transfer of its own. What is no news is ignored.

        An end is remembered for KEEP_SECONDS from now on, whether anybody has asked or not: a
        process that stops leaves its ends to the others.
        """
        now = self._loop.time()
        known = self._runs.get(told.id, {}).get(told.run)
        if known is None:
            asked = told.id in self._waiting and len(self.remote) < MAX_REMOTE
            if told.ended is None and not asked:
                return
            known = told
            self._add(told)
            self.remote[told.run] = told
        elif known.heard is None or known.ended is not None:
            return
        known.heard = now
        known.moved = max(known.moved, told.moved)
        known.total, known.error = told.total, told.error
        if told.ended is not None:
            self._finish(known, now)
        if known.state() is not known.shown:
            self._show(known)

    def lose(self, transfer: Transfer) -> None:
        """Nothing is heard any more of a transfer of another process."""
        transfer.error = LOST
        transfer.ended = self._loop.time()
        self.remote.pop(transfer.run, None)
        self._show(transfer)
        self._remove(transfer)  # it may be heard of again

    def wanted(self, id_: str) -> None:
        """Another process has a watcher of ``id_``: tell it what there is, and go on telling."""
        self._forget()
        for transfer in self._runs.get(id_, {}).values():
            if transfer.heard is None:
                self._follow(transfer)
                self.elsewhere.tell(transfer)

    def asking(self) -> set[str]:
        """The ids of which other processes may know more."""
        watched = {transfer.id for transfer in self.remote.values() if transfer.watchers}
        return watched.union(self._waiting)

    def running(self) -> list[Transfer]:
        """The transfers of this process that somebody watches."""
        return list(self._sampled)

    @contextmanager
    def watch(self, id_: str, principal: Principal) -> Iterator[Watcher]:
        """A stream of ``id_`` for ``principal``, until the body ends. Raises Problem 503."""
        if self.watchers >= MAX_WATCHERS:
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            raise Problem(503, "Too many event streams are open. Try again later.", retry)
        watcher = Watcher(id_, principal)
        self.watchers += 1
        self._seated.add(watcher)
        try:
            if self._draining:
                watcher.leave()
            self._seat(watcher)
            yield watcher
        finally:
            self.watchers -= 1
            self._seated.discard(watcher)
            self._unseat(watcher)

    def drain(self) -> None:
        """End every stream, and those that come, with a hint to come back."""
        self._draining = True
        for watcher in self._seated:
            watcher.leave()

    def close(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()

    def _seat(self, watcher: Watcher) -> None:
        """Show ``watcher`` what there is, or let it wait."""
        best = self._best(watcher)
        here = best is not None and best.ended is None and best.heard is None
        asked = not here and self.elsewhere.ask(watcher.id)
        if best is not None and not (best.ended is not None and asked):
            self._attach(watcher, best)
            watcher.offer(best.state())
            return
        self._waiting.setdefault(watcher.id, set()).add(watcher)
        if best is not None:
            self._loop.call_later(ANSWER_SECONDS, self._settle, watcher)

    def _settle(self, watcher: Watcher) -> None:
        """Nobody has said that the transfer runs: its end is what there is."""
        if watcher in self._waiting.get(watcher.id, ()):
            best = self._best(watcher)
            if best is not None:
                self._attach(watcher, best)
                watcher.offer(best.state())

    def _best(self, watcher: Watcher) -> Transfer | None:
        """The transfer that ``watcher`` is to see, of those that it may see."""
        self._forget()
        user = watcher.principal.user
        visible = (
            transfer
            for transfer in reversed(self._runs.get(watcher.id, {}).values())
            if may_see(watcher.principal, transfer)
        )
        return max(
            visible,
            key=lambda one: (one.owner == user, one.ended is None, one.started or 0.0),
            default=None,
        )

    def _attach(self, watcher: Watcher, transfer: Transfer) -> None:
        self._unseat(watcher)
        watcher.transfer = transfer
        transfer.watchers.add(watcher)
        self._follow(transfer)

    def _unseat(self, watcher: Watcher) -> None:
        if watcher.transfer is not None:
            watcher.transfer.watchers.discard(watcher)
            return
        waiting = self._waiting.get(watcher.id)
        if waiting is not None:
            waiting.discard(watcher)
            if not waiting:
                del self._waiting[watcher.id]

    def _show(self, transfer: Transfer) -> None:
        """Show the newest state to everybody who is to see it."""
        for watcher in list(self._waiting.get(transfer.id, ())):
            if may_see(watcher.principal, transfer):
                if transfer.ended is None:
                    self._attach(watcher, transfer)
                else:
                    self._loop.call_later(ANSWER_SECONDS, self._settle, watcher)
        transfer.shown = state = transfer.state()
        self._offer(state, list(transfer.watchers))
        if transfer.heard is None and self.elsewhere.wants(transfer.id):
            self._follow(transfer)
            self.elsewhere.tell(transfer)

    def _offer(self, state: State, watchers: list[Watcher]) -> None:
        """Offer ``state`` to ``watchers``, and let the loop do other things between many."""
        for watcher in watchers[-BATCH:]:
            watcher.offer(state)
        del watchers[-BATCH:]
        if watchers:
            self._loop.call_soon(self._offer, state, watchers)

    def _follow(self, transfer: Transfer) -> None:
        """Sample a transfer of this process from now on, as long as somebody watches."""
        if transfer.heard is None and transfer.ended is None:
            self._sampled[transfer] = None
            self._wind()

    def _wind(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(SAMPLE_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for transfer in list(self._sampled):
            if not transfer.watchers and not self.elsewhere.wants(transfer.id):
                del self._sampled[transfer]
            elif transfer.state() is not transfer.shown:
                self._show(transfer)
        if self._sampled:
            self._wind()

    def _add(self, transfer: Transfer) -> None:
        self._runs.setdefault(transfer.id, {})[transfer.run] = transfer

    def _finish(self, transfer: Transfer, at: float) -> None:
        transfer.ended = at
        self._sampled.pop(transfer, None)
        self.remote.pop(transfer.run, None)
        self.ended.append(transfer)
        self._forget()

    def _forget(self) -> None:
        """Forget what has ended long ago, and what is too much."""
        old = self._loop.time() - KEEP_SECONDS
        ended = self.ended
        while ended and (len(ended) > MAX_ENDED or (ended[0].ended or 0.0) < old):
            self._remove(ended.popleft())

    def _remove(self, transfer: Transfer) -> None:
        runs = self._runs.get(transfer.id, {})
        runs.pop(transfer.run, None)
        if not runs:
            self._runs.pop(transfer.id, None)
