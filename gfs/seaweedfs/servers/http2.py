"""A gRPC call whose response is a stream of many small messages, as bytes, over HTTP/2.

The library of gRPC takes 17 to 31 µs for each message of a stream, which is each entry of a list;
reading the frames of HTTP/2 takes 3, because one read of the socket brings hundreds of them. So
lists, and nothing else, are read here: RFC 9113 as far as it goes for requests of one small message
each, and "gRPC over HTTP/2" for what is inside. The blocks of headers are those of the library
``hpack``.

A connection carries up to MAX_STREAMS requests at once. The peer sends what fits into WINDOW bytes
of each, and learns at once what has arrived: what a caller does not want any more it resets.
Neither side keeps a table of headers (SETTINGS_HEADER_TABLE_SIZE 0, RFC 7541 §4.2), so that each
block is read by itself, and one whose request was given up is not read at all.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import tempfile
from collections.abc import Iterable, Iterator
from typing import cast

from hpack import Decoder, Encoder, HPACKError

from gfs.futures import resolve
from gfs.types import Tls

WINDOW = 2 * 1024 * 1024
"""How many bytes of a response, and of all responses together, the peer may send before we say that
they have arrived."""

MAX_STREAMS = 100
"""How many requests a connection carries at once: the least that RFC 9113 §6.5.2 recommends to
allow."""

MAX_REQUEST_BYTES = 16_384
"""The longest message of a request: it is one frame (RFC 9113 §6.5.2)."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The longest message of a response: the list of the chunks of a large file that another program
wrote is one."""

MAX_FRAME_BYTES = 16_384
"""The longest frame that the peer may send: we do not allow longer ones (RFC 9113 §6.5.2)."""

LAST_STREAM = 2**30
"""A connection is replaced when its requests have got to this number."""

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY, _ACK = 0x1, 0x4, 0x8, 0x20, 0x1
_CANCEL = 8
_CODES = {b"%d" % code: code for code in range(17)}
"""The values of ``grpc-status``."""

_UNKNOWN = 2
"""The one for a value that is not one of these."""

_FIRST_WINDOW = 65_535
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Failed(Exception):
    """The call came to no good end. ``code``: what gRPC calls it, None if the connection failed."""

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code


class _Stream:
    """A request whose response is awaited."""

    __slots__ = ("headers", "kept", "most", "parts", "received", "result")

    def __init__(self, most: int) -> None:
        self.most = most
        self.parts: list[bytes] = []
        self.kept = 0
        self.received = 0
        self.headers = False
        self.result: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def enough(self) -> bool:
        """Whether there are ``most`` bytes and a whole message. Raises Failed if that is too
        long."""
        if self.kept < self.most:
            return False
        self.parts = [b"".join(self.parts)]
        length = int.from_bytes(self.parts[0][1:5])
        if length > MAX_MESSAGE_BYTES:
            raise Failed("a message is too long")
        self.most = max(self.most, 5 + length)
        return self.kept >= self.most


class Connection(asyncio.Protocol):
    """One connection to ``peer`` (``host:port``). Make it with :meth:`open`."""

    def __init__(self, peer: str, *, encrypted: bool) -> None:
        self.peer = peer
        self._scheme = "https" if encrypted else "http"
        self._encoder, self._decoder = Encoder(), Decoder(max_header_list_size=MAX_FRAME_BYTES)
        self._encoder.header_table_size = 0
        self._decoder.max_allowed_table_size = self._decoder.header_table_size = 0
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._streams: dict[int, _Stream] = {}
        self._slots = asyncio.Semaphore(MAX_STREAMS)
        self._next = 1
        self._window = _FIRST_WINDOW
        self._received = 0
        self._leaving = False
        self._block: tuple[int, bool, bytes] | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.peer} streams={len(self._streams)} usable={self.usable}>"

    @classmethod
    async def open(cls, peer: str, tls: ssl.SSLContext | None) -> Connection:
        """Connect. Raises Failed."""
        host, _, port = peer.rpartition(":")
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: cls(peer, encrypted=tls is not None), host.strip("[]"), int(port), ssl=tls
            )
        except OSError as error:
            raise Failed(str(error)) from error
        return connection

    @property
    def usable(self) -> bool:
        """Whether it takes another request."""
        fits = self._window >= MAX_REQUEST_BYTES and self._next < LAST_STREAM
        return self._transport is not None and not self._leaving and fits

    async def ask(self, path: str, request: bytes, most: int) -> tuple[list[bytes], bool]:
        """The messages of the response to one request, and whether they are all: the rest is not
        read if they have ``most`` bytes. Raises Failed; bound it by a time-out."""
        if len(request) > MAX_REQUEST_BYTES - 5:
            raise Failed("the request is too long")
        async with self._slots:
            if self._transport is None or not self.usable:
                raise Failed("the connection has ended")
            number, stream = self._next, _Stream(most)
            self._next += 2
            self._streams[number] = stream
            body = b"\0" + struct.pack(">I", len(request)) + request
            self._window -= len(body)
            self._transport.write(
                _frame(_HEADERS, _END_HEADERS, number, self._head(path))
                + _frame(_DATA, _END_STREAM, number, body)
            )
            try:
                complete = await stream.result
            finally:
                del self._streams[number]
                if stream.result.cancelled():
                    self._reset(number)
                if self._leaving:
                    self.leave()
        return list(_messages(b"".join(stream.parts), complete)), complete

    def leave(self) -> None:
        """Take no more requests, and close the connection when it has none."""
        self._leaving = True
        if not self._streams:
            self.close()

    def close(self, why: str = "the connection was closed") -> None:
        """Close the connection; its requests fail for this reason. Idempotent."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._fail_all(why)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # 1: header table size, 2: enable push, 4: initial window size, 5: max frame size.
        values = ((1, 0), (2, 0), (4, WINDOW), (5, MAX_FRAME_BYTES))
        settings = b"".join(struct.pack(">HI", *value) for value in values)
        more = struct.pack(">I", WINDOW - _FIRST_WINDOW)
        self._transport.write(
            _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, more)
        )

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._fail_all("the connection was lost" if error is None else str(error))

    def data_received(self, data: bytes) -> None:
        try:
            self._read(self._rest + data if self._rest else data)
        except (Failed, HPACKError, IndexError, struct.error) as error:
            self.close(f"what comes is not understood: {error}")
        if self._received >= WINDOW // 2 and self._transport is not None:
            self._transport.write(_frame(_WINDOW, 0, 0, struct.pack(">I", self._received)))
            self._received = 0

    def _read(self, data: bytes) -> None:
        """Handle the frames that have come whole, and keep the rest."""
        position, end = 0, len(data)
        while end - position >= 9:
            start = position + 9
            length = int.from_bytes(data[position : position + 3])
            if length > MAX_FRAME_BYTES:
                raise Failed("a frame is too long")
            if end - start < length:
                break
            kind, flags = data[position + 3], data[position + 4]
            number = int.from_bytes(data[position + 5 : start]) & 0x7FFFFFFF
            position = start + length
            if kind == _DATA:
                self._received += length
                if (stream := self._streams.get(number)) is not None:
                    self._take(number, stream, flags, data[start:position])
            else:
                self._control(kind, flags, number, data[start:position])
        self._rest = data[position:]

    def _take(self, number: int, stream: _Stream, flags: int, payload: bytes) -> None:
        stream.received += len(payload)
        if flags & _PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        if stream.result.done():
            return
        stream.parts.append(payload)
        stream.kept += len(payload)
        if flags & _END_STREAM:
            _fail(stream, Failed("the response has no status"))
        elif stream.enough():
            resolve(stream.result, False)
            self._reset(number)
        elif stream.received >= WINDOW // 2 and self._transport is not None:
            more = struct.pack(">I", stream.received)
            self._transport.write(_frame(_WINDOW, 0, number, more))
            stream.received = 0

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind in (_HEADERS, _CONTINUATION):
            self._gather(kind, flags, number, payload)
        elif self._block is not None:
            raise Failed("a block of headers is interrupted")
        elif kind == _RESET and (stream := self._streams.get(number)) is not None:
            _fail(stream, Failed("the server has given the request up"))
        elif kind == _GOAWAY:
            self._leaving = True
            last = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
            for one, stream in self._streams.items():
                if one > last:
                    _fail(stream, Failed("the server ends the connection"))
        elif kind == _WINDOW and number == 0:
            self._window += struct.unpack(">I", payload)[0]
        elif kind in (_SETTINGS, _PING) and not flags & _ACK and self._transport is not None:
            self._transport.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))

    def _gather(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Take a frame of a block of headers, and the block when it is whole."""
        if (kind == _HEADERS) is (self._block is not None):
            raise Failed("a block of headers is interrupted, or has no start")
        if self._block is None:
            padding = payload[0] if flags & _PADDED else 0
            start = bool(flags & _PADDED) + (5 if flags & _PRIORITY else 0)
            self._block = number, bool(flags & _END_STREAM), payload[start : len(payload) - padding]
        elif len(self._block[2]) > MAX_FRAME_BYTES:
            raise Failed("a block of headers is too long")
        else:
            self._block = *self._block[:2], self._block[2] + payload
        if flags & _END_HEADERS:
            (number, ends, block), self._block = self._block, None
            if (stream := self._streams.get(number)) is not None:
                _headers(stream, self._decoder.decode(block, raw=True), ends)

    def _reset(self, number: int) -> None:
        if self._transport is not None:
            self._transport.write(_frame(_RESET, 0, number, struct.pack(">I", _CANCEL)))

    def _fail_all(self, why: str) -> None:
        for stream in self._streams.values():
            _fail(stream, Failed(why))

    def _head(self, path: str) -> bytes:
        """The header block of a request."""
        fields = (
            (":method", "POST"),
            (":scheme", self._scheme),
            (":path", path),
            (":authority", self.peer),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        )
        return self._encoder.encode(fields, huffman=False)


def context_of(tls: Tls) -> ssl.SSLContext:
    """The TLS of gRPC with these texts. Raises ValueError if they do not fit together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=tls.ca.decode())
    with tempfile.NamedTemporaryFile() as own:  # it takes them from a file alone
        own.write(tls.certificate + b"\n" + tls.key)
        own.flush()
        context.load_cert_chain(own.name)
    return context


