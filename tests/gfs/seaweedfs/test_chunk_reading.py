"""Chunks by the way that ships, from chunkservers on real sockets that break in every way and at
every byte."""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal
from unittest.mock import Mock

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gfs.errors import DataLoss, GfsError, StoreUnavailable
from tests.gfs.chunkservers.scripts import crc_of
from tests.gfs.chunkservers.servers import (
    GOOD,
    KINDS,
    NO_PART,
    OK,
    UNAVAILABLE,
    WRONG,
    Behaviour,
    Chunkserver,
    Request,
)
from tests.gfs.cluster import require

require()

from gfs.chunkservers import Chunk, ChunkReading, reading  # noqa: E402
from gfs.seaweedfs.servers import Channels, VolumeServers  # noqa: E402

KEY = "3,0163007037d6"
SIZE = 300
DATA = bytes(index * 7 % 256 for index in range(SIZE))
LARGE = DATA * 4000

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@pytest.fixture(params=["large", "small"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The chunk of 300 bytes is too large to be fetched whole before a byte is yielded, or not."""
    if request.param == "large":
        monkeypatch.setattr(reading, "WHOLE_BYTES", 0)
    return str(request.param)


BOTH = pytest.mark.usefixtures("kind")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is, and comes in pieces of 32, 64, 64, 64, 64 and 12."""
    monkeypatch.setattr(reading, "WHOLE_BYTES", 0)
    monkeypatch.setattr("gfs.chunkservers.client.FIRST_BYTES", 32)
    monkeypatch.setattr("gfs.chunkservers.client.PIECE_BYTES", 64)


@dataclass(slots=True)
class Outcome:
    """What was read. ``failed``: the replicas that did, and how many bytes there were then."""

    data: bytes = b""
    error: GfsError | None = None
    failed: list[tuple[str, int]] = field(default_factory=list)


class Servers(VolumeServers):
    """Volume servers that are asked in the order in which the masters name them."""

    def __init__(self, key: bytes | None = None) -> None:
        super().__init__(Channels(), Mock(locations=self._locations), read_key=key, write_key=None)
        self.replicas: Sequence[str] = ()
        self.outcome = Outcome()

    async def _locations(self, volume: int, *, fresh: bool) -> list[Mock]:
        return [Mock(http=address) for address in self.replicas]

    def order(self, servers: Any) -> list[str]:
        return list(servers)

    def failed(self, address: str, error: GfsError) -> None:
        self.outcome.failed.append((address, len(self.outcome.data)))

    async def read(
        self,
        replicas: Sequence[str],
        start: int = 0,
        length: int = SIZE,
        data: bytes = DATA,
        chunk_reading: ChunkReading | None = None,
        pieces: int | None = None,
    ) -> Outcome:
        """Read to the end, or so many ``pieces``."""
        self.replicas, self.outcome = replicas, Outcome()
        one = chunk_reading or self.reading(data)
        try:
            async with aclosing(one.read(start, length)) as yielded:
                async for piece in yielded:
                    self.outcome.data += piece
                    pieces = None if pieces is None else pieces - 1
                    if pieces == 0:
                        break
        except GfsError as error:
            self.outcome.error = error
        return self.outcome

    def reading(self, data: bytes = DATA) -> ChunkReading:
        return ChunkReading(self, Chunk(KEY, len(data), crc_of(data)))


@asynccontextmanager
async def serving(*behaviours: Behaviour, data: bytes = DATA) -> AsyncIterator[list[Chunkserver]]:
    async with AsyncExitStack() as stack:
        servers = [Chunkserver({KEY: data}, behaviour) for behaviour in behaviours]
        for server in servers:
            await stack.enter_async_context(server)
        yield servers


@asynccontextmanager
async def volume_servers() -> AsyncIterator[Servers]:
    servers = Servers()
    try:
        yield servers
    finally:
        await servers.close()


def addresses(*servers: Chunkserver) -> list[str]:
    return [server.address for server in servers]


WHOLE = Request(KEY, 0, None)


@BOTH
@LOOPS
@pytest.mark.parametrize("end", ["cut", "reset"])
def test_dies_at_every_byte(run: Run, end: Literal["cut", "reset"]) -> None:
    async def scenario() -> None:
        async with serving(OK, OK) as (first, second), volume_servers() as volumes:
            for stop in range(SIZE + 1):
                first.behaviour = Behaviour(stop=stop, end=end)
                second.requests.clear()
                outcome = await volumes.read(addresses(first, second))
                assert (outcome.data, outcome.error) == (DATA, None)
                if stop == SIZE:
                    assert second.requests == []
                    continue
                [(address, position)] = outcome.failed
                assert address == first.address
                assert position <= stop
                assert second.requests == [WHOLE]
            if end == "cut":
                assert len(first.requests) == SIZE + 1

    run(scenario())


@LOOPS
def test_dies_around_the_boundaries_of_buffers(run: Run) -> None:
    async def scenario() -> None:
        async with (
            serving(OK, OK, data=LARGE) as (first, second),
            volume_servers() as volumes,
        ):
            for edge in (1 << 16, 1 << 17, 1 << 18, 1 << 19, len(LARGE)):
                for stop in range(edge - 1, min(edge + 2, len(LARGE))):
                    first.behaviour = Behaviour(stop=stop)
                    second.requests.clear()
                    both = addresses(first, second)
                    outcome = await volumes.read(both, 5, len(LARGE) - 5, LARGE)
                    assert outcome.error is None
                    assert outcome.data == LARGE[5:]
                    assert second.requests == [WHOLE]

    run(scenario())


@BOTH
async def test_stalls_at_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "IDLE_SECONDS", 1.5)

    async def one(stop: int) -> None:
        async with (
            serving(Behaviour(stop=stop, end="stall"), OK) as (first, second),
            volume_servers() as volumes,
        ):
            outcome = await volumes.read(addresses(first, second), 10, 280)
            assert (outcome.data, outcome.error) == (DATA[10:290], None)
            assert (first.requests, second.requests) == ([WHOLE], [WHOLE])
            await first.all_closed()

    await asyncio.gather(*(one(stop) for stop in range(0, 280, 9)))


SOME = ["right", "other bytes", "one other byte", "refuses", "cut", "reset", "too little"]


def judge(names: tuple[str, ...], outcome: Outcome, expected: bytes, small: bool) -> None:
    """Right or an error; right if any of the replicas is, unless wrong bytes were yielded before;
    and the error that fits."""
    good, wrong, unavailable = (
        sum(name in kinds for name in names) for kinds in (GOOD, WRONG, UNAVAILABLE)
    )
    if outcome.error is None:
        assert outcome.data == expected, names
    elif "one other byte" not in names:
        assert expected.startswith(outcome.data), names
    if good and (small or "one other byte" not in names):
        assert outcome.error is None, names
    elif unavailable == len(names):
        assert type(outcome.error) is StoreUnavailable, names
    elif not good and wrong:
        assert type(outcome.error) is DataLoss, names


async def test_every_pair_and_many_triples(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(*KINDS.values()) as servers:
        named = dict(zip(KINDS, servers, strict=True))
        few = asyncio.Semaphore(40)

        async def one(names: tuple[str, ...]) -> None:
            async with volume_servers() as volumes:
                outcome = await volumes.read(addresses(*(named[name] for name in names)), 37, 200)
                judge(names, outcome, DATA[37:237], kind == "small")

        async def soon(names: tuple[str, ...]) -> None:
            async with few:
                await one(names)

        wanted: list[tuple[str, ...]] = [(name,) for name in KINDS]
        wanted += product(KINDS, KINDS)
        wanted += product(SOME, SOME, SOME)
        silent = [names for names in wanted if not set(names) <= set(QUICK)]
        wanted = [names for names in wanted if len(names) == 1 or set(names) & set(QUICK)]
        monkeypatch.setattr(reading, "IDLE_SECONDS", 20)
        await asyncio.gather(*(soon(names) for names in wanted if names not in silent))
        # These wait together, when there is nothing else to do, so that a good one has its time.
        monkeypatch.setattr(reading, "IDLE_SECONDS", 4)
        await asyncio.gather(*(one(names) for names in silent if names in wanted))


QUICK = [name for name, how in KINDS.items() if how.greet != "stall" and how.end != "stall"]


# Readings that are given up, and go on.


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("end", [SIZE, SIZE - 1, 250])
async def test_it_goes_on_at_any_byte_of_the_last_piece(end: int) -> None:
    async with serving(OK, OK) as (server, other), volume_servers() as volumes:
        both = addresses(server, other)
        for count, last_start in zip(range(1, 5), (0, 32, 96, 160), strict=True):
            for back in (0, 1, 20, 32):
                server.requests.clear()
                one = volumes.reading()
                got = await volumes.read(both, 0, end, chunk_reading=one, pieces=count)
                await server.all_closed()
                start = len(got.data) - back
                rest = await volumes.read(both, start, end - start, chunk_reading=one)
                assert (rest.data, rest.error) == (DATA[start:end], None)
                assert server.requests == [
                    WHOLE,
                    Request(KEY, last_start, SIZE) if last_start else WHOLE,
                ]
        assert other.requests == []


MEANWHILE = {
    **NO_PART,
    **{name: WRONG[name] for name in WRONG if name not in ("one other byte", "too much")},
    "one other byte before": Behaviour(flip=70),
    "closes": UNAVAILABLE["closes"],
    "500": UNAVAILABLE["500"],
    "cut": Behaviour(stop=10),
    "reset": Behaviour(stop=10, end="reset"),
}


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE)
async def test_where_it_cannot_go_on_another_replica_is_asked_for_all(
    meanwhile: Behaviour,
) -> None:
    async with serving(OK, OK) as (first, second), volume_servers() as volumes:
        one = volumes.reading()
        await volumes.read(addresses(first, second), chunk_reading=one, pieces=2)
        first.behaviour = meanwhile
        rest = await volumes.read(addresses(first, second), 90, 210, chunk_reading=one)
        assert (rest.data, rest.error) == (DATA[90:], None)
        assert first.requests[1] == Request(KEY, 32, SIZE)
        assert second.requests == [WHOLE]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(QUICK), min_size=2, max_size=3), st.integers(1, 4)),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, SIZE),
    st.data(),
)
def test_always_right_or_an_error(
    large: None, turns: list[tuple[list[str], int]], start: int, data: st.DataObject
) -> None:
    """Each turn is a reading that is given up after some pieces, of replicas that do as they
    like."""
    length = data.draw(st.integers(0, SIZE - start))
    kinds = {
        name: replace(how, stop=data.draw(st.integers(0, SIZE), name)) if how.stop else how
        for name, how in KINDS.items()
        if not how.refuse
    }

    async def scenario() -> None:
        async with serving(OK, OK, OK) as servers, volume_servers() as volumes:
            one = volumes.reading()
            got = b""
            for names, count in [*turns, (["right"], SIZE)]:
                for server, name in zip(servers, names, strict=False):
                    server.behaviour = kinds.get(name, OK)
                outcome = await volumes.read(
                    addresses(*servers[: len(names)]),
                    start + len(got),
                    length - len(got),
                    chunk_reading=one,
                    pieces=count,
                )
                got += outcome.data
                if outcome.error is not None:
                    return
            assert got == DATA[start : start + length]

    asyncio.run(scenario())


