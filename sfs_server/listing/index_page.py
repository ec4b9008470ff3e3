"""The index of a folder as a plain page of links, for people and for programs that follow links.
Pure.

A link is relative: the percent-encoded name, and a slash at its end for a folder. ``wget -r``, pip,
rclone, apt and fsspec read such pages. A name cannot leave its link, nor its line: what HTML gives
a meaning to is escaped, and ``<bdi>`` keeps characters that change the direction of text from
reordering what stands around the name. There is no script, and the page's policy allows nothing but
its own style, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from functools import lru_cache
from html import escape

from gfs.types import Entry, FileInfo
from sfs_server.http import quote_path
from sfs_server.listing.query import Query

_STYLE = """
:root{color-scheme:light dark}
body{margin:2rem;font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.25rem;overflow-wrap:anywhere}
td{padding:0 2rem 0 0;vertical-align:top;white-space:nowrap;font-variant-numeric:tabular-nums}
td:first-child{white-space:normal;overflow-wrap:anywhere}
td:nth-child(2){text-align:right}
"""

POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; style-src "
    f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
"""The Content-Security-Policy of the page."""

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title>
<style>{style}</style></head>
<body><h1><bdi>{title}</bdi></h1>
<table>
"""

_PARENT = '<tr><td><a href="../{query}">../</a></td></tr>\n'

_MINUTE_NS = 60_000_000_000
_MINUTES = 1024
"""How many minutes are cached with their texts: neighbors were often made in one minute."""


class IndexPage:
    """Writes the list that ``query`` asks for, of one level of ``namespace``, as an HTML page, an
    entry a line. ``parent``: whether there is a link to the folder above. ``token``, if not "", is
    what gave access to the page: the links carry it along."""

    content_type = "text/html; charset=utf-8"
    separator = b"\n"
    tail = b"\n</table></body></html>\n"

    def __init__(self, namespace: str, query: Query, *, parent: bool, token: str) -> None:
        folder = f"{query.folder}/" if query.folder else ""
        self._hidden = query.hidden_characters
        self._query = f"?token={quote_path(token)}" if token else ""
        head = _HEAD.format(title=escape(f"{namespace}/{folder}"), style=_STYLE)
        if parent:
            head += _PARENT.format(query=self._query)
        self.head = head.encode()

    def encode(self, entries: Sequence[Entry]) -> bytes:
        """The lines for ``entries``."""
        return "\n".join(map(self._line, entries)).encode()

    def _line(self, entry: Entry) -> str:
        name = entry.path[self._hidden :]
        size: int | str = ""
        slash = "/"
        if isinstance(entry, FileInfo):
            size, slash = entry.size, ""
        link = quote_path(name)
        if link.startswith("http"):
            link = f"%68{link[1:]}"  # fsspec takes every link that starts so for an absolute URL
        return (
            f'<tr><td><a href="{link}{slash}{self._query}">'
            f"<bdi>{escape(name)}</bdi>{slash}</a></td>"
            f"<td>{size}</td><td>{_minute(entry.modified_ns // _MINUTE_NS)}</td></tr>"
        )


@lru_cache(_MINUTES)
def _minute(minutes: int) -> str:
    """Minutes since the Unix epoch as the date and time of day in UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(minutes * 60))
