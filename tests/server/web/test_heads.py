"""How much of a head is read, what is said where it is too much, and what is kept of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from contextlib import AsyncExitStack

import pytest

from sfs_server.http.wellformed import (
    MAX_FIELD_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_SLASHES,
    MAX_TARGET_BYTES,
    without_dot_segments,
)
from sfs_server.web.connection import MAX_AHEAD
from tests.support.client import Answer, call, connect
from tests.support.events import watching
from tests.support.service import Service
from tests.support.waiting import eventually

SITE = "https://site.example"


@pytest.fixture
def settings() -> dict[str, object]:
    return {"cors_origins": (SITE,)}


def filled(size: int, line: str = "GET /healthz HTTP/1.1") -> bytes:
    """A head of ``size`` bytes."""
    head = f"{line}\r\nHost: a\r\n"
    while (left := size - len(head) - 2) > 8000:
        head += "F: ".ljust(3998, "x") + "\r\n"
    whole = f"{head}{'G: '.ljust(left - 2, 'x')}\r\n\r\n".encode()
    assert len(whole) == size
    return whole


async def sent(service: Service, *pieces: bytes, pause: float = 0.0) -> Answer:
    """The one response to ``pieces``, which ends the connection."""
    async with connect(service.port) as connection:
        for piece in pieces:
            connection.send_raw(piece)
            await asyncio.sleep(pause)
        response = await connection.answer()
        assert "Connection" in response.headers, (response.status, response.headers)
        assert response.headers["Connection"] == "close"
        assert await connection.rest() == b""
        return response


async def test_a_head_has_32_kib_in_all(service: Service) -> None:
    async with connect(service.port) as connection:
        for beyond, status in ((0, 200), (0, 200), (1, 431)):
            connection.send_raw(filled(MAX_HEAD_BYTES + beyond))
            assert (await connection.answer()).status == status
    for size in (MAX_HEAD_BYTES + 1, 2 * MAX_HEAD_BYTES, 20 * MAX_HEAD_BYTES):
        response = await sent(service, filled(size))
        assert (response.status, "too large" in response.problem()) == (431, True), size
    async with connect(service.port) as connection:
        for _ in range(2 * MAX_HEAD_BYTES // 1000):  # each has one of its own
            connection.send_raw(filled(1000))
            assert (await connection.answer()).status == 200


@pytest.mark.both_loops
async def test_a_head_that_is_too_large_is_refused_before_it_has_come_whole(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    half = filled(2 * MAX_HEAD_BYTES)[:-2]
    step = 5000
    pieces = [half[start : start + step] for start in range(0, MAX_HEAD_BYTES + 1, step)]
    assert (await sent(service, *pieces, pause=0.01)).status == 431
    async with connect(service.port) as connection:
        connection.send_raw(filled(100) + half[:100])
        assert (await connection.answer()).status == 200
        connection.send_raw(half[100:])
        assert (await connection.answer()).status == 431
    assert (await sent(service, b"\r\n" * MAX_HEAD_BYTES)).status == 431
    assert caplog.records == []


async def test_what_is_too_large_in_a_head_is_said(service: Service) -> None:
    cookie = "Cookie: " + "c" * 9000
    for lines, status in (
        (("GET / HTTP/1.1", cookie), 431),
        (("GET / HTTP/1.1", "N" * (MAX_FIELD_BYTES + 1) + ": x"), 431),
        (("GET / HTTP/1.1", *["X: y"] * MAX_HEADERS), 431),
        (("GET /" + "y" * MAX_TARGET_BYTES + " HTTP/1.1",), 414),
        (("GET /?" + "y" * MAX_TARGET_BYTES + " HTTP/1.1",), 414),
        (("GET /" + "/" * MAX_SLASHES + " HTTP/1.1",), 414),
    ):
        for origin in (SITE, "https://evil.example"):
            request, *fields = lines
            head = "\r\n".join((request, "Host: a", f"Origin: {origin}", *fields, "", ""))
            response = await sent(service, head.encode())
            assert response.status == status, lines
            assert response.problem()
            allowed = response.headers.get("Access-Control-Allow-Origin")
            assert allowed == (SITE if origin == SITE else None), lines
            assert response.headers["Vary"] == "Origin"
    visit = f"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n{cookie}\r\n\r\n"
    page = await sent(service, visit.encode())
    assert (page.status, page.headers["Content-Type"]) == (431, "text/html; charset=utf-8")
    assert b"cookies" in page.body


async def test_a_character_that_must_be_encoded_is_named(service: Service) -> None:
    for target in ("/storage/files?prefix=é", "/storage/default/é", "/é"):
        response = await sent(service, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert response.status == 400
        assert "Percent-encode" in response.problem()


async def test_trailers_and_chunks_that_go_on_for_ever_are_refused(service: Service) -> None:
    """While the upload waits for the rest of its body."""
    head = (
        f"PUT /storage/default/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        f"Authorization: Bearer {service.token()}\r\n\r\n1\r\nx\r\n"
    ).encode()
    trailers = b"".join(b"T%d: %b\r\n" % (number, b"t" * 4000) for number in range(20))
    for rest, status in (
        (b"0\r\n" + trailers, 431),
        (b"1;" + b"e" * 2 * MAX_HEAD_BYTES, 431),
        (b"z\r\n", 400),
        (b"1\r\nxyz\r\n", 400),
        (b"1 \r\nx\r\n", 400),
        (b"1\r\nx\r\n0\r\nBad Name: x\r\n\r\n", 400),
    ):
        assert (await sent(service, head, rest, pause=0.1)).status == status, rest[:20]
    assert await service.get("/storage/files") == (200, b"[]\n")


async def test_an_absolute_target_is_read_without_its_host(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    for host in ("b", "b:80", "[::1]:80", "xn--a", "xn--bcher-kva.example", "xn--99999999"):
        response = await call(service.port, "GET", f"http://{host}/storage/default/a")
        assert (response.status, response.body) == (200, b"x"), host
    for host in ("xn--" + "a" * 4000, "a." * 200, "[::::]", "[" + ":" * 4000 + "]", "a,b"):
        response = await sent(service, f"GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert response.status == 400, host


async def test_a_length_of_thousands_of_digits_is_refused(service: Service) -> None:
    for digits in ("0" * 5000, "0" * 5000 + "1"):
        for line in ("GET /healthz", "PUT /storage/default/a", "POST /storage/links"):
            head = f"{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {digits}\r\n\r\nx"
            assert (await sent(service, head.encode())).status == 400, line


# Dot segments.


@pytest.mark.parametrize(
    ("path", "without"),
    [
        ("/a/b", "/a/b"),
        ("/./a", "/a"),
        ("/a/./b", "/a/b"),
        ("/a/././b", "/a/b"),
        ("/a/.", "/a/"),
        ("/a/./", "/a/"),
        ("/.", "/"),
        ("/././.", "/"),
        ("/.a/b./..", "/.a/b./.."),
        ("/a/../b", "/a/../b"),
        ("/%2e/a", "/%2e/a"),
        ("/.%2e/a", "/.%2e/a"),
        ("", ""),
        ("*", "*"),
    ],
)
def test_a_dot_segment_is_removed(path: str, without: str) -> None:
    assert without_dot_segments(path) == without


async def test_a_path_with_dot_segments_is_the_path_without_them(service: Service) -> None:
    await service.put("/storage/default/./a", b"x")
    async with connect(service.port) as connection:
        for target in (
            "/storage/default/a",
            "/storage/default/a?x=1",
            "/storage/default/a?",
            "http://b/storage/default/a",
            "/./storage/./default/././a",
            "http://b/./storage/./default/a",
        ):
            response = await connection.ask("GET", target)
            assert (response.status, response.body) == (200, b"x"), target
            shared = "public" in response.headers["Cache-Control"]
            assert shared == (target == "/storage/default/a"), "no upload would evict it"
        assert (await connection.ask("GET", "/./healthz")).status == 200
        assert (await connection.ask("GET", "/storage/./files?prefix=./")).json() == []
        for segment in ("..", "%2e", "%2E%2e", ".%2e"):
            for target in (f"/storage/{segment}/a", f"/storage/default/{segment}"):
                assert (await connection.ask("GET", target)).status == 400, target
        assert (await connection.ask("GET", "/storage/default/a?x=/./")).status == 200


# What is kept.


def _allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_a_stream_keeps_nothing_of_the_head_that_asked_for_it(service: Service) -> None:
    """Nor of what its client sends after that."""
    streams = 10
    head = filled(MAX_HEAD_BYTES, "GET /sse/progress?id=t HTTP/1.1")
    async with AsyncExitStack() as stack:
        async with watching(service.port, "t"):
            pass
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        before = _allocated()
        for _ in range(streams):
            connection = await stack.enter_async_context(connect(service.port))
            connection.send_raw(head + filled(MAX_HEAD_BYTES) * (MAX_AHEAD - 1) + b"GET /")
            assert (await connection.head())[0] == 200
            for _ in range(20):
                connection.send_raw(b"GET / HTTP/1.1\r\nX: " + b"x" * 5000)
                await connection.drain()
        await eventually(lambda: (_allocated() - before) / streams < MAX_HEAD_BYTES)


async def test_few_requests_are_read_ahead(service: Service) -> None:
    """What a client sends behind a request that is being handled is read when its turn comes."""
    await service.put("/storage/default/large", bytes(8_000_000))
    async with connect(service.port, receive_buffer=4096) as connection:
        connection.send("GET", "/storage/default/large")
        assert (await connection.head())[0] == 200
        for _ in range(200):
            connection.send_raw(filled(MAX_HEAD_BYTES))
        await eventually(lambda: ahead(service) == MAX_AHEAD)
        await asyncio.sleep(0.2)
        assert ahead(service) == MAX_AHEAD


def ahead(service: Service) -> int:
    """How many requests wait behind the one that is being handled."""
    return max(len(connection._messages) for connection in service.connections)


# HTTP/1.0, and OPTIONS.


async def test_a_body_without_a_length_ends_with_its_connection(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    for target, fields in (("/storage/files", ""), ("/sse/progress?id=a", "")):
        async with connect(service.port) as connection:
            line = f"GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n{fields}\r\n"
            connection.send_raw(line.encode())
            status, headers = await connection.head()
            assert status == 200
            assert "Transfer-Encoding" not in headers
            assert headers.get("Connection", "close") == "close"
            if target == "/storage/files":
                assert (await connection.rest()).endswith(b"]\n")
    async with connect(service.port) as connection:
        for _ in range(2):
            connection.send_raw(
                b"GET /storage/default/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
            )
            response = await connection.answer()
            assert (response.body, response.headers["Connection"]) == (b"x", "keep-alive")


async def test_options_says_what_a_path_takes(service: Service) -> None:
    for target, allowed in (
        ("*", "DELETE GET HEAD MKCOL MOVE OPTIONS PATCH POST PUT"),
        ("/", "GET HEAD OPTIONS"),
        ("/healthz", "GET HEAD OPTIONS"),
        ("/storage/default/a", "DELETE GET HEAD MKCOL MOVE OPTIONS POST PUT"),
    ):
        for rest in (" HTTP/1.0\r\n\r\n", " HTTP/1.1\r\nHost: a\r\n\r\n"):
            async with connect(service.port) as connection:
                connection.send_raw(f"OPTIONS {target}{rest}".encode())
                response = await connection.answer()
                assert (response.status, response.body) == (204, b""), target
                assert set(response.headers["Allow"].split(", ")) == set(allowed.split())
