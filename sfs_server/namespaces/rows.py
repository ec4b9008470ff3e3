"""The namespaces in the database, and a cache of them that other processes' changes empty.

Every request asks for a namespace, so the row is kept (:mod:`sfs_server.namespaces.cache`), and
taken from there while the listener (:mod:`sfs_server.database.listener`) is trusted: the triggers
of ``schema.sql`` send a notification for every change, whoever makes it. So a change elsewhere is
seen at once where the connection is well (a millisecond or so), and after ``TRUST_SECONDS`` at the
latest where it broke silently. Own changes are seen at once. While the database is unavailable,
reads may go on (``stale_ok``) with what was confirmed within the last ``STALE_SECONDS``.

A caller who may not know of a namespace must not learn of it by the time that a 404 takes. So the
cache serves only those who may know what is in it. For everyone else one SELECT is sent, which
finds nothing, whether there is no such namespace or one that is hidden from them, in use or not.

Deleting a namespace and publishing a file in it exclude each other by row locks: ``guard`` holds
FOR KEY SHARE, which any number of publishers share, and ``deleting`` holds the lock of the DELETE.
Row locks are not handed out in the order of asking: publishers that follow each other closely would
keep a DELETE waiting for ever. Both therefore take an advisory lock on the name first, which is
fair, and which holds up only the publishers that came after a DELETE in waiting.

What is published under one name takes turns too, by another advisory lock. A cluster's filers keep
"create, unless it exists" and "replace this version" among those who use the same filer; which one
that is can differ between two processes while a filer comes or goes.

Waiting for a lock takes a session of the database, of which there are few. So whoever would wait
for the same lock waits in this process first, in ``Turns``: one file costs one session at most, and
so does a namespace that is being deleted.

The keys of these locks have 64 bits of a hash. The version before this one used 32 (``hashtext``),
under which names met by accident. While its processes are still running next to these, a file is
kept from both by its old lock too: it is shared among the new ones, which therefore do not meet
there. A namespace needs none, since the row locks hold in both versions.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from gfs.errors import NoSuchDirectory
from sfs_server.auth import Namespace, Principal, listed_names, may_know
from sfs_server.database import Database, Listener, Params, UniqueViolation
from sfs_server.errors import DatabaseUnavailable, Problem
from sfs_server.namespaces.cache import NamespaceCache
from sfs_server.namespaces.turns import Turns

CHANNEL = "sfs_namespaces"
STALE_PATIENCE_SECONDS = 1.0
"""How long a read that could do with a stale row waits for the database."""

UNAVAILABLE_SECONDS = 2.0
"""After a failure, reads that have a stale row do not ask the database again for so long."""

_COLUMNS = "name, hidden, owner, created_at"
_SAME = (
    "name = %(name)s AND coalesce(created_at, 'epoch') = %(created_at)s "
    "AND owner IS NOT DISTINCT FROM %(owner)s"
)
"""That a row is a certain namespace, and not another one that was made under its name since: with
the parameters that ``_identity`` gives."""

_TRY_LOCKS = (
    "SELECT pg_try_advisory_xact_lock_shared(%(lock)s), pg_advisory_xact_lock(%(file_lock)s), "
    "pg_advisory_xact_lock_shared(7562868, hashtext(%(path)s))"
)
"""Of the namespace, of the file in it, and of the file as the version before this one has it."""

_LOCKS = _TRY_LOCKS.replace("pg_try_", "pg_")
_SELECT = f"SELECT {_COLUMNS} FROM namespaces WHERE {_SAME}"  # noqa: S608  # nosec B608
_TRY_GUARD = f"{_TRY_LOCKS}; {_SELECT} AND pg_try_advisory_xact_lock_shared(%(lock)s) FOR KEY SHARE"
"""Gives the row of the namespace, locked; none while it is being deleted. A lock that was granted
is granted again."""

_GUARD = f"{_LOCKS}; {_SELECT} FOR KEY SHARE"
"""Gives the row, locked, after it has waited for those who are deleting the namespace."""

_UPDATE = f"UPDATE namespaces SET hidden = %(hidden)s WHERE {_SAME} RETURNING {_COLUMNS}"  # noqa: S608  # nosec B608
_DELETE = f"DELETE FROM namespaces WHERE {_SAME} RETURNING name"  # noqa: S608  # nosec B608
_LOCK_AND_DELETE = f"SELECT pg_advisory_xact_lock(%(lock)s); {_DELETE}"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Fetch = Callable[[str, Params], Awaitable[list[tuple[Any, ...]]]]

_log = logging.getLogger(__name__)


class Namespaces:
    """The table ``namespaces``. ``start`` it before use, ``close`` it before its Database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._cache = NamespaceCache()
        self._listener = Listener(
            database,
            CHANNEL,
            on_notify=self._on_notify,
            on_lost=self._on_lost,
            on_return=self._cache.start,
        )
        self._unavailable_until = -math.inf
        self._turns = Turns()

    def __repr__(self) -> str:
        return f"<Namespaces {self._cache!r} {self._listener!r} {self._turns!r}>"

    async def start(self) -> None:
        """Start to listen. A database that is unavailable is not an error: it is tried again."""
        await self._listener.start()

    async def close(self) -> None:
        """Stop listening. Idempotent."""
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
        """The namespace of that name, None if there is none that ``principal`` may know of. Where
        it is cached, it is returned without I/O, and without yielding to the loop.

        With ``stale_ok``, for reads, a row that was confirmed within STALE_SECONDS does when the
        database is unavailable. Raises DatabaseUnavailable.
        """
        now = self._loop.time()
        if now < self._listener.trusted_until:
            found = self._cache.present.get(name)
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
    ) -> list[Namespace]:
        """The first ``limit`` namespaces behind ``after`` that the list shows to ``principal``, in
        the order of their names' bytes. What others have does not make it slower. Raises
        DatabaseUnavailable."""
        names = listed_names(principal, anonymous_read=anonymous_read)
        asked = {
            "after": _ascii(after),
            "limit": limit,
            "names": None if names is None else sorted(names),
            "owner": principal.user,
        }
        # access.visible, by an index for each part: nobody reads past what others hide.
        parts = ["true"] if principal.admin else ["hidden IS NOT TRUE", "owner = %(owner)s"]
        named = "" if names is None else "AND name = ANY (%(names)s)"
        selects = " UNION ".join(
            f"(SELECT {_COLUMNS} FROM namespaces WHERE {part} {named} "  # noqa: S608  # nosec B608
            'AND name COLLATE "C" > %(after)s ORDER BY name COLLATE "C" LIMIT %(limit)s)'
            for part in parts
        )
        rows = await self._database.fetch(
            f'SELECT * FROM ({selects}) AS found ORDER BY name COLLATE "C" LIMIT %(limit)s',  # noqa: S608  # nosec B608
            asked,
            idempotent=True,
        )
        return [_namespace(row) for row in rows]

    async def require_fewer(self, owner: str | None, most: int) -> None:
        """Return if ``owner`` has fewer than ``most`` namespaces; 0 is no limit. Raises Problem
        403, DatabaseUnavailable."""
        await _require_fewer(self._database.fetch, owner, most)

    async def create(
        self, name: str, *, hidden: bool, owner: str | None, most: int = 0
    ) -> Namespace:
        """Add a namespace and return it. ``most``: how many the owner may have then, in all
        processes together; 0 is no limit. Raises Problem 403 and 409, DatabaseUnavailable (then it
        may have been added). Not idempotent."""
        sql = (
            f"INSERT INTO namespaces ({_COLUMNS}) "  # noqa: S608  # nosec B608
            f"VALUES (%s, %s, %s, now() AT TIME ZONE 'UTC') RETURNING {_COLUMNS}"
        )
        try:
            if owner is None or not most:
                rows = await self._database.fetch(sql, (name, hidden, owner))
            else:
                lock = _key("owner", owner)
                async with self._turns.of(lock), self._database.transaction() as session:
                    await session.fetch("SELECT pg_advisory_xact_lock(%s)", (lock,))
                    await _require_fewer(session.fetch, owner, most)
                    rows = await session.fetch(sql, (name, hidden, owner))
        except UniqueViolation:
            raise Problem(409, "A namespace of that name exists.") from None
        finally:
            self._cache.forget(name)
        return _namespace(rows[0])

    async def update(self, namespace: Namespace, *, hidden: bool) -> Namespace | None:
        """Change a namespace and return it; None if it is gone, or another one by now, which was
        made again under its name. Idempotent. Raises DatabaseUnavailable."""
        try:
            rows = await self._database.fetch(
                _UPDATE, {**_identity(namespace), "hidden": hidden}, idempotent=True
            )
        finally:
            self._cache.forget(namespace.name)
        return _namespace(rows[0]) if rows else None

    @asynccontextmanager
    async def guard(self, namespace: Namespace, name: str = "") -> AsyncIterator[Namespace]:
        """Keep ``namespace`` from being deleted while the body publishes the file ``name`` in it,
        or without one makes its directory; nobody else does the same meanwhile, in any process.

        Gives the row as it is now. Raises NoSuchDirectory when the namespace is gone or is another
        one by now, which was made again under its name; DatabaseUnavailable, also when others have
        kept it waiting for TURN_SECONDS or LOCK_SECONDS. The body should
        be short, and must not use the database. An error that comes after the body, because the
        transaction could not be ended, does not undo what the body did; since nothing was
        written, it is logged and not raised.
        """
        asked = {
            **_identity(namespace),
            "lock": _key("namespace", namespace.name),
            "file_lock": _key("file", namespace.name, name),
            "path": f"{namespace.name}/{name}",
        }
        done = False
        try:
            async with self._turns.of((namespace.name, name)), AsyncExitStack() as stack:
                session = await stack.enter_async_context(self._database.transaction())
                rows = await session.fetch(_TRY_GUARD, asked)
                if not rows:  # it was deleted; or it is being deleted, which may fail
                    await stack.aclose()
                    async with self._turns.of(namespace.name):
                        session = await stack.enter_async_context(self._database.transaction())
                        rows = await session.fetch(_GUARD, asked)
                if not rows:
                    self._cache.forget(namespace.name)
                    raise NoSuchDirectory("the namespace was deleted")
                yield _namespace(rows[0])
                done = True
        except DatabaseUnavailable as error:
            if not done:
                raise
            _log.warning("the database became unavailable after a file was published: %s", error)

    @asynccontextmanager
    async def deleting(self, namespace: Namespace) -> AsyncIterator[None]:
        """Delete ``namespace`` if the body, which removes its files, succeeds; else it stays.

        Nothing is published in it meanwhile. Raises NoSuchDirectory when it is gone or another
        one by now; DatabaseUnavailable, after the body also when it is not known whether the row
        was deleted. The body must not use the database.
        """
        try:
            async with (
                self._turns.of(namespace.name),
                self._database.transaction() as session,
            ):
                lock = _key("namespace", namespace.name)
                asked = {**_identity(namespace), "lock": lock}
                rows = await session.fetch(_LOCK_AND_DELETE, asked)
                if not rows:
                    raise NoSuchDirectory("the namespace was deleted")
                yield
        finally:
            self._cache.forget(namespace.name)

    async def _read(self, name: str, principal: Principal) -> Namespace | None:
        trusted, generation = self._listener.trusted, self._cache.generation
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM namespaces "  # noqa: S608  # nosec B608
            "WHERE name = %s AND (hidden IS NOT TRUE OR owner = %s OR %s)",  # access.may_know
            (name, principal.user, principal.admin),
            idempotent=True,
        )
        self._unavailable_until = -math.inf
        if not rows:
            return None
        found = _namespace(rows[0])
        if generation == self._cache.generation:  # else it may have changed on its way
            self._cache.keep(name, found, self._loop.time(), trusted=trusted)
        return found

    def _on_notify(self, payload: str) -> None:
        if payload == "*":
            self._cache.clear()
        else:
            self._cache.forget(payload)

    def _on_lost(self) -> None:
        self._cache.lose(self._listener.confirmed_at)


