"""Event streams on real sockets: uploads and downloads that go well, and that do not."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

import pytest

from sfs_server.web.keys import LIFECYCLE, PROGRESS
from tests.support.client import MIB, call, connect
from tests.support.credentials import authorization
from tests.support.events import Event, seen, watching
from tests.support.service import Service
from tests.support.tokens import token
from tests.support.uploads import WAYS, begin, form, framed, upload
from tests.support.waiting import eventually

TARGET = "/storage/default/file"
CONTENT = random.Random(5).randbytes(3 * MIB + 17)
TAGGED = {"X-Transfer-Id": "t"}


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one process here: it need not wait long for responses of others."""
    monkeypatch.setattr("sfs_server.progress.hub.RESPONSE_SECONDS", 0.02)


def ended(direction: str, size: int, id_: str = "t") -> Event:
    return {"id": id_, "direction": direction, "bytes": size, "total": size, "done": True}


def watched(service: Service) -> int:
    return len(service.app[PROGRESS].streams)


@pytest.mark.both_loops
async def test_an_upload_counts_the_bytes_of_the_file(service: Service) -> None:
    sizes = (0, 5000, len(CONTENT))
    for way, size, announced in itertools.product(WAYS, sizes, (True, False)):
        id_ = f"{way.replace(' ', '-')}.{size}.{announced}"
        headers = {"X-Transfer-Id": id_} | ({"X-File-Size": str(size)} if announced else {})
        async with watching(service.port, id_, service.bearer()) as early:
            answer = await upload(service, "PUT", TARGET, CONTENT[:size], way, headers)
            assert answer.status in (200, 201)
            assert await early.last() == ended("upload", size, id_)
            known = announced or way == "raw" or early.events[0]["done"]
            assert early.events[0]["total"] == (size if known else None)
        assert await seen(service.port, id_, service.bearer()) == ended("upload", size, id_)


@pytest.mark.parametrize("size", [5000, len(CONTENT)])
async def test_an_upload_is_shown_while_it_runs(service: Service, size: int) -> None:
    async with connect(service.port) as client:
        target = f"{TARGET}?id=t"
        rest = await begin(service, client, "PUT", target, CONTENT[:size])
        async with watching(service.port, "t", service.bearer()) as stream:
            events = [await stream.event()]
            while events[-1]["bytes"] < size - size // 2:
                events.append(await stream.event())
            assert events[-1]["bytes"] == size - size // 2
            assert not events[-1]["done"]
            await stream.silent()  # no bytes are sent
            client.send_raw(rest)
            assert (await client.answer()).status == 201
            assert await stream.last() == ended("upload", size)


async def test_a_form_counts_no_byte_that_is_not_the_files(service: Service) -> None:
    headers, body = framed("multipart", CONTENT[:5000])
    named = {**service.bearer(), **headers, **TAGGED, "X-File-Size": "5000"}
    async with connect(service.port) as client:
        client.send("PUT", TARGET, named, body)
        assert (await client.answer()).status == 201
    assert len(form(CONTENT[:5000])) > 5000
    assert await seen(service.port, "t", service.bearer()) == ended("upload", 5000)


@pytest.mark.both_loops
async def test_a_download_counts_the_bytes_of_its_body(service: Service) -> None:
    await service.put(TARGET, CONTENT)
    fields = ("0-3145744", "100-", "7-9", "0-9,100-199", "0-1000,2000000-")
    for id_, field in enumerate(fields):
        async with watching(service.port, f"{id_}") as early:
            headers = {"Range": f"bytes={field}"} if id_ else {}
            answer = await call(service.port, "GET", f"{TARGET}?id={id_}", headers)
            assert answer.status == (206 if id_ else 200)
            assert await early.last() == ended("download", len(answer.body), f"{id_}")
        assert await seen(service.port, f"{id_}") == early.events[-1]


@pytest.mark.parametrize("path", [TARGET, "/storage/download/default/file"])
async def test_a_download_is_shown_while_it_runs(service: Service, path: str) -> None:
    size = 16 * MIB
    await service.put(TARGET, bytes(size))
    async with connect(service.port, receive_buffer=64 * 1024) as client:
        client.send("GET", path, TAGGED)
        await client.head()
        async with watching(service.port, "t") as stream:
            first = await stream.event()
            assert first["bytes"] < size == first["total"]
            left = size - len(await client.reader.readexactly(8 * MIB))
            while (await stream.event())["bytes"] < 8 * MIB:
                pass
            await client.reader.readexactly(left)
            assert await stream.last() == ended("download", size)


