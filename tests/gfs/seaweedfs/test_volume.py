"""Requests to a volume server, and which of its responses are accepted."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock, Mock

import google_crc32c
import pytest

from gfs.errors import DataLoss, GfsError, StoreUnavailable
from tests.gfs.chunkservers.test_client import Server, listening
from tests.gfs.cluster import require

require()

from gfs.seaweedfs.buffers import Buffers  # noqa: E402
from gfs.seaweedfs.servers import Channels, VolumeServers  # noqa: E402
from gfs.seaweedfs.writer import SeaweedWriter  # noqa: E402

FID = "3,01637037d6"
DATA = b"hello"
CRC = google_crc32c.value(DATA)


def response(status: str, body: bytes = b"", etag: str = "") -> bytes:
    field = f'ETag: "{etag}"\r\n' if etag else ""
    return f"HTTP/1.1 {status}\r\n{field}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def responding(*responses: bytes) -> AsyncIterator[tuple[Server, VolumeServers]]:
    server = Server(responses)
    volumes = VolumeServers(Channels(), Mock(), read_key=None, write_key=None)
    async with listening(server.serve) as server.address:
        yield server, volumes
        await volumes.close()


async def test_a_write_asks_for_fsync() -> None:
    async with responding(response("201 Created", b"{}", f"{CRC:08x}")) as (server, volumes):
        await volumes.put(server.address, FID, [b"he", b"llo"], CRC)
    [request] = server.requests
    assert request.startswith(f"PUT /{FID}?fsync=true HTTP/1.1\r\n".encode())
    assert request.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    "wrong",
    [
        response("201 Created", b"{}", "00000000"),
        response("201 Created", b"{}"),
        response("500 Internal Server Error", b"no"),
        response("302 Found"),
        b"nonsense\r\n\r\n",
        b"",
    ],
)
async def test_a_write_that_is_not_confirmed_has_failed(wrong: bytes) -> None:
    async with responding(wrong) as (server, volumes):
        with pytest.raises(StoreUnavailable):
            await volumes.put(server.address, FID, [DATA], CRC)


async def test_the_same_bytes_once_more_are_no_failure() -> None:
    async with responding(response("204 No Content")) as (server, volumes):
        await volumes.put(server.address, FID, [DATA], CRC)


async def test_a_failed_replica_is_counted_and_avoided_if_it_does_not_respond() -> None:
    heard: list[GfsError] = []
    volumes = VolumeServers(
        Channels(), Mock(), read_key=None, write_key=None, on_failover=heard.append
    )
    wrong, unavailable = DataLoss("other bytes"), StoreUnavailable("refused")
    volumes.failed("127.0.0.1:1", wrong)
    volumes.failed("127.0.0.1:2", unavailable)
    assert heard == [wrong, unavailable]
    assert [volumes.suspected(f"127.0.0.1:{port}") for port in (1, 2)] == [False, True]


async def test_a_server_that_does_not_respond_is_asked_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gfs.seaweedfs.servers.volume.ALIVE_SECONDS", 0.5)
    async with responding(response("200 OK")) as (server, volumes):
        await volumes.probe([server.address, "127.0.0.1:1"])
        assert not volumes.suspected(server.address)
        for _ in range(10):
            assert volumes.order(["127.0.0.1:1", server.address]) == [
                server.address,
                "127.0.0.1:1",
            ]


async def test_of_two_chunks_that_fail_at_once_asyncio_logs_nothing() -> None:
    complaints = Mock()
    asyncio.get_running_loop().set_exception_handler(complaints)
    uploads = Mock(slots=asyncio.Semaphore(2), buffers=Buffers(10, 1))
    writer = SeaweedWriter(uploads, "/sfs/d/f", AsyncMock())
    writer._sender.send = AsyncMock(side_effect=StoreUnavailable("refused"))  # type: ignore[method-assign]
    await writer.write(b"ab")
    await asyncio.wait(writer._tasks)
    with pytest.raises(StoreUnavailable):
        await writer.flush()
    await writer.abort()
    del writer
    gc.collect(1)
    complaints.assert_not_called()
