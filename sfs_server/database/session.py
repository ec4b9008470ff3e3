"""One connection to PostgreSQL. Only this module uses aiopg and psycopg2 and sees their errors.

aiopg 1.4.0 uses psycopg2's asynchronous mode: one statement at a time, and autocommit. This module
handles five of its peculiarities.

- It closes a connection whose statement is cancelled or takes too long. ``Session.reusable`` is
  false then.
- When the *server* cancels a statement (``statement_timeout``), it raises CancelledError as if the
  calling task had been cancelled. ``fetch`` distinguishes the two by ``Task.cancelling``. Besides,
  the server's ``statement_timeout`` is one second longer than the wait here, so that it concerns
  only statements whose client has died.
- On Python 3.11 it loses a cancellation of the task that comes together with a response, because
  asyncio.wait_for does (cpython#86296). ``fetch`` finds out by ``Task.cancelling`` too.
- It watches only the first of the sockets that libpq tries, so ``open_session`` connects to one
  address only.
- After a refused connection, the event loop still watches a descriptor that libpq has closed.
  uvloop 0.23 then refuses every later connection whose descriptor has the same number.
  ``_Connection`` removes the descriptor from the loop.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, cast

import aiopg
import psycopg2
import psycopg2.errors
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR, parse_dsn

from sfs_server.config import ConfigError
from sfs_server.database.address import BAD_URL
from sfs_server.errors import Busy, DatabaseFull, DatabaseUnavailable

STATEMENT_SECONDS = 5.0
"""The longest time that a statement takes, unless its caller gives another one."""

PING_SECONDS = 2.0
"""The longest time that the ping takes by which the pool checks a session."""

LOCK_SECONDS = 4.0
"""The longest time that a statement waits for a lock that another transaction holds."""

IDLE_TRANSACTION_SECONDS = 120
"""The time after which the server ends a transaction whose client sends nothing, and releases its
locks."""

_TIMEOUTS_MS = {
    "statement_timeout": int((STATEMENT_SECONDS + 1) * 1000),
    "lock_timeout": int(LOCK_SECONDS * 1000),
    "idle_in_transaction_session_timeout": IDLE_TRANSACTION_SECONDS * 1000,
}

_SETTINGS = "; ".join(
    (
        "SET TIME ZONE 'UTC'",
        "SET default_transaction_isolation = 'read committed'",
        *(f"SET {name} = {milliseconds}" for name, milliseconds in _TIMEOUTS_MS.items()),
    )
)

BEGIN = "; ".join(
    (
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        *(f"SET LOCAL {name} = {milliseconds}" for name, milliseconds in _TIMEOUTS_MS.items()),
    )
)
"""Starts a transaction. It repeats the settings of the session, because a pooler in transaction
mode may run it on a connection that does not have them or has those of another program."""


Params = Sequence[object] | Mapping[str, object]
"""The values for the placeholders of a statement, ``%s`` or ``%(name)s``."""


class UniqueViolation(Exception):
    """A row with the same key exists already. Nothing was written."""


class StatementFailed(Exception):
    """PostgreSQL refused a statement, and would refuse it again. ``code`` is the SQLSTATE of the
    error, empty if there is none."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


_OPERATIONAL = (psycopg2.OperationalError, psycopg2.InterfaceError)
_TRANSLATIONS: tuple[tuple[Any, type[Exception], str], ...] = (
    (psycopg2.errors.UniqueViolation, UniqueViolation, "a row with that key exists"),
    (psycopg2.errors.DiskFull, DatabaseFull, "the disk of the database is full"),
    (psycopg2.errors.LockNotAvailable, Busy, "a lock was not granted in time"),
    (_OPERATIONAL, DatabaseUnavailable, "the database cannot be reached"),
    (
        psycopg2.errors.ReadOnlySqlTransaction,
        DatabaseUnavailable,
        "the database is read-only now",
    ),
    (TimeoutError, DatabaseUnavailable, "the database did not respond in time"),
    (OSError, DatabaseUnavailable, "the database cannot be reached"),
)
"""Class of an error → our class that is raised instead, and its text. The first row that matches is
used. The SQLSTATEs (PostgreSQL, appendix A) of the first five: 23505; 53100; 55P03; all that are
OperationalErrors of psycopg2, which may disappear without a change of the statement (classes 08,
40, 53, 55, 57, 58 and others); 25006."""


def translated(error: Exception) -> Exception:
    """The error of ours to raise instead of ``error``, which psycopg2, aiopg or the operating
    system raised: UniqueViolation, StatementFailed, or DatabaseUnavailable or a subclass of it."""
    for kinds, ours, text in _TRANSLATIONS:
        if isinstance(error, kinds):
            return ours(text)
    code = getattr(error, "pgcode", None)
    if code is None:  # not from the server: the connection broke in the middle of a response
        return DatabaseUnavailable("the connection to the database broke")
    return StatementFailed(f"PostgreSQL refused a statement ({code})", code)


class _Connection(aiopg.Connection):
    """A connection of aiopg that removes its descriptor from the event loop as soon as libpq has
    closed it. Later, another socket may have the same number."""

    @staticmethod
    def _ready(weak_self: weakref.ref[Any]) -> None:
        connection = weak_self()
        descriptor = None if connection is None else connection._fileno
        aiopg.Connection._ready(weak_self)
        if connection is not None and descriptor is not None and connection._fileno is None:
            connection._loop.remove_writer(descriptor)


