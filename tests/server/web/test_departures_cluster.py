"""Clients that leave once their request has come whole, where the files are on a cluster."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sfs_server.config import Config
from sfs_server.web.keys import LIFECYCLE
from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.client import encode
from tests.support.departures import LEAVES, SIZES, client, send_and_leave
from tests.support.service import Service
from tests.support.uploads import WAYS, request
from tests.support.waiting import eventually

__all__ = ["cluster", "seaweed"]

CONTENT = hashlib.shake_256(b"departures").digest(9_000_000)


@pytest.fixture
def config(config: Config, cluster: Cluster) -> Config:
    """The settings of ``service``: on the cluster, at a place of the test's own."""
    return replace(config, master=cluster.masters, prefix=f"/{Path(config.data).parent.name}")


@pytest.mark.both_loops
@pytest.mark.parametrize("leave", LEAVES)
async def test_a_change_that_has_come_whole_is_made_and_no_other(
    service: Service, leave: str
) -> None:
    for way in WAYS:
        for size in (*SIZES, len(CONTENT)):
            path = f"/storage/default/{way.replace(' ', '-')}-{size}"
            whole = request("PUT", path, way, CONTENT[:size], service.bearer())
            response = await send_and_leave(service.port, whole, leave)
            await eventually(partial(service.get, path), equals=(200, CONTENT[:size]))
            assert response.startswith(b"HTTP/1.1 201 ") == (leave == "half-close"), path
            if size:
                short = request("PUT", path, way, b"y" * size, service.bearer())[:-3]
                await send_and_leave(service.port, short, leave)
    await eventually(lambda: service.app[LIFECYCLE].running == 0)
    for way in WAYS:
        for size in (*SIZES, len(CONTENT)):
            path = f"/storage/default/{way.replace(' ', '-')}-{size}"
            assert await service.get(path) == (200, CONTENT[:size])
            await send_and_leave(service.port, encode("DELETE", path, service.bearer()), leave)
            await eventually(partial(service.status, path), equals=404)


@pytest.mark.both_loops
async def test_a_client_that_sends_no_more_gets_its_file_and_one_that_leaves_ends_it(
    service: Service,
) -> None:
    await service.put("/storage/default/f", CONTENT)
    get = encode("GET", "/storage/default/f")
    response = await send_and_leave(service.port, get, "half-close")
    assert response.partition(b"\r\n\r\n")[2] == CONTENT
    async with client(service.port) as channel:
        await asyncio.get_running_loop().sock_sendall(channel, get)
        await asyncio.get_running_loop().sock_recv(channel, 1000)
    await eventually(lambda: service.app[LIFECYCLE].running == 0)
