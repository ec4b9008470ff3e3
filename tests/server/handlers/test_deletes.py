"""Deletes: what they remove, what they leave, and what they race with."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping

import pytest

from sfs_server.web.keys import NAMESPACES
from tests.support.client import Answer, call, connect
from tests.support.service import Service
from tests.support.uploads import nothing_left, upload

FILE = "/storage/default/a%20%C3%A4"
LONG = random.Random(3).randbytes(12_000_000)


async def delete(
    service: Service, target: str = FILE, headers: Mapping[str, str] | None = None
) -> Answer:
    return await call(service.port, "DELETE", target, {**service.bearer(), **(headers or {})})


@pytest.mark.both_loops
async def test_a_deleted_file_is_gone(service: Service) -> None:
    tasks = asyncio.all_tasks()
    await service.put(FILE, b"x")
    await service.put("/storage/default/b", b"y")
    answer = await delete(service)
    assert answer.status == 200
    assert answer.json() == {"status": "ok", "name": "a \u00e4", "namespace": "default"}
    assert (await service.get(FILE))[0] == 404
    assert (await service.get("/storage/default/b"))[0] == 200
    assert os.listdir(service.data / "files" / "default") == ["b"]
    again = await delete(service)
    assert again.status == 404
    again.problem()
    assert (await upload(service, "POST", FILE, b"new")).status == 201
    await nothing_left(service, tasks)


async def test_conditions_are_kept(service: Service) -> None:
    await service.put(FILE, b"old")
    tag = await service.etag(FILE)
    for value in ('"other"', f"W/{tag}", "garbage", ""):
        answer = await delete(service, headers={"If-Match": value})
        assert answer.status == 412, value
        answer.problem()
    for value in ("*", tag, f"W/{tag}", "garbage"):
        answer = await delete(service, headers={"If-None-Match": value})
        assert answer.status == 412, value
    past = {"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}
    assert (await delete(service, headers=past)).status == 412
    assert await service.get(FILE) == (200, b"old")
    for value in (tag, "*", f'"other", {tag}'):
        await service.put(FILE, b"old")
        value = value.replace(tag, await service.etag(FILE))
        assert (await delete(service, headers={"If-Match": value})).status == 200, value
        assert (await service.get(FILE))[0] == 404
        # Nothing to delete comes before the condition (RFC 9110 §13.2.1).
        assert (await delete(service, headers={"If-Match": value})).status == 404, value


async def test_who_may_not_delete_does_not(service: Service) -> None:
    namespaces = service.app[NAMESPACES]
    await namespaces.create("bobs", hidden=False, owner="bob")
    await namespaces.create("hidden", hidden=True, owner="bob")
    for name in ("bobs", "hidden"):
        await service.put(f"/storage/{name}/a", b"x", "bob")
    await service.put(FILE, b"x")
    assert (await call(service.port, "DELETE", FILE)).status == 401
    assert (await delete(service, "/storage/bobs/a")).status == 403
    hidden = await delete(service, "/storage/hidden/a")
    none = await delete(service, "/storage/none/a")
    assert (hidden.status, hidden.body) == (none.status, none.body)
    assert hidden.status == 404
    for name in ("bobs", "hidden"):
        assert os.listdir(service.data / "files" / name) == ["a"]
        assert (await delete(service, f"/storage/{name}/a", service.bearer("bob"))).status == 200
    assert (await service.get(FILE))[0] == 200


@pytest.mark.both_loops
async def test_a_download_that_has_begun_gets_every_byte(service: Service) -> None:
    tasks = asyncio.all_tasks()
    await service.put(FILE, LONG)
    async with connect(service.port, receive_buffer=4096) as connection:
        connection.send("GET", FILE)
        status, headers = await connection.head()
        assert (status, headers["Content-Length"]) == (200, str(len(LONG)))
        first = await connection.reader.readexactly(1000)
        assert (await delete(service)).status == 200
        assert (await service.get(FILE))[0] == 404
        rest = await connection.reader.readexactly(len(LONG) - len(first))
        assert first + rest == LONG
    await nothing_left(service, tasks)


@pytest.mark.both_loops
async def test_a_delete_of_the_old_version_never_takes_the_new_one(service: Service) -> None:
    tasks = asyncio.all_tasks()
    content = LONG[:200_000]
    seen = set()
    for number in range(24):
        target = f"/storage/default/{number}"
        await service.put(target, b"old")
        headers = {"If-Match": await service.etag(target)}

        async def later(target: str, headers: dict[str, str], seconds: float) -> Answer:
            await asyncio.sleep(seconds)
            return await delete(service, target, headers)

        deleted, put = await asyncio.gather(
            later(target, headers, number * 0.0005), upload(service, "PUT", target, content)
        )
        # Where the delete came first, the upload made a new file; else it replaced the old one.
        assert (deleted.status, put.status) in {(200, 201), (412, 200)}
        assert await service.get(target) == (200, content)
        seen.add(deleted.status)
    assert seen == {200, 412}
    await nothing_left(service, tasks)


async def test_a_delete_and_an_upload_at_once_leave_all_or_nothing(service: Service) -> None:
    tasks = asyncio.all_tasks()
    content = LONG[:200_000]
    for number in range(20):
        target = f"/storage/default/{number}"
        await service.put(target, b"old")
        deleted, put = await asyncio.gather(
            delete(service, target), upload(service, "PUT", target, content)
        )
        assert deleted.status == 200
        status, found = await service.get(target)
        assert (status, found if status == 200 else content) in {(200, content), (404, content)}
        assert put.status == 200 or status == 200
    await nothing_left(service, tasks)
