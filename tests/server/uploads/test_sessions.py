"""The rows of upload sessions: what is recorded, by whom, and what never is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from gfs.errors import NoSuchUpload
from gfs.types import Expect, Part
from sfs_server.database.pool import Database
from sfs_server.errors import DatabaseUnavailable, Problem
from sfs_server.namespaces.rows import Namespaces
from sfs_server.uploads.sessions import (
    Overtaken,
    RecordedAndOvertaken,
    Session,
    SessionLedger,
    Sessions,
    new_id,
)
from sfs_server.uploads.uploads import Uploads


@pytest.fixture
def sessions(uploads: Uploads) -> Sessions:
    return uploads.sessions


@pytest.fixture
async def session(sessions: Sessions, wanted: Session) -> Session:
    return await sessions.start(wanted)


class Lossy:
    """Has the responses to some statements be lost, after they were executed or before."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.losses: list[bool] = []  # of the next statements: whether they are executed
        self.between: Callable[[], Any] | None = None

    async def fetch(self, sql: str, params: Any = (), *, idempotent: bool = False) -> Any:
        if self.losses:
            if self.losses.pop(0):
                await self.database.fetch(sql, params, idempotent=idempotent)
            if self.between is not None:
                between, self.between = self.between, None
                await between()
            raise DatabaseUnavailable("lost")
        return await self.database.fetch(sql, params, idempotent=idempotent)


