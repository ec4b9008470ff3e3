"""Applies the migrations, the numbered files of ``schema/``: each once, in order.

The table ``sfs_migrations``, which the first migration makes, lists those that were applied. Each
migration and its row there are one transaction: if the process dies in the middle, nothing of it
remains, and the next start applies it again. Processes that start at the same time apply migrations
one after the other, by an advisory lock; versions without migrations take the same lock. If there
is nothing to apply, no lock is taken and nothing is made, so that the role needs no right to make
tables.

Processes are replaced one by one, and an update may be undone. So the version before a migration
must be able to work with the tables that it makes, and an applied migration whose number this
version does not have, because a newer version applied it, is logged and not refused. A migration is
never applied twice, even if its file has changed: to change a table, add a file. If the same number
has another name in the database, another branch of SFS made the tables, and they are refused.

A migration waits for locks that requests hold for ``LOCK_SECONDS`` at most, like every statement,
because the requests that come after it have to wait for it.
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
"""The longest time that one migration may take, and the longest that it waits for migrations of
other processes. More than STATEMENT_SECONDS, since an index of a million rows takes longer."""

_LOCK = 7562867
"""The key of the advisory lock: the ASCII codes of "sfs" as a number. It is the same in every
version."""

_MILLISECONDS = int((MIGRATION_SECONDS + 1) * 1000)
_TAKE_LOCK = (
    f"SET LOCAL statement_timeout = {_MILLISECONDS}; SET LOCAL lock_timeout = {_MILLISECONDS}; "
    f"SELECT pg_advisory_xact_lock({_LOCK}); SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}"
)

_FORBIDDEN = ("42501", "3F000")
"""SQLSTATEs: the role lacks a right; the role has no schema in which to create tables."""

_ROWS = """
INSERT INTO link_key (key)
VALUES (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
ON CONFLICT (one) DO NOTHING;
INSERT INTO namespaces (name, created_at) VALUES ('default', now() AT TIME ZONE 'UTC')
ON CONFLICT (name) DO NOTHING
"""
"""Inserts the rows that must always exist, unless they do: the key of the links, from 244 random
bits, and the shared namespace."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``schema/``. That of ``0001_tables.sql`` has the number 1 and the name
    ``tables``; ``sql`` is its text."""

    number: int
    name: str
    sql: str

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


def read_migrations() -> list[Migration]:
    """The migrations of this version, ordered by number. Raises OSError if the package has none."""
    packaged = Path(str(resources.files("sfs_server"))) / "schema"
    directory = packaged if packaged.exists() else packaged.parents[1] / "schema"
    return [
        Migration(int(path.stem[:4]), path.stem[5:], path.read_text("utf-8"))
        for path in sorted(directory.iterdir())
    ]


async def migrate(database: Database) -> None:
    """Apply the missing migrations of this version to ``database``, and insert the rows that must
    always exist. Idempotent, and safe in several processes at once.

    Raises ConfigError, and changes nothing, if SFS cannot use the database or the role has too few
    rights; DatabaseUnavailable, StatementFailed. A migration that fails or is cancelled changes
    nothing; those before it remain applied.
    """
    migrations = await asyncio.to_thread(read_migrations)
    try:
        await _require_transactions(database)
        applied = await require_fit(database)
        _compare(database, migrations, applied)
        for migration in migrations:
            if migration.number not in applied:
                done = await _apply(database, migration)
                if done and applied:  # an empty database needs all of them: not logged
                    _log.info("applied the migration %s to the database", migration)
        await database.fetch(_ROWS, idempotent=True)
    except StatementFailed as error:
        if error.code not in _FORBIDDEN:
            raise
        raise await refusal(database) from error


async def _require_transactions(database: Database) -> None:
    """Raise ConfigError if the server responds but a transaction cannot be started: PgBouncer with
    ``pool_mode=statement`` closes the connection of a client that tries."""
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
    """Log the applied migrations that this version does not have. Raises ConfigError if an applied
    one has the number of one of ours and another name."""
    ours = {migration.number: migration for migration in migrations}
    for number, name in sorted(applied.items()):
        if number not in ours:
            _log.warning(
                "a newer version has changed the tables of the database (%04d_%s); this version "
                "can use them too",
                number,
                name,
            )
        elif ours[number].name != name:
            raise ConfigError(
                f"In the database {database} the migration {number:04} is {name}, and here it is "
                f"{ours[number].name}: its tables were made by a version that is not one before or "
                "after this one. Nothing was changed. Start that version, or give -database a "
                "database of its own."
            )


async def _apply(database: Database, migration: Migration) -> bool:
    """Apply ``migration``, unless another process applied it while this one waited for the lock.
    Returns whether this one did."""
    async with database.transaction() as session:
        await session.fetch(_TAKE_LOCK, seconds=MIGRATION_SECONDS)
        if migration.number in await applied_migrations(session):
            return False
        await session.fetch(migration.sql, seconds=MIGRATION_SECONDS)
        await session.fetch(
            "INSERT INTO sfs_migrations (number, name) VALUES (%s, %s)",
            (migration.number, migration.name),
        )
    return True
