"""From the path of a request to the names in it, and back. Pure.

Percent-decoding happens exactly once, here, from the path as the client sent it: where a router
has decoded already, ``%25FF`` and ``%FF`` look the same, and two names must never become one. What
is not valid percent-encoding, or not UTF-8 after decoding (RFC 3986 §2.1), is refused, not guessed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from gfs.paths import check_directory, check_name
from sfs_server.errors import Problem

RESERVED = frozenset("files namespaces download upload uploads delete status links tokens".split())
"""Words that follow ``/storage/`` in other routes, now or later: no namespace may be named so."""

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def decode(segment: str) -> str:
    """Return a path segment, given as the client sent it, percent-decoded once. Raises Problem 400
    if it cannot be decoded."""
    if segment.isascii() and "%" not in segment:
        return segment
    if _BAD_ESCAPE.search(segment):
        raise Problem(400, "The path has a '%' that starts no percent-encoding; write %25.")
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeError:
        raise Problem(400, "The path is not UTF-8 after percent-decoding.") from None


def check_namespace(name: str) -> str:
    """Return ``name`` if it can name a namespace. Raises InvalidName, or Problem 400."""
    check_directory(name)
    if name in RESERVED:
        raise Problem(400, f"'{name}' is a reserved word and cannot name a namespace.")
    return name


@lru_cache(4096)
def file_target(raw_path: str) -> tuple[str, str]:
    """The names of the namespace and the file in a path ``…/NS/FILE``, given as the client sent it.

    Raises InvalidName, or Problem 400, for names that are not allowed.
    """
    _, namespace, name = raw_path.rsplit("/", 2)
    return check_namespace(decode(namespace)), check_name(decode(name))


def file_path(namespace: str, name: str) -> str:
    """The path at which a file is shown, percent-encoded. This is the path that names the file."""
    return f"/storage/{namespace}/{quote(name, safe='')}"


def download_path(namespace: str, name: str) -> str:
    """The path at which a file is downloaded, percent-encoded."""
    return f"/storage/download/{namespace}/{quote(name, safe='')}"