async def test_transfers_that_move_no_bytes(service: Service) -> None:
    await service.put(TARGET, b"abc")
    async with connect(service.port) as client:
        answer = await client.ask("HEAD", f"{TARGET}?id=t")
        async with watching(service.port, "t") as stream:
            await stream.silent()
        tag = {"If-None-Match": answer.headers["ETag"]}
        assert (await client.ask("GET", f"{TARGET}?id=t", tag)).status == 304
    assert await seen(service.port, "t") == ended("download", 0)


async def test_a_bad_id_is_refused(service: Service) -> None:
    await service.put(TARGET, b"abc")
    targets = ("/sse/progress", TARGET, "/storage/download/default/file")
    for bad in ("", "a%20b", "a%2Fb", "%C3%A4", "x" * 129):
        async with connect(service.port) as client:
            for target in targets:
                answer = await client.ask("GET", f"{target}?id={bad}")
                assert (answer.status, "id" in answer.problem()) == (400, True)
            answer = await client.ask("GET", f"{TARGET}?id=t", {"X-Transfer-Id": bad})
            assert (answer.status, "id" in answer.problem()) == (400, True)
            headers = {**service.bearer(), "Expect": "100-continue", "Content-Length": "9"}
            client.send("PUT", f"{TARGET}?id={bad}", headers)
            assert (await client.answer()).status == 400
    answer = await call(service.port, "GET", "/sse/progress")
    assert (answer.status, "?id=" in answer.problem()) == (400, True)
    assert await service.get(TARGET) == (200, b"abc")


async def test_a_head_of_a_stream_has_its_headers(service: Service) -> None:
    answer = await call(service.port, "HEAD", "/sse/progress?id=t")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")


async def test_several_watch_one_transfer(service: Service) -> None:
    async with connect(service.port) as client:
        rest = await begin(service, client, "PUT", f"{TARGET}?id=t", CONTENT)
        async with (
            watching(service.port, "t", service.bearer()) as first,
            watching(service.port, "t", query=f"&token={service.token()}") as second,
            watching(service.port, "t", service.bearer("root", admin=True)) as third,
        ):
            for stream in (first, second, third):
                assert not (await stream.event())["done"]
            assert watched(service) == 3
            client.send_raw(rest)
            for stream in (first, second, third):
                assert await stream.last() == ended("upload", len(CONTENT))
    await eventually(lambda: watched(service) == 0)


async def test_other_users_wait_as_if_there_were_no_transfer(service: Service) -> None:
    await service.put(TARGET, b"abc")
    async with (
        watching(service.port, "t") as nobody,
        watching(service.port, "t", service.bearer("bob")) as bob,
    ):
        assert (await upload(service, "PUT", f"{TARGET}?id=t", b"x")).status == 200
        async with watching(service.port, "t", service.bearer("bob")) as late:
            await asyncio.gather(*(stream.silent() for stream in (nobody, bob, late)))
            assert await seen(service.port, "t", service.bearer()) == ended("upload", 1)
            await call(service.port, "GET", f"{TARGET}?id=t")
            for stream in (nobody, bob, late):  # an anonymous caller's is shown to all
                assert await stream.last() == ended("download", 1)


REFUSED: list[tuple[int, str, str, Mapping[str, str]]] = [
    (409, "POST", TARGET, {}),
    (412, "PUT", TARGET, {"If-Match": '"other"'}),
    (412, "PUT", TARGET, {"If-None-Match": "*"}),
    (413, "PUT", "/storage/default/new", {"X-File-Size": "2000001"}),
    (404, "PUT", "/storage/nowhere/file", {}),
    (415, "PUT", TARGET, {"Content-Encoding": "gzip"}),
    (400, "PUT", TARGET, {"Repr-Digest": "sha-256=:" + "A" * 43 + "=:"}),
    (400, "PUT", TARGET, {"X-File-Size": "4"}),
    (400, "PUT", "/storage/default/%0A", {}),
]


