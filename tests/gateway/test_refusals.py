"""What the gateway says by itself, and what a request that changed nothing leaves in its cache."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from itertools import count
from pathlib import Path

import pytest

from manifests.gateway import Nginx
from manifests.laptop.server import listens
from manifests.laptop.weed import free_ports
from tests.gateway.conftest import (
    CHECK_SECONDS,
    STORABLE,
    Gateway,
    Recorder,
    Recorders,
    from_cache,
    recording,
)
from tests.support.client import Answer, call, connect
from tests.support.launcher import START_SECONDS, Program
from tests.support.waiting import wait_until

_numbers = count()
KIB = 1024


@pytest.fixture
async def kept(recorder: Recorder) -> str:
    """The path of a file whose answer is in the cache."""
    path = f"/storage/default/refusals-{next(_numbers)}"
    recorder.answer = STORABLE
    async with connect(recorder.gateway_port) as client:
        for cached in (False, True):
            assert from_cache(await client.ask("GET", path)) == cached
    return path


async def is_kept(recorder: Recorder, path: str) -> bool:
    recorder.answer, recorder.dies, recorder.wants = STORABLE, False, 1
    return from_cache(await call(recorder.gateway_port, "GET", path))


async def ask(recorder: Recorder, method: str, path: str) -> Answer:
    return await call(recorder.gateway_port, method, path, {"Authorization": "Bearer x"}, b"x")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 412, 413, 431, 501])
async def test_what_was_refused_evicts_nothing(recorder: Recorder, kept: str, status: int) -> None:
    recorder.answer = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
    for method in ("PUT", "POST", "DELETE", "PATCH", "MOVE", "NONSENSE"):
        for path in (kept, "/storage/namespaces/default", "/nonsense", "/storage/x", "/"):
            assert (await ask(recorder, method, path)).status == status
    assert await is_kept(recorder, kept)


async def test_a_client_that_leaves_evicts_nothing_by_that(recorder: Recorder, kept: str) -> None:
    recorder.answer = b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"
    for path in ("/nonsense", kept, "/storage/namespaces/default"):
        for line, body in (
            (f"DELETE {path}", ""),
            (f"DELETE {path}", "Authorization: Bearer x\r\n"),
            (f"PUT {path}", "Content-Length: 9\r\n\r\nhalf"),
            (f"PUT {path}", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ):
            async with connect(recorder.gateway_port) as client:
                client.send_raw(f"{line} HTTP/1.1\r\nHost: x\r\n{body}\r\n".encode())
                await client.drain()
                await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    assert await is_kept(recorder, kept)


async def test_a_change_whose_body_does_not_come_evicts_nothing(
    recorder: Recorder, kept: str
) -> None:
    """It has a second here."""
    recorder.wants = 9
    async with connect(recorder.gateway_port) as client:
        client.send_raw(f"PUT {kept} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".encode())
        assert await client.rest() == b""
    assert await is_kept(recorder, kept)


async def test_a_change_elsewhere_evicts_nothing(recorder: Recorder, kept: str) -> None:
    recorder.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    for method in ("PUT", "POST", "DELETE"):
        for path in ("/nonsense", "/", "/storage/links", "/storage/namespaces", "/storage/x"):
            await ask(recorder, method, path)
        await ask(recorder, method, "/storage/namespaces/other")
        await ask(recorder, method, f"{kept}-not")
    assert await is_kept(recorder, kept)


@pytest.mark.parametrize("status", [200, 201, 204, 303, 500, 503, 507])
async def test_what_may_have_been_changed_is_evicted(
    recorder: Recorder, kept: str, status: int
) -> None:
    recorder.answer = b"HTTP/1.1 %d So\r\nContent-Length: 0\r\n\r\n" % status
    if status == 204:
        recorder.answer = b"HTTP/1.1 204 So\r\n\r\n"
    assert (await ask(recorder, "PUT", kept)).status == status
    assert not await is_kept(recorder, kept)


@pytest.mark.parametrize("spelled", ["/storage/./default/", "/././storage/default/./"])
async def test_a_dot_segment_is_none(recorder: Recorder, kept: str, spelled: str) -> None:
    await ask(recorder, "PUT", kept.replace("/storage/default/", spelled))
    assert not await is_kept(recorder, kept)


async def test_a_change_of_which_nobody_says_what_became_is_evicted(
    recorder: Recorder, kept: str
) -> None:
    recorder.wants = 9  # the answer does not come within the second that it has here
    answer = await ask(recorder, "PUT", kept)
    assert (answer.status, "check whether" in answer.problem()) == (502, True)
    assert not await is_kept(recorder, kept)


async def test_a_change_that_reached_nobody_evicts_nothing(recorders: Recorders) -> None:
    path = f"/storage/default/refusals-{next(_numbers)}"
    async with recording(recorders.ports) as recorder, connect(recorders.gateway_port) as client:
        recorder.answer = STORABLE
        for _ in range(2):
            await client.ask("GET", path)
    assert (await call(recorders.gateway_port, "DELETE", path)).status == 502
    async with recording(recorders.ports) as recorder:
        recorder.gateway_port = recorders.gateway_port
        assert await is_kept(recorder, path)
        await asyncio.sleep(3 * CHECK_SECONDS)


async def test_a_cached_answer_has_the_id_of_its_own_request(recorder: Recorder) -> None:
    answer = STORABLE.replace(b"\r\n\r\n", b"\r\nX-Request-Id: first\r\n\r\n")
    async with connect(recorder.gateway_port) as client:
        for name, cached in (("first", False), ("second", True), ("third", True)):
            recorder.answer = answer
            got = await client.ask("GET", "/storage/default/ids", {"X-Request-Id": name})
            assert from_cache(got) == cached
            assert got.headers.getall("X-Request-Id") == [name]
        made = await client.ask("GET", "/storage/default/ids")
        assert len(made.headers["X-Request-Id"]) == 32


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /a b c HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: a\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /" + b"y" * 9 * KIB + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"y" * 9 * KIB + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"X: " + b"y" * 7 * KIB + b"\r\n") * 5 + b"\r\n", 431),
    ],
)
async def test_what_the_gateway_refuses_is_a_problem_document(
    recorder: Recorder, request_: bytes, status: int
) -> None:
    async with connect(recorder.gateway_port) as client:
        client.send_raw(request_)
        answer = await client.answer()
    assert (answer.status, answer.problem() != "") == (status, True)
    assert answer.headers["X-Request-Id"]
    assert ("Allow" in answer.headers) == (status == 405)
    assert recorder.heads == []


async def test_a_head_of_30_kib_goes_through(recorder: Recorder) -> None:
    fields = {f"X-{number}": "y" * 7 * KIB for number in range(4)}
    assert (await call(recorder.gateway_port, "GET", "/storage/default/a", fields)).status == 200
    assert len(recorder.heads[0]) > 28 * KIB


async def test_http_1_0_needs_no_host(gateway: Gateway) -> None:
    await gateway.put("/storage/default/old", b"old")
    for target, status in (("/storage/default/old", 200), ("/healthz", 200), ("/nowhere", 404)):
        async with connect(gateway.port) as client:
            client.send_raw(f"GET {target} HTTP/1.0\r\n\r\n".encode())
            assert (await client.head())[0] == status
    async with connect(gateway.port) as client:
        client.send_raw(b"OPTIONS / HTTP/1.0\r\n\r\n")
        status, headers = await client.head()
        assert (status, headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    await gateway.delete("/storage/default/old")


def test_it_starts_where_standard_output_is_a_socket(nginx: Nginx, tmp_path: Path) -> None:
    """As it is under journald. The requests are logged there, and nothing is left at the end."""
    port, upstream = free_ports(2)
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "manifests.gateway", "-listen", f"127.0.0.1:{port}"]
    command += ["-upstream", f"127.0.0.1:{upstream}", "-home", str(tmp_path), "-workers", "1"]
    with ours, Program(*command, env=os.environ, stdout=theirs.fileno()) as process:
        theirs.close()
        try:
            wait_until(lambda: listens(port), START_SECONDS)
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404 ")
            assert json.loads(body)["status"] == 404
            ours.settimeout(10)
            assert b" GET 404 " in ours.recv(4096)
        finally:
            process.signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert ours.recv(4096) == b"", "whatever copies has ended"
