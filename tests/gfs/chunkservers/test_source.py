"""Failover between chunkservers on real sockets, which break in every way and at every byte."""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs.chunkservers.client import Connections
from gfs.chunkservers.replicas import read_chunks, read_span
from gfs.chunkservers.source import HttpChunkSource
from gfs.chunkservers.spans import Span
from gfs.errors import DataLoss, GfsError, StoreUnavailable
from gfs.types import Chunk, Replica
from tests.gfs.chunkservers.servers import (
    AWAY,
    BROKEN,
    GOOD,
    KINDS,
    OK,
    WRONG,
    Behaviour,
    Chunkserver,
    Request,
    chunk_on,
)

KEY = "3,a0"
SIZE = 300
DATA = bytes(index * 7 % 256 for index in range(SIZE))
LARGE = DATA * 4000

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@asynccontextmanager
async def serving(*behaviours: Behaviour, data: bytes = DATA) -> AsyncIterator[list[Chunkserver]]:
    async with AsyncExitStack() as stack:
        servers = [Chunkserver({KEY: data}, behaviour) for behaviour in behaviours]
        for server in servers:
            await stack.enter_async_context(server)
        yield servers


@asynccontextmanager
async def http(connect_seconds: float = 2) -> AsyncIterator[HttpChunkSource]:
    connections = Connections(connect_seconds)
    try:
        yield HttpChunkSource(connections)
    finally:
        await connections.close()


@dataclass(slots=True)
class Outcome:
    data: bytes = b""
    error: GfsError | None = None
    failed: list[tuple[str, int]] = field(default_factory=list)


async def read(
    source: HttpChunkSource,
    chunks: Sequence[Chunk],
    start: int = 0,
    length: int = SIZE,
    idle_seconds: float = 5,
) -> Outcome:
    """What was read; ``failed`` are the replicas that did, and how many bytes there were then."""
    outcome = Outcome()

    def failed(replica: Replica, _: GfsError) -> None:
        outcome.failed.append((replica.address, len(outcome.data)))

    reading = read_chunks(
        source, chunks, start, length, idle_seconds=idle_seconds, on_failover=failed
    )
    try:
        async with aclosing(reading) as pieces:
            async for piece in pieces:
                outcome.data += piece
    except GfsError as error:
        outcome.error = error
    return outcome


@LOOPS
@pytest.mark.parametrize("end", ["cut", "reset"])
def test_dies_at_every_byte(run: Run, end: Literal["cut", "reset"]) -> None:
    async def scenario() -> None:
        async with serving(OK, OK) as (first, second), http() as source:
            for stop in range(SIZE + 1):
                first.behaviour = Behaviour(stop=stop, end=end)
                second.requests.clear()
                outcome = await read(source, [chunk_on(first, second)])
                assert (outcome.data, outcome.error) == (DATA, None)
                if stop == SIZE:
                    assert second.requests == []
                    continue
                [(address, position)] = outcome.failed
                assert address == first.replica.address
                assert position <= stop
                whole = position == 0
                assert second.requests == [Request(KEY, position, None if whole else SIZE)]
            if end == "cut":
                assert len(first.requests) == SIZE + 1

    run(scenario())


@LOOPS
def test_dies_around_the_boundaries_of_buffers(run: Run) -> None:
    async def scenario() -> None:
        async with serving(OK, OK, data=LARGE) as (first, second), http() as source:
            for edge in (1 << 16, 1 << 17, 1 << 18, 1 << 19, len(LARGE)):
                for stop in range(edge - 1, min(edge + 2, len(LARGE))):
                    first.behaviour = Behaviour(stop=stop)
                    second.requests.clear()
                    chunk = chunk_on(first, second)
                    outcome = await read(source, [chunk], 5, len(LARGE) - 5)
                    assert outcome.error is None
                    assert outcome.data == LARGE[5:]
                    if stop < len(LARGE) - 5:
                        position = outcome.failed[0][1] + 5
                        assert second.requests == [Request(KEY, position, len(LARGE))]

    run(scenario())


async def test_stalls_at_many_bytes() -> None:
    async def one(source: HttpChunkSource, stop: int) -> None:
        async with serving(Behaviour(stop=stop, end="stall"), OK) as (first, second):
            outcome = await read(source, [chunk_on(first, second)], 10, 280, idle_seconds=1.5)
            assert (outcome.data, outcome.error) == (DATA[10:290], None)
            assert len(first.requests) == 1
            assert second.requests == [Request(KEY, 10 + outcome.failed[0][1], 290)]
            await first.all_closed()

    async with http() as source:
        await asyncio.gather(*(one(source, stop) for stop in range(0, 280, 9)))


SOME = [
    *("right", "whole", "later", "other version", "refuses"),
    *("cut", "reset", "cut, whole", "too little"),
]


def judge(names: tuple[str, ...], outcome: Outcome, expected: bytes) -> None:
    """Right or an error; right if any of the replicas is; and the error that fits."""
    assert expected.startswith(outcome.data), names
    assert (outcome.error is None) == (outcome.data == expected), names
    good, wrong, away = (sum(name in kinds for name in names) for kinds in (GOOD, WRONG, AWAY))
    if good:
        assert outcome.error is None, names
    elif away == len(names):
        assert type(outcome.error) is StoreUnavailable, names
    elif wrong == len(names) or (wrong and outcome.error is not None):
        assert type(outcome.error) is DataLoss, names


