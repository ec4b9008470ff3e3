"""The pool, transactions and the listener, on a real PostgreSQL that is mistreated."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiopg
import pytest
import uvloop

from sfs_server.config import ConfigError
from sfs_server.database import pool
from sfs_server.database.listener import Listener
from sfs_server.database.migrations import migrate
from sfs_server.database.pool import Database, StatementFailed, UniqueViolation
from sfs_server.errors import DatabaseUnavailable
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.waiting import eventually


async def test_rows_and_utc(database: Database) -> None:
    assert await database.fetch("SELECT 1, 'a%%b', %s", ("ü",)) == [(1, "a%b", "ü")]
    assert await database.fetch("SELECT 1 WHERE false") == []
    assert await database.fetch("SET application_name = 'x'") == []
    assert await database.fetch("SHOW TimeZone") == [("UTC",)]
    assert await database.fetch("SHOW statement_timeout") == [("6s",)]


async def test_errors_are_told_apart(database: Database) -> None:
    with pytest.raises(UniqueViolation):
        await database.fetch("INSERT INTO namespaces (name) VALUES ('default')")
    with pytest.raises(StatementFailed):
        await database.fetch("SELECT no_such_column")
    assert await database.fetch("SELECT 1") == [(1,)]


async def test_restart_between_queries_loses_none(postgres: Postgres, database: Database) -> None:
    await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.05)") for _ in range(8)))
    await asyncio.to_thread(postgres.restart)
    await database.fetch("INSERT INTO namespaces (name) VALUES ('a')")
    await asyncio.gather(*(database.fetch("SELECT 1") for _ in range(8)))
    await asyncio.to_thread(postgres.restart)
    # At once, so that the sessions were used a moment ago, and before the loop has seen their end.
    assert await database.fetch("SELECT 1", idempotent=True) == [(1,)]
    assert await database.fetch("SELECT count(*) FROM namespaces", idempotent=True) == [(2,)]


async def test_a_transaction_starts_after_a_restart(postgres: Postgres, database: Database) -> None:
    """Its first statement may be sent again on another session; what it wrote would be lost."""
    await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.05)") for _ in range(8)))
    await asyncio.to_thread(postgres.restart)
    async with database.transaction() as session:
        await session.fetch("INSERT INTO namespaces (name) VALUES ('a')")
    assert await database.fetch("SELECT count(*) FROM namespaces") == [(2,)]
    assert database.usage.failures == 0


async def test_a_transaction_does_not_wait_long_for_a_session_that_is_silent(
    postgres: Postgres, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dead to a transaction as soon as to a ping, and the next one is a new one."""
    monkeypatch.setattr("sfs_server.database.pool.PING_SECONDS", 0.3)
    async with Proxy(postgres.socket) as silent, Proxy(postgres.socket) as wire:
        url = f"postgresql://postgres@127.0.0.1,127.0.0.1/{database_name}"
        database = await Database.connect(f"{url}?port={silent.port},{wire.port}")
        monkeypatch.setattr("sfs_server.database.pool.ADDRESS_SECONDS", 0.3)
        silent.stall_after(0)
        async with database.transaction() as session:
            assert await session.fetch("SELECT 1") == [(1,)]
        assert database.usage.idle == 1
        await database.close()


async def test_broken_session_is_retried_only_if_idempotent(
    postgres: Postgres, database: Database, database_name: str
) -> None:
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
        f"AND query LIKE '%pg_sleep(2)%' AND datname = '{database_name}'"
    )

    async def killed(*, idempotent: bool) -> list[tuple[object, ...]]:
        # A sequence counts executions, also those whose session dies.
        query = asyncio.create_task(
            database.fetch("SELECT nextval('runs'), pg_sleep(2)", idempotent=idempotent)
        )
        await eventually(lambda: asyncio.to_thread(postgres.execute, kill))
        return await query

    await database.fetch("CREATE SEQUENCE runs")
    with pytest.raises(DatabaseUnavailable):
        await killed(idempotent=False)
    assert (await killed(idempotent=True))[0][0] == 3


