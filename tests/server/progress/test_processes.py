"""Progress across processes on one PostgreSQL, which are killed, cut off, and come back."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from sfs_server.config import Config
from sfs_server.errors import DatabaseUnavailable
from sfs_server.progress.hub import LOST
from sfs_server.progress.relay import Relay
from sfs_server.progress.transfers import Transfer
from sfs_server.web.keys import DATABASE, PROGRESS
from tests.support.client import MIB, Connection, connect
from tests.support.credentials import bearer
from tests.support.events import Stream, seen, watching
from tests.support.launcher import launched
from tests.support.postgres import LOSE_ALL, Postgres
from tests.support.service import Service, pass_for_one_store
from tests.support.uploads import begin, head, upload
from tests.support.waiting import eventually

TARGET = "/storage/default/file?id=t"
CONTENT = bytes(2 * MIB)
BEARER = bearer()


def relay(service: Service) -> Relay:
    found = service.app[PROGRESS].others
    assert isinstance(found, Relay)
    return found


async def until(stream: Stream, moved: int) -> None:
    """Read events until the last one has ``moved`` bytes."""
    while not stream.events or stream.events[-1]["bytes"] < moved:
        await stream.event()


async def finish(client: Connection, rest: bytes) -> None:
    client.send_raw(rest)
    assert (await client.answer()).status in (200, 201)


async def test_a_watcher_in_another_process_sees_all_of_it(
    service: Service, other: Service
) -> None:
    async with (
        watching(other.port, "t", BEARER) as early,
        watching(other.port, "t") as foreign,
        connect(service.port) as client,
    ):
        rest = await begin(service, client, "PUT", TARGET, CONTENT)
        await until(early, MIB)
        async with watching(other.port, "t", BEARER) as late:
            first = await late.event()
            assert (first["bytes"], first["total"]) == (MIB, 2 * MIB)
            await foreign.silent()
            await finish(client, rest)
            assert await early.last() == await late.last()
        assert early.events[-1]["bytes"] == 2 * MIB
        assert "error" not in early.events[-1]
    assert await seen(other.port, "t", BEARER) == early.events[-1]
    assert await seen(service.port, "t", BEARER) == early.events[-1]


async def test_a_refusal_and_a_cut_are_shown_in_another_process(
    service: Service, other: Service
) -> None:
    await service.put("/storage/default/file", b"old")
    async with watching(other.port, "t", BEARER) as stream:
        answer = await upload(service, "POST", TARGET, b"new")
        assert (await stream.last())["error"] == answer.problem()
    async with connect(service.port) as client:
        await begin(service, client, "PUT", "/storage/default/file?id=u", CONTENT)
        async with watching(other.port, "u", BEARER) as stream:
            await stream.event()
            client.reset()
            assert "connection was lost" in (await stream.last())["error"]


async def test_an_id_that_ended_here_and_runs_there_is_the_one_that_runs(
    service: Service, other: Service
) -> None:
    await upload(service, "POST", TARGET, b"first")
    async with connect(other.port) as client:
        rest = await begin(other, client, "PUT", TARGET, CONTENT)
        async with watching(service.port, "t", BEARER) as stream:
            assert not (await stream.event())["done"]
            await finish(client, rest)
            assert (await stream.last())["bytes"] == 2 * MIB


async def test_an_upload_that_goes_on_in_another_process_is_one_transfer(
    service: Service, other: Service
) -> None:
    async with (
        watching(service.port, "t", BEARER) as near,
        watching(other.port, "t", BEARER) as far,
    ):
        await eventually(lambda: relay(service).requested("t"))
        for place, (moved, end) in enumerate(((0, 40), (30, 60), (60, 100))):
            hub = (service, other)[place % 2].app[PROGRESS]
            transfer = Transfer("upload", "t", "alice", moved=moved, resumable=True)
            hub.start(transfer, 100)
            transfer.moved = end
            if end < 100:
                hub.pause(transfer)
            else:
                hub.end(transfer)
            await asyncio.gather(until(near, end), until(far, end))
    for stream in (near, far):
        shown = [event["bytes"] for event in stream.events]
        assert shown == sorted(shown)
        assert [event["done"] for event in stream.events] == [False] * (len(shown) - 1) + [True]


async def test_a_transfer_that_nobody_watches_costs_the_database_nothing(
    service: Service, other: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    fetch = service.app[DATABASE].fetch

    async def counted(sql: str, params: object = (), **more: bool) -> object:
        if "pg_notify" in sql:
            sent.append(params)
        return await fetch(sql, params, **more)  # type: ignore[arg-type]

    await eventually(lambda: not relay(service).waiting())
    await asyncio.sleep(0.2)  # what was being sent has been
    monkeypatch.setattr(service.app[DATABASE], "fetch", counted)
    async with connect(service.port) as client:
        rest = await begin(service, client, "PUT", TARGET, CONTENT)
        async with watching(service.port, "t", BEARER) as stream:  # in its own process: nothing
            await stream.event()
            await asyncio.sleep(0.3)
            await finish(client, rest)
            await stream.last()
    assert sent == []
    await seen(other.port, "t", BEARER)
    assert sent


async def test_a_lost_listener_catches_up(
    service: Service, other: Service, postgres: Postgres
) -> None:
    async with connect(service.port) as client, watching(other.port, "t", BEARER) as stream:
        rest = await begin(service, client, "PUT", TARGET, CONTENT)
        await until(stream, MIB)
        # Both listeners die, and no notification of what moves then arrives.
        for service_ in (service, other):
            assert relay(service_)._exchange.trusted
        await asyncio.to_thread(postgres.execute, LOSE_ALL)
        client.send_raw(rest[:1000])
        await until(stream, MIB + 1000)
        await asyncio.to_thread(postgres.execute, LOSE_ALL)
        await finish(client, rest[1000:])
        assert (await stream.last())["bytes"] == 2 * MIB
    # A request that did not arrive is made again, after a HELLO.
    await asyncio.to_thread(postgres.execute, LOSE_ALL)
    async with watching(other.port, "u", BEARER) as stream:
        await upload(service, "PUT", "/storage/default/file?id=u", b"abc")
        assert (await stream.last())["bytes"] == 3


async def test_the_others_repeat_their_requests_for_a_process_that_comes_back(
    service: Service, other: Service
) -> None:
    async with watching(other.port, "t", BEARER):
        await eventually(lambda: relay(service).requested("t"))
        relay(service)._requested.clear()  # as if none had arrived
        relay(service).returned()
        await eventually(lambda: relay(service).requested("t"))


async def test_what_could_not_be_sent_is_sent_later(
    service: Service, other: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.exchange.exchange.RETRY_SECONDS", 0.1)
    failures = 0
    fetch = service.app[DATABASE].fetch

    async def failing(sql: str, params: object = (), **more: bool) -> object:
        nonlocal failures
        if "pg_notify" in sql and failures < 2:
            failures += 1
            raise DatabaseUnavailable("for a test")
        return await fetch(sql, params, **more)  # type: ignore[arg-type]

    await upload(service, "PUT", TARGET, b"abc")
    monkeypatch.setattr(service.app[DATABASE], "fetch", failing)
    assert (await seen(other.port, "t", BEARER))["bytes"] == 3
    assert failures == 2


async def test_an_unavailable_database_ends_nothing_and_local_watchers_go_on(
    service: Service, other: Service, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.relay.SILENCE_SECONDS", 1.0)
    monkeypatch.setattr("sfs_server.exchange.exchange.CHECK_SECONDS", 0.1)
    monkeypatch.setattr("sfs_server.database.listener.PING_SECONDS", 0.1)
    monkeypatch.setattr("sfs_server.progress.relay.REPEAT_SECONDS", 0.2)
    async with (
        connect(service.port) as client,
        watching(service.port, "t", BEARER) as local,
        watching(other.port, "t", BEARER) as remote,
    ):
        rest = await begin(service, client, "PUT", TARGET, CONTENT)
        await until(remote, MIB)
        await asyncio.to_thread(postgres.stop)
        try:
            await until(local, MIB)
            client.send_raw(rest[:5000])
            await until(local, MIB + 5000)
            async with watching(service.port, "t", BEARER) as late:
                assert (await late.event())["bytes"] == MIB + 5000
            await remote.silent(1.5)
        finally:
            await asyncio.to_thread(postgres.start)
        await until(remote, MIB + 5000)
        await finish(client, rest[5000:])
        assert (await local.last())["bytes"] == (await remote.last())["bytes"] == 2 * MIB


async def test_a_process_that_stops_sends_the_ends_to_the_others(
    service: Service, other: Service
) -> None:
    for number in range(3):
        await upload(service, "PUT", f"/storage/default/file?id=t{number}", b"abc")
    await service.server.close()
    await eventually(lambda: len(other.app[PROGRESS].ended) == 3)
    for number in range(3):
        event = await seen(other.port, f"t{number}", BEARER)
        assert (event["bytes"], event["total"], event["done"]) == (3, 3, True)


async def test_requests_are_dropped_when_nobody_renews_them(
    service: Service, other: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.relay.REQUEST_SECONDS", 0.4)
    monkeypatch.setattr("sfs_server.exchange.exchange.CHECK_SECONDS", 0.05)
    monkeypatch.setattr("sfs_server.progress.relay.RENEW_SECONDS", 0.1)
    await asyncio.sleep(0.1)
    relay(other)._renew_at = 0.0
    async with watching(other.port, "t", BEARER):
        await eventually(lambda: relay(service).requested("t"))
        await asyncio.sleep(0.8)
        assert relay(service).requested("t")
    await eventually(lambda: not relay(service).requested("t"))


async def test_malformed_payloads_are_ignored_and_requests_are_bounded(
    service: Service, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.relay.MAX_REQUESTED", 3)
    hub = service.app[PROGRESS]
    for payload in ("", "nonsense", '"a"\n{"id": 5}', '"a"\n[]', '"a"\n"../x"'):
        statement = f"SELECT pg_notify('sfs_progress', $${payload}$$)"
        await asyncio.to_thread(postgres.execute, statement, "test")
    requests = "\n".join(f'"t{number}"' for number in range(5))
    statement = f"SELECT pg_notify('sfs_progress', $$\"a\"\n{requests}$$)"
    await asyncio.to_thread(postgres.execute, statement, "test")
    await eventually(lambda: relay(service).requested("t4"))
    assert list(relay(service)._requested) == ["t2", "t3", "t4"]
    for number in range(5):  # before the loop, and the relay in it, goes on
        relay(service).request(f"u{number}")
    assert len(relay(service)._requests) == 3
    assert (hub._runs, hub.remote) == ({}, {})


async def test_two_processes_and_one_that_is_killed(
    service: Service, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config.database is not None
    data = tmp_path / "process"
    pass_for_one_store(service.data, data)
    async with (
        launched(data, "-database", config.database) as process,
        watching(service.port, "t", BEARER) as here,
        watching(process.port, "u", BEARER) as there,
        connect(process.port) as client,
    ):
        for port, id_ in ((process.port, "t"), (service.port, "u")):
            async with connect(port) as uploader:
                target = f"/storage/default/file?id={id_}"
                uploader.send("PUT", target, BEARER, CONTENT)
                assert (await uploader.answer()).status == 201
        assert (await here.last())["bytes"] == (await there.last())["bytes"] == 2 * MIB
        length = {**BEARER, "Content-Length": str(2 * MIB)}
        client.send_raw(head("PUT", "/storage/default/file?id=v", length) + bytes(MIB))
        async with watching(service.port, "v", BEARER) as cut:
            await until(cut, MIB)
            process.kill()
            monkeypatch.setattr("sfs_server.progress.relay.SILENCE_SECONDS", 1.0)
            event = await cut.last()
            assert (event["bytes"], event["error"]) == (MIB, LOST)


async def test_watchers_do_not_delay_a_process_that_stops(
    service: Service, config: Config, tmp_path: Path
) -> None:
    assert config.database is not None
    data = tmp_path / "process"
    pass_for_one_store(service.data, data)
    async with launched(data, "-database", config.database) as process:
        async with (
            watching(process.port, "idle", BEARER) as idle,
            watching(process.port, "t", BEARER) as stream,
            watching(process.port, "idle", receive_buffer=2048),
            connect(process.port) as client,
        ):
            length = {**BEARER, "Content-Length": str(2 * MIB)}
            client.send_raw(head("PUT", "/storage/default/file?id=t", length) + bytes(MIB))
            await until(stream, MIB)
            process.signal(signal.SIGTERM)
            for one in (idle, stream):
                await one.end(5)
                assert one.source.retry == 1000
            # The upload goes on, and can be watched in the other process.
            async with watching(service.port, "t", BEARER) as again:
                assert (await again.event())["bytes"] == MIB
                client.send_raw(bytes(MIB))
                assert (await client.answer()).status == 201
                assert (await again.last())["bytes"] == 2 * MIB
            assert await process.ended(10) == 0
        event = await seen(service.port, "t", BEARER)
        assert event["done"]
