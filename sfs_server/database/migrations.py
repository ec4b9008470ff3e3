"""The numbered files of ``schema/``: each is applied once, in order, to make or change tables.

What was applied is in the table ``sfs_migrations``, which the first of the files makes. Each file
is applied in a transaction of its own, which also records it: a process that dies in the middle
leaves nothing of it, and the next start applies it again. Starts take turns by an advisory lock,
which versions without migrations take as well. A start that finds nothing to apply takes no lock
and makes nothing, so its role needs no right to.

Processes are replaced one by one, and a new version may be taken back. So each migration is one
that the version before it can live with, and a number that is not known here, which a newer version
has applied, is logged and not refused. A known number is never applied again, whatever its file
says now: to change a table, add a file. The same number under another name was applied by a version
that this one does not follow from, and is refused.

A migration waits for the locks of running requests ``LOCK_SECONDS`` at most, as every statement
does, because requests that come after it wait behind it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from sfs_server.config import ConfigError
from sfs_server.database.checks import applied_migrations, refusal, require_fit
from sfs_server.database.pool import Database, StatementFailed
from sfs_server.database.session import LOCK_SECONDS
from sfs_server.errors import DatabaseUnavailable

MIGRATION_SECONDS = 30.0
"""What one migration may take, and what it may wait for those of other processes: an index of a
million rows takes longer than any statement of a request may."""

_LOCK = 7562867
"""The key of the advisory lock, the ASCII of "sfs" as a number: the same in every version."""

_MILLISECONDS = int((MIGRATION_SECONDS + 1) * 1000)
_TAKE_TURNS = (
    f"SET LOCAL statement_timeout = {_MILLISECONDS}; SET LOCAL lock_timeout = {_MILLISECONDS}; "
    f"SELECT pg_advisory_xact_lock({_LOCK}); SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}"
)

_FORBIDDEN = ("42501", "3F000")
"""The SQLSTATE of a role that lacks a right, and of one that has no schema to make tables in."""

_ROWS = """
INSERT INTO link_key (key)
VALUES (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
ON CONFLICT (one) DO NOTHING;
INSERT INTO namespaces (name, created_at) VALUES ('default', now() AT TIME ZONE 'UTC')
ON CONFLICT (name) DO NOTHING
"""
"""Makes the rows that there always are, where one is missing: the key of the links, which has 244
random bits, and the shared namespace."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``schema/``, as ``0001_tables.sql``: its number, its name, its statements."""

    number: int
    name: str
    sql: str

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


def read_migrations() -> list[Migration]:
    """All that this version has, by their numbers. Raises OSError where the package has none."""
    packaged = Path(str(resources.files("sfs_server"))) / "schema"
    directory = packaged if packaged.exists() else packaged.parents[1] / "schema"
    return [
        Migration(int(path.stem[:4]), path.stem[5:], path.read_text("utf-8"))
        for path in sorted(directory.iterdir())
    ]


async def migrate(database: Database) -> None:
    """Bring the tables of ``database`` up to this version, and make the rows that there always are.
    Idempotent, and safe in several processes at once.

    Raises ConfigError, and changes nothing, where the database is not one for SFS or its role may
    not; DatabaseUnavailable, StatementFailed. A migration that fails or is cancelled leaves nothing
    behind; those before it stay.
    """
    migrations = await asyncio.to_thread(read_migrations)
    try:
        await _require_transactions(database)
        applied = await require_fit(database)
        _compare(database, migrations, applied)
        for migration in migrations:
            if migration.number not in applied:
                await _apply(database, migration)
        await database.fetch(_ROWS, idempotent=True)
    except StatementFailed as error:
        if error.code not in _FORBIDDEN:
            raise
        raise await refusal(database) from error


async def _require_transactions(database: Database) -> None:
    """Raise ConfigError where the server responds and a transaction cannot be started: PgBouncer
    ends the connection of a client that tries in ``pool_mode=statement``."""
    await database.check()
    try:
        async with database.transaction():
            pass
    except DatabaseUnavailable as error:
        raise ConfigError(
            f"The database at {database} responds, but no transaction can be started: "
            "behind a pooler, set pool_mode=session, or connect to PostgreSQL directly."
        ) from error


def _compare(database: Database, migrations: list[Migration], applied: dict[int, str]) -> None:
    """Log what a newer version has applied. Raises ConfigError where it was not one of ours."""
    ours = {migration.number: migration for migration in migrations}
    for number, name in sorted(applied.items()):
        if number not in ours:
            _log.warning(
                "a newer version has changed the tables of the database (%04d_%s): going on, since "
                "this version can live with that",
                number,
                name,
            )
        elif ours[number].name != name:
            raise ConfigError(
                f"In the database {database} the migration {number:04} is {name}, and here it is "
                f"{ours[number].name}: its tables were made by a version that this one does not "
                "follow from. Nothing was changed. Start that version, or give -database a "
                "database of its own."
            )


async def _apply(database: Database, migration: Migration) -> None:
    """Apply ``migration``, unless another process has done so before the lock was granted."""
    async with database.transaction() as session:
        await session.fetch(_TAKE_TURNS, seconds=MIGRATION_SECONDS)
        if migration.number in await applied_migrations(session):
            return
        await session.fetch(migration.sql, seconds=MIGRATION_SECONDS)
        await session.fetch(
            "INSERT INTO sfs_migrations (number, name) VALUES (%s, %s)",
            (migration.number, migration.name),
        )
    if migration.number > 1:  # the first one makes the tables: that is no news
        _log.info("applied the migration %s to the database", migration)
