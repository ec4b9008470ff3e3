"""One connection: which of the bytes that come on it are requests, and what becomes of those when
their client leaves.

:class:`Connection` stands in the place of aiohttp's protocol of one connection. It differs from it
in what follows.

**Heads have a limit.** aiohttp limits each field of a head and not the head, and what it makes of
some heads takes too long (:func:`sfs_server.http.check_head`). So each head is checked as soon as
the parser has read it. Bytes that complete nothing, neither a head nor a piece of a body, are
counted: more than MAX_HEAD_BYTES of them are a head, or trailer fields, that nobody wants. A client
can make the service hold one read of the event loop more (256 KiB with uvloop) of a head that is
not complete, until HEAD_SECONDS are over. aiohttp would give it as long as a connection may be
idle, and that is long, because the gateways in front decide when an idle one is closed. A head that
has started gets HEAD_SECONDS in all, however it trickles: the timer that closes idle connections is
set to an earlier time.

**Refusals quote nothing.** aiohttp's own response to a malformed request, and its own log line,
quote the bytes that its parser stumbled over, and there may be a token among them.

**Trailer fields end it.** aiohttp's parser takes the last trailer field of a chunked body for a
header of the next request, which may be another client's behind a proxy. So where anything but a
plain end comes with such a body, no request is read any more.

**A client that sends no more gets its response.** aiohttp takes the end of what a client sends for
the end of everything: it closes the connection and cancels the handler. But a client that has sent
its request may close its sending side and wait for the response (RFC 9112 §9.6). So does ``nc``,
and so does every client that closes, as far as TCP can tell: a FIN says only that no more will be
sent. So the connection stays, and ends after the last response. Nothing says that the client of a
half-closed connection has gone until something is sent to it and its kernel responds with an RST.
Nothing is read any more that would show this, so epoll(7) is asked: it reports EPOLLERR and
EPOLLHUP of every descriptor, whatever is waited for.

**A change is carried out without its client.** A request that has come whole and changes something
is carried out (RFC 9110 §9): that its client has left means that nobody hears what came of it. So
where the connection is lost (an RST, a failed write), such a request goes on, and so do those that
came whole behind it, in their order. aiohttp is notified of the loss when they are done; until then
the connection counts as one of the server's, so a stop waits for it, and cuts it, as any other.
Everything else ends at once: reads, and whatever has not come whole, which can store nothing any
more.
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
    """What aiohttp makes a request of: the fields of its own RawRequestMessage, which cannot be
    changed and is held as long as the request is. This one can let go of them."""

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
    """Stands for a response that could not be sent, in front of requests that are carried out."""

    keep_alive = True


_UNSENT = _Unsent()


class Connection(web.RequestHandler):
    """The connection of one client, from its first byte to the end of its last request."""

    __slots__ = (
        "_body",
        "_chunked",
        "_end_watch",
        "_in_hand",
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
        """``origins`` may read refusals; ``options`` are aiohttp's."""
        super().__init__(manager, **options)
        self.state: Literal["open", "half-closed", "lost"] = "open"
        """Half-closed when the client sends no more, lost when nothing can be sent to it."""
        self.on_half_close: Callable[[], object] | None = None
        """Called when the client has sent its last byte, which is all that one hears of a client
        that has left: a response that would be silent for long should send something."""
        self._origins = origins
        self._reading = True  # what comes is looked at
        self._in_hand: web.BaseRequest | None = None
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
        """Give a head that is not complete its bytes, and its time, and no more."""
        self._incomplete += len(data)
        if self._incomplete > MAX_HEAD_BYTES:
            self._refuse(Problem(431, TOO_LARGE), fields_in(data), self._body)
        elif not self._messages and self._in_hand is None and self.transport is not None:
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
            if self._messages or self._in_hand is not None:
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
        elif self._in_hand is not None:
            newest = self._in_hand._message
        if isinstance(newest, RequestHead):
            newest.should_close = True

    def _drop_from(self, place: int) -> None:
        """Drop the requests in waiting from number ``place`` on."""
        while len(self._messages) > place:
            self._messages.pop()

    def _drop_reads(self) -> None:
        """Drop the requests in waiting that are worth nothing without their client."""
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
        # Not a coroutine function: the request is in hand from now on, not from when its task runs.
        self._in_hand = request
        return self._respond(request, start_time, request_handler)

    async def _respond(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        """Handle a request, and say whether to stop: a response that cannot be sent is no reason
        to, as long as there are requests behind it that have come whole."""
        response: web.StreamResponse = _UNSENT
        try:
            response, lost = await super()._handle_request(request, start_time, request_handler)
        except ConnectionError:
            if not self._messages:
                raise
            lost = True
        finally:
            self._in_hand = None
        if lost:
            self.state = "lost"
            self._drop_reads()
            return (_UNSENT, False) if self._messages else (response, True)
        if not request.keep_alive:
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
        if not self._messages and self._in_hand is None:
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
        request, task = self._in_hand, self._task_handler
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
