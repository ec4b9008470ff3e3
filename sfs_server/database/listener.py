"""LISTEN on a session of its own, with a check every two seconds that notifications arrive.

Notifications come over a connection that is silent when nothing happens, so silence says nothing:
a server that is stopped, a network that drops packets (aio-libs/aiopg#249) and a pooler that gives
each statement another connection (PgBouncer's ``pool_mode=transaction``) all look the same. The
listener therefore listens to a second channel, which nobody else knows, and sends a notification
there, the ping, every ``PING_SECONDS``. It must arrive within ``ARRIVAL_SECONDS``. It is sent on
another session: what is sent on the listening one would arrive through a pooler too, because both
would use the same connection for that moment.

PostgreSQL delivers the notifications of all channels in the order of the commits. So when a ping
has arrived, everything that was committed before it was sent has been handed on, and what the
notifications say can be relied on while ``trusted`` is true. Where the connection broke silently,
it is out of date for ``TRUST_SECONDS`` at most.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
from collections.abc import Callable

from gfs.futures import resolve
from sfs_server.database.pool import Database, Session
from sfs_server.errors import DatabaseUnavailable

PING_SECONDS = 2.0
"""Between the arrival of a ping and the next one."""

ARRIVAL_SECONDS = 3.0
"""How long a ping may take until it arrives."""

TRUST_SECONDS = 6.0
"""How long ago the last ping that arrived may have been sent. More than PING_SECONDS +
ARRIVAL_SECONDS, so that a slow ping is not taken for a loss."""

BACKOFF_FIRST_SECONDS = 0.1
"""The pause before the listener connects again; it doubles with each failure in a row."""

BACKOFF_LAST_SECONDS = 5.0
"""The longest of these pauses."""

WARN_SECONDS = 300.0
"""Between two warnings that notifications do not arrive."""

NO_NOTIFICATIONS = (
    "notifications of the database do not arrive: perhaps a pooler in between does not keep "
    "sessions. Connect to PostgreSQL directly, or set pool_mode=session"
)

_log = logging.getLogger(__name__)


class _NoNotifications(Exception):
    """LISTEN was executed, a NOTIFY was executed, and nothing arrived."""


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
        self._ping_channel = f"sfs_ping_{secrets.token_hex(8)}"
        self._on_notify = on_notify
        self._on_lost = on_lost
        self._on_return = on_return
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._confirmed_at = -math.inf
        self.trusted_until = -math.inf
        """The end of the time, by the loop's clock, in which only changes of the last TRUST_SECONDS
        can have been missed."""
        self._up = False
        self._reason = "not connected yet"
        self._warn_at = -math.inf

    def __repr__(self) -> str:
        return f"<Listener {self._channel} {'up' if self._up else self._reason!r}>"

    @property
    def trusted(self) -> bool:
        """Whether it is before ``trusted_until``. No I/O."""
        return self._loop.time() < self.trusted_until

    @property
    def state(self) -> str:
        """``ok`` while ``trusted``, else why not, in words for an operator."""
        return "ok" if self.trusted else self._reason

    @property
    def confirmed_at(self) -> float:
        """When the last ping that arrived was sent, by the loop's clock: what was committed before
        has been handed on. Minus infinity before the first."""
        return self._confirmed_at

    async def start(self) -> None:
        """Start, and wait for the first ping or the first failure, which is not an error: the
        listener goes on trying. At most 2 * (ACQUIRE_SECONDS + ARRIVAL_SECONDS)."""
        first = self._loop.create_future()
        self._task = asyncio.create_task(self._keep(first), name=f"listen {self._channel}")
        await first

    async def close(self) -> None:
        """Stop and close the connections. Idempotent. Nothing is called any more afterwards."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            # Again and again: asyncio.wait_for of Python 3.11, inside aiopg, loses a cancellation
            # that comes together with the response.
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)

    async def _keep(self, first: asyncio.Future[None]) -> None:
        delay = BACKOFF_FIRST_SECONDS
        while True:
            before = self._confirmed_at
            try:
                await self._connect_and_serve(first)
            except _NoNotifications:
                self._reason = NO_NOTIFICATIONS
                if self._loop.time() >= self._warn_at:
                    self._warn_at = self._loop.time() + WARN_SECONDS
                    _log.warning("%s. Until then nothing is cached", NO_NOTIFICATIONS)
            except DatabaseUnavailable as error:
                self._reason = str(error)
                _log.warning("not listening to the database: %s; trying again", error)
            except Exception:  # noqa: BLE001 - logged; one that ended would be silent for ever
                self._reason = "failed; see the log"
                _log.exception("listening to the database failed; trying again")
            finally:
                resolve(first, None)
            if self._confirmed_at > before:
                delay = BACKOFF_FIRST_SECONDS
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the load  # nosec B311
            delay = min(delay * 2, BACKOFF_LAST_SECONDS)

    async def _connect_and_serve(self, first: asyncio.Future[None]) -> None:
        """Listen until that fails. Raises _NoNotifications, DatabaseUnavailable."""
        session = await self._database.open_session()
        try:
            sender = await self._database.open_session()
        except BaseException:
            session.close()
            raise
        tasks: set[asyncio.Task[None]] = set()
        try:
            await session.listen(self._channel, self._ping_channel, seconds=ARRIVAL_SECONDS)
            tasks.add(asyncio.create_task(self._receive(session)))
            tasks.add(asyncio.create_task(self._ping(sender, first)))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            session.close()
            sender.close()
            self._down()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _down(self) -> None:
        if self._up:
            self._up = False
            self.trusted_until = -math.inf
            self._on_lost()

    async def _receive(self, session: Session) -> None:
        """Hand on notifications, until the connection fails."""
        while True:
            channel, payload = await session.notification()
            if channel == self._ping_channel:
                self._arrived.set()
            else:
                self._on_notify(payload)

    async def _ping(self, sender: Session, first: asyncio.Future[None]) -> None:
        """Send a ping to this listener now and then, until one does not arrive."""
        while True:
            sent_at = self._loop.time()
            self._arrived.clear()
            sql = "SELECT pg_notify(%s, '')"
            await sender.fetch(sql, (self._ping_channel,), seconds=ARRIVAL_SECONDS)
            try:
                async with asyncio.timeout_at(sent_at + ARRIVAL_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                if self._up:
                    raise DatabaseUnavailable("the listening connection fell silent") from None
                raise _NoNotifications from None
            if not self._up:
                self._on_return()
            self._confirmed_at = sent_at
            self.trusted_until = sent_at + TRUST_SECONDS
            self._up = True
            resolve(first, None)
            await asyncio.sleep(PING_SECONDS)
