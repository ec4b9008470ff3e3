"""HTTP/1.1 to chunkservers, on sockets of its own.

A general client copies a byte several times between the kernel and its user: into a read buffer,
out of it into a parser, out of that into a queue, together again for the reader. Of each GiB these
copies cost more than receiving it. Here a piece is one ``recv(2)`` into an object that is handed
on as it is: what the kernel copied is what the checksum sees and what the next socket gets.

That is possible because little of HTTP is spoken. One request at a time on a connection, no
redirects, no interim answers; the length of a body must be told by Content-Length (RFC 9112, §6.2),
or there is none. Whatever else comes (chunked framing, a body that ends with the connection, two
lengths, a head of more than MAX_HEAD_BYTES) is refused as DataLoss: a chunkserver that does not say
how many bytes it sends cannot be held to it. There is no TLS.

A connection whose answer was read to its end is kept for KEEP_SECONDS and used again, the last one
first. The server may close it at that very moment, and has not failed by that: where a connection
that was kept ends before the answer has begun, the request is sent once more on a new one (§9.3.1).
So every request here must be one that may be sent twice.

Nothing is read from a socket unless somebody waits for it: a slow consumer is felt by the server
through TCP. Who waits for a body is woken when WAIT_BYTES of it are there, or its end, or an end of
the connection (SO_RCVLOWAT): a small file comes in two reads, its head and the rest. How long it
takes until an answer begins is for the caller to bound; silence in the middle is bounded here.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from gfs.errors import DataLoss, StoreUnavailable
from gfs.types import Bytes

CONNECT_SECONDS = 2.0
"""How long it may take to get a connection, name resolution included."""

KEEP_SECONDS = 20.0
"""How long an idle connection is kept. SeaweedFS closes its end after 30 s."""

KEEP_MOST = 64
"""Idle connections to one server."""

PIECE_BYTES = 256 * 1024
"""What is read at once: fits into a core's second-level cache, and is 4096 rounds for a GiB."""

MAX_HEAD_BYTES = 16 * 1024
HEAD_BYTES = 4 * 1024
"""What is read at once of a head; what comes with it of the body is copied."""

WAIT_BYTES = 128 * 1024
"""How much of a body has to be there before it is worth a turn of the loop."""

IDLE_SECONDS = 10.0
"""How long a server may be silent in the middle of an answer, where nothing else is said."""

_STATUS = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: [^\r\n\0]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_SINGLE = frozenset({"content-length", "content-range", "content-encoding", "etag"})
_NO_BODY = frozenset({204, 304})

_Watch = Callable[..., Any]
_Place = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class Response:
    """What a server sends back: ``status``, ``headers`` by their lower-case names (of several of
    one name, the last), and ``length`` bytes of body, which are to be read. ``close`` it."""

    __slots__ = (
        "_connection",
        "_connections",
        "_head",
        "_keep",
        "headers",
        "left",
        "length",
        "status",
    )

    def __init__(self, connections: Connections, connection: _Connection, head: bytes) -> None:
        """``head`` is all that has been received. Raises DataLoss if it is not HTTP."""
        end = head.index(b"\r\n\r\n")
        self.status, self.headers, version = _parse(head[:end])
        self.length = self.left = _length(self.status, self.headers)
        self._head = head[end + 4 :]
        surplus = len(self._head) > self.length
        if surplus:
            self._head = self._head[: self.length]
        last = self.headers.get("connection", "").lower() == "close"
        self._keep = version == b"1" and not last and not surplus
        self._connections = connections
        self._connection: _Connection | None = connection

    async def piece(self, idle_seconds: float = IDLE_SECONDS) -> bytes:
        """The next bytes of the body, at most PIECE_BYTES; none at its end.

        Raises StoreUnavailable when the connection ends before, or no byte comes for
        ``idle_seconds``. A cancellation leaves the connection to ``close``.
        """
        if not self.left:
            return b""
        piece = self._head
        if piece:
            self._head = b""
        elif self._connection is None:
            raise StoreUnavailable("the answer has been closed")
        else:
            piece = await self._connection.receive(min(self.left, PIECE_BYTES), idle_seconds)
            if not piece:
                raise StoreUnavailable("the connection was cut")
        self.left -= len(piece)
        return piece

    async def read(self, limit: int) -> bytes:
        """The rest of the body. Raises DataLoss if it has more than ``limit`` bytes."""
        if self.left > limit:
            raise DataLoss(f"an answer of more than {limit} bytes")
        pieces = []
        while self.left:
            pieces.append(await self.piece())
        return b"".join(pieces)

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._keep and not self.left:
                self._connections.keep(connection)
            else:
                connection.close()


