"""From the path of a request to the names in it, and back. Pure.

Percent-decoding happens exactly once, here, from the path as the client sent it: a router that
decodes for itself cannot tell ``%25FF`` from ``%FF``, and two names must never become one. What is
not valid percent-encoding, or not UTF-8 after it (RFC 3986 §2.1), is refused rather than guessed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from gfs.paths import check_directory, check_name
from sfs_server.errors import Problem

RESERVED = frozenset("files namespaces download upload uploads delete status links tokens".split())
"""Words that follow ``/storage/`` in other routes, or will: no namespace is called so."""

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def decode(segment: str) -> str:
    """One path segment as the client sent it, decoded once. Problem 400 if it cannot be."""
    if segment.isascii() and "%" not in segment:
        return segment
    if _BAD_ESCAPE.search(segment):
        raise Problem(400, "The path has a '%' that begins no percent-encoding; write %25.")
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
    """The namespace and the file of a path ``…/NS/FILE``, as the client sent it.

    Raises InvalidName or Problem 400 for names that cannot be.
    """
    _, namespace, name = raw_path.rsplit("/", 2)
    return check_namespace(decode(namespace)), check_name(decode(name))


def file_path(namespace: str, name: str) -> str:
    """The path of a file's inline view, percent-encoded: the one path that names it."""
    return f"/storage/{namespace}/{quote(name, safe='')}"


def download_path(namespace: str, name: str) -> str:
    """The path of the same file's download."""
    return f"/storage/download/{namespace}/{quote(name, safe='')}"
