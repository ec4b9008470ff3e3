"""The locks of changes, in a real database and two processes: who waits for whom, and with what."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack

import pytest

from gfs import clock
from gfs.errors import NoSuchDirectory
from gfs.seaweedfs.publishing import DECISION_SECONDS, LATE_SECONDS
from sfs_server.auth.access import Namespace
from sfs_server.database.session import BEGIN, IDLE_TRANSACTION_SECONDS
from sfs_server.errors import Busy, DatabaseUnavailable
from sfs_server.namespaces.locks import FOLDERS_AT_ONCE, HELD_SECONDS
from sfs_server.namespaces.rows import Namespaces
from sfs_server.namespaces.table import lock_key
from tests.support.postgres import Postgres
from tests.support.waiting import eventually


@pytest.fixture
async def made(ours: Namespaces) -> Namespace:
    return await ours.create("n", hidden=False, owner="ann")


async def publish(namespaces: Namespaces, made: Namespace, path: str) -> str:
    async with namespaces.guard(made, path):
        return path


def busy(namespaces: Namespaces) -> int:
    """How many sessions are in use."""
    return namespaces._database.usage.busy


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(
    ("held", "wanted", "waits"),
    [
        ("a", "a", True),
        ("a", "a/b", True),
        ("a", "a/b/c/d", True),
        ("a/b", "a", True),
        ("a/b/c/d", "a", True),
        ("a/b", "a/b/c", True),
        ("a/b", "a/c", False),
        ("a/b", "a/bc", False),
        ("a/b", "ab", False),
        ("a", "ab", False),
        ("a/b/c", "a/c/b", False),
        ("a/b", "b/a", False),
    ],
)
async def test_a_path_is_held_alone_and_the_folders_above_are_shared(
    ours: Namespaces,
    theirs: Namespaces,
    made: Namespace,
    held: str,
    wanted: str,
    waits: bool,
    elsewhere: bool,
) -> None:
    others = theirs if elsewhere else ours
    async with ours.guard(made, held):
        task = asyncio.create_task(publish(others, made, wanted))
        if waits:
            await asyncio.sleep(0.15)
            assert not task.done()
        else:
            await asyncio.wait_for(task, 3)
    assert await asyncio.wait_for(task, 3) == wanted


async def test_a_move_holds_both_its_ends(ours: Namespaces, theirs: Namespaces) -> None:
    one = await ours.create("one", hidden=False, owner="ann")
    other = await ours.create("other", hidden=True, owner="bob")
    async with ours.moving(one, "a/b", other, "c/d", folder=True) as (here, there):
        assert (here.namespace, there.namespace) == (one, other)
        waiting = [
            asyncio.create_task(publish(theirs, *place))
            for place in ((one, "a/b"), (one, "a/b/x"), (other, "c/d/x/y"), (other, "c/d"))
        ]
        for free in ((one, "a/c"), (one, "c/d"), (other, "a/b"), (other, "c/e")):
            await asyncio.wait_for(publish(theirs, *free), 3)
        assert not any(task.done() for task in waiting)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
    async with ours.moving(one, "a", one, "b") as (here, there):
        assert here is there


@pytest.mark.parametrize("gone", [0, 1])
async def test_both_namespaces_of_a_move_must_be_there(
    ours: Namespaces, theirs: Namespaces, gone: int
) -> None:
    ends = [await ours.create(name, hidden=False, owner="ann") for name in ("one", "other")]
    async with theirs.deleting(ends[gone]):
        pass
    again = await theirs.create(ends[gone].name, hidden=False, owner="ann")
    with pytest.raises(NoSuchDirectory):
        async with ours.moving(ends[0], "a", ends[1], "b"):
            pytest.fail("it is another one")
    ends[gone] = again
    async with ours.moving(ends[0], "a", ends[1], "b"):
        pass


async def test_those_who_publish_in_a_folder_that_is_moved_wait_without_a_session(
    ours: Namespaces, theirs: Namespaces, made: Namespace
) -> None:
    async with theirs.moving(made, "a", made, "b", folder=True):
        names = [f"{'ab'[number % 2]}/{number}" for number in range(50)]
        tasks = [asyncio.create_task(publish(ours, made, name)) for name in names]
        await eventually(lambda: len(ours._turns._locks) == 52)
        for _ in range(20):
            await eventually(lambda: busy(ours) <= 2)  # each tries once, and one of a folder again
            async with ours.guard(made, "c/d"):
                pass
        assert not any(task.done() for task in tasks)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*tasks) == names
    assert busy(ours) == len(ours._turns._locks) == 0


async def test_steady_publishing_does_not_starve_a_move(
    ours: Namespaces, theirs: Namespaces, made: Namespace
) -> None:
    published = 0

    async def publish_on(number: int) -> None:
        nonlocal published
        while True:
            async with ours.guard(made, f"a/{number}"):
                await asyncio.sleep(random.uniform(0.02, 0.08))
                published += 1

    tasks = [asyncio.create_task(publish_on(number)) for number in range(6)]
    await asyncio.sleep(0.1)
    async with asyncio.timeout(10), theirs.moving(made, "a", made, "b", folder=True):
        at_move = published
        await asyncio.sleep(0.2)
        assert published == at_move
    await eventually(lambda: published > at_move)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_moves_in_all_directions_never_wait_in_a_circle(
    ours: Namespaces, theirs: Namespaces, made: Namespace
) -> None:
    other = await ours.create("other", hidden=False, owner="ann")
    a, b, inner, there = (made, "a"), (made, "b"), (made, "b/c"), (other, "a")

    async def move(namespaces: Namespaces, *ends: tuple[Namespace, str]) -> None:
        [one, to] = ends
        async with namespaces.moving(*one, *to):
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        for _ in range(20):
            await asyncio.gather(
                *(move(ours, *ends) for ends in ((a, b), (there, a), (inner, a))),
                *(move(theirs, *ends) for ends in ((b, a), (a, there), (a, inner))),
            )
    assert ours._database.usage.failures == theirs._database.usage.failures == 0


@pytest.mark.parametrize("held", ["a", "b"])
async def test_opposite_moves_that_wait_for_a_lock_do_not_wait_for_each_other(
    ours: Namespaces, theirs: Namespaces, made: Namespace, held: str
) -> None:
    async def move(namespaces: Namespaces, path: str, to_path: str) -> None:
        async with namespaces.moving(made, path, made, to_path):
            pass

    key = lock_key("file", "n", held)
    for first, second in ((ours, theirs), (theirs, ours)):
        async with (
            asyncio.timeout(20),
            asyncio.TaskGroup() as group,
            ours._database.transaction() as session,
        ):
            await session.fetch("SELECT pg_advisory_xact_lock(%s)", (key,))
            group.create_task(move(first, "a", "b"))
            await asyncio.sleep(0.2)
            group.create_task(move(second, "b", "a"))
            await asyncio.sleep(0.2)
    assert ours._database.usage.failures == theirs._database.usage.failures == 0


@pytest.mark.parametrize(("held", "wanted"), [("a", "a"), ("a", "a/b"), ("a/b", "a")])
async def test_locks_are_waited_for_and_no_longer(
    ours: Namespaces,
    theirs: Namespaces,
    made: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    held: str,
    wanted: str,
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.locks.WAIT_SECONDS", 0.3)
    async with theirs.guard(made, held):
        with pytest.raises(Busy):
            await publish(ours, made, wanted)
    assert await publish(ours, made, wanted) == wanted
    assert busy(ours) == len(ours._turns._locks) == 0


async def test_one_who_has_waited_long_for_a_lock_tries_again(
    ours: Namespaces, theirs: Namespaces, made: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends a statement that waits for LOCK_SECONDS."""
    begin = BEGIN.replace("lock_timeout = 4000", "lock_timeout = 50")
    assert begin != BEGIN
    monkeypatch.setattr("sfs_server.database.pool.BEGIN", begin)
    async with theirs.guard(made, "a/b"):
        task = asyncio.create_task(publish(ours, made, "a"))
        await eventually(lambda: ours._database.usage.failures >= 2)
    assert await asyncio.wait_for(task, 3) == "a"


