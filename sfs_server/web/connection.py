"""One connection: makes requests of its bytes, and carries changes out whose client has left.

:class:`Connection` stands in the place of aiohttp's protocol of one connection. It differs from it
in this:

**Heads have a limit.** aiohttp limits each field of a head but not the head, and takes too long to
make a request of some heads (:func:`sfs_server.http.check_head`). So each head is checked as soon
as the parser has read it. As long as a head is not complete, its bytes are counted: those since the
last head was complete, or a body grew. More than MAX_HEAD_BYTES are a head, or trailer fields, that
is refused. So of a head that is not complete the service holds that much and one read of the event
loop more (256 KiB with uvloop), until HEAD_SECONDS after its first byte are over, however it
trickles. aiohttp would give it as long as a connection may be idle, which is long, because the
gateways in front decide when an idle one is closed. So the timer that closes idle connections is
set to an earlier time.

**Refusals quote nothing.** aiohttp's own response to a malformed request, and its own log line,
quote the bytes at which its parser stopped, and there may be a token among them.

**Nothing is read behind trailer fields.** aiohttp's parser takes the last trailer field of a
chunked body for a header field of the next request, which may be another client's behind a proxy.
So where a chunked body ends with anything but its last chunk, no request is read any more.

**A client that sends no more gets its response.** When a client ends what it sends, aiohttp closes
the connection and cancels the handler. But a client that has sent its request may close its sending
side and wait for the response (RFC 9112 §9.6). ``nc`` does, and to TCP so does every client that
closes: a FIN says only that no more will be sent. So the connection stays until the last response
has been sent. That the client of a half-closed connection has gone shows only when something is
sent to it and its kernel responds with an RST. As nothing is read any more that would report this,
epoll(7) does: it reports EPOLLERR and EPOLLHUP of every descriptor, whatever is waited for.

**A change is carried out without its client.** A request that changes something and has come whole
is carried out (RFC 9110 §9), although its client has left and will not see the response. So when
the connection is lost (an RST, a failed write), such a request goes on, and after it, in their
order, those that came whole behind it. Then aiohttp is notified of the loss; until then the
connection is one of the server's, so that a stop waits for it, and cuts it, like any other.
Everything else ends at once: reads, and requests that have not come whole, which can store nothing
any more.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from aiohttp import HttpVersion, HttpVersion11, hdrs, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gfs.futures import resolve
from sfs_server.errors import Problem
from sfs_server.http import (
    MAX_HEAD_BYTES,
    SAFE_METHODS,
    TAIL_BYTES,
    TOO_LARGE,
    Origins,
    check_head,
    ends_plainly,
    trailer_names,
    wants_page,
    without_dot_segments,
)
from sfs_server.web.problems import problem_response
from sfs_server.web.refusals import RefusedBody, fields_in, parser_problem

HEAD_SECONDS = 10.0
"""What the head of a request gets from its first byte to its last."""

MAX_AHEAD = 8
"""Requests of one connection that wait for their turn: with their heads, 256 KiB at most. aiohttp
would keep 32."""

_log = logging.getLogger("sfs.wire")
_PAGE = "page"
_NO_FIELDS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


@dataclass(slots=True)
class RequestHead:
    """The head of a request, in the place of aiohttp's RawRequestMessage. That one is held as long
    as the request is and cannot be changed; this one can be emptied (:meth:`Connection.forget`)."""

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


NO_HEAD = RequestHead(
    "UNKNOWN", "/", HttpVersion11, _NO_FIELDS, (), True, None, False, False, URL("/")
)
"""The head of what is no request; the response to it says HTTP/1.1."""


class _Unsent(web.Response):
    """Stands for a response that could not be sent, while requests behind it are carried out."""

    keep_alive = True


_UNSENT = _Unsent()


class Connection(web.RequestHandler):
    """The connection of one client, from its first byte to the end of its last request."""

    __slots__ = (
        "_body",
        "_chunked",
        "_end_watch",
        "_handling",
        "_incomplete",
        "_origins",
        "_reading",
        "_tail",
        "on_half_close",
        "state",
    )

    def __init__(
        self, manager: web.Server, *, origins: Origins | None = None, **options: Any
    ) -> None:
        """``origins`` are those whose pages may read a refusal; ``options`` are aiohttp's."""
        super().__init__(manager, **options)
        self.state: Literal["open", "half-closed", "lost"] = "open"
        """Half-closed when the client sends no more, lost when nothing can be sent to it."""
        self.on_half_close: Callable[[], object] | None = None
        """Called when the client has sent its last byte. Nothing else shows that a client has left,
        so a response that sends nothing for long should send something now."""
        self._origins = origins
        self._reading = True  # else what comes is dropped
        self._handling: web.BaseRequest | None = None
        self._body: StreamReader = EMPTY_PAYLOAD  # of the newest request
        self._chunked = False  # it is, and its end has not come
        self._tail = b""  # the last bytes that arrived, of one that is
        self._incomplete = 0  # bytes since a head was complete or a body got something
        self._end_watch: select.epoll | None = None

    def data_received(self, data: bytes) -> None:
        """Take what has arrived: heads, of which requests are made, and pieces of bodies."""
        if not self._reading:
            return
        ahead, body = len(self._messages), self._body
        received = body.total_bytes
        super().data_received(data)
        complete = len(self._messages) > ahead or body.total_bytes != received
        for place in range(ahead, len(self._messages)):
            if self._chunked and self._body.is_eof():  # that end and this came in one piece
                self._drop_from(place)
                self._stop_reading()
                break
            message, payload = self._messages[place]
            try:
                head = _checked_head(message)
            except Problem as problem:
                self._drop_from(place)
                if isinstance(message, _ErrInfo):  # it may be about the body before
                    self._refuse(problem, fields_in(data), body)
                else:
                    self._refuse(problem, message.headers)
                return
            self._messages[place] = cast(RawRequestMessage, head), payload
            self._body, self._chunked, self._tail = payload, head.chunked, b""
        if self._chunked:
            self._look_for_trailers(data)
        if self.state == "lost":
            self._drop_reads()
        if complete:
            self._incomplete = 0
        elif data and self._reading:
            self._limit_head(data)

    def _look_for_trailers(self, data: bytes) -> None:
        """Follow a chunked body to its end; if that is no plain one, nothing behind it is read."""
        self._tail = (data if len(data) >= TAIL_BYTES else self._tail + data)[-TAIL_BYTES:]
        if self._body.is_eof():
            self._chunked = False
            if self._reading and ends_plainly(self._tail):
                self._tail = b""
            else:
                self._stop_reading()

    def trailers(self) -> Iterator[str]:
        """The names of the trailer fields of a chunked body that has been read
        (:mod:`sfs_server.http.trailers`)."""
        return trailer_names(self._tail)

    def _limit_head(self, data: bytes) -> None:
        """Limit the bytes and the seconds that a head gets which ``data`` has not completed."""
        self._incomplete += len(data)
        if self._incomplete > MAX_HEAD_BYTES:
            self._refuse(Problem(431, TOO_LARGE), fields_in(data), self._body)
        elif not self._messages and self._handling is None and self.transport is not None:
            due = self._loop.time() + HEAD_SECONDS
            if self._keepalive_handle is not None:
                if self._next_keepalive_close_time <= due:
                    return
                self._keepalive_handle.cancel()
            self._next_keepalive_close_time = due
            self._keepalive_handle = self._loop.call_at(due, self._process_keepalive)

    def _refuse(
        self, problem: Problem, fields: CIMultiDictProxy[str], body: StreamReader = EMPTY_PAYLOAD
    ) -> None:
        """Read nothing more from the client that sent ``fields``. If ``body``, of the newest
        request, is not whole, that request ends with ``problem``; else ``problem`` is the response
        after those to all requests before."""
        if self._origins:
            self._origins.share(fields, problem.headers)
        self._parser = None
        if not body.is_eof():
            self._stop_reading()
            if self._messages or self._handling is not None:
                body.set_exception(problem)
            body.feed_eof()
            return
        self._reading = False
        refusal = _ErrInfo(problem.status, problem, _PAGE if wants_page(fields) else "")
        self._messages.append((refusal, RefusedBody(self)))
        if self._waiter is not None:
            resolve(self._waiter, None)

    def _stop_reading(self) -> None:
        """Make the newest request the last one; its response says so, if it has not started."""
        if not self._reading:
            return
        self._reading = False
        newest: object = None
        if self._messages:
            newest = self._messages[-1][0]
        elif self._handling is not None:
            newest = self._handling._message
        if isinstance(newest, RequestHead):
            newest.should_close = True

    def _drop_from(self, place: int) -> None:
        """Drop the waiting requests from number ``place`` on."""
        while len(self._messages) > place:
            self._messages.pop()

    def _drop_reads(self) -> None:
        """Drop the waiting requests that are of no use without their client."""
        self._messages = deque(
            (head, body)
            for head, body in self._messages
            if isinstance(head, RequestHead) and head.method not in SAFE_METHODS and body.is_eof()
        )

    def _handle_request(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> Any:
        # Not a coroutine function: it is being handled from now on, not from when its task runs.
        self._handling = request
        return self._respond(request, start_time, request_handler)

    async def _respond(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        """Handle a request. Returns its response, and whether the connection ends: a response that
        could not be sent does not end it while requests wait behind it that are carried out."""
        response: web.StreamResponse = _UNSENT
        try:
            response, lost = await super()._handle_request(request, start_time, request_handler)
        except ConnectionError:
            if not self._messages:
                raise
            lost = True
        finally:
            self._handling = None
        if lost:
            self.state = "lost"
            self._drop_reads()
            return (_UNSENT, False) if self._messages else (response, True)
        if request._message.should_close:  # perhaps only since the response started
            response.force_close()
        return response, False

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. True if the connection stays open for responses."""
        self.state = "half-closed"
        if not self._body.is_eof():
            if not self._messages:
                return False  # the request that is being handled will never be whole
            self._messages.pop()
            self._body = EMPTY_PAYLOAD  # the event loop may say this more than once
        if not self._messages and self._handling is None:
            return False
        self._stop_reading()
        if self._end_watch is None and self.transport is not None:
            self._end_watch = watch = select.epoll(1)
            watch.register(self.transport.get_extra_info("socket").fileno(), 0)
            self._loop.add_reader(watch.fileno(), self.transport.abort)
        if self.on_half_close is not None:
            self.on_half_close()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing can be sent any more. aiohttp is notified when no change is left that has come
        whole."""
        self.state = "lost"
        if self._end_watch is not None:
            self._loop.remove_reader(self._end_watch.fileno())
            self._end_watch.close()
            self._end_watch = None
        if self._messages:
            self._drop_reads()
        request, task = self._handling, self._task_handler
        whole = (
            request is not None and request.method not in SAFE_METHODS and request.content.is_eof()
        )
        if task is None or not (self._messages or whole):
            super().connection_lost(exc)
            return
        BaseProtocol.connection_lost(self, exc)  # nothing can be written any more
        task.add_done_callback(lambda _: super(Connection, self).connection_lost(exc))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Log an error that the application has not seen, and return the response, which closes the
        connection and has nothing in it of what the client sent.

        Raises ConnectionError, which ends the connection, if that is the error: nothing went wrong
        here, and the client is gone.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if isinstance(exc, Problem):
            _log.info("a malformed request (%d) from %s", exc.status, request.remote)
            response = problem_response(exc, page=message == _PAGE)
        else:
            super().handle_error(request, status, exc)
            response = problem_response(Problem(status, "The service failed. Its log says more."))
        response.headers[hdrs.SERVER] = "SFS"
        response.force_close()
        return response

    def forget(self, request: web.Request) -> None:
        """Keep nothing of the head of ``request``, which is being responded to, and read nothing
        that comes behind it: for a response that may last for hours."""
        self._messages.clear()
        self._stop_reading()
        self._parser = None
        if not request.content.is_eof():
            request.content.feed_eof()
        head = cast(RequestHead, request._message)
        head.headers, head.path, head.url = _NO_FIELDS, "/", NO_HEAD.url
        request._headers, request._rel_url = _NO_FIELDS, NO_HEAD.url
        request._cache.clear()


def connection_of(request: web.BaseRequest) -> Connection:
    """The connection that ``request`` came on."""
    connection = request.protocol
    assert isinstance(connection, Connection)  # noqa: S101 - install() has been called  # nosec B101
    return connection


def _checked_head(message: RawRequestMessage | _ErrInfo) -> RequestHead:
    """The head that aiohttp's parser has read, with its target as a path without dot segments.
    Raises Problem 400, 414 or 431 for one that is refused."""
    if isinstance(message, _ErrInfo):
        raise parser_problem(message.exc)
    url = message.url
    check_head(message.method, message.path, url.raw_path, url.raw_authority, message.raw_headers)
    if url.absolute:  # what stands before the path says nothing new (RFC 9110 §7.1)
        url = url.relative()
    if "/." in url.raw_path:
        path = without_dot_segments(url.raw_path)
        url = url.with_path(path, encoded=True, keep_query=True, keep_fragment=True)
    return RequestHead(
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


class ServerLog(logging.LoggerAdapter[logging.Logger]):
    """The log of aiohttp's server, without the bytes that its parser quotes of a malformed request:
    there may be a token among them."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Drop the error of a parser from a record."""
        if isinstance(kwargs.get("exc_info"), HttpProcessingError):
            kwargs["exc_info"] = None
        return msg, kwargs
