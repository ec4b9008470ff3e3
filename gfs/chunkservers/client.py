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
"""How long it may take to get a connection, name resolution included."""

KEEP_SECONDS = 20.0
"""How long an idle connection is kept. SeaweedFS closes its end after 30 s."""

KEEP_MOST = 64
"""Idle connections to one server."""

PIECE_BYTES = 256 * 1024
"""What is read at once."""

FIRST_BYTES = 64 * 1024
"""What is read first of a body: it may have to be held until somebody wants it. The pieces that
follow are twice as large each, up to PIECE_BYTES."""

IDLE_SECONDS = 10.0
"""How long a server may be silent in the middle of an answer, where nothing else is said."""

_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([2-9][0-9]{2})(?: [^\r\n\0]*)?"
    rb"((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)*)"
)
_LENGTH = re.compile(r"[0-9]{1,18}")
_SINGLE = frozenset({"content-length", "content-range", "content-encoding", "etag"})
_NO_BODY = frozenset({204, 304})


class Response:
    """What a server sends back: ``status``, ``headers`` by their lower-case names (of several of
    one name, the last), and ``length`` bytes of body, which are to be read. ``close`` it."""

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
        """``head`` is what comes before the body. ``expect``: how many bytes of it are wanted at
        once, FIRST_BYTES at the least. Raises DataLoss if the head is not HTTP."""
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
        """The next bytes of the body, at most PIECE_BYTES; none at its end.

        Raises StoreUnavailable when the connection ends before, or no byte comes for
        ``idle_seconds``. A cancellation leaves the connection to ``close``.
        """
        if not self.left:
            return b""
        most, self._most = self._most, min(2 * self._most, PIECE_BYTES)
        return self._count(await self._open().receive(min(self.left, most), idle_seconds))

    async def read(self, limit: int, idle_seconds: float = IDLE_SECONDS) -> bytes:
        """The rest of the body, in one piece. Raises what ``piece`` raises, and DataLoss if it has
        more than ``limit`` bytes."""
        if self.left > limit:
            raise DataLoss(f"an answer of more than {limit} bytes")
        pieces = []
        self._most = PIECE_BYTES
        while piece := await self.piece(idle_seconds):
            pieces.append(piece)
        return b"".join(pieces)

    def _open(self) -> Connection:
        if self._connection is None:
            raise StoreUnavailable("the answer has been closed")
        return self._connection

    def _count(self, piece: bytes) -> bytes:
        if not piece:
            raise StoreUnavailable("the connection was cut")
        self.left -= len(piece)
        return piece

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
        """Send a request to ``address`` (``host:port``) and return what is answered.

        ``target`` is a path with its query, as it is to be sent; ``headers`` are added to Host
        and, where there is a body, Content-Length. The request must be one that may be sent twice.
        ``expect``: how many bytes of body will be read at once if all is well.
        Raises StoreUnavailable where there is no connection, or none that lasts until the answer
        begins, and DataLoss for an answer that makes no sense. The texts repeat no header. A
        cancellation closes the connection.
        """
        head = _request(address, method, target, headers, body)
        connection = self._take(address)
        if connection is not None:
            answered = await self._exchange(connection, head, body, expect)
            if answered:
                return self._answer(connection, answered, expect)
        connection = await self._connect(address)
        answered = await self._exchange(connection, head, body, expect)
        if not answered:
            raise StoreUnavailable("the connection was closed before an answer")
        return self._answer(connection, answered, expect)

    def keep(self, connection: Connection) -> None:
        """Take back a connection on which nothing is under way."""
        if self._closed:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault(connection.address, deque())
        connection.idle_since = loop.time()
        idle.append(connection)
        if len(idle) > KEEP_MOST:
            idle.popleft().close()
        if self._sweep is None:
            self._sweep = loop.call_later(KEEP_SECONDS, self._close_old)

    async def close(self) -> None:
        """Close what is kept, and keep nothing any more. Idempotent."""
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

    async def _connect(self, address: str) -> Connection:
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
        """The head of the answer; nothing if the connection ended before the first byte of it."""
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

    def _answer(self, connection: Connection, head: bytes, expect: int) -> Response:
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
    """Status, header fields and minor version of a head without the empty line at its end.

    Raises DataLoss if it is not HTTP, or says twice what there can be only one of.
    """
    match = _HEAD.fullmatch(head)
    if match is None:
        raise DataLoss("the answer is not HTTP")
    version, status, lines = match.groups()
    headers: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers and name in _SINGLE:
            raise DataLoss(f"an answer with two fields {name}")
        headers[name] = value.strip(" \t")
    return int(status), headers, version


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
