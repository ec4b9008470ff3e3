"""Chunks over HTTP: ``GET http://<address>/<key>``, with a Range where not all is wanted.

The answer is described from its header fields alone, and they must agree with each other
(RFC 9110, sections 8.6, 14.4 and 15.3.7). 206 needs one ``Content-Range: bytes first-last/size``
(``*`` for an unknown size) and, where there is a Content-Length, one that fits it. 200 is the whole
chunk, from byte 0, whether that was asked for or the server ignores ranges. Whether what is
described is what was wanted is for :mod:`gfs.replicas` to say. aiohttp counts the body against
Content-Length and raises when the connection ends before; what comes behind it is not passed on,
and costs the connection, or the whole answer when it arrives together with the header.

A strong ETag, without its quotes, is the version; a weak one is none, since it does not promise
equal bytes (section 8.8.1). Redirects are not followed: the list of replicas says who has the
chunk. An answer with a Content-Encoding is refused, because its bytes are not the chunk's.

The bytes pass through aiohttp's read buffer of ``READ_BUFFER_BYTES``. It stops reading from the
socket at twice that, plus what one read of the socket gives (256 KiB), so one open answer holds
less than a MiB, and so does one piece.

Where a connection ends before the answer has begun, aiohttp sends the GET once more on a new one
(RFC 9112, section 9.3.1). That is wanted: a chunkserver may close a kept-alive connection at the
moment when it is used again, and has not failed by that.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp

from gfs.errors import DataLoss, GfsError, StoreUnavailable
from gfs.replicas import Answer
from gfs.types import Bytes, Chunk, Replica

CONNECT_SECONDS = 2.0
"""How long it may take to get a connection, name resolution included."""

READ_BUFFER_BYTES = 256 * 1024

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")

# Not allowed (a key that is being rotated, say) or too busy: the bytes may be there all the same.
_TRY_AGAIN = frozenset({401, 403, 408, 425, 429})


class HttpChunkSource:
    """A :class:`gfs.replicas.ChunkSource` of chunkservers that speak plain HTTP.

    ``session`` is the caller's, who closes it after the last answer. Its connector should have no
    limit (``TCPConnector(limit=0)``): a slow reader holds a connection for as long as it reads,
    and waiting for a free one would look like a replica that does not answer.

    An engine with other addresses or credentials overrides ``url`` and ``headers``; one that
    reads chunks whole passes ``start=0, length=chunk.size`` to ``fetch``, which then sends no
    Range at all.
    """

    def __init__(
        self, session: aiohttp.ClientSession, *, connect_seconds: float = CONNECT_SECONDS
    ) -> None:
        self._session = session
        # How long an answer may be silent is for the reader to bound, in one place.
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_seconds, sock_connect=None, sock_read=None
        )

    def url(self, replica: Replica, chunk: Chunk) -> str:
        """Where the replica keeps the chunk. No secrets: aiohttp's errors repeat it."""
        return f"http://{replica.address}/{quote(chunk.key, safe=',')}"

    def headers(self, replica: Replica, chunk: Chunk) -> Mapping[str, str]:
        """More header fields of the request, such as credentials. None by default."""
        return {}

    @asynccontextmanager
    async def fetch(
        self, replica: Replica, chunk: Chunk, start: int, length: int
    ) -> AsyncIterator[Answer]:
        """See :meth:`gfs.replicas.ChunkSource.fetch`.

        StoreUnavailable: no connection within ``connect_seconds``, or a broken one; 5xx, 401,
        403, 408, 425 or 429. DataLoss: any other status but 200 and 206, or an answer that is
        not HTTP or contradicts itself.
        """
        headers = {"Accept-Encoding": "identity", **self.headers(replica, chunk)}
        if (start, length) != (0, chunk.size):
            headers["Range"] = f"bytes={start}-{start + length - 1}"
        try:
            response = await self._session.get(
                self.url(replica, chunk),
                headers=headers,
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
                read_bufsize=READ_BUFFER_BYTES,
                timeout=self._timeout,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _ours(error) from error
        try:
            yield _describe(response)
        finally:
            # An answer that was read to its end has given its connection back already.
            response.close()


def _describe(response: aiohttp.ClientResponse) -> Answer:
    """What the answer's header says that its body is. Raises StoreUnavailable and DataLoss."""
    if response.status >= 500 or response.status in _TRY_AGAIN:
        raise StoreUnavailable(f"status {response.status}")
    if response.status not in {200, 206}:
        raise DataLoss(f"status {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise DataLoss("an encoded body")
    if response.status == 206:
        start, size = _content_range(response)
    else:
        start, size = 0, response.content_length
    etag = response.headers.get("ETag", "")
    return Answer(start, "" if etag.startswith("W/") else etag.strip('"'), size, _body(response))


def _content_range(response: aiohttp.ClientResponse) -> tuple[int, int | None]:
    """The first byte of a 206, and the size of the whole if it is told."""
    fields = response.headers.getall("Content-Range", [])
    match = _CONTENT_RANGE.fullmatch(fields[0]) if len(fields) == 1 else None
    if match is None:
        raise DataLoss("a part without a usable Content-Range")
    first, last = int(match[1]), int(match[2])
    size = None if match[3] == "*" else int(match[3])
    if last < first or (size is not None and last >= size):
        raise DataLoss("a Content-Range that contradicts itself")
    if response.content_length not in {None, last - first + 1}:
        raise DataLoss("a Content-Range that contradicts the Content-Length")
    return first, size


async def _body(response: aiohttp.ClientResponse) -> AsyncGenerator[Bytes, None]:
    """The body, in pieces as they came."""
    while True:
        try:
            piece = await response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _ours(error) from error
        if not piece:
            return
        yield piece


def _ours(error: Exception) -> GfsError:
    """The class alone goes into the text: aiohttp's own may repeat the URL and what is in it."""
    if isinstance(error, aiohttp.ClientResponseError):
        return DataLoss("the answer is not HTTP")
    return StoreUnavailable(type(error).__name__)
