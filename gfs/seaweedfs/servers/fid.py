"""The identifiers of needles, which are chunks on volume servers. Pure.

``<volume>,<key><cookie>``: the volume in decimal, the key in hexadecimal without leading zero
bytes, so with an even number of digits, and the cookie in eight hexadecimal digits. One assign can
reserve several needles: they have consecutive keys and the same cookie. SeaweedFS also takes
``fid_1`` for the second of them in a URL, but the filer cannot read that in an entry, so it is
never used here.
"""

from __future__ import annotations

import re

MAX_KEY = 2**64 - 1
"""The highest key of a needle."""

_FID = re.compile(r"([0-9]{1,10}),([0-9a-f]{1,16})([0-9a-f]{8})")


def volume_of(fid: str) -> int:
    """The volume of a needle. Raises ValueError."""
    return _parse(fid)[0]


def following(fid: str, step: int) -> str:
    """The ``step``-th identifier after ``fid``, of those that one assign has reserved."""
    volume, key, cookie = _parse(fid)
    return make(volume, key + step, cookie)


def make(volume: int, key: int, cookie: int) -> str:
    """An identifier in its canonical form. Raises ValueError if the key is too large."""
    if not 0 <= key <= MAX_KEY:
        raise ValueError("a needle's key has 64 bits")
    digits = f"{key:x}"
    return f"{volume},{'0' * (len(digits) % 2)}{digits}{cookie:08x}"


def split(fid: str) -> tuple[int, int, int]:
    """The volume, the key and the cookie. Raises ValueError."""
    return _parse(fid)


def _parse(fid: str) -> tuple[int, int, int]:
    match = _FID.fullmatch(fid)
    if match is None:
        raise ValueError(f"not the identifier of a needle: {fid!r}")
    return int(match[1]), int(match[2], 16), int(match[3], 16)
