"""The tables of upload sessions: ``uploads``, ``upload_parts`` and ``upload_reservations``.

*The fence.* Any process may go on with an upload, and a request that hangs may wake at any time,
perhaps in a process that was frozen. So each request raises ``epoch`` of the row first
(``take_over``), and everything that it writes about the upload requires that the epoch is still the
one that it has raised it to. A request that finds another one has been overtaken, and can write
nothing more. No lock is held between two statements, so nobody waits for a request that hangs.

*Recording a Part* is one statement. It moves ``received`` from the start of the Part to its end, so
Parts follow each other without a gap, whichever request records them. A statement without a
response may have been executed: it is sent again until there is a response. That does no harm: with
the epoch of this request, ``received`` is the end of the Part only if this request has recorded it
before. Where the response is that the request has been overtaken, an earlier attempt may still have
recorded the Part, which must not be discarded then: that is looked up.

*Reservations* share the row of the upload (FOR SHARE), so that none is added after somebody has
raised the epoch and read them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from gfs.clock import Deadline
from gfs.errors import NoSuchUpload
from gfs.types import Expect, Part
from sfs_server.auth import Namespace
from sfs_server.database import Database, Params
from sfs_server.errors import DatabaseFull, DatabaseUnavailable, Problem
from sfs_server.namespaces import Guarded, lock_key

MAX_OPEN = 1000
"""How many unfinished uploads a user may have."""

KNOWN_SECONDS = 30.0
"""How long a statement is sent again whose result is not known."""

RETRY_SECONDS = 0.25
"""The pause before it is sent again."""

PARTS_AT_ONCE = 500
"""Parts that are read at once. A token has at most 8 KiB, mostly less than one."""

KEEP_SECONDS = 3600
"""How long the row of an upload is kept that was published by the request that started it."""

_FIELDS = (
    *("id", "owner", "epoch", "expires", "namespace", "namespace_created_at", "namespace_owner"),
    *("path", "folder", "absent", "exclusive", "present", "versions", "size", "received", "digest"),
    *("metadata", "transfer", "publishing", "published", "cleared"),
)
_EXPIRES = "floor(extract(epoch FROM expires_at))::bigint"
_COLUMNS = ", ".join(_EXPIRES if field == "expires" else field for field in _FIELDS)

_SAME = (
    "namespaces.name = namespace AND coalesce(namespaces.created_at, 'epoch') = "
    "namespace_created_at AND namespaces.owner IS NOT DISTINCT FROM namespace_owner"
)
"""The condition that the namespace of an upload is still there."""

_INSERT = """
INSERT INTO uploads (
    id, owner, expires_at, namespace, namespace_created_at, namespace_owner, path, folder, absent,
    exclusive, present, versions, size, received, digest, metadata, transfer, published, cleared
)
SELECT %(id)s, %(owner)s, now() AT TIME ZONE 'UTC' + %(expiry)s * interval '1 second',
    %(namespace)s, %(namespace_created_at)s, %(namespace_owner)s, %(path)s, %(folder)s, %(absent)s,
    %(exclusive)s, %(present)s, %(versions)s::text[], %(size)s, %(received)s, %(digest)s,
    %(metadata)s, %(transfer)s, %(published)s, %(published)s IS NOT NULL
