"""From the path of a request to the names in it, and back. Pure.

Percent-decoding happens exactly once, here, from the path as the client sent it: where a router
has decoded already, ``%25FF`` and ``%FF`` look the same, and two names must never become one. What
is not valid percent-encoding, or not UTF-8 after decoding (RFC 3986 §2.1), is refused, not guessed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from gfs.paths import check_directory, check_name, check_path
from sfs_server.errors import Problem
from sfs_server.http.quoting import quote_path

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


class Target(NamedTuple):
    """What the path of a request under ``/storage/`` names."""

    namespace: str
    path: str
    """That of the file or folder; "" is the namespace itself."""
    folder: bool
    """Whether the request's path ends with a slash, and so means a folder."""


@lru_cache(1024)
def target(raw_path: str) -> Target:
    """What a path ``/storage/NS/PATH``, ``/storage/download/NS/PATH`` or one of these with a slash
    at its end names, given as the client sent it, without its segments ``.``.

    Raises InvalidName, or Problem 400, for names that are not allowed. A segment ``..`` is not:
    what it means depends on who reads it.
    """
    segments = [decode(segment) for segment in raw_path.split("/")[2:]]
    if segments[0] == "download" and len(segments) > 2:
        del segments[0]
    namespace, *rest = segments
    folder = bool(rest) and not rest[-1]
    if folder:
        del rest[-1]
    if not all(rest):
        raise Problem(400, "The path has a segment without a name: write one slash, not two.")
    for segment in rest:
        check_name(segment)  # before they are joined: none has a slash in it
    path = "/".join(rest)
    return Target(check_namespace(namespace), check_path(path) if rest else "", folder)


def file_path(namespace: str, path: str) -> str:
    """The path at which a file is shown, percent-encoded. This is the path that names the file."""
    return f"/storage/{namespace}/{quote_path(path)}"


def download_path(namespace: str, path: str) -> str:
    """The path at which a file is downloaded, percent-encoded."""
    return f"/storage/download/{namespace}/{quote_path(path)}"


def folder_path(namespace: str, path: str) -> str:
    """The path at which a folder is shown, percent-encoded; that of the namespace for ""."""
    return f"/storage/{namespace}/{quote_path(path)}/" if path else f"/storage/{namespace}/"
