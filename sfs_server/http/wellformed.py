"""Whether a request is well-formed, beyond what aiohttp's parser checks. Pure.

The parser refuses most requests that are malformed. Of those that it lets pass, some may be read in
another way by another program on the way, so that what follows on the connection cannot be trusted.
They are refused here, and the connection is closed (RFC 9112 §3.2, §6.1, §11.2).

:func:`check_head` checks a head before aiohttp makes a request of it, because what aiohttp does
then takes too long: its router looks at a path once for each slash, which takes the square of the
length, and it decodes the host of an absolute target by IDNA, which takes the square of the length
too, and raises for an invalid host where nothing catches it. :func:`check_form` checks a request
that has reached the application.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from re import compile as pattern

from multidict import CIMultiDictProxy

from sfs_server.errors import Problem

MAX_HEADERS = 100
"""Header fields of one request."""

MAX_FIELD_BYTES = 8192
"""Bytes of one header field, its name included."""

MAX_TARGET_BYTES = 8190
"""Bytes of the target in the request line. Not the same number as MAX_FIELD_BYTES: aiohttp's error
has the limit that was exceeded, and nothing else shows which of the two it was."""

MAX_HEAD_BYTES = 32 * 1024
"""Bytes of the request line and all header fields together."""

MAX_SLASHES = 100
"""Slashes in the path of a target. The contract's longest path has 32 segments."""

MAX_HOST_CHARACTERS = 255
"""Characters of a host and its port."""

MAX_LENGTH_DIGITS = 40
"""Digits of a Content-Length. No number is so long, but leading zeros might be, and Python refuses
to convert more than 4300 digits."""

TOO_LARGE = (
    f"The head of the request is too large: it may have {MAX_HEAD_BYTES} bytes, {MAX_FIELD_BYTES} "
    f"of them in one field, and {MAX_HEADERS} fields. In a browser, delete this site's cookies."
)
TOO_LONG = f"The target of the request is too long: it may have {MAX_TARGET_BYTES} bytes."

_HOST = pattern(r"(?:[A-Za-z0-9._~%!$&'()*+;=-]+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?")
"""A host, and perhaps a port (RFC 9110 §7.2); no list of hosts, so no comma."""

_NO_HOSTS: list[str] = []
_CLOSE = {"Connection": "close"}


def check_head(
    method: str, target: str, path: str, authority: str, fields: Iterable[tuple[bytes, bytes]]
) -> None:
    """Raise Problem 431, 414 or 400 for a head that is too large, or that would take too long; the
    connection is closed after it.

    ``target`` is as it was sent; ``path`` and ``authority`` (empty where there is none) are parts
    of it, not decoded; ``fields`` are the names and values of the header, without white space
    around them.
    """
    size = len(method) + len(target) + len("  HTTP/1.1\r\n\r\n")
    for name, value in fields:
        size += len(name) + len(value) + len(": \r\n")
    if size > MAX_HEAD_BYTES:
        raise Problem(431, TOO_LARGE, _CLOSE)
    if path.count("/") > MAX_SLASHES:
        raise Problem(414, f"The path of the request has more than {MAX_SLASHES} slashes.", _CLOSE)
    if authority and not is_host(authority):
        raise Problem(400, "The target of the request names a host that cannot exist.", _CLOSE)


def without_dot_segments(path: str) -> str:
    """``path`` without its segments ``.`` (RFC 3986 §5.2.4). A segment ``..``, or one with a
    percent-encoded dot, stays."""
    if "/." not in path:
        return path
    *segments, last = path.split("/")
    kept = [segment for segment in segments if segment != "."]
    return "/".join([*kept, "" if last == "." else last])


def check_form(target: str, version: tuple[int, int], headers: CIMultiDictProxy[str]) -> None:
    """Raise Problem 400, after which the connection is closed, for a request that can be read in
    two ways; Problem 417 for an expectation other than ``100-continue``. ``target`` is as it was
    sent."""
    if "Transfer-Encoding" in headers:
        # Any other coding would be stored as it is; the parser only asks that the last is chunked.
        coding = headers["Transfer-Encoding"].strip().lower()
        if coding != "chunked" or version < (1, 1):  # which has none (RFC 9112 §6.1)
            raise Problem(
                400, "The only Transfer-Encoding that is read is chunked, of HTTP/1.1.", _CLOSE
            )
    if version[0] != 1:
        raise Problem(400, "The service speaks HTTP/1.1 and HTTP/1.0.", _CLOSE)
    if "#" in target:
        raise Problem(400, "A fragment stays with the client: write # in a path as %23.", _CLOSE)
    if target[0] != "/" and "@" in target.partition("://")[2].partition("/")[0]:
        raise Problem(400, "There is no user in an address (RFC 9110 §4.2.4).", _CLOSE)
    if len(headers.get("Content-Length", "")) > MAX_LENGTH_DIGITS:
        raise Problem(400, f"The Content-Length has more than {MAX_LENGTH_DIGITS} digits.", _CLOSE)
    hosts = headers.getall("Host", _NO_HOSTS)
    if (len(hosts) != 1 or not is_host(hosts[0])) and (hosts or version >= (1, 1)):
        raise Problem(400, "The request needs one Host field with one host in it.", _CLOSE)
    if "Expect" in headers and headers["Expect"].lower() != "100-continue":
        raise Problem(417, "The only expectation that can be met is 100-continue.")


@lru_cache(64)
def is_host(text: str) -> bool:
    """Whether ``text`` is a host, and perhaps a port."""
    found = _HOST.fullmatch(text.strip()) if len(text) <= MAX_HOST_CHARACTERS else None
    if found is None:
        return False
    address, port = found.groups()
    try:
        return (address is None or bool(IPv6Address(address))) and int(port or 0) < 65536
    except AddressValueError:
        return False