"""

_START = f"""
SELECT pg_advisory_xact_lock(%(lock)s);
{_INSERT}
WHERE (
    SELECT count(*) FROM (
        SELECT FROM uploads WHERE owner = %(owner)s AND published IS NULL
        AND expires_at > now() AT TIME ZONE 'UTC' LIMIT %(most)s
    ) AS unfinished
) < %(most)s
RETURNING {_COLUMNS}
"""  # noqa: S608 - only constants are put in  # nosec B608
"""Adds an upload, unless its owner has too many. The lock has the requests of one owner take turns,
so that many at once do not exceed that together."""

_THERE = f"""
FROM uploads WHERE id = %(id)s AND owner = %(owner)s AND expires_at > now() AT TIME ZONE 'UTC'
AND EXISTS (SELECT FROM namespaces WHERE {_SAME})
"""  # nosec B608

_FIND = f"SELECT {_COLUMNS} {_THERE}"

_TAKE_OVER = f"""
SELECT set_config('synchronous_commit', 'off', true);
UPDATE uploads SET epoch = epoch + 1 + floor(random() * 1000000000)::bigint
WHERE id = (SELECT id {_THERE}) RETURNING {_COLUMNS}
"""  # noqa: S608 - only constants are put in  # nosec B608
"""Raises the epoch, without waiting until that is on the disk of the database: if it is lost in a
crash there, a request that has raised it finds an older one, and writes nothing. What is written
with the new epoch is on the disk after it. An epoch that was lost is not given to anyone again,
since it is raised by a random number."""

_RECORD = """
WITH mine AS (
    UPDATE uploads SET received = %(end)s,
        expires_at = now() AT TIME ZONE 'UTC' + %(expiry)s * interval '1 second'
    WHERE id = %(id)s AND epoch = %(epoch)s AND received IN (%(starts)s, %(end)s)
    RETURNING id, expires_at
), added AS (
    INSERT INTO upload_parts (upload, starts, size, token)
    SELECT id, %(starts)s, %(size)s, %(token)s FROM mine WHERE %(token)s <> ''
    ON CONFLICT DO NOTHING
), released AS (
    DELETE FROM upload_reservations USING mine
    WHERE upload = id AND token = ANY (%(released)s::text[])
)
SELECT floor(extract(epoch FROM expires_at))::bigint FROM mine
"""

_IS_RECORDED = """
SELECT upload FROM upload_parts
WHERE upload = %(id)s AND starts = %(starts)s AND token = %(token)s
"""

_RESERVE = """
WITH mine AS (SELECT id FROM uploads WHERE id = %(id)s AND epoch = %(epoch)s FOR SHARE), added AS (
    INSERT INTO upload_reservations (upload, token) SELECT id, %(token)s FROM mine
    ON CONFLICT DO NOTHING
)
SELECT id FROM mine
"""

_PARTS = """
SELECT starts, size, token FROM upload_parts WHERE upload = %(id)s AND starts > %(after)s
ORDER BY starts LIMIT %(limit)s
"""

_MOVED = """
UPDATE uploads SET moved = true
WHERE publishing AND namespace = %(namespace)s
AND (path = %(path)s OR starts_with(path, %(below)s))
RETURNING id
"""

_PUBLISHED = """
UPDATE uploads SET published = %(published)s, publishing = false
WHERE id = %(id)s AND epoch = %(epoch)s RETURNING id
"""

_SET_SIZE = """
UPDATE uploads SET size = %(size)s WHERE id = %(id)s AND epoch = %(epoch)s RETURNING id
"""

_SET_PUBLISHING = """
UPDATE uploads SET publishing = %(publishing)s, moved = false
WHERE id = %(id)s AND epoch = %(epoch)s RETURNING id
"""

_HOLD = "SELECT moved FROM uploads WHERE id = %(id)s AND epoch = %(epoch)s FOR UPDATE"

_GIVE_UP = """
UPDATE uploads SET expires_at = 'epoch', swept_at = now() AT TIME ZONE 'UTC'
WHERE id = %(id)s AND epoch = %(epoch)s RETURNING id
"""

_DELETE = "DELETE FROM uploads WHERE id = %(id)s AND epoch = %(epoch)s"

_CLEARED = """
WITH parts AS (DELETE FROM upload_parts WHERE upload = %(id)s),
reservations AS (DELETE FROM upload_reservations WHERE upload = %(id)s)
UPDATE uploads SET cleared = true WHERE id = %(id)s AND published IS NOT NULL
"""

_EXPIRED = f"""
UPDATE uploads SET epoch = epoch + 1 + floor(random() * 1000000000)::bigint,
    swept_at = now() AT TIME ZONE 'UTC'