async def test_an_api_token_watches_only_where_its_scopes_let_it_read(service: Service) -> None:
    def api(scopes: dict[str, list[str]] | None) -> dict[str, str]:
        kind: dict[str, object] = {"type": "api_token", "exp": time.time() + 60}
        claims = {**kind, "scopes": scopes}
        return authorization(token(claims))

    read = api({"storage.alice.files.default": ["read"]})
    async with AsyncExitStack() as stack:
        blind = [
            await stack.enter_async_context(watching(service.port, "t", api(scopes)))
            for scopes in (None, {}, {"storage.alice.files.other": ["read", "create"]})
        ]
        seeing = await stack.enter_async_context(watching(service.port, "t", read))
        await service.put(f"{TARGET}?id=t", b"bytes")
        assert (await seeing.last())["bytes"] == 5
        for stream in blind:
            await stream.silent()
    assert (await seen(service.port, "t", read))["bytes"] == 5
    async with watching(service.port, "t", api({})) as stream:  # of a transfer that has ended
        await stream.silent()


@pytest.mark.parametrize("settings", [{"max_upload_bytes": 2_000_000}])
async def test_a_refused_upload_is_shown(service: Service) -> None:
    await service.put(TARGET, b"abc")
    for number, (status, method, target, headers) in enumerate(REFUSED):
        id_ = f"{number}"
        named = {**headers, "X-Transfer-Id": id_}
        async with watching(service.port, id_, service.bearer()) as early:
            answer = await upload(service, method, target, b"12345", "chunked", named)
            assert answer.status == status
            event = await early.last()
        assert event["error"] == answer.problem()
        assert await seen(service.port, id_, service.bearer()) == event


async def test_a_refusal_is_shown_unless_the_caller_is_not_signed_in(
    service: Service,
) -> None:
    body = b'{"name": "hers", "hidden": true}'
    async with connect(service.port) as client:
        assert (
            await client.ask("POST", "/storage/namespaces", service.bearer(), body)
        ).status == 201
        assert (await client.ask("PUT", f"{TARGET}?id=t", body=b"x")).status == 401
    async with watching(service.port, "t", service.bearer("root", admin=True)) as admin:
        await admin.silent()
        target = "/storage/hers/file?id=t"
        answer = await upload(service, "PUT", target, b"x", headers=service.bearer("bob"))
        assert answer.status == 404
        assert (await admin.last())["error"] == answer.problem()
    missing = await service.get("/storage/default/nothing?id=d")
    assert missing[0] == 404
    assert (await seen(service.port, "d"))["error"] == "There is no such file."


@pytest.mark.parametrize("settings", [{"upload_idle_timeout": 0.2}])
@pytest.mark.parametrize("size", [5000, len(CONTENT)])
async def test_an_upload_that_falls_silent_is_shown(service: Service, size: int) -> None:
    async with connect(service.port) as client:
        await begin(service, client, "PUT", f"{TARGET}?id=t", CONTENT[:size])
        event = await seen(service.port, "t", service.bearer())
        assert (await client.answer()).status == 408
    assert event["error"] == "No byte arrived for 0.2 seconds."
    assert event["bytes"] == size - size // 2


@pytest.mark.both_loops
@pytest.mark.parametrize("size", [5000, len(CONTENT)])
async def test_a_cut_upload_is_shown(service: Service, size: int) -> None:
    async with connect(service.port) as client:
        await begin(service, client, "PUT", f"{TARGET}?id=t", CONTENT[:size])
        async with watching(service.port, "t", service.bearer()) as stream:
            await stream.event()
            client.reset()
            event = await stream.last()
    assert event["error"] == "The connection was lost before the end."
    assert event["total"] == size


async def test_a_cut_download_is_shown(service: Service) -> None:
    await service.put(TARGET, bytes(16 * MIB))
    async with connect(service.port, receive_buffer=64 * 1024) as client:
        client.send("GET", f"{TARGET}?id=t")
        await client.head()
        client.reset()
    event = await seen(service.port, "t")
    assert event["error"] == "The connection was lost before the end."
    assert event["bytes"] < event["total"] == 16 * MIB