def _key(kind: str, *names: str) -> int:
    """The key of an advisory lock: 64 bits, so that no two names have the same one by accident."""
    text = "\0".join(("sfs", kind, *names))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)


async def _require_fewer(fetch: _Fetch, owner: str | None, most: int) -> None:
    if owner is None or not most:
        return
    sql = "SELECT count(*) FROM (SELECT FROM namespaces WHERE owner = %s LIMIT %s) AS owned"
    [(owned,)] = await fetch(sql, (owner, most))
    if owned >= most:
        raise Problem(
            403,
            f"You own {owned} namespaces, and one user may own {most}. Delete one, or ask the "
            "operator of the service for more.",
        )


def _ascii(after: str) -> str:
    """A text of ASCII that sorts where ``after`` does among names, which are all ASCII. PostgreSQL
    keeps no NUL, and psycopg2 sends no half of a surrogate pair."""
    return re.sub("[^\x01-\x7f].*", "\x7f", after.partition("\0")[0], flags=re.DOTALL)


def _identity(namespace: Namespace) -> dict[str, object]:
    """What makes a namespace this one: the parameters of ``_SAME``."""
    created_at = namespace.created_at.replace(tzinfo=None)
    return {"name": namespace.name, "created_at": created_at, "owner": namespace.owner}


def _namespace(row: tuple[Any, ...]) -> Namespace:
    """A row of name, hidden, owner, created_at; a table made by hand may have NULLs in it."""
    name, hidden, owner, created_at = row
    return Namespace(
        name=name,
        hidden=bool(hidden),
        owner=owner,
        created_at=_EPOCH if created_at is None else created_at.replace(tzinfo=UTC),
    )
