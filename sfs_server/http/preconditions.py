"""Preconditions and ranges of a request, and a file's version: which response. Pure.

Theory of operation. Preconditions are evaluated in the order of RFC 9110 §13.2.2:

1. ``If-Match`` (§13.1.1, strong comparison); when it fails, 412;
2. only without it, ``If-Unmodified-Since`` (§13.1.4); 412;
3. ``If-None-Match`` (§13.1.2, weak comparison); 304 for GET and HEAD, 412 for other methods;
4. only without it, and for GET and HEAD, ``If-Modified-Since`` (§13.1.3); 304;
5. for GET with ``Range``, ``If-Range`` (§13.1.5); when it fails, Range is ignored.

``Range`` is defined for GET alone (§14.2): HEAD describes the whole file.

:func:`plan` does all of it for a read. A write is judged by the store, which compares what is under
the name with what :func:`expectation` says: before the body is read, and again at the commit,
atomically, which closes the race between two writers. What the store cannot check is decided
beforehand by :func:`refuse_stale`; :func:`needs_current` says whether there is any of that. None of
them decides about a request that would fail without its preconditions, such as a DELETE of nothing:
that failure comes first (§13.2.1), and is the caller's.

Tags. Ours are always strong (§8.8.3). The list of tags may be spread over several header lines. A
field that is not a list of tags, or is longer than 8 KiB, must not be read as if it were absent:
``If-Match`` then matches nothing (412), and ``If-None-Match`` fails a write (412), but lets a read
have the file (200). A tag that is weak never satisfies ``If-Match``.

Dates. All three forms of §5.6.7 are read. A date that is invalid, or given twice, is ignored, as
§13.1.3 and §13.1.4 demand. Dates have whole seconds, so a file's time is floored to them.

``If-Range``. A tag has to be ours, byte for byte. A date has to be our ``Last-Modified`` exactly,
and *strong* in the sense of §8.8.2.2: the second that it names must be over, by at least one
second, or the file could change within it yet. That the client got its part after that second is
the client's to know, and §13.1.5 forbids it to send the date otherwise. Anything else in the field,
or two fields, is a condition that fails: the whole file is always a correct response.

A ``Range`` in several header lines is ignored: it is not a list field (§5.3). How one line is read
is in :mod:`sfs_server.http.ranges`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from multidict import MultiMapping

from gfs.types import ANYTHING, Entry, Expect, FileInfo
from sfs_server.http.ranges import ByteRange, select

MAX_FIELD_CHARACTERS = 8192
"""The longest list of entity tags that is read, over all its header lines."""

STRONG_AFTER_SECONDS = 1
"""How long ago a ``Last-Modified`` must be to identify a version (RFC 9110 §8.8.2.2)."""

_NS = 10**9
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_DAY = f"(?:{'|'.join(_DAYS)})"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        # IMF-fixdate, RFC 850, asctime
        rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_CLOCK} GMT",
        r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, "
        rf"(?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_CLOCK} GMT",
        rf"{_DAY} {_MONTH} (?P<day>[0-9 ][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})",
    )
)

# One member of a list of tags, which may be empty, and the commas or the end after it. The white
# space is matched possessively: giving it back could not help, and would take quadratic time.
_MEMBER = re.compile(r'[ \t]*+(?:(W/)?"([!#-~\x80-\U0010ffff]*+)")?[ \t]*+(?:,[ \t,]*+|\Z)')


@dataclass(frozen=True, slots=True)
class Plan:
    """The response to a GET or HEAD.

    ``status`` is 200, 206, 304, 412 or 416. ``ranges`` are the bytes of the body: the whole file
    for 200, one range or (as ``multipart/byteranges``) several for 206, none for the others.
    """

    status: int
    ranges: tuple[ByteRange, ...]


_NOT_MODIFIED = Plan(304, ())
_PRECONDITION_FAILED = Plan(412, ())
_UNSATISFIABLE = Plan(416, ())
_NOTHING = Expect(versions=frozenset())


def etag_of(info: FileInfo) -> str:
    """The strong entity tag of a version, with its quotes."""
    return etag(info.version)


def etag(version: str) -> str:
    """The same, of a version without the rest of its FileInfo."""
    return f'"{version}"'


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> str:
    """Seconds since the epoch as an IMF-fixdate (RFC 9110 §5.6.7)."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(seconds)
    return (
        f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} "
        f"{hour:02}:{minute:02}:{second:02} GMT"
    )


