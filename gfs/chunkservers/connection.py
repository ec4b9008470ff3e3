"""One connection to a chunkserver: a socket that is read no faster than its bytes are consumed.

Nothing is read from the socket unless a task waits for it, so TCP slows the server down to the pace
of a slow consumer. A task that waits for a body is woken when WAIT_BYTES of it have come, or the
rest of it, or when the connection ends (SO_RCVLOWAT): a small file takes one wait and two reads, of
its head and of its body. The time until a response starts is bounded by the caller; silence in the
middle of one is bounded here.
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
"""The longest head of a response."""

HEAD_BYTES = 4 * 1024
"""How many bytes of a head are looked at at once."""

TOGETHER_SECONDS = 0.01
"""How long the head of a response waits for the body that is expected: an error comes without."""

WAIT_BYTES = 256 * 1024
"""How many bytes of a body have to be there before its reader is woken."""

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
        """The next 1 to ``most`` bytes; b"" if the server has closed the connection. Raises
        StoreUnavailable if it broke, or no byte came for ``idle_seconds``."""
        in_time = True
        while True:
            try:
                return self._socket.recv(most)
            except BlockingIOError:
                if not in_time:
                    raise StoreUnavailable(f"silent for {idle_seconds:g} s") from None
            except OSError as error:
                raise _broken(error) from error
            # After a wait that was too long, a slow server may still have sent some bytes.
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
        """The head of a response, without the empty line at its end; b"" if nothing came.

        The body is left in the socket. If ``expect`` bytes of it are likely to follow at once, both
        are waited for together, for TOGETHER_SECONDS. Raises StoreUnavailable if the connection
        ends within the head, DataLoss if the head has more than MAX_HEAD_BYTES.
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
                raise StoreUnavailable("the connection was cut in the head of the response")
            end = there.find(b"\r\n\r\n")
            self._socket.recv((len(there) if end < 0 else end + 4) - len(received))
            if end >= 0:
                return there[:end]
            received = there
        raise DataLoss("a response with an endless head")

    def quiet(self) -> bool:
        """Whether the server has neither closed the connection nor sent anything."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self._edge.forget()
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._edge.close()
        self._socket.close()

    async def _wait(self, count: int, seconds: float | None) -> bool:
        """Wait for ``count`` bytes or the end of the connection; False after ``seconds``."""
        if count != self._low:
            self._low = count
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        return await self._edge.wait(seconds)

    async def _writable(self) -> None:
        """Wait until the kernel takes more bytes to send."""
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._socket.fileno(), resolve, ready, None)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._socket.fileno())


async def connect(address: str, edges: Edges) -> Connection:
    """Connect to the first address of ``host:port`` that accepts. Raises OSError, and ValueError
    for a port that is no number."""
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
            return Connection(address, sock, edges)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:  # also where the edges were closed meanwhile
            sock.close()
            raise
    raise failure


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Sequence[_Place]:
    """The addresses of ``host``; one that is an address itself is not looked up."""
    with suppress(OSError):
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _broken(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the connection broke: {type(error).__name__}")
