"""Progress across processes that share one PostgreSQL, by LISTEN and NOTIFY.

Nobody tells what nobody asks for: a transfer that is watched in its own process only, or not at
all, costs the database nothing. A process that has watchers of an id and no transfer of it that
runs says that it wants to know of that id. It says so at once, and again every RENEW_SECONDS; the
others remember it for WANT_SECONDS. Whoever has transfers of that id, running or ended within the
last minute, answers with their states, and goes on telling, in the rhythm of the hub's clock.

What is to be said is gathered, and sent by one task, in one statement every FLUSH_SECONDS at most,
of at most MAX_ITEMS items: an id is gathered once, a transfer once, and its newest state is taken
when it is sent. So no byte loop ever waits for the database, and a
database that is slow or away only makes the news older; what could not be sent is sent later.

Losses are made good by asking. A listener that comes back (:mod:`sfs_server.database.listener`: a
dead connection is noticed after 5 s) has missed states and wishes: it asks for all that it wants,
and says hello, on which the others ask it again. A process that is killed says nothing: a transfer
of which nothing was heard for SILENCE_SECONDS, though every transfer that is wanted is told of
every BEAT_SECONDS even if it does not move, has ended for its watchers. The silence counts only
while this process itself hears the database, so that a database that is away ends nothing. SILENCE
is longer than a process needs to notice that its own connection is dead, and make another (10 s).

A process that stops hands the ends of its transfers on, the MAX_LEFT youngest, so that those who
watched here find them elsewhere.

The listener is one of its own, beside that of the namespaces: a connection for each costs little,
and a flood of progress does not delay the word that a namespace was deleted.
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
from sfs_server.progress.messages import HELLO, encode_state, encode_want, pack, parse
from sfs_server.progress.types import Transfer

CHANNEL = "sfs_progress"
FLUSH_SECONDS = 0.1
MAX_ITEMS = 1000
"""Mostly some 200 KB in 25 payloads."""

TURN_SECONDS = 1.0
RENEW_SECONDS = 10.0
WANT_SECONDS = 25.0
MAX_WANTED = 50_000
BEAT_SECONDS = 3.0
SILENCE_SECONDS = 15.0
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 1.0
MAX_LEFT = 1000

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Relay:
    """The other processes, for one hub (``progress.Elsewhere``). ``start`` it, and ``close`` it
    before its Database."""

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
        self._wanted: OrderedDict[str, float] = OrderedDict()
        self._hello = False
        self._wishes: dict[str, None] = {}
        self._told: dict[Transfer, None] = {}
        self._news = asyncio.Event()
        self._renew_at = self._loop.time() + RENEW_SECONDS
        self._beat_at = self._loop.time() + BEAT_SECONDS
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def __repr__(self) -> str:
        return f"<Relay wanted={len(self._wanted)} failing={self._failing} {self._listener!r}>"

    async def start(self) -> None:
        """Begin. A database that is away is not an error: it is tried again."""
        await self._listener.start()
        self._hub.elsewhere = self
        self._task = asyncio.create_task(self._keep(), name="progress relay")

    async def close(self) -> None:
        """Hand on what has ended, within CLOSE_SECONDS, and stop. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        while not task.done():  # asyncio.wait_for of Python 3.11, inside aiopg, loses one
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        mine = (one for one in reversed(self._hub.ended) if one.heard is None)
        self._told.update(dict.fromkeys(islice(mine, MAX_LEFT)))
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._told:
                    await self._flush()
        except (DatabaseUnavailable, StatementFailed, TimeoutError) as error:
            _log.warning("the last of the progress could not be told: %s", error)
        await self._listener.close()

    def wants(self, id_: str) -> bool:
        """Whether another process has a watcher of ``id_``."""
        return id_ in self._wanted

    def tell(self, transfer: Transfer) -> None:
        """Send them the state of ``transfer`` soon, the newest there is then."""
        self._told[transfer] = None
        self._news.set()

    def ask(self, id_: str) -> bool:
        """Ask them for transfers of ``id_``. False if nobody can answer."""
        if len(self._wishes) < MAX_WANTED:  # what is left out is asked for when all is, again
            self._wishes[id_] = None
        self._news.set()
        return self._listener.trusted

    def _on_notify(self, payload: str) -> None:
        sender, items = parse(payload, self._loop.time())
        if sender is None or sender == self._me:
            return
        for item in items:
            if item is None:
                self._ask_all()
            elif isinstance(item, str):
                self._want(item)
            else:
                self._hub.hear(item)

    def _want(self, id_: str) -> None:
        self._wanted[id_] = self._loop.time() + WANT_SECONDS
        self._wanted.move_to_end(id_)
        if len(self._wanted) > MAX_WANTED:
            self._wanted.popitem(last=False)
        self._hub.wanted(id_)

    def _on_return(self) -> None:
        self._hello = True
        for transfer in self._hub.remote.values():
            transfer.heard = self._loop.time()  # the silence was here
        self._ask_all()

    def _ask_all(self) -> None:
        self._wishes.update(dict.fromkeys(self._hub.asking()))
        self._news.set()

    async def _keep(self) -> None:
        """Send what there is to be said, and look after what time brings."""
        while True:
            pause = FLUSH_SECONDS
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            self._turn(self._loop.time())
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

    def _turn(self, now: float) -> None:
        while self._wanted and next(iter(self._wanted.values())) < now:
            self._wanted.popitem(last=False)
        if now >= self._renew_at:
            self._renew_at = now + RENEW_SECONDS
            self._ask_all()
        if now >= self._beat_at:
            self._beat_at = now + BEAT_SECONDS
            running = self._hub.running()
            self._told.update((one, None) for one in running if one.id in self._wanted)
        if self._listener.trusted:
            for transfer in list(self._hub.remote.values()):
                if transfer.heard is not None and transfer.heard + SILENCE_SECONDS < now:
                    self._hub.lose(transfer)

    async def _flush(self) -> None:
        """Send the oldest of what has been gathered. What could not be sent is kept."""
        hello, self._hello = self._hello, False
        items = [HELLO] if hello else []
        wishes = self._take(self._wishes, encode_want, items)
        now = self._loop.time()
        told = self._take(self._told, lambda transfer: encode_state(transfer, now), items)
        if self._wishes or self._told:
            self._news.set()
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
            self._wishes.update(dict.fromkeys(wishes))
            self._told.update(dict.fromkeys(told))
            self._news.set()
            raise

    @staticmethod
    def _take(gathered: dict[_T, None], encode: Callable[[_T], str], items: list[str]) -> list[_T]:
        """Move from ``gathered`` to ``items`` what one statement may still carry."""
        taken = list(islice(gathered, MAX_ITEMS - len(items)))
        for one in taken:
            del gathered[one]
            items.append(encode(one))
        return taken
