"""What each namespace has: written with each change, by many processes, and merged meanwhile."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from gfs.errors import StoreFull, StoreUnavailable
from sfs_server.auth.access import Namespace
from sfs_server.auth.claims import Principal
from sfs_server.database.session import Session
from sfs_server.namespaces.locks import Guarded
from sfs_server.namespaces.rows import Namespaces
from sfs_server.namespaces.usage import Total

ADMIN = Principal("root", admin=True)


async def add(namespaces: Namespaces, namespace: Namespace, path: str, *changes: int) -> None:
    async with namespaces.guard(namespace, path) as guarded:
        guarded.add(*changes)


async def rows(namespaces: Namespaces) -> int:
    [(count,)] = await namespaces._database.fetch("SELECT count(*) FROM namespace_usage")
    return int(count)


async def due(namespaces: Namespaces, name: str) -> bool:
    """Whether the namespace is to be recounted soon, and what is known of it is shown."""
    sql = "SELECT counted_at = 'epoch' FROM recounts WHERE namespace = %s"
    return await namespaces._database.fetch(sql, (name,)) == [(True,)]


@pytest.fixture
async def made(ours: Namespaces) -> Namespace:
    """A namespace that has just been counted."""
    made = await ours.create("n", hidden=False, owner="ann")
    await ours._database.fetch("UPDATE recounts SET counted_at = now() AT TIME ZONE 'UTC'")
    return made


async def test_a_new_one_has_nothing_and_is_counted_soon(ours: Namespaces) -> None:
    made = await ours.create("n", hidden=False, owner="ann")
    listed = await ours.list(ADMIN, anonymous_read=True, limit=9)
    assert [(one.name, total) for one, total in listed] == [
        ("default", Total(0, 0)),
        ("n", Total(0, 0)),
    ]
    assert await ours.total(made) == Total(0, 0)
    assert await due(ours, "n")
    assert await due(ours, "default")


async def test_one_of_an_older_version_is_not_known(ours: Namespaces) -> None:
    await ours._database.fetch("INSERT INTO namespaces (name) VALUES ('old')")
    old = await ours.resolve("old", ADMIN)
    assert old is not None
    await add(ours, old, "a", 1, 10)
    assert await ours.total(old) is None
    listed = await ours.list(ADMIN, anonymous_read=True, limit=9)
    assert [total for _, total in listed] == [Total(0, 0), None]


async def test_many_changes_in_two_processes_are_summed_while_they_are_merged(
    ours: Namespaces, theirs: Namespaces, made: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.usage.MERGE_ROWS", 1)
    dice = random.Random(1)
    files = size = 0
    changes = []
    for number in range(300):
        change = dice.choice([(1, dice.randrange(10**12)), (0, -dice.randrange(9)), (-1, -7)])
        files, size = files + change[0], size + change[1]
        changes.append(add(dice.choice([ours, theirs]), made, f"{number}", *change))
    publishing = asyncio.gather(*changes)
    while not publishing.done():
        await asyncio.gather(ours._usage.merge(), theirs._usage.merge())
    await publishing
    assert await ours.total(made) == Total(files, size)
    await asyncio.gather(ours._usage.merge(), theirs._usage.merge())
    await add(ours, made, "a", 1, 1)
    await ours._usage.merge()
    assert await rows(ours) == 1
    assert await theirs.total(made) == Total(files + 1, size + 1)


async def test_rows_are_merged_by_themselves_when_there_are_many(
    ours: Namespaces, made: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.usage.MERGE_ROWS", 10)
    for number in range(9):
        await add(ours, made, f"{number}", 1, 3)
    await ours._usage.merge()
    assert await rows(ours) == 9
    await add(ours, made, "9", 1, 3)
    await ours._usage.merge()
    assert await rows(ours) == 1
    assert await ours.total(made) == Total(10, 30)


async def test_a_move_between_two_changes_both(ours: Namespaces, made: Namespace) -> None:
    default = await ours.resolve("default", ADMIN)
    assert default is not None
    await add(ours, made, "a", 3, 30)
    async with ours.moving(made, "a", default, "b") as (here, there):
        here.add(-2, -20)
        there.add(2, 15)
    assert await ours.total(made) == Total(1, 10)
    assert await ours.total(default) == Total(2, 15)


async def test_what_is_changed_costs_no_statement_more(
    ours: Namespaces, made: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    fetch = Session.fetch

    async def seen(self: Session, sql: str, *args: Any, **options: Any) -> Any:
        sent.append(sql)
        return await fetch(self, sql, *args, **options)

    monkeypatch.setattr(Session, "fetch", seen)
    async with ours.guard(made, "a"):
        pass
    unchanged = len(sent)
    assert sent[-1] == "COMMIT"
    sent.clear()
    await add(ours, made, "a", 0, 0)
    assert sent[-1] == "COMMIT"
    sent.clear()
    await add(ours, made, "a", 1, 5)
    assert len(sent) == unchanged
    assert sent[-1].startswith("INSERT INTO namespace_usage")


class Failed(Exception):
    pass


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("error", [Failed, asyncio.CancelledError])
async def test_what_was_changed_is_counted_also_if_its_request_fails(
    ours: Namespaces, made: Namespace, error: type[BaseException], changed: bool
) -> None:
    with pytest.raises(error):
        async with ours.guard(made, "a") as guarded:
            if changed:
                guarded.add(1, 5)
            raise error
    assert await ours.total(made) == (Total(1, 5) if changed else Total(0, 0))
    assert not ours._usage._missing


async def test_one_whose_row_may_be_missing_is_counted_soon(
    ours: Namespaces, theirs: Namespaces, made: Namespace
) -> None:
    async with ours.guard(made, "a") as guarded:
        guarded.add(1, 5)
        await theirs._database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE xact_start IS NOT NULL "
            "AND state = 'idle in transaction' AND datname = current_database()"
        )
    assert await ours.total(made) == Total(0, 0)
    assert not await due(ours, "n")
    await ours._usage.merge()
    assert await due(ours, "n")
    assert not ours._usage._missing


async def test_one_whose_store_did_not_respond_is_counted_soon(
    ours: Namespaces, made: Namespace
) -> None:
    for error, doubtful in ((StoreFull, False), (StoreUnavailable, True)):
        with pytest.raises(error):
            async with ours.guard(made, "a"):
                raise error
        await ours._usage.merge()
        assert await due(ours, "n") is doubtful


async def test_a_change_that_was_not_counted_makes_the_total_unknown(
    ours: Namespaces, theirs: Namespaces, made: Namespace
) -> None:
    async def remove(namespaces: Namespaces, path: str) -> None:
        async with namespaces.guard(made, path) as guarded:
            guarded.not_counted()

    await add(ours, made, "a", 3, 30)
    await asyncio.gather(remove(ours, "b"), remove(theirs, "c"))
    assert await ours.total(made) is None
    await ours._database.fetch("DELETE FROM recounts")
    await remove(ours, "b")
    assert await ours.total(made) is None


@pytest.mark.parametrize("again", [True, False])
async def test_one_that_was_deleted_leaves_nothing(
    ours: Namespaces, theirs: Namespaces, made: Namespace, again: bool
) -> None:
    await add(ours, made, "a", 3, 30)
    async with ours.deleting(made):
        # Nobody waits for the other one.
        theirs._usage._written["n"] = 1_000
        async with asyncio.timeout(2):
            await theirs._usage.merge()
    assert await rows(ours) == 0
    if again:
        second = await ours.create("n", hidden=False, owner="bob")
        assert await theirs.total(second) == Total(0, 0)


async def test_what_is_remembered_is_bounded(
    ours: Namespaces, made: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.usage.MAX_NOTED", 3)
    for number in range(10):
        ours._usage.wrote(f"{number}")
        ours._usage.missed(f"{number}")
        assert len(ours._usage._written) <= 3
        assert len(ours._usage._missing) <= 3
    await ours._usage.merge()  # of namespaces that do not exist


def test_what_is_guarded_shows_what_was_changed() -> None:
    nobody: Any = None
    guarded = Guarded(Namespace("n", False, None, nobody), nobody, nobody)
    guarded.add(1, 5)
    assert "files_added=1" in repr(guarded)
