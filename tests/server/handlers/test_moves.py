"""MOVE over HTTP: of files and folders, over files and folders, by whom, and what races with it."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gfs.api import FileSystem
from gfs.errors import FolderTooLarge, StoreUnavailable
from gfs.types import Moved
from sfs_server.http.forwarded import parse_network
from sfs_server.web.keys import FILESYSTEM, NAMESPACES
from tests.support import tokens
from tests.support.client import call, connect
from tests.support.credentials import authorization
from tests.support.folders import make, move, tree
from tests.support.programs import run_program
from tests.support.service import Service
from tests.support.uploads import begin, nothing_left, upload

A, B = "/storage/default/a", "/storage/default/b"
LONG = random.Random(7).randbytes(6_000_000)


async def listed(service: Service, target: str) -> dict[str, Any]:
    """What the list says of a file."""
    answer = await call(service.port, "GET", "/storage/files?namespace=default", service.bearer())
    [found] = [entry for entry in answer.json() if entry["path"] == target]
    return {name: found[name] for name in ("size", "created_at", "modified_at", "etag")}


@pytest.mark.both_loops
async def test_a_file_is_moved_with_its_version_and_times(service: Service) -> None:
    tasks = asyncio.all_tasks()
    await service.put(A, b"x")
    await service.put(A, b"xy")
    before = await listed(service, A)
    for source, to in (
        (A, B),
        (B, "/storage/default/d/%C3%A9/f"),
        ("/storage/default/d/%c3%a9/%66", A),
    ):
        moved = await move(service, source, to)
        assert moved.status == 201
        assert moved.headers["Location"] == to
        assert moved.headers["ETag"] == before["etag"] == moved.json()["etag"]
        assert moved.json()["namespace"] == "default"
        assert (await service.get(source))[0] == 404
        assert await service.get(to) == (200, b"xy")
        assert await listed(service, to) == before
    assert await tree(service) == {"a", "d/", "d/é/"}
    await nothing_left(service, tasks)


@pytest.mark.both_loops
@pytest.mark.parametrize("slashes", [("", ""), ("/", "/"), ("/", ""), ("", "/")])
async def test_a_folder_is_moved_with_all_in_it(service: Service, slashes: tuple[str, str]) -> None:
    await service.put(f"{A}/c/d", b"x")
    await make(service, f"{A}/empty")
    tag = await service.etag(f"{A}/c/d")
    moved = await move(service, A + slashes[0], B + slashes[1])
    assert (moved.status, moved.headers["Location"]) == (201, f"{B}/")
    assert moved.json() == {"status": "ok", "name": "b", "namespace": "default"}
    assert await tree(service) == {"b/", "b/c/", "b/c/d", "b/empty/"}
    assert await service.etag(f"{B}/c/d") == tag
    deeper = await move(service, f"{B}/c/", "/storage/default/x/y/z")
    assert deeper.status == 201
    assert await tree(service) == {"b/", "b/empty/", "x/", "x/y/", "x/y/z/", "x/y/z/d"}


@pytest.mark.parametrize("source", ["file", "folder"])
@pytest.mark.parametrize("there", ["file", "folder"])
async def test_what_is_there_is_replaced_as_a_whole_or_kept(
    service: Service, source: str, there: str
) -> None:
    async def put(target: str, kind: str) -> None:
        await service.put(target if kind == "file" else f"{target}/inner", target.encode())

    await put(A, source)
    await put(B, there)
    before = await tree(service)
    kept = await move(service, A, B, headers={"Overwrite": "F"})
    assert (kept.status, "Overwrite: F" in kept.problem()) == (412, True)
    assert await tree(service) == before
    for headers in ({}, {"Overwrite": "T"}):
        replaced = await move(service, A, B, headers=headers)
        assert (replaced.status, replaced.body) == (204, b"")
        assert ("ETag" in replaced.headers) == (source == "file")
        assert await tree(service) == ({"b"} if source == "file" else {"b/", "b/inner"})
        shown = B if source == "file" else f"{B}/inner"
        assert await service.get(shown) == (200, A.encode())
        await put(A, source)
    for value in ("t", "true", ""):
        refused = await move(service, A, B, headers={"Overwrite": value})
        assert (refused.status, "Overwrite" in refused.problem()) == (400, True)
    free = await move(service, A, "/storage/default/free", headers={"Overwrite": "F"})
    assert free.status == 201


async def test_nothing_is_moved_onto_or_into_itself(service: Service) -> None:
    await service.put(f"{A}/b/c", b"x")
    for source, to in (
        (f"{A}/", f"{A}/"),
        (A, A),
        (f"{A}/b/c", f"{A}/b/c"),
        (f"{A}/b/c", f"{A}/b/%63"),
        (A, f"{A}/b/d"),
        (A, f"{A}/b/c/d"),
        (f"{A}/b", A),
        (f"{A}/b/c", f"{A}/"),
        (f"{A}/b/c", "/storage/default/"),
        (f"{A}/none", f"{A}/none"),
        ("/storage/default/", "/storage/default/x"),
        ("/storage/default/", "/storage/default/"),
    ):
        for overwrite in ("T", "F"):
            refused = await move(service, source, to, headers={"Overwrite": overwrite})
            assert refused.status == 403, (source, to)
            assert refused.problem()
    assert await tree(service) == {"a/", "a/b/", "a/b/c"}
    assert (await move(service, f"{A}/b", "/storage/default/ab")).status == 201  # no prefix of it


async def test_what_cannot_be_moved_says_why(service: Service) -> None:
    await service.put(f"{A}/f", b"x")
    await service.put(B, b"x")
    for source, to, status, word in (
        ("/storage/default/none", A, 404, "no such file"),
        ("/storage/default/none/", A, 404, "no such folder"),
        (f"{A}/f/", "/storage/default/c", 409, "slash"),
        (f"{A}/f", "/storage/default/c/", 400, "name"),
        (f"{A}/f", f"{B}/c", 409, "file"),
        (f"{A}/f/g", "/storage/default/c", 404, "no such file"),
        (f"{A}/f", "/storage/none/c", 404, "namespace"),
        ("/storage/none/c", f"{A}/c", 404, "namespace"),
        (f"{A}/f", "http://elsewhere.example/storage/default/c", 502, "another host"),
        (f"{A}/f", "/storage/download/default/c", 400, "download"),
        (f"{A}/f", "/elsewhere", 400, "/storage/"),
        (f"{A}/f", "/storage/default/c?d", 400, "%3F"),
        (f"{A}/f", "/storage/default/..", 400, "'..'"),
        (f"{A}/f", "/storage/default/c//d", 400, "slash"),
        (f"{A}/f", "/storage/files/c", 400, "reserved"),
    ):
        refused = await move(service, source, to)
        assert refused.status == status, (source, to)
        assert word in refused.problem(), (source, to)
    missing = await call(service.port, "MOVE", f"{A}/f", service.bearer())
    assert (missing.status, "Destination" in missing.problem()) == (400, True)
    for depth in ("0", "1"):
        refused = await move(service, A, "/storage/default/c", headers={"Depth": depth})
        assert (refused.status, "Depth" in refused.problem()) == (400, True)
    assert await tree(service) == {"a/", "a/f", "b"}
    infinite = {"Depth": "infinity"}
    assert (await move(service, A, "/storage/default/c", headers=infinite)).status == 201
    assert (await move(service, B, "/storage/default/d", headers={"Depth": "0"})).status == 201


@pytest.mark.parametrize(
    ("settings", "forwarded", "host", "status"),
    [
        ({}, {}, "sfs.example", 201),
        ({}, {}, "SFS.example:80", 201),
        ({}, {}, "sfs.example:81", 502),
        ({}, {"X-Forwarded-Host": "outer.example"}, "outer.example", 502),
        (
            {"trusted_proxies": (parse_network("127.0.0.0/8"),)},
            {"X-Forwarded-Host": "outer.example"},
            "outer.example",
            201,
        ),
    ],
)
async def test_the_destination_may_be_a_url_of_this_host(
    config: Any, service: Service, forwarded: dict[str, str], host: str, status: int
) -> None:
    await service.put(A, b"x")
    moved = await move(service, A, f"http://{host}/storage/default/b", headers=forwarded)
    assert moved.status == status
    assert await tree(service) == ({"b"} if status == 201 else {"a"})


async def test_conditions_are_those_of_what_is_moved(service: Service) -> None:
    await service.put(A, b"old")
    await service.put(B, b"there")
    tag, other = await service.etag(A), await service.etag(B)
    for name, value in (
        ("If-Match", other),
        ("If-Match", f"W/{tag}"),
        ("If-Match", "garbage"),
        ("If-None-Match", "*"),
        ("If-None-Match", tag),
        ("If-None-Match", "garbage"),
        ("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ):
        refused = await move(service, A, B, headers={name: value})
        assert refused.status == 412, (name, value)
    assert await service.get(B) == (200, b"there")
    moved = await move(service, A, B, headers={"If-Match": tag, "If-None-Match": other})
    assert moved.status == 204
    # Nothing to move comes before the condition (RFC 9110 §13.2.1).
    assert (await move(service, A, B, headers={"If-Match": tag})).status == 404
    await make(service, A)
    for name, value in (("If-Match", tag), ("If-None-Match", "*")):
        refused = await move(service, f"{A}/", f"{B}2", headers={name: value})
        assert refused.status == 412, (name, value)
    assert (await move(service, A, f"{B}2", headers={"If-Match": "*"})).status == 201


async def test_a_move_goes_to_another_namespace_with_its_counts(service: Service) -> None:
    await service.make_namespace("team")
    await service.put("/storage/team/b/old", b"123")
    for name in ("a/1", "a/2/3", "f"):
        await service.put(f"/storage/default/{name}", b"12345")

    async def counts() -> dict[str, tuple[int, int]]:
        found = await call(service.port, "GET", "/storage/namespaces", service.bearer())
        return {one["name"]: (one["count"], one["bytes"]) for one in found.json()}

    assert await counts() == {"default": (3, 15), "team": (1, 3)}
    assert (await move(service, A, "/storage/team/c/")).status == 201
    assert await counts() == {"default": (1, 5), "team": (3, 13)}
    assert (await move(service, "/storage/default/f", "/storage/team/b")).status == 204
    assert await counts() == {"default": (0, 0), "team": (3, 15)}
    assert (await move(service, "/storage/team/c", "/storage/team/d")).status == 201
    assert await counts() == {"default": (0, 0), "team": (3, 15)}
    assert await tree(service, "team") == {"b", "d/", "d/1", "d/2/", "d/2/3"}
    assert (await tree(service)) == set()


async def test_who_may_not_delete_here_and_create_there_moves_nothing(service: Service) -> None:
    await service.make_namespace("bobs", "bob")
    await service.make_namespace("secret", "bob", hidden=True)
    await service.put(A, b"x")
    await service.put("/storage/bobs/a", b"x", "bob")
    for source, to, status in (
        ("/storage/bobs/a", "/storage/bobs/b", 403),
        ("/storage/bobs/a", B, 403),
        (A, "/storage/bobs/b", 403),
        (A, "/storage/secret/b", 404),
        ("/storage/secret/a", B, 404),
    ):
        refused = await move(service, source, to)
        assert refused.status == status, (source, to)
        anonymous = await call(service.port, "MOVE", source, {"Destination": to})
        assert anonymous.status == (404 if status == 404 and "secret" in source else 401)
    secret, none = [await move(service, A, f"/storage/{name}/b") for name in ("secret", "none")]
    assert (secret.status, secret.body) == (none.status, none.body)
    for scopes in (
        {"storage.bob.files.bobs": ["delete", "create", "read"]},
        {"storage.bob.files.secret": ["delete", "create", "read"]},
        {"storage.bob.files": ["create", "read"]},
        {"storage.bob.files": ["delete", "read"]},
    ):
        claims = {"sub": "bob", "type": "api_token", "scopes": scopes, "exp": time.time() + 60}
        fields = {**authorization(tokens.token(claims)), "Destination": "/storage/secret/a"}
        assert (await call(service.port, "MOVE", "/storage/bobs/a", fields)).status == 403
    assert await tree(service) == {"a"}
    assert await tree(service, "bobs", "bob") == {"a"}
    assert (await move(service, "/storage/bobs/a", "/storage/secret/a", "bob")).status == 201


async def test_a_download_that_has_begun_gets_every_byte(service: Service) -> None:
    tasks = asyncio.all_tasks()
    await service.put(f"{A}/f", LONG)
    async with connect(service.port, receive_buffer=4096) as connection:
        connection.send("GET", f"{A}/f")
        assert (await connection.head())[0] == 200
        first = await connection.reader.readexactly(1000)
        assert (await move(service, A, B)).status == 201
        assert first + await connection.reader.readexactly(len(LONG) - 1000) == LONG
    await nothing_left(service, tasks)


@pytest.mark.parametrize("what", ["the file", "its folder", "what it replaces"])
async def test_an_upload_under_way_is_published_or_refused(service: Service, what: str) -> None:
    tasks = asyncio.all_tasks()
    await service.put(f"{A}/f", b"old")
    source, to = (f"{A}/f", f"{A}/g") if what == "the file" else (A, B)
    if what == "what it replaces":
        source, to = f"{A}/f", f"{B}/f"
        await service.put(to, b"there")
    target = to if what == "what it replaces" else f"{A}/f"
    async with connect(service.port) as connection:
        rest = await begin(service, connection, "PUT", target, b"x" * 10_000)
        assert (await move(service, source, to)).status in (201, 204)
        connection.send_raw(rest)
        answer = await connection.answer()
    found = await tree(service)
    if what == "its folder":
        assert answer.status in (201, 409)
        assert await service.get(f"{B}/f") == (200, b"old")
        assert (f"{A}/f" in found) == (answer.status == 201)
    else:
        assert answer.status in (200, 201)
        assert await service.get(target) == (200, b"x" * 10_000)
    await nothing_left(service, tasks)


async def test_moves_and_uploads_at_once_lose_nothing(service: Service) -> None:
    """A folder goes back and forth, while others upload into both of its places."""
    tasks = asyncio.all_tasks()
    await service.put(f"{A}/first", b"first")
    here, there, stored = A, B, {"first": b"first"}
    going = True

    async def back_and_forth() -> None:
        nonlocal here, there
        while going:
            moved = await move(service, here, there, headers={"Overwrite": "F"})
            assert moved.status in (201, 404, 412), moved
            here, there = there, here

    async def put(number: int) -> None:
        place = (A, B)[number % 2]
        body = b"%d" % number
        answer = await upload(service, "PUT", f"{place}/{number}", body)
        assert answer.status in (200, 201, 409), answer
        if answer.status != 409:
            stored[str(number)] = body

    moving = asyncio.create_task(back_and_forth())
    for start in range(0, 60, 12):
        await asyncio.gather(*(put(number) for number in range(start, start + 12)))
    going = False
    await moving
    found: dict[str, bytes] = {}
    for path in await tree(service):
        if not path.endswith("/"):
            found[path.rpartition("/")[2]] = (await service.get(f"/storage/default/{path}"))[1]
    assert found == stored
    await nothing_left(service, tasks)


async def test_two_moves_that_meet_do_not_wait_for_each_other(service: Service) -> None:
    await service.put(f"{A}/f", b"1")
    await service.put(f"{B}/f", b"2")
    for _ in range(10):
        both = await asyncio.gather(
            move(service, f"{A}/f", f"{B}/f"),
            move(service, f"{B}/f", f"{A}/f"),
            move(service, A, f"{B}/c"),
            move(service, B, f"{A}/c"),
        )
        assert {answer.status for answer in both} <= {201, 204, 404, 409}
        left = [path for path in await tree(service) if path.endswith("f")]
        assert left
        for path in list(await tree(service)):
            if "/" not in path.removesuffix("/"):
                target = f"/storage/default/{path}"
                assert (await call(service.port, "DELETE", target, service.bearer())).status == 200
        await service.put(f"{A}/f", b"1")
        await service.put(f"{B}/f", b"2")


async def test_a_client_that_leaves_has_its_move_made_and_audited(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await service.put(f"{A}/f", b"x")
    store: FileSystem = service.app[FILESYSTEM]
    real, going, over = store.move, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **named: Any) -> Moved:
        going.set()
        await asyncio.sleep(0.2)
        moved = await real(*args, **named)
        over.set()
        return moved

    monkeypatch.setattr(store, "move", slow)
    async with connect(service.port) as connection:
        connection.send("MOVE", A, {**service.bearer(), "Destination": B})
        await asyncio.wait_for(going.wait(), 5)
        connection.reset()
    await asyncio.wait_for(over.wait(), 5)
    assert await tree(service) == {"b/", "b/f"}
    await asyncio.sleep(0.1)
    assert 'done: move "default" "a" to "default" "b" 201' in capsys.readouterr().err


@pytest.mark.parametrize("done", [True, False])
async def test_a_store_that_did_not_respond_in_time_is_looked_at(
    service: Service, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    await service.put(f"{A}/f", b"x")
    await service.put(B, b"y")
    store: FileSystem = service.app[FILESYSTEM]
    real = store.move

    async def lost(*args: Any, **named: Any) -> Moved:
        if done:
            await real(*args, **named)
        raise StoreUnavailable("as ordered")

    monkeypatch.setattr(store, "move", lost)
    answer = await move(service, A, B)
    if done:
        assert answer.status == 204
        assert await tree(service) == {"b/", "b/f"}
    else:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert "old place" in answer.problem()
        assert await tree(service) == {"a/", "a/f", "b"}


async def test_a_folder_that_is_too_large_says_what_to_do(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(service, A)

    async def too_large(*args: object, **named: object) -> None:
        raise FolderTooLarge("20000 entries can be moved at once")

    monkeypatch.setattr(service.app[FILESYSTEM], "move", too_large)
    refused = await move(service, A, B)
    assert refused.status == 409
    assert "20000" in refused.problem()
    assert "one by one" in refused.problem()


@pytest.mark.parametrize("end", ["team", "default"])
async def test_rights_at_both_ends_are_asked_for_again_when_the_locks_are_held(
    service: Service, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    namespaces = service.app[NAMESPACES]
    await namespaces.create("team", hidden=False, owner=None)
    await service.put(A, b"x")
    moving = namespaces.moving

    @asynccontextmanager
    async def late(*ends: Any, **options: Any) -> AsyncIterator[Any]:
        async with namespaces._database.transaction() as session:
            await session.fetch("UPDATE namespaces SET hidden = true WHERE name = %s", (end,))
        async with moving(*ends, **options) as guarded:
            yield guarded

    monkeypatch.setattr(namespaces, "moving", late)
    refused = await move(service, A, "/storage/team/b")
    assert (refused.status, refused.problem()) == (404, "There is no such namespace.")
    assert os.listdir(service.data / "files" / "default") == ["a"]


async def test_curl_moves_and_makes_folders(service: Service) -> None:
    async def curl(*arguments: str) -> str:
        header = f"Authorization: {service.bearer()['Authorization']}"
        shown = ("-sSo", "/dev/null", "-w", "%{http_code}", "-H", header)
        return await asyncio.to_thread(run_program, "curl", *shown, *arguments)

    root = f"http://127.0.0.1:{service.port}/storage/default"
    assert await curl("-X", "MKCOL", f"{root}/a/") == "201"
    await service.put(f"{A}/f", b"x")
    to = f"Destination: {root}/b/"
    assert await curl("-X", "MOVE", "-H", to, f"{root}/a/") == "201"
    assert await curl("-X", "MOVE", "-H", "Destination: /storage/default/g", f"{root}/b/f") == "201"
    assert await curl("-L", f"{root}/b") == "200"
    assert await curl("-X", "DELETE", f"{root}/b") == "409"
    assert await curl("-X", "DELETE", f"{root}/b/") == "200"
    assert await tree(service) == {"g"}
