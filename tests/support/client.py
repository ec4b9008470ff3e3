"""HTTP/1.1 by hand, for tests that look at the bytes on a connection.

A client library hides what matters here: whether exactly the promised bytes came, whether the
connection can be used again, and what a request looks like that no library would send.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from multidict import CIMultiDict

MIB = 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """One whole response."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self) -> str:
        """The detail, of an answer that must be a well-formed problem (RFC 9457)."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        document = self.json()
        assert set(document) == {"type", "title", "status", "detail"}
        assert (document["type"], document["status"]) == ("about:blank", self.status)
        assert document["title"]
        assert document["detail"]
        return str(document["detail"])


class Connection:
    """One connection to the service. Answers are read one after the other, by their framing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @property
    def port(self) -> int:
        """The port of this end."""
        return int(self._writer.get_extra_info("sockname")[1])

    @property
    def waiting(self) -> int:
        """How many bytes that were sent have not been passed on to the kernel."""
        return self._writer.transport.get_write_buffer_size()

    def send(
        self,
        method: str,
        target: str | bytes,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        version: str = "HTTP/1.1",
    ) -> None:
        """Send a request. ``target`` goes out as it is; Content-Length is added for a body."""
        self._writer.write(encode(method, target, headers, body, version))

    def send_raw(self, data: bytes | memoryview) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the service takes more."""
        await self._writer.drain()

    def end(self) -> None:
        """Send no more, and go on reading."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Disappear."""
        self._writer.transport.abort()

    async def head(self, *, seconds: float | None = 20) -> tuple[int, CIMultiDict[str]]:
        """Read a response up to the empty line: its status and headers."""
        async with asyncio.timeout(seconds):
            block = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = block.removesuffix("\r\n\r\n").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), line
        pairs = (field.partition(":") for field in fields)
        return int(status), CIMultiDict((name, value.strip()) for name, _, value in pairs)

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Read one response (``to_head``: to a HEAD, so without a body). Raises
        IncompleteReadError or ConnectionError when the body is cut short."""
        status, headers = await self.head()
        async with asyncio.timeout(20):
            if to_head or status in (204, 304):
                body = b""
            elif "Content-Length" in headers:
                assert "Transfer-Encoding" not in headers
                body = await self.reader.readexactly(int(headers["Content-Length"]))
            elif headers.get("Transfer-Encoding") == "chunked":
                body = await self._chunks()
            else:
                body = await self.reader.read()
        return Answer(status, headers, body)

    async def ask(
        self,
        method: str,
        target: str | bytes,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send one request and read its response."""
        self.send(method, target, headers, body)
        return await self.answer(to_head=method == "HEAD")

    async def rest(self) -> bytes:
        """All that still comes, until the service closes the connection."""
        async with asyncio.timeout(20):
            return await self.reader.read()

    async def broken_body(self) -> bytes:
        """What comes of a body until the connection breaks, in whatever way."""
        received = bytearray()
        async with asyncio.timeout(20):
            try:
                while piece := await self.reader.read(MIB):
                    received += piece
            except ConnectionError:
                pass
        return bytes(received)

    async def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size + 2)
            assert data.endswith(b"\r\n")
            if not size:
                return bytes(body)
            body += data[:-2]


def encode(
    method: str,
    target: str | bytes,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    version: str = "HTTP/1.1",
) -> bytes:
    """The bytes of a request."""
    fields = {"Host": "sfs.example", **(headers or {})}
    if body or method in ("PUT", "POST"):
        fields.setdefault("Content-Length", str(len(body)))
    path = target if isinstance(target, bytes) else target.encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"%b %b %b\r\n%b\r\n%b" % (
        method.encode(),
        path,
        version.encode(),
        lines.encode("latin-1"),
        body,
    )


@asynccontextmanager
async def connect(
    port: int, *, host: str = "127.0.0.1", receive_buffer: int = 0
) -> AsyncIterator[Connection]:
    """A connection to the service; ``receive_buffer`` makes a client that holds few bytes."""
    channel = socket.socket()
    channel.setblocking(False)
    if receive_buffer:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        await asyncio.get_running_loop().sock_connect(channel, (host, port))
    except BaseException:
        channel.close()
        raise
    reader, writer = await asyncio.open_connection(sock=channel, limit=receive_buffer or 2**16)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


async def call(
    port: int,
    method: str,
    target: str | bytes,
    headers: Mapping[str, str] | None = None,
    body: object = b"",
) -> Answer:
    """The response to one request on a connection of its own. A ``body`` that is not bytes is sent
    as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with connect(port) as connection:
        return await connection.ask(method, target, headers, sent)
