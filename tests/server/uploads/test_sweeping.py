"""What has expired is freed, by one process after the other, and nothing else is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gfs.api import FileSystem, Ledger
from gfs.errors import NoSuchUpload, StoreUnavailable
from gfs.types import Part
from sfs_server.namespaces.rows import Namespaces
from sfs_server.uploads.sessions import Overtaken, Session, SessionLedger, new_id
from sfs_server.uploads.sweeping import Sweeper
from sfs_server.uploads.uploads import Uploads
from tests.support.waiting import eventually


@pytest.fixture
async def sweeper(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    monkeypatch.setattr("sfs_server.uploads.sweeping.PAUSE_SECONDS", 0.0)
    return Sweeper(uploads)


async def fed(uploads: Uploads, fs: FileSystem, wanted: Session) -> Session:
    """An upload that has ten bytes."""
    session = await uploads.sessions.start(replace(wanted, id=new_id()))
    writer = await fs.append("default", SessionLedger(uploads.sessions, session), 0)
    async with writer:
        await writer.write(b"0123456789")
        part = await writer.part(rest=True)
        assert part is not None
        return await uploads.sessions.record(session, part)


async def expire(uploads: Uploads, *sessions: Session) -> None:
    ids = [session.id for session in sessions]
    sql = "UPDATE uploads SET expires_at = now() - interval '1 second' WHERE id = ANY (%s)"
    await uploads.sessions._database.fetch(sql, (ids,))


async def rows(uploads: Uploads) -> set[str]:
    return {row[0] for row in await uploads.sessions._database.fetch("SELECT id FROM uploads")}


def stored(tmp_path: Path) -> set[str]:
    return set(os.listdir(tmp_path / "files" / "~uploads"))


async def test_what_has_expired_goes_and_the_rest_stays(
    uploads: Uploads, fs: FileSystem, sweeper: Sweeper, wanted: Session, tmp_path: Path
) -> None:
    sessions = [await fed(uploads, fs, wanted) for _ in range(25)]
    await expire(uploads, *sessions[:23])
    await sweeper.sweep()
    kept = {session.id for session in sessions[23:]}
    assert await rows(uploads) == stored(tmp_path) == kept
    assert uploads.events["expired"] == 23
    for session in sessions:
        if session.id in kept:
            assert (await uploads.take_over(session.id, "ann")).received == 10
        else:
            with pytest.raises(NoSuchUpload):
                await uploads.take_over(session.id, "ann")
    await uploads.count_unfinished()
    assert (uploads.unfinished, uploads.unfinished_bytes) == (2, 20)


async def test_what_was_in_a_deleted_namespace_goes(
    uploads: Uploads,
    fs: FileSystem,
    sweeper: Sweeper,
    wanted: Session,
    namespaces: Namespaces,
    tmp_path: Path,
) -> None:
    made = await namespaces.create("ns", hidden=False, owner="ann")
    kept = await fed(uploads, fs, wanted)
    gone = await fed(uploads, fs, replace(wanted, namespace=made))
    await sweeper.sweep()
    assert await rows(uploads) == {kept.id, gone.id}
    async with namespaces.deleting(made):
        pass
    await namespaces.create("ns", hidden=False, owner="ann")  # another one
    await sweeper.sweep()
    assert await rows(uploads) == stored(tmp_path) == {kept.id}


async def test_what_the_store_cannot_free_is_tried_again_later(
    uploads: Uploads,
    fs: FileSystem,
    sweeper: Sweeper,
    wanted: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = await fed(uploads, fs, wanted)
    await expire(uploads, session)
    tried = 0

    async def fail(
        ledger: Ledger, parts: Sequence[Part] | None = None, *, published: bool = False
    ) -> None:
        nonlocal tried
        tried += 1
        raise StoreUnavailable("not now")

    with monkeypatch.context() as failing:
        failing.setattr(fs, "discard", fail)
        await sweeper.sweep()
        await sweeper.sweep()
    await Sweeper(uploads).sweep()  # another process
    assert tried == 1
    assert await rows(uploads) == stored(tmp_path) == {session.id}
    monkeypatch.setattr("sfs_server.uploads.sweeping.AGAIN_SECONDS", 0.0)
    await sweeper.sweep()
    assert await rows(uploads) == stored(tmp_path) == set()


@pytest.mark.parametrize("state", ["published = 'v'", "publishing = true"])
async def test_what_was_perhaps_published_is_not_freed_as_if_it_were_not(
    uploads: Uploads,
    fs: FileSystem,
    sweeper: Sweeper,
    wanted: Session,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = await fed(uploads, fs, wanted)
    await uploads.sessions._database.fetch(f"UPDATE uploads SET {state}")
    await expire(uploads, session)
    said: list[Any] = []

    async def discard(ledger: Ledger, **more: object) -> None:
        said.append((ledger.upload, more))

    monkeypatch.setattr(fs, "discard", discard)
    await sweeper.sweep()
    assert said == [(session.id, {"published": True})]
    assert await rows(uploads) == set()
    assert uploads.events["expired"] == int("publishing" in state)


async def test_rows_of_what_was_published_are_forgotten_many_at_a_time(
    uploads: Uploads, sweeper: Sweeper, wanted: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.uploads.sweeping.ROWS_AT_ONCE", 3)
    sessions = [await uploads.sessions.start(replace(wanted, id=new_id())) for _ in range(8)]
    sql = "UPDATE uploads SET published = 'v', cleared = true"
    await uploads.sessions._database.fetch(sql)
    await expire(uploads, *sessions[:7])
    await sweeper.sweep()
    assert await rows(uploads) == {sessions[7].id}
    assert uploads.events["expired"] == 0


async def test_whoever_was_overtaken_frees_nothing(
    uploads: Uploads, fs: FileSystem, wanted: Session, tmp_path: Path
) -> None:
    session = await fed(uploads, fs, wanted)
    newest = await uploads.take_over(session.id, "ann")
    with pytest.raises(Overtaken):
        await uploads.discard(session)
    assert await rows(uploads) == stored(tmp_path) == {session.id}
    await uploads.discard(newest)
    assert await rows(uploads) == stored(tmp_path) == set()


async def test_what_was_given_up_and_could_not_be_freed_is_freed_later(
    uploads: Uploads,
    fs: FileSystem,
    sweeper: Sweeper,
    wanted: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = await fed(uploads, fs, wanted)

    async def fail(ledger: Ledger, **more: object) -> None:
        raise StoreUnavailable("not now")

    with monkeypatch.context() as failing:
        failing.setattr(fs, "discard", fail)
        with pytest.raises(StoreUnavailable):
            await uploads.discard(session)
    with pytest.raises(NoSuchUpload):
        await uploads.take_over(session.id, "ann")
    monkeypatch.setattr("sfs_server.uploads.sweeping.AGAIN_SECONDS", 0.0)
    await sweeper.sweep()
    assert await rows(uploads) == stored(tmp_path) == set()


async def test_two_processes_share_the_work(
    uploads: Uploads, fs: FileSystem, wanted: Session
) -> None:
    sessions = [await fed(uploads, fs, wanted) for _ in range(30)]
    await expire(uploads, *sessions)
    others = Uploads(uploads.sessions._database, fs, 10)
    await asyncio.gather(Sweeper(uploads).sweep(), Sweeper(others).sweep())
    assert uploads.events["expired"] + others.events["expired"] == len(sessions)
    assert await rows(uploads) == set()


async def test_it_looks_by_itself_and_stops(
    uploads: Uploads,
    fs: FileSystem,
    sweeper: Sweeper,
    wanted: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sfs_server.uploads.sweeping.FIRST_SECONDS", 0.01)
    monkeypatch.setattr("sfs_server.uploads.sweeping.LOOK_SECONDS", 0.01)
    sweeper.start()
    for _ in range(2):
        await expire(uploads, await fed(uploads, fs, wanted))
        await eventually(lambda: rows(uploads), equals=set())
    sweeper.stop()
    await sweeper.close()
    await sweeper.close()
