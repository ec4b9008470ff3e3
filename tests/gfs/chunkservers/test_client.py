"""HTTP to chunkservers: connections are kept, trusted no further than they can be, and given up."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from gfs.chunkservers import client
from gfs.chunkservers.client import Connections
from gfs.chunkservers.connection import MAX_HEAD_BYTES
from gfs.errors import DataLoss, StoreUnavailable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Server:
    """Responds to the requests of each connection with the next of ``responses``, then closes
    it."""

    def __init__(self, *connections: Sequence[bytes]) -> None:
        self._scripts = list(connections)
        self.requests: list[bytes] = []
        self.opened = 0
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            for response in self._scripts.pop(0):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int((head.split(b"Content-Length: ")[1:] or [b"0"])[0].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(response)
                await writer.drain()


@asynccontextmanager
async def listening(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """An address at which ``handler`` responds. Its connections are closed afterwards."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (asyncio.CancelledError, ConnectionError):
            pass  # a task that ends as cancelled would be logged as a failure
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(*connections: Sequence[bytes]) -> AsyncIterator[tuple[Server, Connections]]:
    server = Server(*connections)
    ours = Connections()
    async with listening(server.serve) as server.address:
        yield server, ours
        await ours.close()


async def ask(server: Server, connections: Connections, **more: object) -> tuple[int, bytes]:
    response = await connections.ask(server.address, "GET", "/x", **more)  # type: ignore[arg-type]
    try:
        return response.status, await response.read(1000)
    finally:
        response.close()


async def test_a_connection_is_used_again_when_its_response_was_read() -> None:
    async with serving([OK] * 3) as (server, connections):
        for _ in range(3):
            assert await ask(server, connections) == (200, b"hello")
        assert server.opened == 1


async def test_a_connection_is_closed_when_its_response_was_not_read() -> None:
    async with serving([OK], [OK]) as (server, connections):
        (await connections.ask(server.address, "GET", "/x")).close()
        assert await ask(server, connections) == (200, b"hello")
        assert server.opened == 2


@pytest.mark.parametrize(
    "response",
    [
        OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
        OK.replace(b"1.1", b"1.0"),
        OK + b"surplus",
    ],
)
async def test_a_connection_that_cannot_be_used_again_is_closed(response: bytes) -> None:
    async with serving([response, OK], [OK]) as (server, connections):
        assert await ask(server, connections) == (200, b"hello")
        assert await ask(server, connections) == (200, b"hello")
        assert server.opened == 2


async def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    async with serving([OK], [OK]) as (server, connections):
        assert await ask(server, connections) == (200, b"hello")
        await asyncio.sleep(0.05)
        assert await ask(server, connections) == (200, b"hello")
        assert server.opened == 2


async def test_a_kept_connection_that_ends_with_the_request_is_replaced_once() -> None:
    async with serving([OK, b""], [OK], [b""]) as (server, connections):
        assert await ask(server, connections) == (200, b"hello")
        assert await ask(server, connections, body=[b"a", b"bc"]) == (200, b"hello")
        assert server.opened == 2
        assert server.requests[1:] == [server.requests[1]] * 2
        assert server.requests[1].endswith(b"Content-Length: 3\r\n\r\nabc")
        await asyncio.sleep(0.05)
        with pytest.raises(StoreUnavailable):  # a new connection is not replaced
            await ask(server, connections)


async def test_what_was_kept_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "KEEP_SECONDS", 0.05)
    async with serving([OK] * 2, [OK]) as (server, connections):
        assert await ask(server, connections) == (200, b"hello")
        await asyncio.sleep(0.2)
        assert await ask(server, connections) == (200, b"hello")
        assert server.opened == 2


async def test_only_some_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "KEEP_CONNECTIONS", 2)
    async with serving(*[[OK, OK]] * 5) as (server, connections):
        await asyncio.gather(*(ask(server, connections) for _ in range(5)))
        assert server.opened == 5
        assert sum(map(len, connections._idle.values())) == 2


@pytest.mark.parametrize(
    "response",
    [
        b"\0\1\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5,5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n folded: 1\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_HEAD_BYTES + 5000),
    ],
)
async def test_a_response_that_makes_no_sense_is_refused(response: bytes) -> None:
    async with serving([response], [OK]) as (server, connections):
        with pytest.raises(DataLoss):
            await ask(server, connections)
        assert await ask(server, connections) == (200, b"hello")
        assert server.opened == 2


async def test_a_response_that_is_cut_is_noticed_at_every_byte() -> None:
    for stop in range(len(OK)):
        async with serving([OK[:stop]]) as (server, connections):
            with pytest.raises(StoreUnavailable):
                await ask(server, connections)


async def test_a_head_may_come_byte_by_byte() -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    connections = Connections()
    async with listening(slowly) as address:
        response = await connections.ask(address, "GET", "/")
        assert await response.read(10) == b"hello"
        response.close()
        await connections.close()


async def test_no_more_is_read_than_is_wanted() -> None:
    async with serving([OK]) as (server, connections):
        response = await connections.ask(server.address, "GET", "/x")
        with pytest.raises(DataLoss):
            await response.read(4)
        response.close()


async def test_a_server_that_is_only_slow_is_not_taken_for_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some bytes have come within the time, fewer than are worth being woken for."""
    body = bytes(range(250))

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 250\r\n\r\n")
        for start in range(0, 250, 50):
            await asyncio.sleep(0.06)
            writer.write(body[start : start + 50])
        await reader.read()

    connections = Connections()
    async with listening(drip) as address:
        response = await connections.ask(address, "GET", "/")
        got = b""
        while piece := await response.piece(0.2):
            got += piece
        assert got == body
        response.close()
        response = await connections.ask(address, "GET", "/")
        with pytest.raises(StoreUnavailable, match="silent"):
            await response.piece(0.01)
        response.close()
        await connections.close()


async def test_a_name_is_looked_up() -> None:
    async with serving([OK]) as (server, connections):
        port = server.address.rpartition(":")[2]
        response = await connections.ask(f"localhost:{port}", "GET", "/x")
        assert await response.read(5) == b"hello"
        response.close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:x", "[::1"])
async def test_an_address_without_a_server_is_unavailable(address: str) -> None:
    connections = Connections()
    with pytest.raises(StoreUnavailable):
        await connections.ask(address, "GET", "/")


async def test_a_cancellation_at_any_step_closes_the_socket() -> None:
    before = len(_sockets())
    for steps in range(12):
        async with serving([OK], [OK]) as (server, connections):
            task = asyncio.create_task(ask(server, connections))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await connections.close()
        await asyncio.sleep(0.01)
        assert len(_sockets()) == before


async def test_whoever_asks_while_all_is_closed_leaves_no_socket() -> None:
    before = len(_sockets())
    for steps in range(12):
        async with serving([OK], [OK]) as (server, connections):
            await ask(server, connections)
            task = asyncio.create_task(ask(server, connections))
            for _ in range(steps):
                await asyncio.sleep(0)
            await connections.close()
            await asyncio.sleep(0.01)
            task.cancel()  # it may wait for a response, of which nobody hears any more
            await asyncio.gather(task, return_exceptions=True)
            with pytest.raises(StoreUnavailable):
                await ask(server, connections)
        await asyncio.sleep(0.01)
        assert len(_sockets()) == before


def _sockets() -> list[socket.socket]:
    gc.collect()
    return [o for o in gc.get_objects() if isinstance(o, socket.socket) and o.fileno() >= 0]
