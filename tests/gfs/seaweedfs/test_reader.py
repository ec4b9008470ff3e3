"""A reader of a file: which chunks it reads, and where it goes on after it was given up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from unittest.mock import Mock

import pytest

from gfs.types import FileInfo
from tests.gfs.chunkservers.scripts import crc_of
from tests.gfs.chunkservers.servers import OK, Chunkserver, Request
from tests.gfs.cluster import require

require()

from gfs.chunkservers import Chunk, reading  # noqa: E402
from gfs.seaweedfs.entries import Extent  # noqa: E402
from gfs.seaweedfs.reader import SeaweedReader  # noqa: E402
from gfs.seaweedfs.servers import Channels, VolumeServers  # noqa: E402

SIZE = 300
DATA = bytes(index * 7 % 256 for index in range(SIZE))
FIRST, SECOND = "3,0163007037d6", "4,0263007037d6"


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 300 bytes are large ones, that come in pieces of 32, 64, 64, 64, 64 and 12."""
    monkeypatch.setattr(reading, "WHOLE_BYTES", 0)
    monkeypatch.setattr("gfs.chunkservers.client.FIRST_BYTES", 32)
    monkeypatch.setattr("gfs.chunkservers.client.PIECE_BYTES", 64)


@asynccontextmanager
async def serving(*chunks: str) -> AsyncIterator[tuple[Chunkserver, SeaweedReader]]:
    """A volume server that has these chunks, all with the same bytes, and a reader of the file
    that is made of them."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Chunkserver(dict.fromkeys(chunks, DATA), OK))

        async def locations(volume: int, *, fresh: bool) -> Sequence[Mock]:
            return [Mock(http=server.address)]

        volumes = VolumeServers(
            Channels(), Mock(locations=locations), read_key=None, write_key=None
        )
        stack.push_async_callback(volumes.close)
        extents = tuple(
            Extent(number * SIZE, SIZE, 1, Chunk(key, SIZE, crc_of(DATA)))
            for number, key in enumerate(chunks)
        )
        info = FileInfo("d", "f", SIZE * len(chunks), "v", 1, 1)
        yield server, SeaweedReader(volumes, info, b"", extents)


async def take(reader: SeaweedReader, start: int, pieces: int) -> list[bytes]:
    """So many pieces from ``start`` on, of a reading that is then given up."""
    async with aclosing(reader.read(start, reader.info.size - start)) as yielded:
        return [bytes(await anext(yielded)) for _ in range(pieces)]


async def rest(reader: SeaweedReader, start: int) -> bytes:
    async with aclosing(reader.read(start, reader.info.size - start)) as yielded:
        return b"".join([bytes(piece) async for piece in yielded])


async def test_a_file_of_one_chunk_goes_on_where_it_was_given_up() -> None:
    async with serving(FIRST) as (server, reader):
        await take(reader, 0, 2)
        assert await rest(reader, 40) == DATA[40:]
        assert server.requests == [Request(FIRST, 0, None), Request(FIRST, 32, SIZE)]


async def test_a_file_of_several_goes_on_in_the_chunk_where_it_was_given_up() -> None:
    async with serving(FIRST, SECOND) as (server, reader):
        got = await take(reader, 0, 8)
        assert len(b"".join(got)) == SIZE + 32 + 64
        server.requests.clear()
        assert await rest(reader, SIZE + 50) == DATA[50:]
        assert server.requests == [Request(SECOND, 32, SIZE)]


async def test_what_is_elsewhere_is_read_anew() -> None:
    async with serving(FIRST, SECOND) as (server, reader):
        await take(reader, 0, 2)
        server.requests.clear()
        assert await rest(reader, SIZE + 50) == DATA[50:]
        assert await rest(reader, 200) == DATA[200:] + DATA
        assert await rest(reader, 2 * SIZE) == b""
        assert [request.start for request in server.requests] == [0, 0, 0]


async def test_two_readings_at_once_do_not_disturb_each_other() -> None:
    async with serving(FIRST) as (_, reader):
        await take(reader, 0, 2)
        async with aclosing(reader.read(0, SIZE)) as one, aclosing(reader.read(90, 210)) as two:
            first = [bytes(await anext(one)), bytes(await anext(one))]
            second = [bytes(await anext(two))]
            first += [bytes(piece) async for piece in one]
            second += [bytes(piece) async for piece in two]
        assert (b"".join(first), b"".join(second)) == (DATA, DATA[90:])