async def test_a_full_disk_is_shown_without_a_path(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/path")

    monkeypatch.setattr("os.fsync", full)
    answer = await upload(service, "PUT", f"{TARGET}?id=t", CONTENT)
    assert answer.status == 507
    event = await seen(service.port, "t", service.bearer())
    assert event["error"] == answer.problem()
    assert "secret" not in event["error"]


async def test_events_keep_their_distance(service: Service) -> None:
    named = {**service.bearer(), "Content-Length": "120", **TAGGED}
    async with (
        connect(service.port) as client,
        watching(service.port, "t", service.bearer()) as stream,
    ):
        before = asyncio.get_running_loop().time()
        reading = asyncio.create_task(stream.last())
        client.send("PUT", TARGET, named)
        for _ in range(120):
            client.send_raw(b"x")
            await asyncio.sleep(0.01)
        assert await reading == ended("upload", 120)
        took = asyncio.get_running_loop().time() - before
    assert 4 <= len(stream.events) <= took / 0.1 + 1


@pytest.mark.both_loops
async def test_a_watcher_that_reads_slowly_gets_the_end_and_delays_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.hub.SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr("sfs_server.progress.transfers.GAP_SECONDS", 0.0)
    size = 600
    async with (
        connect(service.port) as client,
        watching(service.port, "t", service.bearer(), receive_buffer=2048) as stream,
    ):
        named = {**service.bearer(), "Content-Length": str(size), **TAGGED}
        client.send("PUT", TARGET, named)
        await asyncio.sleep(0)
        for byte in range(size):  # more events than the sockets hold
            client.send_raw(bytes([byte % 256]))
            await asyncio.sleep(0.002)
        assert (await client.answer()).status == 201
        assert await stream.last() == ended("upload", size)
        assert 1 < len(stream.events) < size // 2


async def test_a_watcher_that_takes_nothing_is_dropped(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.transfers.COMMENT_SECONDS", 0.0001)
    monkeypatch.setattr("sfs_server.transfer.client_socket.STALL_SECONDS", 0.2)
    async with watching(service.port, "t", receive_buffer=2048):
        await eventually(lambda: watched(service) == 1)
        await eventually(lambda: watched(service) == 0)


async def test_nothing_is_kept_of_a_watcher_that_leaves(service: Service) -> None:
    async with watching(service.port, "t"), watching(service.port, "t") as other:
        assert (watched(service), len(service.connections)) == (2, 2)
        other.connection.reset()
        await eventually(lambda: watched(service) == 1)
    await eventually(lambda: watched(service) == 0)
    await eventually(lambda: len(service.connections) == 0)


async def test_an_idle_stream_sends_comments(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.transfers.COMMENT_SECONDS", 0.05)
    async with watching(service.port, "t") as stream:
        await stream.silent(0.5)
        assert stream.source.comments > 3
        assert stream.source.retry is None


async def test_streams_end_when_the_server_drains_and_are_not_waited_for(
    service: Service,
) -> None:
    lifecycle = service.app[LIFECYCLE]
    async with connect(service.port) as client:
        rest = await begin(service, client, "PUT", f"{TARGET}?id=t", CONTENT)
        async with (
            watching(service.port, "t", service.bearer()) as running,
            watching(service.port, "other") as idle,
            connect(service.port) as late,
        ):
            await running.event()
            assert lifecycle.running == 1  # the upload
            lifecycle.drain()
            for stream in (running, idle):
                await stream.end(2)
                assert stream.source.retry == 1000
            answer = await late.ask("GET", "/sse/progress?id=t", service.bearer())
            assert (answer.status, answer.body) == (200, b":\n\nretry: 1000\n\n")
            client.send_raw(rest)
            assert (await client.answer()).status == 201
    assert lifecycle.running == 0


async def test_http_1_0_gets_a_stream_too(service: Service) -> None:
    await upload(service, "PUT", f"{TARGET}?id=t", b"abc")
    line = f"GET /sse/progress?id=t&token={service.token()} HTTP/1.0\r\n\r\n"
    answer = await service.raw(line.encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body.startswith(b":\n\ndata: {")


async def test_a_transfer_without_an_id_cannot_be_watched(service: Service) -> None:
    await service.put(TARGET, CONTENT)
    await service.get(TARGET)
    hub = service.app[PROGRESS]
    assert (hub._runs, len(hub.ended), hub._timer) == ({}, 0, None)