# Connections.


@LOOPS
def test_a_cancellation_closes_the_connection(run: Run) -> None:
    async def scenario() -> None:
        behaviour = Behaviour(stop=200, end="stall", pieces=20, pause=0.0005)
        async with serving(OK) as [server], volume_servers() as volumes:
            for steps in [*range(30), *range(30, 200, 10)]:
                server.behaviour = behaviour
                task = asyncio.create_task(volumes.read([server.address]))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await server.all_closed()

    run(scenario())


@LOOPS
def test_a_close_after_any_piece_closes_the_connection(run: Run) -> None:
    async def scenario() -> None:
        # Too much for the buffers, so that the server is still sending.
        data = LARGE * 20
        async with serving(OK, data=data) as [server], volume_servers() as volumes:
            before = asyncio.all_tasks()
            volumes.replicas = [server.address]
            for count in range(1, 6):
                pieces = volumes.reading(data).read()
                for _ in range(count):
                    assert 0 < len(await anext(pieces)) <= 1 << 20
                await pieces.aclose()
                await server.all_closed()
                assert asyncio.all_tasks() == before
            assert server.opened == 5

    run(scenario())


@BOTH
async def test_whole_responses_share_a_connection() -> None:
    async with serving(OK) as [server], volume_servers() as volumes:
        for start, length in [(0, SIZE), (0, 10), (290, 10), (5, 1), (0, SIZE)]:
            outcome = await volumes.read([server.address], start, length)
            assert outcome.data == DATA[start : start + length]
        assert server.opened == 1
        assert server.requests == [WHOLE] * 5


async def test_a_connection_that_cannot_be_made_fails_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gfs.chunkservers.client.CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        # The queue of a listener that does not accept takes one or two, then drops what comes.
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with volume_servers() as volumes, asyncio.timeout(10):
            outcome = await volumes.read([f"127.0.0.1:{full.getsockname()[1]}"])
    assert type(outcome.error) is StoreUnavailable


async def test_requests_are_signed_and_the_signature_stays_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr("gfs.seaweedfs.servers.signing.token", lambda *_: "secret")
    for behaviour in KINDS.values():
        volumes = Servers(key=b"key")
        async with serving(behaviour) as [server]:
            outcome = await volumes.read([server.address], 37, 200)
            await volumes.close()
        # A redirect is not followed.
        assert len(server.requests) <= 2
        for request in server.requests:
            assert request.head.startswith(f"GET /{KEY}?readDeleted=true HTTP/1.1\r\n".encode())
            assert b"\r\nAuthorization: Bearer secret\r\n" in request.head
            assert b"\r\nAccept-Encoding: identity\r\n" in request.head
        if outcome.error is not None:
            assert "secret" not in "".join(traceback.format_exception(outcome.error))
