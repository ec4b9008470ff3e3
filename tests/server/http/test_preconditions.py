"""Preconditions: the cases of RFC 9110 §13, in tables. Ranges have their own file."""

from __future__ import annotations

import timeit
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gfs.errors import AlreadyExists, VersionMismatch
from gfs.types import ABSENT, ANYTHING, PRESENT, Expect, FileInfo
from sfs_server.http.preconditions import Plan, etag_of, expectation, http_date, plan, refuse_stale
from sfs_server.http.ranges import ByteRange

SIZE = 1000
MODIFIED = datetime(2024, 2, 29, 12, 30, 45, tzinfo=UTC)
SECONDS = int(MODIFIED.timestamp())
INFO = FileInfo("default", "a.txt", SIZE, "v1", 0, SECONDS * 10**9 + 987_654_321)
LONG_AFTER = SECONDS + 3600.0

SAME = format_datetime(MODIFIED, usegmt=True)
EARLIER = format_datetime(MODIFIED - timedelta(seconds=1), usegmt=True)
LATER = format_datetime(MODIFIED + timedelta(seconds=1), usegmt=True)

WHOLE = Plan(200, (ByteRange(0, SIZE),))
PART = Plan(206, (ByteRange(0, 10),))
NOTHING = Expect(versions=frozenset())

Lines = Iterable[tuple[str, str]]


def headers_of(lines: Lines) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(lines))


def status(method: str, *lines: tuple[str, str], now: float | None = LONG_AFTER) -> int:
    response = plan(method, headers_of(lines), INFO, now)
    if response.status == 200:
        assert response == WHOLE
    elif response.status != 206:
        assert response.ranges == ()
    return response.status


