"""Clients of the gateway that leave, or send no more, once their request has come whole."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from functools import partial
from pathlib import Path

import pytest

from tests.gateway.conftest import Gateway
from tests.support.client import MIB, call, encode
from tests.support.departures import LEAVES, SIZES, client, send_and_leave
from tests.support.events import watching
from tests.support.uploads import WAYS, request
from tests.support.waiting import eventually

CONTENT = hashlib.shake_256(b"departures").digest(3_000_000)


@pytest.mark.parametrize("leave", LEAVES)
async def test_an_upload_that_has_come_whole_is_stored(gateway: Gateway, leave: str) -> None:
    for way in WAYS:
        for size in SIZES:
            path = f"/storage/default/{leave}-{way.replace(' ', '-')}-{size}"
            whole = request("PUT", path, way, CONTENT[:size], gateway.bearer())
            answer = await send_and_leave(gateway.port, whole, leave)
            await eventually(partial(gateway.status, path), equals=200)
            assert (await gateway.get(path)).body == CONTENT[:size]
            assert answer.startswith(b"HTTP/1.1 201 ") == (leave == "half-close"), path
            await gateway.delete(path)


@pytest.mark.parametrize("leave", LEAVES)
async def test_what_has_not_come_whole_stores_nothing(gateway: Gateway, leave: str) -> None:
    """And keeps nobody waiting for the rest."""
    paths = []
    for way in WAYS:
        for size in SIZES[1:]:
            path = f"/storage/default/cut-{leave}-{way.replace(' ', '-')}-{size}"
            whole = request("PUT", path, way, CONTENT[:size], gateway.bearer())
            # The last two bytes of a form are behind its end, but of its body.
            await send_and_leave(gateway.port, whole[:-1], leave)
            paths.append(path)
    await eventually(lambda: in_progress(gateway) == 0)
    for path in paths:
        assert (await gateway.get(path)).status == 404, path


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_client_that_sends_no_more_gets_its_response(
    gateway: Gateway, version: str
) -> None:
    await gateway.put("/storage/default/large", CONTENT * 4)
    await gateway.put("/storage/default/small", b"small")
    for _ in range(2):  # the second time from the cache, where it may be
        for target in ("/storage/default/small", "/storage/default/large", "/storage/files"):
            whole = encode("GET", target, version=f"HTTP/{version}")
            answer = await send_and_leave(gateway.port, whole, "half-close")
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.split()[1] == b"200"
            if target.endswith("small"):
                assert body == b"small"
            if target.endswith("large"):
                # nginx takes a FIN for the end of the client where it arrives while nginx itself
                # still has bytes to send (ngx_http_test_reading); mostly it has arrived before.
                assert (CONTENT * 4).startswith(body)
                assert f"content-length: {4 * len(CONTENT)}".encode() in head.lower()
    for name in ("large", "small"):
        await gateway.delete(f"/storage/default/{name}")


async def test_a_download_and_an_event_stream_end_with_their_clients(gateway: Gateway) -> None:
    await gateway.put("/storage/default/huge", bytes(60 * MIB))
    loop = asyncio.get_running_loop()
    await eventually(lambda: in_progress(gateway) == 0)
    async with client(gateway.port) as channel:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_sendall(channel, encode("GET", "/storage/default/huge"))
        await loop.sock_recv(channel, 1000)
        assert in_progress(gateway) > 0
    await eventually(lambda: in_progress(gateway) == 0)
    async with watching(gateway.port, "t"):
        await eventually(lambda: in_progress(gateway) > 0)
    await eventually(lambda: in_progress(gateway) == 0)
    await gateway.delete("/storage/default/huge")


def in_progress(gateway: Gateway) -> int:
    """Connections between the gateway and SFS that are not idle: those are closed after 1 s."""
    ports = {f":{process.port:04X}" for process in gateway.processes}
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return sum(remote[-5:] in ports and state == "01" for _, _, remote, state, *_ in fields)


async def test_a_digest_in_a_trailer_is_refused_where_it_is_announced(gateway: Gateway) -> None:
    whole = request(
        "PUT", "/storage/default/t", "chunked", b"x", {**gateway.bearer(), "Trailer": "Repr-Digest"}
    )
    answer = await send_and_leave(gateway.port, whole, "half-close")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Repr-Digest" in answer


async def test_a_refused_part_evicts_nothing(gateway: Gateway) -> None:
    await gateway.put("/storage/default/kept", b"whole")
    await gateway.stored("/storage/default/kept")
    named = {**gateway.bearer(), "Upload-Complete": "?0"}
    answer = await call(gateway.port, "PUT", "/storage/default/kept", named, b"pa")
    assert answer.status == 501
    found = await gateway.get("/storage/default/kept")
    assert (found.body, "Age" in found.headers) == (b"whole", True)
    await gateway.delete("/storage/default/kept")
