"""Uploads by tus to a cluster, whose requests go to one process after the other."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpServer

from sfs_server.app import make_app
from sfs_server.config import Config
from sfs_server.uploads.sweeping import Sweeper
from sfs_server.web.keys import UPLOADS
from tests.faults.replicas import Copy, copies
from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.client import MIB, connect
from tests.support.events import watching
from tests.support.postgres import Postgres
from tests.support.service import Service
from tests.support.tus import start
from tests.support.waiting import eventually

__all__ = ["cluster", "seaweed"]

CONTENT = random.Random(15).randbytes(11 * MIB + 17)
FILE = "/storage/default/a/f.bin"


@pytest.fixture
def config(config: Config, cluster: Cluster) -> Config:
    """The settings of both services: on the cluster, at a place of the test's own."""
    return replace(config, master=cluster.masters, prefix=f"/{Path(config.data).parent.name}")


@pytest.fixture
async def other(config: Config, service: Service, aiohttp_server: AiohttpServer) -> Service:
    """Another process of the same service."""
    return Service(await aiohttp_server(make_app(config)), service.data)


@pytest.fixture
async def needles(cluster: Cluster, service: Service) -> AsyncIterator[None]:
    """Nothing is stored at the end of a test that was not there before it, once its files have
    been deleted."""
    before = await asyncio.to_thread(copies, cluster)
    yield

    async def more() -> set[Copy]:
        return await asyncio.to_thread(copies, cluster) - before

    await eventually(more, 30, equals=set())


@pytest.mark.parametrize("step", [700_000, 5 * MIB])
@pytest.mark.parametrize("right", [True, False])
async def test_parts_that_came_through_two_processes_are_one_file(
    service: Service, other: Service, needles: None, step: int, right: bool
) -> None:
    seen = hashlib.sha256(CONTENT if right else b"other").digest()
    said = {"Repr-Digest": f"sha-256=:{base64.b64encode(seen).decode()}:"}
    upload = await start(service, FILE, len(CONTENT), said)
    offset = turn = 0
    while offset < len(CONTENT):
        here = upload.at((service, other)[turn % 2])
        assert await here.offset() == offset
        answer = await here.patch(offset, CONTENT[offset : offset + step])
        offset, turn = min(offset + step, len(CONTENT)), turn + 1
        if offset < len(CONTENT):
            assert answer.status == 204
    if not right:
        assert answer.status == 400
        assert (await upload.head()).status == 404
        return
    assert answer.status == 204
    for one in (service, other):
        assert await one.get(FILE, {"Cache-Control": "no-cache"}) == (200, CONTENT)
        again = await upload.at(one).patch(len(CONTENT))
        assert (again.status, again.headers["ETag"]) == (204, answer.headers["ETag"])
    await service.delete(FILE)


async def test_watchers_follow_an_upload_from_one_process_to_the_other(
    service: Service, other: Service
) -> None:
    upload = await start(service, FILE, len(CONTENT))
    async with (
        watching(service.port, upload.id, service.bearer()) as near,
        watching(other.port, upload.id, service.bearer()) as far,
    ):
        for turn, offset in enumerate(range(0, len(CONTENT), 2 * MIB)):
            here = upload.at((service, other)[turn % 2])
            answer = await here.patch(offset, CONTENT[offset : offset + 2 * MIB])
            assert answer.status == 204
        for stream in (near, far):
            last = await stream.last()
            assert (last["bytes"], last["total"]) == (len(CONTENT), len(CONTENT))
            assert "error" not in last
    await service.delete(FILE)


@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
async def test_a_request_of_another_process_that_hangs_is_taken_over(
    service: Service, other: Service, needles: None, method: str
) -> None:
    upload = await start(service, FILE, len(CONTENT))
    async with connect(service.port) as connection:
        headers = upload.patching(0, Content_Length=str(len(CONTENT)))
        connection.send("PATCH", upload.location, headers)
        connection.send_raw(CONTENT[: 6 * MIB])

        async def recorded() -> int:
            sessions = service.app[UPLOADS].sessions
            return (await sessions.find(upload.id, "alice")).received

        await eventually(recorded)
        later = upload.at(other)
        if method == "DELETE":
            assert (await later.delete()).status == 204
        else:
            offset = await later.offset()
            assert 2 * MIB <= offset <= 6 * MIB
            answer = await later.patch(offset, CONTENT[offset:])
            assert answer.status == 204
            assert "ETag" in answer.headers
        assert (await connection.answer()).status == 409
    if method == "HEAD":
        assert await service.get(FILE, {"Cache-Control": "no-cache"}) == (200, CONTENT)
        await service.delete(FILE)


async def test_what_has_expired_is_freed_by_any_process(
    service: Service, other: Service, needles: None, postgres: Postgres
) -> None:
    uploads = [
        await start(service, f"/storage/default/{number}", len(CONTENT), body=CONTENT[: 5 * MIB])
        for number in range(3)
    ]
    sql = "UPDATE uploads SET expires_at = now() - interval '1 hour'"
    await asyncio.to_thread(postgres.execute, sql, "test")
    sweepers = [Sweeper(one.app[UPLOADS]) for one in (service, other)]
    await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))
    assert sum(one.app[UPLOADS].events["expired"] for one in (service, other)) == len(uploads)
    for upload in uploads:
        assert (await upload.head()).status == 404
