"""CORS: which web origins may use the service from a browser, and the headers for them. Pure.

An origin is a scheme, a host and a port (RFC 6454 §4); a browser writes it into ``Origin`` in
lower case, in ASCII and without the port that the scheme has anyway (§6.1), and that is the one
spelling that is compared. Each of the allowed ones is written out, or has ``*`` for its first
label: ``https://*.example.com`` are all hosts below example.com, at any depth, as in a content
security policy (CSP 3 §6.7.2.8), and not example.com itself. Scheme and port are never wild.
The scheme need not be one of the web: a page that is packed into an app has an origin such as
``tauri://localhost`` or ``chrome-extension://ID``.
Requests may carry credentials, so the allowed origins have to be named: there is no pattern ``*``,
and ``null``, the origin of any sandboxed page, cannot be allowed.

A response names the one origin that sent the request, never a list. It therefore depends on
``Origin``, and says so in ``Vary`` also where the origin is not allowed (Fetch §3.2.5): otherwise a
cache would give one origin the response to another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping

from multidict import MultiMapping

from sfs_server.http import tus
from sfs_server.http.dialects import DRAFT_FIELDS

MAX_AGE_SECONDS = 7200
"""How long a browser may cache the response to a preflight: Chromium's limit, the longest of any
browser."""

MAX_ORIGIN_CHARACTERS = 270
"""Characters of an Origin that is compared with patterns: a scheme, the longest name of DNS (RFC
1035 §2.3.4) and a port."""

EXPOSED = (
    "Accept-Ranges, Content-Disposition, Content-Location, Content-Range, ETag, Link, Location, "
    f"Retry-After, X-Request-Id, {', '.join(tus.RESPONSE_FIELDS)}"
)
"""The header fields of a response that a page of an allowed origin may read."""

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, MOVE, MKCOL"
_HEADERS = (
    "Authorization, Content-Digest, Content-Type, Depth, Destination, Expect, If-Match, "
    "If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Last-Event-ID, Overwrite, "
    "Range, Repr-Digest, X-File-Size, X-Request-Id, X-Transfer-Id, "
    # Those of the draft that is refused, too: so a page gets the refusal, and not a network error.
    + ", ".join((*tus.REQUEST_FIELDS, *DRAFT_FIELDS))
)
_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
_PORTS = {"http": ":80", "https": ":443"}
_OPAQUE = frozenset({"file", "data", "blob", "javascript", "about"})
"""Schemes whose pages have no origin of their own (URL Standard, "origin")."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_PATTERN = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<wild>\*\.)?"
    rf"(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?P<port>:[0-9]{{1,5}})?"
)


def check_origin(text: str) -> str:
    """Return the origin or pattern ``text`` in the spelling that is compared. Raises ValueError,
    which says what is wrong, without quoting ``text``."""
    found = _PATTERN.fullmatch(text.lower())
    if text == "*" or text.lower() == "null":
        raise ValueError("credentials are allowed, so the origins must be named")
    if found is None:
        raise ValueError(
            "an origin is a scheme and a host in ASCII, and perhaps a port, and nothing behind it: "
            "https://app.example.com, http://localhost:3000, tauri://localhost"
        )
    scheme, wild, host, port = found.groups(default="")
    if wild and "." not in host:
        raise ValueError("behind '*.' there must be a domain, as in https://*.example.com")
    if wild and (host.startswith("[") or host.replace(".", "").isdigit()):
        raise ValueError("an address has no hosts below it")
    if port and int(port[1:]) > 65535:
        raise ValueError("a port is at most 65535")
    if scheme in _OPAQUE:
        raise ValueError(
            f"pages of {scheme}: have the origin null, as any page can; they cannot be allowed"
        )
    return f"{scheme}://{wild}{host}{'' if port == _PORTS.get(scheme) else port}"


class Origins:
    """The allowed origins. False if there are none."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """``allowed`` are origins and patterns as ``check_origin`` returns them."""
        self._allowed = frozenset(allowed)

    def __repr__(self) -> str:
        return f"<Origins {sorted(self._allowed)}>"

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def allows(self, origin: str) -> bool:
        """Whether ``origin``, as a browser sent it, is allowed."""
        if origin in self._allowed:
            return "*" not in origin
        found = _PATTERN.fullmatch(origin) if len(origin) <= MAX_ORIGIN_CHARACTERS else None
        if found is None or found["wild"]:
            return False
        scheme, _, host, port = found.groups(default="")
        labels = host.split(".")
        return any(
            f"{scheme}://*.{'.'.join(labels[skipped:])}{port}" in self._allowed
            for skipped in range(1, len(labels) - 1)
        )

    def share(self, fields: MultiMapping[str], headers: MutableMapping[str, str]) -> None:
        """Add to the ``headers`` of a response what lets the origin in the ``fields`` of its
        request read it, if that origin is allowed; and that the response depends on the origin."""
        origin = _origin(fields)
        if origin is not None and self.allows(origin):
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
            headers["Access-Control-Expose-Headers"] = EXPOSED
        vary = headers.get("Vary")
        if vary is None or "origin" not in vary.lower():
            headers["Vary"] = "Origin" if vary is None else f"{vary}, Origin"

    def preflight(self, fields: MultiMapping[str]) -> dict[str, str] | None:
        """The headers of the response to a preflight (Fetch §3.2.2) with the header ``fields``,
        besides those of ``share``; None if its origin is not allowed."""
        origin = _origin(fields)
        if origin is None or not self.allows(origin):
            return None
        return {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _HEADERS,
            "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
            "Vary": _VARY,
        }


def _origin(fields: MultiMapping[str]) -> str | None:
    """The origin that a request names, if it names exactly one."""
    found = fields.getall("Origin", ())
    return found[0] if len(found) == 1 else None
