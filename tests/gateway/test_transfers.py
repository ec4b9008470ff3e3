"""Large and slow transfers, uploads that are refused, and event streams through the gateway."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.gateway.conftest import Gateway, Recorder
from tests.support.client import MIB, connect
from tests.support.events import watching
from tests.support.uploads import chunked, head
from tests.support.waiting import eventually

LARGE = 100_000_001
"""Bytes: one more than -max-upload-mb allows."""


async def test_the_first_byte_of_an_upload_reaches_sfs_before_the_last_was_sent(
    recorder: Recorder,
) -> None:
    recorder.wants = 1000
    async with connect(recorder.gateway_port) as client:
        client.send_raw(head("PUT", "/storage/default/a", {"Content-Length": "1000"}) + b"first")
        await eventually(lambda: recorder.received == b"first")
        client.send_raw(bytes(995))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("way", ["length", "chunked"])
async def test_an_upload_and_its_download_are_the_same_bytes(gateway: Gateway, way: str) -> None:
    content = hashlib.shake_256(way.encode()).digest(12 * MIB + 1)
    path = f"/storage/default/same-{way}"
    framing = (
        {"Content-Length": str(len(content))}
        if way == "length"
        else {"Transfer-Encoding": "chunked"}
    )
    body = content if way == "length" else chunked(content)
    async with connect(gateway.port) as client:
        client.send_raw(head("PUT", path, {**gateway.bearer(), **framing}) + body)
        assert (await client.answer()).status == 201
    answer = await gateway.get(path)
    assert answer.body == content
    await gateway.delete(path)


COMMON = ("Cache-Control", "X-Content-Type-Options", "X-Request-Id", "Server")
"""Headers that both SFS and the gateway could have set."""


async def test_what_is_refused_is_refused_before_continue(gateway: Gateway) -> None:
    bearer = gateway.bearer()
    path = "/storage/default/expect"
    await gateway.put(path, b"there")
    for method, target, headers, size, status in (
        ("PUT", path, {}, 5, 401),
        ("POST", path, bearer, 5, 409),
        ("PUT", path, bearer, LARGE, 413),
        ("PUT", path, {**bearer, "If-Match": '"other"'}, 5, 412),
        ("PUT", path, {**bearer, "Content-Encoding": "gzip"}, 5, 415),
        ("PUT", "/storage/no-such-namespace/a", bearer, 5, 404),
        ("PUT", "/storage/default/a%00b", bearer, 5, 400),
    ):
        sent = {"Expect": "100-continue", "Content-Length": str(size), **headers}
        orders = []
        for port in (gateway.port, gateway.processes[0].port):
            async with connect(port) as client:
                client.send_raw(head(method, target, sent))
                answer = await client.answer()
            assert answer.status == status
            assert answer.headers["Connection"] == "close"
            if status != 400:
                assert answer.problem()
                orders.append([name for name in answer.headers if name in COMMON])
        assert not orders or orders[0] == orders[1], "the order tells where they come from"
    assert (await gateway.get(path)).body == b"there"


async def test_what_is_wanted_is_continued_and_stored(gateway: Gateway) -> None:
    for framing, body in (
        ({"Content-Length": "5"}, b"hello"),
        ({"Transfer-Encoding": "chunked"}, chunked(b"hello")),
    ):
        async with connect(gateway.port) as client:
            headers = {**gateway.bearer(), "Expect": "100-continue", **framing}
            client.send_raw(head("PUT", "/storage/default/continued?id=continued", headers))
            status, _ = await client.head()
            assert status == 100
            client.send_raw(body)
            assert (await client.answer()).status in (200, 201)
        assert (await gateway.get("/storage/default/continued")).body == b"hello"
        await gateway.delete("/storage/default/continued")


async def test_a_refusal_reaches_a_client_that_goes_on_sending(gateway: Gateway) -> None:
    async with connect(gateway.port) as client:
        client.send_raw(head("PUT", "/storage/default/x", {"Content-Length": str(8 * MIB)}))
        client.send_raw(bytes(4 * MIB))
        assert (await client.answer()).status == 401


async def test_events_come_while_the_transfer_runs(gateway: Gateway) -> None:
    bearer = gateway.bearer()
    async with (
        watching(gateway.port, "events", bearer) as stream,
        connect(gateway.port) as client,
    ):
        headers = {**bearer, "Content-Length": str(2 * MIB)}
        client.send_raw(head("PUT", "/storage/default/events?id=events", headers))
        client.send_raw(bytes(MIB))
        async with asyncio.timeout(5):
            while (await stream.event())["bytes"] < MIB // 2:
                pass
        client.send_raw(bytes(MIB))
        assert (await client.answer()).status in (200, 201)
        async with asyncio.timeout(5):
            while not (event := await stream.event())["done"]:
                pass
        assert event["bytes"] == event["total"] == 2 * MIB


async def test_a_slow_reader_of_a_large_file_is_waited_for_without_a_buffer(
    gateway: Gateway,
) -> None:
    path = "/storage/default/slow"
    await gateway.put(path, bytes(40 * MIB))
    before = _memory(gateway)
    async with connect(gateway.port, receive_buffer=4096) as client:
        client.send("GET", path)
        await client.head()
        await asyncio.sleep(0.3)
        assert _memory(gateway) - before < 20 * MIB
        assert _temporaries(gateway) == []
        assert (await gateway.get("/healthz")).status == 200, "others are served meanwhile"
    await gateway.delete(path)


def _workers(gateway: Gateway) -> list[Path]:
    """The directories in /proc of the processes of the gateway."""
    pid = gateway.server.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [Path("/proc", child) for child in children.split()]


def _memory(gateway: Gateway) -> int:
    """Resident bytes of the workers, all together."""
    return 4096 * sum(int((one / "statm").read_text().split()[1]) for one in _workers(gateway))


def _temporaries(gateway: Gateway) -> list[str]:
    """The temporary files that the workers hold open; they have no name any more."""
    found = []
    for worker in _workers(gateway):
        for link in (worker / "fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(os.readlink(link))
    return [name for name in found if name.startswith(f"{gateway.server.home}/temp")]


async def test_a_transfer_may_last_longer_than_any_timeout_while_bytes_move(
    recorder: Recorder,
) -> None:
    """The timeouts of this gateway are 1 s."""
    async with connect(recorder.gateway_port) as client:
        recorder.wants = 5
        client.send_raw(head("PUT", "/storage/default/a", {"Content-Length": "5"}))
        for _ in range(5):
            client.send_raw(b"x")
            await asyncio.sleep(0.3)
        assert (await client.answer()).status == 200


async def test_an_answer_that_is_cut_short_is_not_stored_and_does_not_look_whole(
    recorder: Recorder,
) -> None:
    recorder.answer = (
        b"HTTP/1.1 200 OK\r\nCache-Control: public, s-maxage=30\r\nContent-Length: 9\r\n\r\nhalf"
    )
    recorder.cuts = True
    for _ in range(2):
        async with connect(recorder.gateway_port) as client:
            client.send("GET", "/storage/default/a")
            _, headers = await client.head()
            assert headers["Content-Length"] == "9"
            assert "Age" not in headers
            assert await client.broken_body() == b"half"