def test_the_entity_tag_is_the_quoted_version() -> None:
    assert etag_of(INFO) == '"v1"'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (INFO.modified_ns // 10**9, "Thu, 29 Feb 2024 12:30:45 GMT"),
    ],
)
def test_http_date(seconds: int, text: str) -> None:
    assert http_date(seconds) == text


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)))
def test_http_date_agrees_with_the_standard_library(naive: datetime) -> None:
    moment = naive.replace(microsecond=0, tzinfo=UTC)
    assert http_date(int(moment.timestamp())) == format_datetime(moment, usegmt=True)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        (200, []),
        (200, [("Accept", "*/*"), ("Host", "example.org")]),
        # If-Match: strong comparison
        (200, [("If-Match", "*")]),
        (200, [("If-Match", '"v1"')]),
        (200, [("if-match", '"v0", "v1"')]),
        (200, [("If-Match", '"v0"'), ("If-Match", '"v1"')]),
        (200, [("If-Match", ' ,, "v0"\t,"v1",')]),
        (200, [("If-Match", '"a,b", "v1"')]),
        (412, [("If-Match", '"v0"')]),
        (412, [("If-Match", 'W/"v1"')]),
        (412, [("If-Match", '"a,"v1""')]),
        (412, [("If-Match", "v1")]),
        (412, [("If-Match", '"v1" "v0"')]),
        (412, [("If-Match", 'w/"v0", "v1"')]),
        (412, [("If-Match", '*, "v1"')]),
        (412, [("If-Match", "*"), ("If-Match", "*")]),
        (412, [("If-Match", "")]),
        (412, [("If-Match", '"v1",' + '"x",' * 3000)]),
        # If-Unmodified-Since, and only without If-Match
        (200, [("If-Unmodified-Since", SAME)]),
        (200, [("If-Unmodified-Since", LATER)]),
        (412, [("If-Unmodified-Since", EARLIER)]),
        (200, [("If-Unmodified-Since", "yesterday")]),
        (200, [("If-Unmodified-Since", EARLIER), ("If-Unmodified-Since", EARLIER)]),
        (200, [("If-Unmodified-Since", EARLIER), ("If-Match", '"v1"')]),
        (412, [("If-Unmodified-Since", LATER), ("If-Match", '"v0"')]),
        # If-None-Match: weak comparison
        (304, [("If-None-Match", '"v1"')]),
        (304, [("If-None-Match", 'W/"v1"')]),
        (304, [("If-None-Match", "*")]),
        (304, [("If-None-Match", '"v0",W/"v1"')]),
        (304, [("If-None-Match", '"v0"'), ("If-None-Match", '"v1"')]),
        (200, [("If-None-Match", '"v0"')]),
        (200, [("If-None-Match", '"*"')]),
        (200, [("If-None-Match", '"V1"')]),
        (200, [("If-None-Match", 'v1, "v1"')]),
        (200, [("If-None-Match", '"v1')]),
        (200, [("If-None-Match", '"v1",' + '"x",' * 3000)]),
        (200, [("If-None-Match", "")]),
        (304, [("If-None-Match", '"\udcff\u00e9", "v1"')]),
        # If-Modified-Since, and only without If-None-Match
        (304, [("If-Modified-Since", SAME)]),
        (304, [("If-Modified-Since", LATER)]),
        (200, [("If-Modified-Since", EARLIER)]),
        (200, [("If-Modified-Since", "0")]),
        (200, [("If-Modified-Since", SAME), ("If-Modified-Since", SAME)]),
        (200, [("If-Modified-Since", f"{SAME}, {SAME}")]),
        (200, [("If-Modified-Since", SAME), ("If-None-Match", '"v0"')]),
        (200, [("If-Modified-Since", SAME), ("If-None-Match", "malformed")]),
        (304, [("If-Modified-Since", EARLIER), ("If-None-Match", '"v1"')]),
        # 412 comes before 304, and 304 before ranges
        (412, [("If-Match", '"v0"'), ("If-None-Match", '"v1"')]),
        (412, [("If-Unmodified-Since", EARLIER), ("If-Modified-Since", SAME)]),
        (304, [("If-Match", '"v1"'), ("If-None-Match", '"v1"')]),
        (304, [("If-Unmodified-Since", SAME), ("If-Modified-Since", SAME)]),
        (304, [("Range", "bytes=0-9"), ("If-None-Match", '"v1"')]),
        (412, [("Range", "bytes=5000-"), ("If-Match", '"v0"')]),
    ],
)
def test_reads(method: str, expected: int, lines: list[tuple[str, str]]) -> None:
    assert status(method, *lines) == expected


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (304, "Thu, 29 Feb 2024 12:30:45 GMT"),
        (304, "Mon, 29 Feb 2024 12:30:45 GMT"),
        (304, "Thursday, 29-Feb-24 12:30:45 GMT"),
        (304, "Thu Feb 29 12:30:45 2024"),
        (304, "Fri Mar  1 00:00:00 2024"),
        (200, "Thursday, 29-Feb-24 12:30:44 GMT"),
        (200, "Thu Feb 29 12:30:44 2024"),
        # two digits of a year are in the past if they would be more than 50 years ahead
        (304, "Thursday, 01-Feb-74 00:00:00 GMT"),
        (200, "Thursday, 01-Mar-74 00:00:00 GMT"),
        (200, "Sunday, 06-Nov-94 08:49:37 GMT"),
        # times that do not exist
        (200, "Thu, 29 Feb 2024 12:30:61 GMT"),
        (200, "Fri, 29 Feb 2025 12:30:45 GMT"),
        (200, "Thu, 29 Feb 2024 24:30:45 GMT"),
        (200, "Thu, 29 Feb 0000 12:30:45 GMT"),
        # forms that are none of the three
        (200, "Thu, 29 Feb 2024 12:30:45 UTC"),
        (200, "Thu, 29 Feb 2024 12:30:45 +0000"),
        (200, "Thu, 29 feb 2024 12:30:45 GMT"),
        (200, "Thu, 29 Feb 2024 12:30:45 GMT; length=1000"),
        (200, "2024-02-29T12:30:45Z"),
        (200, "Thu, \u0662\u0669 Feb 2024 12:30:45 GMT"),
        (200, ""),
    ],
)
def test_forms_of_dates(expected: int, value: str) -> None:
    assert status("GET", ("If-Modified-Since", value)) == expected


def test_a_leap_second_is_the_first_one_after_it() -> None:
    new_year_2017 = FileInfo("default", "a.txt", SIZE, "v1", 0, 1_483_228_800 * 10**9)
    headers = headers_of([("If-Modified-Since", "Sat, 31 Dec 2016 23:59:60 GMT")])
    assert plan("GET", headers, new_year_2017).status == 304
    headers = headers_of([("If-Modified-Since", "Sat, 31 Dec 2016 23:59:59 GMT")])
    assert plan("GET", headers, new_year_2017).status == 200


