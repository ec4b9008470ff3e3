"""The response that is an event stream (WHATWG HTML §9.2)."""

from __future__ import annotations

from functools import partial

from aiohttp import hdrs, web

from sfs_server.streams import COMMENT, EventStream
from sfs_server.transfer.client_socket import ClientSocket
from sfs_server.web import LIFECYCLE, connection_of

SEND_BUFFER = 8 * 1024
"""Bytes that the kernel is asked to hold for a client that does not read: some fifty events."""

_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",
}


async def send_events(
    request: web.Request, stream: EventStream, first: bytes = COMMENT
) -> web.StreamResponse:
    """Respond with ``first``, so that the headers go out, and then with what ``stream`` is to send,
    until it is over; to a HEAD with the headers alone. Raises ConnectionError where the client is
    gone, and what ``stream.wait`` raises."""
    lifecycle = request.app[LIFECYCLE]
    response = web.StreamResponse(headers=_HEADERS)
    response.force_close()  # its socket is set up for a stream, see hold_little()
    client = ClientSocket(request)
    await client.start(response)
    if request.method == "HEAD":
        return response
    client.hold_little(SEND_BUFFER)
    connection = connection_of(request)
    connection.forget(request)
    lifecycle.running -= 1  # a stop does not wait for it: it ends when the draining starts
    try:
        await client.write(first)
        chunked = hdrs.TRANSFER_ENCODING in response.headers
        stream.send_at_once = partial(_send_at_once, client, chunked)
        connection.on_half_close = stream.wake
        while not stream.over:
            await stream.wait()
            piece = stream.take()
            if piece:
                await client.write(piece)
    finally:
        lifecycle.running += 1
    return response


def _send_at_once(client: ClientSocket, chunked: bool, event: bytes) -> bool:
    """Send an event, if need be as a chunk (RFC 9112 §7.1), unless that would wait; whether it was
    sent."""
    return client.write_at_once(b"%x\r\n%b\r\n" % (len(event), event) if chunked else event)
