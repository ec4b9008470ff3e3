"""What the head of a response says of its body. Pure.

The header fields must agree with each other (RFC 9110, sections 8.6, 14.4 and 15.3.7): a 200 is
the whole chunk, whether that was asked for or the server ignores ranges; a 206 needs one
``Content-Range: bytes first-last/size`` that fits the Content-Length and reaches the end of the
chunk. A strong ETag, without its quotes, is the CRC32C of the whole chunk; a weak one is none,
since it does not promise equal bytes (section 8.8.1). Redirects are not followed: the master says
who has the chunk. A response with a Content-Encoding is refused, because its bytes are not those
of the chunk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gfs.chunkservers.client import Response
from gfs.errors import DataLoss, StoreUnavailable

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")

_TRY_AGAIN = frozenset({401, 403, 408, 425, 429})
"""Not allowed (a key is being rotated, say) or too busy: the bytes may be there all the same."""


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes of a chunk from ``start`` to its end. ``size``: of the whole chunk, in bytes.
    ``crc``: what the chunkserver says is its CRC32C, '' if nothing."""

    start: int
    size: int
    crc: str


def described(response: Response) -> Part:
    """The part of a chunk that is the body of ``response``, by its head.

    Raises StoreUnavailable for 5xx, 401, 403, 408, 425 and 429; DataLoss for every other status but
    200 and 206, and for a head that contradicts itself.
    """
    status, headers = response.status, response.headers
    if status >= 500 or status in _TRY_AGAIN:
        raise StoreUnavailable(f"status {status}")
    if status not in {200, 206}:
        raise DataLoss(f"status {status}")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise DataLoss("an encoded body")
    etag = headers.get("etag", "")
    crc = "" if etag.startswith("W/") else etag.strip('"')
    if status == 200:
        return Part(0, response.length, crc)
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if match is None:
        raise DataLoss("a part without a usable Content-Range")
    first, last, size = map(int, match.groups())
    if not first <= last == size - 1:
        raise DataLoss("a part that does not reach the end of the chunk")
    if response.length != size - first:
        raise DataLoss("a Content-Range that contradicts the Content-Length")
    return Part(first, size, crc)
