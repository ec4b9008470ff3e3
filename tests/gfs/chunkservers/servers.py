"""Chunkservers that misbehave as a test says, on real sockets.

They write raw bytes instead of using an HTTP library, because most of what they do no library
would let them do. A ``Behaviour`` is data: how one responds, and where the response breaks. Other
bytes differ from the right ones in every place, so that a reader that takes one is found out. Every
request is recorded before anything goes wrong.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Self

from tests.gfs.chunkservers.scripts import crc_of

_RANGE = re.compile(rb"^range: bytes=([0-9]+)-([0-9]+)\r$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. ``stop`` is the byte behind the last one, ``None`` for the end.
    ``head`` is the request as it came; it does not count when two are compared."""

    key: str
    start: int
    stop: int | None
    head: bytes = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a chunkserver responds; by default rightly, with a 206 or a 200.

    What happens before the response: ``refuse`` does not listen; ``greet`` closes or stalls
    instead of responding, or sends something that is not HTTP. Which bytes are sent: ``status``
    instead of any; all, if ``ranges`` are ignored; a part that starts ``shift`` bytes later and
    ends ``extra`` bytes later (earlier, if negative), and says so. What the header says:
    ``content_range`` and ``content_length`` replace the true ones ('': no such field); in a
    Content-Range ``{first}``, ``{last}`` and ``{size}`` are the true numbers, ``{later}`` and
    ``{stop}`` the ones behind the first two; ``encoding`` is a Content-Encoding; ``etag`` is sent
    instead of the CRC32C of the chunk ('': none). ``other``: it has other bytes, and their CRC;
    of the bytes that are sent, ``flip`` is another one. How they are sent: ``framing``, and in
    ``pieces`` of so many bytes, ``pause`` seconds apart. Where it breaks: after ``stop`` bytes of
    the body, by ``end``; or never, with so many bytes of ``junk`` behind it that nothing announced.
    """

    refuse: bool = False
    greet: Literal["", "close", "stall", "garbage"] = ""
    status: int | None = None
    ranges: bool = True
    shift: int = 0
    extra: int = 0
    junk: int = 0
    content_range: str | None = None
    content_length: str | None = None
    encoding: str = ""
    etag: str | None = None
    other: bool = False
    flip: int | None = None
    framing: Literal["length", "chunked", "bad-chunk", "close"] = "length"
    pieces: int = 1 << 16
    pause: float = 0.0
    stop: int | None = None
    end: Literal["cut", "reset", "stall"] = "cut"


OK = Behaviour()

# Behaviours by what comes of asking for a whole chunk. GOOD: the bytes. WRONG: a response to be
# refused, or one that ends too early. UNAVAILABLE: no response. BROKEN: bytes, and then it depends
# on how many of them arrived.
GOOD = {
    "right": OK,
    "slow": Behaviour(pieces=50, pause=0.002),
    "too much, behind its end": Behaviour(junk=40),
}
WRONG = {
    "not found": Behaviour(status=404),
    "beyond its end": Behaviour(status=416),
    "redirect": Behaviour(status=302),
    "no content": Behaviour(status=205),
    "other bytes": Behaviour(other=True),
    "other bytes, another's checksum": Behaviour(other=True, etag="{crc}"),
    "one other byte": Behaviour(flip=299),
    "no checksum": Behaviour(etag=""),
    "weak checksum": Behaviour(etag="W/{crc}"),
    "too little": Behaviour(extra=-10),
    "too much": Behaviour(extra=10),
    "garbage": Behaviour(greet="garbage"),
    "gzip": Behaviour(encoding="gzip"),
    "chunked": Behaviour(framing="chunked", pieces=33),
    "chunked, too much": Behaviour(framing="chunked", junk=40),
    "bad chunk": Behaviour(extra=-20, framing="bad-chunk"),
    "until close": Behaviour(framing="close"),
    "until close, too much": Behaviour(framing="close", junk=40),
}
UNAVAILABLE = {
    "refuses": Behaviour(refuse=True),
    "closes": Behaviour(greet="close"),
    "is silent": Behaviour(greet="stall"),
    "500": Behaviour(status=500),
    "503": Behaviour(status=503),
    "401": Behaviour(status=401),
    "403": Behaviour(status=403),
    "429": Behaviour(status=429),
}
BROKEN = {
    "cut": Behaviour(stop=50),
    "cut late": Behaviour(stop=299),
    "reset": Behaviour(stop=70, end="reset"),
    "stalls": Behaviour(stop=30, end="stall"),
}
KINDS = GOOD | WRONG | UNAVAILABLE | BROKEN

# What one may do that is asked for the rest of a chunk, of which it has sent the first part before,
# so that it does not go on.
NO_PART = {
    "the whole": Behaviour(ranges=False),
    "later": Behaviour(shift=5),
    "earlier": Behaviour(shift=-5),
    "too little": Behaviour(extra=-20),
    "no range said": Behaviour(content_range=""),
    "nonsense range": Behaviour(content_range="bytes {first}-/{size}"),
    "backward range": Behaviour(content_range="bytes {first}-0/{size}"),
    "range of another length": Behaviour(content_range="bytes {first}-{stop}/{size}"),
    "range beyond the size": Behaviour(content_range="bytes {first}-{size}/{size}"),
    "range of another size": Behaviour(content_range="bytes {first}-{last}/{size}1"),
    "range of unknown size": Behaviour(content_range="bytes {first}-{last}/*"),
    "range from later": Behaviour(content_range="bytes {later}-{stop}/{size}"),
}


@dataclass(slots=True)
class Chunkserver:
    """Serves ``chunks``, bytes by key, on a free port of 127.0.0.1 while the context is open.

    ``behaviour`` may be exchanged between requests, except for one that refuses. ``opened`` and
    ``closed`` count connections; ``closed`` counts those that are gone on both sides.
    """

    chunks: Mapping[str, bytes]
    behaviour: Behaviour = OK
    requests: list[Request] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)
    _socket: socket.socket | None = None
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        # Without the protocol's number asyncio does not set TCP_NODELAY on what is accepted.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        # A socket that is bound and does not listen refuses, and no other program gets its port.
        if not self.behaviour.refuse:
            self._server = await asyncio.start_server(self._connected, sock=self._socket)
        self._quiet.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        if self._socket is not None:
            self._socket.close()

    @property
    def address(self) -> str:
        """Its ``host:port``."""
        assert self._socket is not None
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    async def all_closed(self) -> None:
        """Return when no connection is open any more, at this end and the other; within 10 s."""
        async with asyncio.timeout(10):
            await self._quiet.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        self._quiet.clear()
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
                writer.close()
                await writer.wait_closed()
        except asyncio.CancelledError:
            pass  # The context ends; a task that ends as cancelled would be logged as a failure.
        finally:
            writer.transport.abort()
            self.closed += 1
            if self.closed == self.opened:
                self._quiet.set()
            self._tasks.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Respond to one request; whether another one may follow on the connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        request = _parse(head)
        self.requests.append(request)
        how = self.behaviour
        if how.greet:
            if how.greet == "stall":
                await reader.read()
            elif how.greet == "garbage":
                writer.write(b"\x00\x01 this is not HTTP\r\n\r\n")
            return False
        header, body = self._response(request, how)
        writer.write(header)
        if not await _send(writer, body, how):
            if how.end == "stall":
                await reader.read()
            elif how.end == "reset":
                reset(writer)
            return False
        return how.framing in {"length", "chunked"} and how.content_length is None

    def _response(self, request: Request, how: Behaviour) -> tuple[bytes, bytes]:
        """The header of the response, and its body before any framing."""
        data = self.chunks.get(request.key)
        status = how.status if data is not None else 404
        if data is None or status is not None:
            lines = [f"HTTP/1.1 {status} Sorry", "Content-Length: 5", f"Location: /{request.key}"]
            return "\r\n".join([*lines, "", ""]).encode(), b"sorry"
        right = crc_of(data)
        if how.other:
            data = data.translate(_OTHER)
        etag = crc_of(data) if how.etag is None else how.etag.format(crc=right)
        if how.flip is not None:
            spoilt = bytes([data[how.flip] ^ 0xFF])
            data = data[: how.flip] + spoilt + data[how.flip + 1 :]
        fields = {"Content-Length": "", "Content-Range": "", "Content-Encoding": how.encoding}
        start, stop = 0, len(data)
        if how.ranges and request.stop is not None:
            start = min(max(request.start + how.shift, 0), len(data) - 1)
            stop = max(min(request.stop + how.extra, len(data)), start + 1)
            fields["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        else:
            stop += how.extra
        body = (data + b"!" * how.extra)[start:stop]
        if how.framing == "length":
            fields["Content-Length"] = str(len(body))
        elif how.framing == "close":
            fields["Connection"] = "close"
        else:
            fields["Transfer-Encoding"] = "chunked"
        if etag:
            fields["ETag"] = etag if etag.startswith("W/") else f'"{etag}"'
        if how.content_range is not None:
            fields["Content-Range"] = how.content_range.format(
                first=start, last=stop - 1, later=start + 1, stop=stop, size=len(data)
            )
        if how.content_length is not None:
            fields["Content-Length"] = how.content_length
        lines = [f"HTTP/1.1 {206 if how.ranges and request.stop is not None else 200} OK"]
        lines += [f"{name}: {value}" for name, value in fields.items() if value]
        return "\r\n".join([*lines, "", ""]).encode(), body + b"!" * how.junk


_OTHER = bytes(byte ^ 0xFF for byte in range(256))


def _parse(head: bytes) -> Request:
    key = head.split(b" ", 2)[1].decode().lstrip("/").partition("?")[0]
    match = _RANGE.search(head)
    if match is None:
        return Request(key, 0, None, head)
    return Request(key, int(match[1]), int(match[2]) + 1, head)


async def _send(writer: asyncio.StreamWriter, body: bytes, how: Behaviour) -> bool:
    """Send the body as ``how`` says; False if it was to break off before or at its end."""
    most = len(body) if how.stop is None else min(how.stop, len(body))
    chunked = how.framing in {"chunked", "bad-chunk"}
    for at in range(0, most, how.pieces):
        piece = body[at : min(at + how.pieces, most)]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
        if how.pause:
            await asyncio.sleep(how.pause)
    if how.stop is not None and how.stop <= len(body):
        return False
    if chunked:
        writer.write(b"0\r\n\r\n" if how.framing == "chunked" else b"nonsense\r\n")
    await writer.drain()
    return True


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection so that the other end gets an RST instead of a FIN."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()
