"""Folders over HTTP: made, shown, deleted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gfs.api import FileSystem
from gfs.errors import StoreUnavailable
from sfs_server.handlers.folders import MOST_COUNTED
from sfs_server.web.keys import FILESYSTEM, NAMESPACES
from tests.support.client import Answer, call, connect
from tests.support.folders import make, tree
from tests.support.service import Service
from tests.support.uploads import begin, nothing_left, upload

A = "/storage/default/a"


async def mkcol(service: Service, target: str, user: str = "alice", **fields: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return await call(service.port, "MKCOL", target, {**service.bearer(user), **named})


async def delete(service: Service, target: str, user: str = "alice", **fields: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return await call(service.port, "DELETE", target, {**service.bearer(user), **named})


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_folder_is_made_with_those_above_it(service: Service, slash: str) -> None:
    made = await mkcol(service, f"{A}/%C3%A9%20b/c{slash}")
    assert made.status == 201
    assert made.headers["Location"] == f"{A}/%C3%A9%20b/c/"
    assert made.json() == {"status": "ok", "name": "a/é b/c", "namespace": "default"}
    assert await tree(service) == {"a/", "a/é b/", "a/é b/c/"}
    again = await mkcol(service, f"{A}/%C3%A9%20b/")
    assert (again.status, again.problem()) == (405, "The folder exists.")
    assert again.headers["Allow"] == "DELETE, GET, HEAD, MOVE, OPTIONS"
    await make(service, f"{A}/d")
    assert await tree(service) == {"a/", "a/é b/", "a/é b/c/", "a/d/"}


async def test_a_folder_is_not_made_where_something_is(service: Service) -> None:
    await service.put(A, b"x")
    for target in (A, f"{A}/"):
        there = await mkcol(service, target)
        assert (there.status, there.problem()) == (405, "A file has that name.")
        assert there.headers["Allow"] == "DELETE, GET, HEAD, MOVE, OPTIONS, POST, PUT"
    for target in (f"{A}/b", f"{A}/b/c/"):
        below = await mkcol(service, target)
        assert below.status == 409
        assert "A file" in below.problem()
    assert (await mkcol(service, "/storage/default/")).status == 405
    assert (await mkcol(service, "/storage/none/")).status == 404
    assert await tree(service) == {"a"}


async def test_a_folder_is_made_without_a_body_and_under_conditions(service: Service) -> None:
    for headers, body in (({}, b"<x/>"), ({"Transfer-Encoding": "chunked"}, b"")):
        async with connect(service.port) as connection:
            fields = {**service.bearer(), **headers}
            sent = b"" if headers else body
            connection.send("MKCOL", A, fields, sent)
            if headers:
                connection.send_raw(b"1\r\nx\r\n0\r\n\r\n")
            refused = await connection.answer()
        assert (refused.status, refused.problem()) == (415, "A folder is made without a body.")
    assert (await mkcol(service, A, If_Match="*")).status == 412
    assert await tree(service) == set()
    assert (await mkcol(service, A, If_None_Match="*")).status == 201


async def test_many_at_once_make_one_folder(service: Service) -> None:
    answers = await asyncio.gather(*(mkcol(service, f"{A}/b/{n % 3}") for n in range(30)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [201] * 3 + [405] * 27
    assert await tree(service) == {"a/", "a/b/", "a/b/0/", "a/b/1/", "a/b/2/"}


async def test_an_upload_to_a_folder_says_what_to_do(service: Service) -> None:
    await make(service, A)
    for method in ("PUT", "POST"):
        for target in (f"{A}/", f"{A}/new/", "/storage/default/"):
            refused = await upload(service, method, target, b"x")
            assert refused.status == 400
            assert "MKCOL" in refused.problem()
        for query in ("", "?overwrite=true"):
            if method == "PUT" and query:
                continue
            taken = await upload(service, method, A + query, b"x")
            assert taken.status == 409, (method, query)
    await service.put(f"{A}/f", b"1")
    for method in ("PUT", "POST"):
        through = await upload(service, method, f"{A}/f/g", b"x")
        assert (through.status, "A file" in through.problem()) == (409, True)
    assert (await upload(service, "PUT", "/storage/none/", b"x")).status == 404
    assert await tree(service) == {"a/", "a/f"}


async def test_an_upload_makes_the_folders_it_is_in(service: Service) -> None:
    tasks = asyncio.all_tasks()
    target = "/storage/default/" + "/".join("abcdefghijklmnopqrstuvwxyzABCDEF")
    for method, status in (("POST", 201), ("POST", 409), ("PUT", 200)):
        answer = await upload(service, method, target, b"deep")
        assert answer.status == status
    assert answer.json()["name"] == target.removeprefix("/storage/default/")
    assert answer.headers["Location"] == target
    assert await service.get(target) == (200, b"deep")
    await service.delete(target)
    assert len(await tree(service)) == 31  # the folders stay
    await nothing_left(service, tasks)


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("HEAD", b"")])
async def test_a_folder_without_its_slash_is_redirected(
    service: Service, method: str, body: bytes
) -> None:
    await make(service, "/storage/default/a/b%20c")
    async with connect(service.port) as connection:
        for query in ("", "?x=%2F&y", "?limit=1"):
            moved = await connection.ask(method, f"{A}/b%20%63{query}")
            assert (moved.status, moved.body) == (301, body)
            assert moved.headers["Location"] == f"{A}/b%20c/{query}"
            assert moved.headers["Cache-Control"] == "private, no-cache"
            found = await connection.ask(method, moved.headers["Location"])
            assert found.status == 200
        saved = await connection.ask("GET", "/storage/download/default/a/b%20c")
        assert saved.status == 404
        assert f"{A}/b%20c/?archive=zip" in saved.problem()
        assert (await connection.ask("GET", "/storage/download/default/a/")).status == 404
        assert (await connection.ask(method, "/storage/default/none/")).status == 404
    await service.make_namespace("secret", "bob", hidden=True)
    await make(service, "/storage/secret/a", "bob")
    hidden, absent = [
        await call(service.port, "GET", f"/storage/{name}/a", service.bearer())
        for name in ("secret", "none")
    ]
    assert (hidden.status, hidden.body) == (absent.status, absent.body) == (404, absent.body)


async def test_a_token_stays_in_the_redirect_and_goes_nowhere_else(service: Service) -> None:
    await make(service, A)
    token = service.token("alice")
    moved = await call(service.port, "GET", f"{A}?token={token}")
    assert moved.status == 301
    assert moved.headers["Location"] == f"{A}/?token={token}"
    assert moved.headers["Referrer-Policy"] == "no-referrer"
    assert "no-cache" in moved.headers["Cache-Control"]


@pytest.mark.both_loops
async def test_a_folder_is_deleted_with_all_in_it(service: Service) -> None:
    tasks = asyncio.all_tasks()
    for name in ("a/b/c", "a/b/d", "a/e", "ab"):
        await service.put(f"/storage/default/{name}", b"x")
    await make(service, "/storage/default/a/empty")
    without = await delete(service, A)
    assert (without.status, "slash" in without.problem()) == (409, True)
    gone = await delete(service, f"{A}/b/")
    assert (gone.status, gone.json()) == (
        200,
        {"status": "ok", "name": "a/b", "namespace": "default"},
    )
    assert await tree(service) == {"a/", "a/e", "a/empty/", "ab"}
    assert (await delete(service, f"{A}/empty/")).status == 200
    assert (await delete(service, f"{A}/")).status == 200
    assert await tree(service) == {"ab"}
    for target in (f"{A}/", f"{A}/b/", "/storage/default/none/"):
        none = await delete(service, target)
        assert (none.status, none.problem()) == (404, "There is no such folder.")
    file = await delete(service, "/storage/default/ab/")
    assert (file.status, "file" in file.problem()) == (409, True)
    await nothing_left(service, tasks)


async def test_a_namespace_is_not_deleted_by_the_path_of_its_folder(service: Service) -> None:
    await service.make_namespace("team")
    await service.put("/storage/team/a", b"x")
    refused = await delete(service, "/storage/team/")
    assert refused.status == 409
    assert "DELETE /storage/namespaces/team" in refused.problem()
    assert (await delete(service, "/storage/team/", "bob")).status == 403
    assert (await delete(service, "/storage/none/")).status == 404
    assert await tree(service, "team") == {"a"}


async def test_conditions_of_a_folder_are_kept(service: Service) -> None:
    await service.put(f"{A}/b", b"x")
    tag = await service.etag(f"{A}/b")
    for name, value in (
        ("If_Match", tag),
        ("If_Match", "garbage"),
        ("If_None_Match", "*"),
        ("If_None_Match", "garbage"),
    ):
        answer = await delete(service, f"{A}/", **{name: value})
        assert answer.status == 412, (name, value)
    for depth in ("0", "1", "x"):
        refused = await delete(service, f"{A}/", Depth=depth)
        assert (refused.status, "Depth" in refused.problem()) == (400, True)
    assert await tree(service) == {"a/", "a/b"}
    past = "Sat, 01 Jan 2000 00:00:00 GMT"  # a folder has no date to compare it with
    assert (
        await delete(
            service,
            f"{A}/",
            If_Match="*",
            If_None_Match=tag,
            If_Unmodified_Since=past,
            Depth="infinity",
        )
    ).status == 200
    assert await tree(service) == set()


async def test_who_may_not_change_a_namespace_changes_no_folder(service: Service) -> None:
    await service.make_namespace("bobs", "bob")
    await service.put("/storage/bobs/a/b", b"x", "bob")
    async with connect(service.port) as connection:
        for method, target in (("MKCOL", "/storage/bobs/c"), ("DELETE", "/storage/bobs/a/")):
            assert (await connection.ask(method, target)).status == 401
            assert (await connection.ask(method, target, service.bearer())).status == 403
    assert await tree(service, "bobs", "bob") == {"a/", "a/b"}
    assert (await delete(service, "/storage/bobs/a/", "bob")).status == 200


@pytest.mark.parametrize(
    ("method", "target"),
    [("MKCOL", "/storage/team/b"), ("DELETE", "/storage/team/a/"), ("MOVE", "/storage/team/a")],
)
async def test_rights_are_asked_for_again_when_the_locks_are_held(
    service: Service, monkeypatch: pytest.MonkeyPatch, method: str, target: str
) -> None:
    namespaces = service.app[NAMESPACES]
    await namespaces.create("team", hidden=False, owner=None)
    await make(service, "/storage/team/a")
    held = namespaces._locks.held

    @asynccontextmanager
    async def late(*ends: Any, **options: Any) -> AsyncIterator[Any]:
        async with namespaces._database.transaction() as session:
            await session.fetch("UPDATE namespaces SET hidden = true WHERE name = 'team'")
        async with held(*ends, **options) as guarded:
            yield guarded

    monkeypatch.setattr(namespaces._locks, "held", late)
    fields = {**service.bearer(), "Destination": "/storage/team/c"}
    refused = await call(service.port, method, target, fields)
    assert (refused.status, refused.problem()) == (404, "There is no such namespace.")
    assert os.listdir(service.data / "files" / "team") == ["a"]


async def test_an_upload_under_way_is_not_published_in_a_folder_that_is_gone(
    service: Service,
) -> None:
    tasks = asyncio.all_tasks()
    await make(service, A)
    async with connect(service.port) as connection:
        rest = await begin(service, connection, "PUT", f"{A}/b/c", b"x" * 10_000)
        assert (await delete(service, f"{A}/")).status == 200
        connection.send_raw(rest)
        refused = await connection.answer()
    assert refused.status == 409
    assert "moved or deleted" in refused.problem()
    assert await tree(service) == set()
    await nothing_left(service, tasks)


async def test_a_folder_that_is_deleted_and_made_again_takes_no_old_upload(
    service: Service,
) -> None:
    await service.put(f"{A}/b", b"old")
    async with connect(service.port) as connection:
        rest = await begin(service, connection, "PUT", f"{A}/b", b"x" * 10_000)
        assert (await delete(service, f"{A}/")).status == 200
        await make(service, A)
        connection.send_raw(rest)
        answer = await connection.answer()
    assert answer.status in (201, 409)
    assert await tree(service) == ({"a/", "a/b"} if answer.status == 201 else {"a/"})


async def test_deleting_while_many_publish_below_leaves_all_or_nothing(service: Service) -> None:
    tasks = asyncio.all_tasks()
    for _ in range(5):
        await make(service, A)
        puts = [upload(service, "PUT", f"{A}/{n % 4}/{n}", b"x" * 1000) for n in range(12)]
        deleted, *answers = await asyncio.gather(delete(service, f"{A}/"), *puts)
        assert deleted.status == 200
        assert {answer.status for answer in answers} <= {201, 409}
        left = {path for path in await tree(service) if not path.endswith("/")}
        acknowledged = {answer.json()["name"] for answer in answers if answer.status == 201}
        assert left <= acknowledged
        if await tree(service):
            assert (await delete(service, f"{A}/")).status == 200
    await nothing_left(service, tasks)


async def test_what_a_folder_had_is_taken_off_the_namespace(service: Service) -> None:
    async def count() -> tuple[int, int]:
        [one] = (await call(service.port, "GET", "/storage/namespaces", service.bearer())).json()
        return one["count"], one["bytes"]

    before = await count()
    for number in range(3):
        await service.put(f"{A}/{number}/f", b"12345")
    assert await count() == (before[0] + 3, before[1] + 15)
    assert (await delete(service, f"{A}/1/")).status == 200
    assert await count() == (before[0] + 2, before[1] + 10)
    assert (await delete(service, f"{A}/")).status == 200
    assert await count() == before
    assert MOST_COUNTED > 1000


async def test_a_crash_between_row_and_directory_is_made_up_for(service: Service) -> None:
    await service.app[NAMESPACES].create("late", hidden=False, owner="alice")
    assert (await mkcol(service, "/storage/late/a")).status == 201
    assert await tree(service, "late") == {"a/"}


async def test_a_store_that_fails_leaves_the_folder(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.put(f"{A}/b", b"x")

    async def failing(*args: object, **named: object) -> None:
        raise StoreUnavailable("as ordered")

    store: FileSystem = service.app[FILESYSTEM]
    for verb in ("make_folder", "remove_folder"):
        monkeypatch.setattr(store, verb, failing)
    assert (await delete(service, f"{A}/")).status == 503
    failed = await mkcol(service, f"{A}/c")
    assert (failed.status, failed.headers["Retry-After"]) == (503, "5")
    assert await tree(service) == {"a/", "a/b"}
    assert os.listdir(service.data / "files" / "default") == ["a"]
