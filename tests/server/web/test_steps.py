"""A request's text is read in steps that grow no faster than the text, whatever it is made of.

A step is a line of Python, of ours or of a library, or a call of a function in C, made by the event
loop while it responses; so nothing here depends on how busy the machine is. What happens inside one
function in C (a regular expression, ``json``, ``int``, the parser) is one step: such functions were
read, and are named in ``docs/security.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from itertools import permutations
from types import FrameType
from typing import Any

import pytest

from tests.support.client import connect, encode
from tests.support.service import Service

LONG = 8000
"""Characters: as many as a field may have."""

STEPS_A_CHARACTER = 20
"""More than reading three lists of one-letter members takes, and far less than LONG."""

CHARACTERS = "".join(map(chr, range(33, 127)))[:64] + "|}~^`\\[]{az \t"
"""64 of the printable ones, and what else means something somewhere."""

PAIRS = ["".join(pair) for pair in permutations('";\\=(,a ', 2)]
TOKENS = ["%41", "xn--", "xn--a.", 'W/"a",', "eyJ-", "a=b;", 'a="b";', "1-2,", "<a>,", "::", "/./"]

READS = (
    {"Accept": "{}", "Accept-Encoding": "{}", "Cookie": "{}"},
    {"Accept": "text/html;q={}", "Cache-Control": "{}", "If-Match": "{}"},
    {"If-None-Match": "{}", "Last-Event-ID": "{}", "Forwarded": "for={}"},
    {"If-Modified-Since": "{}", "If-Unmodified-Since": "Mon, 02 Nov 2026 {}", "If-Range": "{}"},
    {"Range": "bytes={}", "Origin": "https://{}", "X-Request-Id": "{}"},
    {"X-Forwarded-For": "{}", "Upgrade": "{}", "Content-Type": "{}"},
    {"Authorization": "Bearer {}"},
    {"Authorization": "{}"},
    {"Host": "{}"},
    {"X-Transfer-Id": "{}"},
)
WRITES = (
    {"Content-Type": "multipart/form-data; a={}"},
    {"Content-Type": "a/b;{}"},
    {"Content-Type": "{}", "If-Match": "{}"},
    {"Content-Encoding": "{}"},
    {"Content-Digest": "{}"},
    {"Repr-Digest": "sha-256={}"},
    {"Expect": "{}"},
    {"X-File-Size": "{}"},
    {"Transfer-Encoding": "{}"},
)
STARTS = (
    {"Upload-Metadata": "{}"},
    {"Upload-Metadata": "filename {}", "Upload-Checksum": "{}"},
    {"Upload-Metadata": "", "Upload-Length": "{}"},
    {"Upload-Metadata": "", "Upload-Checksum": "sha256 {}", "Tus-Resumable": "1.0.0{}"},
)
TARGETS = (
    "/{}",
    "//{}",
    "/storage/default/{}",
    "/storage/files?{}",
    "/storage/files?limit={}",
    "/storage/default/there?token={}",
    "/sse/progress?id={}",
    "http://{}/storage/files",
    "{}",
)
BODIES = (
    ("/storage/links", '{{"namespace": "{}", "file": "a"}}'),
    ("/storage/links", "{}"),
    ("/storage/namespaces", '{{"name": {}'),
)
PARTS = (
    "{}",
    "{}: x",
    'Content-Disposition: form-data; name="file"; {}',
    'Content-Disposition: form-data; name="file{}',
)
LOCAL = ip_network("127.0.0.0/8")


@pytest.fixture
def settings() -> dict[str, object]:
    return {"cors_origins": ("https://*.example.com",), "trusted_proxies": (LOCAL,)}


TraceFunction = Callable[[FrameType, str, object], Any]


class Steps:
    """How many there were."""

    count = 0


@contextmanager
def counting() -> Iterator[Steps]:
    """Count the steps of this thread, but for those of the tests and of asyncio."""
    steps = Steps()
    quiet = ("/asyncio/", "/tests/", "/_pytest/", "/pluggy/")

    def line(frame: FrameType, event: str, argument: object) -> TraceFunction:
        if event == "line":
            steps.count += 1
        return line

    def call(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        return None if any(part in frame.f_code.co_filename for part in quiet) else line

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call":
            steps.count += 1

    before = sys.gettrace()
    sys.settrace(call)
    sys.setprofile(profile)
    try:
        yield steps
    finally:
        sys.setprofile(None)
        sys.settrace(before)


def requests(service: Service, text: str) -> Iterator[tuple[str, bytes]]:
    """One request for each place, or each few places, that ``text`` can stand in."""
    bearer = service.bearer()
    for forms in READS:
        own = {"Host": "a", **bearer, **{name: form.format(text) for name, form in forms.items()}}
        yield f"GET {forms}", encode("GET", "/storage/default/there", own)
    for forms in WRITES:
        own = {"Host": "a", **bearer, **{name: form.format(text) for name, form in forms.items()}}
        yield f"PUT {forms}", encode("PUT", "/storage/default/a", own, b"x")
    for forms in STARTS:
        said = {name: form.format(text) for name, form in forms.items()}
        own = {"Tus-Resumable": "1.0.0", "Upload-Length": "1", **bearer, **said}
        yield f"POST {forms}", encode("POST", "/storage/default/", own)
    for form in TARGETS:
        yield f"GET {form}", encode("GET", form.format(text.replace(" ", "+")))
    for target, form in BODIES:
        body = form.format(text).encode()
        yield f"POST {target} {form}", encode("POST", target, bearer, body)
    for form in PARTS:
        body = f"--b\r\n{form.format(text)}\r\n\r\nx\r\n--b--\r\n".encode()
        own = {**bearer, "Content-Type": "multipart/form-data; boundary=b"}
        yield f"PUT {form}", encode("PUT", "/storage/default/a", own, body)


async def taken(service: Service, data: bytes) -> tuple[int, int]:
    """The steps that a request takes, and the status of its response."""
    async with connect(service.port) as connection:
        with counting() as steps:
            connection.send_raw(data)
            status, _ = await connection.head()
        return steps.count, status


@pytest.mark.parametrize("texts", [list(CHARACTERS), PAIRS, TOKENS], ids=["one", "two", "tokens"])
async def test_the_steps_of_a_request_grow_with_its_text_and_no_faster(
    service: Service, texts: list[str]
) -> None:
    await service.put("/storage/default/there", b"x")
    usual = {name: (await taken(service, data))[0] for name, data in requests(service, "1")}
    wrong = []
    for text in texts:
        for name, data in requests(service, (text * LONG)[:LONG]):
            steps, status = await taken(service, data)
            if steps > usual[name] + STEPS_A_CHARACTER * LONG or status >= 500:
                wrong.append(f"{text!r} {name}: {usual[name]} -> {steps}, {status}")
    assert wrong == []
