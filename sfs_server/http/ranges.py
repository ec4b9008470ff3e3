"""Byte ranges: reading a ``Range`` field, and framing several ranges in one body. Pure.

Theory of operation. A ``Range`` field (RFC 9110 §14.2) is ``bytes=`` and a list of range-specs:
``first-last``, ``first-`` or ``-suffix``. Reading it ends in one of three ways. A field that is
malformed, of another unit, too long or too greedy is *ignored*, which §14.2 allows for any field:
the response is the whole file. A good one of which no member is satisfiable (§14.1.2) is *refused*:
416. Any other *selects* ranges, and members that are not satisfiable are dropped from it.

Greedy means what RFC 9110 §17.15 warns of: many small or overlapping ranges that make the server
send far more than the client asked for with one request line. More than 16 range-specs, or ranges
that together (clipped to the file, before any merging) cover more bytes than the file has, are
ignored. The 16 are counted before merging, so that they bound the work of parsing too.

What is left is merged where it overlaps or touches, and keeps the order in which the client asked
(§15.3.7.2 recommends both): a merged range stands where the first of its members stood. One range
is a plain 206. Several are a ``multipart/byteranges`` body (§14.6, framed as in RFC 2046 §5.1.1):
each is preceded by a delimiter line and its own ``Content-Type`` and ``Content-Range``, and a
closing delimiter ends the body. The framing does not depend on the bytes of the file, so the
``Content-Length`` of the whole body can be computed before the first of them is read.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_RANGES = 16
"""How many range-specs one request may have; with more the whole file is sent."""

MAX_FIELD_CHARACTERS = 8192
"""The longest ``Range`` value that is read; a longer one is ignored."""

_MAX_DIGITS = 19
"""Positions of up to this many digits are converted. A longer one is beyond the end of any file
(2**63 has 19 digits), and converting thousands of digits takes quadratic time or raises."""

_BEYOND = 10**_MAX_DIGITS

_UNIT = re.compile(r"bytes=", re.IGNORECASE)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")


class ByteRange(NamedTuple):
    """``length`` bytes of a file, from byte ``start`` on."""

    start: int
    length: int


def content_range(selected: ByteRange, size: int) -> str:
    """The ``Content-Range`` of one range of a file of ``size`` bytes; the range is not empty."""
    return f"bytes {selected.start}-{selected.start + selected.length - 1}/{size}"


def unsatisfied_range(size: int) -> str:
    """The ``Content-Range`` of a 416 for a file of ``size`` bytes (RFC 9110 §14.4)."""
    return f"bytes */{size}"


def select(field: str, size: int) -> tuple[ByteRange, ...] | None:
    """What a ``Range`` field value asks of a file of ``size`` bytes.

    Returns the ranges to send, merged, in the order of the request; an empty tuple if none is
    satisfiable (416); None if the field is to be ignored and the whole file sent (200).

    ``-0`` is never satisfiable. A suffix of another length always is, of an empty file too
    (§14.1.2), but no ``Content-Range`` can describe zero bytes: the field is then ignored, and the
    client gets the empty file it asked for.
    """
    pairs = _parse(field)
    if pairs is None:
        return None
    asked: list[ByteRange] = []
    for first, last in pairs:
        if first is None:
            if last and not size:
                return None
            start, end = max(size - last, 0), size
        else:
            start, end = first, min(last + 1, size)
        if start < end:
            asked.append(ByteRange(start, end - start))
    if sum(each.length for each in asked) > size:
        return None
    return merge(asked)


def _parse(field: str) -> list[tuple[int | None, int]] | None:
    """The range-specs as (first, last); first is None for a suffix, whose length is last.

    An open end is a last beyond any file. None if the field is malformed: RFC 9110 §14.1.1 calls
    one with a last before its first invalid, and one invalid member makes the field invalid. Empty
    list members, and white space around a member, are skipped (§5.6.1.2).
    """
    unit = _UNIT.match(field)
    if unit is None or len(field) > MAX_FIELD_CHARACTERS:
        return None
    specs = [spec for each in field[unit.end() :].split(",") if (spec := each.strip(" \t"))]
    if not 1 <= len(specs) <= MAX_RANGES:
        return None
    pairs: list[tuple[int | None, int]] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-":
            return None
        first, last = match.group(1).lstrip("0"), match.group(2).lstrip("0")
        if not match.group(1):
            pairs.append((None, _number(last)))
        elif not match.group(2):
            pairs.append((_number(first), _BEYOND))
        # Compared as digits: two positions that are both beyond any file are still ordered.
        elif (len(last), last) < (len(first), first):
            return None
        else:
            pairs.append((_number(first), _number(last)))
    return pairs


def _number(digits: str) -> int:
    """The value of decimal digits without leading zeros, or one beyond the end of any file."""
    return int(digits or "0") if len(digits) <= _MAX_DIGITS else _BEYOND


def merge(ranges: Sequence[ByteRange]) -> tuple[ByteRange, ...]:
    """The same bytes, with ranges that overlap or touch merged; none of ``ranges`` is empty.

    A merged range takes the place of the first of its members.
    """
    merged: list[tuple[int, int, int]] = []  # place, start, end
    for place, (start, length) in sorted(enumerate(ranges), key=lambda item: item[1]):
        if merged and start <= merged[-1][2]:
            earlier, first, end = merged[-1]
            merged[-1] = (min(earlier, place), first, max(end, start + length))
        else:
            merged.append((place, start, start + length))
    return tuple(ByteRange(start, end - start) for _, start, end in sorted(merged))


@dataclass(frozen=True, slots=True)
class Multipart:
    """A ``multipart/byteranges`` body: for each part ``head``, then the bytes of ``range``; and
    ``tail`` after the last. ``length`` is the number of bytes of it all, and ``content_type`` is
    for the header of the response."""

    parts: tuple[Part, ...]
    tail: bytes
    length: int
    content_type: str


class Part(NamedTuple):
    """One part of a multipart body: what stands before its bytes, and which bytes of the file these
    are."""

    head: bytes
    range: ByteRange


def byteranges(
    ranges: Sequence[ByteRange], size: int, content_type: str, boundary: str
) -> Multipart:
    """Frame ``ranges`` of a file of ``size`` bytes.

    ``content_type`` is what the whole file would have been sent with; ``boundary`` is from
    :func:`new_boundary`. Both go into the framing as they are: ASCII, without control characters.
    """
    parts: list[Part] = []
    length = 0
    delimiter = f"--{boundary}\r\n"
    for each in ranges:
        head = (
            f"{delimiter}Content-Type: {content_type}\r\n"
            f"Content-Range: {content_range(each, size)}\r\n\r\n"
        ).encode("ascii")
        parts.append(Part(head, each))
        length += len(head) + each.length
        # The line break before a delimiter belongs to the delimiter, not to the part before it.
        delimiter = f"\r\n--{boundary}\r\n"
    tail = f"\r\n--{boundary}--\r\n".encode("ascii")
    return Multipart(
        parts=tuple(parts),
        tail=tail,
        length=length + len(tail),
        content_type=f"multipart/byteranges; boundary={boundary}",
    )


def new_boundary() -> str:
    """A boundary of 128 random bits in hexadecimal.

    Drawn for each response: nobody can have put it into the bytes of the file beforehand, so they
    need not be searched for it.
    """
    return secrets.token_hex(16)