class Connections:
    """The connections of one process to its chunkservers. ``close`` it after the last answer."""

    def __init__(self, connect_seconds: float = CONNECT_SECONDS) -> None:
        self._connect_seconds = connect_seconds
        self._idle: dict[str, deque[_Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    async def ask(
        self,
        address: str,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: Sequence[Bytes] = (),
    ) -> Response:
        """Send a request to ``address`` (``host:port``) and return what is answered.

        ``target`` is a path with its query, as it is to be sent; ``headers`` are added to Host
        and, where there is a body, Content-Length. The request must be one that may be sent twice.
        Raises StoreUnavailable where there is no connection, or none that lasts until the answer
        begins, and DataLoss for an answer that makes no sense. The texts repeat no header. A
        cancellation closes the connection.
        """
        head = _request(address, method, target, headers, body)
        connection = self._take(address)
        if connection is not None:
            answered = await self._exchange(connection, head, body)
            if answered:
                return self._answer(connection, answered)
        connection = await self._connect(address)
        answered = await self._exchange(connection, head, body)
        if not answered:
            raise StoreUnavailable("the connection was closed before an answer")
        return self._answer(connection, answered)

    def keep(self, connection: _Connection) -> None:
        """Take back a connection on which nothing is under way."""
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault(connection.address, deque())
        connection.idle_since = loop.time()
        idle.append(connection)
        if len(idle) > KEEP_MOST:
            idle.popleft().close()
        if self._sweep is None:
            self._sweep = loop.call_later(KEEP_SECONDS, self._close_old)

    async def close(self) -> None:
        """Close what is kept. Idempotent."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    def _take(self, address: str) -> _Connection | None:
        """A kept connection that has not been closed by the other end as far as can be seen."""
        idle = self._idle.get(address)
        while idle:
            connection = idle.pop()
            if connection.quiet():
                return connection
            connection.close()
        return None

    def _close_old(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEEP_SECONDS
        for address, idle in list(self._idle.items()):
            while idle and idle[0].idle_since <= oldest:
                idle.popleft().close()
            if not idle:
                del self._idle[address]
        if self._idle:
            self._sweep = loop.call_later(KEEP_SECONDS / 2, self._close_old)

    async def _connect(self, address: str) -> _Connection:
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await _connect(address)
        except TimeoutError as error:
            raise StoreUnavailable("no connection in time") from error
        except (OSError, ValueError) as error:
            raise StoreUnavailable(f"no connection: {type(error).__name__}") from error

    async def _exchange(self, connection: _Connection, head: bytes, body: Sequence[Bytes]) -> bytes:
        """What has come when the head of the answer is there; nothing if the connection ended
        before the first byte of it."""
        try:
            await connection.send(head)
            for piece in body:
                await connection.send(piece)
            return await connection.head()
        except OSError:
            connection.close()
            return b""
        except BaseException:
            connection.close()
            raise

    def _answer(self, connection: _Connection, head: bytes) -> Response:
        try:
            return Response(self, connection, head)
        except DataLoss:
            connection.close()
            raise


class _Connection:
    """One socket."""

    __slots__ = ("_descriptor", "_loop", "_low", "_socket", "address", "idle_since")

    def __init__(self, address: str, sock: socket.socket) -> None:
        self.address = address
        self.idle_since = 0.0
        self._socket = sock
        self._descriptor = sock.fileno()
        self._loop = asyncio.get_running_loop()
        self._low = 1

    async def receive(self, most: int, idle_seconds: float) -> bytes:
        """At least one byte, or none if the other end has closed. Raises StoreUnavailable."""
        try:
            with suppress(BlockingIOError):
                return self._socket.recv(most)
            self._wake_at(min(most, WAIT_BYTES))
            await self._ready(self._loop.add_reader, self._loop.remove_reader, idle_seconds)
            # After too long a wait there may still be some bytes, of a server that is only slow.
            return self._socket.recv(most)
        except BlockingIOError:
            raise StoreUnavailable(f"silent for {idle_seconds:g} s") from None
        except OSError as error:
            raise StoreUnavailable(f"the connection broke: {type(error).__name__}") from error

    async def send(self, data: Bytes) -> None:
        """Hand all of ``data`` to the kernel. Raises OSError."""
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer, None)

    async def head(self) -> bytes:
        """All that has come when the head of an answer is complete; nothing if nothing came.

        Raises StoreUnavailable if the connection ends within the head, DataLoss if that is too
        long.
        """
        received = b""
        while b"\r\n\r\n" not in received:
            if len(received) > MAX_HEAD_BYTES:
                raise DataLoss("an answer with an endless head")
            self._wake_at(1)
            await self._ready(self._loop.add_reader, self._loop.remove_reader, None)
            try:
                more = self._socket.recv(HEAD_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                more = b""
            if not more:
                if not received:
                    self.close()
                    return b""
                raise StoreUnavailable("the connection was cut in the head of the answer")
            received = received + more if received else more
        return received

    def quiet(self) -> bool:
        """Whether the other end has neither closed nor said anything."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self._socket.close()

    def _wake_at(self, count: int) -> None:
        """Let the socket count as readable when ``count`` bytes are there, or its end."""
        if count != self._low:
            self._low = count
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    async def _ready(self, add: _Watch, remove: _Watch, seconds: float | None) -> None:
        """Wait until the socket can be read, or written; not longer than ``seconds``."""
        ready = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, _set, ready)
        add(self._descriptor, _set, ready)
        try:
            await ready
        finally:
            remove(self._descriptor)
            if timer is not None:
                timer.cancel()


def _request(
    address: str,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]],
    body: Sequence[Bytes],
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {address}"]
    if body:
        lines.append(f"Content-Length: {sum(map(len, body))}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode()


def _parse(head: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, header fields and minor version of a head without the empty line at its end.

    Raises DataLoss if it is not HTTP, or says twice what there can be only one of.
    """
    first, *lines = head.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if match is None or match[2] < b"200":
        raise DataLoss("the answer is not HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise DataLoss("the answer is not HTTP")
        name = field[1].decode().lower()
        if name in headers and name in _SINGLE:
            raise DataLoss(f"an answer with two fields {name}")
        headers[name] = field[2].decode("latin-1").rstrip(" \t")
    return int(match[2]), headers, match[1]


def _length(status: int, headers: dict[str, str]) -> int:
    """How many bytes of body follow. Raises DataLoss if that is not told."""
    if "transfer-encoding" in headers:
        raise DataLoss("an answer whose length is not told")
    if status in _NO_BODY:
        return 0
    length = headers.get("content-length", "")
    if _LENGTH.fullmatch(length) is None:
        raise DataLoss("an answer whose length is not told")
    return int(length)


async def _connect(address: str) -> _Connection:
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
            return _Connection(address, sock)
    raise failure


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Sequence[_Place]:
    """Where ``host`` may be; a number is not looked up."""
    with suppress(OSError):
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
