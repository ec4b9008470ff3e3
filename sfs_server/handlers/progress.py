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
"""Bytes that the kernel is asked to hold for a client that does not read: some fifty events."""

_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",
}


async def progress(request: web.Request) -> web.StreamResponse:
    """Send the states of the transfer ``?id=``, from its newest one until it ends."""
    id_ = request.query.get("id")
    if id_ is None:
        raise Problem(400, "Say which transfer: ?id=ID.")
    lifecycle = request.app[LIFECYCLE]
    response = web.StreamResponse(headers=_HEADERS)
    response.force_close()  # its socket is set up for a stream, see hold_little()
    # Whether the caller may watch is decided for each transfer of that id, by may_see().
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
        lifecycle.running -= 1  # a stop does not wait for it: it ends when the draining starts
        try:
            await client.write(COMMENT)  # so that the headers go out
            chunked = hdrs.TRANSFER_ENCODING in response.headers
            watcher.send_at_once = partial(_send_at_once, client, chunked)
            connection.on_half_close = watcher.wake
            while not watcher.over:
                await watcher.wait()
                await client.write(watcher.take())
        finally:
            lifecycle.running += 1
    return response


def _send_at_once(client: ClientSocket, chunked: bool, state: State) -> bool:
    """Send an event if all that was sent before has left; whether it was sent."""
    return client.write_at_once(state.chunk if chunked else state.event)
