"""Clients that leave, or end what they send, once their request has come whole: it is carried out
(RFC 9110 §9), and its response is sent to a client that still reads (RFC 9112 §9.6)."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from typing import Any

import pytest

from gfs.api import Reader, Writer
from sfs_server.auth.claims import Principal
from sfs_server.web.keys import FILESYSTEM, LIFECYCLE, NAMESPACES, PROGRESS
from tests.support.client import encode
from tests.support.departures import LEAVES, SIZES, client, everything, send_and_leave
from tests.support.service import Service
from tests.support.uploads import WAYS, nothing_left, request, vanish
from tests.support.waiting import eventually

CONTENT = random.Random(11).randbytes(3_000_000)


async def stored(service: Service, name: str) -> bytes | None:
    path = service.data / "files" / "default" / name
    await eventually(path.exists)
    return path.read_bytes()


@pytest.mark.both_loops
@pytest.mark.parametrize("leave", LEAVES)
async def test_an_upload_that_has_come_whole_is_stored(service: Service, leave: str) -> None:
    tasks = asyncio.all_tasks()
    for way in WAYS:
        for method in ("PUT", "POST"):
            for size in SIZES:
                name = f"{way.replace(' ', '-')}-{method}-{size}"
                whole = request(
                    method, f"/storage/default/{name}", way, CONTENT[:size], service.bearer()
                )
                response = await send_and_leave(service.port, whole, leave)
                assert await stored(service, name) == CONTENT[:size], name
                assert response.startswith(b"HTTP/1.1 201 ") == (leave == "half-close"), name
    await nothing_left(service, tasks)


@pytest.mark.both_loops
@pytest.mark.parametrize("leave", LEAVES)
async def test_every_change_that_has_come_whole_is_made(service: Service, leave: str) -> None:
    headers, namespaces = service.bearer(), service.app[NAMESPACES]
    files, base = service.data / "files", "/storage/namespaces"

    async def hidden() -> bool | None:
        found = await namespaces.resolve("n", Principal("root", admin=True))
        return None if found is None else found.hidden

    async def there() -> bool:
        return (files / "n" / "f").exists()

    for method, target, body, state, becomes in (
        ("POST", base, b'{"name": "n"}', hidden, False),
        ("PUT", f"{base}/n", b'{"hidden": true}', hidden, True),
        ("PUT", "/storage/n/f", b"x", there, True),
        ("DELETE", "/storage/n/f", b"", there, False),
        ("DELETE", f"{base}/n", b"", hidden, None),
    ):
        whole = encode(method, target, headers, body)
        response = await send_and_leave(service.port, whole, leave)
        assert response.startswith(b"HTTP/1.1 20") == (leave == "half-close"), (method, target)
        await eventually(state, equals=becomes)


@pytest.mark.both_loops
async def test_a_change_goes_on_when_its_client_is_reset(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever the handler waits for: here before a byte of the body is read."""
    tasks, reached, may = asyncio.all_tasks(), asyncio.Event(), asyncio.Event()
    create = service.app[FILESYSTEM].create

    async def slow(*args: Any, **named: Any) -> Writer:
        reached.set()
        await may.wait()
        return await create(*args, **named)

    monkeypatch.setattr(service.app[FILESYSTEM], "create", slow)
    for way in WAYS:
        for expect in ({}, {"Expect": "100-continue"}):
            reached.clear()
            may.clear()
            name = f"{way.replace(' ', '-')}-{len(expect)}"
            named = {**service.bearer(), **expect}
            whole = request("PUT", f"/storage/default/{name}", way, CONTENT[:20_000], named)
            await send_and_leave(service.port, whole, "reset")
            await asyncio.wait_for(reached.wait(), 5)
            await asyncio.sleep(0.05)
            may.set()
            assert await stored(service, name) == CONTENT[:20_000], name
    await nothing_left(service, tasks)


@pytest.mark.both_loops
@pytest.mark.parametrize("leave", LEAVES)
async def test_what_came_whole_behind_another_request_is_carried_out_and_nothing_else(
    service: Service, leave: str
) -> None:
    await service.put("/storage/default/large", CONTENT * 4)
    tasks, headers = asyncio.all_tasks(), service.bearer()
    put = [request("PUT", f"/storage/default/{n}", "raw", b"%d" % n, headers) for n in range(4)]
    get = encode("GET", "/storage/default/large")
    pipeline = put[0] + get + put[1] + put[2] + put[3][:-1]
    responses = await send_and_leave(service.port, pipeline, leave)
    for n in range(3):
        assert await stored(service, str(n)) == b"%d" % n
    if leave == "half-close":
        assert responses.count(b"HTTP/1.1 201 ") == 3
        assert CONTENT * 4 in responses
    await nothing_left(service, tasks)
    assert not (service.data / "files" / "default" / "3").exists()


@pytest.mark.both_loops
@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_read_that_waits_ends_with_its_client(
    service: Service, monkeypatch: pytest.MonkeyPatch, ahead: int, half_closed: bool
) -> None:
    """Also with another one behind it, and if the client has sent its last byte before."""
    tasks, reached = asyncio.all_tasks(), asyncio.Event()

    async def endless(*args: Any, **named: Any) -> Reader:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(service.app[FILESYSTEM], "open", endless)
    get = encode("GET", "/storage/default/a")
    async with client(service.port) as channel:
        await asyncio.get_running_loop().sock_sendall(channel, get * (1 + ahead))
        await asyncio.wait_for(reached.wait(), 5)
        if half_closed:
            channel.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.05)
            assert service.app[LIFECYCLE].running == 1
        vanish(channel)
    await nothing_left(service, tasks)


