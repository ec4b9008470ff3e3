"""Namespaces in a real database: the cache, others' changes, publishing against deleting."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from gfs.errors import NoSuchDirectory
from sfs_server.auth.access import Namespace, may_know, visible
from sfs_server.auth.claims import ANONYMOUS, Principal
from sfs_server.database.pool import Database
from sfs_server.errors import Busy, DatabaseUnavailable, Problem
from sfs_server.namespaces.cache import MAX_CACHED
from sfs_server.namespaces.rows import Namespaces
from sfs_server.namespaces.table import lock_key
from tests.support.namespaces import opened
from tests.support.postgres import Postgres
from tests.support.waiting import eventually

ADMIN = Principal("root", admin=True)


def cached(namespaces: Namespaces, name: str) -> Namespace | None:
    """The namespace, None if only the database knows."""
    return namespaces._cache.fresh.get(name) if namespaces.listening else None


async def cached_again(namespaces: Namespaces, name: str) -> Namespace | None:
    """The namespace, when the notifications of what was done to it before have come."""
    async with asyncio.timeout(8):
        while cached(namespaces, name) is None:
            await asyncio.sleep(0.01)
            await namespaces.resolve(name, ADMIN)
    return cached(namespaces, name)


async def listed(namespaces: Namespaces, principal: Principal, **options: Any) -> list[Namespace]:
    """The namespaces of a list, without what they have."""
    return [found for found, _ in await namespaces.list(principal, **options)]


async def test_create_read_update_delete(ours: Namespaces) -> None:
    made = await ours.create("b", hidden=True, owner="ann")
    assert (made.name, made.hidden, made.owner) == ("b", True, "ann")
    assert abs((datetime.now(UTC) - made.created_at).total_seconds()) < 5
    assert await ours.resolve("b", ADMIN) == made
    with pytest.raises(Problem) as caught:
        await ours.create("b", hidden=False, owner=None)
    assert caught.value.status == 409
    changed = await ours.update(made, hidden=False)
    assert changed is not None
    assert not changed.hidden
    assert await ours.resolve("b", ADMIN) == changed
    async with ours.deleting(changed):
        pass
    assert await ours.resolve("b", ADMIN) is None
    assert await ours.update(changed, hidden=False) is None


async def test_list_is_in_the_order_of_bytes(ours: Namespaces) -> None:
    for name in ("b", "a-b", "B", "a.b", "_", "ab", "aB"):
        await ours.create(name, hidden=False, owner=None)
    names = [found.name for found in await listed(ours, ADMIN, anonymous_read=True, limit=9)]
    assert names == sorted([*names], key=str.encode)
    assert len(names) == 8


async def test_what_is_cached_does_not_yield(ours: Namespaces) -> None:
    assert cached(ours, "default") is None
    default = await ours.resolve("default", ADMIN)
    step = ours.resolve("default", ADMIN)
    with pytest.raises(StopIteration) as caught:
        step.send(None)
    assert caught.value.value is cached(ours, "default") is default


async def test_the_cache_is_bounded(
    ours: Namespaces, postgres: Postgres, database_name: str
) -> None:
    names = [f"n{number}" for number in range(MAX_CACHED + 50)]
    values = ", ".join(f"('{name}')" for name in names)
    sql = f"INSERT INTO namespaces (name) VALUES {values}"
    await asyncio.to_thread(postgres.execute, sql, database_name)
    await eventually(lambda: ours._cache.generation >= len(names))  # all have been heard of
    await ours.resolve(names[-1], ADMIN)
    for begin in range(0, len(names), 200):
        await asyncio.gather(*(ours.resolve(name, ADMIN) for name in names[begin : begin + 200]))
    assert cached(ours, names[-2]) is not None
    assert cached(ours, names[0]) is None


READ = frozenset({"read"})
SCOPES: list[Mapping[str, frozenset[str]]] = [
    {},
    {"storage.ann": READ},
    {"storage.ann.files": READ},
    {"storage.ann.files.a": READ, "storage.ann.files.z": READ, "storage.ann.files.None-x": READ},
    {"storage.ann.files.a": frozenset({"create"}), "storage.bob.files.b": READ},
    {"storage.ann.files.\0": READ, "storage.ann.files.\udc00": READ, "storage.ann.files.": READ},
]
AFTERS = ["", "a", "ann-", "b", "default", "zz", "a\0", "\0", "a\udc00", "b\u00e9", "~", "A"]


async def test_the_list_is_what_may_be_seen_page_by_page(ours: Namespaces) -> None:
    await ours.create("a", hidden=True, owner="ann")
    await ours.create("b.c", hidden=True, owner="bob")
    made = await listed(ours, ADMIN, anonymous_read=True, limit=99)
    for owner in ("ann", "bob", None):
        for hidden in (False, True):
            for name in ("", "_", "Z"):
                one = await ours.create(f"{owner}-{hidden}{name}", hidden=hidden, owner=owner)
                made.append(one)
    made.sort(key=lambda one: one.name)
    scoped = [Principal("ann", admin=admin, scopes=s) for admin in (False, True) for s in SCOPES]
    for principal in (*PEOPLE, *scoped):
        for anonymous_read in (False, True):
            right = [one for one in made if visible(principal, one, anonymous_read=anonymous_read)]
            pages = partial(listed, ours, principal, anonymous_read=anonymous_read)
            for limit in (1, 3, 99):
                found: list[Namespace] = []
                while page := await pages(after=found[-1].name if found else "", limit=limit):
                    assert len(page) <= limit
                    found += page
                assert found == right
            for after in AFTERS:
                behind = [one for one in right if one.name > after]
                assert await pages(after=after, limit=99) == behind, after


async def test_a_page_is_read_without_what_others_hide_or_have(
    ours: Namespaces, postgres: Postgres, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = (
        "INSERT INTO namespaces (name, hidden, owner) "
        "SELECT 'a' || i, i %% 10 > 0, CASE WHEN i %% 100 = 1 THEN 'bob' ELSE 'ann' END "
        "FROM generate_series(1, 20000) i;"
        "INSERT INTO recounts SELECT name, now() FROM namespaces ON CONFLICT DO NOTHING;"
        "INSERT INTO namespace_usage SELECT name, 1, 0, 9, 0 FROM namespaces;"
        "INSERT INTO namespace_usage SELECT 'a7', 1, 0, 9, 0 FROM generate_series(1, 10000) i;"
        "ANALYZE namespaces"
    ).replace("%%", "%")
    await asyncio.to_thread(postgres.execute, fill, database_name)
    asked: list[tuple[str, Any]] = []
    fetch = Database.fetch

    async def seen(self: Database, sql: str, params: Any = (), **options: Any) -> Any:
        asked.append((sql, params))
        return await fetch(self, sql, params, **options)

    monkeypatch.setattr(Database, "fetch", seen)
    for principal in (*PEOPLE, Principal("nobody")):
        asked.clear()
        await ours.list(principal, anonymous_read=True, limit=20)
        [(sql, params)] = asked
        plan = await fetch(
            ours._database, "EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) " + sql, params
        )
        rows = read(json.loads(plan[0][0]) if isinstance(plan[0][0], str) else plan[0][0])
        assert rows <= 60 + 2 * 20  # of those that are listed, also what they have


def read(plan: Any) -> float:
    """How many rows the scans of a plan have read."""
    if isinstance(plan, list):
        return sum(map(read, plan))
    if "Plan" in plan:
        return read(plan["Plan"])
    here = 0.0
    if "Relation Name" in plan:
        here = plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
    return here + read(plan.get("Plans", []))


async def test_many_at_once_in_two_processes_own_no_more_than_they_may(
    ours: Namespaces, theirs: Namespaces
) -> None:
    async def make(number: int) -> int:
        made_by = ours if number % 2 else theirs
        try:
            await made_by.create(f"n{number}", hidden=False, owner="ann", limit=5)
        except Problem as problem:
            return problem.status
        return 201

    statuses = await asyncio.gather(*map(make, range(30)))
    assert sorted(statuses) == [201] * 5 + [403] * 25
    owned = await listed(ours, Principal("ann"), anonymous_read=True, limit=99)
    assert len([one for one in owned if one.owner == "ann"]) == 5
    with pytest.raises(Problem, match="own 5 namespaces"):
        await ours.require_fewer("ann", 5)
    await ours.require_fewer("ann", 6)
    await ours.require_fewer("ann", 0)
    await ours.require_fewer("bob", 1)


PEOPLE = [ANONYMOUS, Principal("ann"), Principal("bob"), Principal("root", admin=True)]


async def test_nobody_gets_what_they_may_not_know_of(ours: Namespaces) -> None:
    made = [
        await ours.create(f"{owner}-{hidden}", hidden=hidden, owner=owner)
        for owner in ("ann", "bob", None)
        for hidden in (False, True)
    ]
    for _ in "first", "from the cache":
        for one in made:
            for principal in PEOPLE:
                known = one if may_know(principal, one) else None
                assert await ours.resolve(one.name, principal) == known
                assert await ours.resolve(one.name, principal, stale_ok=True) == known


async def test_changes_elsewhere_are_seen(ours: Namespaces, theirs: Namespaces) -> None:
    assert await ours.resolve("n", ADMIN) is None
    made = await theirs.create("n", hidden=False, owner="ann")
    await eventually(lambda: cached(ours, "n") is None)
    assert await ours.resolve("n", ADMIN) == made
    await theirs.update(made, hidden=True)
    await eventually(lambda: cached(ours, "n") is None)
    seen = await ours.resolve("n", ADMIN)
    assert seen is not None
    assert seen.hidden
    async with theirs.deleting(made):
        pass
    await eventually(lambda: cached(ours, "n") is None)
    assert await ours.resolve("n", ADMIN) is None


async def test_truncate_empties_the_cache(
    ours: Namespaces, database_name: str, postgres: Postgres
) -> None:
    await ours.resolve("default", ADMIN)
    await asyncio.to_thread(postgres.execute, "TRUNCATE namespaces CASCADE", database_name)
    await eventually(lambda: cached(ours, "default") is None)
    assert await ours.resolve("default", ADMIN) is None


async def test_a_read_that_crosses_a_change_is_not_kept(
    ours: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Database.fetch

    async def slow(self: Database, sql: str, *args: object, **options: object) -> object:
        rows = await fetch(self, sql, *args, **options)  # type: ignore[arg-type]
        if sql.startswith("SELECT"):
            await asyncio.sleep(0.1)
        return rows

    default = await ours.resolve("default", ADMIN)
    assert default is not None
    ours._cache.remove("default")
    monkeypatch.setattr(Database, "fetch", slow)
    reading = asyncio.create_task(ours.resolve("default", ADMIN))
    await asyncio.sleep(0.05)
    await ours.update(default, hidden=True)
    old = await reading
    assert old is not None
    assert not old.hidden
    assert cached(ours, "default") is None
    new = await ours.resolve("default", ADMIN)
    assert new is not None
    assert new.hidden


async def test_without_the_listener_the_database_is_asked(
    ours: Namespaces, postgres: Postgres, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ours.resolve("default", ADMIN)
    await ours.resolve("n", ADMIN)
    monkeypatch.setattr("sfs_server.database.listener.BACKOFF_FIRST_SECONDS", 60.0)
    await ours.close()  # as if it were lost for good
    assert not ours.listening
    assert cached(ours, "default") is None
    assert cached(ours, "n") is None
    await asyncio.to_thread(
        postgres.execute,
        "UPDATE namespaces SET hidden = true; INSERT INTO namespaces (name) VALUES ('n')",
        database_name,
    )
    changed = await ours.resolve("default", ADMIN)
    assert changed is not None
    assert changed.hidden
    assert await ours.resolve("n", ADMIN) is not None
    assert cached(ours, "n") is None


async def test_the_cache_is_not_trusted_once_the_last_answer_is_old(
    ours: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = await ours.resolve("default", ADMIN)
    assert cached(ours, "default") is default
    monkeypatch.setattr("sfs_server.database.listener.TRUST_SECONDS", 0.0)
    await eventually(lambda: cached(ours, "default") is None)


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
    await ours.resolve("default", ADMIN)
    await asyncio.to_thread(postgres.restart)
    await eventually(lambda: not ours.listening)
    await eventually(lambda: ours.listening)
    assert cached(ours, "default") is None
    assert await ours.resolve("default", ADMIN) is not None
    assert isinstance(cached(ours, "default"), Namespace)


async def test_reads_go_on_without_the_database(
    ours: Namespaces, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await ours.resolve("default", ADMIN)
    hidden = await ours.create("hidden", hidden=True, owner="ann")
    assert await cached_again(ours, "hidden") == hidden
    await asyncio.to_thread(postgres.stop)
    try:
        await eventually(lambda: not ours.listening)
        async with asyncio.timeout(5):  # and not the time for a connection, each time
            for _ in range(100):
                assert await ours.resolve("default", ADMIN, stale_ok=True) == known
        assert await ours.resolve("hidden", ADMIN, stale_ok=True) == hidden
        for name, stale_ok in (("default", False), ("absent", True), ("hidden", True)):
            with pytest.raises(DatabaseUnavailable):
                await ours.resolve(name, Principal("bob"), stale_ok=stale_ok)
        monkeypatch.setattr("sfs_server.namespaces.cache.STALE_SECONDS", 0.01)
        with pytest.raises(DatabaseUnavailable):
            await ours.resolve("default", ADMIN, stale_ok=True)
    finally:
        await asyncio.to_thread(postgres.start)
    await eventually(lambda: ours.listening)
    assert await ours.resolve("default", ADMIN) == known


async def test_reads_do_not_wait_for_a_server_that_hangs(
    ours: Namespaces, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.database.listener.ARRIVAL_SECONDS", 0.5)
    monkeypatch.setattr("sfs_server.namespaces.rows.STALE_PATIENCE_SECONDS", 2.5)
    known = await ours.resolve("default", ADMIN)
    frozen = postgres.freeze()
    try:
        await eventually(lambda: not ours.listening)
        async with asyncio.timeout(10):
            assert await ours.resolve("default", ADMIN, stale_ok=True) == known
        async with asyncio.timeout(2):  # so soon after that the database is not asked again
            assert await ours.resolve("default", ADMIN, stale_ok=True) == known
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
    old = await namespaces.resolve("old", ADMIN)
    assert old == Namespace("old", False, None, datetime(1970, 1, 1, tzinfo=UTC))
    async with namespaces.guard(old):
        pass
    async with namespaces.deleting(old):
        pass
    found = await listed(namespaces, ADMIN, anonymous_read=True, limit=9)
    assert [one.name for one in found] == ["default"]
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

    async with ours.guard(made) as guarded:
        assert guarded.namespace == made
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
    assert await ours.resolve("n", ADMIN) == made
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
    async with ours.guard(second) as guarded:
        fresh = guarded.namespace
        assert (fresh.owner, fresh.hidden) == (owner, False)


async def test_one_of_another_owner_is_another_one_also_where_no_time_is_kept(
    ours: Namespaces, postgres: Postgres, database_name: str
) -> None:
    """In a table that was made by hand ``created_at`` may be NULL."""
    sql = "INSERT INTO namespaces (name, owner, created_at) VALUES ('n', 'ann', NULL)"
    await asyncio.to_thread(postgres.execute, sql, database_name)
    first = await ours.resolve("n", ADMIN)
    assert first is not None
    sql = "UPDATE namespaces SET owner = 'bob'"
    await asyncio.to_thread(postgres.execute, sql, database_name)
    with pytest.raises(NoSuchDirectory):
        async with ours.guard(first):
            pytest.fail("it is another one's")
    assert await ours.update(first, hidden=True) is None


async def test_guard_sees_the_row_as_it_is(ours: Namespaces, theirs: Namespaces) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    await theirs.update(made, hidden=True)
    async with ours.guard(made) as guarded:
        assert guarded.namespace.hidden
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


# Waiting for a lock takes a session, of which there are few.


def busy(namespaces: Namespaces) -> int:
    """How many sessions are in use."""
    return namespaces._database.usage.busy


async def test_many_who_publish_one_name_wait_with_one_session(
    ours: Namespaces, theirs: Namespaces
) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    published = 0

    async def publish() -> None:
        nonlocal published
        async with ours.guard(made, "a"):
            published += 1

    async with theirs.guard(made, "a"):
        tasks = [asyncio.create_task(publish()) for _ in range(300)]
        await eventually(lambda: busy(ours) == 1)
        for name in ("b", "c", "d"):
            async with ours.guard(made, name):
                assert busy(ours) == 2
        assert (busy(ours), published) == (1, 0)
    await asyncio.gather(*tasks)
    assert (busy(ours), published) == (0, 300)


async def test_many_who_publish_in_what_is_being_deleted_wait_with_one_session(
    ours: Namespaces, theirs: Namespaces
) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    other = await ours.create("other", hidden=False, owner="ann")

    async def publish(name: str) -> None:
        async with ours.guard(made, name):
            pytest.fail("the namespace is gone")

    async with theirs.deleting(made):
        tasks = [asyncio.create_task(publish(f"file{number}")) for number in range(40)]
        await eventually(lambda: len(ours._turns._locks) == 41)
        # One of them tries again and again, the others wait in this process.
        key = ("missed", lock_key("namespace", "n"))
        await eventually(lambda: len(ours._turns._locks[key]._waiters or ()) == 39)
        for _ in range(20):
            assert busy(ours) <= 1
            async with ours.guard(other, "a"):
                assert busy(ours) <= 2
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, NoSuchDirectory) for answer in answers)
    assert busy(ours) == len(ours._turns._locks) == 0


async def test_a_turn_is_waited_for_and_no_longer(
    ours: Namespaces, theirs: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.locks.WAIT_SECONDS", 0.1)
    made = await ours.create("n", hidden=False, owner="ann")
    async with ours.guard(made, "a"):
        with pytest.raises(Busy):
            async with ours.guard(made, "a"):
                pytest.fail("it was not its turn")
    async with ours.guard(made, "a"):
        pass


async def test_names_whose_32_bit_hashes_are_the_same_do_not_wait_for_each_other(
    ours: Namespaces, theirs: Namespaces, postgres: Postgres
) -> None:
    sql = "SELECT hashtext('team222') = hashtext('team197957')"
    assert await asyncio.to_thread(postgres.execute, sql) == [(True,)]
    one = await ours.create("team222", hidden=False, owner="ann")
    other = await ours.create("team197957", hidden=False, owner="bob")
    async with asyncio.timeout(3), theirs.deleting(one), ours.guard(other, "a"):
        pass
    sql = (
        "SELECT min(i), max(i) FROM generate_series(1, 500000) i "
        "GROUP BY hashtext('n/' || i) HAVING count(*) > 1 LIMIT 1"
    )
    [names] = await asyncio.to_thread(postgres.execute, sql)
    made = await ours.create("n", hidden=False, owner="ann")
    async with (
        asyncio.timeout(3),
        theirs.guard(made, str(names[0])),
        ours.guard(made, str(names[1])),
    ):
        pass


async def test_a_file_is_locked_against_the_version_before_this_one_too(ours: Namespaces) -> None:
    made = await ours.create("n", hidden=False, owner="ann")

    async def publish() -> None:
        async with ours.guard(made, "a"):
            pass

    async with ours._database.transaction() as before:
        await before.fetch("SELECT pg_advisory_xact_lock(7562868, hashtext('n/a'))")
        task = asyncio.create_task(publish())
        await asyncio.sleep(0.2)
        assert not task.done()
    await task
