"""One connection to a chunkserver: a socket that is read no faster than its bytes are wanted.

Nothing is read from a socket unless somebody waits for it: a slow consumer is felt by the server
through TCP. Who waits for a body is woken when WAIT_BYTES of it are there, or its end, or an end of
the connection (SO_RCVLOWAT): a small file comes in one wait and two reads, its head and the rest.
How long it takes until an answer begins is for the caller to bound; silence in the middle is
bounded here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from gfs.chunkservers.edges import Edges
from gfs.errors import DataLoss, StoreUnavailable
from gfs.futures import resolve
from gfs.types import Bytes

MAX_HEAD_BYTES = 16 * 1024

HEAD_BYTES = 4 * 1024
"""What is looked at at once of a head."""

TOGETHER_SECONDS = 0.01
"""How long the head of an answer may wait for the body: an error comes without one."""

WAIT_BYTES = 256 * 1024
"""How much of a body has to be there before it is worth a turn of the loop."""

_Place = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class Connection:
    """One socket."""

    __slots__ = ("_edge", "_loop", "_low", "_socket", "address", "idle_since")

    def __init__(self, address: str, sock: socket.socket, edges: Edges) -> None:
        self.address = address
        self.idle_since = 0.0
        self._socket = sock
        self._edge = edges.watch(sock.fileno())
        self._loop = asyncio.get_running_loop()
        self._low = 1

    def __repr__(self) -> str:
        return f"<Connection {self.address} descriptor={self._socket.fileno()}>"

    async def receive(self, most: int, idle_seconds: float) -> bytes:
        """At least one byte, or none if the other end has closed. Raises StoreUnavailable."""
        in_time = True
        while True:
            try:
                return self._socket.recv(most)
            except BlockingIOError:
                if not in_time:
                    raise StoreUnavailable(f"silent for {idle_seconds:g} s") from None
            except OSError as error:
                raise _broken(error) from error
            # After too long a wait there may still be fewer bytes, of a server that is only slow.
            in_time = await self._wait(min(most, WAIT_BYTES), idle_seconds)

    async def send(self, data: Bytes) -> None:
        """Hand all of ``data`` to the kernel. Raises OSError."""
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await self._writable()

    async def head(self, expect: int) -> bytes:
        """The head of an answer, without the empty line at its end; nothing if nothing came.

        What follows is left in the socket. Where a body of ``expect`` bytes is likely to follow at
        once, both are waited for together, a short while. Raises StoreUnavailable if the connection
        ends within the head, DataLoss if that is too long.
        """
        received = b""
        await self._wait(expect or 1, TOGETHER_SECONDS if expect else None)
        while len(received) < MAX_HEAD_BYTES:
            try:
                there = received + self._socket.recv(HEAD_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                await self._wait(1, None)
                continue
            except OSError:
                there = received
            if len(there) == len(received):
                if not received:
                    self.close()
                    return b""
                raise StoreUnavailable("the connection was cut in the head of the answer")
            end = there.find(b"\r\n\r\n")
            self._socket.recv((len(there) if end < 0 else end + 4) - len(received))
            if end >= 0:
                return there[:end]
            received = there
        raise DataLoss("an answer with an endless head")

    def quiet(self) -> bool:
        """Whether the other end has neither closed nor said anything."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self._edge.forget()
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self._edge.close()
        self._socket.close()

    async def _wait(self, count: int, seconds: float | None) -> bool:
        """Wait for ``count`` bytes, or the end; False if neither came within ``seconds``."""
        if count != self._low:
            self._low = count
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        return await self._edge.wait(seconds)

    async def _writable(self) -> None:
        """Wait until the kernel takes more bytes."""
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._socket.fileno(), resolve, ready, None)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._socket.fileno())


async def connect(address: str, edges: Edges) -> Connection:
    """Connect to the first address of ``host:port`` that takes it. Raises OSError, ValueError."""
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    failure: OSError = ConnectionError("the host has no address")
    for family, kind, protocol, _, place in await _addresses(loop, host, int(port)):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, place)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return Connection(address, sock, edges)
    raise failure


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Sequence[_Place]:
    """Where ``host`` may be; a number is not looked up."""
    with suppress(OSError):
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _broken(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the connection broke: {type(error).__name__}")
