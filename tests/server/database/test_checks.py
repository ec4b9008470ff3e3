"""Databases that are not for SFS are refused by a sentence, and left as they are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest

from sfs_server.database.migrations import migrate
from tests.support.credentials import SECRET
from tests.support.launcher import run
from tests.support.postgres import Postgres, connected, refused

OURS = "name TEXT PRIMARY KEY, hidden BOOLEAN DEFAULT false, created_at TIMESTAMP DEFAULT NOW()"


def everything(postgres: Postgres, name: str) -> list[object]:
    """Tables, columns, triggers, functions, indexes and rows of the database."""
    asked = (
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        "SELECT attrelid::regclass::text, attname, atttypid FROM pg_attribute JOIN pg_class "
        "ON oid = attrelid WHERE relnamespace = 'public'::regnamespace",
        "SELECT tgname FROM pg_trigger",
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        "SELECT count(*) FROM namespaces",
    )
    return [sorted(postgres.execute(sql, name), key=str) for sql in asked]


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (
            "TABLE namespaces (id SERIAL PRIMARY KEY, name TEXT UNIQUE, hidden INTEGER, "
            "visibility INTEGER, owner_id BIGINT NOT NULL)",
            ["hidden is integer and not boolean", "created_at is missing", "owner_id must have"],
        ),
        (
            "TABLE namespaces (id SERIAL PRIMARY KEY, name TEXT, hidden BOOLEAN, created_at DATE)",
            ["created_at is date and not timestamp", "name is not unique"],
        ),
        (f"TABLE namespaces ({OURS}, owner INTEGER)", ["owner is integer and not text"]),
        (f"TABLE namespaces ({OURS}, tenant TEXT NOT NULL)", ["tenant must have a value"]),
        ("VIEW namespaces AS SELECT 'a' AS name", ["it is no table"]),
        (
            f"TABLE namespaces ({OURS}); CREATE TABLE link_key (id INTEGER PRIMARY KEY, key TEXT)",
            ["a table link_key", "the column one is missing", "key is text and not bytea"],
        ),
        (
            f"TABLE namespaces ({OURS}); CREATE TABLE store_id (id UUID)",
            ["a table store_id", "id is uuid and not text"],
        ),
    ],
)
async def test_tables_of_another_program_are_named_and_left_alone(
    postgres: Postgres, database_name: str, database_url: str, made: str, named: list[str]
) -> None:
    await asyncio.to_thread(postgres.execute, f"CREATE {made}", database_name)
    before = await asyncio.to_thread(everything, postgres, database_name)
    text = await refused(database_url)
    for part in (*named, "Nothing was changed", "CREATE DATABASE"):
        assert part in text
    assert await asyncio.to_thread(everything, postgres, database_name) == before


@pytest.mark.parametrize(
    "made",
    [
        f"TABLE namespaces ({OURS})",
        f"TABLE namespaces ({OURS}, owner VARCHAR(300), later TEXT, other INT NOT NULL DEFAULT 1)",
        f"SCHEMA other CREATE TABLE namespaces (hidden INTEGER); CREATE TABLE namespaces ({OURS})",
        "SCHEMA other CREATE TABLE namespaces (hidden INTEGER)",
    ],
)
async def test_tables_of_other_versions_and_in_other_schemas_are_no_trouble(
    postgres: Postgres, database_name: str, database_url: str, made: str
) -> None:
    await asyncio.to_thread(postgres.execute, f"CREATE {made}", database_name)
    try:
        async with connected(database_url) as database:
            await migrate(database)
            await migrate(database)
            rows = await database.fetch("SELECT name, owner FROM namespaces")
            assert rows == [("default", None)]
    finally:
        await asyncio.to_thread(
            postgres.execute, "DROP SCHEMA IF EXISTS other CASCADE", database_name
        )


@pytest.mark.parametrize("schema", ["Sfs", "of sfs", "sfs-1", "sfs.1"])
async def test_a_schema_may_have_a_name_that_must_be_quoted(
    postgres: Postgres, database_name: str, schema: str
) -> None:
    await asyncio.to_thread(postgres.execute, f'CREATE SCHEMA "{schema}"', database_name)
    try:
        path = schema.replace(" ", "\\ ")
        options = quote(f'-c search_path="{path}"')
        url = f"{postgres.url(database_name)}&options={options}"
        async with connected(url) as database:
            await migrate(database)
            await migrate(database)
            assert await database.fetch("SELECT current_schema()") == [(schema,)]
    finally:
        await asyncio.to_thread(postgres.execute, f'DROP SCHEMA "{schema}" CASCADE', database_name)


async def test_an_index_may_take_longer_than_a_statement_of_a_request(
    postgres: Postgres, database_name: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start with a table of many rows would fail again and again."""
    monkeypatch.setattr("sfs_server.database.session._SETTINGS", "SET statement_timeout = 200")
    slow = (
        "CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.3); END $$; CREATE EVENT TRIGGER slow ON ddl_command_start "
        "WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION slow()"
    )
    await asyncio.to_thread(postgres.execute, slow, database_name)
    try:
        async with connected(database_url) as database:
            await migrate(database)
            assert await database.fetch("SHOW statement_timeout") == [("200ms",)]
    finally:
        await asyncio.to_thread(
            postgres.execute, "DROP EVENT TRIGGER slow; DROP FUNCTION slow", database_name
        )


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_an_encoding_that_cannot_keep_every_name_is_refused(
    postgres: Postgres, encoding: str, tmp_path: Path
) -> None:
    name = f"in_{encoding.lower()}"
    await asyncio.to_thread(
        postgres.execute,
        f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0",
    )
    try:
        text = await refused(postgres.url(name))
        for part in (encoding, "UTF8", "TEMPLATE template0"):
            assert part in text
        flags = ("-addr", "127.0.0.1:0", "-data", str(tmp_path), "-database", postgres.url(name))
        ended = await asyncio.to_thread(run, *flags, env={"JWT_SECRET": SECRET}, seconds=120)
        assert ended.returncode == 1
        assert ended.stderr == f"sfs-server: {text}\n"
    finally:
        await asyncio.to_thread(postgres.execute, f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_server_that_is_too_old_is_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.database.checks.MIN_VERSION", 99)
    text = await refused(database_url)
    assert "99 or newer" in text


async def test_a_role_without_rights_is_told_which_it_needs(
    postgres: Postgres, database_name: str
) -> None:
    def url(setting: str) -> str:
        return f"{postgres.url(database_name)}&options={quote('-c ' + setting)}"

    def execute(sql: str) -> None:
        postgres.execute(sql, database_name)

    await asyncio.to_thread(execute, 'CREATE ROLE "poor Role"; CREATE ROLE other')
    try:
        poor = url('role="poor\\ Role"').replace("%22", "")
        remedy = 'GRANT USAGE, CREATE ON SCHEMA public TO "poor Role";'
        assert remedy in await refused(poor)
        await asyncio.to_thread(execute, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        assert remedy in await refused(poor)
        await asyncio.to_thread(execute, remedy)
        async with connected(poor) as database:
            await migrate(database)
        await asyncio.to_thread(execute, "GRANT USAGE, CREATE ON SCHEMA public TO other")
        assert 'GRANT "poor Role" TO other;' in await refused(url("role=other"))
        await asyncio.to_thread(execute, 'GRANT "poor Role" TO other;')
        async with connected(url("role=other")) as database:
            await migrate(database)
        assert "ON SCHEMA public TO" in await refused(url("search_path=nowhere"))
    finally:
        await asyncio.to_thread(execute, 'DROP OWNED BY "poor Role", other')
        await asyncio.to_thread(execute, 'DROP ROLE "poor Role", other')
