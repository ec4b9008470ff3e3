"""What aiohttp's server does below the application, with what is no request, or is not a whole one
yet.

:class:`BoundedConnection` stands in the place of aiohttp's protocol of one connection. aiohttp's
own response to a malformed request, and its own log line, quote the bytes that its parser stumbled
over, and there may be a token among them. It limits each field of a head and not the head, and what
it makes of some heads takes too long (:func:`sfs_server.http.wellformed.check_head`). So each head
is looked at as soon as the parser has read it, and bytes that complete nothing, neither a head nor
a piece of a body, are counted: more than MAX_HEAD_BYTES of them are a head, or trailers, that
nobody wants. A client can make the service hold one read of the event loop more (256 KiB with
uvloop) of a head that is not complete, until HEAD_SECONDS are over.

aiohttp says ``100 Continue`` before it looks for a handler, also where there is none, and refuses
other expectations in a text of its own. Here it says nothing: ``100 Continue`` goes out when the
body is wanted (RFC 9110 §10.1.1), and the middleware refuses the rest. That default of all routes
is replaced too: those of a 404 and a 405 have no other.

aiohttp gives the head of a request as long as a connection may be idle, and that is long, because
the gateways in front decide when an idle one is closed. A head that has started gets HEAD_SECONDS
in all, however it trickles: the timer that closes idle connections is set to an earlier time.

aiohttp keeps up to 32 requests that a client has sent ahead; here it is MAX_AHEAD.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from aiohttp import (
    HttpVersion,
    HttpVersion11,
    hdrs,
    web,
    web_protocol,
    web_server,
    web_urldispatcher,
)
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.http_exceptions import InvalidURLError, LineTooLong
from aiohttp.streams import EmptyStreamReader, StreamReader
from aiohttp.web_protocol import _ErrInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gfs.futures import resolve
from sfs_server.errors import Problem
from sfs_server.http import (
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    TOO_LARGE,
    TOO_LONG,
    Origins,
    check_head,
    wants_page,
    without_dot_segments,
)
from sfs_server.web.connection import Connection
from sfs_server.web.problems import problem_response

_log = logging.getLogger("sfs.wire")

HEAD_SECONDS = 10.0
"""What the head of a request gets from its first byte to its last."""

MAX_AHEAD = 8
"""Requests of one connection that wait for their turn: with their heads, 256 KiB at most."""

REST_SECONDS = 2.0
"""How long what a refused client still sends is read, and dropped, so that it gets to see the
response and not a reset (RFC 9112 §9.6)."""

_NO_FIELDS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
_TOO_MANY = "Too many headers received"
"""How aiohttp's parser says it; no class and no number does."""