class Session:
    """One connection. Only one task may use it at a time. The code that opened it closes it.

    The body of ``Database.transaction`` gets one in a transaction, and only calls ``fetch`` and
    ``at_commit``.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._listens = False
        self._last: list[tuple[str, Params]] = []  # what ``commit`` executes before
        self.last_used = self._loop.time()

    def __repr__(self) -> str:
        return f"<Session listens={self._listens} last_used={self.last_used:.3f}>"

    async def fetch(
        self, sql: str, params: Params = (), *, seconds: float = STATEMENT_SECONDS
    ) -> list[tuple[Any, ...]]:
        """Execute ``sql`` with ``params``, and return its rows; an empty list if it returns none.

        Raises UniqueViolation, StatementFailed; DatabaseUnavailable, also if there is no response
        within ``seconds``. A cancellation closes the session.
        """
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancelled = task.cancelling()
        try:
            cursor = await self._connection.cursor(timeout=seconds)
            await cursor.execute(sql, params or None)
        except asyncio.CancelledError:
            self.close()
            if task.cancelling() > cancelled:
                raise
            # This task was not cancelled: the server has cancelled the statement.
            raise translated(TimeoutError()) from None
        except (psycopg2.Error, OSError) as error:
            raise translated(error) from error
        if task.cancelling() > cancelled:
            self.close()
            raise asyncio.CancelledError
        self.last_used = self._loop.time()
        if not self._listens:
            # A pooler that shares connections may deliver notifications for another session.
            arrived = self._connection.notifies
            while not arrived.empty():
                arrived.get_nowait()
        try:
            return list(await cursor.fetchall()) if cursor.description else []
        except psycopg2.Error as error:  # the connection broke right behind the response
            raise translated(error) from error

    def at_commit(self, sql: str, params: Params) -> None:
        """Have ``commit`` execute ``sql`` before it commits, in the same round trip, after what was
        given before. It is dropped if the transaction is rolled back."""
        self._last.append((sql, params))

    async def commit(self) -> None:
        """Commit the transaction. Raises what ``fetch`` raises; also StatementFailed if one of its
        statements has failed: PostgreSQL would roll back, and COMMIT would not report an error."""
        if self._connection.raw.get_transaction_status() == TRANSACTION_STATUS_INERROR:
            raise StatementFailed("a statement of the transaction has failed")
        last, self._last = self._last, []
        if not last:
            await self.fetch("COMMIT")
            return
        try:
            cursor = await self._connection.cursor()
            parts = [cursor.mogrify(sql, params or None).decode() for sql, params in last]
        except (psycopg2.Error, OSError) as error:
            raise translated(error) from error
        await self.fetch("; ".join((*parts, "COMMIT")))

    async def roll_back(self, seconds: float) -> None:
        """Roll the transaction back, within ``seconds``. Raises what ``fetch`` raises."""
        self._last.clear()
        await self.fetch("ROLLBACK", seconds=seconds)

    async def listen(self, *channels: str, seconds: float = STATEMENT_SECONDS) -> None:
        """Listen to ``channels``, whose names must be identifiers: they are put into the statement
        unquoted. Raises what ``fetch`` raises."""
        self._listens = True
        await self.fetch("; ".join(f"LISTEN {channel}" for channel in channels), seconds=seconds)

    async def notification(self) -> tuple[str, str]:
        """Wait for the next notification, and return its channel and its payload.

        If this is cancelled, a notification that arrives at that moment may be lost; close the
        session then. Raises DatabaseUnavailable if the connection breaks and that is noticed.
        """
        try:
            found = await self._connection.notifies.get()
        except (psycopg2.Error, OSError) as error:
            raise translated(error) from error
        return str(found.channel), str(found.payload)

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, by ``close`` or because it broke."""
        return bool(self._connection.closed)

    @property
    def reusable(self) -> bool:
        """Whether the connection is open, with no statement running and no transaction started."""
        connection = self._connection.raw
        status = connection.get_transaction_status()
        return not connection.closed and status == TRANSACTION_STATUS_IDLE

    def close(self) -> None:
        """Close the connection at once; the server rolls back its transaction. Idempotent."""
        # 0: open; 1: closed; 2: broken, and the loop still watches its descriptor. aiopg does not
        # check for 1: it would remove a descriptor that may belong to another socket by now.
        if self._connection.closed != 1:
            self._connection.close()


async def open_session(url: str, address: Mapping[str, str], seconds: float) -> Session:
    """Connect to the database at ``url``, and apply our settings to the session. ``address`` has
    the connection parameters that override those of ``url``, of one address.

    Takes ``seconds`` at most. Raises DatabaseUnavailable. A cancellation leaves nothing open.
    """
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    parameters: dict[str, Any] = {"client_encoding": "UTF8", **address}
    try:
        async with asyncio.timeout(seconds):
            cancelled = task.cancelling()
            session = Session(
                await _Connection(
                    url,
                    timeout=seconds,
                    enable_json=False,
                    enable_hstore=False,
                    enable_uuid=False,
                    **parameters,
                )
            )
            try:
                await session.fetch(_SETTINGS)
            except BaseException:
                session.close()
                raise
            if task.cancelling() > cancelled:
                session.close()
                raise asyncio.CancelledError
            return session
    except (psycopg2.Error, OSError) as error:
        raise translated(error) from error


def parse_url(url: str) -> dict[str, str]:
    """The connection parameters of libpq in ``url``, by their names. Raises ConfigError if it is
    malformed."""
    try:
        return dict(parse_dsn(url))
    except psycopg2.Error:
        # The message of psycopg2 is dropped: it may quote a part of the password.
        raise ConfigError(BAD_URL) from None
