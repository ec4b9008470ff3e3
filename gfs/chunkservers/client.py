"""HTTP/1.1 to chunkservers, on sockets of its own.

A general HTTP client copies a byte several times: from the kernel into a read buffer, from there
into a parser, into a queue, and together again for its caller. These copies cost more than
receiving the bytes. Here a piece is one ``recv(2)`` into an object that is passed on as it is: the
checksum reads that object, and the next socket sends it.

That is possible because this client speaks little of HTTP: one request at a time on a connection,
no redirects, no interim responses; a body has the length that Content-Length says (RFC 9112, §6.2),
or there is none. Everything else (chunked framing, a body that ends with the connection, two
lengths, a head of more than MAX_HEAD_BYTES) is refused as DataLoss: without a length a cut body
would look like a whole one. There is no TLS.

A connection whose response was read to its end is kept for KEEP_SECONDS and used again, the last
one first. The server may close it at any moment, which is no failure: when a kept connection ends
before the response starts, the request is sent again on a new one (§9.3.1). So every request here
must be one that may be sent twice.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence

from gfs.chunkservers.connection import Connection, connect
from gfs.chunkservers.edges import Edges
from gfs.errors import DataLoss, StoreUnavailable
from gfs.types import Bytes

CONNECT_SECONDS = 2.0
"""How long it may take to connect, name resolution included."""

KEEP_SECONDS = 20.0
"""How long an idle connection is kept. SeaweedFS closes its end after 30 s."""

KEEP_CONNECTIONS = 64
"""How many idle connections to one server are kept."""

PIECE_BYTES = 256 * 1024
"""The largest piece that is read at once."""

FIRST_BYTES = 64 * 1024
"""The size of the first piece of a body, which may have to wait for its consumer. Each following
one is twice as large, up to PIECE_BYTES."""

IDLE_SECONDS = 10.0
"""How long a server may be silent in the middle of a response, unless the caller says otherwise."""

_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([2-9][0-9]{2})(?: [^\r\n\0]*)?"
    rb"((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)*)"
)
_LENGTH = re.compile(r"[0-9]{1,18}")
_SINGLE = frozenset({"content-length", "content-range", "content-encoding", "etag"})
_NO_BODY = frozenset({204, 304})


class Response:
    """What a server sends back: ``status``, ``headers`` by their lower-case names (the last of each
    name), and a body of ``length`` bytes, of which ``left`` have not been read. ``close`` it."""

    __slots__ = (
        "_connection",
        "_connections",
        "_keep",
        "_most",
        "headers",
        "left",
        "length",
        "status",
    )

    def __init__(
        self, connections: Connections, connection: Connection, head: bytes, expect: int = 0
    ) -> None:
        """``head`` is what comes before the body. ``expect``: how many bytes of the body to read at
        once first, if that is more than FIRST_BYTES. Raises DataLoss if the head is not HTTP."""
        self.status, self.headers, version = _parse(head)
        self.length = self.left = _length(self.status, self.headers)
        self._most = min(max(expect, FIRST_BYTES), PIECE_BYTES)
        last = self.headers.get("connection", "").lower() == "close"
        self._keep = version == b"1" and not last
        self._connections = connections
        self._connection: Connection | None = connection

    def __repr__(self) -> str:
        return f"<Response {self.status} left={self.left} length={self.length}>"

    async def piece(self, idle_seconds: float = IDLE_SECONDS) -> bytes:
        """The next bytes of the body, at most PIECE_BYTES; b"" at its end.

        Raises StoreUnavailable when the connection ends before that, or no byte comes for
        ``idle_seconds``. After a cancellation, only ``close`` may follow.
        """
        if not self.left:
            return b""
        most, self._most = self._most, min(2 * self._most, PIECE_BYTES)
        return self._count(await self._open().receive(min(self.left, most), idle_seconds))

    async def read(self, limit: int, idle_seconds: float = IDLE_SECONDS) -> bytes:
        """The rest of the body. Raises what ``piece`` raises, and DataLoss if it has more than
        ``limit`` bytes."""
        if self.left > limit:
            raise DataLoss(f"a response of more than {limit} bytes")
        pieces = []
        self._most = PIECE_BYTES
        while piece := await self.piece(idle_seconds):
            pieces.append(piece)
        return b"".join(pieces)

    def _open(self) -> Connection:
        if self._connection is None:
            raise StoreUnavailable("the response has been closed")
        return self._connection

    def _count(self, piece: bytes) -> bytes:
        if not piece:
            raise StoreUnavailable("the connection was cut")
        self.left -= len(piece)
        return piece

    def close(self) -> None:
        """Keep the connection if the body was read to its end, else close it. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._keep and not self.left:
                self._connections.keep(connection)
            else:
                connection.close()


