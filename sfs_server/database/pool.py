"""PostgreSQL: a small pool of checked sessions, bounded statements, transactions.

aiopg's own pool is not used: it hands out connections that died with a restarted server
(aio-libs/aiopg#20), it connects while it holds the lock that every other acquire needs, and it
leaks a connection whose ``on_connect`` fails. The pool here is a semaphore and a stack. A session
that lay idle for more than ``IDLE_TRUST_SECONDS`` responds to a ping (0.2 ms on one machine) before
it is used, and where one is dead all idle ones are dropped, because they died of the same cause.

Retries. A statement that was sent may have been executed even though no response came, so it is
sent twice only if the caller says that it is ``idempotent``. Any other one is sent only on a
session that has responded just before, which leaves as unsafe no more than a server that dies in
the milliseconds between. For those of a transaction its BEGIN is that ping.

Time. Waiting for a session, connecting and pinging take at most ``ACQUIRE_SECONDS`` together, a
statement ``STATEMENT_SECONDS``, a fetch with its retry ``FETCH_SECONDS``.

Cancellation. A session whose statement is cancelled or takes too long is closed, never given back.
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
"""To wait for a session of the pool, and to connect or to ping."""

FETCH_SECONDS = ACQUIRE_SECONDS + STATEMENT_SECONDS
"""For a statement on its own, with its retry."""

ADDRESS_SECONDS = 2.0
"""For one of several addresses to respond; the last of them gets all that is left."""

IDLE_TRUST_SECONDS = 0.5
"""How long after its last response a session is taken to be alive, for what may be sent twice."""

CONNECT_SECONDS = 30.0
"""How long a start waits for a database that does not respond."""

RETRY_SECONDS = 0.5
"""The pause between two attempts to reach a database that is starting."""

WAIT_LOG_SECONDS = 5.0
"""The least time between two log lines that say so."""

ROLLBACK_SECONDS = 1.0
"""For a ROLLBACK; after that its session is closed."""

CLOSE_SECONDS = 5.0
"""For the statements in flight when the pool is closed."""

MAX_REASON_CHARACTERS = 300
"""Of an error of libpq, for the operator."""

_PING = "SELECT 1"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """How a pool is used now: sessions at most, in use and idle; callers that wait for one; and
    how often, so far, it raised DatabaseUnavailable."""

    size: int
    busy: int
    idle: int
    waiting: int
    failures: int


class Database:
    """A pool of sessions on one PostgreSQL. Made by ``connect``; whoever made it closes it."""

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
        """Return a Database of at most ``size`` sessions whose server has responded.

        A server that does not respond may be starting: it is tried again for CONNECT_SECONDS, and
        the log says so. Raises ConfigError, whose text has no password, when the URL makes no
        sense or the time is up.
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
        """``host:port/name``, to be shown to an operator."""
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
        """Execute one statement on its own and return its rows; at most ``FETCH_SECONDS``.

        ``idempotent`` (a SELECT, say) allows to send it a second time when the connection broke.
        Raises UniqueViolation, StatementFailed, DatabaseUnavailable. A cancelled statement may
        have been executed.
        """
        with self._counted():
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
        """A READ COMMITTED transaction: COMMIT at the end of the body, ROLLBACK where it raises.

        Raises DatabaseUnavailable when COMMIT gets no response: then, as when it is cancelled, it
        may or may not have been executed. Any other cancellation rolls back. The body must not ask
        the same Database for anything else: enough such bodies at once would wait for each
        other's sessions until ACQUIRE_SECONDS are over.
        """
        with self._counted():
            session = await self._take(BEGIN)
            try:
                yield session
                await session.commit()
            except Exception:
                await _roll_back(session)
                raise
            except BaseException:
                session.close()  # which rolls back, and waits for nothing
                raise
            finally:
                self._give_back(session)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except DatabaseUnavailable:
            self._failures += 1
            raise

    async def check(self) -> None:
        """Return if the server responds, else raise DatabaseUnavailable; at most FETCH_SECONDS."""
        await self.fetch(_PING, idempotent=True)

    async def open_session(self) -> Session:
        """A session that is not of the pool, which the caller closes. Raises
        DatabaseUnavailable within ACQUIRE_SECONDS."""
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
        """A session of the pool, to be given back: one that has just executed the statement
        ``start``, or without one, has responded within the last ``idle_trust`` seconds. Raises
        DatabaseUnavailable after at most ACQUIRE_SECONDS."""
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
        """What an operator is to know of ``error``: libpq's words, on one line, no password."""
        text = " ".join(str(error.__cause__ or "").split()) or str(error)
        return self._address.without_password(text)[:MAX_REASON_CHARACTERS]

    async def close(self) -> None:
        """Close every session; those in use get ``CLOSE_SECONDS`` to finish. Idempotent."""
        self._closed = True
        self._drop_idle()
        if self._busy:
            self._all_returned.clear()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._all_returned.wait()
            except TimeoutError:
                _log.warning("closing the database under %d statements", len(self._busy))
        for session in list(self._busy):
            session.close()


class _ConnectionLost(DatabaseUnavailable):
    """The connection was lost under a statement; whether it was executed is not known."""


async def _roll_back(session: Session) -> None:
    if session.reusable:
        return
    try:
        await session.fetch("ROLLBACK", seconds=ROLLBACK_SECONDS)
    except DatabaseUnavailable:
        session.close()  # which rolls back as well