async def test_a_connection_may_break_right_behind_a_response(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute, statement = aiopg.Cursor.execute, "SELECT 'here'"
    left = 2

    async def breaks(self: Any, sql: str, *rest: Any, **more: Any) -> None:
        nonlocal left
        await execute(self, sql, *rest, **more)
        if sql == statement and left:
            left -= 1
            self.raw.connection.close()

    monkeypatch.setattr(aiopg.Cursor, "execute", breaks)
    with pytest.raises(DatabaseUnavailable):
        await database.fetch(statement)
    assert await database.fetch(statement, idempotent=True) == [("here",)]
    assert left == 0


async def test_stopped_server_is_bounded_and_healed(
    postgres: Postgres, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.database.pool.ACQUIRE_SECONDS", 1.0)
    await database.fetch("SELECT 1")
    frozen = postgres.freeze()
    try:
        begin = time.monotonic()
        answers = await asyncio.gather(
            *(database.fetch("SELECT 1") for _ in range(12)), return_exceptions=True
        )
        assert all(isinstance(answer, DatabaseUnavailable) for answer in answers)
        assert time.monotonic() - begin < 8
    finally:
        postgres.thaw(frozen)
    assert await database.fetch("SELECT 1") == [(1,)]


async def test_statement_is_bounded(database: Database) -> None:
    begin = time.monotonic()

    async def too_long() -> None:
        async with database.transaction() as session:
            await session.fetch("SELECT pg_sleep(9)", seconds=0.3)

    with pytest.raises(DatabaseUnavailable):
        await too_long()
    assert time.monotonic() - begin < 6
    assert await database.fetch("SELECT 1") == [(1,)]


async def test_the_servers_cancellation_is_not_the_tasks(database: Database) -> None:
    async def cancelled() -> None:
        async with database.transaction() as session:
            await session.fetch("SET LOCAL statement_timeout = 100")
            await session.fetch("SELECT pg_sleep(9)")

    with pytest.raises(DatabaseUnavailable):
        await cancelled()
    assert await database.fetch("SELECT 1") == [(1,)]


async def test_transaction_commits_or_rolls_back(database: Database) -> None:
    async def names() -> list[str]:
        return [row[0] for row in await database.fetch("SELECT name FROM namespaces ORDER BY 1")]

    insert = "INSERT INTO namespaces (name) VALUES (%s)"
    async with database.transaction() as session:
        await session.fetch(insert, ("kept",))

    async def raises() -> None:
        async with database.transaction() as session:
            await session.fetch(insert, ("lost",))
            raise ZeroDivisionError

    async def ignores_an_error() -> None:
        async with database.transaction() as session:
            await session.fetch(insert, ("lost",))
            with pytest.raises(UniqueViolation):
                await session.fetch(insert, ("default",))

    with pytest.raises(ZeroDivisionError):
        await raises()
    with pytest.raises(StatementFailed):  # COMMIT alone would not say that it rolled back
        await ignores_an_error()
    entered = asyncio.Event()

    async def stuck() -> None:
        async with database.transaction() as session:
            await session.fetch(insert, ("lost",))
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stuck())
    await entered.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert await names() == ["default", "kept"]
    await database.fetch(insert, ("lost",))  # no lock is left


async def test_cancelled_queries_do_not_poison_the_pool(database: Database) -> None:
    for _ in range(3):
        tasks = [asyncio.create_task(database.fetch("SELECT pg_sleep(9)")) for _ in range(12)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
    answers = await asyncio.gather(*(database.fetch("SELECT %s", (n,)) for n in range(40)))
    assert answers == [[(n,)] for n in range(40)]


async def test_a_full_pool_is_waited_for_and_no_longer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [asyncio.create_task(database.fetch("SELECT pg_sleep(2)")) for _ in range(8)]
    await eventually(lambda: database.usage.busy == 8)
    monkeypatch.setattr("sfs_server.database.pool.ACQUIRE_SECONDS", 0.3)
    with pytest.raises(DatabaseUnavailable):
        await database.fetch("SELECT 1")
    await asyncio.gather(*tasks)
    assert await database.fetch("SELECT 1") == [(1,)]


async def test_close_is_bounded_and_final(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.database.pool.CLOSE_SECONDS", 0.2)
    database = await Database.connect(database_url)
    task = asyncio.create_task(database.fetch("SELECT pg_sleep(4)"))
    await asyncio.sleep(0.1)
    begin = time.monotonic()
    await database.close()
    await database.close()
    assert time.monotonic() - begin < 3
    with pytest.raises(DatabaseUnavailable):
        await task
    with pytest.raises(DatabaseUnavailable):
        await database.fetch("SELECT 1")


async def test_schema_from_eight_connections_at_once(database_url: str) -> None:
    databases = [await Database.connect(database_url) for _ in range(8)]
    try:
        await asyncio.gather(*(migrate(database) for database in databases))
        rows = await databases[0].fetch("SELECT name, hidden, owner FROM namespaces")
        assert rows == [("default", False, None)]
        await migrate(databases[0])
    finally:
        for database in databases:
            await database.close()


async def test_schema_does_not_wait_for_who_is_serving(database: Database) -> None:
    async with database.transaction() as session:
        await session.fetch("SELECT 1 FROM namespaces WHERE name = 'default' FOR KEY SHARE")
        async with asyncio.timeout(20):
            await migrate(database)


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that does not respond is not waited for."""
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 0.0)


async def test_connect_waits_for_a_server_that_starts(
    postgres: Postgres, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(postgres.stop)
    connecting = asyncio.create_task(Database.connect(database_url))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(postgres.start)
    database = await connecting
    await database.close()
    assert "waiting for the database" in caplog.text


@pytest.mark.usefixtures("no_wait")
async def test_connect_gives_up_without_telling_the_password() -> None:
    url = "postgresql://someone:hun%40ter2@127.0.0.1:1/files"
    with pytest.raises(ConfigError) as caught:
        await Database.connect(url)
    assert "127.0.0.1:1/files" in str(caught.value)
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:pass@word@host/db",
        "postgresql://u:pass/word@host/db",
        "postgresql://u:p@pass/word@host/db",
        "postgresql://u@host:word/db",
        "postgresql://u:word@host/db?nonsense=1",
        "word",
    ],
)
@pytest.mark.usefixtures("no_wait")
async def test_bad_url_does_not_show_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await Database.connect(url)
    assert "word" not in str(caught.value).replace("PASSWORD", "")


async def test_a_later_address_is_tried(postgres: Postgres, database_name: str) -> None:
    async with Proxy(postgres.socket) as wire:
        hosts = f"nowhere.invalid,127.0.0.1,localhost/{database_name}"
        url = f"postgresql://postgres@{hosts}?port=1,1,{wire.port}"
        database = await Database.connect(url)
        assert await database.fetch("SELECT 1") == [(1,)]
        await database.close()


class Heard:
    """What a listener said."""

    def __init__(self, database: Database) -> None:
        self.names: list[str] = []
        self.lost = 0
        self.returned = 0
        self.listener = Listener(
            database,
            "sfs_namespaces",
            on_notify=self.names.append,
            on_lost=self.on_lost,
            on_return=self.on_return,
        )

    def on_lost(self) -> None:
        assert not self.listener.trusted
        self.lost += 1

    def on_return(self) -> None:
        assert not self.listener.trusted
        self.returned += 1


@pytest.fixture
async def heard(database: Database) -> AsyncIterator[Heard]:
    heard = Heard(database)
    await heard.listener.start()
    yield heard
    await heard.listener.close()
    assert not heard.listener.trusted


async def test_what_is_to_be_done_at_the_commit_is_done_with_it_or_never(
    database: Database,
) -> None:
    sql = "INSERT INTO namespaces (name) VALUES (%s)"
    async with database.transaction() as session:
        session.at_commit(sql, ("a",))
        session.at_commit("UPDATE namespaces SET owner = %(o)s WHERE name = 'a'", {"o": "%s"})
        assert await session.fetch("SELECT 1 FROM namespaces WHERE name = 'a'") == []
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as again:
            again.at_commit(sql, ("b",))
            raise ZeroDivisionError
    assert again is session  # which has forgotten it
    with pytest.raises(UniqueViolation):
        async with database.transaction() as session:
            await session.fetch(sql, ("c",))
            session.at_commit(sql, ("a",))
    async with database.transaction() as session:
        await session.fetch("SELECT 1")
    rows = await database.fetch("SELECT name, owner FROM namespaces ORDER BY name")
    assert rows == [("a", "%s"), ("default", None)]


async def test_every_change_is_heard(database: Database, heard: Heard) -> None:
    assert heard.listener.trusted
    await database.fetch(
        "INSERT INTO namespaces (name) SELECT 'n' || i FROM generate_series(1,500) i"
    )
    await eventually(lambda: len(heard.names) == 500)
    assert set(heard.names) == {f"n{i}" for i in range(1, 501)}
    heard.names.clear()
    await database.fetch("UPDATE namespaces SET name = 'm1' WHERE name = 'n1'")
    await database.fetch("UPDATE namespaces SET hidden = true WHERE name = 'n2'")
    await database.fetch("DELETE FROM namespaces WHERE name = 'n3'")
    await database.fetch("INSERT INTO namespaces (name) VALUES (repeat(md5('a'), 260))")
    await database.fetch("TRUNCATE namespaces CASCADE")
    await eventually(lambda: len(heard.names) == 6)
    assert heard.names == ["n1", "m1", "n2", "n3", "*", "*"]


async def test_none_is_missed_across_pings(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.database.listener.PING_SECONDS", 0.003)
    heard = Heard(database)
    await heard.listener.start()
    for n in range(300):
        await database.fetch("SELECT pg_notify('sfs_namespaces', %s)", (str(n),))
    await eventually(lambda: len(heard.names) == 300)
    assert heard.names == [str(n) for n in range(300)]
    await heard.listener.close()


async def test_terminated_listener_comes_back(
    postgres: Postgres, database: Database, database_name: str, heard: Heard
) -> None:
    await asyncio.to_thread(
        postgres.execute,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE query LIKE 'LISTEN%' AND datname = '{database_name}'",
    )
    await eventually(lambda: heard.lost == 1)
    await eventually(lambda: heard.listener.trusted)
    assert heard.returned == 2
    await database.fetch("INSERT INTO namespaces (name) VALUES ('again')")
    await eventually(lambda: heard.names == ["again"])


async def test_stopped_server_is_noticed(postgres: Postgres, heard: Heard) -> None:
    frozen = postgres.freeze()
    try:
        await eventually(lambda: heard.lost == 1)
        assert not heard.listener.trusted
    finally:
        postgres.thaw(frozen)
    await eventually(lambda: heard.listener.trusted)


async def test_silent_connection_is_noticed(
    postgres: Postgres, database: Database, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.database.listener.PING_SECONDS", 0.2)
    monkeypatch.setattr("sfs_server.database.listener.ARRIVAL_SECONDS", 0.3)
    monkeypatch.setattr("sfs_server.database.pool.ACQUIRE_SECONDS", 0.5)
    async with Proxy(postgres.socket) as wire:
        through = Database(f"postgresql://postgres@127.0.0.1:{wire.port}/{database_name}")
        heard = Heard(through)
        await heard.listener.start()
        assert heard.listener.trusted
        wire.stall_after(0)
        await eventually(lambda: heard.lost == 1)
        wire.heal()
        await eventually(lambda: heard.listener.trusted)
        await heard.listener.close()
        await through.close()


async def test_start_without_a_server_does_not_fail(postgres: Postgres, database_url: str) -> None:
    database = await Database.connect(database_url)
    await asyncio.to_thread(postgres.stop)
    heard = Heard(database)
    await heard.listener.start()
    assert not heard.listener.trusted
    await asyncio.to_thread(postgres.start)
    await eventually(lambda: heard.listener.trusted)
    await heard.listener.close()
    await database.close()


async def test_close_leaves_no_task(database: Database) -> None:
    before = asyncio.all_tasks()
    for delay in (0, 0, 0.001, 0.01):
        heard = Heard(database)
        await heard.listener.start()
        await asyncio.sleep(delay)
        await heard.listener.close()
        await heard.listener.close()
    await eventually(asyncio.all_tasks, equals=before)
    gc.collect()


LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


@pytest.mark.parametrize("loop", LOOPS)
def test_on_both_loops(
    postgres: Postgres, database_url: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def play() -> None:
        database = await Database.connect(database_url)
        await migrate(database)
        heard = Heard(database)
        await heard.listener.start()
        await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.02)") for _ in range(20)))
        task = asyncio.create_task(database.fetch("SELECT pg_sleep(9)"))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.to_thread(postgres.restart)
        await eventually(lambda: heard.lost == 1 and heard.listener.trusted)
        await database.fetch("INSERT INTO namespaces (name) VALUES ('a')")
        await eventually(lambda: heard.names == ["a"])
        await heard.listener.close()
        await database.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(play())
    gc.collect()


@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("loop", LOOPS)
def test_refused_and_broken_connections_leave_nothing_in_the_loop(
    postgres: Postgres, database_name: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def play() -> None:
        async with Proxy(postgres.socket) as wire:
            url = f"postgresql://postgres@127.0.0.1:{wire.port}/{database_name}"
            database = await Database.connect(url)
            for _ in range(3):
                # The descriptor of the one that is refused is the next one's.
                with pytest.raises(ConfigError, match="refused"):
                    await Database.connect("postgresql://u@127.0.0.1:1/db")
                query = asyncio.create_task(database.fetch("SELECT pg_sleep(9)"))
                await eventually(lambda: database.usage.busy == 1)
                wire.cut_after(0)
                wire.heal()
                with pytest.raises(DatabaseUnavailable):
                    await query
                assert await database.fetch("SELECT 1") == [(1,)]
            await database.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(play())
    gc.collect()