@pytest.fixture
def lossy(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> Lossy:
    monkeypatch.setattr("sfs_server.uploads.sessions.RETRY_SECONDS", 0.001)
    lossy = Lossy(sessions._database)
    monkeypatch.setattr(sessions, "_database", lossy)
    return lossy


async def parts_of(sessions: Sessions, session: Session) -> list[Part]:
    found: list[Part] = []
    async with aclosing(SessionLedger(sessions, session).parts()) as batches:
        async for batch in batches:
            assert batch
            found += batch
    return found


async def test_a_row_is_what_was_started(sessions: Sessions, wanted: Session) -> None:
    made = await sessions.start(wanted)
    found = await sessions.find(wanted.id, "ann")
    expect = Expect(versions=frozenset({"v1"}))
    namespace = replace(wanted.namespace, hidden=True)
    assert made == found
    assert replace(found, epoch=0, expires=0) == replace(wanted, expect=expect, namespace=namespace)
    for id_, owner in ((new_id(), "ann"), (wanted.id, "bob")):
        for ask in (sessions.find, sessions.take_over):
            with pytest.raises(NoSuchUpload):
                await ask(id_, owner)


async def test_only_the_newest_may_write(
    sessions: Sessions, session: Session, namespaces: Namespaces
) -> None:
    part = Part(0, 10, "t")
    newest = await sessions.take_over(session.id, "ann")
    for write in (
        sessions.record(session, part),
        sessions.set_size(session, 100),
        sessions.set_publishing(session, True),
        sessions.reserve(session, "t"),
    ):
        with pytest.raises(Overtaken):
            await write
    with pytest.raises(Overtaken):
        async with namespaces.guard(session.namespace, "a/b") as guarded:
            await sessions.hold(guarded, session)
    await sessions.delete(session)
    assert await sessions.find(session.id, "ann") == newest
    await sessions.reserve(newest, "t")
    await sessions.reserve(newest, "t")
    assert await sessions.reserved(newest) == ["t"]
    newest = await sessions.record(newest, replace(part, released=("t",)))
    assert newest.received == 10
    assert await sessions.reserved(newest) == []
    with pytest.raises(Overtaken):
        await sessions.record(newest, Part(11, 10, "gap"))
    assert await sessions.find(session.id, "ann") == newest
    assert await parts_of(sessions, newest) == [part]


async def test_parts_come_in_their_order_and_in_batches(
    sessions: Sessions, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.uploads.sessions.PARTS_AT_ONCE", 3)
    parts = [Part(start, 7, f"t{start}") for start in range(0, 63, 7)]
    for part in parts:
        assert await parts_of(sessions, session) == parts[: parts.index(part)]
        session = await sessions.record(session, part)
    assert await parts_of(sessions, session) == parts
    await sessions.record(session, Part(63, 37, ""))
    assert await parts_of(sessions, session) == parts


@pytest.mark.parametrize("losses", [[True], [False], [True, True, False, True]])
async def test_a_part_whose_recording_got_no_response_is_recorded_once(
    sessions: Sessions, session: Session, lossy: Lossy, losses: list[bool]
) -> None:
    for part in (Part(0, 10, "a", ("r",)), Part(10, 5, "b")):
        lossy.losses = list(losses)
        session = await sessions.record(session, part)
        assert session.received == part.end
    assert [part.token for part in await parts_of(sessions, session)] == ["a", "b"]


@pytest.mark.parametrize("executed", [True, False])
async def test_a_part_of_unknown_fate_is_found_out_when_overtaken(
    sessions: Sessions, session: Session, lossy: Lossy, executed: bool
) -> None:
    async def take_over() -> None:
        await sessions.take_over(session.id, "ann")

    lossy.losses, lossy.between = [executed], take_over
    with pytest.raises(Overtaken) as caught:
        await sessions.record(session, Part(0, 10, "a"))
    assert isinstance(caught.value, RecordedAndOvertaken) == executed
    assert len(await parts_of(sessions, session)) == int(executed)


async def test_it_is_not_asked_for_ever(
    sessions: Sessions, session: Session, lossy: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.uploads.sessions.KNOWN_SECONDS", 0.05)
    lossy.losses = [False] * 10_000
    with pytest.raises(DatabaseUnavailable):
        await sessions.record(session, Part(0, 10, "a"))
    assert len(lossy.losses) > 5_000


async def test_nobody_takes_over_what_is_being_published(
    sessions: Sessions, session: Session, namespaces: Namespaces
) -> None:
    session = await sessions.set_publishing(session, True)
    assert (await sessions.find(session.id, "ann")).publishing
    async with namespaces.guard(session.namespace, session.path) as guarded:
        await sessions.hold(guarded, session)
        taking = asyncio.create_task(sessions.take_over(session.id, "ann"))
        await asyncio.sleep(0.1)
        assert not taking.done()
        sessions.set_published(guarded, session, "v2")
    taken = await taking
    assert (taken.published, taken.publishing) == ("v2", False)
    assert taken.epoch > session.epoch


async def test_a_publish_that_fails_before_anything_is_written_marks_nothing(
    sessions: Sessions, session: Session, namespaces: Namespaces
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with namespaces.guard(session.namespace, session.path) as guarded:
            await sessions.hold(guarded, session)
            raise ZeroDivisionError
    assert (await sessions.find(session.id, "ann")).published is None


@pytest.mark.parametrize("failing", [asyncio.CancelledError, ZeroDivisionError])
async def test_what_was_published_is_marked_whatever_follows(
    sessions: Sessions, session: Session, namespaces: Namespaces, failing: type[BaseException]
) -> None:
    with pytest.raises(failing):
        async with namespaces.guard(session.namespace, session.path) as guarded:
            await sessions.hold(guarded, session)
            sessions.set_published(guarded, session, "v2")
            raise failing
    assert (await sessions.find(session.id, "ann")).published == "v2"


async def test_nothing_is_left_of_what_was_cleared(sessions: Sessions, session: Session) -> None:
    await sessions.reserve(session, "r")
    session = await sessions.record(session, Part(0, 10, "a"))
    await sessions.set_cleared(session)
    assert not (await sessions.find(session.id, "ann")).cleared  # it is not published
    await sessions.record(session, Part(10, 10, "a"))
    await sessions._database.fetch("UPDATE uploads SET published = 'v'")
    await sessions.set_cleared(session)
    assert (await sessions.find(session.id, "ann")).cleared
    assert await parts_of(sessions, session) == []
    assert await sessions.reserved(session) == []


async def test_a_row_takes_its_parts_and_reservations_along(
    sessions: Sessions, session: Session
) -> None:
    await sessions.reserve(session, "r")
    session = await sessions.record(session, Part(0, 10, "a"))
    assert await sessions.unfinished() == (1, 10)
    await sessions.delete(session)
    assert await sessions.unfinished() == (0, 0)
    for table in ("upload_parts", "upload_reservations"):
        assert await sessions._database.fetch(f"SELECT upload FROM {table}") == []


async def test_the_limit_counts_what_is_not_finished_and_not_expired(
    sessions: Sessions, wanted: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.uploads.sessions.MAX_OPEN", 2)

    async def start() -> None:
        await sessions.start(replace(wanted, id=new_id()))

    for state in ("published = 'v'", "expires_at = now() - interval '1 second'"):
        await start()
        await start()
        with pytest.raises(Problem) as caught:
            await start()
        assert caught.value.status == 429
        await sessions._database.fetch(f"UPDATE uploads SET {state}")
    await start()