class Connections:
    """The connections of one process to its chunkservers. ``close`` it after the last response."""

    def __init__(self) -> None:
        self._idle: dict[str, deque[Connection]] = {}
        self._edges: Edges | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Connections idle={sum(map(len, self._idle.values()))} closed={self._closed}>"

    async def ask(
        self,
        address: str,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: Sequence[Bytes] = (),
        *,
        expect: int = 0,
    ) -> Response:
        """Send a request to ``address`` (``host:port``), and return the response when its head has
        come.

        ``target`` is a path with its query, as it is to be sent; ``headers`` are sent after Host
        and, if there is a body, Content-Length. The request must be one that may be sent twice.
        ``expect``: how many bytes of the response's body the caller will read at once if all is
        well. Raises StoreUnavailable if there is no connection, or it ends before the response
        starts, and DataLoss for a response that is not HTTP. The texts repeat no header field. A
        cancellation closes the connection.
        """
        head = _request(address, method, target, headers, body)
        connection = self._take(address)
        if connection is not None:
            received = await self._exchange(connection, head, body, expect)
            if received:
                return self._response(connection, received, expect)
        connection = await self._connect(address)
        received = await self._exchange(connection, head, body, expect)
        if not received:
            raise StoreUnavailable("the connection was closed before a response")
        return self._response(connection, received, expect)

    def keep(self, connection: Connection) -> None:
        """Keep a connection on which nothing is under way."""
        if self._closed:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault(connection.address, deque())
        connection.idle_since = loop.time()
        idle.append(connection)
        if len(idle) > KEEP_CONNECTIONS:
            idle.popleft().close()
        if self._sweep is None:
            self._sweep = loop.call_later(KEEP_SECONDS, self._close_old)

    async def close(self) -> None:
        """Close the connections that are kept, and keep none from now on. Idempotent."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()
        if self._edges is not None:
            self._edges.close()

    def _take(self, address: str) -> Connection | None:
        """A kept connection that the server has not closed yet, as far as can be seen."""
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

    async def _connect(self, address: str) -> Connection:
        if self._closed:
            raise StoreUnavailable("the connections have been closed")
        if self._edges is None:
            self._edges = Edges()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await connect(address, self._edges)
        except TimeoutError as error:
            raise StoreUnavailable("no connection in time") from error
        except (OSError, ValueError) as error:
            raise StoreUnavailable(f"no connection: {type(error).__name__}") from error

    async def _exchange(
        self, connection: Connection, head: bytes, body: Sequence[Bytes], expect: int
    ) -> bytes:
        """Send a request, and return the head of the response; b"" if the connection ended before
        its first byte."""
        try:
            await connection.send(head)
            for piece in body:
                await connection.send(piece)
            return await connection.head(expect)
        except OSError:
            connection.close()
            return b""
        except BaseException:
            connection.close()
            raise

    def _response(self, connection: Connection, head: bytes, expect: int) -> Response:
        try:
            return Response(self, connection, head, expect)
        except DataLoss:
            connection.close()
            raise


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
    """The status, header fields and minor version of a head without the empty line at its end.

    Raises DataLoss if it is not HTTP, or repeats a field that may be there only once.
    """
    match = _HEAD.fullmatch(head)
    if match is None:
        raise DataLoss("the response is not HTTP")
    version, status, lines = match.groups()
    headers: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers and name in _SINGLE:
            raise DataLoss(f"a response with two fields {name}")
        headers[name] = value.strip(" \t")
    return int(status), headers, version


def _length(status: int, headers: dict[str, str]) -> int:
    """How many bytes of body follow. Raises DataLoss if the head does not say that."""
    if "transfer-encoding" in headers:
        raise DataLoss("a response that does not say its length")
    if status in _NO_BODY:
        return 0
    length = headers.get("content-length", "")
    if _LENGTH.fullmatch(length) is None:
        raise DataLoss("a response that does not say its length")
    return int(length)