def plan(method: str, headers: MultiMapping[str], info: FileInfo, now: float | None = None) -> Plan:
    """The response to a GET or HEAD (``method``) with ``headers`` for the version ``info``.

    ``now`` is the time in seconds since the epoch. By it a date in ``If-Range`` is strong or not,
    and a year of two digits belongs to a century. Without it the time is taken to be the moment at
    which the version was published, the earliest possible one: no date in ``If-Range`` is then
    strong.
    """
    if not (
        "Range" in headers
        or "If-None-Match" in headers
        or "If-Modified-Since" in headers
        or "If-Match" in headers
        or "If-Unmodified-Since" in headers
    ):
        return Plan(200, (ByteRange(0, info.size),))
    if now is None:
        now = info.modified_ns / _NS
    if _changed(headers, info, now):
        return _PRECONDITION_FAILED
    if _not_modified(headers, info, now):
        return _NOT_MODIFIED
    fields = headers.getall("Range", ())
    if method == "GET" and len(fields) == 1 and _range_applies(headers, info, now):
        ranges = select(fields[0], info.size)
        if ranges is not None:
            return Plan(206, ranges) if ranges else _UNSATISFIABLE
    return Plan(200, (ByteRange(0, info.size),))


def needs_current(headers: MultiMapping[str]) -> bool:
    """Whether the preconditions of a write depend on more of the current version than an Expect can
    say: on its date, or on its not being one of those in ``If-None-Match``."""
    return "If-Unmodified-Since" in headers or headers.get("If-None-Match", "*").strip() != "*"


def refuse_stale(
    headers: MultiMapping[str], current: Entry | None, now: float | None = None
) -> bool:
    """Whether a request that changes something fails its preconditions now: its response is then a
    412.

    ``current`` is the version under the name, or the folder, which has neither a tag nor a date;
    None if there is neither. ``now`` is as in :func:`plan`. Without a version ``If-Match`` fails
    whatever it lists (only ``*`` holds for a folder), a well-formed ``If-None-Match`` holds, and
    ``If-Unmodified-Since`` is ignored: it has no date to compare with (§13.1.4).
    """
    if "If-None-Match" in headers:
        tags = _tags(headers, "If-None-Match")
        if tags is None or (current is not None and tags.match_weakly(current)):
            return True
    return _changed(headers, current, now)


def expectation(
    method: str,
    headers: MultiMapping[str],
    current: Entry | None = None,
    now: float | None = None,
) -> Expect:
    """What the store must find at the commit of an upload, at a delete or at a move (``method``).

    ``If-Match: *`` expects any version; ``If-Match`` with tags one of the strong ones, which no
    version is if there are none; ``If-None-Match: *`` expects no version. With
    ``If-Unmodified-Since`` the version ``current``, which was there at the start, must still be
    there if the condition held for it; else none is right. All conditions that are given must hold.
    Tags in ``If-None-Match`` expect nothing at the commit: :func:`refuse_stale` has compared them.

    A DELETE or MOVE with ``If-None-Match: *`` can only fail, and expects a version that does not
    exist.
    """
    versions: frozenset[str] | None = None
    present = False
    absent = False
    if "If-Match" in headers:
        tags = _tags(headers, "If-Match")
        if tags is not None and tags.any:
            present = True
        else:
            versions = frozenset() if tags is None else tags.strong
    elif isinstance(current, FileInfo) and (held := _unmodified(headers, current, now)) is not None:
        versions = frozenset((current.version,) if held else ())
    if "If-None-Match" in headers:
        tags = _tags(headers, "If-None-Match")
        absent = tags is not None and tags.any
        if tags is None or (absent and method in ("DELETE", "MOVE")):
            return _NOTHING
    if versions is None and not present and not absent:
        return ANYTHING
    return Expect(absent=absent, present=present, versions=versions)


