"""Whether SFS can use a database, asked before anything in it is changed.

A database may be of a server that is too old, have an encoding in which not every name can be kept,
or be another program's, whose tables happen to have our names. Its role may lack the right to make
tables. Each of these is a sentence for the operator that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sfs_server.config import ConfigError
from sfs_server.database_session import Session

LEAST_VERSION = 13
_ENCODING = "UTF8"
_TEXT = ("text", "character varying")

_TABLES: dict[str, dict[str, tuple[str, ...]]] = {
    "namespaces": {
        "name": _TEXT,
        "hidden": ("boolean",),
        "created_at": ("timestamp without time zone",),
        "owner": _TEXT,
    },
    "link_key": {"one": ("boolean",), "key": ("bytea",)},
    "store_id": {"one": ("boolean",), "id": _TEXT},
}
"""The columns of our tables, with the types that they may have. The first one is the key."""

_ADDED = {("namespaces", "owner")}
"""Columns that ``schema.sql`` adds where an older version made the table."""

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

_RIGHTS = """
SELECT quote_ident(current_user), quote_ident(current_schema()),
    has_schema_privilege(current_schema(), 'CREATE'),
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


async def require_fit(session: Session, address: str) -> None:
    """Return if SFS can work with the database of ``session``, which is shown as ``address``.

    Raises ConfigError, and DatabaseUnavailable, StatementFailed like ``fetch``.
    """
    [(version,)] = await session.fetch("SHOW server_version_num")
    if int(version) // 10000 < LEAST_VERSION:
        raise ConfigError(
            f"The PostgreSQL at {address} has version {int(version) // 10000}: SFS needs "
            f"{LEAST_VERSION} or newer. Upgrade it, or give -database another one."
        )
    [(encoding,)] = await session.fetch("SHOW server_encoding")
    if encoding != _ENCODING:
        raise ConfigError(
            f"The database {address} has the encoding {encoding}, in which not every name can be "
            "kept. Make another one, and give it to -database: "
            f"CREATE DATABASE sfs ENCODING '{_ENCODING}' TEMPLATE template0;"
        )
    found: dict[str, list[_Column]] = {}
    for table, is_table, *column in await session.fetch(_COLUMNS, (list(_TABLES),)):
        if not is_table:
            raise _foreign(address, table, ["it is no table"])
        found.setdefault(table, []).append(_Column(*column))
    for table, columns in found.items():
        differences = list(_differences(table, columns))
        if differences:
            raise _foreign(address, table, differences)


def _foreign(address: str, table: str, differences: list[str]) -> ConfigError:
    return ConfigError(
        f"The database {address} has a table {table} that is not one of SFS: "
        f"{'; '.join(differences)}. Nothing was changed. Give -database a database of its own: "
        f"CREATE DATABASE sfs ENCODING '{_ENCODING}' TEMPLATE template0;"
    )


def _differences(table: str, columns: list[_Column]) -> Iterator[str]:
    there = {column.name: column for column in columns}
    wanted = _TABLES[table]
    for name, types in wanted.items():
        column = there.get(name)
        if column is None:
            if (table, name) not in _ADDED:
                yield f"the column {name} is missing"
        elif column.type not in types:
            yield f"{name} is {column.type} and not {types[0]}"
    key = there.get(next(iter(wanted)))
    if key is not None and not key.unique:
        yield f"{key.name} is not unique"
    for name, column in there.items():
        if name not in wanted and column.required:
            yield f"{name} must have a value"


async def refusal(session: Session, address: str) -> ConfigError:
    """What to say when the role of ``session`` was not allowed (42501, 3F000) to make the tables.
    Raises like ``fetch``."""
    row: tuple[Any, ...]
    [row] = await session.fetch(_RIGHTS, (list(_TABLES),))
    role, schema, may_create, owner = row
    if may_create and owner is not None:
        return ConfigError(
            f"The tables in the database {address} belong to {owner}, and {role} may not change "
            f"them: connect as {owner}, or have it allowed: GRANT {owner} TO {role};"
        )
    schema = schema or "public"
    return ConfigError(
        f"The role {role} may not make tables in the database {address}. Have its owner allow "
        f"it, in that database: GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};"
    )
