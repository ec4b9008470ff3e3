"""Receives notifications (LISTEN) on a separate session, and checks that they arrive, by pings.

A connection on which no notification arrives may be idle or broken. A server that is stopped, a
network that drops packets (aio-libs/aiopg#249) and a pooler that gives each statement another
connection (PgBouncer's ``pool_mode=transaction``) all look the same. So the listener also listens
to a channel with a random name, and sends a notification there, the *ping*, every ``PING_SECONDS``.
It must arrive within ``ARRIVAL_SECONDS``. It is sent on a second session: one sent on the listening
session would arrive even through such a pooler, because both statements could use the same
connection at that moment.

PostgreSQL delivers the notifications of all channels in the order of the commits. So when a ping
arrives, the notifications of everything that was committed before it was sent have arrived too.
While ``trusted`` is true, no change that this process has not seen is older than ``TRUST_SECONDS``,
even if the connection has broken silently.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
from collections.abc import Callable

from gfs.futures import resolve
from sfs_server.database.periodic import ended
from sfs_server.database.pool import Database, Session
from sfs_server.errors import DatabaseUnavailable

PING_SECONDS = 2.0
"""The pause from the arrival of a ping until the next one is sent."""

ARRIVAL_SECONDS = 3.0
"""The time from sending a ping within which it must arrive, else the connection counts as lost."""

TRUST_SECONDS = 6.0
"""How long the listener is trusted after a ping was sent that arrived. More than PING_SECONDS +
ARRIVAL_SECONDS, so that a slow ping is not taken for a lost connection."""

BACKOFF_FIRST_SECONDS = 0.1
"""The pause before the listener connects again; it doubles with each failure in a row."""

BACKOFF_LAST_SECONDS = 5.0
"""The longest of these pauses."""

WARN_SECONDS = 300.0
"""The shortest time between two warnings that notifications do not arrive."""

NO_NOTIFICATIONS = (
    "notifications of the database do not arrive: perhaps a pooler in between does not keep "
    "sessions. Connect to PostgreSQL directly, or set pool_mode=session"
)

_log = logging.getLogger(__name__)


class _NoNotifications(Exception):
    """LISTEN and NOTIFY were executed without an error, but the notification did not arrive."""


class Listener:
    """Listens to ``channel`` from ``start`` until ``close``, and connects again whenever the
    connection is lost.

    ``on_notify`` is called with the payload of each notification; ``on_lost`` when the connection
    is lost; ``on_return`` when the listener listens, for the first time or again, just before
    ``trusted`` becomes true. They are called in the event loop, and must neither block nor raise.
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
            raise ValueError("the name of a channel must be an identifier")
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
        """Until when the listener is trusted, in seconds of the loop's clock. Until then, the
        notifications of all that was committed more than TRUST_SECONDS ago have arrived."""
        self._listening = False
        self._reason = "not connected yet"
        self._warn_at = -math.inf

    def __repr__(self) -> str:
        state = "listening" if self._listening else repr(self._reason)
        return f"<Listener {self._channel} {state}>"

    @property
    def trusted(self) -> bool:
        """Whether it is before ``trusted_until``. No I/O."""
        return self._loop.time() < self.trusted_until

    @property
    def state(self) -> str:
        """``ok`` if ``trusted``, else the reason, a text for operators."""
        return "ok" if self.trusted else self._reason

    @property
    def confirmed_at(self) -> float:
        """When the last ping that arrived was sent, in seconds of the loop's clock: ``on_notify``
        has been called for everything that was committed before. Minus infinity if none has arrived
        yet."""
        return self._confirmed_at

    async def start(self) -> None:
        """Start to listen, and wait until the first ping has arrived or the first attempt has
        failed: at most 2 * (ACQUIRE_SECONDS + ARRIVAL_SECONDS). A failure is not raised; the
        listener goes on trying."""
        first = self._loop.create_future()
        self._task = asyncio.create_task(self._run(first), name=f"listen {self._channel}")
        await first

    async def close(self) -> None:
        """Stop, and close the connections. After it returns, none of the functions is called any
        more. Idempotent."""
        task, self._task = self._task, None
        await ended(task)

    async def _run(self, first: asyncio.Future[None]) -> None:
        """Connect and listen, again after each failure. Sets the result of ``first`` after the
        first ping or failure."""
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
            except Exception:  # noqa: BLE001 - logged; a listener must not end on an unexpected error
                self._reason = "failed; see the log"
                _log.exception("listening to the database failed; trying again")
            finally:
                resolve(first, None)
            if self._confirmed_at > before:
                delay = BACKOFF_FIRST_SECONDS
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the load  # nosec B311
            delay = min(delay * 2, BACKOFF_LAST_SECONDS)

    async def _connect_and_serve(self, first: asyncio.Future[None]) -> None:
        """Listen until the connection fails. Raises _NoNotifications, DatabaseUnavailable."""
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
            if self._listening:
                self._listening = False
                self.trusted_until = -math.inf
                self._on_lost()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self, session: Session) -> None:
        """Pass notifications to ``on_notify`` until the connection fails. Raises
        DatabaseUnavailable."""
        while True:
            channel, payload = await session.notification()
            if channel == self._ping_channel:
                self._arrived.set()
            else:
                self._on_notify(payload)

    async def _ping(self, sender: Session, first: asyncio.Future[None]) -> None:
        """Send pings until one does not arrive. Raises DatabaseUnavailable, _NoNotifications."""
        while True:
            sent_at = self._loop.time()
            self._arrived.clear()
            sql = "SELECT pg_notify(%s, '')"
            await sender.fetch(sql, (self._ping_channel,), seconds=ARRIVAL_SECONDS)
            try:
                async with asyncio.timeout_at(sent_at + ARRIVAL_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                if self._listening:
                    raise DatabaseUnavailable("a ping did not arrive") from None
                raise _NoNotifications from None
            if not self._listening:
                self._on_return()
            self._confirmed_at = sent_at
            self.trusted_until = sent_at + TRUST_SECONDS
            self._listening = True
            resolve(first, None)
            await asyncio.sleep(PING_SECONDS)
