"""``GET /sse/progress``: the event stream of one transfer (WHATWG HTML §9.2), and what makes an
upload or a download one that can be watched."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from types import TracebackType
from typing import Self

from aiohttp import hdrs, web

from sfs_server.connection import connection_of
from sfs_server.errors import Problem, problem_of
from sfs_server.keys import CLIENT, LIFECYCLE, LINK, PRINCIPAL, PROGRESS, STREAMS
from sfs_server.progress import Hub
from sfs_server.progress_types import COMMENT, Count, Direction, State, Transfer, check_id
from sfs_server.sendfile import STALL_SECONDS
from sfs_server.transfer import begin, write_piece
from sfs_server.wire import forget

SEND_BUFFER = 8 * 1024
"""Bytes that the kernel is asked to hold for a watcher that does not read: some fifty events."""

_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",
}


async def progress(request: web.Request) -> web.StreamResponse:
    """Tell of the transfer ``?id=`` until it ends, from its newest state on."""
    id_ = request.query.get("id")
    if id_ is None:
        raise Problem(400, "Say which transfer: ?id=ID.")
    lifecycle = request.app[LIFECYCLE]
    response = web.StreamResponse(headers=_HEADERS)
    response.force_close()  # its socket is set up for a stream
    # Who may watch what is asked of every transfer, by may_see(), when the watcher is seated.
    user = None if LINK in request else request[PRINCIPAL].user
    with (
        request.app[STREAMS].one(request[CLIENT], user),
        request.app[PROGRESS].watch(check_id(id_), request[PRINCIPAL]) as watcher,
    ):
        writer = await begin(request, response)
        if request.method == "HEAD":
            return response
        transport = _set_up(request)
        forget(request)
        lifecycle.running -= 1  # nothing that a stop waits for: it ends when the draining begins
        try:
            await write_piece(request, writer, COMMENT)  # so that the headers go out
            chunked = hdrs.TRANSFER_ENCODING in response.headers
            watcher.sink = partial(_send_at_once, transport, chunked)
            connection_of(request).on_half_close = watcher.prod
            while not watcher.over:
                await watcher.news()
                await write_piece(request, writer, watcher.take())
        finally:
            lifecycle.running += 1
    return response


def _send_at_once(transport: asyncio.Transport, chunked: bool, state: State) -> bool:
    """Give an event to the socket, past aiohttp, if all that it was given before has gone."""
    if transport.is_closing() or transport.get_write_buffer_size():
        return False
    transport.write(state.chunk if chunked else state.event)
    return True


def _set_up(request: web.Request) -> asyncio.Transport:
    """Let the connection hold little, and end when its client has gone without a word."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    transport.set_write_buffer_limits(high=0)  # no event is given before the one before is gone
    channel = transport.get_extra_info("socket")
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(STALL_SECONDS * 1000)
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return transport


class Tracked:
    """Makes a transfer of a request that has an id, ``?id=`` or ``X-Transfer-Id``; nothing of one
    without, and nothing of a HEAD, which moves no bytes.

    ``count`` is what the byte loop counts with. ``begin`` says that the bytes are about to move. A
    request that is refused before is a transfer that failed, unless the caller has to sign in
    first: whoever may do nothing can say nothing under an id either.
    """

    def __init__(self, request: web.Request, direction: Direction) -> None:
        """Read the id. Raises Problem 400."""
        text = request.headers.get("X-Transfer-Id")
        if text is not None:
            check_id(text)  # even if another one stands in the query
        if request.query_string:
            text = request.query.get("id", text)
        self.count: Count
        self._hub: Hub | None = None
        self._begun = False
        if text is None:
            self.count = Count()
            return
        owner = request[PRINCIPAL].user
        self.count = Transfer(check_id(text), direction, owner, asyncio.get_running_loop().time())
        if request.method != "HEAD":
            self._hub = request.app[PROGRESS]

    def locate(self, namespace: str) -> None:
        """The file is in ``namespace``: who may watch depends on it, where scopes are asked."""
        if isinstance(self.count, Transfer):
            self.count.namespace = namespace

    def begin(self, total: int | None) -> None:
        """The transfer begins; of ``total`` bytes, if that is known."""
        if self._hub is not None and isinstance(self.count, Transfer):
            self.count.total = total
            self._hub.begin(self.count)
            self._begun = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._hub is None or not isinstance(self.count, Transfer):
            return
        problem = None if error is None else _problem(error)
        if not self._begun:
            if problem is None or problem.status == 401:
                return
            self.begin(None)
        self._hub.end(self.count, None if problem is None else problem.detail)


def _problem(error: BaseException) -> Problem:
    """What a watcher is told of ``error``."""
    if isinstance(error, Exception) and not isinstance(error, ConnectionError):
        return problem_of(error)
    return Problem(499, "The connection was lost before the end.")
