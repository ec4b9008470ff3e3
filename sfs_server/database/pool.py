"""A pool of sessions on one PostgreSQL: statements with time limits, retries, transactions.

The pool of aiopg is not used: it returns connections that died with a restarted server
(aio-libs/aiopg#20), it connects while it holds the lock that every other acquire needs, and it
leaks a connection whose ``on_connect`` fails. The pool here is a semaphore and a stack. A session
that was idle for more than ``IDLE_TRUST_SECONDS`` is pinged (0.2 ms on one machine) before it is
used. If it is dead, all idle sessions are closed, because probably they died for the same reason.

Retries. When no response comes, the statement may have been executed all the same. So it is sent a
second time only if the caller says that it is ``idempotent``. Every other statement is sent on a
session that has just responded to a ping, so that it fails only if the server dies in the
milliseconds after the ping. In a transaction the BEGIN is that ping.

Time. Waiting for a session, connecting and pinging take at most ``ACQUIRE_SECONDS`` together, a
statement ``STATEMENT_SECONDS``, and a fetch with its retry ``FETCH_SECONDS``.

Cancellation. A session whose statement is cancelled or takes too long is closed, and does not
return to the pool.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from gfs.clock import Deadline
from sfs_server.config import ConfigError
from sfs_server.database.address import DatabaseAddress
from sfs_server.database.session import (
    BEGIN,
    PING_SECONDS,
    STATEMENT_SECONDS,
    Params,
    Session,
    StatementFailed,
    UniqueViolation,
    open_session,
    parse_url,
    translated,
)
from sfs_server.errors import DatabaseUnavailable

__all__ = ["Database", "Params", "Session", "StatementFailed", "UniqueViolation"]

ACQUIRE_SECONDS = 5.0
"""The longest time to get a session: to wait for one of the pool, and to ping it or to connect."""

FETCH_SECONDS = ACQUIRE_SECONDS + STATEMENT_SECONDS
"""The longest time for a statement outside a transaction, with its retry."""

ADDRESS_SECONDS = 2.0
"""The longest time to connect to one of several addresses; the last one gets the time that is
left."""

IDLE_TRUST_SECONDS = 0.5
"""How long after its last response a session is used without a ping, for idempotent statements."""

CONNECT_SECONDS = 30.0
"""How long ``Database.connect`` tries to reach a database that does not respond."""

RETRY_SECONDS = 0.5
"""The pause between two of these attempts."""

WAIT_LOG_SECONDS = 5.0
"""The shortest time between two log lines about these attempts."""

ROLLBACK_SECONDS = 1.0
"""The longest time for a ROLLBACK; after that the session is closed."""

CLOSE_SECONDS = 5.0
"""How long ``Database.close`` waits for the statements that are running."""

MAX_REASON_CHARACTERS = 300
"""How much of libpq's message of an error is logged."""

_PING = "SELECT 1"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """How a pool is used now, for metrics."""

    size: int
    """How many sessions the pool may have."""
    busy: int
    """How many sessions are in use."""
    idle: int
    """How many sessions are open and not in use."""
    waiting: int
    """How many tasks wait for a session."""
    failures: int
    """How often the pool has raised DatabaseUnavailable since it was made."""


