"""From the client to the store: the byte loop of an upload, and what it announces beforehand.

Everything that can be refused from the headers alone is refused when an Upload is made, before
``100 Continue``. The sizes: a raw body announces itself by Content-Length, a form and a chunked
body cannot, and ``X-File-Size`` may say it for them; what contradicts the bytes is refused, and
nothing is stored.

The loop reads what has arrived, counts it, digests it, and hands it on; the writer's own
back-pressure stops the reading, and TCP's flow control stops the client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import aclosing

from aiohttp import hdrs, web

from gfs.api import BlockingWriter, BufferWriter, Sink
from gfs.types import Bytes
from sfs_server.errors import Problem
from sfs_server.http import (
    MAX_OTHER_BYTES,
    Digest,
    FormFile,
    is_form,
    refuse_coding,
    refuse_parameters,
    refuse_part,
    refuse_trailer,
    size_of,
    tus,
)
from sfs_server.progress import Transfer
from sfs_server.transfer.client_socket import DIRECT_BYTES, ClientSocket, Pace
from sfs_server.web import CONFIG, METRICS, connection_of


class Body:
    """The body of one request on its way into a Sink. What it is, and what it must be, is said by
    the classes made of it."""

    def __init__(self, request: web.Request, transfer: Transfer, pace: Pace | None = None) -> None:
        """``transfer`` counts the bytes of the file that arrive; ``pace`` is awaited before more of
        them are read."""
        self._request = request
        self._pace = pace
        self._transfer = transfer
        self._length = request.content_length
        self._arrived = 0  # bytes of the body
        self._framed = False  # whether there is more in the body than the bytes of the file

    def __repr__(self) -> str:
        return f"<{type(self).__name__} arrived={self._arrived} of={self._length}>"

    async def receive_into(self, sink: Sink) -> None:
        """Read the body and hand it on. Raises Problem 400, 408, 413, 460 or 501, and what ``sink``
        does. Returns when all has come, and is what was announced."""
        client, length = ClientSocket(self._request, self._pace), self._length or 0
        direct = length >= DIRECT_BYTES
        metrics = self._request.app[METRICS]
        metrics.uploading += 1
        try:
            await client.invite_body()
            if direct and isinstance(sink, BlockingWriter):

                def write(piece: bytes) -> None:
                    for part in self._take(piece):
                        sink.write_blocking(part)

                await client.receive_in_threads(length, write)
            elif direct and isinstance(sink, BufferWriter) and not self._framed:
                await client.receive_in_place(length, sink, self._look)
            else:
                pieces = client.receive_pieces(length) if direct else client.receive()
                async with aclosing(pieces):
                    async for piece in pieces:
                        for part in self._take(piece):
                            await sink.write(part)
        finally:
            metrics.uploading -= 1
            metrics.received += self._arrived
        self._finish()
        if self._length is None:
            refuse_trailer(connection_of(self._request).trailers())

    def _take(self, piece: Bytes) -> Iterator[Bytes]:
        """Count and digest a piece of the body, and what it has of the file, which is yielded."""
        raise NotImplementedError

    def _look(self, piece: Bytes) -> None:
        """Count and digest a piece of a body that is nothing but bytes of the file."""
        for _ in self._take(piece):
            pass

    def _finish(self) -> None:
        """The body has ended: is it what was announced?"""
        raise NotImplementedError


class Upload(Body):
    """A body that has a whole file in it, raw or in a form.

    ``size`` is the number of bytes that the file will have, or None if the request does not say.
    """

    def __init__(self, request: web.Request, transfer: Transfer) -> None:
        """Read the announcements. Raises Problem 400, 413, 415 or 501."""
        super().__init__(request, transfer)
        headers = request.headers
        refuse_coding(headers)
        refuse_part(headers)
        if request.query_string:
            refuse_parameters(request.query)
        if hdrs.TRAILER in headers:
            lines = headers.getall(hdrs.TRAILER)
            refuse_trailer(name for line in lines for name in line.split(","))
        kind = headers.get(hdrs.CONTENT_TYPE)
        self._form = FormFile(kind) if kind is not None and is_form(kind) else None
        self._framed = self._form is not None
        digests = {
            field: Digest(field, headers.getall(field))
            for field in ("Content-Digest", "Repr-Digest")
            if field in headers
        }
        self._content = digests.get("Content-Digest")
        self._representation = digests.get("Repr-Digest")
        size = size_of("X-File-Size", headers["X-File-Size"]) if "X-File-Size" in headers else None
        length = request.content_length
        if self._form is None and length is not None:
            if size not in (None, length):
                raise Problem(400, "X-File-Size and Content-Length contradict each other.")
            size = length
        self._limit = limit = request.app[CONFIG].max_upload_bytes  # 0 is no limit
        least = size or 0
        if self._form is not None and length is not None:
            least = max(least, length - MAX_OTHER_BYTES)
        if 0 < limit < least:
            raise too_large(limit)
        self.size = size

    def _take(self, piece: Bytes) -> Iterator[Bytes]:
        """Count and digest a piece of the body, and what it has of the file, which is yielded."""
        self._arrived += len(piece)
        if self._content is not None:
            self._content.update(piece)
        for part in (piece,) if self._form is None else self._form.feed(bytes(piece)):
            self._transfer.moved += len(part)
            if 0 < self._limit < self._transfer.moved:
                raise too_large(self._limit)
            if self._representation is not None:
                self._representation.update(part)
            yield part

    def _finish(self) -> None:
        """The body has ended: is it what was announced?"""
        if self._form is not None:
            self._form.finish()
        received = self._transfer.moved
        if self.size not in (None, received):
            raise Problem(
                400, f"{self.size} bytes were announced and {received} came: nothing stored."
            )
        for digest in (self._content, self._representation):
            if digest is not None:
                digest.verify()


class Segment(Body):
    """A body that has some bytes of a file in it, which follow those that ``transfer`` has counted
    already."""

    def __init__(
        self,
        request: web.Request,
        transfer: Transfer,
        *,
        size: int | None,
        checksum: bytes | None = None,
        digest: bytes | None = None,
        arrived: Callable[[int], object] = lambda _: None,
        pace: Pace | None = None,
    ) -> None:
        """``size``: the bytes of the file; None where that is not known. ``checksum`` and
        ``digest``: the SHA-256 that these bytes must have, for the one else Problem 460, for the
        other 400. ``arrived`` is called with a number of bytes that the Sink has got, in any
        thread; ``pace`` is awaited before more are read. Raises Problem 413."""
        super().__init__(request, transfer, pace)
        self._most = size
        self._limit = request.app[CONFIG].max_upload_bytes  # 0 is no limit
        self._checksum = checksum
        self._digest = digest
        self._seen = hashlib.sha256() if checksum or digest else None
        self._note = arrived
        self._require_room(self._length or 0)

    def _require_room(self, more: int) -> None:
        """Raise Problem 413 if the file cannot have so many bytes ``more``."""
        if self._most is not None and self._transfer.moved + more > self._most:
            raise Problem(413, f"The upload has {self._most} bytes, and this is more.")
        if 0 < self._limit < self._transfer.moved + more:
            raise too_large(self._limit)

    def _take(self, piece: Bytes) -> Iterator[Bytes]:
        self._arrived += len(piece)
        self._require_room(len(piece))
        if self._seen is not None:
            self._seen.update(piece)
        yield piece
        self._transfer.moved += len(piece)
        self._note(len(piece))

    def _finish(self) -> None:
        if self._seen is None:
            return
        if self._checksum not in (None, self._seen.digest()):
            raise tus.checksum_mismatch()
        if self._digest not in (None, self._seen.digest()):
            raise digest_mismatch()


def digest_mismatch() -> Problem:
    """The Problem of an upload whose file does not have the digest that was announced for it."""
    return Problem(400, "The bytes received do not match Repr-Digest: nothing is stored.")


def too_large(limit: int) -> Problem:
    """The Problem of an upload that has more than ``limit`` bytes."""
    return Problem(413, f"An upload has at most {limit} bytes here.")
