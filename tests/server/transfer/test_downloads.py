"""Downloads, on the bytes of the connection: headers, conditions, ranges, framing, failures.

What one header means is tested, table by table, where it is decided (``test_conditional.py``,
``test_byteranges.py``, ``test_disposition.py``). Here is what a client gets.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, ClassVar, cast
from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp import web

from gfs.api import DescriptorReader, FileSystem, Reader
from gfs.errors import DataLoss, StoreUnavailable
from gfs.linux import resident
from gfs.threads import in_thread
from gfs.types import Bytes
from sfs_server.http import ByteRange
from sfs_server.progress import Transfer
from sfs_server.transfer import client_socket
from sfs_server.transfer.client_socket import WINDOW, ClientSocket
from sfs_server.transfer.pieces import Pieces
from sfs_server.web.keys import FILESYSTEM, SEND_POOL
from tests.support.client import MIB, Connection, call, connect
from tests.support.service import Service
from tests.support.waiting import eventually

BIG = 16 * MIB
PUBLIC = "public, max-age=0, s-maxage=30, must-revalidate"
PRIVATE = "private, no-cache"
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes of which no run is found twice."""
    return Random(seed).randbytes(size)


def stored(service: Service, name: str) -> Path:
    return service.data / "files" / "default" / name


class Wrapped(Reader):
    """A Reader that offers no descriptor, so that the bytes pass through the process."""

    def __init__(self, inner: Reader) -> None:
        self.inner = inner
        self.info = inner.info

    async def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        async with aclosing(self.inner.read(start, length)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        await self.inner.close()


def wrap(service: Service, monkeypatch: pytest.MonkeyPatch, wrapper: type[Wrapped]) -> None:
    """Let the store give ``wrapper(reader)`` for each reader that it opens."""
    store: FileSystem = service.app[FILESYSTEM]
    opening = store.open

    async def opened(directory: str, name: str) -> Reader:
        return wrapper(await opening(directory, name))

    monkeypatch.setattr(store, "open", opened)
    assert not issubclass(wrapper, DescriptorReader)


# Headers.


async def test_both_views_describe_the_file(service: Service) -> None:
    await service.put("/storage/default/notes.txt", b"hello")
    for method, prefix, disposition in (
        ("GET", "/storage", "inline"),
        ("HEAD", "/storage", "inline"),
        ("GET", "/storage/download", "attachment"),
        ("HEAD", "/storage/download", "attachment"),
    ):
        answer = await call(service.port, method, f"{prefix}/default/notes.txt")
        headers = answer.headers
        assert answer.status == 200
        assert answer.body == (b"hello" if method == "GET" else b"")
        assert headers["Content-Length"] == "5"
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Accept-Ranges"] == "bytes"
        assert headers["Last-Modified"].endswith(" GMT")
        assert headers["ETag"].startswith('"')
        assert headers["ETag"].endswith('"')
        assert headers["Cache-Control"] == PUBLIC
        assert headers["Vary"] == "Authorization, Origin"
        assert headers["Content-Disposition"].startswith(f"{disposition}; ")
        assert "Content-Encoding" not in headers
        assert "Transfer-Encoding" not in headers
        assert "Content-Security-Policy" not in headers


async def test_an_etag_changes_with_every_version_even_of_the_same_bytes(service: Service) -> None:
    tags = set()
    for body in (b"one", b"two", b"two"):
        await service.put("/storage/default/a", body)
        tags.add((await call(service.port, "GET", "/storage/default/a")).headers["ETag"])
    assert len(tags) == 3


async def test_no_file_is_younger_than_its_answer(service: Service) -> None:
    """RFC 9110 §8.8.2.1: where a clock was set back, or a file brought its own time."""
    await service.put("/storage/default/a", b"x")
    future = time.time() + 3600
    os.utime(stored(service, "a"), (future, future))
    headers = (await call(service.port, "GET", "/storage/default/a")).headers
    modified, date = map(parsedate_to_datetime, (headers["Last-Modified"], headers["Date"]))
    assert modified <= date
    since = headers["Last-Modified"]
    answer = await call(service.port, "GET", "/storage/default/a", {"If-Modified-Since": since})
    assert answer.status == 200  # it may have changed within that second


async def test_the_disposition_names_the_file_twice(service: Service) -> None:
    for segment, fallback in (
        ("a%22b%22.txt", r"a\"b\".txt"),
        ("%C3%A9t%C3%A9.txt", "_t_.txt"),
        ("%F0%9F%98%80.png", "_.png"),
        ("a%3Bb%2525.bin", "a;b_25.bin"),
    ):
        await service.put(f"/storage/default/{segment}", b"x")
        for prefix, kind in (("/storage", "inline"), ("/storage/download", "attachment")):
            answer = await call(service.port, "GET", f"{prefix}/default/{segment}")
            expected = f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{segment}"
            assert answer.headers["Content-Disposition"] == expected


async def test_active_types_are_sandboxed_where_they_are_shown(service: Service) -> None:
    active = ("page.html", "page.HTM", "page.xhtml", "drawing.svg", "feed.xml", "style.xsl")
    for name in (*active, "page.txt", "page.pdf", "page.png", "page", "page.js"):
        await service.put(f"/storage/default/{name}", b"<script>alert(1)</script>")
        shown = await call(service.port, "GET", f"/storage/default/{name}")
        saved = await call(service.port, "GET", f"/storage/download/default/{name}")
        assert shown.headers.get("Content-Security-Policy") == (SANDBOX if name in active else None)
        assert "Content-Security-Policy" not in saved.headers
        assert shown.headers["Content-Type"] == saved.headers["Content-Type"]
        for answer in (shown, saved):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    part = await call(service.port, "GET", "/storage/default/page.html", {"Range": "bytes=0-5"})
    assert part.headers["Content-Security-Policy"] == SANDBOX
    unknown = await call(service.port, "GET", "/storage/default/page")
    assert unknown.headers["Content-Type"] == "application/octet-stream"


async def test_only_what_an_anonymous_caller_got_may_be_shared_by_caches(service: Service) -> None:
    await service.make_namespace("team")
    for namespace in ("default", "team"):
        await service.put(f"/storage/{namespace}/a", b"x")
    bearer = service.bearer()
    cases = [
        ("default", {}, "", PUBLIC),
        ("default", bearer, "", PRIVATE),
        ("default", {}, f"?token={service.token()}", PRIVATE),
        ("team", bearer, "", PRIVATE),
        ("team", {}, f"?token={service.token()}", PRIVATE),
    ]
    for namespace, headers, query, expected in cases:
        for method in ("GET", "HEAD"):
            answer = await call(service.port, method, f"/storage/{namespace}/a{query}", headers)
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == expected
            assert answer.headers["Vary"] == "Authorization, Origin"


@pytest.mark.parametrize("settings", [{"anonymous_read": False}])
async def test_nothing_is_public_where_anonymous_callers_may_not_read(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    answer = await call(service.port, "GET", "/storage/default/a", service.bearer())
    assert answer.headers["Cache-Control"] == PRIVATE


# Ranges and conditions.


@pytest.mark.both_loops
async def test_one_range_is_answered_by_the_contract(service: Service) -> None:
    body = noise(1000)
    await service.put("/storage/default/a.bin", body)
    cases: list[tuple[str, int, str | None, bytes | None]] = [
        ("bytes=0-0", 206, "bytes 0-0/1000", body[:1]),
        ("bytes=5-9", 206, "bytes 5-9/1000", body[5:10]),
        ("bytes=990-", 206, "bytes 990-999/1000", body[990:]),
        ("bytes=990-5000", 206, "bytes 990-999/1000", body[990:]),
        ("bytes=-10", 206, "bytes 990-999/1000", body[-10:]),
        ("bytes=-5000", 206, "bytes 0-999/1000", body),
        ("BYTES=1-2", 206, "bytes 1-2/1000", body[1:3]),
        ("bytes=0-99,100-199", 206, "bytes 0-199/1000", body[:200]),
        ("bytes=1-2,5000-", 206, "bytes 1-2/1000", body[1:3]),
        ("bytes=1000-", 416, "bytes */1000", None),
        ("bytes=5000-6000", 416, "bytes */1000", None),
        ("bytes=-0", 416, "bytes */1000", None),
        ("bytes=9-5", 200, None, body),
        ("bytes=a-b", 200, None, body),
        ("bytes", 200, None, body),
        ("items=0-5", 200, None, body),
        ("bytes=0-999,0-0", 200, None, body),
        (f"bytes={','.join(f'{n * 9}-{n * 9}' for n in range(17))}", 200, None, body),
    ]
    async with connect(service.port) as connection:
        for field, status, content_range, expected in cases:
            answer = await connection.ask("GET", "/storage/default/a.bin", {"Range": field})
            assert answer.status == status, field
            assert answer.headers.get("Content-Range") == content_range, field
            assert answer.headers["Accept-Ranges"] == "bytes"
            if expected is None:
                assert "1000 bytes" in answer.problem()
            else:
                assert answer.body == expected, field
            head = await connection.ask("HEAD", "/storage/default/a.bin", {"Range": field})
            assert (head.status, head.headers["Content-Length"]) == (200, "1000"), field
            assert "Content-Range" not in head.headers


@pytest.mark.both_loops
async def test_several_ranges_come_as_parts_that_can_be_taken_apart(service: Service) -> None:
    body = noise(3 * MIB)
    await service.put("/storage/default/a.txt", body)
    field = f"bytes={2 * MIB}-, 10-19, 15-29, 100-{MIB}, -1"
    async with connect(service.port) as connection:
        answer = await connection.ask("GET", "/storage/default/a.txt", {"Range": field})
        again = await connection.ask("GET", "/storage/default/a.txt", {"Range": "bytes=0-4"})
    assert again.body == body[:5]
    assert answer.status == 206
    assert "Content-Range" not in answer.headers
    kind = answer.headers["Content-Type"]
    assert kind.startswith("multipart/byteranges; boundary=")
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    preamble, *parts, end = answer.body.split(b"--" + boundary)
    assert not preamble.strip()
    assert end in (b"--", b"--\r\n")
    wanted = [(2 * MIB, 3 * MIB), (10, 30), (100, MIB + 1)]
    assert len(parts) == len(wanted)
    for part, (start, stop) in zip(parts, wanted, strict=True):
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = email.message_from_bytes(head + b"\r\n\r\n", policy=email.policy.HTTP)
        assert fields["Content-Range"] == f"bytes {start}-{stop - 1}/{len(body)}"
        assert fields.get_content_type() == "text/plain"
        assert fields.get_content_charset() == "utf-8"
        assert content == body[start:stop] + b"\r\n"


async def test_conditions_are_answered_in_the_order_of_the_rfc(service: Service) -> None:
    await service.put("/storage/default/a", b"0123456789")
    # A date is a strong validator only when its second is over.
    old = 1_600_000_000
    os.utime(stored(service, "a"), (old, old))
    date = "Sun, 13 Sep 2020 12:26:40 GMT"
    earlier, later = "Sun, 13 Sep 2020 12:26:39 GMT", "Sun, 13 Sep 2020 12:26:41 GMT"
    plain = await call(service.port, "GET", "/storage/default/a")
    assert plain.headers["Last-Modified"] == date
    tag = plain.headers["ETag"]
    part = {"Range": "bytes=2-4"}
    cases: list[tuple[dict[str, str], int]] = [
        ({"If-None-Match": tag}, 304),
        ({"If-None-Match": f'"x", W/{tag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Modified-Since": date}, 304),
        ({"If-Modified-Since": later}, 304),
        ({"If-Modified-Since": earlier}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": date}, 200),
        ({"If-Match": tag}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": f"W/{tag}"}, 412),
        ({"If-Unmodified-Since": date}, 200),
        ({"If-Unmodified-Since": earlier}, 412),
        ({"If-Match": tag, "If-Unmodified-Since": earlier}, 200),
        ({"If-Match": '"x"', "If-None-Match": tag}, 412),
        ({"If-Match": tag, "If-None-Match": tag}, 304),
        (part, 206),
        ({**part, "If-Range": tag}, 206),
        ({**part, "If-Range": f"W/{tag}"}, 200),
        ({**part, "If-Range": '"x"'}, 200),
        ({**part, "If-Range": date}, 206),
        ({**part, "If-Range": earlier}, 200),
        ({"Range": "bytes=50-", "If-Range": tag}, 416),
        ({"Range": "bytes=50-", "If-Range": '"x"'}, 200),
        ({**part, "If-None-Match": tag}, 304),
        ({**part, "If-Match": '"x"'}, 412),
    ]
    async with connect(service.port) as connection:
        for headers, status in cases:
            for method in ("GET", "HEAD"):
                answer = await connection.ask(method, "/storage/default/a", headers)
                expected = 200 if method == "HEAD" and status in (206, 416) else status
                assert answer.status == expected, (method, headers)
                assert answer.headers["ETag"] == tag
                if method == "HEAD" or status == 304:
                    assert answer.body == b""
                elif status == 412:
                    assert answer.problem()
                elif status in (200, 206):
                    assert answer.body == (b"234" if status == 206 else b"0123456789")
                if status == 304:
                    assert answer.headers["Cache-Control"] == PUBLIC
                    assert answer.headers["Vary"] == "Authorization, Origin"
                    assert "Content-Type" not in answer.headers


async def test_a_download_that_was_resumed_after_an_overwrite_gets_the_whole_new_file(
    service: Service,
) -> None:
    await service.put("/storage/default/a", b"old old old")
    tag = (await call(service.port, "GET", "/storage/default/a")).headers["ETag"]
    await service.put("/storage/default/a", b"new new new")
    answer = await call(
        service.port, "GET", "/storage/default/a", {"Range": "bytes=4-", "If-Range": tag}
    )
    assert (answer.status, answer.body) == (200, b"new new new")


# Bytes and framing.


@pytest.mark.both_loops
@pytest.mark.parametrize("through", ["the kernel", "the process"])
async def test_every_size_arrives_to_the_byte(
    service: Service, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    if through == "the process":
        wrap(service, monkeypatch, Wrapped)
    data = noise(3 * 4 * MIB + 7)
    async with connect(service.port) as connection:
        for size in (0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, len(data)):
            await service.put("/storage/default/a", data[:size])
            answer = await connection.ask("GET", "/storage/default/a")
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(size))
            assert answer.body == data[:size]
        start, stop = WINDOW - 3, 2 * WINDOW + 5
        field = {"Range": f"bytes={start}-{stop - 1}"}
        assert (await connection.ask("GET", "/storage/default/a", field)).body == data[start:stop]


@pytest.mark.both_loops
async def test_nothing_of_one_answer_leaks_into_the_next_on_a_connection(service: Service) -> None:
    small, large = noise(10), noise(2 * MIB + 3, seed=1)
    await service.put("/storage/default/empty", b"")
    await service.put("/storage/default/small", small)
    await service.put("/storage/default/large", large)
    tag = (await call(service.port, "GET", "/storage/default/small")).headers["ETag"]
    steps: list[tuple[str, str, dict[str, str], int, bytes | None]] = [
        ("GET", "small", {}, 200, small),
        ("HEAD", "large", {}, 200, b""),
        ("GET", "large", {}, 200, large),
        ("GET", "empty", {}, 200, b""),
        ("HEAD", "empty", {}, 200, b""),
        ("GET", "small", {"If-None-Match": tag}, 304, b""),
        ("GET", "large", {"Range": "bytes=1-1048577"}, 206, large[1:1048578]),
        ("GET", "small", {"Range": "bytes=10-"}, 416, None),
        ("GET", "empty", {"Range": "bytes=0-0"}, 416, None),
        ("GET", "large", {"Range": "bytes=0-9,20-29"}, 206, None),
        ("HEAD", "absent", {}, 404, b""),
        ("GET", "absent", {}, 404, None),
        ("GET", "large", {}, 200, large),
        ("GET", "small", {"Connection": "close"}, 200, small),
    ]
    for pipelined in (False, True):
        async with connect(service.port) as connection:
            if pipelined:
                for method, name, headers, _, _ in steps:
                    connection.send(method, f"/storage/default/{name}", headers)
            for method, name, headers, status, body in steps:
                if not pipelined:
                    connection.send(method, f"/storage/default/{name}", headers)
                answer = await connection.answer(to_head=method == "HEAD")
                assert answer.status == status, (method, name)
                assert body is None or answer.body == body, (method, name)
            assert await connection.rest() == b""


@pytest.mark.both_loops
async def test_a_file_is_sent_after_all_that_aiohttp_has_not_sent_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_socket, "resident", lambda *_: True)
    before, body = noise(8 * MIB, 1), noise(8 * MIB, 2)
    (tmp_path / "file").write_bytes(body)
    async with transported(receive_buffer=65536) as (connection, writer):
        writer.write(before)
        response = Mock(prepare=AsyncMock())
        request = cast(
            web.Request,
            SimpleNamespace(
                app={SEND_POOL: None},
                transport=writer.transport,
                writer=Mock(drain=writer.drain, send_headers=lambda: writer.write(b"headers")),
            ),
        )
        transfer = Transfer("download")
        with (tmp_path / "file").open("rb") as file:
            sending = asyncio.create_task(
                ClientSocket(request).send_file(
                    response, file.fileno(), ByteRange(0, len(body)), transfer
                )
            )
            received = await connection.reader.readexactly(len(before) + 7 + len(body))
            await sending
    assert received == before + b"headers" + body
    assert transfer.moved == len(body)


@pytest.mark.both_loops
async def test_a_client_of_http_1_0_gets_the_whole_file_and_then_the_end(service: Service) -> None:
    body = noise(WINDOW + 1)
    await service.put("/storage/default/a", body)
    async with connect(service.port) as connection:
        connection.send("GET", "/storage/default/a", version="HTTP/1.0")
        answer = await connection.answer()
        assert (answer.status, answer.body) == (200, body)
        assert "Transfer-Encoding" not in answer.headers
        assert await connection.rest() == b""


@pytest.mark.both_loops
async def test_a_file_that_is_not_in_memory_is_sent_by_threads_to_the_byte(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = noise(3 * WINDOW + 11)
    await service.put("/storage/default/a", body)
    waited: list[object] = []

    async def counted(*args: Any, **named: Any) -> Any:
        waited.append(args)
        return await in_thread(*args, **named)

    monkeypatch.setattr(client_socket, "in_thread", counted)
    descriptor = os.open(stored(service, "a"), os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if resident(descriptor, WINDOW, 1):
            pytest.skip("this file system keeps its files in memory")
    finally:
        os.close(descriptor)
    assert await service.get("/storage/default/a") == (200, body)
    assert waited
    waited.clear()
    assert await service.get("/storage/default/a") == (200, body)
    assert not waited


async def test_twenty_downloads_at_once_get_each_their_own_bytes(service: Service) -> None:
    bodies = [noise(WINDOW + n, seed=n) for n in range(5)]
    for number, body in enumerate(bodies):
        await service.put(f"/storage/default/{number}", body)
    answers = await asyncio.gather(
        *(service.get(f"/storage/default/{number % 5}") for number in range(20))
    )
    assert answers == [(200, bodies[number % 5]) for number in range(20)]


# What changes or fails while bytes move.


@pytest.mark.both_loops
@pytest.mark.parametrize("through", ["the kernel", "the process"])
async def test_a_download_gets_the_version_it_started_with(
    service: Service, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    if through == "the process":
        wrap(service, monkeypatch, Wrapped)
    versions = [noise(BIG), noise(BIG, seed=1)]
    await service.put("/storage/default/a", versions[0])
    async with connect(service.port, receive_buffer=65536) as connection:
        for change, body in zip(("overwritten", "deleted"), versions, strict=True):
            connection.send("GET", "/storage/default/a")
            status, headers = await connection.head()
            assert (status, headers["Content-Length"]) == (200, str(BIG))
            started = await connection.reader.readexactly(1000)
            if change == "overwritten":
                await service.put("/storage/default/a", versions[1])
            else:
                await service.delete("/storage/default/a")
            assert started + await connection.reader.readexactly(BIG - 1000) == body, change
        assert (await connection.ask("GET", "/storage/default/a")).status == 404


@pytest.mark.both_loops
@pytest.mark.parametrize("through", ["the kernel", "the process"])
async def test_a_file_cut_short_on_the_disk_breaks_the_connection(
    service: Service, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    if through == "the process":
        wrap(service, monkeypatch, Wrapped)
    body = noise(BIG)
    await service.put("/storage/default/a", body)
    async with connect(service.port, receive_buffer=65536) as connection:
        connection.send("GET", "/storage/default/a")
        await connection.head()
        os.truncate(stored(service, "a"), MIB)
        received = await connection.broken_body()
    assert len(received) < BIG
    assert body.startswith(received)


async def test_a_file_cut_short_before_its_first_byte_is_a_503(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.put("/storage/default/a", noise(MIB))
    store: FileSystem = service.app[FILESYSTEM]
    opening = store.open

    async def opened(directory: str, name: str) -> Reader:
        reader = await opening(directory, name)
        os.truncate(stored(service, "a"), 0)
        return reader

    monkeypatch.setattr(store, "open", opened)
    answer = await call(service.port, "GET", "/storage/default/a")
    assert answer.status == 503
    assert answer.problem()
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.both_loops
async def test_a_disk_that_fails_in_the_middle_breaks_the_connection(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = noise(4 * WINDOW)
    await service.put("/storage/default/a", body)
    moving = os.sendfile

    def failing(target: int, source: int, start: int, count: int) -> int:
        if start >= WINDOW:
            raise OSError(5, "Input/output error")
        return moving(target, source, start, count)

    monkeypatch.setattr(os, "sendfile", failing)
    async with connect(service.port) as connection:
        connection.send("GET", "/storage/default/a")
        connection.send("GET", "/storage/default/a")
        await connection.head()
        received = await connection.broken_body()
    assert len(received) < len(body)
    assert body.startswith(received)


@pytest.mark.both_loops
@pytest.mark.parametrize("error", [DataLoss, StoreUnavailable])
async def test_a_store_that_fails_at_first_is_a_503_and_later_a_broken_connection(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    await service.put("/storage/default/a", noise(2 * MIB))
    pieces_left = 0

    class Failing(Wrapped):
        async def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
            nonlocal pieces_left
            async with aclosing(self.inner.read(start, length)) as pieces:
                async for piece in pieces:
                    if not pieces_left:
                        raise error("as ordered, in /srv/secret/path")
                    pieces_left -= 1
                    yield piece

    wrap(service, monkeypatch, Failing)
    for headers in ({}, {"Range": "bytes=0-99,200000-1500000"}):
        async with connect(service.port) as connection:
            answer = await connection.ask("GET", "/storage/default/a", headers)
            assert answer.status == 503
            assert "secret" not in answer.problem()
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.headers["Cache-Control"] == "no-store"
            assert "ETag" not in answer.headers
            assert "Content-Disposition" not in answer.headers
            # The connection is as good as before: the refusal was a whole answer.
            pieces_left = 2
            connection.send("GET", "/storage/default/a", headers)
            connection.send("GET", "/healthz")
            status, promised = await connection.head()
            assert status == (206 if headers else 200)
            received = await connection.broken_body()
        assert len(received) < int(promised["Content-Length"])
        assert b"HTTP/1.1" not in received


# Clients that go, and clients that stay.


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.both_loops
@pytest.mark.parametrize("through", ["the kernel", "the process"])
async def test_a_client_that_goes_away_leaves_nothing_behind(
    service: Service, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    if through == "the process":
        wrap(service, monkeypatch, Wrapped)
    await service.put("/storage/default/a", noise(BIG))
    await eventually(lambda: service.connections == [])
    files, tasks = open_files(), len(asyncio.all_tasks())
    for way in (Connection.reset, Connection.end):
        async with connect(service.port, receive_buffer=65536) as connection:
            connection.send("GET", "/storage/default/a")
            await connection.head()
            await connection.reader.readexactly(1000)
            assert open_files() > files + 2, "the client's socket, the service's, and the file"
            way(connection)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
        await eventually(lambda: open_files() <= files)


@pytest.mark.both_loops
@pytest.mark.parametrize("through", ["the kernel", "the process"])
async def test_a_client_that_takes_no_bytes_is_given_up_and_a_slow_one_is_not(
    service: Service, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    if through == "the process":
        wrap(service, monkeypatch, Wrapped)
    monkeypatch.setattr(client_socket, "STALL_SECONDS", 0.25)
    body = noise(BIG)
    await service.put("/storage/default/a", body)

    async def stalled() -> int:
        async with connect(service.port, receive_buffer=8192) as connection:
            connection.send("GET", "/storage/default/a")
            await connection.head()
            await asyncio.sleep(1.2)
            return len(await connection.broken_body())

    async def slow() -> bytes:
        async with connect(service.port, receive_buffer=8192) as connection:
            connection.send("GET", "/storage/default/a")
            await connection.head()
            received = bytearray()
            for _ in range(24):
                received += await connection.reader.readexactly(8192)
                await asyncio.sleep(0.05)
            return bytes(received) + await connection.reader.readexactly(BIG - len(received))

    given_up, got = await asyncio.gather(stalled(), slow())
    assert given_up < BIG
    assert got == body


class Counted(Wrapped):
    """How many readings are open, and where each began."""

    open = 0
    started: ClassVar[list[int]] = []

    async def read(self, start: int, length: int) -> AsyncGenerator[Bytes, None]:
        Counted.started.append(start)
        Counted.open += 1
        try:
            async with aclosing(super().read(start, length)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            Counted.open -= 1


@pytest.mark.both_loops
@pytest.mark.parametrize("field", ["", "5-", "100-16000000,3-90"])
async def test_nothing_is_held_for_a_client_that_takes_no_bytes_until_it_does(
    service: Service, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    wrap(service, monkeypatch, Counted)
    monkeypatch.setattr(client_socket, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(Counted, "started", [])
    bodies = []
    releasing = Pieces.release

    async def release(self: Pieces) -> None:
        await releasing(self)
        bodies.append(self)

    monkeypatch.setattr(Pieces, "release", release)
    body = noise(BIG)
    await service.put("/storage/default/a", body)
    async with connect(service.port, receive_buffer=8192) as connection:
        headers = {"Range": f"bytes={field}"} if field else {}
        connection.send("GET", "/storage/default/a", headers)
        _, fields = await connection.head()
        length = int(fields["Content-Length"])
        received = bytearray()
        for take in (5_000_000, 5_000_001):  # more than the kernel holds
            await eventually(lambda: bool(bodies) and not bodies[-1].left and not Counted.open)
            bodies.clear()
            received += await connection.reader.readexactly(take)
        received += await connection.reader.readexactly(length - len(received))
    if field.count("-") == 1:
        assert received == body[int(field[:-1]) :]
    elif field:
        assert body[100:16_000_001] in received
        assert body[3:91] in received
    else:
        assert received == body
    assert len(Counted.started) > 2
    assert Counted.started == sorted(Counted.started) or "," in field


@asynccontextmanager
async def transported(
    receive_buffer: int,
) -> AsyncIterator[tuple[Connection, asyncio.StreamWriter]]:
    """A connection whose server's end is asyncio's own: the client's end, and what writes to it."""
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(writer)

    async with (
        await asyncio.start_server(accept, "127.0.0.1", 0) as server,
        connect(server.sockets[0].getsockname()[1], receive_buffer=receive_buffer) as connection,
    ):
        writer = await accepted.get()
        yield connection, writer
        writer.close()


@pytest.mark.both_loops
@pytest.mark.parametrize("turns", range(1, 6))
async def test_a_client_that_goes_while_it_is_flushed_is_only_gone(turns: int) -> None:
    """At whatever step: uvloop answers hardly any call on a transport that is closed."""
    async with transported(receive_buffer=4096) as (_, writer):
        writer.write(bytes(16 * MIB))
        request = cast(web.Request, SimpleNamespace(transport=writer.transport, writer=writer))
        flushing = asyncio.create_task(ClientSocket(request).flush())
        for _ in range(turns):
            await asyncio.sleep(0)
        writer.transport.abort()
        await asyncio.sleep(0.01)
        flushing.cancel()
        with pytest.raises((ConnectionError, asyncio.CancelledError)):
            await flushing
