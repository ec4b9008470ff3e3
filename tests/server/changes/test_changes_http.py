"""The event stream of changes, over HTTP, in one process and in two."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest

from sfs_server.web.keys import CHANGES, LIFECYCLE
from tests.support.client import Answer, call, connect
from tests.support.credentials import bearer
from tests.support.events import ChangeStream, watching_changes
from tests.support.postgres import LOSE_ALL, Postgres
from tests.support.service import Service
from tests.support.waiting import eventually

BEARER = bearer()
MANY = {"change": "many"}


async def do(service: Service, method: str, path: str, to: str = "", body: object = b"") -> Answer:
    """Change something."""
    headers = {**BEARER, "Destination": f"/storage/{quote(to)}"} if to else BEARER
    answer = await call(service.port, method, f"/storage/{quote(path)}", headers, body)
    assert 200 <= answer.status < 300, answer
    return answer


def shown(kind: str, name: str, change: str) -> dict[str, str]:
    return {"type": kind, "name": name, "change": change}


async def quiet(stream: ChangeStream) -> None:
    """Wait until the stream may send four events at once again."""
    await stream.silent(1.3)


async def nobody_watches(service: Service) -> None:
    await eventually(lambda: len(service.app[CHANGES].streams) == 0)


@pytest.mark.parametrize("where", ["here", "there"])
async def test_every_change_is_seen_in_every_process(
    service: Service, other: Service, where: str
) -> None:
    watched = service if where == "here" else other
    async with watching_changes(watched.port, "namespace=default", BEARER) as first:
        await do(service, "PUT", "default/a/old.txt", body=b"1")
        assert await first.event() == shown("file", "a/old.txt", "put")
    async with (
        watching_changes(watched.port, "namespace=default", BEARER) as all_of_it,
        watching_changes(watched.port, "namespace=default&folder=", BEARER) as top,
        watching_changes(watched.port, "namespace=default&folder=a", BEARER) as folder,
        watching_changes(watched.port, "namespace=default&folder=z/z", BEARER) as elsewhere,
    ):
        steps: list[tuple[tuple[str, ...], list[dict[str, str]], list[Any], list[Any]]] = [
            (
                ("PUT", "default/a/b/Ü 1.txt"),
                [shown("file", "a/b/Ü 1.txt", "put")],
                [shown("folder", "a", "put")],
                [shown("folder", "b", "put")],
            ),
            (
                ("MOVE", "default/a/old.txt", "default/new.txt"),
                [shown("file", "a/old.txt", "deleted"), shown("file", "new.txt", "put")],
                [shown("folder", "a", "put"), shown("file", "new.txt", "put")],
                [shown("file", "old.txt", "deleted")],
            ),
            (
                ("MKCOL", "default/a/c/"),
                [shown("folder", "a/c", "put")],
                [shown("folder", "a", "put")],
                [shown("folder", "c", "put")],
            ),
            (
                ("MOVE", "default/a/", "default/d/"),
                [shown("folder", "a", "deleted"), shown("folder", "d", "put")],
                [shown("folder", "a", "deleted"), shown("folder", "d", "put")],
                [MANY],
            ),
            (
                ("DELETE", "default/new.txt"),
                [shown("file", "new.txt", "deleted")],
                [shown("file", "new.txt", "deleted")],
                [],
            ),
            (
                ("DELETE", "default/d/"),
                [shown("folder", "d", "deleted")],
                [shown("folder", "d", "deleted")],
                [],
            ),
        ]
        for request, *expected in steps:
            await do(service, *request)
            for stream, events in zip((all_of_it, top, folder), expected, strict=True):
                assert [await stream.event() for _ in events] == events
            await quiet(elsewhere)
        assert elsewhere.events == []
        assert folder.source.id == elsewhere.source.id == "1"


async def test_what_fails_changes_nothing(service: Service) -> None:
    await do(service, "PUT", "default/f", body=b"1")
    async with watching_changes(service.port, "namespace=default", BEARER) as stream:
        for method, target, status in (
            ("POST", "/storage/default/f", 409),
            ("DELETE", "/storage/default/none", 404),
            ("MKCOL", "/storage/default/f/", 405),
            ("PUT", "/storage/none/f", 404),
        ):
            assert (await call(service.port, method, target, BEARER)).status == status
        anonymous = await call(service.port, "PUT", "/storage/default/f", None, b"1")
        assert anonymous.status == 401
        await stream.silent()


async def test_a_change_whose_client_left_is_seen(service: Service) -> None:
    async with watching_changes(service.port, "namespace=default", BEARER) as stream:
        async with connect(service.port) as client:
            client.send("PUT", "/storage/default/f", BEARER, b"all of it")
            await client.drain()
            client.end()
        assert await stream.event() == shown("file", "f", "put")


@pytest.mark.parametrize("where", ["here", "there"])
async def test_more_than_four_a_second_are_many(
    service: Service, other: Service, where: str
) -> None:
    """They are changed in one turn of the loop: one by one, a slow machine may be slower."""
    watched = service if where == "here" else other
    async with watching_changes(watched.port, "namespace=default", BEARER) as stream:
        for number in range(30):
            service.app[CHANGES].changed("default", f"{number}", "file", "put")
        assert await stream.event() == MANY
        await do(service, "PUT", "default/after")
        assert await stream.event() == shown("file", "after", "put")


async def test_a_stream_that_connects_again_starts_with_many(service: Service) -> None:
    again = {**BEARER, "Last-Event-ID": "1"}
    async with watching_changes(service.port, "namespace=default", again) as stream:
        assert await stream.event() == MANY
        await do(service, "PUT", "default/f")
        assert await stream.event() == shown("file", "f", "put")


@pytest.mark.parametrize(
    ("query", "headers", "status", "detail"),
    [
        ("", BEARER, 400, "?namespace="),
        ("namespace=a%2Fb", BEARER, 400, "namespace name"),
        ("namespace=default&folder=..", BEARER, 400, ".."),
        ("namespace=default&folder=a/", BEARER, 400, "name"),
        ("namespace=none", BEARER, 404, "no such namespace"),
        ("namespace=private", bearer("bob"), 404, "no such namespace"),
        ("namespace=private", None, 404, "no such namespace"),
        ("namespace=internal", None, 401, "Sign in"),
    ],
)
async def test_what_is_refused(
    service: Service, query: str, headers: dict[str, str] | None, status: int, detail: str
) -> None:
    await service.make_namespace("private", hidden=True)
    await service.make_namespace("internal")
    answer = await call(service.port, "GET", f"/sse/changes?{query}", headers)
    assert (answer.status, detail in answer.problem()) == (status, True), answer
    await nobody_watches(service)


async def test_a_head_has_the_headers_alone(service: Service) -> None:
    answer = await call(service.port, "HEAD", "/sse/changes?namespace=default")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    await nobody_watches(service)


async def test_whoever_may_not_read_any_more_sees_nothing_more(
    service: Service, other: Service
) -> None:
    await service.make_namespace("ns")
    async with AsyncExitStack() as stack:

        async def watch(at: Service, user: str) -> ChangeStream:
            watching = watching_changes(at.port, "namespace=ns", bearer(user))
            return await stack.enter_async_context(watching)

        strangers = [await watch(at, "bob") for at in (service, other)]
        owner = await watch(other, "alice")
        await do(service, "PUT", "namespaces/ns", body={"hidden": True})
        for stream in strangers:
            await stream.end(5)
            assert stream.events == [MANY]
        assert await owner.event() == MANY
        await do(service, "PUT", "ns/secret", body=b"1")
        assert await owner.event() == shown("file", "secret", "put")
        refused = await call(other.port, "GET", "/sse/changes?namespace=ns", bearer("bob"))
        absent = await call(other.port, "GET", "/sse/changes?namespace=absent", bearer("bob"))
        assert (refused.status, refused.body) == (404, absent.body)


async def test_a_row_that_others_change_is_asked_for_again(
    service: Service, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.changes.stream.RECHECK_SECONDS", 0.1)
    await service.make_namespace("ns")
    async with watching_changes(service.port, "namespace=ns", bearer("bob")) as stream:
        await stream.silent(0.3)
        sql = "UPDATE namespaces SET hidden = true WHERE name = 'ns'"
        await asyncio.to_thread(postgres.execute, sql, "test")
        await stream.end(5)
        assert stream.events == [MANY]


async def test_a_namespace_that_is_deleted_ends_its_streams(
    service: Service, other: Service
) -> None:
    await service.make_namespace("ns")
    async with (
        watching_changes(service.port, "namespace=ns", BEARER) as here,
        watching_changes(other.port, "namespace=ns&folder=a", BEARER) as there,
    ):
        await do(service, "DELETE", "namespaces/ns")
        for stream in (here, there):
            await stream.end(5)
            assert stream.events == [MANY]
    await nobody_watches(service)


async def test_a_listener_that_was_lost_makes_many(
    service: Service, other: Service, postgres: Postgres
) -> None:
    async with watching_changes(other.port, "namespace=default", BEARER) as stream:
        await asyncio.to_thread(postgres.execute, LOSE_ALL)
        assert await stream.event() == MANY


async def test_draining_ends_the_streams(service: Service) -> None:
    async with watching_changes(service.port, "namespace=default", BEARER) as stream:
        service.app[LIFECYCLE].drain()
        await stream.end(2)
        assert stream.source.retry == 1000


async def test_a_client_that_does_not_read_gets_many_and_delays_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.changes.stream.WINDOW_SECONDS", 0.0)
    name = "x" * 250
    query = "namespace=default"
    async with watching_changes(service.port, query, BEARER, receive_buffer=2048) as stream:
        changes = service.app[CHANGES]
        for number in range(2000):
            changes.changed("default", f"{number}{name}", "file", "put")
            if number % 4 == 3:
                await asyncio.sleep(0)
        changes.changed("default", "last", "file", "put")
        while stream.events[-1:] not in ([MANY], [shown("file", "last", "put")]):
            await stream.event()
        assert MANY in stream.events
        assert len(stream.events) < 1500


async def test_one_that_takes_nothing_is_dropped(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.changes.stream.COMMENT_SECONDS", 0.0001)
    monkeypatch.setattr("sfs_server.transfer.client_socket.STALL_SECONDS", 0.2)
    async with watching_changes(service.port, "namespace=default", BEARER, receive_buffer=2048):
        await nobody_watches(service)


async def test_a_link_to_a_folder_opens_its_stream_and_no_other(service: Service) -> None:
    await service.make_namespace("ns", hidden=True)
    await do(service, "PUT", "ns/a/b/f", body=b"1")
    wanted = {"namespace": "ns", "folder": "a"}
    made = await call(service.port, "POST", "/storage/links", BEARER, wanted)
    token = made.json()["url"].partition("token=")[2]
    for folder in ("a", "a/b"):
        query = f"namespace=ns&folder={folder}&token={token}"
        async with watching_changes(service.port, query) as stream:
            await do(service, "PUT", f"ns/{folder}/g")
            assert await stream.event() == shown("file", "g", "put")
    for query in ("namespace=ns", "namespace=ns&folder=", "namespace=ns&folder=c"):
        answer = await call(service.port, "GET", f"/sse/changes?{query}&token={token}")
        assert answer.status == 401


@pytest.mark.parametrize("settings", [{"max_streams": 1}])
async def test_they_count_like_all_event_streams(service: Service) -> None:
    async with watching_changes(service.port, "namespace=default", BEARER):
        answer = await call(service.port, "GET", "/sse/progress?id=t", BEARER)
        assert (answer.status, "event streams" in answer.problem()) == (429, True)
        answer = await call(service.port, "GET", "/sse/changes?namespace=default", BEARER)
        assert answer.status == 429
