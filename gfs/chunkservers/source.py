"""Chunks over HTTP: ``GET http://<address>/<key>``, with a Range where not all is wanted.

The answer is described from its header fields alone, and they must agree with each other
(RFC 9110, sections 8.6, 14.4 and 15.3.7). 206 needs one ``Content-Range: bytes first-last/size``
(``*`` for an unknown size) that fits the Content-Length. 200 is the whole chunk, from byte 0,
whether that was asked for or the server ignores ranges. Whether what is described is what was
wanted is for :mod:`gfs.chunkservers.replicas` to say. :mod:`gfs.chunkservers.client` counts the
body against Content-Length and raises when the connection ends before; what comes behind it is not
passed on, and costs the connection.

A strong ETag, without its quotes, is the version; a weak one is none, since it does not promise
equal bytes (section 8.8.1). Redirects are not followed: the list of replicas says who has the
chunk. An answer with a Content-Encoding is refused, because its bytes are not the chunk's.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine, Sequence
from typing import Any
from urllib.parse import quote

from gfs.chunkservers import client
from gfs.errors import DataLoss, StoreUnavailable
from gfs.types import Bytes, Chunk, Replica

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")

# Not allowed (a key that is being rotated, say) or too busy: the bytes may be there all the same.
_TRY_AGAIN = frozenset({401, 403, 408, 425, 429})


class HttpChunkSource:
    """A :class:`gfs.chunkservers.replicas.ChunkSource` of chunkservers that speak plain HTTP.

    ``connections`` are the caller's, who closes them after the last answer.

    An engine with other addresses or credentials overrides ``target`` and ``headers``; one that
    reads chunks whole passes ``start=0, length=chunk.size`` to ``fetch``, which then sends no
    Range at all.
    """

    def __init__(self, connections: client.Connections) -> None:
        self._connections = connections

    def target(self, chunk: Chunk) -> str:
        """The path, with its query, by which a chunkserver knows the chunk."""
        return f"/{quote(chunk.key, safe=',')}"

    def headers(self, chunk: Chunk) -> Sequence[tuple[str, str]]:
        """More header fields of the request, such as credentials. None by default."""
        return ()

    async def fetch(
        self, replica: Replica, chunk: Chunk, start: int, length: int, idle_seconds: float
    ) -> HttpAnswer:
        """See :meth:`gfs.chunkservers.replicas.ChunkSource.fetch`.

        StoreUnavailable: no connection in time, or a broken one; 5xx, 401, 403, 408, 425 or 429.
        DataLoss: any other status but 200 and 206, or an answer that is not HTTP, does not tell
        its length or contradicts itself.
        """
        headers = [("Accept-Encoding", "identity"), *self.headers(chunk)]
        if (start, length) != (0, chunk.size):
            headers.append(("Range", f"bytes={start}-{start + length - 1}"))
        response = await self._connections.ask(replica.address, "GET", self.target(chunk), headers)
        try:
            return HttpAnswer(response, idle_seconds)
        except BaseException:
            response.close()
            raise


class HttpAnswer:
    """A :class:`gfs.chunkservers.Answer`: what the header of a response says that its body is."""

    __slots__ = ("_idle_seconds", "_response", "size", "start", "version")

    def __init__(self, response: client.Response, idle_seconds: float) -> None:
        """Raises StoreUnavailable and DataLoss."""
        if response.status >= 500 or response.status in _TRY_AGAIN:
            raise StoreUnavailable(f"status {response.status}")
        if response.status not in {200, 206}:
            raise DataLoss(f"status {response.status}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise DataLoss("an encoded body")
        self.start = 0
        self.size: int | None = response.length
        if response.status == 206:
            self.start, self.size = _content_range(response)
        etag = response.headers.get("etag", "")
        self.version = "" if etag.startswith("W/") else etag.strip('"')
        self._response = response
        self._idle_seconds = idle_seconds

    def piece(self) -> Coroutine[Any, Any, Bytes]:
        """The next bytes, as they came."""
        return self._response.piece(self._idle_seconds)

    def close(self) -> None:
        """Give the connection back if all has been read, else close it."""
        self._response.close()


def _content_range(response: client.Response) -> tuple[int, int | None]:
    """The first byte of a 206, and the size of the whole if it is told."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if match is None:
        raise DataLoss("a part without a usable Content-Range")
    first, last = int(match[1]), int(match[2])
    size = None if match[3] == "*" else int(match[3])
    if last < first or (size is not None and last >= size):
        raise DataLoss("a Content-Range that contradicts itself")
    if response.length != last - first + 1:
        raise DataLoss("a Content-Range that contradicts the Content-Length")
    return first, size
