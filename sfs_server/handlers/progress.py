"""``GET /sse/progress``: the event stream of one transfer (WHATWG HTML §9.2)."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from aiohttp import hdrs, web

from sfs_server.errors import Problem
from sfs_server.progress import COMMENT, State, check_id
from sfs_server.transfer import STALL_SECONDS, begin, write_piece
from sfs_server.web import (
    CLIENT,
    LIFECYCLE,
    LINK,
    PRINCIPAL,
    PROGRESS,
    STREAMS,
    connection_of,
)

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
        connection = connection_of(request)
        connection.forget(request)
        lifecycle.running -= 1  # nothing that a stop waits for: it ends when the draining begins
        try:
            await write_piece(request, writer, COMMENT)  # so that the headers go out
            chunked = hdrs.TRANSFER_ENCODING in response.headers
            watcher.sink = partial(_send_at_once, transport, chunked)
            connection.on_half_close = watcher.prod
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
