"""What one client may have under way at the gateway, so that others get their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from manifests.gateway import Nginx
from manifests.laptop.weed import free_ports
from tests.gateway.conftest import recording, started
from tests.support.client import connect

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n"
)
"""What never ends."""

STREAMS, REQUESTS = 2, 4
EVENTS, OTHER = "/sse/progress?id=t", "/storage/default/f?x"


@pytest.fixture
async def port(nginx: Nginx) -> AsyncIterator[int]:
    """A gateway that believes X-Forwarded-For, before what answers everything with STREAM."""
    ports = free_ports(1)
    limits = {"requests": REQUESTS, "streams": STREAMS}
    with started(nginx, ports, trusted_proxies=["127.0.0.1"], **limits) as (found, _):  # type: ignore[arg-type]
        async with recording(ports) as recorder:
            recorder.answer = STREAM
            yield found


@asynccontextmanager
async def under_way(port: int, target: str, address: str) -> AsyncIterator[None]:
    """A request that was let through, and has not ended."""
    async with connect(port) as client:
        client.send("GET", target, {"X-Forwarded-For": address})
        status, _ = await client.head()
        assert status == 200
        yield


async def refused(port: int, target: str, address: str) -> bool:
    """Whether there is one too many; if so, that it says so."""
    async with connect(port) as client:
        client.send("GET", target, {"X-Forwarded-For": address})
        status, headers = await client.head()
        if status != 429:
            assert status == 200
            return False
        assert (headers["Retry-After"], headers["Cache-Control"]) == ("5", "no-store")
        assert headers["Content-Type"] == "application/problem+json"
        return True


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:0:0:2", "2001:db8:0:1::1"),
    ],
)
async def test_one_address_has_so_many_streams_and_requests(
    port: int, one: str, same: str, other: str
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(STREAMS):
            await stack.enter_async_context(under_way(port, EVENTS, one))
        assert await refused(port, EVENTS, same)
        for _ in range(REQUESTS - STREAMS):
            assert await refused(port, EVENTS, one)
            await stack.enter_async_context(under_way(port, OTHER, same))
        assert await refused(port, OTHER, same)
        assert not await refused(port, EVENTS, other)
        assert not await refused(port, OTHER, other)
    async with asyncio.timeout(10):
        while await refused(port, EVENTS, same):  # until the gateway has seen that they went
            await asyncio.sleep(0.05)
