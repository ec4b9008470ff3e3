"""One connection to PostgreSQL. aiopg and psycopg2 live here alone, and what they raise ends here.

aiopg 1.4.0 drives psycopg2's asynchronous mode: one statement at a time, autocommit only. Five of
its habits are dealt with in this module.

- It closes a connection whose statement is cancelled or takes too long. That is wanted, and
  ``Session.reusable`` says so.
- It reports a statement that the *server* cancelled (``statement_timeout``) as a cancellation of
  the calling task. ``fetch`` tells the two apart by ``Task.cancelling``, and the server's
  ``statement_timeout`` is a second longer than the wait here, so that it only ends the statements
  of clients that are gone.
- On Python 3.11 it loses a real cancellation that comes together with a response, because
  asyncio.wait_for does (cpython#86296). ``Task.cancelling`` tells that, too.
- It watches only the first of the sockets that libpq tries, so ``open_session`` is given one
  address at a time.
- After a refused connection it leaves a descriptor that libpq has closed in the loop, as one to
  write to. uvloop 0.23 then refuses every later connection that gets the same number, for ever.
  ``_Connection`` takes it out.
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
PING_SECONDS = 2.0
LOCK_SECONDS = 4.0
"""How long a statement waits for a row that another transaction holds."""

IDLE_TRANSACTION_SECONDS = 120
"""After this long the server ends a transaction whose client is silent, and frees its locks."""

_BOUNDS = {
    "statement_timeout": int((STATEMENT_SECONDS + 1) * 1000),
    "lock_timeout": int(LOCK_SECONDS * 1000),
    "idle_in_transaction_session_timeout": IDLE_TRANSACTION_SECONDS * 1000,
}

_SETTINGS = "; ".join(
    (
        "SET TIME ZONE 'UTC'",
        "SET default_transaction_isolation = 'read committed'",
        *(f"SET {name} = {milliseconds}" for name, milliseconds in _BOUNDS.items()),
    )
)

BEGIN = "; ".join(
    (
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        *(f"SET LOCAL {name} = {milliseconds}" for name, milliseconds in _BOUNDS.items()),
    )
)
"""Starts a transaction. It repeats the settings of the session, because a pooler in transaction
mode may run it on a connection that never got them, or that another program has set differently."""


Params = Sequence[object] | Mapping[str, object]
"""What stands for each ``%s``, or for each ``%(name)s``, of a statement."""


class UniqueViolation(Exception):
    """The row would be the second one with its key. Nothing was written."""


class StatementFailed(Exception):
    """PostgreSQL refused a statement for a reason that trying again will not change. ``code`` is
    its SQLSTATE."""

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
"""The first row that fits says what becomes of an error. By SQLSTATE (PostgreSQL, appendix A):
23505; 53100; 55P03; whatever psycopg2 calls operational (classes 08, 40, 53, 55, 57, 58 and others
that may pass by themselves); 25006."""


def translated(error: Exception) -> Exception:
    """What is raised instead of ``error``, which psycopg2, aiopg or the operating system raised:
    DatabaseUnavailable or one of its kinds, UniqueViolation, StatementFailed."""
    for kinds, ours, text in _TRANSLATIONS:
        if isinstance(error, kinds):
            return ours(text)
    code = getattr(error, "pgcode", None)
    if code is None:  # not the server's word: the connection broke in the middle of a response
        return DatabaseUnavailable("the connection to the database broke")
    return StatementFailed(f"PostgreSQL refused a statement ({code})", code)


class _Connection(aiopg.Connection):
    """aiopg's connection, which lets go of a descriptor in the moment when libpq has closed it:
    a moment later its number may be another socket's."""

    @staticmethod
    def _ready(weak_self: weakref.ref[Any]) -> None:
        connection = weak_self()
        descriptor = None if connection is None else connection._fileno
        aiopg.Connection._ready(weak_self)
        if connection is not None and descriptor is not None and connection._fileno is None:
            connection._loop.remove_writer(descriptor)


class Session:
    """One connection. Used by one task at a time; whoever opened it closes it.

    Inside ``Database.transaction`` it is the transaction, and ``fetch`` is all that is needed.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._listens = False
        self.last_used = self._loop.time()

    def __repr__(self) -> str:
        return f"<Session listens={self._listens} last_used={self.last_used:.3f}>"

    async def fetch(
        self, sql: str, params: Params = (), *, seconds: float = STATEMENT_SECONDS
    ) -> list[tuple[Any, ...]]:
        """Execute ``sql`` with ``params`` and return its rows, if it has any.

        Raises UniqueViolation, StatementFailed, and DatabaseUnavailable after at most ``seconds``.
        A cancellation closes the session.
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
            # Nobody cancelled this task: the server cancelled the statement.
            raise translated(TimeoutError()) from None
        except (psycopg2.Error, OSError) as error:
            raise translated(error) from error
        if task.cancelling() > cancelled:
            self.close()
            raise asyncio.CancelledError
        self.last_used = self._loop.time()
        if not self._listens:
            # A pooler that does not keep sessions hands on what another session listens to.
            arrived = self._connection.notifies
            while not arrived.empty():
                arrived.get_nowait()
        return list(await cursor.fetchall()) if cursor.description else []

    async def commit(self) -> None:
        """End the transaction. Raises like ``fetch``; StatementFailed where a statement of it has
        failed, so that it can only be rolled back: the response to COMMIT would not say so."""
        if self._connection.raw.get_transaction_status() == TRANSACTION_STATUS_INERROR:
            raise StatementFailed("a statement of the transaction has failed")
        await self.fetch("COMMIT")

    async def listen(self, *channels: str, seconds: float = STATEMENT_SECONDS) -> None:
        """Listen to ``channels``, which are identifiers. Raises like ``fetch``."""
        self._listens = True
        await self.fetch("; ".join(f"LISTEN {channel}" for channel in channels), seconds=seconds)

    async def notification(self) -> tuple[str, str]:
        """Wait for the next notification: its channel and its payload.

        Not to be cancelled while the session goes on to be used: what arrives at that moment would
        be lost. Raises DatabaseUnavailable when the connection is seen to be dead.
        """
        try:
            found = await self._connection.notifies.get()
        except (psycopg2.Error, OSError) as error:
            raise translated(error) from error
        return str(found.channel), str(found.payload)

    @property
    def closed(self) -> bool:
        """The connection is gone: it broke, or it was closed here."""
        return bool(self._connection.closed)

    @property
    def reusable(self) -> bool:
        """Open, with nothing in flight and no transaction."""
        connection = self._connection.raw
        status = connection.get_transaction_status()
        return not connection.closed and status == TRANSACTION_STATUS_IDLE

    def close(self) -> None:
        """Close the connection at once; the server rolls back what was open. Idempotent."""
        # 0 is open, 1 closed, 2 broken with a descriptor that is still watched. aiopg forgets that
        # it has closed (1), and would take a descriptor that is another's by now from the loop.
        if self._connection.closed != 1:
            self._connection.close()


async def open_session(url: str, address: Mapping[str, str], seconds: float) -> Session:
    """Connect to one ``address``, which overrides parameters of ``url``, and set the session up.

    Raises DatabaseUnavailable after at most ``seconds``. A cancellation leaves nothing open.
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
    """libpq's connection parameters in ``url``, by their names. Raises ConfigError."""
    try:
        return dict(parse_dsn(url))
    except psycopg2.Error:
        # The text may quote a part of the password.
        raise ConfigError(BAD_URL) from None