class Database:
    """A pool of sessions on one PostgreSQL. Call ``connect`` to make one, and ``close`` it after
    use."""

    def __init__(self, url: str, *, size: int = 8) -> None:
        self._url = url
        self._address = DatabaseAddress(parse_url(url))
        self._size = size
        self._permits = asyncio.Semaphore(size)
        self._waiting = 0
        self._failures = 0
        self._idle: list[Session] = []
        self._busy: set[Session] = set()
        self._closed = False
        self._all_returned = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return (
            f"<Database {self} size={self._size} busy={len(self._busy)} idle={len(self._idle)} "
            f"waiting={self._waiting} closed={self._closed}>"
        )

    @classmethod
    async def connect(cls, url: str, *, size: int = 8) -> Database:
        """Make a pool of at most ``size`` sessions on the database at ``url``, and return it when
        the server has responded.

        A server that does not respond may be starting, so it is tried again for CONNECT_SECONDS;
        this is logged. Raises ConfigError if ``url`` is malformed or the time is up; its text does
        not contain the password.
        """
        self = cls(url, size=size)
        deadline, next_log = Deadline(CONNECT_SECONDS), Deadline(0.0)
        while True:
            try:
                await self.check()
            except (DatabaseUnavailable, StatementFailed) as error:
                reason = self._reason(error)
                problem = f"the database at {self._address} cannot be used: {reason}"
                await deadline.pause(RETRY_SECONDS, ConfigError(problem))
                if next_log.left <= 0:
                    _log.warning("waiting for the database at %s: %s", self._address, reason)
                    next_log.renew(WAIT_LOG_SECONDS)
            else:
                return self

    def __str__(self) -> str:
        """``host:port/name``, for messages to operators."""
        return str(self._address)

    @property
    def usage(self) -> PoolUsage:
        """How the pool is used now."""
        return PoolUsage(
            self._size, len(self._busy), len(self._idle), self._waiting, self._failures
        )

    async def fetch(
        self, sql: str, params: Params = (), *, idempotent: bool = False
    ) -> list[tuple[Any, ...]]:
        """Execute one statement outside a transaction, and return its rows. Takes FETCH_SECONDS at
        most.

        ``idempotent``: whether the statement (a SELECT, say) may be sent a second time if the
        connection breaks. Raises UniqueViolation, StatementFailed, DatabaseUnavailable. A statement
        that is cancelled may have been executed.
        """
        with self._count_failures():
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    if idempotent:
                        try:
                            return await self._fetch_once(sql, params, IDLE_TRUST_SECONDS)
                        except _ConnectionLost as error:
                            _log.info("a connection broke; sending the statement again: %s", error)
                    return await self._fetch_once(sql, params, 0.0)
            except TimeoutError as error:
                raise translated(error) from error

    async def _fetch_once(
        self, sql: str, params: Params, idle_trust: float
    ) -> list[tuple[Any, ...]]:
        session = await self._take(idle_trust=idle_trust)
        try:
            return await session.fetch(sql, params)
        except DatabaseUnavailable as error:
            if session.closed:
                raise _ConnectionLost(*error.args) from error.__cause__
            raise
        finally:
            self._give_back(session)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Run the body in a READ COMMITTED transaction, on the session that is yielded: COMMIT
        after the body, ROLLBACK if it raises or is cancelled.

        Raises DatabaseUnavailable, StatementFailed. If COMMIT gets no response or is cancelled, the
        transaction may have been committed or not. The body must not call other methods of the same
        Database: each would need a second session, and many such bodies at once would wait for each
        other until ACQUIRE_SECONDS are over.
        """
        with self._count_failures():
            session = await self._take(BEGIN)
            try:
                yield session
                await session.commit()
            except Exception:  # of the body, which may raise anything; raised again
                await _roll_back(session)
                raise
            except BaseException:
                session.close()  # rolls back, without waiting
                raise
            finally:
                self._give_back(session)

    @contextmanager
    def _count_failures(self) -> Iterator[None]:
        try:
            yield
        except DatabaseUnavailable:
            self._failures += 1
            raise

    async def check(self) -> None:
        """Return if the server responds, else raise DatabaseUnavailable. Takes FETCH_SECONDS at
        most."""
        await self.fetch(_PING, idempotent=True)

    async def open_session(self) -> Session:
        """Connect, and return a session that is not in the pool; the caller closes it. Takes
        ACQUIRE_SECONDS at most. Raises DatabaseUnavailable."""
        try:
            async with asyncio.timeout(ACQUIRE_SECONDS):
                *others, last = await self._address.candidates()
                for candidate in others:
                    try:
                        return await open_session(self._url, candidate, ADDRESS_SECONDS)
                    except DatabaseUnavailable as error:
                        _log.debug("one address of the database fails: %s", error)
                return await open_session(self._url, last, ACQUIRE_SECONDS)
        except OSError as error:  # also TimeoutError
            raise translated(error) from error

    async def _take(self, start: str = "", *, idle_trust: float = 0.0) -> Session:
        """Take a session from the pool; the caller passes it to ``_give_back``. It has just
        executed the statement ``start``, or, without one, has responded within the last
        ``idle_trust`` seconds. Takes ACQUIRE_SECONDS at most. Raises DatabaseUnavailable."""
        try:
            async with asyncio.timeout(ACQUIRE_SECONDS):
                self._waiting += 1
                try:
                    await self._permits.acquire()
                finally:
                    self._waiting -= 1
                try:
                    session = await self._reuse_or_open(start, idle_trust)
                except BaseException:
                    self._permits.release()
                    raise
        except TimeoutError as error:
            raise translated(error) from error
        self._busy.add(session)
        return session

    def _give_back(self, session: Session) -> None:
        self._busy.discard(session)
        if session.reusable and not self._closed:
            self._idle.append(session)
        else:
            session.close()
        if not self._busy:
            self._all_returned.set()
        self._permits.release()

    async def _reuse_or_open(self, start: str, idle_trust: float) -> Session:
        if self._closed:
            raise DatabaseUnavailable("the database is closed")
        while self._idle:
            session = self._idle.pop()
            if session.reusable:
                if not start and self._loop.time() - session.last_used < idle_trust:
                    return session
                try:
                    await session.fetch(start or _PING, seconds=PING_SECONDS)
                except DatabaseUnavailable as error:
                    _log.debug("a session of the pool is dead: %s", error)
                except BaseException:
                    session.close()
                    raise
                else:
                    return session
            session.close()
            self._drop_idle()
        session = await self.open_session()
        if start:
            try:
                await session.fetch(start)
            except BaseException:
                session.close()
                raise
        return session

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _reason(self, error: BaseException) -> str:
        """The message of libpq that caused ``error``, for operators: on one line, without the
        password, and at most MAX_REASON_CHARACTERS long."""
        text = " ".join(str(error.__cause__ or "").split()) or str(error)
        return self._address.without_password(text)[:MAX_REASON_CHARACTERS]

    async def close(self) -> None:
        """Close all sessions. Those in use have CLOSE_SECONDS to finish their statements.
        Idempotent."""
        self._closed = True
        self._drop_idle()
        if self._busy:
            self._all_returned.clear()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._all_returned.wait()
            except TimeoutError:
                _log.warning("closing the database while %d statements run", len(self._busy))
        for session in list(self._busy):
            session.close()


class _ConnectionLost(DatabaseUnavailable):
    """The connection was lost during a statement, which may have been executed."""


async def _roll_back(session: Session) -> None:
    if session.reusable:
        return
    try:
        await session.roll_back(ROLLBACK_SECONDS)
    except DatabaseUnavailable:
        session.close()  # rolls back as well
