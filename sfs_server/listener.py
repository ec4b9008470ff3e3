"""One LISTEN connection that knows whether it is alive.

Notifications come over a connection that is silent when nothing happens, so silence says nothing:
a server that is stopped, or a network that drops packets, looks the same (aio-libs/aiopg#249).
The listener therefore asks a question (SELECT 1) every ``PING_SECONDS`` and gives the server
``ANSWER_SECONDS`` to answer it; a dead connection is noticed after 5 s at the most, and at once
where its end arrives as a FIN or RST. PostgreSQL delivers notifications in the order of the
commits, and aiopg queues those that come before an answer before it gives the answer: when a ping
is answered, what was committed before the server saw the ping has arrived, and is handed on in the
same few turns of the loop.

So whoever acts on what the notifications said may do so while ``trusted`` is true, and is wrong for
``TRUST_SECONDS`` at the longest, in the case that the connection broke silently.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable

from sfs_server.database import Database, Session
from sfs_server.errors import DatabaseUnavailable

PING_SECONDS = 2.0
ANSWER_SECONDS = 3.0
TRUST_SECONDS = 6.0
"""How old the last answer may be. More than PING_SECONDS + ANSWER_SECONDS, so that a slow answer
that still comes is not taken for a loss."""

BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_LAST_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Listener:
    """Keeps ``LISTEN channel`` going on a session of its own, from ``start`` until ``close``.

    ``on_notify`` gets the payload of each notification, ``on_lost`` is called when the connection
    is lost, ``on_return`` when it listens again (and the first time), before ``trusted`` becomes
    true. They are called in the loop, and must neither block nor raise.
    """

    def __init__(
        self,
        database: Database,
        channel: str,
        *,
        on_notify: Callable[[str], None],
        on_lost: Callable[[], None],
        on_return: Callable[[], None],
    ) -> None:
        if not channel.isidentifier():
            raise ValueError("a channel's name is an identifier")
        self._database = database
        self._channel = channel
        self._on_notify = on_notify
        self._on_lost = on_lost
        self._on_return = on_return
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._answered = -math.inf
        self._up = False

    @property
    def trusted(self) -> bool:
        """Whether nothing of the last TRUST_SECONDS can have been missed. Cheap."""
        return self._up and self._loop.time() - self._answered < TRUST_SECONDS

    @property
    def answered(self) -> float:
        """When the server last answered, by the loop's clock; minus infinity before the first."""
        return self._answered

    async def start(self) -> None:
        """Begin, and wait for the first connection, or the first failure to connect, which is not
        an error: the listener goes on trying. At most ACQUIRE_SECONDS + ANSWER_SECONDS."""
        first = self._loop.create_future()
        self._task = asyncio.create_task(self._keep(first), name=f"listen {self._channel}")
        await first

    async def close(self) -> None:
        """Stop and close the connection. Idempotent. Nothing is called any more afterwards."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            # Again and again: asyncio.wait_for of Python 3.11, inside aiopg, loses a cancellation
            # that comes together with the answer.
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)

    async def _keep(self, first: asyncio.Future[None]) -> None:
        delay = BACKOFF_FIRST_SECONDS
        while True:
            try:
                session = await self._database.open_session()
                try:
                    await session.fetch(f"LISTEN {self._channel}", seconds=ANSWER_SECONDS)
                    self._on_return()
                    self._answered = self._loop.time()
                    self._up = True
                    delay = BACKOFF_FIRST_SECONDS
                    _resolve(first)
                    await self._serve(session)
                finally:
                    session.close()
                    self._down()
            except DatabaseUnavailable as error:
                _log.warning("not listening to the database: %s; trying again", error)
            except Exception:  # noqa: BLE001 - logged; one that ended would be silent for ever
                _log.exception("listening to the database failed; trying again")
            finally:
                _resolve(first)
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the load  # nosec B311
            delay = min(delay * 2, BACKOFF_LAST_SECONDS)

    def _down(self) -> None:
        if self._up:
            self._up = False
            self._on_lost()

    async def _serve(self, session: Session) -> None:
        """Hand on notifications and ask for signs of life, until the connection fails."""
        # One task waits for the next notification and outlives the pings: a waiter that is
        # cancelled at the wrong moment takes a notification with it.
        waiting = asyncio.create_task(session.notification())
        try:
            while True:
                ping_at = self._loop.time() + PING_SECONDS
                while (left := ping_at - self._loop.time()) > 0:
                    await asyncio.wait({waiting}, timeout=left)
                    if waiting.done():
                        self._on_notify(waiting.result())
                        waiting = asyncio.create_task(session.notification())
                asked = self._loop.time()
                await session.fetch("SELECT 1", seconds=ANSWER_SECONDS)
                self._answered = asked
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
