"""The numbered files of ``schema/``: applied once, in order, next to processes that are serving."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path
from urllib.parse import quote

import pytest

from sfs_server.config import ConfigError
from sfs_server.database import Database, StatementFailed
from sfs_server.database.migrations import Migration, migrate, read_migrations
from sfs_server.errors import Busy, DatabaseUnavailable
from tests.support.postgres import Postgres, connected, refused

ROOT = Path(__file__).parents[3]
SUM = (ROOT / "schema.sql").read_text()
BEFORE = Path(__file__).with_name("before_migrations.sql").read_text()
"""What the last version without migrations applied at each of its starts."""

RELEASED = {
    "0001_tables": "de3df21d26b95dec6e5fdfb98346f1507edfd2a37b8ffc02583d332515acab06",
    "0002_usage": "7d996a02bd0c5e0cefec7d024405446b383b3fc42f30f195e7467c7d61684ce2",
    "0003_uploads": "6f14a64c106a5ae27f6da3db791be503f5a5f79c3942851b48593ca274c8e64e",
}
"""The SHA-256 of each migration: a database somewhere has had it, and will not have it again."""

SHAPE = (
    "SELECT relname, relkind, relpersistence, reloptions FROM pg_class "
    "WHERE relnamespace = 'public'::regnamespace",
    "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, "
    "attidentity, attgenerated, attcollation, pg_get_expr(adbin, adrelid) FROM pg_attribute "
    "JOIN pg_class ON oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
    "WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT pg_get_triggerdef(pg_trigger.oid), tgenabled FROM pg_trigger "
    "JOIN pg_class ON pg_class.oid = tgrelid WHERE relnamespace = 'public'::regnamespace "
    "AND NOT tgisinternal",
    "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
    "SELECT typname, typtype FROM pg_type WHERE typnamespace = 'public'::regnamespace",
)
"""Relations, columns, constraints (whose own triggers have numbers), indexes, triggers, functions,
views and types."""


def shape(postgres: Postgres, name: str) -> list[list[tuple[object, ...]]]:
    return [sorted(postgres.execute(sql, name), key=str) for sql in SHAPE]


def make_anew(postgres: Postgres, name: str, sql: str = "") -> None:
    """Empty the database ``name``, and execute ``sql`` in it."""
    postgres.execute(f"DROP SCHEMA public CASCADE; CREATE SCHEMA public; {sql}", name)


def applied(postgres: Postgres, name: str) -> list[tuple[object, ...]]:
    return postgres.execute("SELECT number, name FROM sfs_migrations ORDER BY number", name)


def have(monkeypatch: pytest.MonkeyPatch, *added: Migration) -> None:
    """Have a version with further migrations."""
    all_of_them = [*read_migrations(), *added]
    monkeypatch.setattr("sfs_server.database.migrations.read_migrations", lambda: all_of_them)


def have_only(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have a version whose last migration is ``number``."""
    ours = read_migrations()[:number]
    monkeypatch.setattr("sfs_server.database.migrations.read_migrations", lambda: ours)


def following(sql: str, name: str = "next") -> Migration:
    return Migration(len(read_migrations()) + 1, name, sql)


def test_they_are_numbered_from_1_without_a_gap_and_never_changed() -> None:
    found = read_migrations()
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    digests = {str(one): hashlib.sha256(one.sql.encode()).hexdigest() for one in found}
    assert digests == RELEASED, "add another migration; what was applied is not applied again"
    for path in (ROOT / "schema").iterdir():
        assert path.name in {f"{one}.sql" for one in found}


async def test_they_make_what_schema_sql_makes(
    postgres: Postgres, database_name: str, database_url: str
) -> None:
    async with connected(database_url) as database:
        await migrate(database)
    migrated = await asyncio.to_thread(shape, postgres, database_name)
    assert applied(postgres, database_name) == [(one.number, one.name) for one in read_migrations()]
    make_anew(postgres, database_name, SUM)
    assert await asyncio.to_thread(shape, postgres, database_name) == migrated
    async with connected(database_url) as database:
        await migrate(database)  # finds nothing to apply
        assert await database.fetch("SELECT name FROM namespaces") == [("default",)]