@pytest.mark.parametrize(
    ("expected", "lines", "now"),
    [
        (206, [], LONG_AFTER),
        (206, [("If-Range", '"v1"')], LONG_AFTER),
        (206, [("If-Range", '"v1"')], None),
        (200, [("If-Range", '"v0"')], LONG_AFTER),
        (200, [("If-Range", 'W/"v1"')], LONG_AFTER),
        (200, [("If-Range", "v1")], LONG_AFTER),
        (200, [("If-Range", "*")], LONG_AFTER),
        (200, [("If-Range", "")], LONG_AFTER),
        (200, [("If-Range", '"v0", "v1"')], LONG_AFTER),
        (200, [("If-Range", '"v1"'), ("If-Range", '"v1"')], LONG_AFTER),
        (206, [("If-Range", SAME)], LONG_AFTER),
        (206, [("If-Range", "Thu Feb 29 12:30:45 2024")], LONG_AFTER),
        (200, [("If-Range", EARLIER)], LONG_AFTER),
        (200, [("If-Range", LATER)], LONG_AFTER),
        (200, [("If-Range", SAME), ("If-Range", SAME)], LONG_AFTER),
        # a date is strong only when its second is over
        (206, [("If-Range", SAME)], SECONDS + 1.0),
        (200, [("If-Range", SAME)], SECONDS + 0.999),
        (200, [("If-Range", SAME)], None),
        # other preconditions that hold do not touch the range
        (206, [("If-Match", '"v1"'), ("If-None-Match", '"v0"')], LONG_AFTER),
        (206, [("If-Unmodified-Since", SAME), ("If-Modified-Since", EARLIER)], LONG_AFTER),
    ],
)
def test_if_range(expected: int, lines: list[tuple[str, str]], now: float | None) -> None:
    asked = headers_of([*lines, ("Range", "bytes=0-9")])
    assert plan("GET", asked, INFO, now) == (PART if expected == 206 else WHOLE)
    assert plan("HEAD", asked, INFO, now) == WHOLE


@pytest.mark.parametrize(
    ("method", "response", "lines"),
    [
        ("GET", Plan(416, ()), [("Range", "bytes=1000-")]),
        ("GET", WHOLE, [("Range", "bytes=1000-"), ("If-Range", '"v0"')]),
        ("HEAD", WHOLE, [("Range", "bytes=1000-")]),
        ("GET", WHOLE, [("Range", "lines=0-9")]),
        ("GET", WHOLE, [("Range", "bytes=0-9"), ("Range", "bytes=20-29")]),
        ("GET", WHOLE, [("If-Range", '"v0"')]),
        (
            "GET",
            Plan(206, (ByteRange(20, 10), ByteRange(0, 10))),
            [("Range", "bytes=20-29, 0-9")],
        ),
    ],
)
def test_ranges(method: str, response: Plan, lines: list[tuple[str, str]]) -> None:
    assert plan(method, headers_of(lines), INFO) == response


OTHER = FileInfo("default", "a.txt", 1, "v2", 0, (SECONDS + 60) * 10**9)


