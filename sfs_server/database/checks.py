"""Checks whether SFS can use a database, before anything in it is changed.

The server may be too old, or the encoding of the database one that cannot store every name. The
tables may belong to another program that happens to use our names. A table, a column or a trigger
that an applied migration made may have been deleted. The role may have no right to create or change
tables. For each of these there is a ConfigError whose text says to the operator what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from sfs_server.config import ConfigError
from sfs_server.database.pool import Database
from sfs_server.database.session import Session

MIN_VERSION = 13
"""The oldest major version of PostgreSQL with which SFS works."""

_ENCODING = "UTF8"
_TEXT = ("text", "character varying")
"""The types that a column with text may have."""
_TIME = ("timestamp without time zone",)


@dataclass(frozen=True, slots=True)
class _Table:
    """What SFS requires of one of its tables."""

    created_by: int
    """The number of the migration that creates the table."""
    columns: Mapping[str, tuple[str, ...]]
    """Name of a column → the types that it may have. The first column must be unique, if the table
    is ``keyed``."""
    keyed: bool = True
    added_by: Mapping[str, int] = field(default_factory=dict)
    """Name of a column that may be missing in an old table → the number of the migration that adds
    it there."""
    triggers: Mapping[str, int] = field(default_factory=dict)
    """Name of a trigger → the number of the migration that creates it."""


_TABLES = {
    "sfs_migrations": _Table(
        1,
        {"number": ("integer",), "name": _TEXT, "applied_at": ("timestamp with time zone",)},
    ),
    "namespaces": _Table(
        1,
        {
            "name": _TEXT,
            "hidden": ("boolean",),
            "created_at": _TIME,
            "owner": _TEXT,
        },
        added_by={"owner": 1},
        triggers={"sfs_namespaces_row": 1, "sfs_namespaces_all": 1},
    ),
    "link_key": _Table(1, {"one": ("boolean",), "key": ("bytea",)}),
    "store_id": _Table(1, {"one": ("boolean",), "id": _TEXT}),
    "namespace_usage": _Table(
        2,
        {
            "namespace": _TEXT,
            "files_added": ("bigint",),
            "files_removed": ("bigint",),
            "bytes_added": ("bigint",),
            "bytes_removed": ("bigint",),
        },
        keyed=False,
    ),
    "recounts": _Table(
        2,
        {
            "namespace": _TEXT,
            "counted_at": _TIME,
            "claimed_until": _TIME,
        },
    ),
    "uploads": _Table(
        3,
        {
            "id": _TEXT,
            "owner": _TEXT,
            "epoch": ("bigint",),
            "expires_at": _TIME,
            "namespace": _TEXT,
            "namespace_created_at": _TIME,
            "namespace_owner": _TEXT,
            "path": _TEXT,
            "folder": _TEXT,
            "absent": ("boolean",),
            "exclusive": ("boolean",),
            "present": ("boolean",),
            "versions": ("text[]",),
            "size": ("bigint",),
            "received": ("bigint",),
            "digest": ("bytea",),
            "metadata": _TEXT,
            "transfer": _TEXT,
            "publishing": ("boolean",),
            "moved": ("boolean",),
            "published": _TEXT,
            "cleared": ("boolean",),
            "swept_at": _TIME,
        },
    ),
    "upload_parts": _Table(
        3,
        {"upload": _TEXT, "starts": ("bigint",), "size": ("bigint",), "token": _TEXT},
        keyed=False,
    ),
    "upload_reservations": _Table(3, {"upload": _TEXT, "token": _TEXT}, keyed=False),
}

_COLUMNS = """
SELECT class.relname, class.relkind IN ('r', 'p'), field.attname,
    format_type(field.atttypid, NULL),
    field.attnotnull AND NOT field.atthasdef AND field.attidentity = '',
    EXISTS (
        SELECT FROM pg_index WHERE indrelid = class.oid AND indisunique AND indpred IS NULL
        AND indnkeyatts = 1 AND indkey[0] = field.attnum
    )
FROM pg_class class
JOIN pg_attribute field ON field.attrelid = class.oid AND field.attnum > 0 AND NOT attisdropped
WHERE class.relnamespace = quote_ident(current_schema())::regnamespace AND class.relname = ANY (%s)
ORDER BY class.relname, field.attnum
"""
"""For each column of the tables that are named: the table, whether it is one (not a view, say), and
the fields of a ``_Column``."""

_TRIGGERS = """
SELECT class.relname, tgname FROM pg_trigger JOIN pg_class class ON class.oid = tgrelid
WHERE class.relnamespace = quote_ident(current_schema())::regnamespace AND class.relname = ANY (%s)
"""
"""The triggers of the tables that are named: the table and the trigger."""

_RIGHTS = """
SELECT quote_ident(current_user), quote_ident(current_schema()),
    (SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class
        WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY (%s)
        AND NOT pg_has_role(relowner, 'USAGE') LIMIT 1)
"""
"""The role; the schema, NULL if there is none; the owner of a table that the role may not change,
NULL if there is none."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table in the database."""

    name: str
    type: str
    required: bool
    """Whether every INSERT must give it a value."""
    unique: bool
    """Whether it alone has a unique index."""


