"""Readings of needles that are given up, and gone on with: by scripted volume servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from unittest.mock import Mock

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs.errors import DataLoss, GfsError
from gfs.types import FileInfo
from tests.gfs.chunkservers.servers import Behaviour, Chunkserver, Request
from tests.gfs.cluster import require

require()

from gfs.seaweedfs.entries import Needle, Piece  # noqa: E402
from gfs.seaweedfs.needles import Needles  # noqa: E402
from gfs.seaweedfs.reader import SeaweedReader  # noqa: E402
from gfs.seaweedfs.servers.rpc import Channels  # noqa: E402
from gfs.seaweedfs.servers.volume import VolumeServers  # noqa: E402

SIZE = 300
DATA = bytes(index * 7 % 256 for index in range(SIZE))
FID = "3,0163007037d6"
CRC = f"{google_crc32c.value(DATA):08x}"
OK = Behaviour(etag=CRC)


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Needles of 300 bytes are large ones, that come in pieces of 32, 64, 64, 64, 64 and 12."""
    monkeypatch.setattr("gfs.seaweedfs.reader.SMALL_BYTES", 0)
    monkeypatch.setattr("gfs.chunkservers.client.FIRST_BYTES", 32)
    monkeypatch.setattr("gfs.chunkservers.client.PIECE_BYTES", 64)


@asynccontextmanager
async def serving(
    *behaviours: Behaviour, crc: str = CRC, compressed: bool = False
) -> AsyncIterator[tuple[list[Chunkserver], SeaweedReader]]:
    """Volume servers that have one needle, asked in their order, and a reader of the file that is
    in it."""
    async with AsyncExitStack() as stack:
        servers = [Chunkserver({FID: DATA}, behaviour) for behaviour in behaviours]
        for server in servers:
            await stack.enter_async_context(server)
        places = [Mock(http=server.replica.address) for server in servers]

        async def locations(volume: int, *, fresh: bool) -> Sequence[Mock]:
            return places

        volumes = VolumeServers(Channels(), read_key=None, write_key=None)
        volumes.order = list  # type: ignore[method-assign,assignment]
        stack.push_async_callback(volumes.close)
        needles = Needles(Mock(locations=locations), volumes)
        piece = Piece(0, SIZE, 1, Needle(FID, SIZE, crc, compressed))
        yield servers, SeaweedReader(needles, FileInfo("d", "f", SIZE, "v", 1, 1), b"", (piece,))


async def take(reader: SeaweedReader, start: int, pieces: int, length: int = SIZE) -> list[bytes]:
    """So many pieces from ``start`` on, of a reading that is then given up."""
    async with aclosing(reader.read(start, length - start)) as reading:
        return [bytes(await anext(reading)) for _ in range(pieces)]


async def rest(reader: SeaweedReader, start: int, length: int = SIZE) -> bytes:
    async with aclosing(reader.read(start, length - start)) as reading:
        return b"".join([bytes(piece) async for piece in reading])


@pytest.mark.parametrize("end", [SIZE, SIZE - 1, 250])
async def test_it_goes_on_at_any_byte_of_the_last_piece(end: int) -> None:
    async with serving(OK, OK) as ([server, other], reader):
        for count in range(1, 5):
            for back in (0, 1, 20, 32, 64):
                server.requests.clear()
                got = await take(reader, 0, count, end)
                await server.all_closed()
                begun = sum(map(len, got[:-1]))
                start = max(begun, sum(map(len, got)) - back)
                assert await rest(reader, start, end) == DATA[start:end]
                again = Request(FID, begun, SIZE) if begun else Request(FID, 0, None)
                assert server.requests == [Request(FID, 0, None), again]
        assert other.requests == []