ROUTES = (
    "/storage/default/large",
    "/storage/download/default/large",
    "/storage/default/small",
    "/storage/files",
    "/storage/namespaces",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/storage/status",
    "/",
    "/storage/default/none",
)


@pytest.mark.both_loops
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_client_that_sends_no_more_gets_its_response(
    service: Service, version: str
) -> None:
    """And then the end of the connection, which such a client waits for."""
    await service.put("/storage/default/large", CONTENT * 4)
    await service.put("/storage/default/small", b"small")
    for target in ROUTES:
        whole = encode("GET", target, {"Accept": "*/*"}, version=f"HTTP/{version}")
        response = await send_and_leave(service.port, whole, "half-close")
        head, _, body = response.partition(b"\r\n\r\n")
        status, _, fields = head.partition(b"\r\n")
        assert status.split()[1] == (b"404" if target.endswith("none") else b"200"), target
        if b"Content-Length" in fields:
            length = re.search(rb"Content-Length: (\d+)", fields)
            assert length is not None
            assert len(body) == int(length[1]), target
        elif version == "1.1":
            assert body.endswith(b"0\r\n\r\n"), target
        if target.endswith("large"):
            assert body == CONTENT * 4
    tasks = asyncio.all_tasks()
    assert await send_and_leave(service.port, b"", "half-close") == b""
    assert await send_and_leave(service.port, b"GET / HTTP/1.1\r\nHo", "half-close") == b""
    await nothing_left(service, tasks)


@pytest.mark.both_loops
async def test_a_connection_ends_after_a_response_during_which_its_client_ended_its_side(
    service: Service,
) -> None:
    await service.put("/storage/default/large", CONTENT * 4)
    loop = asyncio.get_running_loop()
    async with client(service.port) as channel:
        await loop.sock_sendall(channel, encode("GET", "/storage/default/large"))
        started = await loop.sock_recv(channel, 1000)
        channel.shutdown(socket.SHUT_WR)
        head, _, body = (started + await everything(channel)).partition(b"\r\n\r\n")
    assert b"Connection: close" not in head, "the test does not do what it is for"
    assert body == CONTENT * 4


@pytest.mark.both_loops
async def test_a_download_ends_with_its_client_that_had_sent_all(service: Service) -> None:
    await service.put("/storage/default/large", CONTENT * 20)
    tasks = asyncio.all_tasks()
    for ranges in ("0-", "0-30000000,30000002-"):
        async with client(service.port) as channel:
            loop = asyncio.get_running_loop()
            get = encode("GET", "/storage/default/large", {"Range": f"bytes={ranges}"})
            await loop.sock_sendall(channel, get)
            channel.shutdown(socket.SHUT_WR)
            await loop.sock_recv(channel, 1000)
        await nothing_left(service, tasks)


@pytest.mark.both_loops
async def test_an_event_stream_goes_on_for_a_client_that_sends_no_more_and_ends_with_it(
    service: Service,
) -> None:
    loop, hub = asyncio.get_running_loop(), service.app[PROGRESS]
    watch = encode("GET", "/sse/progress?id=t", service.bearer())
    async with client(service.port) as channel:
        await loop.sock_sendall(channel, watch)
        channel.shutdown(socket.SHUT_WR)
        await eventually(lambda: len(hub.streams) == 1)
        await service.put("/storage/default/a?id=t", b"x")
        assert b'"done": true' in await everything(channel)
    await eventually(lambda: len(hub.streams) == 0)
    async with client(service.port) as channel:
        await loop.sock_sendall(channel, watch)
        await eventually(lambda: len(hub.streams) == 1)
        await loop.sock_recv(channel, 10_000)
    # Not only when the next comment is due.
    await eventually(lambda: len(hub.streams) == 0)


@pytest.mark.both_loops
@pytest.mark.parametrize("in_time", [True, False])
async def test_a_stop_waits_for_a_change_whose_client_has_left_and_cuts_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, in_time: bool
) -> None:
    tasks, reached, may = asyncio.all_tasks(), asyncio.Event(), asyncio.Event()
    real = service.app[FILESYSTEM].create

    async def slow(*args: Any, **named: Any) -> Writer:
        reached.set()
        await may.wait()
        return await real(*args, **named)

    monkeypatch.setattr(service.app[FILESYSTEM], "create", slow)
    whole = request("PUT", "/storage/default/f", "raw", b"x", service.bearer())
    await send_and_leave(service.port, whole, "reset")
    await asyncio.wait_for(reached.wait(), 5)
    await asyncio.sleep(0.05)
    assert service.app[LIFECYCLE].running == 1
    runner = service.server.runner
    assert runner is not None
    server = runner.server
    assert server is not None
    stopping = asyncio.create_task(server.shutdown(5 if in_time else 0.05))
    await asyncio.sleep(0.02)
    assert not stopping.done()
    if in_time:
        may.set()
        assert await stored(service, "f") == b"x"
    await asyncio.wait_for(stopping, 5)
    await nothing_left(service, tasks)
    assert (service.data / "files" / "default" / "f").exists() == in_time
    assert service.app[LIFECYCLE].running == 0