async def require_fit(database: Database) -> dict[int, str]:
    """Return the migrations that were applied to ``database`` (see ``applied_migrations``), if SFS
    can use it as it is or after the missing migrations of this version.

    Raises ConfigError if not, and what ``fetch`` raises: DatabaseUnavailable, StatementFailed.
    """
    async with database.transaction() as session:
        # One snapshot for all that follows: another process may be applying a migration.
        await session.fetch("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await _require_server(session, database)
        tables: dict[str, dict[str, _Column]] = {}
        for table, is_table, *column in await session.fetch(_COLUMNS, (list(_TABLES),)):
            if not is_table:
                raise _foreign(database, table, ["it is no table"])
            found = _Column(*column)
            tables.setdefault(table, {})[found.name] = found
        triggers = set(await session.fetch(_TRIGGERS, (list(_TABLES),)))
        applied: dict[int, str] = {}
        # The first table lists the applied migrations, by which the other ones are judged.
        for table, wanted in _TABLES.items():
            if table in tables:
                differences = list(_differences(wanted, tables[table], applied))
                if differences:
                    raise _foreign(database, table, differences)
                if table == "sfs_migrations":
                    applied = await applied_migrations(session)
        deleted = list(_deleted(tables, triggers, applied))
    if deleted:
        raise ConfigError(
            f"The database {database} is damaged: {'; '.join(deleted)}. Nothing was changed. "
            "Restore it from a backup, or give -database an empty one."
        )
    return applied


async def applied_migrations(session: Session) -> dict[int, str]:
    """The migrations that were applied to the database of ``session``, also those of a newer
    version: number → name. Raises what ``fetch`` raises."""
    sql = "SELECT to_regclass(quote_ident(current_schema()) || '.sfs_migrations') IS NULL"
    [(none,)] = await session.fetch(sql)
    return {} if none else dict(await session.fetch("SELECT number, name FROM sfs_migrations"))


async def _require_server(session: Session, database: Database) -> None:
    """Raise ConfigError if the version of the server or the encoding of the database is wrong."""
    [(version,)] = await session.fetch("SHOW server_version_num")
    if int(version) // 10000 < MIN_VERSION:
        raise ConfigError(
            f"The PostgreSQL at {database} has version {int(version) // 10000}: SFS needs "
            f"{MIN_VERSION} or newer. Upgrade it, or give -database another one."
        )
    [(encoding,)] = await session.fetch("SHOW server_encoding")
    if encoding != _ENCODING:
        raise ConfigError(
            f"The database {database} has the encoding {encoding}, in which not every name can be "
            "kept. Make another one, and give it to -database: "
            f"CREATE DATABASE sfs ENCODING '{_ENCODING}' TEMPLATE template0;"
        )


def _foreign(database: Database, table: str, differences: list[str]) -> ConfigError:
    """The error for a table that has our name and is not ours."""
    return ConfigError(
        f"The database {database} has a table {table} that is not one of SFS: "
        f"{'; '.join(differences)}. Nothing was changed. Give -database a database of its own: "
        f"CREATE DATABASE sfs ENCODING '{_ENCODING}' TEMPLATE template0;"
    )


def _differences(
    wanted: _Table, columns: Mapping[str, _Column], applied: Mapping[int, str]
) -> Iterator[str]:
    """How the ``columns`` of a table differ from the ``wanted`` ones. A column is not reported as
    missing if a migration that is not ``applied`` yet will add it."""
    for name, types in wanted.columns.items():
        column = columns.get(name)
        if column is None:
            if name not in wanted.added_by or wanted.added_by[name] in applied:
                yield f"the column {name} is missing"
        elif column.type not in types:
            yield f"{name} is {column.type} and not {types[0]}"
    key = columns.get(next(iter(wanted.columns)))
    if wanted.keyed and key is not None and not key.unique:
        yield f"{key.name} is not unique"
    for name, column in columns.items():
        if name not in wanted.columns and column.required:
            yield f"{name} must have a value"


def _deleted(
    tables: Mapping[str, object], triggers: Set[tuple[str, str]], applied: Mapping[int, str]
) -> Iterator[str]:
    """The tables and triggers that applied migrations made and that do not exist any more."""
    for table, wanted in _TABLES.items():
        if wanted.created_by in applied and table not in tables:
            yield f"the table {table} is missing"
        for trigger, number in wanted.triggers.items():
            if number in applied and (table, trigger) not in triggers:
                yield f"the trigger {trigger} of the table {table} is missing"


async def refusal(database: Database) -> ConfigError:
    """The error to raise after PostgreSQL refused the role of ``database`` the right to create or
    to use the tables (SQLSTATE 42501, 3F000). Raises what ``fetch`` raises."""
    row: tuple[Any, ...]
    [row] = await database.fetch(_RIGHTS, (list(_TABLES),), idempotent=True)
    role, schema, owner = row
    if owner is not None:
        return ConfigError(
            f"The tables in the database {database} belong to {owner}, and {role} may not change "
            f"them: connect as {owner}, or have it allowed: GRANT {owner} TO {role};"
        )
    schema = schema or "public"
    return ConfigError(
        f"The role {role} may not make tables in the database {database}. Have its owner allow "
        f"it, in that database: GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};"
    )
