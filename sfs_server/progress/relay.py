"""Progress across processes: a topic of the exchange.

Nothing is sent that nobody has requested: a transfer that is watched in its own process only, or
not at all, costs the database nothing. A process that has watchers of an id, but no transfer of it
that runs, requests that id from the others: at once, and again every RENEW_SECONDS. The others keep
the request for REQUEST_SECONDS. Those that have transfers of the id, running or ended within the
last minute, respond with the states of these, and go on sending them as the hub samples them.

Until the exchange (:mod:`sfs_server.exchange`) sends what is to be sent, an id or a transfer is in
the queue once, however often it was put there, and the newest state of the transfer is sent.

What was lost is requested again. A listener that comes back (:mod:`sfs_server.database.listener`; a
dead connection is noticed after 5 s) has missed states and requests. So it requests all that it
needs, and sends HELLO, on which the others repeat their requests. A process that is killed sends
nothing more. Each requested transfer is sent every REPEAT_SECONDS, even if it does not move. So a
transfer whose state has not arrived for SILENCE_SECONDS has ended for its watchers, or, if it can
be resumed, paused. The silence counts only while notifications arrive here at all, so a database
that is unavailable ends nothing. SILENCE_SECONDS is longer than the 10 s that a process needs to
notice that its own connection is dead, and to make another one.

A process that stops sends the ends of its MAX_LAST_ENDS youngest transfers, requested or not, so
that clients that watched them here find them in another process.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import TypeVar

from sfs_server.exchange import Exchange
from sfs_server.progress.hub import Hub
from sfs_server.progress.messages import HELLO, encode_request, encode_state, parse
from sfs_server.progress.transfers import Transfer

RENEW_SECONDS = 10.0
"""How often the requests of this process are repeated."""

REQUEST_SECONDS = 25.0
"""How long a request of another process is kept: it may miss one repetition."""

MAX_REQUESTED = 50_000
"""Ids that other processes have requested; the oldest is dropped for one that exceeds that."""

REPEAT_SECONDS = 3.0
"""How often the state of a requested transfer is sent even if it has not changed."""

SILENCE_SECONDS = 15.0
"""How long the state of a remote transfer may not arrive before it counts as lost."""

MAX_LAST_ENDS = 1000

_T = TypeVar("_T")


class Relay:
    """The other processes, for one hub (:class:`sfs_server.progress.hub.OtherProcesses`), and a
    :class:`sfs_server.exchange.Topic`."""

    def __init__(self, hub: Hub, exchange: Exchange) -> None:
        self._hub = hub
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._requested: OrderedDict[str, float] = OrderedDict()
        """The ids that others have requested, and until when."""
        self._hello = False  # is to be sent
        self._requests: dict[str, None] = {}  # to be sent, in their order
        self._states: dict[Transfer, None] = {}  # the same
        self._taken: tuple[bool, list[str], list[Transfer]] = (False, [], [])  # what was sent last
        self._renew_at = self._loop.time() + RENEW_SECONDS
        self._repeat_at = self._loop.time() + REPEAT_SECONDS
        hub.others = self
        exchange.topics.append(self)

    def __repr__(self) -> str:
        return f"<Relay requested={len(self._requested)} {self._exchange!r}>"

    def requested(self, id_: str) -> bool:
        """Whether another process has requested the transfers of ``id_``."""
        return id_ in self._requested

    def send(self, transfer: Transfer) -> None:
        """Send the others the state of ``transfer`` soon, the newest there is then."""
        self._states[transfer] = None
        self._exchange.wake()

    def request(self, id_: str) -> bool:
        """Request transfers of ``id_`` from the others. False if no response would arrive."""
        if len(self._requests) < MAX_REQUESTED:  # what exceeds that goes with the next repetition
            self._requests[id_] = None
        self._exchange.wake()
        return self._exchange.trusted

    def receive(self, item: object) -> None:
        """Another process has sent ``item``."""
        if item is None:
            self._request_all()
            return
        found = parse(item, self._loop.time())
        if isinstance(found, str):
            self._on_request(found)
        elif found is not None:
            self._hub.receive(found)

    def _on_request(self, id_: str) -> None:
        self._requested[id_] = self._loop.time() + REQUEST_SECONDS
        self._requested.move_to_end(id_)
        if len(self._requested) > MAX_REQUESTED:
            self._requested.popitem(last=False)
        self._hub.send_requested(id_)

    def returned(self) -> None:
        """The listener of this process has come back: repeat all requests, here and there."""
        self._hello = True
        for transfer in self._hub.remote.values():
            transfer.last_received = self._loop.time()  # the silence was here
        self._request_all()

    def _request_all(self) -> None:
        self._requests.update(dict.fromkeys(self._hub.ids_to_request()))
        self._exchange.wake()

    def check(self, now: float) -> None:
        """Drop old requests, repeat what is due, and end the transfers that are silent."""
        while self._requested and next(iter(self._requested.values())) < now:
            self._requested.popitem(last=False)
        if now >= self._renew_at:
            self._renew_at = now + RENEW_SECONDS
            self._request_all()
        if now >= self._repeat_at:
            self._repeat_at = now + REPEAT_SECONDS
            sampled = self._hub.sampled()
            self._states.update((one, None) for one in sampled if one.id in self._requested)
        if self._exchange.trusted:
            for transfer in list(self._hub.remote.values()):
                received = transfer.last_received
                if received is not None and received + SILENCE_SECONDS < now:
                    self._hub.lose(transfer)

    def take(self, most: int) -> list[str]:
        """The oldest of what is to be sent."""
        hello, self._hello = self._hello, False
        items = [HELLO] if hello else []
        requests = _take(self._requests, encode_request, items, most)
        now = self._loop.time()
        states = _take(self._states, lambda transfer: encode_state(transfer, now), items, most)
        self._taken = (hello, requests, states)
        return items

    def restore(self) -> None:
        """What was taken last is to be sent again."""
        hello, requests, states = self._taken
        self._hello = hello or self._hello
        self._requests.update(dict.fromkeys(requests))
        self._states.update(dict.fromkeys(states))

    def waiting(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._hello or self._requests or self._states)

    def closing(self) -> None:
        """Send the last ends, and nothing else."""
        self._hello = False
        self._requests.clear()
        own = (one for one in reversed(self._hub.ended) if one.last_received is None)
        self._states.update(dict.fromkeys(islice(own, MAX_LAST_ENDS)))


def _take(
    queue: dict[_T, None], encode: Callable[[_T], str], items: list[str], most: int
) -> list[_T]:
    """Move from ``queue`` to ``items`` what makes them ``most`` at most, and return it."""
    taken = list(islice(queue, max(most - len(items), 0)))
    for one in taken:
        del queue[one]
        items.append(encode(one))
    return taken