class WireLog(logging.LoggerAdapter[logging.Logger]):
    """The log of aiohttp's server, without the bytes that its parser quotes of a malformed
    request: there may be a token among them."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        if isinstance(kwargs.get("exc_info"), HttpProcessingError):
            kwargs["exc_info"] = None
        return msg, kwargs


@dataclass(slots=True)
class Head:
    """What aiohttp makes a request of. It stands in the place of aiohttp's own RawRequestMessage,
    which cannot be changed and is held as long as the request is: this one can let go of it."""

    method: str
    path: str
    version: HttpVersion
    headers: CIMultiDictProxy[str]
    raw_headers: tuple[tuple[bytes, bytes], ...]
    should_close: bool
    compression: str | None
    upgrade: bool
    chunked: bool
    url: URL


_NO_HEAD = Head("UNKNOWN", "/", HttpVersion11, _NO_FIELDS, (), True, None, False, False, URL("/"))
"""Of what is no request; the response to it says HTTP/1.1."""


class _Rest(EmptyStreamReader):
    """The body of a request that was refused: whatever comes within REST_SECONDS. The client is
    told at once that no more will come from here."""

    def __init__(self, connection: web.RequestHandler) -> None:
        super().__init__()
        self._connection = connection
        self._over = False

    def is_eof(self) -> bool:
        return self._over

    async def readany(self) -> bytes:
        self._over = True
        transport = self._connection.transport
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()
            await asyncio.sleep(REST_SECONDS)
        return b""


class BoundedConnection(Connection):
    """One connection, with the limits and the refusals of the service."""

    __slots__ = ("_loose", "_origins", "_refused")

    def __init__(
        self, manager: web.Server, *, origins: Origins | None = None, **options: Any
    ) -> None:
        """``origins`` may read refusals; ``options`` are aiohttp's."""
        super().__init__(manager, **options)
        self._origins = Origins(()) if origins is None else origins
        self._loose = 0  # bytes since a head was complete or a body got something
        self._refused = False  # nothing more is read

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, and give a head that is not complete no more than its time."""
        if self._refused:
            return
        body = self._newest
        got = 0 if body is None else body.total_bytes
        super().data_received(data)
        completed = body is not None and body.total_bytes != got
        for place in range(len(self._messages)):
            message, payload = self._messages[place]
            if isinstance(message, Head):
                continue
            completed = True
            try:
                self._messages[place] = self._read(message, data), payload
            except Problem as problem:
                while len(self._messages) > place:
                    self._messages.pop()
                # Where it is the parser that complains, it may be about a body.
                self._refuse(problem, body if isinstance(message, _ErrInfo) else None)
                return
        self._loose = 0 if completed else self._loose + len(data)
        if self._loose > MAX_HEAD_BYTES:
            self._refuse(self._addressed(Problem(431, TOO_LARGE), _fields_in(data)), body)
        self._hurry()

    def _hurry(self) -> None:
        if self._messages or self._current_request is not None or self.transport is None:
            return  # a head is complete; what came may be of a body
        due = self._loop.time() + HEAD_SECONDS
        if self._keepalive_handle is not None:
            if self._next_keepalive_close_time <= due:
                return
            self._keepalive_handle.cancel()
        self._next_keepalive_close_time = due
        self._keepalive_handle = self._loop.call_at(due, self._process_keepalive)

    def _read(self, message: RawRequestMessage | _ErrInfo, data: bytes) -> Any:
        """The head in ``message``. Raises Problem for what is none, or is refused; ``data`` is
        what came last of it."""
        if isinstance(message, _ErrInfo):
            raise self._addressed(_problem_of(message.exc), _fields_in(data))
        url = message.url
        try:
            check_head(
                message.method, message.path, url.raw_path, url.raw_authority, message.raw_headers
            )
        except Problem as problem:
            raise self._addressed(problem, message.headers) from None
        if url.absolute:  # what stands before the path says nothing new (RFC 9110 §7.1)
            url = url.relative()
        path = without_dot_segments(url.raw_path)
        if path != url.raw_path:
            url = url.with_path(path, encoded=True, keep_query=True, keep_fragment=True)
        return Head(
            message.method,
            message.path,
            message.version,
            message.headers,
            (),
            message.should_close,
            message.compression,
            message.upgrade,
            message.chunked,
            url,
        )

    def _addressed(self, problem: Problem, fields: CIMultiDictProxy[str]) -> Problem:
        """``problem`` for whoever sent ``fields``: readable for an origin that is allowed."""
        if self._origins:
            self._origins.share(fields, problem.headers)
        if wants_page(fields):
            problem.headers[hdrs.CONTENT_TYPE] = "text/html"
        return problem

    def _refuse(self, problem: Problem, body: StreamReader | None) -> None:
        """Read nothing more. If ``body``, of the newest request, is not whole, that request ends
        with ``problem``; else ``problem`` is the response after those to all requests before."""
        self._refused = True
        self._parser = None
        self._newest = None
        if body is not None and not body.is_eof():
            problem.headers[hdrs.CONNECTION] = "close"
            if self._messages or self._in_hand is not None:
                body.set_exception(problem)
            body.feed_eof()
            self._ended = True  # no request follows
            return
        self._messages.append((_ErrInfo(problem.status, problem, ""), _Rest(self)))
        if self._waiter is not None:
            resolve(self._waiter, None)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Log and answer without what the client sent. Closes the connection.

        Nothing went wrong here when the client is gone, and nobody is there to be answered: raises
        ConnectionError, which ends the connection.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if isinstance(exc, Problem):
            _log.info("a malformed request (%d) from %s", exc.status, request.remote)
            page = exc.headers.pop(hdrs.CONTENT_TYPE, None) is not None
            response = problem_response(exc, page=page)
        else:
            super().handle_error(request, status, exc)
            response = problem_response(Problem(status, "The service failed. Its log says more."))
        response.headers[hdrs.SERVER] = "SFS"
        response.force_close()
        return response

    def forget(self, request: web.Request) -> None:
        """Keep nothing of the head of ``request``, which is being answered, and read nothing that
        comes behind it: for a response that may last for hours."""
        self.close()  # aiohttp drops what comes from now on, and ends with this response
        self._messages.clear()
        self._parser = None
        if not request.content.is_eof():
            request.content.feed_eof()
        head = request._message
        head.headers, head.path, head.url = _NO_FIELDS, "/", _NO_HEAD.url  # type: ignore[misc]
        request._headers, request._rel_url = _NO_FIELDS, _NO_HEAD.url
        request._cache.clear()


def forget(request: web.Request) -> None:
    """Keep nothing of the head of ``request``, and read nothing that comes behind it."""
    connection = request.protocol
    if isinstance(connection, BoundedConnection):
        connection.forget(request)


def _problem_of(error: BaseException) -> Problem:
    """What the parser's ``error`` means to a client."""
    if isinstance(error, LineTooLong):
        target = error.args[1] == MAX_TARGET_BYTES
        return Problem(414, TOO_LONG) if target else Problem(431, TOO_LARGE)
    if isinstance(error, HttpProcessingError) and error.message == _TOO_MANY:
        return Problem(431, TOO_LARGE)
    if isinstance(error, InvalidURLError):
        return Problem(
            400,
            "The target of the request is no URL. Percent-encode what is not ASCII: é is %C3%A9.",
        )
    return Problem(400, "The request is not well-formed HTTP.")


def _fields_in(data: bytes) -> CIMultiDictProxy[str]:
    """The fields that can be read in ``data``, a part of a head that was refused: enough to know in
    which form the refusal goes out, and which origin may read it."""
    fields = CIMultiDict[str]()
    for line in data[:MAX_HEAD_BYTES].decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            break
        fields.add(name, value.strip(" \t"))
    return CIMultiDictProxy(fields)


async def _say_nothing_yet(request: web.Request) -> None:
    pass


def install() -> None:
    """Let aiohttp's servers do all this. They have no settings for it."""
    web_urldispatcher._default_expect_handler = _say_nothing_yet
    web_protocol.ERROR = _NO_HEAD  # type: ignore[assignment]
    web_protocol.MAX_MSG_QUEUE_SIZE = MAX_AHEAD
    web_server.RequestHandler = BoundedConnection  # type: ignore[attr-defined]