async def test_every_pair_and_many_triples() -> None:
    async with serving(*KINDS.values()) as servers, http() as source:
        named = dict(zip(KINDS, servers, strict=True))
        few = asyncio.Semaphore(40)

        async def one(names: tuple[str, ...], idle_seconds: float) -> None:
            chunk = chunk_on(*(named[name] for name in names))
            outcome = await read(source, [chunk], 37, 200, idle_seconds=idle_seconds)
            judge(names, outcome, DATA[37:237])

        async def soon(names: tuple[str, ...]) -> None:
            async with few:
                await one(names, 20)

        wanted = [(name,) for name in KINDS]
        wanted += product(KINDS, KINDS)  # type: ignore[arg-type]
        wanted += product(SOME, SOME, SOME)  # type: ignore[arg-type]
        silent = [names for names in wanted if not set(names) <= set(QUICK)]
        await asyncio.gather(*(soon(names) for names in wanted if names not in silent))
        # These wait together, when there is nothing else to do, so that a good one has its time.
        await asyncio.gather(*(one(names, 2) for names in silent))


QUICK = [name for name, how in KINDS.items() if how.greet != "stall" and how.end != "stall"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(QUICK), max_size=3), min_size=1, max_size=3),
    st.integers(0, SIZE),
    st.data(),
)
def test_always_right_or_an_error(layout: list[list[str]], start: int, data: st.DataObject) -> None:
    """``layout``: what the replicas of each chunk are like."""
    stops = {name: data.draw(st.integers(0, SIZE), name) for name in BROKEN if name in QUICK}
    length = data.draw(st.integers(0, SIZE * len(layout) - start))

    async def scenario() -> None:
        flat = [
            replace(KINDS[name], stop=stops[name]) if KINDS[name].stop is not None else KINDS[name]
            for names in layout
            for name in names
        ]
        async with serving(*flat) as servers, http() as source:
            left = iter(servers)
            chunks = []
            for index, names in enumerate(layout):
                replicas = tuple(next(left).replica for _ in names)
                chunks.append(Chunk(KEY, index * SIZE, SIZE, replicas, "v1"))
            outcome = await read(source, chunks, start, length)
            assert (DATA * len(layout))[start : start + length].startswith(outcome.data)
            assert (outcome.error is None) == (len(outcome.data) == length)
            for server in servers:
                assert len(server.requests) <= 1

    asyncio.run(scenario())


@LOOPS
def test_a_cancellation_closes_the_connection(run: Run) -> None:
    async def scenario() -> None:
        behaviour = Behaviour(stop=200, end="stall", pieces=20, pause=0.0005)
        async with serving(OK) as [server], http() as source:
            for steps in [*range(30), *range(30, 200, 10)]:
                server.behaviour = behaviour
                task = asyncio.create_task(read(source, [chunk_on(server)]))
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
        async with serving(OK, data=data) as [server], http() as source:
            before = asyncio.all_tasks()
            for count in range(1, 6):
                span = Span(chunk_on(server), 0, len(data))
                pieces = read_span(source, span)
                for _ in range(count):
                    assert 0 < len(await anext(pieces)) <= 1 << 20
                await pieces.aclose()
                await server.all_closed()
                assert asyncio.all_tasks() == before
            assert server.opened == 5

    run(scenario())


async def test_whole_answers_share_a_connection() -> None:
    async with serving(OK) as [server], http() as source:
        for start, length in [(0, SIZE), (0, 10), (290, 10), (5, 1), (0, SIZE)]:
            outcome = await read(source, [chunk_on(server)], start, length)
            assert outcome.data == DATA[start : start + length]
        assert server.opened == 1
        # A Range is sent only for a part.
        assert [request.stop for request in server.requests] == [None, 10, 300, 6, None]


async def test_a_connection_that_cannot_be_made_fails_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        # The queue of a listener that does not accept takes one or two, then drops what comes.
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        chunk = Chunk(KEY, 0, SIZE, (Replica(f"127.0.0.1:{full.getsockname()[1]}"),), "v1")
        async with http(connect_seconds=0.1) as source, asyncio.timeout(10):
            outcome = await read(source, [chunk])
    assert type(outcome.error) is StoreUnavailable


async def test_an_engine_adds_its_own_header_fields_and_they_stay_secret() -> None:
    class Signed(HttpChunkSource):
        def target(self, chunk: Chunk) -> str:
            return super().target(chunk) + "?readDeleted=true"

        def headers(self, chunk: Chunk) -> Sequence[tuple[str, str]]:
            return (("Authorization", "Bearer secret"),)

    for behaviour in KINDS.values():
        connections = Connections()
        async with serving(behaviour) as [server]:
            source = Signed(connections)
            outcome = await read(source, [chunk_on(server)], 37, 200, idle_seconds=0.05)
            await connections.close()
        # A redirect is not followed, and what failed is not repeated.
        assert len(server.requests) <= 1
        for request in server.requests:
            assert request.head.startswith(b"GET /3,a0?readDeleted=true HTTP/1.1\r\n")
            assert b"\r\nAuthorization: Bearer secret\r\n" in request.head
            assert b"\r\nAccept-Encoding: identity\r\n" in request.head
        if outcome.error is not None:
            assert "secret" not in "".join(traceback.format_exception(outcome.error))
