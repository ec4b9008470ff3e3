"""Responses of many messages over HTTP/2: from a real filer, and from scripted servers that cut,
stall and say what no server should."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest

from tests.gfs.cluster import cluster, seaweed

# The engine's libraries are there from here on.
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from gfs.seaweedfs.proto import filer_pb2 as pb  # isort: skip
from gfs.seaweedfs.servers import decode, http2  # isort: skip
from gfs.seaweedfs.servers.http2 import Connection, Failed  # isort: skip
from tests.gfs.suite import DIR  # isort: skip
from tests.gfs.seaweedfs.test_filesystem import fs  # isort: skip
from tests.gfs.seaweedfs.test_listing import place, put  # isort: skip

__all__ = ["cluster", "fs", "seaweed"]

PATH = "/filer_pb.SeaweedFiler/ListEntries"
MOST = 1_000_000
SECONDS = 10.0
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
STATUS = b"\x88"
"""``:status: 200``, in a header block."""

CODED_STATUS = bytes.fromhex("40 88 9acac8b21234da8f")
"""A field ``grpc-status`` that is to be indexed, its name in the code of RFC 7541 appendix B."""

OK = b"\x00\x0bgrpc-status\x010"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(kind: int, flags: int, payload: bytes, number: int = 1) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + number.to_bytes(4) + payload


def message(content: bytes, compressed: int = 0) -> bytes:
    return bytes([compressed]) + len(content).to_bytes(4) + content


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Connection]:
    """A connection to a server that does what ``script`` says."""

    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connection = await Connection.open(f"127.0.0.1:{port}", None)
        try:
            yield connection
        finally:
            connection.close()
            for task in tasks:
                task.cancel()
                await asyncio.wait([task])


@asynccontextmanager
async def saying(*pieces: bytes) -> AsyncIterator[Connection]:
    """A connection to a server that says these pieces at the first request, and then closes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"te\x08trailers")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    async with serving(script) as connection:
        yield connection


async def ask(connection: Connection, most: int = MOST) -> tuple[list[bytes], bool]:
    async with asyncio.timeout(SECONDS):
        return await connection.ask(PATH, b"request", most)


@pytest.fixture
async def recorded(fs: SeaweedFileSystem) -> tuple[bytes, list[bytes]]:
    """What a real filer says in response to one request, and the messages in it."""
    await put(fs, ["a/b", "c", "d"])
    host, _, port = fs._filers.preferred.grpc.rpartition(":")
    said = b""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_filer, to_filer = await asyncio.open_connection(host, int(port))

        async def forth() -> None:
            while data := await reader.read(1024):
                to_filer.write(data)

        forwarding = asyncio.create_task(forth())
        try:
            nonlocal said
            while data := await from_filer.read(1024):
                said += data
                writer.write(data)
        finally:
            forwarding.cancel()
            to_filer.close()

    request = pb.ListEntriesRequest(directory=await place(fs), limit=10)
    async with serving(relay) as connection:
        messages, complete = await connection.ask(PATH, request.SerializeToString(), MOST)
        assert complete
        assert len(messages) == 3
        return said, messages


async def test_a_response_that_is_cut_anywhere_is_whole_or_fails(
    recorded: tuple[bytes, list[bytes]],
) -> None:
    said, messages = recorded
    async with saying(*(said[n : n + 1] for n in range(len(said)))) as connection:
        assert await ask(connection) == (messages, True)
    for cut in range(0, len(said), 3):
        async with saying(said[:cut]) as connection:
            with suppress(Failed):
                assert await ask(connection) == (messages, True)
                assert cut > len(said) - 100  # nothing that comes behind the response is needed
    async with saying(said) as connection:
        found = await ask(connection, 1)
        assert found[0]
        assert found == (messages[: len(found[0])], False)