async def test_it_may_be_given_up_again_and_again() -> None:
    async with serving(OK) as ([server], reader):
        position = steps = 0
        while position < SIZE - 12:
            (piece,) = await take(reader, position, 1)
            assert DATA[position:].startswith(piece)
            position += max(len(piece) // 2, 1)
            steps += 1
        assert await rest(reader, position) == DATA[position:]
        assert steps > 8
        begun = [request.start for request in server.requests]
        assert begun == sorted(begun)


@pytest.mark.parametrize(
    "meanwhile",
    [
        Behaviour(greet="close"),
        Behaviour(status=404),
        Behaviour(etag="00000000"),
        Behaviour(etag=CRC, ranges=False),
        Behaviour(etag=CRC, flip=70),
        Behaviour(etag=CRC, stop=10),
        Behaviour(etag=CRC, shift=5),
        Behaviour(etag=CRC, shift=-5),
    ],
)
async def test_where_it_cannot_go_on_another_server_gives_the_whole_needle(
    meanwhile: Behaviour,
) -> None:
    async with serving(OK, OK) as ([first, second], reader):
        got = await take(reader, 0, 2)
        position = len(got[0]) + 5
        first.behaviour = meanwhile
        assert await rest(reader, position) == DATA[position:]
        assert second.requests == [Request(FID, 0, None)]


async def test_wrong_bytes_behind_what_was_passed_on_are_found_before_the_last_piece() -> None:
    """A server checks nothing of a range: it is too late for another one, but not to say so."""
    async with serving(OK, OK) as ([first, _], reader):
        await take(reader, 0, 2)
        first.behaviour = replace(OK, flip=100)
        with pytest.raises(DataLoss, match="the checksum does not agree"):
            await rest(reader, 40)


async def test_wrong_bytes_that_were_passed_on_are_found_when_another_server_goes_on() -> None:
    async with serving(replace(OK, flip=3), OK, OK) as ([first, _, _], reader):
        got = await take(reader, 0, 2)
        assert got[0] != DATA[:32], "or this tests nothing"
        first.behaviour = Behaviour(greet="close")
        with pytest.raises(DataLoss, match="different bytes"):
            await rest(reader, 50)


async def test_wrong_bytes_that_were_passed_on_are_found_when_the_same_server_goes_on() -> None:
    for flip in (3, 200, 299):
        async with serving(replace(OK, flip=flip)) as (_, reader):
            got = await take(reader, 0, 2)
            position = len(got[0]) + 5
            with pytest.raises(DataLoss):
                await rest(reader, position)


async def test_what_was_given_up_in_the_piece_is_not_taken_from_a_server_that_has_other_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its bytes up to where the first one came are passed on only if they are the same."""
    async with serving(OK, replace(OK, flip=70), OK) as ([first, _, _], reader):
        got = await take(reader, 0, 2)
        assert len(got[1]) == 64
        for name in ("FIRST_BYTES", "PIECE_BYTES"):  # now they come in more pieces than before
            monkeypatch.setattr(f"gfs.chunkservers.client.{name}", 8)
        first.behaviour = Behaviour(greet="close")
        assert await rest(reader, 60) == DATA[60:]


async def test_a_needle_that_is_stored_compressed_is_asked_for_whole() -> None:
    async with serving(OK, crc="", compressed=True) as ([server], reader):
        await take(reader, 0, 3)
        assert await rest(reader, 100) == DATA[100:]
        assert {request.stop for request in server.requests} == {None}


async def test_a_needle_that_was_vacuumed_meanwhile_is_an_error() -> None:
    async with serving(OK) as ([server], reader):
        await take(reader, 0, 2)
        server.behaviour = Behaviour(status=404)
        with pytest.raises(DataLoss):
            await rest(reader, 40)


BEHAVIOURS = st.builds(
    Behaviour,
    etag=st.just(CRC),
    greet=st.sampled_from(["", "", "", "close"]),
    flip=st.none() | st.integers(0, SIZE - 1),
    stop=st.none() | st.integers(0, SIZE),
    ranges=st.booleans(),
    status=st.sampled_from([None, None, None, 404, 500]),
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(BEHAVIOURS, min_size=2, max_size=2), st.integers(1, 4)), max_size=4
    ),
    st.data(),
)
def test_always_right_or_an_error(
    turns: list[tuple[list[Behaviour], int]], data: st.DataObject
) -> None:
    """Each turn a reading that is given up after some pieces, with servers that do as they like."""

    async def scenario() -> None:
        async with serving(OK, OK) as (servers, reader):
            got = b""
            with suppress(GfsError, StopAsyncIteration):
                for behaviours, count in turns:
                    for server, behaviour in zip(servers, behaviours, strict=True):
                        server.behaviour = behaviour
                    pieces = await take(reader, len(got), count)
                    got += b"".join(pieces[:-1])
                    got += pieces[-1][: data.draw(st.integers(0, len(pieces[-1])))]
                for server in servers:
                    server.behaviour = OK
                got += await rest(reader, len(got))
                assert got == DATA

    asyncio.run(scenario())
