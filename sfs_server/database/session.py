"""One connection to PostgreSQL. aiopg and psycopg2 live here alone, and what they raise ends here.

aiopg 1.4.0 drives psycopg2's asynchronous mode: one statement at a time, autocommit only. Five of
its habits are dealt with in this module.

- It closes a connection whose statement is cancelled or takes too long. That is wanted, and
  ``Session.reusable`` says so.
- It reports a statement that the *server* cancelled (``statement_timeout``) as a cancellation of
  the calling task. ``fetch`` tells the two apart, and the server's ``statement_timeout`` is a
  second longer than the wait here, so that it only ends the statements of clients that are gone.
- On Python 3.11 it loses a real cancellation that comes together with an answer. ``_heed`` helps.
- It watches only the first of the sockets that libpq tries, so ``open_session`` is given one
  address at a time.
- After a refused connection it leaves a descriptor that libpq has closed in the loop, as one to
  write to. uvloop 0.23 then refuses every later connection that gets the same number, for ever.
  ``_Connection`` takes it out.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

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


@contextmanager
def border() -> Iterator[None]:
    """Turn what psycopg2, aiopg and the operating system raise into DatabaseUnavailable (or its
    kinds Busy and DatabaseFull), UniqueViolation or StatementFailed, with the original as the
    cause. By SQLSTATE (PostgreSQL, appendix A): 23505; 55P03; 53100; whatever psycopg2 calls
    operational (classes 08, 40, 53, 55, 57, 58 and others that may pass by themselves); the rest.
    """
    try:
        yield
    except psycopg2.errors.UniqueViolation as error:
        raise UniqueViolation("a row with that key exists") from error
    except psycopg2.errors.DiskFull as error:
        raise DatabaseFull("the disk of the database is full") from error
    except psycopg2.errors.LockNotAvailable as error:
        raise Busy("a lock was not granted in time") from error
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise DatabaseUnavailable("the database cannot be reached") from error
    except psycopg2.errors.ReadOnlySqlTransaction as error:
        raise DatabaseUnavailable("the database is read-only now") from error
    except psycopg2.Error as error:
        if error.pgcode is None:  # not the server's word: the connection broke in mid-answer
            raise DatabaseUnavailable("the connection to the database broke") from error
        text = f"PostgreSQL refused a statement ({error.pgcode})"
        raise StatementFailed(text, error.pgcode) from error
    except TimeoutError as error:
        raise DatabaseUnavailable("the database did not answer in time") from error
    except OSError as error:
        raise DatabaseUnavailable("the database cannot be reached") from error


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
        self.used = self._loop.time()

    async def fetch(
        self, sql: str, params: Params = (), *, seconds: float = STATEMENT_SECONDS
    ) -> list[tuple[Any, ...]]:
        """Execute ``sql`` with ``params`` and return its rows, if it has any.

        Raises UniqueViolation, StatementFailed, and DatabaseUnavailable after at most ``seconds``.
        A cancellation closes the session.
        """
        with border():
            before = _cancellations()
            cursor = await self._connection.cursor(timeout=seconds)
            try:
                await cursor.execute(sql, params or None)
                _heed(before)
            except asyncio.CancelledError:
                self.close()
                if _cancellations() > before:
                    raise
                # Nobody cancelled this task: the server cancelled the statement.
                raise TimeoutError from None
            self.used = self._loop.time()
            if not self._listens:
                self._drop_notifications()
            return list(await cursor.fetchall()) if cursor.description else []

    async def ping(self, seconds: float = PING_SECONDS) -> bool:
        """Whether the server answers within ``seconds``."""
        try:
            await self.fetch("SELECT 1", seconds=seconds)
        except DatabaseUnavailable:
            return False
        return True

    async def listen(self, *channels: str, seconds: float = STATEMENT_SECONDS) -> None:
        """Listen to ``channels``, which are identifiers. Raises like ``fetch``."""
        self._listens = True
        await self.fetch("; ".join(f"LISTEN {channel}" for channel in channels), seconds=seconds)

    async def notification(self) -> tuple[str, str]:
        """Wait for the next notification: its channel and its payload.

        Not to be cancelled while the session goes on to be used: what arrives at that moment would
        be lost. Raises DatabaseUnavailable when the connection is seen to be dead.
        """
        with border():
            found = await self._connection.notifies.get()
            return str(found.channel), str(found.payload)

    def _drop_notifications(self) -> None:
        """Forget what came to a session that listens to nothing: a pooler that does not keep
        sessions hands on what another one listens to."""
        arrived = self._connection.notifies
        while not arrived.empty():
            arrived.get_nowait()

    @property
    def closed(self) -> bool:
        """The connection is gone: it broke, or it was closed here."""
        return bool(self._connection.closed)

    @property
    def reusable(self) -> bool:
        """Open, with nothing in flight and no transaction."""
        return not self.closed and self._status == TRANSACTION_STATUS_IDLE

    @property
    def failed(self) -> bool:
        """In a transaction of which a statement failed, so that it can only be rolled back."""
        return bool(self._status == TRANSACTION_STATUS_INERROR)

    @property
    def _status(self) -> int:
        return int(self._connection.raw.get_transaction_status())

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
    with border():
        parameters: dict[str, Any] = {"client_encoding": "UTF8", **address}
        async with asyncio.timeout(seconds):
            before = _cancellations()
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
                _heed(before)
                await session.fetch(_SETTINGS)
            except BaseException:
                session.close()
                raise
            return session


def _cancellations() -> int:
    """How often somebody has asked the current task to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _heed(before: int) -> None:
    """Cancel the task if it was asked to end since ``before``: asyncio.wait_for of Python 3.11,
    which aiopg uses, loses a cancellation that comes together with the result (cpython#86296)."""
    if _cancellations() > before:
        raise asyncio.CancelledError


def parse_url(url: str) -> dict[str, str]:
    """libpq's connection parameters in ``url``, by their names. Raises ConfigError."""
    try:
        return dict(parse_dsn(url))
    except psycopg2.Error:
        # The text may quote a part of the password.
        raise ConfigError(BAD_URL) from None