def _headers(stream: _Stream, fields: Iterable[tuple[bytes, bytes]], ends: bool) -> None:
    """Take a block of headers: those before the messages, or those at the end."""
    code: int | None = None
    for name, value in fields:
        if name == b":status":
            stream.headers = value == b"200"
        elif name == b"grpc-status":
            code = _CODES.get(value, _UNKNOWN)
    if not stream.headers:
        _fail(stream, Failed("the response is not one of gRPC"))
    elif ends and code == 0:
        resolve(stream.result, True)
    elif ends:
        _fail(stream, Failed("the server refuses", _UNKNOWN if code is None else code))


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """A frame (RFC 9113 §4.1)."""
    head = struct.pack(">BHBBI", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, number)
    return head + payload


def _messages(data: bytes, complete: bool) -> Iterator[bytes]:
    """The messages that have come whole. Raises Failed if a ``complete`` response ends in the
    middle of one, or if one is compressed, which we do not accept."""
    position, end = 0, len(data)
    while end - position >= 5:
        if data[position]:
            raise Failed("a message is compressed")
        start = position + 5
        stop = start + int.from_bytes(data[position + 1 : start])
        if stop > end:
            break
        yield data[start:stop]
        position = stop
    if complete and position != end:
        raise Failed("the response ends in the middle of a message")


def _fail(stream: _Stream, failure: Failed) -> None:
    if not stream.result.done():
        stream.result.set_exception(failure)
