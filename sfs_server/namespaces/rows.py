"""The table ``namespaces``, a cache of its rows, and the locks of namespaces and paths.

*Cache.* Every request needs the row of a namespace. It is taken from the cache
(:mod:`sfs_server.namespaces.cache`) while the listener (:mod:`sfs_server.database.listener`) is
trusted: the triggers of ``schema.sql`` send a notification for every change. So this process sees
its own changes at once, and those of other processes within a few milliseconds, or after
``TRUST_SECONDS`` at the latest if the connection broke silently. While the database is unavailable,
reads may use (``stale_ok``) rows that were known to be right within the last ``STALE_SECONDS``.

*Timing.* The time that a 404 takes must not reveal that a hidden namespace exists. So a cached row
is used only for principals who may know of the namespace. For all others one SELECT is sent, which
finds no row both when the namespace does not exist and when it is hidden from them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from gfs.errors import NoSuchDirectory
from sfs_server.auth import Namespace, Principal, listed_names, may_know
from sfs_server.database import Database, Listener, Params, UniqueViolation
from sfs_server.errors import DatabaseUnavailable, Problem
from sfs_server.namespaces.cache import NamespaceCache
from sfs_server.namespaces.locks import Guarded, Locks
from sfs_server.namespaces.table import COLUMNS, IS_SAME, identity_of, lock_key, namespace_of
from sfs_server.namespaces.turns import Turns
from sfs_server.namespaces.usage import COUNTED, Total, Usage, total_of

CHANNEL = "sfs_namespaces"
"""The channel of the notifications that the triggers of ``schema.sql`` send."""

STALE_PATIENCE_SECONDS = 1.0
"""How long a read waits for the database before it uses a stale row."""

UNAVAILABLE_SECONDS = 2.0
"""How long after a failure of the database reads use a stale row without trying it again."""

# The statements below are put together from constants alone, and every value is a parameter: that
# is why S608 and B608, which warn of injected SQL, are turned off for them.
_CREATE = f"""
WITH made AS (
    INSERT INTO namespaces ({COLUMNS})
    VALUES (%s, %s, %s, now() AT TIME ZONE 'UTC') RETURNING {COLUMNS}
), counted AS (
    INSERT INTO recounts (namespace, counted_at) SELECT name, 'epoch' FROM made
)
SELECT {COLUMNS} FROM made
"""  # noqa: S608  # nosec B608
"""Creates a namespace, which has nothing, and is counted soon: its directory may have been there
before."""

_UPDATE = f"UPDATE namespaces SET hidden = %(hidden)s WHERE {IS_SAME} RETURNING {COLUMNS}"  # noqa: S608  # nosec B608
_DELETE = f"DELETE FROM namespaces WHERE {IS_SAME} RETURNING name"  # noqa: S608  # nosec B608
_LOCK_AND_DELETE = f"SELECT pg_advisory_xact_lock(%(lock)s); {_DELETE}"

_Fetch = Callable[[str, Params], Awaitable[list[tuple[Any, ...]]]]

_log = logging.getLogger(__name__)


class Namespaces:
    """The table ``namespaces``, cached. Call ``start`` before use, and ``close`` before the
    Database is closed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._cache = NamespaceCache()
        self._listener = Listener(
            database,
            CHANNEL,
            on_notify=self._on_notify,
            on_lost=self._on_lost,
            on_return=self._cache.listening_again,
        )
        self._unavailable_until = -math.inf
        self._turns = Turns()
        self._usage = Usage(database)
        self._locks = Locks(database, self._turns, self._usage)

    def __repr__(self) -> str:
        return f"<Namespaces {self._cache!r} {self._listener!r} {self._turns!r}>"

    async def start(self) -> None:
        """Start to listen to changes, and to merge the rows of the usage. If the database is
        unavailable, the listener goes on trying; nothing is raised."""
        self._usage.start()
        await self._listener.start()

    async def close(self) -> None:
        """Stop listening and merging. Idempotent."""
        await self._usage.close()
        await self._listener.close()

    @property
    def listening(self) -> bool:
        """Whether the cache is in use: notifications of changes made elsewhere arrive."""
        return self._listener.trusted

    @property
    def listening_state(self) -> str:
        """``ok`` while ``listening``, else why not, in words for an operator."""
        return self._listener.state

    async def resolve(
        self, name: str, principal: Principal, *, stale_ok: bool = False
    ) -> Namespace | None:
        """The namespace ``name``, None if there is none or ``principal`` may not know of it. If it
        is cached, it is returned without I/O, and without yielding to the loop.

        ``stale_ok``, for reads: while the database is unavailable, a row that was right within the
        last STALE_SECONDS may be returned. Raises DatabaseUnavailable.
        """
        now = self._loop.time()
        if now < self._listener.trusted_until:
            found = self._cache.fresh.get(name)
            if found is not None and (not found.hidden or may_know(principal, found)):
                return found
        stale = self._cache.stale(name, now, self._listener.confirmed_at) if stale_ok else None
        if stale is None or not may_know(principal, stale):
            return await self._read(name, principal)
        if now >= self._unavailable_until:
            try:
                async with asyncio.timeout(STALE_PATIENCE_SECONDS):
                    return await self._read(name, principal)
            except (DatabaseUnavailable, TimeoutError) as error:
                self._unavailable_until = self._loop.time() + UNAVAILABLE_SECONDS
                _log.warning("the database is unavailable, reads go on for a while: %s", error)
        return stale

    async def list(
        self, principal: Principal, *, anonymous_read: bool, after: str = "", limit: int
    ) -> list[tuple[Namespace, Total | None]]:
        """The first ``limit`` namespaces that the list shows to ``principal`` whose names are
        greater than ``after``, ordered by the bytes of their names, each with what it has: None
        where that is not known. Neither namespaces hidden from ``principal`` nor files make it
        slower. Raises DatabaseUnavailable."""
        names = listed_names(principal, anonymous_read=anonymous_read)
        params = {
            "after": _ascii(after),
            "limit": limit,
            "names": None if names is None else sorted(names),
            "owner": principal.user,
        }
        # The rule of access.visible. Each part of the UNION has an index, so that PostgreSQL does
        # not read the rows that are hidden from this principal.
        parts = ["true"] if principal.admin else ["hidden IS NOT TRUE", "owner = %(owner)s"]
        named = "" if names is None else "AND name = ANY (%(names)s)"
        selects = " UNION ".join(
            f"(SELECT {COLUMNS} FROM namespaces WHERE {part} {named} "  # noqa: S608  # nosec B608
            'AND name COLLATE "C" > %(after)s ORDER BY name COLLATE "C" LIMIT %(limit)s)'
            for part in parts
        )
        page = f'SELECT * FROM ({selects}) AS one ORDER BY name COLLATE "C" LIMIT %(limit)s'  # noqa: S608  # nosec B608
        sql = f'{COUNTED.format(found=page)} ORDER BY name COLLATE "C"'
        rows = await self._database.fetch(sql, params, idempotent=True)
        return [(namespace_of(row[:-2]), total_of(row[-2:])) for row in rows]

    async def total(self, namespace: Namespace) -> Total | None:
        """What ``namespace`` has, None if that is not known. Raises DatabaseUnavailable."""
        sql = COUNTED.format(found="SELECT %s AS name")
        [row] = await self._database.fetch(sql, (namespace.name,), idempotent=True)
        return total_of(row[-2:])

    async def require_fewer(self, owner: str | None, limit: int) -> None:
        """Return if ``owner`` has fewer than ``limit`` namespaces, or ``limit`` is 0 (no limit).
        Raises Problem 403 if not, and DatabaseUnavailable."""
        await _require_fewer(self._database.fetch, owner, limit)

    async def create(
        self, name: str, *, hidden: bool, owner: str | None, limit: int = 0
    ) -> Namespace:
        """Create a namespace and return it. ``limit``: how many namespaces ``owner`` may have,
        including this one; 0 is no limit. It holds also when several processes create some at once.

        Raises Problem 403 (too many), Problem 409 (the name exists), DatabaseUnavailable (the
        namespace may have been created all the same). Not idempotent.
        """
        try:
            if owner is None or not limit:
                rows = await self._database.fetch(_CREATE, (name, hidden, owner))
            else:
                lock = lock_key("owner", owner)
                async with self._turns.of(lock), self._database.transaction() as session:
                    await session.fetch("SELECT pg_advisory_xact_lock(%s)", (lock,))
                    await _require_fewer(session.fetch, owner, limit)
                    rows = await session.fetch(_CREATE, (name, hidden, owner))
        except UniqueViolation:
            raise Problem(409, "A namespace of that name exists.") from None
        finally:
            self._cache.remove(name)
        return namespace_of(rows[0])

    async def update(self, namespace: Namespace, *, hidden: bool) -> Namespace | None:
        """Set whether ``namespace`` is hidden, and return its new row; None if it has been deleted,
        even if there is a new one of the same name. Idempotent. Raises DatabaseUnavailable."""
        try:
            rows = await self._database.fetch(
                _UPDATE, {**identity_of(namespace), "hidden": hidden}, idempotent=True
            )
        finally:
            self._cache.remove(namespace.name)
        return namespace_of(rows[0]) if rows else None

    @asynccontextmanager
    async def guard(self, namespace: Namespace, path: str = "") -> AsyncIterator[Guarded]:
        """Lock ``namespace`` and ``path`` in it while the body changes what is at ``path``, or,
        without ``path``, while it makes the directory of the namespace. During the body the
        namespace cannot be deleted, the folders above ``path`` cannot be moved or removed, and no
        other body for the same ``path``, or for something below it, runs in any process.

        Yields the row of the namespace as it is now; the body adds to it what it changed. Raises
        what ``Locks.held`` raises. The body should be short, and uses the database by ``Guarded``
        alone.
        """
        with self._forgetting(namespace):
            async with self._locks.held([(namespace, path)]) as [guarded]:
                yield guarded

    @asynccontextmanager
    async def moving(
        self,
        namespace: Namespace,
        path: str,
        to_namespace: Namespace,
        to_path: str,
        *,
        folder: bool = False,
    ) -> AsyncIterator[tuple[Guarded, Guarded]]:
        """Lock both ends of a move, each like ``guard``, and yield both.

        ``folder``: whether a folder is moved, which may take long: FOLDERS_AT_ONCE of them are
        moved at a time.
        """
        ends = [(namespace, path), (to_namespace, to_path)]
        with self._forgetting(namespace, to_namespace):
            async with self._locks.held(ends, long=folder) as [here, there]:
                yield here, there

    @contextmanager
    def _forgetting(self, *namespaces: Namespace) -> Iterator[None]:
        """Remove the rows of ``namespaces`` from the cache if one of them has been deleted."""
        try:
            yield
        except NoSuchDirectory:
            for namespace in namespaces:
                self._cache.remove(namespace.name)
            raise

    @asynccontextmanager
    async def deleting(self, namespace: Namespace) -> AsyncIterator[None]:
        """Delete the row of ``namespace``. The body removes its files; if it raises, the row stays.
        During the body no file is published in the namespace.

        Raises NoSuchDirectory if the namespace has been deleted, even if there is a new one of the
        same name; DatabaseUnavailable (if it comes after the body, the row may have been deleted or
        not). The body must not use the database.
        """
        try:
            async with (
                self._turns.of(namespace.name),
                self._database.transaction() as session,
            ):
                lock = lock_key("namespace", namespace.name)
                params = {**identity_of(namespace), "lock": lock}
                rows = await session.fetch(_LOCK_AND_DELETE, params)
                if not rows:
                    raise NoSuchDirectory("the namespace was deleted")
                yield
        finally:
            self._cache.remove(namespace.name)

    async def _read(self, name: str, principal: Principal) -> Namespace | None:
        """Read the row of ``name`` from the database and cache it; None if there is none or
        ``principal`` may not know of it. Raises DatabaseUnavailable."""
        trusted, generation = self._listener.trusted, self._cache.generation
        rows = await self._database.fetch(
            f"SELECT {COLUMNS} FROM namespaces "  # noqa: S608  # nosec B608
            "WHERE name = %s AND (hidden IS NOT TRUE OR owner = %s OR %s)",  # = access.may_know
            (name, principal.user, principal.admin),
            idempotent=True,
        )
        self._unavailable_until = -math.inf
        if not rows:
            return None
        found = namespace_of(rows[0])
        if generation == self._cache.generation:  # else it may have changed since the SELECT
            self._cache.put(name, found, self._loop.time(), trusted=trusted)
        return found

    def _on_notify(self, payload: str) -> None:
        """``payload`` is the name of the namespace that was changed, or ``*`` for all of them."""
        if payload == "*":
            self._cache.clear()
        else:
            self._cache.remove(payload)

    def _on_lost(self) -> None:
        self._cache.make_stale(self._listener.confirmed_at)


async def _require_fewer(fetch: _Fetch, owner: str | None, limit: int) -> None:
    if owner is None or not limit:
        return
    sql = "SELECT count(*) FROM (SELECT FROM namespaces WHERE owner = %s LIMIT %s) AS owned"
    [(owned,)] = await fetch(sql, (owner, limit))
    if owned >= limit:
        raise Problem(
            403,
            f"You own {owned} namespaces, and one user may own {limit}. Delete one, or ask the "
            "operator of the service for more.",
        )


def _ascii(after: str) -> str:
    """An ASCII text that sorts among the names of namespaces, which are ASCII, where ``after``
    does. ``after`` itself may contain what a statement cannot: PostgreSQL refuses NUL, and psycopg2
    lone surrogates."""
    return re.sub("[^\x01-\x7f].*", "\x7f", after.partition("\0")[0], flags=re.DOTALL)
