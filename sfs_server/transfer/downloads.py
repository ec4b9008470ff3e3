"""From the store to the client: the byte loop of a download.

The first bytes are fetched before the response starts, so that a store that cannot give them is a
503 and not a broken 200. From then on there are exactly Content-Length bytes, or an exception and
with it the end of the connection; a quiet return on a short body would let the next response become
this one's tail (RFC 9112 §9.5 leaves a client no other way to tell).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from functools import cache
from typing import cast

from aiohttp import hdrs, web

from gfs.api import DescriptorReader, Reader
from sfs_server.archives import ArchivePieces
from sfs_server.http import ByteRange, Multipart
from sfs_server.progress import Transfer
from sfs_server.transfer.client_socket import ClientSocket
from sfs_server.transfer.pieces import Pieces
from sfs_server.web import METRICS


async def send(
    request: web.Request,
    response: web.Response,
    reader: Reader,
    body: ByteRange | Multipart,
    transfer: Transfer,
) -> None:
    """Respond with one range of a file, or with several framed ones, and count the bytes sent.

    ``response`` has its status and headers and has not started; its Content-Length is set here. It
    is a Response because those keep their headers back until they can go out with the first piece.
    Raises GfsError before anything is sent; afterwards that, or ConnectionError, means that the
    connection must be closed.
    """
    response.headers[hdrs.CONTENT_LENGTH] = str(body.length)
    client = ClientSocket(request)
    with _counted(request, transfer):
        if request.method == "HEAD" or not body.length:
            await client.start(response)
        elif isinstance(body, ByteRange) and _has_descriptor(type(reader)):
            source = cast(DescriptorReader, reader).fileno()
            await client.send_file(response, source, body, transfer)
        else:
            async with aclosing(Pieces(reader, body)) as pieces:
                await client.send_pieces(response, pieces, transfer)


async def send_archive(
    request: web.Request,
    response: web.Response,
    pieces: ArchivePieces,
    length: int,
    transfer: Transfer,
) -> None:
    """Respond with an archive of ``length`` bytes, like ``send``. Raises Problem too."""
    response.headers[hdrs.CONTENT_LENGTH] = str(length)
    client = ClientSocket(request)
    with _counted(request, transfer):
        if request.method == "HEAD":
            await client.start(response)
        else:
            async with aclosing(pieces):
                await client.send_pieces(response, pieces, transfer)


@contextmanager
def _counted(request: web.Request, transfer: Transfer) -> Iterator[None]:
    """Show in the metrics that a download runs, and then what was sent."""
    metrics = request.app[METRICS]
    metrics.downloading += 1
    try:
        yield
    finally:
        metrics.downloading -= 1
        metrics.sent += transfer.moved


@cache
def _has_descriptor(kind: type[Reader]) -> bool:
    """Whether readers of this class are DescriptorReaders; isinstance would look each time."""
    return issubclass(kind, DescriptorReader)