async def test_the_session_of_a_long_move_is_kept(
    ours: Namespaces, theirs: Namespaces, made: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = BEGIN.replace("session_timeout = 120000", "session_timeout = 400")
    assert begin != BEGIN
    monkeypatch.setattr("sfs_server.database.pool.BEGIN", begin)
    monkeypatch.setattr("sfs_server.namespaces.locks.PING_SECONDS", 0.1)
    async with ours.moving(made, "a", made, "b", folder=True):
        task = asyncio.create_task(publish(theirs, made, "a/c"))
        await asyncio.sleep(1)
        assert not task.done()
    await asyncio.wait_for(task, 3)


async def test_a_move_whose_session_broke_is_still_made(
    ours: Namespaces,
    made: Namespace,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.locks.PING_SECONDS", 0.05)
    over = False
    async with ours.moving(made, "a", made, "b", folder=True) as (here, _):
        here.moved()
        await asyncio.to_thread(postgres.restart)
        await asyncio.sleep(0.3)
        over = True
    assert over
    assert "after a change was made" in caplog.text
    with pytest.raises(OSError, match="disk"):
        async with ours.moving(made, "a", made, "b", folder=True):
            raise OSError("disk")


async def test_one_who_was_frozen_does_not_take_the_locks_for_held(
    ours: Namespaces, made: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ours.guard(made, "a") as guarded:
        guarded.require_held()
        now = time.monotonic()
        with monkeypatch.context() as patch, pytest.raises(DatabaseUnavailable, match="lost"):
            patch.setattr(clock, "monotonic", lambda: now + HELD_SECONDS)
            guarded.require_held()
    assert HELD_SECONDS + DECISION_SECONDS + LATE_SECONDS < IDLE_TRANSACTION_SECONDS


async def test_few_folders_are_moved_at_once(ours: Namespaces, made: Namespace) -> None:
    async with AsyncExitStack() as stack:
        for number in range(FOLDERS_AT_ONCE):
            moving = ours.moving(made, f"a{number}", made, f"b{number}", folder=True)
            await stack.enter_async_context(moving)

        async def one_more() -> None:
            async with ours.moving(made, "c", made, "d", folder=True):
                pass

        task = asyncio.create_task(one_more())
        async with ours.moving(made, "e", made, "f"):  # of a file
            await asyncio.sleep(0.1)
        assert not task.done()
        assert busy(ours) == FOLDERS_AT_ONCE
    await asyncio.wait_for(task, 3)


async def test_both_ends_are_locked_against_the_version_before_this_one_too(
    ours: Namespaces, made: Namespace
) -> None:
    async def move() -> None:
        async with ours.moving(made, "x/y", made, "a"):
            pass

    async with ours._database.transaction() as before:
        await before.fetch("SELECT pg_advisory_xact_lock(7562868, hashtext('n/a'))")
        task = asyncio.create_task(move())
        await asyncio.sleep(0.2)
        assert not task.done()
    await task


async def test_a_cancelled_wait_leaves_nothing_locked(
    ours: Namespaces, theirs: Namespaces, made: Namespace
) -> None:
    async with theirs.guard(made, "a"):
        tasks = [asyncio.create_task(publish(ours, made, f"a/{number}")) for number in range(9)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    await eventually(lambda: busy(ours) == 0)
    for path in ("a", "a/0", "a/8"):
        for namespaces in (ours, theirs):
            await asyncio.wait_for(publish(namespaces, made, path), 3)
