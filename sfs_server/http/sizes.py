"""Numbers of bytes in header fields. Pure."""

from __future__ import annotations

from sfs_server.errors import Problem

MAX_SIZE = 2**63 - 1
"""No file system has larger files; a longer number is a mistake."""


def size_of(field: str, value: str) -> int:
    """The number of bytes that the ``value`` of the header ``field`` is. Raises Problem 400."""
    text = value.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_SIZE):
        raise Problem(400, f"{field} is a number of bytes, in decimal digits.")
    return int(text)
