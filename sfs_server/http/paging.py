"""Pages of lists: ``?limit=``, ``?after=`` and the Link to the next one (RFC 8288)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from sfs_server.errors import Problem

MAX_LIMIT = 10_000
"""Entries of one page at most."""


def limit_of(query: Mapping[str, str]) -> int | None:
    """How many entries a page has at most; None where the whole list is asked for. Raises Problem
    400."""
    text = query.get("limit")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Problem(400, f"limit is a number from 1 to {MAX_LIMIT}.")
    if not 1 <= int(text) <= MAX_LIMIT:
        raise Problem(400, f"limit is from 1 to {MAX_LIMIT}, not {int(text)}.")
    return int(text)


def next_page(path: str, query: Mapping[str, str], last: str) -> str:
    """The value of the field Link to the page behind ``last``, the name of this one's last entry.
    ``path`` and ``query`` are those of this page; a token in the query is not in the Link."""
    again = {**query, "after": last}
    again.pop("token", None)
    return f'<{path}?{urlencode(again)}>; rel="next"'