@pytest.mark.parametrize(
    "said",
    [
        frame(HEADERS, 0x4, STATUS) + frame(DATA, 0, message(b"m")) + frame(HEADERS, 0x5, OK),
        frame(HEADERS, 0x4, STATUS)
        + frame(DATA, 0x8, b"\x02" + message(b"m") + b"\0\0")
        + frame(HEADERS, 0x5 | 0x8 | 0x20, b"\x01" + b"\0" * 5 + OK + b"\0"),
        frame(HEADERS, 0x4, b"\x20" + STATUS)
        + frame(DATA, 0, message(b"m")[:3])
        + frame(DATA, 0, message(b"m")[3:])
        + frame(HEADERS, 0x1, CODED_STATUS[:4])
        + frame(CONTINUATION, 0, CODED_STATUS[4:])
        + frame(CONTINUATION, 0x4, b"\x81\x07"),
        frame(SETTINGS, 0, struct.pack(">HI", 3, 100), 0)
        + frame(0xBE, 0xFF, b"of a kind that is not known")
        + frame(HEADERS, 0x4, STATUS)
        + frame(DATA, 0, message(b"of another"), 7)
        + frame(GOAWAY, 0, struct.pack(">II", 1, 0), 0)
        + frame(WINDOW, 0, struct.pack(">I", 100), 0)
        + frame(DATA, 0, message(b"m"))
        + frame(HEADERS, 0x5, OK),
    ],
)
async def test_a_response_may_be_written_in_many_ways(said: bytes) -> None:
    async with saying(said) as connection:
        assert await ask(connection) == ([b"m"], True)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(HEADERS, 0x5, STATUS + b"\x00\x0bgrpc-status\x0212"), 12),
        (frame(HEADERS, 0x5, STATUS + CODED_STATUS + b"\x015"), 5),
        (frame(HEADERS, 0x5, STATUS + CODED_STATUS + b"\x81\x6b"), 4),
        (frame(HEADERS, 0x5, STATUS + b"\x00\x0bgrpc-status\x02no"), 2),
        (frame(HEADERS, 0x5, STATUS), 2),
        (frame(HEADERS, 0x5, b"\x8d"), None),
        (frame(HEADERS, 0x4, STATUS) + frame(DATA, 0x1, message(b"m")), None),
        (frame(HEADERS, 0x4, STATUS) + frame(DATA, 0, b"\0\0") + frame(HEADERS, 0x5, OK), None),
        (
            frame(HEADERS, 0x4, STATUS)
            + frame(DATA, 0, message(b"m", compressed=1))
            + frame(HEADERS, 0x5, OK),
            None,
        ),
        (frame(HEADERS, 0x4, STATUS) + frame(RESET, 0, b"\0\0\0\x07"), None),
        (frame(GOAWAY, 0, struct.pack(">II", 0, 0), 0), None),
        (frame(CONTINUATION, 0x4, STATUS), None),
        (frame(HEADERS, 0, STATUS) + frame(PING, 0, b"\0" * 8, 0), None),
        (frame(HEADERS, 0, STATUS) + 2 * frame(CONTINUATION, 0, b"x" * 16_000), None),
        (frame(HEADERS, 0x5, b"\xff\xff\xff\xff\xff"), None),
        (frame(HEADERS, 0x5, b"\xff"), None),
        (frame(DATA, 0, b"x" * (http2.MAX_FRAME_BYTES + 1)), None),
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", None),
        (b"", None),
    ],
)
async def test_what_is_no_whole_response_fails(said: bytes, code: int | None) -> None:
    async with saying(said) as connection:
        with pytest.raises(Failed) as caught:
            await ask(connection)
        assert caught.value.code == code


async def test_a_message_that_is_too_long_fails() -> None:
    head = struct.pack(">BI", 0, http2.MAX_MESSAGE_BYTES + 1)
    async with saying(frame(HEADERS, 0x4, STATUS) + frame(DATA, 0, head)) as connection:
        with pytest.raises(Failed, match="too long"):
            await ask(connection, 1)


async def test_a_request_that_does_not_fit_fails_and_the_connection_goes_on(
    fs: SeaweedFileSystem,
) -> None:
    connection = await Connection.open(fs._filers.preferred.grpc, None)
    try:
        with pytest.raises(Failed):
            await connection.ask(PATH, b"x" * http2.MAX_REQUEST_BYTES, MOST)
        request = pb.ListEntriesRequest(directory="/nothing", limit=1).SerializeToString()
        assert await connection.ask(PATH, request, MOST) == ([], True)
        with pytest.raises(Failed) as caught:
            await connection.ask("/filer_pb.SeaweedFiler/NoSuchMethod", request, MOST)
        assert caught.value.code == 12
        assert connection.usable
    finally:
        connection.close()
    assert not connection.usable
    with pytest.raises(Failed):
        await ask(connection)


async def test_the_server_is_answered_as_the_protocol_wants() -> None:
    heard = b""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        await reader.readuntil(b"te\x08trailers")
        writer.write(frame(SETTINGS, 0, b"", 0) + frame(PING, 0, b"12345678", 0))
        writer.write(frame(SETTINGS, 0x1, b"", 0) + frame(PING, 0x1, b"87654321", 0))
        heard = await reader.readuntil(b"12345678")
        writer.write(frame(HEADERS, 0x4, STATUS) + frame(HEADERS, 0x5, OK))
        await writer.drain()

    async with serving(script) as connection:
        assert await ask(connection) == ([], True)
    assert frame(SETTINGS, 0x1, b"", 0) + frame(PING, 0x1, b"12345678", 0) in heard


async def test_a_connection_carries_many_large_responses_at_once(fs: SeaweedFileSystem) -> None:
    """More than the windows, and more of them than a connection carries at once."""
    chunk = pb.FileChunk(file_id="1,0123456789abcdef", size=10, e_tag="x" * 40)
    entry = pb.Entry(chunks=[chunk] * 9_999)
    for name in ("a", "b", "c", "d", "e"):
        entry.name = name
        await fs._filers.create(await place(fs), entry, over=None)
    request = pb.ListEntriesRequest(directory=await place(fs), limit=9).SerializeToString()
    connection = await Connection.open(fs._filers.preferred.grpc, None)
    try:
        messages, complete = await connection.ask(PATH, request, 2**30)
        assert complete
        assert sum(map(len, messages)) > http2.WINDOW
        for _ in range(2):
            found = await asyncio.gather(
                *(connection.ask(PATH, request, 1) for _ in range(http2.MAX_STREAMS + 20))
            )
            for some, complete in found:
                assert not complete
                assert [entry.name for entry in decode(some)] == ["a"]
        asking = asyncio.create_task(connection.ask(PATH, request, 2**30))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        messages, complete = await connection.ask(PATH, request, 2**30)
        assert complete
        assert [entry.name for entry in decode(messages)] == [*"abcde"]
    finally:
        connection.close()
    await fs.remove_directory(DIR)
