"""Failover, with replicas that are scripts: each goes exactly as far as it was told.

``test_source.py`` does the same to real sockets.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfs.chunkservers.replicas import read_chunks, read_span
from gfs.chunkservers.spans import Span
from gfs.errors import DataLoss, GfsError, StoreUnavailable
from gfs.types import Chunk
from tests.gfs.chunkservers.scripts import DATA, OTHER, SIZE, Script, Scripts, read


@pytest.mark.parametrize("tail", [None, StoreUnavailable("cut"), DataLoss("garbage")])
@pytest.mark.parametrize(("start", "length"), [(0, SIZE), (37, 200)])
async def test_goes_on_at_the_very_byte(tail: GfsError | None, start: int, length: int) -> None:
    for stop in range(length):
        source = Scripts([Script(stop=stop, tail=tail), Script()])
        outcome = await read(source, start, length)
        assert outcome.error is None
        assert outcome.data == DATA[start : start + length]
        assert source.asked == [(0, start, length), (1, start + stop, length - stop)]
        assert outcome.failed == ["10.0.0.0:80"]


async def test_one_good_replica_is_enough_and_the_others_are_left_alone() -> None:
    source = Scripts([Script(), Script(head=AssertionError("asked"))])
    outcome = await read(source)
    assert (outcome.data, outcome.error, outcome.failed) == (DATA, None, [])
    assert source.asked == [(0, 0, SIZE)]


async def test_many_replicas_share_one_chunk() -> None:
    source = Scripts([Script(stop=10) for _ in range(30)])
    outcome = await read(source)
    assert outcome.data == DATA
    assert source.asked == [(number, number * 10, SIZE - number * 10) for number in range(30)]


@pytest.mark.parametrize("first", [0, 1, 99, 100])
async def test_what_comes_before_the_position_is_dropped(first: int) -> None:
    for piece in (1, 7, 64, 300):
        source = Scripts([Script(start=first, piece=piece)])
        outcome = await read(source, 100, 50)
        assert (outcome.data, outcome.error) == (DATA[100:150], None)


async def test_a_whole_answer_after_a_cut_does_not_start_again() -> None:
    for stop in range(SIZE):
        outcome = await read(Scripts([Script(stop=stop), Script(start=0)]))
        assert (outcome.data, outcome.error) == (DATA, None)


async def test_what_comes_behind_the_end_is_not_passed_on() -> None:
    for piece in (1, 50, 64):
        outcome = await read(Scripts([Script(more=b"!" * 100, piece=piece)]), 10, 50)
        assert (outcome.data, outcome.error) == (DATA[10:60], None)


@pytest.mark.parametrize(
    "wrong",
    [
        Script(start=101),
        Script(start=299),
        Script(start=-1),
        Script(version="v2", data=OTHER),
        Script(size=SIZE - 1),
        Script(size=SIZE + 1),
        Script(stop=0),
        Script(head=DataLoss("status 404")),
    ],
)
async def test_a_wrong_answer_is_refused(wrong: Script) -> None:
    assert (await read(Scripts([wrong, Script()]), 100)).data == DATA[100:]
    outcome = await read(Scripts([wrong, wrong]), 100)
    assert outcome.data == b""
    assert isinstance(outcome.error, DataLoss)
    outcome = await read(Scripts([wrong, Script(head=StoreUnavailable("refused"))]), 100)
    assert isinstance(outcome.error, DataLoss)


async def test_the_first_bytes_settle_the_version_if_the_chunk_does_not() -> None:
    source = Scripts([Script(stop=10), Script(version="v2", data=OTHER), Script()])
    outcome = await read(source, version="")
    assert (outcome.data, outcome.error) == (DATA, None)
    assert source.asked[1:] == [(1, 10, SIZE - 10), (2, 10, SIZE - 10)]
    # One that gave no byte has settled nothing, and one that tells no version is believed.
    source = Scripts([Script(version="v2", stop=0), Script(version="", stop=10), Script()])
    assert (await read(source, version="")).data == DATA


async def test_unknown_versions_and_sizes_are_taken() -> None:
    assert (await read(Scripts([Script(version="", size=None)]))).data == DATA


@pytest.mark.parametrize("stop", [0, 1, 64, 299])
async def test_silence_is_a_failure(stop: int) -> None:
    source = Scripts([Script(stop=stop, stalls=True), Script()])
    async with asyncio.timeout(5):
        outcome = await read(source, idle_seconds=0.25)
    assert (outcome.data, outcome.error) == (DATA, None)
    assert source.asked[1] == (1, stop, SIZE - stop)


async def test_a_slow_consumer_is_not_silence() -> None:
    source = Scripts([Script(piece=100)])
    async with aclosing(read_span(source, Span(source.chunk(), 0, SIZE), idle_seconds=0.2)) as got:
        async for _ in got:
            await asyncio.sleep(0.25)
    assert len(source.asked) == 1


async def test_when_no_replica_can_be_reached() -> None:
    refused, busy = StoreUnavailable("refused"), StoreUnavailable("status 503")
    source = Scripts([Script(head=refused), Script(head=busy)])
    outcome = await read(source)
    assert type(outcome.error) is StoreUnavailable
    assert outcome.error.__cause__ is busy
    text = "byte 0 of chunk 3,a0: 10.0.0.0:80: refused; 10.0.0.1:80: status 503"
    assert str(outcome.error) == text
    assert outcome.failed == ["10.0.0.0:80", "10.0.0.1:80"]
    assert type((await read(Scripts([]))).error) is StoreUnavailable


async def test_when_all_replicas_end_too_early() -> None:
    source = Scripts([Script(stop=20), Script(stop=30), Script(head=StoreUnavailable("refused"))])
    outcome = await read(source)
    assert type(outcome.error) is DataLoss
    assert outcome.data == DATA[:50]


@pytest.mark.parametrize("bug", [TypeError("bug"), TimeoutError("foreign"), KeyError("bug")])
@pytest.mark.parametrize("where", ["head", "tail"])
async def test_bugs_pass_through(bug: BaseException, where: str) -> None:
    broken = Script(head=bug) if where == "head" else Script(stop=10, tail=bug)
    source = Scripts([broken, Script()])
    with pytest.raises(type(bug)) as caught:
        await read(source)
    assert caught.value is bug
    assert (source.answers, len(source.asked)) == (0, 1)


async def test_nothing_asked_for_asks_nobody() -> None:
    source = Scripts([Script()])
    assert (await read(source, 7, 0)).data == b""
    assert source.asked == []


async def test_a_close_closes_everything() -> None:
    for count in range(1, 5):
        source = Scripts([Script(stop=70), Script()])
        pieces = read_span(source, Span(source.chunk(), 0, SIZE))
        for _ in range(count):
            await anext(pieces)
        assert source.answers == 1
        await pieces.aclose()
        assert source.answers == 0


async def test_a_cancellation_at_any_step_closes_everything() -> None:
    """Steps are turns of the event loop; a script gives its turn away before every piece."""
    for steps in range(40):
        source = Scripts([Script(stop=70), Script(head=StoreUnavailable("refused")), Script()])
        task = asyncio.create_task(read(source))
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        if finished:
            assert (await task).data == DATA
        else:
            with pytest.raises(asyncio.CancelledError):
                await task
        assert source.answers == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert finished


replicas = st.builds(
    Script,
    start=st.sampled_from([None, None, 0, 10, 290]),
    version=st.sampled_from(["v1", "v1", ""]),
    size=st.sampled_from([SIZE, None, SIZE + 1]),
    stop=st.none() | st.integers(0, SIZE),
    more=st.sampled_from([b"", b"!!"]),
    piece=st.sampled_from([1, 13, 64, 300]),
    head=st.sampled_from([None, None, DataLoss("404"), StoreUnavailable("refused")]),
    tail=st.sampled_from([None, StoreUnavailable("cut")]),
) | st.just(Script(version="v2", data=OTHER))


@given(st.lists(replicas, max_size=3), st.integers(0, SIZE), st.data())
def test_always_right_or_an_error(scripts: list[Script], start: int, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, SIZE - start))
    source = Scripts(scripts)
    outcome = asyncio.run(read(source, start, length))
    assert DATA[start : start + length].startswith(outcome.data)
    assert (outcome.error is None) == (len(outcome.data) == length)
    assert [number for number, _, _ in source.asked] == list(range(len(source.asked)))
    assert all(at + rest == start + length for _, at, rest in source.asked)


async def test_chunks_follow_each_other() -> None:
    source = Scripts([Script(stop=70), Script()])
    one = source.chunk()
    two = Chunk(one.key, SIZE, SIZE, one.replicas, one.version)
    async with aclosing(read_chunks(source, [one, two], 290, 100)) as pieces:
        got = b"".join([bytes(piece) async for piece in pieces])
    assert got == (DATA + DATA)[290:390]
    # The second chunk begins with the first replica again.
    assert source.asked == [(0, 290, 10), (0, 0, 90), (1, 70, 20)]


async def test_a_hole_between_chunks_is_an_error() -> None:
    source = Scripts([Script()])
    one = source.chunk()
    two = Chunk(one.key, SIZE + 1, SIZE, one.replicas, one.version)
    async with aclosing(read_chunks(source, [one, two], 0, 2 * SIZE)) as pieces:
        got = [bytes(await anext(pieces)) for _ in range(-(-SIZE // 64))]
        with pytest.raises(DataLoss):
            await anext(pieces)
    assert b"".join(got) == DATA
