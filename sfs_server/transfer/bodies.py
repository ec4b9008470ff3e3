"""The two byte loops of the service: :func:`send` and :func:`receive`.

Sending: the first bytes are had before the response begins, so that a store that cannot give them
is a 503 and not a broken 200. From then on there are exactly Content-Length bytes, or an exception
and with it the end of the connection; a quiet return on a short body would let the next response
become this one's tail (RFC 9112 §9.5 leaves a client no other way to tell). Each piece goes to the
socket as it came, under its back-pressure.

Receiving: read what has arrived, count it, digest it, hand it on; the writer's own back-pressure
stops the reading, TCP's flow control stops the client. ``100 Continue`` goes out here, when every
refusal that needs no body is behind (RFC 9110 §10.1.1).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import aclosing
from functools import cache, partial
from typing import cast

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from gfs.api import DescriptorReader, Reader
from gfs.errors import DataLoss, StoreUnavailable
from gfs.pagecache import resident
from gfs.streams import exactly
from gfs.threads import in_thread
from gfs.types import Bytes
from sfs_server.errors import Problem
from sfs_server.http import ByteRange, Multipart
from sfs_server.progress import Transfer
from sfs_server.transfer.sendfile import (
    WINDOW,
    Body,
    drain,
    drain_fully,
    send_body,
    send_descriptor,
)

WITH_HEADERS = 64 * 1024
"""What of a body may be given to the transport, which keeps it until its client takes it."""


async def send(
    request: web.Request,
    response: web.Response,
    reader: Reader,
    body: ByteRange | Multipart,
    pool: Executor,
    transfer: Transfer,
) -> web.StreamResponse:
    """Answer with one range of a file, or with several framed ones, and count the bytes sent.

    ``response`` has its status and headers and has not begun; its Content-Length is set here. It is
    a Response because those keep their headers back until they can go out with the first piece.
    Raises GfsError before anything is sent; afterwards that, or ConnectionError, means that the
    connection must be closed.
    """
    response.headers[hdrs.CONTENT_LENGTH] = str(body.length)
    if request.method == "HEAD" or not body.length:
        await begin(request, response)
        return response
    if isinstance(body, ByteRange) and _has_descriptor(type(reader)):
        source = cast(DescriptorReader, reader).fileno()
        return await _send_descriptor(request, response, source, body, pool, transfer)
    rest = (
        partial(_framed, reader, body)
        if isinstance(body, Multipart)
        else partial(_plain, reader, body)
    )
    async with aclosing(Body(rest)) as pieces:
        await pieces.more()
        writer = await begin(request, response)
        first = pieces.left
        if len(first) > WITH_HEADERS:
            writer.send_headers()
        else:
            await writer.write(first, drain=False)  # type: ignore[call-arg]
            transfer.moved += len(first)
            pieces.sent(len(first))
        del first
        transport = _transport(request)
        if transfer.moved < body.length:
            await drain_fully(transport, writer, pieces.let_go)
            await send_body(transport, pieces, transfer)
        else:
            await pieces.more()  # there is nothing, or too much
            await drain(transport, writer)
    return response


@cache
def _has_descriptor(kind: type[Reader]) -> bool:
    """Whether readers of this class are DescriptorReaders; isinstance would look each time."""
    return issubclass(kind, DescriptorReader)


async def _send_descriptor(
    request: web.Request,
    response: web.Response,
    source: int,
    body: ByteRange,
    pool: Executor,
    transfer: Transfer,
) -> web.StreamResponse:
    start, length = body
    known = min(length, WINDOW) if resident(source, start, min(length, WINDOW)) else 0
    if not known:
        try:
            first = await in_thread(pool, os.pread, source, 1, start)
        except OSError as error:
            raise StoreUnavailable(f"the disk: {os.strerror(error.errno or 0)}") from error
        if not first:
            raise DataLoss("the file is shorter than it was")
    writer = await begin(request, response)
    writer.send_headers()
    transport = _transport(request)
    await drain_fully(transport, writer)
    await send_descriptor(transport, source, body, start + known, pool, transfer)
    return response


def _plain(reader: Reader, body: ByteRange, start: int) -> AsyncGenerator[Bytes, None]:
    """The bytes of a body from byte ``start`` of it on."""
    length = body.length - start
    return exactly(length, reader.read(body.start + start, length))


async def _framed(reader: Reader, body: Multipart, start: int) -> AsyncGenerator[Bytes, None]:
    """The bytes of a multipart body from byte ``start`` of it on. Its first piece is the head and
    the first bytes of a part."""
    for part in body.parts:
        head: Bytes = part.head[start:]
        start = max(start - len(part.head), 0)
        if start < part.range.length:
            pieces = _plain(reader, part.range, start)
            async with aclosing(pieces):
                async for piece in pieces:
                    yield b"".join((head, piece)) if head else piece
                    head = b""
        start = max(start - part.range.length, 0)
    yield body.tail[start:]


async def begin(request: web.Request, response: web.StreamResponse) -> AbstractStreamWriter:
    """Send the headers of ``response``, and return what its body is written to."""
    writer = await response.prepare(request)
    if writer is None:
        raise ConnectionResetError("the response has ended already")
    return writer


async def write_piece(request: web.Request, writer: AbstractStreamWriter, piece: Bytes) -> None:
    """Send a piece of a body that has begun. Raises ConnectionError if the client is gone, or takes
    no byte for STALL_SECONDS."""
    await writer.write(piece, drain=False)  # type: ignore[call-arg]
    await drain(_transport(request), writer)


def _transport(request: web.Request) -> asyncio.Transport:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    return transport


async def begin_body(request: web.Request) -> None:
    """Ask a client that waits for it to send its body (``Expect: 100-continue``), unless it has."""
    if request.content.is_eof():
        return
    if hdrs.EXPECT in request.headers and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # nothing of the response itself has been sent


async def receive(request: web.Request, idle_timeout: float) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives, in pieces of at least one byte, after :func:`begin_body`.

    Raises Problem 408 when no byte arrives for ``idle_timeout`` seconds; the time that the
    consumer takes does not count. Raises ConnectionError when the client goes away.
    """
    content = request.content
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as idle:
            while True:
                idle.reschedule(loop.time() + idle_timeout)
                piece = await content.readany()
                idle.reschedule(None)
                if not piece:
                    return
                yield piece
    except TimeoutError:
        raise Problem(408, f"No byte arrived for {idle_timeout:g} seconds.") from None