@pytest.mark.parametrize("number", range(1, len(read_migrations()) + 1))
async def test_a_database_of_any_version_is_brought_up_to_date(
    database_url: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async with connected(database_url) as database:
        with monkeypatch.context() as older:
            have_only(older, number)
            await migrate(database)
        await migrate(database)


async def test_tables_from_before_are_adopted_as_they_are_while_others_write_to_them(
    postgres: Postgres, database_name: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_anew(postgres, database_name, BEFORE)
    before = shape(postgres, database_name)
    key = postgres.execute("SELECT key FROM link_key", database_name)
    async with connected(database_url) as old, connected(database_url) as new:
        async with old.transaction() as session:
            await session.fetch("INSERT INTO namespaces (name) VALUES ('team')")
            await session.fetch("LOCK TABLE namespaces, link_key, store_id IN ROW EXCLUSIVE MODE")
            with monkeypatch.context() as first:
                have_only(first, 1)
                await migrate(new)
        for found, kept in zip(shape(postgres, database_name), before, strict=True):
            assert set(found) >= set(kept)
        await migrate(new)
        assert await new.fetch("SELECT key FROM link_key") == key
    assert applied(postgres, database_name)[0] == (1, "tables")
    postgres.execute(BEFORE, database_name)  # the old version is started again
    adopted = shape(postgres, database_name)
    make_anew(postgres, database_name, SUM)
    assert adopted == shape(postgres, database_name)


async def test_the_version_before_publishes_and_makes_namespaces_next_to_the_usage(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(database_url) as old, connected(database_url) as new:
        with monkeypatch.context() as first:
            have_only(first, 1)
            await migrate(old)
        await old.fetch("INSERT INTO namespaces (name) VALUES ('team')")
        async with old.transaction() as session:  # which publishes
            await session.fetch("SELECT 1 FROM namespaces WHERE name = 'team' FOR KEY SHARE")
            await migrate(new)
        await old.fetch("INSERT INTO namespaces (name) VALUES ('later')")
        await new.fetch("INSERT INTO namespace_usage VALUES ('team', 1, 0, 9, 0)")
        await new.fetch("INSERT INTO recounts (namespace) VALUES ('team'), ('later')")
        await old.fetch("UPDATE namespaces SET hidden = true WHERE name = 'team'")
        await old.fetch("UPDATE namespaces SET name = 'other' WHERE name = 'later'")
        await old.fetch("DELETE FROM namespaces WHERE name = 'team'")
        assert await new.fetch("SELECT * FROM namespace_usage") == []
        assert await new.fetch("SELECT namespace FROM recounts") == [("other",)]


async def test_what_changes_the_tables_of_an_older_version_is_logged(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sfs_server.database.migrations")
    async with connected(database_url) as first, connected(database_url) as second:
        with monkeypatch.context() as older:
            have_only(older, 1)
            await migrate(first)
        assert caplog.messages == []  # the database was empty
        await asyncio.gather(migrate(first), migrate(second))
    newer = read_migrations()[1:]
    assert caplog.messages == [f"applied the migration {one} to the database" for one in newer]


async def test_processes_that_start_at_once_apply_each_of_them_once(
    postgres: Postgres,
    database_name: str,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    have(monkeypatch, following("CREATE TABLE later (n int); INSERT INTO later VALUES (1)"))
    databases = [await Database.connect(database_url) for _ in range(8)]
    try:
        await asyncio.gather(*(migrate(database) for database in databases))
        assert await databases[0].fetch("SELECT n FROM later") == [(1,)]
    finally:
        for database in databases:
            await database.close()
    assert len(applied(postgres, database_name)) == len(read_migrations()) + 1


async def test_a_start_waits_for_the_migration_of_another_process(
    postgres: Postgres, database_url: str
) -> None:
    """Longer than a statement of a request waits for a lock."""
    async with connected(database_url) as other, connected(database_url) as database:
        async with other.transaction() as session:
            await session.fetch("SELECT pg_advisory_xact_lock(7562867)")
            starting = asyncio.create_task(migrate(database))
            await session.fetch("SELECT pg_sleep(4.5)")
            assert not starting.done()
        await starting


async def test_a_start_with_nothing_to_apply_waits_for_nobody(database: Database) -> None:
    async with database.transaction() as session:
        await session.fetch("SELECT pg_advisory_xact_lock(7562867)")
        await session.fetch("LOCK TABLE namespaces, link_key, store_id IN ROW EXCLUSIVE MODE")
        async with asyncio.timeout(20):
            await migrate(database)


SLOW = "CREATE TABLE later (n int); SELECT pg_sleep(30)"


@pytest.mark.parametrize("how", ["killed", "cancelled", "refused"])
async def test_one_that_is_interrupted_leaves_nothing_and_is_applied_by_the_next_start(
    postgres: Postgres,
    database_name: str,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    sql = "CREATE TABLE later (n int); SELECT 1 / 0" if how == "refused" else SLOW
    async with connected(database_url) as database:
        with monkeypatch.context() as interrupted:
            have(interrupted, following(sql))
            starting = asyncio.create_task(migrate(database))
            while how != "refused" and not await database.fetch(
                "SELECT 1 FROM pg_stat_activity WHERE query = %s", (SLOW,)
            ):
                assert not starting.done()
            if how == "killed":
                await database.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s",
                    (SLOW,),
                )
            elif how == "cancelled":
                starting.cancel()
            with pytest.raises((DatabaseUnavailable, StatementFailed, asyncio.CancelledError)):
                await starting
        rows = [(one.number, one.name) for one in read_migrations()]
        assert applied(postgres, database_name) == rows
        have(monkeypatch, following("CREATE TABLE later (n int)"))
        await migrate(database)
        assert applied(postgres, database_name) == [*rows, (len(rows) + 1, "next")]


async def test_one_that_waits_for_requests_gives_up_before_they_queue_for_long(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, following("ALTER TABLE namespaces ADD COLUMN later int"))
    async with connected(database_url) as other, other.transaction() as session:
        await session.fetch("SELECT 1 FROM namespaces")
        with pytest.raises(Busy):
            await migrate(database)


async def test_a_version_that_is_taken_back_runs_on_what_the_newer_one_made(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as newer:
        have(newer, following("ALTER TABLE namespaces ADD COLUMN later int NOT NULL DEFAULT 1"))
        await migrate(database)
    with caplog.at_level(logging.WARNING):
        await migrate(database)
    assert "newer version" in caplog.text
    assert f"{len(read_migrations()) + 1:04}_next" in caplog.text
    await database.fetch("INSERT INTO namespaces (name) VALUES ('team')")


async def test_a_known_number_under_another_name_is_refused(
    postgres: Postgres, database_name: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as one:
        have(one, following("CREATE TABLE later (n int)"))
        await migrate(database)
    before = shape(postgres, database_name)
    have(monkeypatch, following("CREATE TABLE another (n int)", "other"))
    with pytest.raises(ConfigError, match=f"{len(read_migrations()) + 1:04} is next"):
        await migrate(database)
    assert shape(postgres, database_name) == before


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("DROP TABLE link_key", "the table link_key is missing"),
        ("DROP TRIGGER sfs_namespaces_row ON namespaces", "the trigger sfs_namespaces_row of"),
        ("ALTER TABLE namespaces DROP COLUMN owner", "the column owner is missing"),
        ("ALTER TABLE sfs_migrations DROP COLUMN name", "the column name is missing"),
    ],
)
async def test_tables_that_have_lost_something_are_refused(
    postgres: Postgres, database_name: str, database: Database, sql: str, named: str
) -> None:
    await database.fetch(sql)
    before = shape(postgres, database_name)
    with pytest.raises(ConfigError, match=named):
        await migrate(database)
    assert shape(postgres, database_name) == before


async def test_a_role_needs_no_right_to_make_tables_where_there_is_nothing_to_make(
    postgres: Postgres, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(sql: str) -> None:
        postgres.execute(sql, database_name)

    make_anew(postgres, database_name, SUM)
    execute("CREATE ROLE plain; GRANT USAGE ON SCHEMA public TO plain")
    url = f"{postgres.url(database_name)}&options={quote('-c role=plain')}"
    remedy = "GRANT postgres TO plain;"
    try:
        assert remedy in await refused(url)
        execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain")
        assert remedy in await refused(url)
        execute("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain")
        async with connected(url) as database:
            await migrate(database)
            assert await database.fetch("SELECT name FROM namespaces") == [("default",)]
        have(monkeypatch, following("CREATE TABLE later (n int)"))
        assert remedy in await refused(url)
    finally:
        execute("DROP OWNED BY plain; DROP ROLE plain")


async def test_a_database_that_is_read_only_stops_a_start(
    postgres: Postgres, database_name: str, database: Database
) -> None:
    url = postgres.url(database_name) + f"&options={quote('-c default_transaction_read_only=on')}"
    async with connected(url) as reading:
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            await migrate(reading)
