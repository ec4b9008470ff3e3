"""What becomes of a request when its client ends its side of the connection, or loses it.

aiohttp's server takes both for the end of everything: it closes the connection at the end of what
the client sends, and cancels the handler. Two things are wrong with that:

- A client that has sent its request may close its sending side and wait for the response (RFC 9112
  §9.6). So does ``nc``, and so does every client that closes, as far as TCP can tell: a FIN says
  only that no more will be sent. So the connection stays, and ends after the last response.
- A request that has come whole and changes something is carried out (RFC 9110 §9): that its client
  has left means that nobody hears what came of it. So where the connection is lost (an RST, a
  failed write), such a request goes on, and so do those that came whole behind it, in their order.
  aiohttp hears of the loss when they are done; until then the connection counts as one of the
  server's, so a stop waits for it, and cuts it, as any other.

Everything else ends at once, as before: reads, and whatever has not come whole, which can store
nothing any more. Nothing says that the client of a half-closed connection has gone until something
is sent to it and its kernel responds with an RST. Nothing is read any more that would show this,
so epoll(7) is asked: it reports EPOLLERR and EPOLLHUP of every descriptor, whatever is waited for.
"""

from __future__ import annotations

import re
import select
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol

TRAILER_BYTES = 16 * 1024
"""What is kept of the end of a chunked body, to look for trailer fields."""

_LAST_CHUNK = re.compile(rb"\r\n0+[ \t]*(?:;[^\r\n]*)?\r\n\r\n\Z")
"""The end of a chunked body without trailer fields (RFC 9112 §7.1)."""

_TRAILERS = re.compile(
    rb"\n0+[ \t]*(?:;[^\r\n]*)?\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*\r\n)+)\r\n"
)
"""The last chunk, its extensions, and the trailer fields (RFC 9112 §7.1). No line can be taken for
both, so each is looked at once or twice."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110 §9.2.1): worth nothing without their client."""


class Connection(web.RequestHandler):
    """aiohttp's side of one connection, and what it has to know of the client's side."""

    __slots__ = (
        "_chunked",
        "_end_watch",
        "_ended",
        "_in_hand",
        "_kept",
        "_lost",
        "_newest",
        "_recent",
        "on_half_close",
        "spoiled",
    )

    def __init__(self, *args: Any, **named: Any) -> None:
        self._ended = False
        self._lost = False
        self._newest: StreamReader | None = None  # the body of the newest request
        self._chunked = False  # it is, and its end has not come
        self._recent = b""  # the last bytes that arrived, of one that is
        self.spoiled = False
        """Set when trailer fields, or whatever else is no plain end, came with a chunked body.
        aiohttp's parser takes the last trailer field for a header of the next request, which may
        be somebody else's behind a proxy: so no request is read any more."""
        self._in_hand: web.BaseRequest | None = None
        self._end_watch: select.epoll | None = None
        self.on_half_close: Callable[[], object] | None = None
        """Called when the client has sent its last byte, which is all that one hears of a client
        that has left: a response that would be silent for long should send something."""
        super().__init__(*args, **named)

    @property
    def state(self) -> str:
        """``open``, ``half-closed`` when the client sends no more, ``lost`` when nothing can be
        sent to it."""
        return "lost" if self._lost else "half-closed" if self._ended else "open"

    @property
    def last(self) -> bool:
        """Whether the request in hand is the last one that will be read."""
        return self.spoiled and not self._messages

    @property
    def _keepalive(self) -> bool:
        """Whether another request is waited for; aiohttp asks after each response."""
        if self._lost:
            return bool(self._messages)
        return self._kept and not (self._ended and not self._messages) and not self.last

    @_keepalive.setter
    def _keepalive(self, value: bool) -> None:
        self._kept = value

    def data_received(self, data: bytes) -> None:
        if self.spoiled:
            return
        known = len(self._messages)
        super().data_received(data)
        for place in range(known, len(self._messages)):
            if self._chunked and self._newest is not None and self._newest.is_eof():
                self.spoiled = True  # or may be: its end stands before what came with it
                while len(self._messages) > place:
                    self._messages.pop()
                break
            message, self._newest = self._messages[place]
            self._recent = b""
            self._chunked = getattr(message, "chunked", False)
        if self._chunked and self._newest is not None:
            joined = data if len(data) >= TRAILER_BYTES else self._recent + data
            self._recent = joined[-TRAILER_BYTES:]
            if self._newest.is_eof():
                self._chunked = False
                if not self.spoiled and _LAST_CHUNK.search(self._recent):
                    self._recent = b""
                else:
                    self.spoiled = True
        if self._lost:
            self._keep_what_is_carried_out()

    def trailers(self) -> Iterable[str]:
        """The names of the trailer fields of a chunked body that has been read.

        aiohttp's parser drops them, so they are looked for in the bytes that arrived last. Where a
        request was sent behind it without waiting, or where the body ends like one itself, this
        may find the fields of another.
        """
        for section in _TRAILERS.findall(self._recent):
            for line in section.splitlines():
                yield line.partition(b":")[0].decode("latin-1")

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. True if the connection stays open for responses."""
        self._ended = True
        if self._newest is not None and not self._newest.is_eof():
            if not self._messages:
                return False  # the request that is being handled will never be whole
            self._messages.pop()
            self._newest = None  # the event loop may say this more than once
        if not self._messages and self._in_hand is None:
            return False
        self._watch_for_the_end()
        if self.on_half_close is not None:
            self.on_half_close()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lost = True
        if self._end_watch is not None:
            self._loop.remove_reader(self._end_watch.fileno())
            self._end_watch.close()
            self._end_watch = None
        self._keep_what_is_carried_out()
        task = self._task_handler
        if task is None or not (self._messages or _carried_out(self._in_hand)):
            super().connection_lost(exc)
            return
        BaseProtocol.connection_lost(self, exc)  # nothing can be written any more
        task.add_done_callback(lambda _: super(Connection, self).connection_lost(exc))

    def _keep_what_is_carried_out(self) -> None:
        """Drop the requests in waiting that are worth nothing without their client."""
        self._messages = deque(
            (message, body)
            for message, body in self._messages
            if body.is_eof() and getattr(message, "method", "GET") not in SAFE
        )

    def _watch_for_the_end(self) -> None:
        if self._end_watch is not None or self.transport is None:
            return
        self._end_watch = watch = select.epoll(1)
        watch.register(self.transport.get_extra_info("socket").fileno(), 0)
        self._loop.add_reader(watch.fileno(), self.transport.abort)

    def _handle_request(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> Any:
        # Not a coroutine function: the request is in hand from now on, not from when its task runs.
        self._in_hand = request
        return self._handle_in_hand(request, start_time, request_handler)

    async def _handle_in_hand(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        """Handle a request, and say whether to stop: a response that cannot be sent is no reason
        to, as long as there are requests behind it that have come whole."""
        response: web.StreamResponse = web.Response()
        try:
            response, lost = await super()._handle_request(request, start_time, request_handler)
        except ConnectionError:
            if not self._messages:
                raise
            lost = True
        finally:
            self._in_hand = None
        if lost:
            self._lost = True
            self._keep_what_is_carried_out()
        return response, lost and not self._messages


def _carried_out(request: web.BaseRequest | None) -> bool:
    return request is not None and request.method not in SAFE and request.content.is_eof()


def connection_of(request: web.BaseRequest) -> Connection:
    """The connection that ``request`` came on."""
    connection = request.protocol
    assert isinstance(connection, Connection)  # noqa: S101 - wire.install() has been called  # nosec B101
    return connection
