"""Bodies so large that they are read past aiohttp (``ClientSocket.receive_in_threads`` and others).

What holds for every upload holds for them too; here is what could go wrong on their own way.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from gfs.embedded.writer import EmbeddedWriter
from gfs.errors import StoreFull
from sfs_server.transfer import client_socket
from sfs_server.transfer.client_socket import DIRECT_BYTES, PIECE, ClientSocket
from tests.support.client import connect
from tests.support.service import Service
from tests.support.uploads import framed, head, request, temporaries, upload
from tests.support.waiting import eventually

pytestmark = pytest.mark.both_loops

CONTENT = random.Random(5).randbytes(3 * DIRECT_BYTES + 7)
TARGET = "/storage/default/large"


@pytest.fixture(autouse=True, params=["in threads", "in the loop", "in place"])
def taken(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[int]:
    """The lengths of the bodies that were received as is tested here: for a writer that blocks, for
    one that does not, and for one that has memory of its own for what is no form."""
    seen: list[int] = []
    threads, loop, place = (
        ClientSocket.receive_in_threads,
        ClientSocket.receive_pieces,
        ClientSocket.receive_in_place,
    )

    async def in_threads(self: ClientSocket, length: int, *rest: Any) -> None:
        seen.append(length)
        await threads(self, length, *rest)

    def in_the_loop(self: ClientSocket, length: int) -> AsyncGenerator[bytes, None]:
        seen.append(length)
        return loop(self, length)

    async def in_place(self: ClientSocket, length: int, *rest: Any) -> None:
        seen.append(length)
        await place(self, length, *rest)

    monkeypatch.setattr(ClientSocket, "receive_in_place", in_place)
    monkeypatch.setattr(ClientSocket, "receive_in_threads", in_threads)
    monkeypatch.setattr(ClientSocket, "receive_pieces", in_the_loop)
    if request.param == "in place":
        monkeypatch.setattr("gfs.embedded.filesystem.EmbeddedWriter", MemoryWriter)
    if request.param != "in threads":
        monkeypatch.setattr("sfs_server.transfer.uploads.BlockingWriter", SeldomWriter)
    return seen


MEMORY = bytearray(PIECE)


class MemoryWriter(EmbeddedWriter):
    """One that has memory of its own. A class apart: Python remembers of each class which
    Protocols it fulfils."""

    async def space(self, most: int) -> memoryview:
        """Sometimes less than is asked for."""
        return memoryview(MEMORY)[: min(most, random.choice((1, 1000, len(MEMORY))))]

    async def advance(self, count: int) -> None:
        await self.write(bytes(MEMORY[:count]))


class SeldomWriter:
    """No writer is one."""


async def stored(service: Service) -> bytes | None:
    status, body = await service.get(TARGET)
    return body if status == 200 else None


@pytest.mark.parametrize("way", ["raw", "multipart"])
@pytest.mark.parametrize(
    "size", [DIRECT_BYTES - 1, DIRECT_BYTES, DIRECT_BYTES + 1, 3 * DIRECT_BYTES + 7]
)
async def test_the_bytes_are_stored_and_the_connection_closes(
    service: Service, taken: list[int], way: str, size: int
) -> None:
    content = CONTENT[:size]
    own, body = framed(way, content)
    async with connect(service.port) as connection:
        connection.send_raw(request("PUT", TARGET, way, content, service.bearer()))
        answer = await connection.answer()
        assert answer.status == 201
        if len(body) >= DIRECT_BYTES:
            assert taken == [len(body)]
            assert answer.headers["Connection"] == "close"
            assert await connection.rest() == b""
        else:
            assert taken == []
            assert (await connection.ask("GET", "/healthz")).status == 200
    assert await stored(service) == content
    assert "Content-Length" in own


async def test_it_may_come_in_small_and_slow_pieces_after_an_invitation(
    service: Service, taken: list[int]
) -> None:
    content = CONTENT[: DIRECT_BYTES + 99]
    own, body = framed("raw", content)
    async with connect(service.port) as connection:
        headers = {**own, **service.bearer(), "Expect": "100-continue"}
        connection.send_raw(head("PUT", TARGET, headers))
        assert (await connection.head())[0] == 100
        step = 33_333
        for start in range(0, len(body), step):
            connection.send_raw(body[start : start + step])
            await asyncio.sleep(0.001)
        assert (await connection.answer()).status == 201
    assert taken == [len(content)]
    assert await stored(service) == content


@pytest.mark.parametrize("sent", [0, 1, 50_000, DIRECT_BYTES, len(CONTENT) - 1])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_goes_away_leaves_the_old_version(
    service: Service, sent: int, reset: bool
) -> None:
    await service.put(TARGET, b"old")
    before = len(os.listdir("/proc/self/fd"))
    own, body = framed("raw", CONTENT)
    async with connect(service.port) as connection:
        connection.send_raw(head("PUT", TARGET, {**own, **service.bearer()}) + body[:sent])
        await eventually(lambda: len(temporaries(service)) == 1)
        if reset:
            connection.reset()
        else:
            connection.end()
        await eventually(lambda: temporaries(service) == [])
    assert await stored(service) == b"old"
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


@pytest.mark.parametrize("settings", [{"upload_idle_timeout": 0.3}])
async def test_a_client_that_falls_silent_is_given_up(service: Service) -> None:
    own, body = framed("raw", CONTENT)
    async with connect(service.port) as connection:
        connection.send_raw(head("PUT", TARGET, {**own, **service.bearer()}) + body[:DIRECT_BYTES])
        answer = await connection.answer()
    assert answer.status == 408
    assert "0.3 seconds" in answer.problem()
    await eventually(lambda: temporaries(service) == [])
    assert await stored(service) is None


async def test_a_wrong_digest_stores_nothing(service: Service) -> None:
    for content, status in ((CONTENT[1:], 400), (CONTENT, 201)):
        digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
        named = {"Repr-Digest": f"sha-256=:{digest}:", "Content-Digest": f"sha-256=:{digest}:"}
        answer = await upload(service, "PUT", TARGET, content, headers=named)
        assert answer.status == status
        assert answer.headers["Connection"] == "close"
    assert await stored(service) == CONTENT


async def test_a_refusal_in_mid_body_reaches_a_client_that_goes_on_sending(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = DIRECT_BYTES

    def full(self: EmbeddedWriter, piece: bytes) -> None:
        nonlocal room
        room -= len(piece)
        if room < 0:
            raise StoreFull("as ordered")

    async def full_too(self: EmbeddedWriter, piece: bytes) -> None:
        full(self, piece)

    monkeypatch.setattr(EmbeddedWriter, "write_blocking", full)
    monkeypatch.setattr(EmbeddedWriter, "write", full_too)
    content = CONTENT * 6
    own, body = framed("raw", content)
    async with connect(service.port) as connection:
        connection.send_raw(head("PUT", TARGET, {**own, **service.bearer()}))
        for start in range(0, len(body), 500_000):
            connection.send_raw(body[start : start + 500_000])
            await asyncio.sleep(0.005)
        answer = await connection.answer()
    assert answer.status == 507
    assert temporaries(service) == []
    assert await stored(service) is None


async def test_the_body_ends_where_it_was_said_to_end(service: Service) -> None:
    """What follows it on the connection is not read into the file."""
    async with connect(service.port) as connection:
        more = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        connection.send_raw(request("PUT", TARGET, "raw", CONTENT, service.bearer()) + more)
        assert (await connection.answer()).status == 201
    assert await stored(service) == CONTENT


async def test_many_at_once_do_not_mix(service: Service) -> None:
    contents = [random.Random(n).randbytes(DIRECT_BYTES + n) for n in range(24)]
    answers = await asyncio.gather(
        *(upload(service, "PUT", f"{TARGET}{n}", each) for n, each in enumerate(contents))
    )
    assert {answer.status for answer in answers} == {201}
    for number, content in enumerate(contents):
        assert await service.get(f"{TARGET}{number}") == (200, content)


def test_whatever_breaks_the_way_to_the_client_it_is_gone() -> None:
    """A host that cannot be reached any more (EHOSTUNREACH, ETIMEDOUT) is no failure of ours."""
    with pytest.raises(ConnectionResetError):
        client_socket._read(-1, 1)