WHERE id IN (
    SELECT id FROM uploads
    WHERE (
        expires_at <= now() AT TIME ZONE 'UTC'
        OR NOT EXISTS (SELECT FROM namespaces WHERE {_SAME})
    )
    AND (swept_at IS NULL OR swept_at < now() AT TIME ZONE 'UTC' - %(again)s * interval '1 second')
    AND NOT cleared
    ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING {_COLUMNS}
"""  # noqa: S608 - only constants are put in  # nosec B608

_FORGET = """
DELETE FROM uploads WHERE id IN (
    SELECT id FROM uploads WHERE cleared AND expires_at <= now() AT TIME ZONE 'UTC'
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) RETURNING id
"""

_log = logging.getLogger(__name__)


class Overtaken(Exception):
    """Another request goes on with the upload, or has ended it: this one can do nothing more."""


@dataclass(frozen=True, slots=True)
class Session:
    """One upload, as its row was read or written last. The request that has it
    after ``start`` or ``take_over`` may go on with it until another one takes it over."""

    id: str
    """32 hexadecimal digits, which cannot be guessed."""
    owner: str
    """The user who started it."""
    namespace: Namespace
    """Where it will be published; what is in it of the row of the namespace may be out of date,
    except for what says which namespace it is."""
    path: str
    folder: str
    """The deepest folder above ``path`` that existed when it was started; "" is the namespace."""
    expect: Expect
    """What must be at ``path``."""
    exclusive: bool
    """Whether nothing must be there because that is the rule, and not a condition of the client."""
    size: int | None
    """Bytes of the file; None while the client has not said it."""
    digest: bytes | None
    """The SHA-256 that the file must have; None for any."""
    metadata: str
    """``Upload-Metadata``, as the client sent it."""
    transfer: str
    """The id by which its progress is watched."""
    received: int = 0
    """Bytes that are durable."""
    published: str | None = None
    """The version that was published; None if it was not, as far as is recorded."""
    publishing: bool = False
    """Whether it may have been published although that is not recorded."""
    cleared: bool = False
    """Whether the store has nothing of it any more but what was published."""
    epoch: int = 0
    expires: int = 0
    """When it is forgotten, in Unix seconds."""

    @property
    def whole(self) -> bool:
        """Whether all bytes have been received."""
        return self.received == self.size


def new_id() -> str:
    """The id of a new upload."""
    return os.urandom(16).hex()


class Sessions:
    """The rows of upload sessions. ``expiry``: how many seconds they are kept after the last byte.

    Every method may raise DatabaseUnavailable. Those that take a Session raise Overtaken if another
    request has taken it over.
    """

    def __init__(self, database: Database, expiry: int) -> None:
        self._database = database
        self._expiry = expiry

    def __repr__(self) -> str:
        return f"<Sessions {self._database!r}>"

    async def start(self, wanted: Session) -> Session:
        """Add the upload ``wanted``. Raises Problem 429 if its owner has MAX_OPEN."""
        lock = lock_key("uploads", wanted.owner)
        params = {**_values(wanted), "expiry": self._expiry, "lock": lock, "most": MAX_OPEN}
        rows = await self._database.fetch(_START, params)
        if not rows:
            raise Problem(
                429,
                f"You have {MAX_OPEN} uploads that are not finished. Finish or delete some, or "
                "wait until they expire.",
            )
        return _session(rows[0])

    def add_published(self, guarded: Guarded, wanted: Session) -> None:
        """Add the upload ``wanted``, which the body of ``guarded`` has published as a whole, in its
        transaction."""
        guarded.at_commit(_INSERT, {**_values(wanted), "expiry": min(self._expiry, KEEP_SECONDS)})

    def kept_until(self, now: float) -> int:
        """When an upload that is published at ``now`` by ``add_published`` is forgotten."""
        return int(now) + min(self._expiry, KEEP_SECONDS)

    async def find(self, id_: str, owner: str) -> Session:
        """The upload ``id_`` of ``owner``. Raises NoSuchUpload if there is none, if it has expired
        or if its namespace has been deleted."""
        params = {"id": id_, "owner": owner}
        return _only(await self._database.fetch(_FIND, params, idempotent=True))

    async def take_over(self, id_: str, owner: str) -> Session:
        """The same, to go on with: the request that did before is overtaken."""
        params = {"id": id_, "owner": owner}
        return _only(await self._database.fetch(_TAKE_OVER, params, idempotent=True))

    async def record(self, session: Session, part: Part) -> Session:
        """Record ``part``, the next one; return the session as it is then. If this raises
        Overtaken, ``part`` is not recorded, and never will be, unless ``part`` has no token."""
        params = {
            **_mine(session),
            "starts": part.offset,
            "end": part.end,
            "size": part.size,
            "token": part.token,
            "released": list(part.released),
            "expiry": self._expiry,
        }
        rows = await self._until_known(_RECORD, params)
        if rows:
            return replace(session, received=part.end, expires=rows[0][0])
        if part.token and await self._until_known(_IS_RECORDED, params):
            raise RecordedAndOvertaken
        raise Overtaken

    async def set_size(self, session: Session, size: int) -> Session:
        """The client has said how many bytes the file has, at least as many as were received."""
        await self._change(_SET_SIZE, session, size=size)
        return replace(session, size=size)

    async def set_publishing(self, session: Session, publishing: bool) -> Session:
        """Record that from now on it may have been published, or that it has certainly not been."""
        await self._change(_SET_PUBLISHING, session, publishing=publishing)
        return replace(session, publishing=publishing)

    async def hold(self, guarded: Guarded, session: Session) -> bool:
        """Hold the row in the transaction of ``guarded``: nobody takes it over before its end.
        Returns whether what is at its path may have been moved since it was perhaps published."""
        rows = await guarded.fetch(_HOLD, _mine(session))
        if not rows:
            raise Overtaken
        return bool(rows[0][0])

    async def note_move(self, guarded: Guarded, path: str) -> None:
        """Note in the transaction of ``guarded`` that what is at ``path`` is moved now. An upload
        that was perhaps published there, or below, must not be published again: its bytes may be at
        another path by then, and would be in two files, of which each takes them along when it is
        deleted."""
        namespace = guarded.namespace.name
        await guarded.fetch(_MOVED, {"namespace": namespace, "path": path, "below": f"{path}/"})

    def set_published(self, guarded: Guarded, session: Session, version: str) -> None:
        """Record in the transaction of ``guarded`` that it was published as ``version``."""
        guarded.at_commit(_PUBLISHED, {**_mine(session), "published": version})

    async def set_published_again(self, session: Session, version: str) -> None:
        """The same, where that transaction may not have been committed."""
        await self._change(_PUBLISHED, session, published=version)

    async def set_cleared(self, session: Session) -> None:
        """Record that nothing is left of a published upload but the file; forget its Parts."""
        await self._database.fetch(_CLEARED, {"id": session.id}, idempotent=True)

    async def give_up(self, session: Session) -> None:
        """Let nobody go on with the upload any more: its bytes are about to be freed, by this
        process, or when that fails by any other one later."""
        await self._change(_GIVE_UP, session)

    async def delete(self, session: Session) -> None:
        """Forget the upload, which was given up."""
        await self._until_known(_DELETE, _mine(session))

    async def expired(self, again: float, limit: int) -> list[Session]:
        """Take over at most ``limit`` uploads of which the store may have something, and that have
        expired or whose namespace was deleted; none that was returned within ``again`` seconds, in
        whichever process."""
        params = {"again": again, "limit": limit}
        return [_session(row) for row in await self._database.fetch(_EXPIRED, params)]

    async def forget(self, limit: int) -> int:
        """Forget at most ``limit`` published uploads that have expired. Returns how many."""
        return len(await self._database.fetch(_FORGET, {"limit": limit}))

    async def unfinished(self) -> tuple[int, int]:
        """How many uploads are not finished, of all users, and how many bytes they have."""
        sql = (
            "SELECT count(*), coalesce(sum(received), 0)::bigint FROM uploads "
            "WHERE published IS NULL"
        )
        [(count, size)] = await self._database.fetch(sql, idempotent=True)
        return count, size

    # What a Ledger asks for.

    async def reserve(self, session: Session, token: str) -> None:
        """Record a reservation."""
        await self._change(_RESERVE, session, token=token)

    async def reserved(self, session: Session) -> list[str]:
        """The reservations that there are."""
        sql = "SELECT token FROM upload_reservations WHERE upload = %(id)s"
        rows = await self._database.fetch(sql, {"id": session.id}, idempotent=True)
        return [token for (token,) in rows]

    async def parts(self, session: Session) -> AsyncGenerator[list[Part], None]:
        """The Parts that are recorded, PARTS_AT_ONCE at a time."""
        after = -1
        while True:
            params = {"id": session.id, "after": after, "limit": PARTS_AT_ONCE}
            rows = await self._database.fetch(_PARTS, params, idempotent=True)
            if rows:
                yield [Part(starts, size, token) for starts, size, token in rows]
            if len(rows) < PARTS_AT_ONCE:
                return
            after = rows[-1][0]

    async def _change(self, sql: str, session: Session, **params: object) -> None:
        """Execute ``sql``, which returns a row unless the session has been taken over."""
        if not await self._until_known(sql, {**_mine(session), **params}):
            raise Overtaken

    async def _until_known(self, sql: str, params: Params) -> list[tuple[Any, ...]]:
        """Execute ``sql``, which may be executed any number of times, until there is a response; at
        most for KNOWN_SECONDS, then raise DatabaseUnavailable: it may have been executed."""
        deadline = Deadline(KNOWN_SECONDS)
        while True:
            try:
                return await self._database.fetch(sql, params, idempotent=True)
            except DatabaseFull:
                raise
            except DatabaseUnavailable as error:
                _log.info("the database has not responded about an upload; asking again: %s", error)
                await deadline.pause(RETRY_SECONDS, error)


class RecordedAndOvertaken(Overtaken):
    """The Part was recorded, and then another request took the upload over."""


class SessionLedger:
    """The rows of one session, for the engine: a :class:`gfs.api.Ledger`."""

    def __init__(self, sessions: Sessions, session: Session) -> None:
        self.upload = session.id
        self._sessions = sessions
        self._session = session

    def __repr__(self) -> str:
        return f"<SessionLedger {self.upload} epoch={self._session.epoch}>"

    async def reserve(self, token: str) -> None:
        """Record ``token``."""
        await self._sessions.reserve(self._session, token)

    async def reserved(self) -> Sequence[str]:
        """The tokens that are recorded by ``reserve``."""
        return await self._sessions.reserved(self._session)

    def parts(self) -> AsyncGenerator[Sequence[Part], None]:
        """The Parts that are recorded."""
        return self._sessions.parts(self._session)


def _mine(session: Session) -> dict[str, object]:
    return {"id": session.id, "epoch": session.epoch}


def _values(session: Session) -> dict[str, object]:
    """The parameters of ``_INSERT``, but for its expiry."""
    expect, namespace = session.expect, session.namespace
    versions = None if expect.versions is None else [v for v in expect.versions if _can_be(v)]
    return {
        "id": session.id,
        "owner": session.owner,
        "namespace": namespace.name,
        "namespace_created_at": namespace.created_at.replace(tzinfo=None),
        "namespace_owner": namespace.owner,
        "path": session.path,
        "folder": session.folder,
        "absent": expect.absent,
        "exclusive": session.exclusive,
        "present": expect.present,
        "versions": versions,
        "size": session.size,
        "received": session.received,
        "digest": session.digest,
        "metadata": session.metadata,
        "transfer": session.transfer,
        "published": session.published,
    }


def _can_be(version: str) -> bool:
    """Whether there can be such a version; what a client names may be any text."""
    return version.isascii() and version.isprintable() and len(version) <= 64


def _only(rows: list[tuple[Any, ...]]) -> Session:
    if not rows:
        raise NoSuchUpload("there is no such upload of this user")
    return _session(rows[0])


def _session(row: tuple[Any, ...]) -> Session:
    """The Session of a row of ``_COLUMNS``."""
    field = dict(zip(_FIELDS, row, strict=True))
    name, created_at = field.pop("namespace"), field.pop("namespace_created_at")
    owner = field.pop("namespace_owner")
    versions, digest = field.pop("versions"), field.pop("digest")
    expect = Expect(
        absent=field.pop("absent"),
        present=field.pop("present"),
        versions=None if versions is None else frozenset(versions),
    )
    return Session(
        namespace=Namespace(name, True, owner, created_at.replace(tzinfo=UTC)),
        expect=expect,
        digest=None if digest is None else bytes(digest),
        **field,
    )
