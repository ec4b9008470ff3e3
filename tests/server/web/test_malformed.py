"""Bytes that no client library sends: they hold up no other client, and smuggle no request."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack

import pytest

from sfs_server.http.wellformed import MAX_FIELD_BYTES, MAX_HEADERS
from sfs_server.web import connection as connections
from tests.support.client import Connection, connect, encode
from tests.support.service import Service
from tests.support.uploads import begin, head

GET = b"GET /storage/default/a HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"1\r\nx\r\n0\r\n\r\n"
MANY = b"X: y\r\n"
STATUS = {
    "too many headers": 431,
    "far too many headers": 431,
    "a long header": 431,
    "a long target": 414,
    "too many trailers": 431,
}
"""Of what is refused for another reason than that it is malformed."""

WELL_UNDER_SECONDS = 10.0
"""The 75 that an idle connection gets."""


def put(service: Service, headers: bytes, body: bytes = b"x", name: bytes = b"b") -> bytes:
    """An upload whose framing is up to ``headers``."""
    token = service.token().encode()
    first = b"PUT /storage/default/%b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
    return first % (name, token) + headers + b"\r\n\r\n" + body


@pytest.mark.both_loops
async def test_what_two_programs_may_read_in_two_ways_is_refused_and_ends_the_connection(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    await service.put("/storage/default/a", b"x")
    cases = {
        "length twice, the same": put(service, b"Content-Length: 1\r\nContent-Length: 1"),
        "length twice in one field": put(service, b"Content-Length: 1, 1"),
        "length in hex": put(service, b"Content-Length: 0x1"),
        "length with an underscore": put(service, b"Content-Length: 1_0", b"x" * 10),
        "length with a space": put(service, b"Content-Length: 1 0", b"x" * 10),
        "empty length": put(service, b"Content-Length:"),
        "chunks and length": put(service, CHUNKED + b"\r\nContent-Length: 5", CHUNKS),
        "length and chunks": put(service, b"Content-Length: 5\r\n" + CHUNKED, CHUNKS),
        "chunked twice": put(service, CHUNKED + b"\r\n" + CHUNKED, CHUNKS),
        "chunked, chunked": put(service, CHUNKED + b", chunked", CHUNKS),
        "a coding inside the chunks": put(service, b"Transfer-Encoding: gzip, chunked", CHUNKS),
        "identity": put(service, b"Transfer-Encoding: identity", b""),
        "nearly chunked": put(service, b"Transfer-Encoding: xchunked", CHUNKS),
        "chunked behind a vertical tab": put(service, b"Transfer-Encoding: \x0bchunked", CHUNKS),
        "chunked in quotes": put(service, b'Transfer-Encoding: "chunked"', CHUNKS),
        "chunked on a folded line": put(service, b"Transfer-Encoding:\r\n chunked", CHUNKS),
        "space before the colon": put(service, b"Transfer-Encoding : chunked", CHUNKS),
        "chunks in HTTP/1.0": put(service, CHUNKED, CHUNKS).replace(b"HTTP/1.1", b"HTTP/1.0"),
        "bare line feeds": GET.replace(b"\r\n", b"\n") + b"\n",
        "one bare line feed": GET + b"X: y\nZ: z\r\n\r\n",
        "bare carriage return": GET + b"X: y\rZ: z\r\n\r\n",
        "line feed behind a chunk's size": put(service, CHUNKED, b"1\nx\r\n0\r\n\r\n"),
        "line feed behind a chunk": put(service, CHUNKED, b"1\r\nx\n0\r\n\r\n"),
        "line feed in a chunk's extension": put(service, CHUNKED, b"1;a\nb\r\nx\r\n0\r\n\r\n"),
        "nothing behind a chunk": put(service, CHUNKED, b"1\r\nx0\r\n\r\n"),
        "chunk longer than it says": put(service, CHUNKED, b"1\r\nxyz\r\n0\r\n\r\n"),
        "negative chunk": put(service, CHUNKED, b"-1\r\nx\r\n0\r\n\r\n"),
        "chunk size with a prefix": put(service, CHUNKED, b"0x1\r\nx\r\n0\r\n\r\n"),
        "chunk size behind a space": put(service, CHUNKED, b" 1\r\nx\r\n0\r\n\r\n"),
        "chunk size beyond 64 bits": put(service, CHUNKED, b"f" * 17 + b"\r\nx\r\n0\r\n\r\n"),
        "a length behind the chunks": put(
            service, CHUNKED, b"1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n"
        ),
        "too many headers": GET + MANY * MAX_HEADERS + b"\r\n",
        "far too many headers": GET + MANY * 10_000 + b"\r\n",
        "a long header": GET + b"X: " + b"y" * (MAX_FIELD_BYTES + 1) + b"\r\n\r\n",
        "a long target": b"GET /" + b"y" * MAX_FIELD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        "too many trailers": put(service, CHUNKED, b"1\r\nx\r\n0\r\n" + MANY * 10_000 + b"\r\n"),
        "a fragment": b"PUT /storage/default/b#c HTTP/1.1\r\nHost: a\r\n\r\n",
        "a target without a slash": b"GET storage/default/a HTTP/1.1\r\nHost: a\r\n\r\n",
        "a star for a target": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "a port that is none": b"GET http://b:99999/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "an address that is none": b"GET http://[::/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/1.2": GET.replace(b"1.1", b"1.2") + b"\r\n",
        "a space behind the version": GET.replace(b"1.1", b"1.1 ") + b"\r\n",
        "a host of 8000 characters": GET.replace(b"Host: a", b"Host: " + b"a" * 8000) + b"\r\n",
        "a host beyond ASCII": GET.replace(b"Host: a", b"Host: \xff") + b"\r\n",
        "a host with half an address": GET.replace(b"Host: a", b"Host: [::") + b"\r\n",
        "a host with a port of letters": GET.replace(b"Host: a", b"Host: a:b") + b"\r\n",
        "a host with a huge port": GET.replace(b"Host: a", b"Host: a:99999") + b"\r\n",
        "a method of 9000 letters": b"A" * 9000 + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    }
    caplog.set_level(logging.WARNING)
    wrong = []
    for name, data in cases.items():
        try:
            came = await service.raw(data + GET + b"\r\n", seconds=10)
        except (TimeoutError, ConnectionError) as error:
            wrong.append(f"{name}: {error!r}")
            continue
        expected = b"HTTP/1.1 %d " % STATUS.get(name, 400)
        if not came.startswith(expected) or came.count(b"Date: ") != 1:
            wrong.append(f"{name}: {came[:200]!r}")
    assert wrong == []
    listed = await service.get("/storage/files")
    assert listed[1].count(b'"name"') == 1
    assert caplog.records == []  # a client's mistake is no warning for the operator


@pytest.mark.both_loops
async def test_what_is_odd_and_allowed_is_read_as_it_is_meant(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    extension = b"1;" + b"e" * 4000 + b"\r\nx\r\n"
    for name, data, status in (
        ("empty lines before a request", b"\r\n\r\n" + GET + b"\r\n", 200),
        ("absolute form", GET.replace(b"GET ", b"GET http://b") + b"\r\n", 200),
        ("large letters", put(service, CHUNKED.upper(), CHUNKS), 201),
        ("an extension", put(service, CHUNKED, b'1;a=b;c="d"\r\nx\r\n0\r\n\r\n'), 200),
        ("long extensions", put(service, CHUNKED, extension + b"0\r\n\r\n"), 200),
        ("zeros", put(service, b"Content-Length:\t0001"), 200),
        ("a star", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204),
        ("a tunnel", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 404),
    ):
        async with connect(service.port) as connection:
            connection.send_raw(data)
            assert (await connection.answer()).status == status, name
            if status < 400:
                assert (await connection.ask("GET", "/storage/default/a")).body == b"x", name
        if data.startswith(b"PUT"):
            assert await service.get("/storage/default/b") == (200, b"x"), name


async def test_an_upgrade_is_ignored(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    for upgrade in ("h2c", "websocket", "TLS/1.0"):
        async with connect(service.port) as connection:
            named = {"Connection": "Upgrade", "Upgrade": upgrade}
            response = await connection.ask("GET", "/storage/default/a", named)
            assert (response.status, response.body) == (200, b"x")
            assert response.headers["Connection"] == "close"
            assert await connection.rest() == b""


async def test_pipelined_requests_get_their_responses_in_order(service: Service) -> None:
    for number in range(4):
        await service.put(f"/storage/default/{number}", b"x" * number)
    order = [number % 4 for number in range(300)]
    async with connect(service.port) as connection:
        for number in order:
            connection.send("GET", f"/storage/default/{number}")
        for number in order:
            assert (await connection.answer()).body == b"x" * number
        connection.send_raw(b"BAD\r\n\r\n")
        connection.send("GET", "/storage/default/1")
        assert (await connection.answer()).status == 400
        assert await connection.rest() == b""


# Slowness.


async def closed(connection: Connection) -> bytes:
    """What comes before the service closes the connection."""
    async with asyncio.timeout(WELL_UNDER_SECONDS):
        return await connection.broken_body()


@pytest.mark.both_loops
async def test_a_head_that_does_not_come_to_its_end_is_given_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)

    async def trickle(data: bytes, *, again: bool, pause: float) -> float:
        """How long the service reads a head that comes byte by byte."""
        async with connect(service.port) as connection:
            if again:
                assert (await connection.ask("GET", "/healthz")).status == 200
            started = time.monotonic()
            task = asyncio.create_task(closed(connection))
            for byte in data * 1000:
                connection.send_raw(bytes([byte]))
                if (await asyncio.wait({task}, timeout=pause))[0]:
                    break
            assert await task == b""
            return time.monotonic() - started

    times = await asyncio.gather(
        *(
            trickle(data, again=again, pause=pause)
            for data in (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n")
            for again in (False, True)
            for pause in (0.02, 5.0)
        )
    )
    assert min(times) > 0.3, times


async def test_what_is_slow_but_no_head_has_no_such_limit(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    async with connect(service.port) as idle, connect(service.port) as sending:
        rest = await begin(service, sending, "PUT", "/storage/default/a", b"x" * 1000)
        whole = head("GET", "/healthz", {})
        idle.send_raw(whole[:10])
        await asyncio.sleep(0.1)
        idle.send_raw(whole[10:])
        assert (await idle.answer()).status == 200
        await asyncio.sleep(0.5)
        assert (await idle.ask("GET", "/healthz")).status == 200
        sending.send_raw(rest)
        assert (await sending.answer()).status == 201
        assert (await sending.ask("GET", "/storage/default/a")).body == b"x" * 1000


async def test_hundreds_of_idle_connections_delay_no_other_client(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    await service.put("/storage/default/a", b"x")
    async with AsyncExitStack() as stack:
        silent, started = [], []
        for _ in range(100):
            silent.append(await stack.enter_async_context(connect(service.port)))
            started.append(await stack.enter_async_context(connect(service.port)))
            started[-1].send_raw(GET)
        assert await service.get("/storage/default/a") == (200, b"x")
        assert await asyncio.gather(*map(closed, started)) == [b""] * 100
        # Without a request a connection may be idle for as long as a gateway keeps one.
        silent[0].send_raw(encode("GET", "/storage/default/a"))
        assert (await silent[0].answer()).body == b"x"
        assert not any(connection.reader.at_eof() for connection in silent)