@pytest.mark.parametrize(
    ("lines", "with_v1", "with_v2", "with_nothing"),
    [
        ([], False, False, False),
        ([("If-Match", "*")], False, False, True),
        ([("If-Match", '"v1"')], False, True, True),
        ([("If-Match", '"v1", "v2"')], False, False, True),
        ([("If-Match", 'W/"v1"')], True, True, True),
        ([("If-Match", "v1")], True, True, True),
        ([("If-None-Match", "*")], True, True, False),
        ([("If-None-Match", '"v1"')], True, False, False),
        ([("If-None-Match", 'W/"v1"')], True, False, False),
        ([("If-None-Match", "v1")], True, True, True),
        ([("If-None-Match", '*, "v1"')], True, True, True),
        ([("If-Match", "*"), ("If-None-Match", '"v1"')], True, False, True),
        ([("If-Match", "*"), ("If-None-Match", "*")], True, True, True),
        ([("If-Unmodified-Since", SAME)], False, True, False),
        ([("If-Unmodified-Since", SAME), ("If-Match", '"v2"')], True, False, True),
        ([("If-Unmodified-Since", SAME), ("If-None-Match", '"v1"')], True, True, False),
        ([("If-Unmodified-Since", "never")], False, False, False),
        ([("If-Modified-Since", LATER)], False, False, False),
    ],
)
def test_refuse_stale(lines: Lines, with_v1: bool, with_v2: bool, with_nothing: bool) -> None:
    headers = headers_of(lines)
    assert refuse_stale(headers, INFO) is with_v1
    assert refuse_stale(headers, OTHER) is with_v2
    assert refuse_stale(headers, None) is with_nothing


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        (ANYTHING, []),
        (ABSENT, [("If-None-Match", "*")]),
        (PRESENT, [("If-Match", "*")]),
        (Expect(versions=frozenset({"a", "b"})), [("If-Match", '"a", W/"c", "b"')]),
        (Expect(versions=frozenset({"a", "b"})), [("If-Match", '"a"'), ("If-Match", '"b"')]),
        (NOTHING, [("If-Match", 'W/"a"')]),
        (NOTHING, [("If-Match", "a")]),
        (NOTHING, [("If-None-Match", "a")]),
        (ANYTHING, [("If-None-Match", '"a"')]),
        (Expect(absent=True, present=True), [("If-Match", "*"), ("If-None-Match", "*")]),
        (PRESENT, [("If-Match", "*"), ("If-None-Match", '"a"')]),
        (ANYTHING, [("If-Modified-Since", SAME)]),
        (Expect(versions=frozenset({"v1"})), [("If-Unmodified-Since", SAME)]),
        (NOTHING, [("If-Unmodified-Since", EARLIER)]),
        (ANYTHING, [("If-Unmodified-Since", "never")]),
        (PRESENT, [("If-Unmodified-Since", EARLIER), ("If-Match", "*")]),
    ],
)
def test_expectation(expected: Expect, lines: Lines) -> None:
    assert expectation("PUT", headers_of(lines), INFO) == expected


def test_expectation_without_a_current_version_ignores_dates() -> None:
    assert expectation("PUT", headers_of([("If-Unmodified-Since", EARLIER)])) == ANYTHING


def test_delete_of_nothing_but_what_is_absent_matches_no_version() -> None:
    headers = headers_of([("If-None-Match", "*")])
    assert expectation("DELETE", headers, INFO) == NOTHING
    assert expectation("DELETE", headers_of([("If-Match", '"v1"')])) == Expect(
        versions=frozenset({"v1"})
    )


FIELDS = st.sampled_from(["If-Match", "If-None-Match", "If-Unmodified-Since"])
VALUES = st.sampled_from(["*", '"v1"', '"v2"', 'W/"v1"', '"v1","v2"', "v1", SAME, EARLIER])


@given(st.lists(st.tuples(FIELDS, VALUES), max_size=4), st.sampled_from([INFO, OTHER, None]))
def test_the_start_and_the_commit_judge_alike(lines: Lines, current: FileInfo | None) -> None:
    headers = headers_of(lines)
    expect = expectation("PUT", headers, current)
    if not refuse_stale(headers, current):
        expect.check(current)
    elif "If-None-Match" not in headers:  # whose tags are judged at the start alone
        with pytest.raises((AlreadyExists, VersionMismatch)):
            expect.check(current)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_value_raises(tags: str, date: str, span: str) -> None:
    for name, value in [
        ("If-Match", tags),
        ("If-None-Match", tags),
        ("If-Modified-Since", date),
        ("If-Unmodified-Since", date),
    ]:
        assert status("GET", (name, value)) in (200, 304, 412)
        refuse_stale(headers_of([(name, value)]), INFO)
        expectation("PUT", headers_of([(name, value)]), INFO)
    status("GET", ("If-Range", date), ("Range", span))


@pytest.mark.parametrize(
    "value",
    ['"a"' + " " * 8000 + "x", " " * 8000 + "x", "," * 8000 + "x", '"' * 8001, "W/" * 4000],
)
def test_hostile_tags_cost_little(value: str) -> None:
    headers = headers_of([("If-None-Match", value)])
    assert timeit.timeit(lambda: plan("GET", headers, INFO), number=10) < 0.5


def test_a_request_without_preconditions_costs_little() -> None:
    """The way of nearly every download. The bound leaves room for a busy machine; alone it takes
    about one microsecond."""
    headers = headers_of([(f"X-Header-{n}", "value") for n in range(12)])
    best = min(timeit.repeat(lambda: plan("GET", headers, INFO), number=2000, repeat=5)) / 2000
    assert best < 20e-6
