"""The response to bytes that are no request, and how long what follows them is read."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import InvalidURLError, LineTooLong
from aiohttp.streams import EmptyStreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from sfs_server.errors import Problem
from sfs_server.http import MAX_HEAD_BYTES, MAX_TARGET_BYTES, TOO_LARGE, TOO_LONG

REFUSED_SECONDS = 2.0
"""How long bytes that follow a refused head are read and dropped, so that the client receives the
response and not a reset (RFC 9112 §9.6)."""

_TOO_MANY_FIELDS = "Too many headers received"
"""The text of aiohttp's error; neither its class nor a number shows what was too many."""


def parser_problem(error: BaseException) -> Problem:
    """The problem for an error of aiohttp's parser. Quotes nothing of what the client sent."""
    if isinstance(error, LineTooLong):
        target = error.args[1] == MAX_TARGET_BYTES
        return Problem(414, TOO_LONG) if target else Problem(431, TOO_LARGE)
    if isinstance(error, HttpProcessingError) and error.message == _TOO_MANY_FIELDS:
        return Problem(431, TOO_LARGE)
    if isinstance(error, InvalidURLError):
        return Problem(
            400,
            "The target of the request is no URL. Percent-encode what is not ASCII: é is %C3%A9.",
        )
    return Problem(400, "The request is not well-formed HTTP.")


def fields_in(data: bytes) -> CIMultiDictProxy[str]:
    """The header fields that can be read in ``data``, a part of a head that is refused: enough to
    know whether the client wants a page, and which origin may read the refusal."""
    fields = CIMultiDict[str]()
    for line in data[:MAX_HEAD_BYTES].decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            break
        fields.add(name, value.strip(" \t"))
    return CIMultiDictProxy(fields)


class RefusedBody(EmptyStreamReader):
    """Stands for the body behind a head that was refused: whatever comes within REFUSED_SECONDS.
    aiohttp reads it when the response has been sent. The sending side of the connection is closed
    then, so that the client sees at once that nothing follows."""

    def __init__(self, connection: web.RequestHandler) -> None:
        super().__init__()
        self._connection = connection
        self._over = False

    def is_eof(self) -> bool:
        """Whether it has been read."""
        return self._over

    async def readany(self) -> bytes:
        """Wait for REFUSED_SECONDS. Meanwhile the connection drops what comes."""
        self._over = True
        transport = self._connection.transport
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()
            await asyncio.sleep(REFUSED_SECONDS)
        return b""
