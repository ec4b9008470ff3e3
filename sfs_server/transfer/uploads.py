"""One upload's body: what it announces, and whether what arrives keeps to it.

Everything that can be refused from the headers alone is refused when an Upload is made, before
``100 Continue``. The sizes: a raw body announces itself by Content-Length, a form and a chunked
body cannot, and ``X-File-Size`` may say it for them; what contradicts the bytes is refused, and
nothing is stored.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Executor
from contextlib import aclosing

from aiohttp import hdrs, web

from gfs.api import BlockingWriter, BufferWriter, Writer
from gfs.types import Bytes
from sfs_server.config import Config
from sfs_server.errors import Problem
from sfs_server.http import MAX_OTHER_BYTES, Digest, FormFile, is_form, refuse_part, refuse_trailer
from sfs_server.metrics import Metrics
from sfs_server.progress import Transfer
from sfs_server.transfer.bodies import begin_body, receive
from sfs_server.transfer.recvfile import LEAST, receive_in_place, receive_large, receive_pieces
from sfs_server.web import TAKEN, connection_of

MAX_SIZE = 2**63 - 1
"""No file system has larger files; a longer number is a mistake."""


class Upload:
    """The body of one request on its way into a Writer.

    ``size`` is the number of bytes that the file will have, where that is known beforehand.
    """

    def __init__(
        self, request: web.Request, config: Config, metrics: Metrics, transfer: Transfer
    ) -> None:
        """Read the announcements. ``transfer`` counts the bytes of the file that arrive.
        Raises Problem 400, 413, 415 or 501."""
        headers = request.headers
        codings = headers.getall(hdrs.CONTENT_ENCODING, ())
        if any(coding.strip().lower() != "identity" for coding in codings):
            raise Problem(
                415,
                "Bytes are stored as they are sent: send them without Content-Encoding.",
                {hdrs.ACCEPT_ENCODING: "identity"},
            )
        refuse_part(headers, request.query if request.query_string else ())
        refuse_trailer(
            name for line in headers.getall(hdrs.TRAILER, ()) for name in line.split(",")
        )
        self._request = request
        self._metrics = metrics
        self._limit = config.max_upload_bytes
        self._idle_timeout = config.upload_idle_timeout
        self._form = (
            FormFile(headers[hdrs.CONTENT_TYPE])
            if is_form(headers.get(hdrs.CONTENT_TYPE, ""))
            else None
        )
        self._content = _digest(request, "Content-Digest")
        self._representation = _digest(request, "Repr-Digest")
        announced = _file_size(headers.get("X-File-Size"))
        self._length = length = request.content_length
        if self._form is None and length is not None:
            if announced not in (None, length):
                raise Problem(400, "X-File-Size and Content-Length contradict each other.")
            announced = length
        self.size = announced
        self._arrived = 0  # bytes of the body
        self._transfer = transfer
        self._check_limit(announced or 0)
        if self._form is not None and length is not None and self._limit:
            self._check_limit(length - MAX_OTHER_BYTES)

    def __repr__(self) -> str:
        return f"<Upload size={self.size} arrived={self._arrived}>"

    async def receive_into(self, writer: Writer, pool: Executor) -> None:
        """Read the body and hand it on. Raises Problem 400, 408, 413 or 501, and what ``writer``
        does.

        Returns when all has come, and sizes and digests agree. Blocking work is done in ``pool``.
        """
        self._metrics.uploading += 1
        try:
            await begin_body(self._request)
            length = self._length or 0
            if length >= LEAST:
                self._request[TAKEN] = True
            if length >= LEAST and isinstance(writer, BlockingWriter):
                await self._receive_in_threads(writer, length, pool)
            elif length >= LEAST and isinstance(writer, BufferWriter) and self._form is None:
                await receive_in_place(
                    self._request, length, writer, self._look, self._idle_timeout
                )
            elif length >= LEAST:
                await self._pump(receive_pieces(self._request, length, self._idle_timeout), writer)
            else:
                await self._pump(receive(self._request, self._idle_timeout), writer)
        finally:
            self._metrics.uploading -= 1
            self._metrics.received += self._arrived
        self._finish()

    async def _receive_in_threads(
        self, writer: BlockingWriter, length: int, pool: Executor
    ) -> None:
        def sink(piece: bytes) -> None:
            for part in self._take(piece):
                writer.write_blocking(part)

        await receive_large(self._request, length, sink, self._idle_timeout, pool)

    async def _pump(self, pieces: AsyncGenerator[bytes, None], writer: Writer) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                for part in self._take(piece):
                    await writer.write(part)

    def _take(self, piece: bytes) -> Iterator[bytes]:
        """What ``piece`` of the body brings of the file, counted and digested."""
        if self._form is None:
            self._look(piece)
            yield piece
            return
        self._arrived += len(piece)
        if self._content is not None:
            self._content.update(piece)
        for part in self._form.feed(piece):
            self._look_at_part(part)
            yield part

    def _look(self, piece: Bytes) -> None:
        """Count and digest a piece of a body that is the file."""
        self._arrived += len(piece)
        if self._content is not None:
            self._content.update(piece)
        self._look_at_part(piece)

    def _look_at_part(self, part: Bytes) -> None:
        self._transfer.moved += len(part)
        self._check_limit(self._transfer.moved)
        if self._representation is not None:
            self._representation.update(part)

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
        if self._length is None:
            refuse_trailer(connection_of(self._request).trailers())

    def _check_limit(self, count: int) -> None:
        if self._limit and count > self._limit:
            raise Problem(413, f"An upload has at most {self._limit} bytes here.")


def _digest(request: web.Request, field: str) -> Digest | None:
    values = request.headers.getall(field, None)
    return None if values is None else Digest(field, values)


def _file_size(value: str | None) -> int | None:
    if value is None:
        return None
    text = value.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_SIZE):
        raise Problem(400, "X-File-Size is the size of the file in bytes, in decimal digits.")
    return int(text)
