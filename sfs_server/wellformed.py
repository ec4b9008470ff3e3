"""Whether a request is one, beyond what aiohttp's parser asks. Pure.

The parser refuses most of what a request cannot be. What it lets pass although another program on
the way may read it otherwise, so that what follows on the connection cannot be trusted, is refused
here, and the connection is closed (RFC 9112 §3.2, §6.1, §11.2).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from re import compile as pattern

from aiohttp import HttpVersion, HttpVersion11, hdrs
from multidict import CIMultiDictProxy

from sfs_server.errors import Problem

MAX_HOST_CHARACTERS = 255

_HOST = pattern(r"(?:[A-Za-z0-9._~%!$&'()*+;=-]+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?")
"""A host and a port (RFC 9110 §7.2), without the comma that joins two of them."""

_NO_HOSTS: list[str] = []
_CLOSE = {"Connection": "close"}


def check_form(target: str, version: HttpVersion, headers: CIMultiDictProxy[str]) -> None:
    """Raise Problem 400, which closes the connection, for a request that may mean two things; 417
    for an expectation that nobody can meet. ``target`` is as it was sent."""
    if hdrs.TRANSFER_ENCODING in headers:
        # A coding that is not undone would be stored; the parser knows what ends in chunked.
        coding = headers[hdrs.TRANSFER_ENCODING].strip().lower()
        if coding != "chunked" or version < HttpVersion11:  # which has none (RFC 9112 §6.1)
            raise Problem(
                400, "The only Transfer-Encoding that is read is chunked, of HTTP/1.1.", _CLOSE
            )
    if version.major != 1:
        raise Problem(400, "The service speaks HTTP/1.1 and HTTP/1.0.", _CLOSE)
    if "#" in target:
        raise Problem(400, "A fragment stays with the client: write # in a path as %23.", _CLOSE)
    if target[0] != "/" and "@" in target.partition("://")[2].partition("/")[0]:
        raise Problem(400, "There is no user in an address (RFC 9110 §4.2.4).", _CLOSE)
    hosts = headers.getall(hdrs.HOST, _NO_HOSTS)
    if (len(hosts) != 1 or not is_host(hosts[0])) and (hosts or version >= HttpVersion11):
        raise Problem(400, "The request needs one Host field with one host in it.", _CLOSE)
    if hdrs.EXPECT in headers and headers[hdrs.EXPECT].lower() != "100-continue":
        raise Problem(417, "The only expectation that can be met is 100-continue.")


@lru_cache(256)
def is_host(text: str) -> bool:
    """Whether ``text`` is a host and perhaps a port."""
    found = _HOST.fullmatch(text.strip())
    if found is None or len(text) > MAX_HOST_CHARACTERS:
        return False
    address, port = found.groups()
    try:
        return (address is None or bool(IPv6Address(address))) and int(port or 0) < 65536
    except AddressValueError:
        return False
