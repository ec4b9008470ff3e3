"""``GET /sse/progress``: the event stream of one transfer (WHATWG HTML §9.2)."""

from __future__ import annotations

from functools import partial

from aiohttp import hdrs, web

from sfs_server.errors import Problem
from sfs_server.progress import COMMENT, State, check_id
from sfs_server.transfer import ClientSocket
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
        client = ClientSocket(request)
        await client.start(response)
        if request.method == "HEAD":
            return response
        client.hold_little(SEND_BUFFER)
        connection = connection_of(request)
        connection.forget(request)
        lifecycle.running -= 1  # nothing that a stop waits for: it ends when the draining begins
        try:
            await client.write(COMMENT)  # so that the headers go out
            chunked = hdrs.TRANSFER_ENCODING in response.headers
            watcher.sink = partial(_send_at_once, client, chunked)
            connection.on_half_close = watcher.prod
            while not watcher.over:
                await watcher.news()
                await client.write(watcher.take())
        finally:
            lifecycle.running += 1
    return response


def _send_at_once(client: ClientSocket, chunked: bool, state: State) -> bool:
    """Send an event if all that was sent before has gone; whether it was done."""
    return client.write_at_once(state.chunk if chunked else state.event)
