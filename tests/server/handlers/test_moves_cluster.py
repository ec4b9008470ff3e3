"""Folders of a cluster that one process moves and deletes while others use them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpServer

from sfs_server.app import make_app
from sfs_server.config import Config
from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.client import call, connect
from tests.support.folders import make, move, tree
from tests.support.service import Service
from tests.support.uploads import upload

__all__ = ["cluster", "seaweed"]

A, B = "/storage/default/a", "/storage/default/b"
FILES = 200
FRESH = {"Cache-Control": "no-cache"}


@pytest.fixture
def config(config: Config, cluster: Cluster) -> Config:
    """The settings of both services: on the cluster, at a place of the test's own."""
    return replace(config, master=cluster.masters, prefix=f"/{Path(config.data).parent.name}")


@pytest.fixture
async def other(config: Config, service: Service, aiohttp_server: AiohttpServer) -> Service:
    """Another process of the same service."""
    return Service(await aiohttp_server(make_app(config)), service.data)


async def fill(service: Service) -> dict[str, bytes]:
    """Files in the folder A, by their paths in it."""
    content = {f"{number % 7}/{number}": b"%d" % number for number in range(FILES)}
    async with connect(service.port) as connection:
        for path, body in content.items():
            made = await connection.ask("PUT", f"{A}/{path}", service.bearer(), body)
            assert made.status == 201
    return content


async def test_a_move_by_one_process_loses_nothing_of_what_others_do(
    service: Service, other: Service
) -> None:
    content = await fill(service)
    going, stored = True, dict(content)

    async def put(number: int) -> None:
        one = (service, other)[number % 2]
        path, body = f"{number % 7}/new{number}", b"new %d" % number
        answer = await upload(one, "PUT", f"{A}/{path}", body)
        assert answer.status in (201, 409), answer
        if answer.status == 201:
            stored[path] = body

    async def read(number: int) -> int:
        one, reads = (service, other)[number % 2], 0
        path = f"{number % 7}/{number}"
        async with connect(one.port) as connection:
            while going:
                for place in (A, B):  # once it is not here any more it is there
                    found = await connection.ask("GET", f"{place}/{path}", FRESH)
                    if found.status != 404:
                        break
                assert (found.status, found.body) == (200, content[path])
                reads += 1
        return reads

    async def mover() -> None:
        await asyncio.sleep(0.3)
        moved = await move(other, A, B)
        assert moved.status == 201, moved

    readers = [asyncio.create_task(read(number)) for number in range(20)]
    await asyncio.gather(mover(), *(put(number) for number in range(50)))
    await asyncio.sleep(0.3)
    going = False
    assert all(await asyncio.gather(*readers))
    found: dict[str, bytes] = {}
    for path in await tree(service):
        place, _, name = path.partition("/")
        if name and not path.endswith("/"):
            assert place == "b" or name not in content, path
            target = f"/storage/default/{path}"
            found[name] = (await call(other.port, "GET", target, FRESH)).body
    assert found == stored
    assert await tree(other) == await tree(service)


async def test_a_folder_that_one_process_deletes_is_gone_for_all(
    service: Service, other: Service
) -> None:
    await fill(service)
    puts = [upload((service, other)[n % 2], "PUT", f"{A}/{n}/f", b"x") for n in range(20)]
    deleted, *answers = await asyncio.gather(
        call(other.port, "DELETE", f"{A}/", other.bearer()), *puts
    )
    assert deleted.status == 200
    assert {answer.status for answer in answers} <= {201, 409}
    acknowledged = {answer.json()["name"] for answer in answers if answer.status == 201}
    left = {path for path in await tree(service) if not path.endswith("/")}
    assert left <= acknowledged
    assert (await call(service.port, "GET", f"{A}/0/0", FRESH)).status == 404
    await make(service, f"{B}/c")
    replaced = await move(other, B, A)
    assert replaced.status == (204 if left else 201)
    assert await tree(service) == {"a/", "a/c/"}