def _changed(headers: MultiMapping[str], current: Entry | None, now: float | None) -> bool:
    """Steps 1 and 2: whether the version is another one than the client wants."""
    if "If-Match" in headers:
        tags = _tags(headers, "If-Match")
        return tags is None or current is None or not tags.match_strongly(current)
    return current is not None and _unmodified(headers, current, now) is False


def _unmodified(headers: MultiMapping[str], current: Entry, now: float | None) -> bool | None:
    """Whether ``If-Unmodified-Since`` holds; None if it is absent or to be ignored."""
    if not isinstance(current, FileInfo):
        return None
    modified = current.modified_ns // _NS
    date = _date(headers, "If-Unmodified-Since", modified if now is None else now)
    return None if date is None else modified <= date


def _not_modified(headers: MultiMapping[str], info: FileInfo, now: float) -> bool:
    """Steps 3 and 4 for a read: whether the client has this version already."""
    if "If-None-Match" in headers:
        tags = _tags(headers, "If-None-Match")
        return tags is not None and tags.match_weakly(info)
    date = _date(headers, "If-Modified-Since", now)
    return date is not None and info.modified_ns // _NS <= date


def _range_applies(headers: MultiMapping[str], info: FileInfo, now: float) -> bool:
    """Step 5: whether ``If-Range`` is absent, or names this version without doubt."""
    fields = headers.getall("If-Range", None)
    if fields is None or fields == [etag_of(info)]:
        return True
    date = _date(headers, "If-Range", now)
    return date == info.modified_ns // _NS and date + STRONG_AFTER_SECONDS <= now


class _Tags(NamedTuple):
    """A list of entity tags, without their quotes. ``any`` is the list ``*``."""

    any: bool
    strong: frozenset[str]
    weak: frozenset[str]

    def match_strongly(self, entry: Entry) -> bool:
        return self.any or (isinstance(entry, FileInfo) and entry.version in self.strong)

    def match_weakly(self, entry: Entry) -> bool:
        listed = isinstance(entry, FileInfo) and entry.version in self.weak
        return listed or self.match_strongly(entry)


def _tags(headers: MultiMapping[str], name: str) -> _Tags | None:
    """The tags in all lines of the field, or None if it is malformed or too long."""
    text = ",".join(headers.getall(name))
    if text.strip(" \t") == "*":
        return _Tags(True, frozenset(), frozenset())
    if len(text) > MAX_FIELD_CHARACTERS:
        return None
    strong: set[str] = set()
    weak: set[str] = set()
    position = 0
    while position < len(text):
        member = _MEMBER.match(text, position)
        if member is None:
            return None
        mark, tag = member.groups()
        if tag is not None:
            (weak if mark else strong).add(tag)
        position = member.end()
    return _Tags(False, frozenset(strong), frozenset(weak))


def _date(headers: MultiMapping[str], name: str, now: float) -> int | None:
    """The date in the field, in seconds since the epoch; None unless there is one valid date."""
    fields = headers.getall(name, ())
    if len(fields) != 1:
        return None
    for pattern in _DATES:
        match = pattern.fullmatch(fields[0])
        if match is not None:
            return _seconds(match, now)
    return None


def _seconds(date: re.Match[str], now: float) -> int | None:
    """What a matched date means, or None if there is no such day or time of day.

    A year of two digits more than 50 years ahead of ``now`` is in the past (§5.6.7). A leap second
    (:60) is the first one after it, as in POSIX time. The name of the day is not checked.
    """
    year, month = int(date["year"]), _MONTHS.index(date["month"]) + 1
    day, hour, minute, second = (int(date[part]) for part in ("day", "hour", "minute", "second"))
    if len(date["year"]) == 2:
        present = time.gmtime(now)
        year += present.tm_year // 100 * 100
        if (year, month, day, hour, minute, second) > (present.tm_year + 50, *present[1:6]):
            year -= 100
    if second > 60:
        return None
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) + (second == 60)
