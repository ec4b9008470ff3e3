"""The end of a chunked body, behind which trailer fields may stand (RFC 9112 §7.1). Pure.

aiohttp's parser drops trailer fields, and takes the last one for a header of the next request. So
they are looked for in the last bytes that arrived. Where a request was sent right behind the body,
or where the body itself ends like one, fields may be found that are none of this body's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TAIL_BYTES = 16 * 1024
"""How much of the end of a chunked body is kept to look for trailer fields."""

_LAST_CHUNK = re.compile(rb"\r\n0+[ \t]*(?:;[^\r\n]*)?\r\n\r\n\Z")
_TRAILERS = re.compile(
    rb"\n0+[ \t]*(?:;[^\r\n]*)?\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*\r\n)+)\r\n"
)
"""The last chunk, its extensions, and the trailer fields. No line can be taken for both, so each is
looked at once or twice."""


def ends_plainly(tail: bytes) -> bool:
    """Whether a body with this end has its last chunk there, and neither trailer fields nor
    anything else behind it."""
    return _LAST_CHUNK.search(tail) is not None


def trailer_names(tail: bytes) -> Iterator[str]:
    """The names of the trailer fields in the end of a chunked body."""
    for section in _TRAILERS.findall(tail):
        for line in section.splitlines():
            yield line.partition(b":")[0].decode("latin-1")
