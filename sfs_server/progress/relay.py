"""Progress across processes that share one PostgreSQL, by LISTEN and NOTIFY.

Nothing is sent that nobody has requested: a transfer that is watched in its own process only, or
not at all, costs the database nothing. A process that has watchers of an id, but no transfer of it
that runs, requests that id from the others: at once, and again every RENEW_SECONDS. The others keep
the request for REQUEST_SECONDS. Those that have transfers of the id, running or ended within the
last minute, respond with the states of these, and go on sending them as the hub samples them.

One task sends all that is to be sent, in one statement every FLUSH_SECONDS at most, of at most
MAX_ITEMS items. Until then, an id or a transfer is in the queue once, however often it was put
there, and the newest state of the transfer is sent. So no byte loop waits for the database, and a
database that is slow or unavailable only delays states. What could not be sent is sent later.

What was lost is requested again. A listener that comes back (:mod:`sfs_server.database.listener`; a
dead connection is noticed after 5 s) has missed states and requests. So it requests all that it
needs, and sends HELLO, on which the others repeat their requests. A process that is killed sends
nothing more. Each requested transfer is sent every REPEAT_SECONDS, even if it does not move. So a
transfer whose state has not arrived for SILENCE_SECONDS has ended for its watchers. The silence
counts only while notifications arrive here at all, so a database that is unavailable ends nothing.
SILENCE_SECONDS is longer than the 10 s that a process needs to notice that its own connection is
dead, and to make another one.

A process that stops sends the ends of its MAX_LAST_ENDS youngest transfers, requested or not, so
that clients that watched them here find them in another process.

The listener is not the one of the namespaces: a connection for each costs little, and many states
do not delay the notification that a namespace was deleted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import TypeVar

from sfs_server.database import Database, Listener, StatementFailed
from sfs_server.errors import DatabaseUnavailable
from sfs_server.progress.hub import Hub
from sfs_server.progress.messages import HELLO, encode_request, encode_state, pack, parse
from sfs_server.progress.transfers import Transfer

CHANNEL = "sfs_progress"

FLUSH_SECONDS = 0.1
"""The shortest time between two statements."""

MAX_ITEMS = 1000
"""Items in one statement: mostly some 200 KB in 25 payloads."""

CHECK_SECONDS = 1.0
"""The longest time between two looks at what has become due."""

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

RETRY_SECONDS = 1.0
"""How long the task waits after a failure of the database."""

CLOSE_SECONDS = 1.0
"""How long a process that stops takes to send the last ends."""

MAX_LAST_ENDS = 1000

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Relay:
    """The other processes, for one hub (:class:`sfs_server.progress.hub.OtherProcesses`). ``start``
    it, and ``close`` it before its Database."""

    def __init__(self, hub: Hub, database: Database) -> None:
        self._hub = hub
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._me = os.urandom(8).hex()
        self._listener = Listener(
            database,
            CHANNEL,
            on_notify=self._on_notify,
            on_lost=lambda: None,
            on_return=self._on_return,
        )
        self._requested: OrderedDict[str, float] = OrderedDict()
        """The ids that others have requested, and until when."""
        self._hello = False  # is to be sent
        self._requests: dict[str, None] = {}  # to be sent, in their order
        self._states: dict[Transfer, None] = {}  # the same
        self._pending = asyncio.Event()  # something is to be sent
        self._renew_at = self._loop.time() + RENEW_SECONDS
        self._repeat_at = self._loop.time() + REPEAT_SECONDS
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def __repr__(self) -> str:
        return (
            f"<Relay requested={len(self._requested)} failing={self._failing} {self._listener!r}>"
        )

    async def start(self) -> None:
        """Start. A database that is unavailable is not an error: it is tried again."""
        await self._listener.start()
        self._hub.others = self
        self._task = asyncio.create_task(self._run(), name="progress relay")

    async def close(self) -> None:
        """Send the last ends, within CLOSE_SECONDS, and stop. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        while not task.done():  # asyncio.wait_for of Python 3.11, inside aiopg, loses one
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        own = (one for one in reversed(self._hub.ended) if one.last_received is None)
        self._states.update(dict.fromkeys(islice(own, MAX_LAST_ENDS)))
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._states:
                    await self._flush()
        except (DatabaseUnavailable, StatementFailed, TimeoutError) as error:
            _log.warning("the last ends of transfers did not reach other processes: %s", error)
        await self._listener.close()

    def requested(self, id_: str) -> bool:
        """Whether another process has requested the transfers of ``id_``."""
        return id_ in self._requested

    def send(self, transfer: Transfer) -> None:
        """Send the others the state of ``transfer`` soon, the newest there is then."""
        self._states[transfer] = None
        self._pending.set()

    def request(self, id_: str) -> bool:
        """Request transfers of ``id_`` from the others. False if no response would arrive."""
        if len(self._requests) < MAX_REQUESTED:  # what exceeds that goes with the next repetition
            self._requests[id_] = None
        self._pending.set()
        return self._listener.trusted

    def _on_notify(self, payload: str) -> None:
        sender, items = parse(payload, self._loop.time())
        if sender is None or sender == self._me:
            return
        for item in items:
            if item is None:
                self._request_all()
            elif isinstance(item, str):
                self._on_request(item)
            else:
                self._hub.receive(item)

    def _on_request(self, id_: str) -> None:
        self._requested[id_] = self._loop.time() + REQUEST_SECONDS
        self._requested.move_to_end(id_)
        if len(self._requested) > MAX_REQUESTED:
            self._requested.popitem(last=False)
        self._hub.send_requested(id_)

    def _on_return(self) -> None:
        self._hello = True
        for transfer in self._hub.remote.values():
            transfer.last_received = self._loop.time()  # the silence was here
        self._request_all()

    def _request_all(self) -> None:
        self._requests.update(dict.fromkeys(self._hub.ids_to_request()))
        self._pending.set()

    async def _run(self) -> None:
        """Send what is to be sent, and do what has become due."""
        while True:
            pause = FLUSH_SECONDS
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._pending.wait()
            except TimeoutError:
                pass
            self._pending.clear()
            self._check(self._loop.time())
            try:
                await self._flush()
                self._failing = False
            except (DatabaseUnavailable, StatementFailed) as error:
                if not self._failing:
                    _log.warning("progress does not reach other processes: %s", error)
                self._failing = True
                pause = RETRY_SECONDS
            except Exception:  # noqa: BLE001 - logged; a task that ended would be silent for ever
                _log.exception("progress does not reach other processes")
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)

    def _check(self, now: float) -> None:
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
        if self._listener.trusted:
            for transfer in list(self._hub.remote.values()):
                received = transfer.last_received
                if received is not None and received + SILENCE_SECONDS < now:
                    self._hub.lose(transfer)

    async def _flush(self) -> None:
        """Send the oldest of what is to be sent. What could not be sent stays to be sent."""
        hello, self._hello = self._hello, False
        items = [HELLO] if hello else []
        requests = self._take(self._requests, encode_request, items)
        now = self._loop.time()
        states = self._take(self._states, lambda transfer: encode_state(transfer, now), items)
        if self._requests or self._states:
            self._pending.set()
        if not items:
            return
        payloads = list(pack(self._me, items))
        try:
            await self._database.fetch(
                "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload",
                (CHANNEL, payloads),
                idempotent=True,
            )
        except BaseException:
            self._hello = hello or self._hello
            self._requests.update(dict.fromkeys(requests))
            self._states.update(dict.fromkeys(states))
            self._pending.set()
            raise

    @staticmethod
    def _take(queue: dict[_T, None], encode: Callable[[_T], str], items: list[str]) -> list[_T]:
        """Move from ``queue`` to ``items`` what one statement may still carry, and return it."""
        taken = list(islice(queue, MAX_ITEMS - len(items)))
        for one in taken:
            del queue[one]
            items.append(encode(one))
        return taken
