"""Where a MOVE goes: its fields Destination, Overwrite and Depth (RFC 4918 §9.9, §10.2, §10.3,
§10.6). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from multidict import MultiMapping

from sfs_server.errors import Problem
from sfs_server.http.names import Target, decode, target
from sfs_server.http.wellformed import is_host, without_dot_segments

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
_PORTS = {"http": ":80", "https": ":443"}


def destination(headers: MultiMapping[str], hosts: Collection[str]) -> Target:
    """What the field ``Destination`` names: a path, or a URL of one of ``hosts``, under which the
    client reaches this service.

    Raises Problem 400, InvalidName, and Problem 502 if the URL is one of another host, to which
    nothing can be moved (§9.9.4).
    """
    fields = headers.getall("Destination", ())
    if len(fields) != 1:
        raise Problem(400, "A MOVE has one field Destination: the new path, or its URL.")
    path = fields[0]
    if not path.startswith("/"):
        found = _URL.fullmatch(path)
        if found is None:
            raise Problem(400, "The Destination is a path from the first slash on, or a whole URL.")
        scheme, authority, path = found.groups()
        if "@" in authority:
            raise Problem(400, "There is no user in a Destination (RFC 9110 §4.2.4).")
        if not _is_one_of(scheme.lower(), authority, hosts):
            raise Problem(502, "The Destination is on another host: nothing can be moved there.")
    if "?" in path or "#" in path:
        raise Problem(400, "A Destination has no query: write ? in a name as %3F, and # as %23.")
    path = without_dot_segments(path)
    segments = path.split("/", 3)
    if len(segments) < 3 or segments[0] or decode(segments[1]) != "storage":
        raise Problem(400, "The Destination is not below /storage/: nothing can be moved there.")
    if decode(segments[2]) == "download":
        raise Problem(400, "Nothing can be moved to /storage/download/: leave out 'download/'.")
    return target(path)


def overwrites(headers: MultiMapping[str]) -> bool:
    """Whether a MOVE may replace what is at its Destination: ``Overwrite: T``, which is the default
    (§10.6), or ``F``. Raises Problem 400 for anything else."""
    fields = headers.getall("Overwrite", ["T"])
    if fields not in (["T"], ["F"]):
        raise Problem(400, "The field Overwrite is T, or F to keep what is at the Destination.")
    return fields == ["T"]


def refuse_depth(headers: MultiMapping[str]) -> None:
    """Raise Problem 400 if the request asks for less than all that is in a folder, which can only
    be moved and deleted as a whole (§9.6.1, §9.9.3)."""
    fields = [field.lower() for field in headers.getall("Depth", ["infinity"])]
    if fields != ["infinity"]:
        raise Problem(400, "A folder is moved or deleted with all in it: leave out Depth.")


def _is_one_of(scheme: str, authority: str, hosts: Collection[str]) -> bool:
    """Whether ``authority`` is one of ``hosts``, as they are compared where ``scheme`` is spoken
    (RFC 9110 §4.2.3)."""
    if scheme not in _PORTS or not is_host(authority):
        return False
    default = _PORTS[scheme]
    wanted, *others = (
        host.strip().lower().removesuffix(":").removesuffix(default) for host in (authority, *hosts)
    )
    return wanted in others
