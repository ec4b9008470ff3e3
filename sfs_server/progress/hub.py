"""Who watches which transfer: the hub between byte loops, which count, and event streams.

A transfer counts its bytes in an integer, which its byte loop adds to and nobody waits for. The hub
knows the transfers that have an id. Every SAMPLE_SECONDS it reads the integers of those that are
watched, and makes a :class:`State` of each that has changed. So the cost of watching does not
depend on how fast the bytes are: it is 3 events a second and watcher, each encoded once for all
watchers of the transfer. The contract promises an event at least every 500 ms while bytes move, and
at most every 100 ms. SAMPLE_SECONDS is between the two, with 100 ms to spare for the way through
another process. The first and the last event of a stream come outside of that rhythm, so each
stream keeps GAP_SECONDS between two events. Measured on a busy machine: an event costs 10 to 28 µs,
so a thousand watchers take 3 to 9 % of a core; ten thousand idle ones take 14 KiB each. Watchers
are served in batches, with other work in between.

A watcher whose socket has taken all before is sent an event at once. Otherwise it holds one state,
the newest that it has not sent, and no queue: a newer state replaces it, and the handler sends what
is there when its last event has left. So a slow client misses states, but never the last one, and
delays nobody.

A watcher waits until there is a transfer of its id that it may see, and then stays with that one:
its ``bytes`` never fall, even if the id is used again. If there are several, those of its own user
come first, then those that run, then the youngest. A transfer is kept for KEEP_SECONDS after its
end; if more than MAX_ENDED have ended, only the youngest of them.

An upload that can be resumed is one transfer to those who watch, and one for each of its requests
here. Where a request ends and the upload does not (``pause``), the transfer is removed without an
end. Its watchers wait for the next one of that id and owner, in this process or in another one, and
go on with it; what they are shown never falls, although the next request may start at fewer bytes.
A watcher that comes in the pause is shown where it started, for KEEP_SECONDS. A request takes the
upload over from one that runs, so watchers follow it at once: the process that has the older one
may be dead. If nothing follows, they wait no longer than for a start.

Other processes: :mod:`sfs_server.progress.relay` sends them the states of transfers that they
request, and gives the hub the states of theirs (``receive``). There they are transfers like any
other, whose state arrives instead of being sampled. A transfer may have ended here while another
one with its id runs in another process. So a watcher that comes after an end is shown that end only
when no process has responded within RESPONSE_SECONDS that it has one that runs.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from operator import methodcaller
from typing import Protocol

from sfs_server.auth import Principal
from sfs_server.progress.transfers import (
    MAX_ERROR_CHARACTERS,
    Transfer,
    Watcher,
)
from sfs_server.streams import OpenStreams, in_batches

SAMPLE_SECONDS = 0.3
"""Between two looks at how many bytes the watched transfers have moved."""

KEEP_SECONDS = 60.0
"""How long the end of a transfer can be watched."""

RESPONSE_SECONDS = 0.2
"""How long other processes have to respond that a transfer runs there."""

MAX_ENDED = 50_000
"""Transfers that are kept after their end. They take some 25 MB; there are more only if over 800
transfers with an id end in each second."""

MAX_PAUSED = 10_000
"""Transfers that are kept after their request has ended and while no other one goes on."""

MAX_REMOTE = 30_000
"""Transfers of other processes that are kept while they run."""

LOST = "The server that had this transfer has fallen silent."


class OtherProcesses(Protocol):
    """The other processes, as the hub sees them. No method waits."""

    def requested(self, id_: str) -> bool:
        """Whether another process has requested the transfers of ``id_``: it has a watcher."""

    def send(self, transfer: Transfer) -> None:
        """Send them the state of ``transfer`` soon, the newest there is then."""

    def request(self, id_: str) -> bool:
        """Request their transfers of ``id_``, now and from now on. False if none can respond."""


class NoOtherProcesses:
    """Of a process that is alone."""

    def requested(self, id_: str) -> bool:
        return False

    def send(self, transfer: Transfer) -> None:
        pass

    def request(self, id_: str) -> bool:
        return False


class Hub:
    """The transfers and the watchers of one process. Belongs to one event loop.

    ``streams`` are its watchers. ``others`` is set before the first use.
    """

    def __init__(self) -> None:
        self.streams = OpenStreams()
        self.others: OtherProcesses = NoOtherProcesses()
        self.ended: deque[Transfer] = deque()
        """Those that have ended, of this process and of others, in the order of their ends."""
        self.remote: dict[str, Transfer] = {}
        """Those that run in other processes, by their run."""
        self._runs: dict[str, dict[str, Transfer]] = {}  # all, by id and run
        self._paused: dict[str, tuple[float, Transfer]] = {}  # of this process, since when, by id
        self._waiting: dict[str, set[Watcher]] = {}  # without a transfer, by id
        self._sampled: dict[Transfer, None] = {}  # in the order in which they were added
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return (
            f"<Hub running={sum(map(len, self._runs.values()))} remote={len(self.remote)} "
            f"ended={len(self.ended)} streams={self.streams!r}>"
        )

    def start(self, transfer: Transfer, total: int | None) -> None:
        """A transfer of this process that has an id starts. ``total`` is its length in
        bytes, None where the request does not say. The caller calls ``end`` or, for one that is
        resumable, ``pause``, whatever happens."""
        transfer.total = total
        transfer.run = os.urandom(8).hex()
        transfer.started = self._loop.time()
        self._add(transfer)
        self._take_over(transfer)
        self._show(transfer)

    def pause(self, transfer: Transfer) -> None:
        """The request of a resumable transfer that was started here has ended, and the upload goes
        on in a later request, perhaps of another process."""
        transfer.paused = True
        self._show(transfer)
        self._set_aside(transfer)
        self._paused.pop(transfer.id, None)  # so that the youngest is the last
        self._paused[transfer.id] = self._loop.time(), transfer
        self._drop_old()

    def end(self, transfer: Transfer, error: str | None = None) -> None:
        """A transfer that was started here has ended: well, or with an ``error``, a sentence for
        those who watch."""
        if error is not None:
            transfer.error = error[:MAX_ERROR_CHARACTERS]
        elif transfer.total is None:
            transfer.total = transfer.moved
        self._finish(transfer, self._loop.time())
        self._show(transfer)

    def receive(self, sent: Transfer) -> None:
        """Another process has sent the state of a transfer of its own. A state that is not newer
        than the one received before is ignored, and so is a transfer that nobody watches.

        An end is kept for KEEP_SECONDS from now on, even if nobody watches: a process that stops
        sends its ends to the others.
        """
        now = self._loop.time()
        known = self._runs.get(sent.id, {}).get(sent.run)
        if known is None:
            watched = sent.id in self._waiting or any(one.watchers for one in self._before(sent))
            watched = watched and len(self.remote) < MAX_REMOTE
            if sent.ended is None and not watched:
                return
            known = sent
            self._add(sent)
            self.remote[sent.run] = sent
            self._take_over(sent)
        elif known.last_received is None or known.ended is not None:
            return
        known.last_received = now
        known.moved = max(known.moved, sent.moved)
        known.total, known.error = sent.total, sent.error
        if sent.ended is not None:
            self._finish(known, now)
        if known.state() is not known.last_shown:
            self._show(known)
        if sent.paused:
            self._set_aside(known)

    def lose(self, transfer: Transfer) -> None:
        """The process of a remote transfer sends nothing any more. One that is resumable can go on
        without it."""
        if transfer.resumable:
            self._set_aside(transfer)
            return
        transfer.error = LOST
        transfer.ended = self._loop.time()
        self.remote.pop(transfer.run, None)
        self._show(transfer)
        self._remove(transfer)  # its process may send again

    def send_requested(self, id_: str) -> None:
        """Another process has requested ``id_``: send it the states that there are, and go on
        sampling."""
        self._drop_old()
        for transfer in self._runs.get(id_, {}).values():
            if transfer.last_received is None:
                self._sample(transfer)
                self.others.send(transfer)
        if id_ in self._paused:
            self.others.send(self._paused[id_][1])

    def ids_to_request(self) -> set[str]:
        """The watched ids of which other processes may have transfers."""
        watched = {transfer.id for transfer in self.remote.values() if transfer.watchers}
        return watched.union(self._waiting)

    def sampled(self) -> list[Transfer]:
        """The transfers of this process that are watched, here or in other processes."""
        return list(self._sampled)

    @contextmanager
    def watch(self, id_: str, principal: Principal) -> Iterator[Watcher]:
        """A stream of ``id_`` for ``principal``, until the body of the ``with`` ends. Raises
        Problem 503."""
        watcher = Watcher(id_, principal)
        with self.streams.one(watcher):
            try:
                self._find_transfer(watcher)
                yield watcher
            finally:
                self._detach(watcher)

    def close(self) -> None:
        """Stop sampling."""
        if self._timer is not None:
            self._timer.cancel()

    def _find_transfer(self, watcher: Watcher) -> None:
        """Show ``watcher`` the transfer that there is, or let it wait for one."""
        best = self._best(watcher)
        if (best is None or best.ended is not None) and self._show_pause(watcher):
            best = None
        runs_here = best is not None and best.ended is None and best.last_received is None
        requested = not runs_here and self.others.request(watcher.id)
        if best is not None and not (best.ended is not None and requested):
            self._attach(watcher, best)
            watcher.offer(best.state())
            return
        self._waiting.setdefault(watcher.id, set()).add(watcher)
        if best is not None:
            self._loop.call_later(RESPONSE_SECONDS, self._accept_end, watcher)

    def _show_pause(self, watcher: Watcher) -> bool:
        """Show a ``watcher`` that is new where the transfer paused, if nothing has come after."""
        _, transfer = self._paused.get(watcher.id, (0.0, None))
        if transfer is None or watcher.paused is not None or not watcher.awaits(transfer):
            return False
        watcher.offer(transfer.state())
        watcher.wait_for_rest(transfer)
        return True

    def _accept_end(self, watcher: Watcher) -> None:
        """No process has responded that the transfer runs: show ``watcher`` the end of the one that
        there was, if it still waits."""
        if watcher in self._waiting.get(watcher.id, ()):
            best = self._best(watcher)
            if best is not None:
                self._attach(watcher, best)
                watcher.offer(best.state())

    def _best(self, watcher: Watcher) -> Transfer | None:
        """The transfer that ``watcher`` is to see, of those that it may see."""
        self._drop_old()
        user = watcher.principal.user
        visible = (
            transfer
            for transfer in reversed(self._runs.get(watcher.id, {}).values())
            if watcher.awaits(transfer)
        )
        return max(
            visible,
            key=lambda one: (one.owner == user, one.ended is None, one.started or 0.0),
            default=None,
        )

    def _attach(self, watcher: Watcher, transfer: Transfer) -> None:
        self._detach(watcher)
        watcher.transfer = transfer
        transfer.watchers.add(watcher)
        self._sample(transfer)

    def _detach(self, watcher: Watcher) -> None:
        """Take ``watcher`` from its transfer, or from those that wait for one."""
        if watcher.transfer is not None:
            watcher.transfer.watchers.discard(watcher)
            return
        waiting = self._waiting.get(watcher.id)
        if waiting is not None:
            waiting.discard(watcher)
            if not waiting:
                del self._waiting[watcher.id]

    def _show(self, transfer: Transfer) -> None:
        """Show the newest state to all who are to see it, also in other processes."""
        for watcher in list(self._waiting.get(transfer.id, ())):
            if watcher.awaits(transfer):
                if transfer.ended is None:
                    self._attach(watcher, transfer)
                else:
                    self._loop.call_later(RESPONSE_SECONDS, self._accept_end, watcher)
        transfer.last_shown = state = transfer.state()
        in_batches(methodcaller("offer", state), list(transfer.watchers))
        if transfer.last_received is None and self.others.requested(transfer.id):
            self._sample(transfer)
            self.others.send(transfer)

    def _sample(self, transfer: Transfer) -> None:
        """Sample a transfer of this process from now on, as long as it is watched and runs."""
        if transfer.last_received is None and transfer.ended is None:
            self._sampled[transfer] = None
            self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(SAMPLE_SECONDS, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        for transfer in list(self._sampled):
            if not transfer.watchers and not self.others.requested(transfer.id):
                del self._sampled[transfer]
            elif transfer.state() is not transfer.last_shown:
                self._show(transfer)
        if self._sampled:
            self._start_timer()

    def _before(self, transfer: Transfer) -> list[Transfer]:
        """The transfers that run and that ``transfer`` takes over: of other requests of its upload,
        which started before it."""
        if not transfer.resumable:
            return []
        return [
            one
            for one in self._runs.get(transfer.id, {}).values()
            if one.resumable
            and one.ended is None
            and one.owner == transfer.owner
            and one is not transfer
            and (one.started or 0.0) <= (transfer.started or 0.0)
        ]

    def _take_over(self, transfer: Transfer) -> None:
        """Let those who watch the requests before show ``transfer``, which has been added."""
        for one in self._before(transfer):
            self._set_aside(one)

    def _set_aside(self, transfer: Transfer) -> None:
        """Remove a transfer that goes on in another one, for which its watchers wait."""
        self._sampled.pop(transfer, None)
        self.remote.pop(transfer.run, None)
        self._remove(transfer)
        for watcher in list(transfer.watchers):
            transfer.watchers.discard(watcher)
            watcher.wait_for_rest(transfer)
            self._find_transfer(watcher)

    def _add(self, transfer: Transfer) -> None:
        self._paused.pop(transfer.id, None)
        self._runs.setdefault(transfer.id, {})[transfer.run] = transfer

    def _finish(self, transfer: Transfer, at: float) -> None:
        transfer.ended = at
        self._sampled.pop(transfer, None)
        self.remote.pop(transfer.run, None)
        self.ended.append(transfer)
        self._drop_old()

    def _drop_old(self) -> None:
        """Remove the transfers that ended or paused more than KEEP_SECONDS ago, or exceed MAX_ENDED
        or MAX_PAUSED."""
        oldest = self._loop.time() - KEEP_SECONDS
        ended = self.ended
        while ended and (len(ended) > MAX_ENDED or (ended[0].ended or 0.0) < oldest):
            self._remove(ended.popleft())
        while self._paused:
            id_, (since, _) = next(iter(self._paused.items()))
            if since >= oldest and len(self._paused) <= MAX_PAUSED:
                break
            del self._paused[id_]

    def _remove(self, transfer: Transfer) -> None:
        runs = self._runs.get(transfer.id, {})
        runs.pop(transfer.run, None)
        if not runs:
            self._runs.pop(transfer.id, None)
