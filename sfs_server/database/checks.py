"""Whether SFS can use a database, asked before anything in it is changed.

A database may be of a server that is too old, have an encoding in which not every name can be kept,
or be another program's, whose tables happen to have our names. It may be damaged: a table, a column
or a trigger that an applied migration made is not there any more. Its role may lack the right to
make tables, or to write to them. Each of these is a sentence for the operator that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from sfs_server.config import ConfigError
from sfs_server.database.pool import Database
from sfs_server.database.session import Session

MIN_VERSION = 13
"""Of PostgreSQL: the oldest major version that SFS works with."""

_ENCODING = "UTF8"
_TEXT = ("text", "character varying")


@dataclass(frozen=True, slots=True)
class _Table:
    """What SFS needs of a table of its own."""

    made: int
    """The number of the migration that makes it."""
    columns: Mapping[str, tuple[str, ...]]
    """Each with the types that it may have. The first one is the key."""
    added: Mapping[str, int] = field(default_factory=dict)
    """Columns that a migration adds where the table is there already, with its number."""
    triggers: Mapping[str, int] = field(default_factory=dict)
    """Triggers, with the numbers of the migrations that make them."""


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
            "created_at": ("timestamp without time zone",),
            "owner": _TEXT,
        },
        added={"owner": 1},
        triggers={"sfs_namespaces_row": 1, "sfs_namespaces_all": 1},
    ),
    "link_key": _Table(1, {"one": ("boolean",), "key": ("bytea",)}),
    "store_id": _Table(1, {"one": ("boolean",), "id": _TEXT}),
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

_TRIGGERS = """
SELECT class.relname, tgname FROM pg_trigger JOIN pg_class class ON class.oid = tgrelid
WHERE class.relnamespace = quote_ident(current_schema())::regnamespace AND class.relname = ANY (%s)
"""

_RIGHTS = """
SELECT quote_ident(current_user), quote_ident(current_schema()),
    (SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class
        WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY (%s)
        AND NOT pg_has_role(relowner, 'USAGE') LIMIT 1)
"""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    required: bool
    """An INSERT has to give it a value."""
    unique: bool


async def require_fit(database: Database) -> dict[int, str]:
    """Return the migrations that were applied to ``database`` (see ``applied_migrations``) if SFS
    can work with it, by this version's migrations or without any.

    Raises ConfigError; DatabaseUnavailable, StatementFailed like ``fetch``.
    """
    async with database.transaction() as session:
        # All of it at one moment: another process may be applying a migration.
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
        # The first table says which migrations were applied: whether the others should be there.
        for table, wanted in _TABLES.items():
            if table in tables:
                differences = list(_differences(wanted, tables[table], applied))
                if differences:
                    raise _foreign(database, table, differences)
                if table == "sfs_migrations":
                    applied = await applied_migrations(session)
        lost = list(_lost(tables, triggers, applied))
    if lost:
        raise ConfigError(
            f"The database {database} is damaged: {'; '.join(lost)}. Nothing was changed. Restore "
            "it from a backup, or give -database an empty one."
        )
    return applied


async def applied_migrations(session: Session) -> dict[int, str]:
    """The names of the migrations that were applied to the database of ``session``, by their
    numbers; of a newer version too. Raises like ``fetch``."""
    sql = "SELECT to_regclass(quote_ident(current_schema()) || '.sfs_migrations') IS NULL"
    [(none,)] = await session.fetch(sql)
    return {} if none else dict(await session.fetch("SELECT number, name FROM sfs_migrations"))


async def _require_server(session: Session, database: Database) -> None:
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
    return ConfigError(
        f"The database {database} has a table {table} that is not one of SFS: "
        f"{'; '.join(differences)}. Nothing was changed. Give -database a database of its own: "
        f"CREATE DATABASE sfs ENCODING '{_ENCODING}' TEMPLATE template0;"
    )


def _differences(
    wanted: _Table, columns: Mapping[str, _Column], applied: Mapping[int, str]
) -> Iterator[str]:
    """How a table differs from the one that is ``wanted`` and that will be when all of this
    version's migrations are applied."""
    for name, types in wanted.columns.items():
        column = columns.get(name)
        if column is None:
            if name not in wanted.added or wanted.added[name] in applied:
                yield f"the column {name} is missing"
        elif column.type not in types:
            yield f"{name} is {column.type} and not {types[0]}"
    key = columns.get(next(iter(wanted.columns)))
    if key is not None and not key.unique:
        yield f"{key.name} is not unique"
    for name, column in columns.items():
        if name not in wanted.columns and column.required:
            yield f"{name} must have a value"


def _lost(
    tables: Mapping[str, object], triggers: Set[tuple[str, str]], applied: Mapping[int, str]
) -> Iterator[str]:
    """What applied migrations made, and is not there any more."""
    for table, wanted in _TABLES.items():
        if wanted.made in applied and table not in tables:
            yield f"the table {table} is missing"
        for trigger, number in wanted.triggers.items():
            if number in applied and (table, trigger) not in triggers:
                yield f"the trigger {trigger} of the table {table} is missing"


async def refusal(database: Database) -> ConfigError:
    """What to say when the role of ``database`` was not allowed (42501, 3F000) to make the tables
    or to use them. Raises like ``fetch``."""
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
