"""Namespaces in a real database: the cache, others' changes, publishing against deleting."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from gfs.errors import NoSuchDirectory
from sfs_server.access import Namespace
from sfs_server.database import Database
from sfs_server.errors import DatabaseUnavailable, Problem
from sfs_server.namespace_cache import MAX_CACHED, MISSING
from sfs_server.namespaces import Namespaces
from tests.postgres import Postgres
from tests.server.test_database import eventually


async def opened(url: str) -> tuple[Database, Namespaces]:
    database = await Database.connect(url)
    await database.apply_schema()
    namespaces = Namespaces(database)
    await namespaces.start()
    return database, namespaces


@pytest.fixture
async def ours(database_url: str) -> AsyncIterator[Namespaces]:
    database, namespaces = await opened(database_url)
    yield namespaces
    await namespaces.close()
    await database.close()


@pytest.fixture
async def theirs(database_url: str) -> AsyncIterator[Namespaces]:
    """What another process has."""
    database, namespaces = await opened(database_url)
    yield namespaces
    await namespaces.close()
    await database.close()


async def test_create_read_update_delete(ours: Namespaces) -> None:
    made = await ours.create("b", hidden=True, owner="ann")
    assert (made.name, made.hidden, made.owner) == ("b", True, "ann")
    assert abs((datetime.now(UTC) - made.created_at).total_seconds()) < 5
    assert await ours.resolve("b") == made
    with pytest.raises(Problem) as caught:
        await ours.create("b", hidden=False, owner=None)
    assert caught.value.status == 409
    changed = await ours.update(made, hidden=False)
    assert changed is not None
    assert not changed.hidden
    assert await ours.resolve("b") == changed
    async with ours.deleting(changed):
        pass
    assert await ours.resolve("b") is None
    assert await ours.update(changed, hidden=False) is None


async def test_list_is_in_the_order_of_bytes(ours: Namespaces) -> None:
    for name in ("b", "a-b", "B", "a.b", "_", "ab", "aB"):
        await ours.create(name, hidden=False, owner=None)
    names = [namespace.name for namespace in await ours.list()]
    assert names == sorted([*names], key=str.encode)
    assert len(names) == 8


async def test_cached_answers_do_not_yield(ours: Namespaces) -> None:
    assert ours.cached("default") is MISSING
    assert ours.cached("absent") is MISSING
    default = await ours.resolve("default")
    assert await ours.resolve("absent") is None
    for name, answer in (("default", default), ("absent", None)):
        step = ours.resolve(name)
        with pytest.raises(StopIteration) as caught:
            step.send(None)
        assert caught.value.value == answer
        assert ours.cached(name) is answer


async def test_the_cache_is_bounded(ours: Namespaces) -> None:
    default = await ours.resolve("default")
    values = [f"absent{n}" for n in range(MAX_CACHED + 50)]
    for begin in range(0, len(values), 200):
        await asyncio.gather(*(ours.resolve(name) for name in values[begin : begin + 200]))
    assert ours.cached(values[-1]) is None
    assert ours.cached(values[0]) is MISSING
    assert ours.cached("default") is default


async def test_changes_elsewhere_are_seen(ours: Namespaces, theirs: Namespaces) -> None:
    assert await ours.resolve("n") is None
    made = await theirs.create("n", hidden=False, owner="ann")
    await eventually(lambda: ours.cached("n") is MISSING, 8)
    assert await ours.resolve("n") == made
    await theirs.update(made, hidden=True)
    await eventually(lambda: ours.cached("n") is MISSING, 8)
    seen = await ours.resolve("n")
    assert seen is not None
    assert seen.hidden
    async with theirs.deleting(made):
        pass
    await eventually(lambda: ours.cached("n") is MISSING, 8)
    assert await ours.resolve("n") is None


async def test_truncate_empties_the_cache(
    ours: Namespaces, database_name: str, postgres: Postgres
) -> None:
    await ours.resolve("default")
    await ours.resolve("absent")
    await asyncio.to_thread(postgres.execute, "TRUNCATE namespaces", database_name)
    await eventually(lambda: ours.cached("default") is ours.cached("absent") is MISSING, 1)
    assert await ours.resolve("default") is None


async def test_a_read_that_crosses_a_change_is_not_kept(
    ours: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Database.fetch

    async def slow(self: Database, sql: str, *args: object, **options: object) -> object:
        rows = await fetch(self, sql, *args, **options)  # type: ignore[arg-type]
        if sql.startswith("SELECT"):
            await asyncio.sleep(0.1)
        return rows

    default = await ours.resolve("default")
    assert default is not None
    ours._cache.forget("default")
    monkeypatch.setattr(Database, "fetch", slow)
    reading = asyncio.create_task(ours.resolve("default"))
    await asyncio.sleep(0.05)
    await ours.update(default, hidden=True)
    old = await reading
    assert old is not None
    assert not old.hidden
    assert ours.cached("default") is MISSING
    new = await ours.resolve("default")
    assert new is not None
    assert new.hidden


async def test_without_the_listener_the_database_is_asked(
    ours: Namespaces, postgres: Postgres, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ours.resolve("default")
    await ours.resolve("n")
    monkeypatch.setattr("sfs_server.listener.BACKOFF_FIRST_SECONDS", 60.0)
    await ours.close()  # as if it were lost for good
    assert not ours.listening
    assert ours.cached("default") is MISSING
    assert ours.cached("n") is MISSING
    await asyncio.to_thread(
        postgres.execute,
        "UPDATE namespaces SET hidden = true; INSERT INTO namespaces (name) VALUES ('n')",
        database_name,
    )
    changed = await ours.resolve("default")
    assert changed is not None
    assert changed.hidden
    assert await ours.resolve("n") is not None
    assert ours.cached("n") is MISSING


async def test_the_cache_is_not_trusted_once_the_last_answer_is_old(
    ours: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = await ours.resolve("default")
    assert ours.cached("default") is default
    monkeypatch.setattr("sfs_server.listener.TRUST_SECONDS", 0.0)
    assert ours.cached("default") is MISSING


async def test_guard_holds_the_row_against_anybody(
    ours: Namespaces, postgres: Postgres, database_name: str
) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    async with ours.guard(made):
        sql = "DELETE FROM namespaces WHERE name = 'n'"
        deleting = asyncio.create_task(asyncio.to_thread(postgres.execute, sql, database_name))
        await asyncio.sleep(0.2)
        assert not deleting.done()
    await deleting


async def test_after_a_return_nothing_old_is_used(ours: Namespaces, postgres: Postgres) -> None:
    await ours.resolve("default")
    await ours.resolve("absent")
    await asyncio.to_thread(postgres.restart)
    await eventually(lambda: not ours.listening, 8)
    await eventually(lambda: ours.listening, 8)
    assert ours.cached("default") is MISSING
    assert ours.cached("absent") is MISSING
    assert await ours.resolve("default") is not None
    assert isinstance(ours.cached("default"), Namespace)


async def test_reads_go_on_without_the_database(
    ours: Namespaces, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await ours.resolve("default")
    await ours.resolve("absent")
    await asyncio.to_thread(postgres.stop)
    try:
        await eventually(lambda: not ours.listening, 8)
        async with asyncio.timeout(5):  # and not the time for a connection, each time
            for _ in range(100):
                assert await ours.resolve("default", stale_ok=True) == known
        for name, stale_ok in (("default", False), ("absent", True), ("unknown", True)):
            with pytest.raises(DatabaseUnavailable):
                await ours.resolve(name, stale_ok=stale_ok)
        monkeypatch.setattr("sfs_server.namespace_cache.STALE_SECONDS", 0.01)
        with pytest.raises(DatabaseUnavailable):
            await ours.resolve("default", stale_ok=True)
    finally:
        await asyncio.to_thread(postgres.start)
    await eventually(lambda: ours.listening, 8)
    assert await ours.resolve("default") == known


async def test_reads_do_not_wait_for_a_server_that_hangs(
    ours: Namespaces, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.listener.ANSWER_SECONDS", 0.5)
    known = await ours.resolve("default")
    frozen = postgres.freeze()
    try:
        await eventually(lambda: not ours.listening, 8)
        async with asyncio.timeout(4):
            assert await ours.resolve("default", stale_ok=True) == known
        async with asyncio.timeout(0.9):
            assert await ours.resolve("default", stale_ok=True) == known
    finally:
        postgres.thaw(frozen)


async def test_table_of_an_older_version(postgres: Postgres, database_name: str) -> None:
    await asyncio.to_thread(
        postgres.execute,
        "CREATE TABLE namespaces (name TEXT PRIMARY KEY, hidden BOOLEAN DEFAULT false, "
        "created_at TIMESTAMP DEFAULT NOW());"
        "INSERT INTO namespaces VALUES ('old', NULL, NULL), ('default', NULL, NOW())",
        database_name,
    )
    database, namespaces = await opened(postgres.url(database_name))
    old = await namespaces.resolve("old")
    assert old == Namespace("old", False, None, datetime(1970, 1, 1, tzinfo=UTC))
    async with namespaces.guard(old):
        pass
    async with namespaces.deleting(old):
        pass
    assert [one.name for one in await namespaces.list()] == ["default"]
    await namespaces.close()
    await database.close()


async def test_created_at_is_utc_whatever_the_server_thinks(
    postgres: Postgres, database_name: str
) -> None:
    zone = f"ALTER DATABASE {database_name} SET TimeZone = 'Pacific/Auckland'"
    await asyncio.to_thread(postgres.execute, zone)
    database, namespaces = await opened(postgres.url(database_name))
    made = await namespaces.create("n", hidden=False, owner=None)
    assert abs((datetime.now(UTC) - made.created_at).total_seconds()) < 5
    await namespaces.close()
    await database.close()


async def test_guard_keeps_a_delete_waiting(ours: Namespaces, theirs: Namespaces) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    events: list[str] = []

    async def delete() -> None:
        async with theirs.deleting(made):
            events.append("removed")

    async with ours.guard(made) as fresh:
        assert fresh == made
        task = asyncio.create_task(delete())
        await asyncio.sleep(0.2)
        events.append("published")
    await task
    assert events == ["published", "removed"]
    with pytest.raises(NoSuchDirectory):
        async with ours.guard(made):
            events.append("never")
    assert events == ["published", "removed"]


async def test_guard_lets_one_name_be_published_by_one_process_at_a_time(
    ours: Namespaces, theirs: Namespaces
) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    events: list[str] = []

    async def publish(name: str) -> None:
        async with theirs.guard(made, name):
            events.append(name)

    async with ours.guard(made, "a"):
        same = asyncio.create_task(publish("a"))
        await publish("b")
        await asyncio.sleep(0.2)
        events.append("first")
    await same
    assert events == ["b", "first", "a"]


async def test_guard_waits_for_a_delete(ours: Namespaces, theirs: Namespaces) -> None:
    made = await ours.create("n", hidden=False, owner="ann")

    async def publish() -> None:
        async with ours.guard(made):
            pytest.fail("the namespace is gone")

    async with theirs.deleting(made):
        task = asyncio.create_task(publish())
        await asyncio.sleep(0.2)
        assert not task.done()
    with pytest.raises(NoSuchDirectory):
        await task


async def test_a_delete_that_fails_leaves_the_namespace(ours: Namespaces) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    with pytest.raises(OSError, match="disk"):
        async with ours.deleting(made):
            raise OSError("disk")
    assert await ours.resolve("n") == made
    async with ours.guard(made):
        pass


@pytest.mark.parametrize("owner", ["ann", "bob", None])
async def test_deleted_and_made_again_is_another_one(
    ours: Namespaces, theirs: Namespaces, owner: str | None
) -> None:
    first = await ours.create("n", hidden=False, owner="ann")
    async with theirs.deleting(first):
        pass
    second = await theirs.create("n", hidden=False, owner=owner)
    with pytest.raises(NoSuchDirectory):
        async with ours.guard(first):
            pytest.fail("it is another one's")
    with pytest.raises(NoSuchDirectory):
        async with ours.deleting(first):
            pytest.fail("it is another one's")
    assert await ours.update(first, hidden=True) is None
    async with ours.guard(second) as fresh:
        assert (fresh.owner, fresh.hidden) == (owner, False)


async def test_guard_sees_the_row_as_it_is(ours: Namespaces, theirs: Namespaces) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    await theirs.update(made, hidden=True)
    async with ours.guard(made) as fresh:
        assert fresh.hidden
        assert (await theirs.update(made, hidden=False)) == made  # which it does not keep waiting


async def test_many_guards_at_once(ours: Namespaces) -> None:
    made = await ours.create("n", hidden=False, owner="ann")

    async def publish() -> None:
        async with ours.guard(made):
            await asyncio.sleep(0.005)

    async with asyncio.timeout(10):
        await asyncio.gather(*(publish() for _ in range(80)))


async def test_steady_publishing_does_not_starve_a_delete(
    ours: Namespaces, theirs: Namespaces
) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    published = 0

    async def publish() -> None:
        nonlocal published
        while True:
            async with ours.guard(made):
                await asyncio.sleep(random.uniform(0.02, 0.08))
                published += 1

    tasks = [asyncio.create_task(publish()) for _ in range(6)]
    await asyncio.sleep(0.1)
    begin = time.monotonic()
    async with theirs.deleting(made):
        at_delete = published
        assert time.monotonic() - begin < 10
        await asyncio.sleep(0.1)
        assert published == at_delete
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, NoSuchDirectory) for answer in answers)


async def test_cancelled_guard_lets_go(ours: Namespaces, theirs: Namespaces) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    inside = asyncio.Event()

    async def publish() -> None:
        async with ours.guard(made):
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(publish())
    await inside.wait()
    task.cancel()
    await asyncio.wait({task})
    async with asyncio.timeout(20), theirs.deleting(made):
        pass
