"""Reading a chunk from replicas that are scripts: each goes exactly as far as its script says.

``tests/gfs/seaweedfs/test_chunk_reading.py`` does the same to real sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gfs.chunkservers import Chunk, ChunkReading, Response, reading
from gfs.errors import DataLoss, GfsError, StoreUnavailable
from tests.gfs.chunkservers.scripts import (
    CHUNK,
    CUT,
    DATA,
    OK,
    OTHER,
    SIZE,
    Outcome,
    Script,
    Scripts,
    crc_of,
    flipped,
    read,
)

PARTS = pytest.mark.parametrize(("start", "length"), [(0, SIZE), (37, 200), (64, 236), (299, 1)])


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunk of 300 bytes is too large to be fetched whole before a byte is yielded."""
    monkeypatch.setattr(reading, "WHOLE_BYTES", 0)


@pytest.fixture(params=["large", "small"])
def kind(request: pytest.FixtureRequest, large: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """It is, or it is not."""
    if request.param == "small":
        monkeypatch.setattr(reading, "WHOLE_BYTES", SIZE)
    return str(request.param)


BOTH = pytest.mark.usefixtures("kind")


def after(count: int) -> Callable[[Outcome], bool]:
    """Enough are so many pieces."""
    return lambda outcome: len(outcome.pieces) == count


# Replicas that break off.


@BOTH
@PARTS
@pytest.mark.parametrize("tail", [CUT, DataLoss("garbage")])
async def test_goes_on_at_the_very_byte(tail: GfsError, start: int, length: int) -> None:
    for stop in range(SIZE):
        scripts = Scripts([Script(stop=stop, tail=tail), OK])
        outcome = await read(scripts, start, length)
        assert outcome.error is None
        assert outcome.data == DATA[start : start + length]
        assert scripts.asked == [(0, 0), (1, 0)]
        assert scripts.failures == [(0, tail)]


@BOTH
@PARTS
async def test_one_good_replica_is_enough(start: int, length: int) -> None:
    scripts = Scripts([OK, Script(head=AssertionError("asked"))])
    outcome = await read(scripts, start, length)
    assert (outcome.data, outcome.error) == (DATA[start : start + length], None)
    assert (scripts.asked, scripts.failures, scripts.located) == ([(0, 0)], [], [False])


@BOTH
async def test_every_replica_goes_a_little_further() -> None:
    scripts = Scripts([Script(stop=10 * number) for number in range(31)])
    outcome = await read(scripts)
    assert (outcome.data, outcome.error) == (DATA, None)
    assert scripts.asked == [(number, 0) for number in range(31)]


@BOTH
async def test_pieces_of_any_size_are_put_together() -> None:
    for first in (1, 7, 64, 300):
        for second in (1, 13, 300):
            scripts = Scripts([Script(piece=first, stop=200), Script(piece=second)])
            assert (await read(scripts, 5, 290)).data == DATA[5:295]


async def test_no_byte_is_asked_of_nobody() -> None:
    scripts = Scripts([OK])
    assert (await read(scripts, 7, 0)).data == b""
    assert scripts.asked == []


@BOTH
async def test_silence_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "IDLE_SECONDS", 0.05)
    for stop in (0, 1, 64, 299):
        scripts = Scripts([Script(stop=stop, stalls=True), OK])
        async with asyncio.timeout(5):
            outcome = await read(scripts)
        assert (outcome.data, outcome.error) == (DATA, None)


@BOTH
async def test_a_response_that_does_not_start_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "IDLE_SECONDS", 0.05)

    class Silent(Scripts):
        async def ask(self, address: str, chunk: Chunk, start: int, expect: int) -> Response:
            if not self.asked:
                self.asked.append((0, start))
                await asyncio.sleep(60)
            return await super().ask(address, chunk, start, expect)

    scripts = Silent([OK, OK])
    outcome = await read(scripts)
    assert (outcome.data, outcome.error) == (DATA, None)
    [(number, error)] = scripts.failures
    assert (number, str(error)) == (0, "silent for 0.05 s")


async def test_a_slow_reader_is_not_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "IDLE_SECONDS", 0.05)
    scripts = Scripts([Script(piece=100)])
    async for _ in ChunkReading(scripts, CHUNK).read():
        await asyncio.sleep(0.1)
    assert scripts.asked == [(0, 0)]


# Replicas that have something else.

WRONG = {
    "starts later": Script(start=1),
    "another version": Script(OTHER, crc_of(OTHER)),
    "no checksum": Script(crc=""),
    "too short": Script(DATA[:-1], size=SIZE - 1),
    "too long": Script(DATA + b"!", size=SIZE + 1),
    "not found": Script(head=DataLoss("status 404")),
}


@BOTH
@PARTS
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_what_is_not_the_chunk_is_refused(wrong: Script, start: int, length: int) -> None:
    outcome = await read(Scripts([wrong, OK]), start, length)
    assert outcome.data == DATA[start : start + length]
    for other in (wrong, Script(head=StoreUnavailable("refused"))):
        outcome = await read(Scripts([wrong, other]), start, length)
        assert outcome.data == b""
        assert type(outcome.error) is DataLoss


@PARTS
async def test_a_wrong_byte_is_found_wherever_it_is(kind: str, start: int, length: int) -> None:
    for place in range(SIZE):
        outcome = await read(Scripts([Script(flipped(place)), OK]), start, length)
        expected = DATA[start : start + length]
        if kind == "small":
            assert (outcome.data, outcome.error) == (expected, None)
        elif outcome.error is None:
            assert outcome.data == expected
        else:
            assert type(outcome.error) is DataLoss
            assert len(outcome.data) < length


async def test_a_wrong_byte_in_the_last_piece_is_made_good_by_the_next_replica() -> None:
    for start, end in ((256, SIZE), (64, 128), (64, 100)):
        for place in range(start, end):
            outcome = await read(Scripts([Script(flipped(place)), OK]), 0, end)
            assert (outcome.data, outcome.error) == (DATA[:end], None)


async def test_the_next_replica_must_have_the_bytes_that_were_yielded() -> None:
    """It is found out before it gives a byte, so that a third one makes it good."""
    for stop in range(64, SIZE):
        yielded = stop - (stop % 64)
        for place in (0, 1, yielded - 1):
            scripts = Scripts([Script(stop=stop), Script(flipped(place)), OK])
            outcome = await read(scripts)
            assert (outcome.data, outcome.error) == (DATA, None)
            assert [number for number, _ in scripts.failures] == [0, 1]
            assert str(scripts.failures[1][1]) == "the replicas have different bytes"


async def test_wrong_bytes_that_were_yielded_end_the_reading() -> None:
    for place in (0, 63, 64, 127):
        scripts = Scripts([Script(flipped(place), stop=128), OK, OK])
        outcome = await read(scripts)
        assert outcome.data == flipped(place)[:128]
        assert type(outcome.error) is DataLoss


@pytest.mark.parametrize("known", [True, False])
async def test_the_checksum_that_is_named_must_be_that_of_the_bytes(known: bool) -> None:
    chunk = replace(CHUNK, crc=CHUNK.crc if known else "")
    assert (await read(Scripts([OK]), chunk=chunk)).data == DATA
    lying = Script(crc="00000000")
    assert (await read(Scripts([lying, OK]), 0, 10, chunk=chunk)).data == DATA[:10]
    assert type((await read(Scripts([lying]), 0, 10, chunk=chunk)).error) is DataLoss


@BOTH
async def test_a_compressed_chunk_has_no_checksum_of_its_bytes() -> None:
    chunk = Chunk("3,a0", SIZE, compressed=True)
    assert (await read(Scripts([Script(crc="00000000")]), chunk=chunk)).data == DATA
    scripts = Scripts([Script(crc="", stop=100), Script(crc="00000000")])
    assert (await read(scripts, chunk=chunk)).data == DATA


async def test_a_chunk_of_unknown_size(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = Chunk("3,a0", None)
    for place in range(SIZE):
        outcome = await read(Scripts([Script(flipped(place)), OK]), chunk=chunk)
        assert (outcome.pieces, outcome.error) == ([DATA], None)
    monkeypatch.setattr(reading, "UNKNOWN_BYTES", SIZE - 1)
    assert type((await read(Scripts([OK]), chunk=chunk)).error) is DataLoss


# When no replica has it.


@BOTH
async def test_when_no_replica_can_be_reached() -> None:
    refused, busy = StoreUnavailable("refused"), StoreUnavailable("status 503")
    scripts = Scripts([Script(head=refused), Script(head=busy)])
    outcome = await read(scripts)
    assert type(outcome.error) is StoreUnavailable
    assert outcome.error.__cause__ is busy
    text = "byte 0 of chunk 3,a0: 10.0.0.0:80: refused; 10.0.0.1:80: status 503"
    assert str(outcome.error) == text
    assert scripts.failures == [(0, refused), (1, busy)] * 2
    assert scripts.located == [False, True]


async def test_a_chunk_without_a_replica() -> None:
    scripts = Scripts([])
    error = (await read(scripts)).error
    assert type(error) is StoreUnavailable
    assert str(error) == "byte 0 of chunk 3,a0: it has no replica"
    assert scripts.located == [False, True]


@BOTH
async def test_replicas_that_were_found_again_are_asked() -> None:
    class Moved(Scripts):
        async def locate(self, chunk: Chunk, *, again: bool) -> list[str]:
            await super().locate(chunk, again=again)
            return ["10.0.0.1:80" if again else "10.0.0.0:80"]

    scripts = Moved([Script(head=StoreUnavailable("refused")), OK])
    assert (await read(scripts)).data == DATA
    assert scripts.asked == [(0, 0), (1, 0)]


async def test_rounds_follow_for_as_long_as_each_yields_a_byte() -> None:
    class Further(Scripts):
        async def ask(self, address: str, chunk: Chunk, start: int, expect: int) -> Response:
            response = await super().ask(address, chunk, start, expect)
            self.scripts = [Script(stop=(self.scripts[0].stop or 0) + 64)]
            return response

    scripts = Further([Script(stop=10)])
    assert (await read(scripts)).data == DATA
    assert scripts.located == [False, True, True, True, True, True]


async def test_a_round_that_yields_nothing_is_the_last() -> None:
    scripts = Scripts([Script(stop=100)])
    outcome = await read(scripts)
    assert (outcome.data, outcome.error is None) == (DATA[:100], False)
    assert scripts.located == [False, True]


async def test_rounds_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ROUNDS", 3)

    class Endless(Scripts):
        async def ask(self, address: str, chunk: Chunk, start: int, expect: int) -> Response:
            self.scripts = [Script(piece=1, stop=len(self.asked) + 1)]
            return await super().ask(address, chunk, start, expect)

    scripts = Endless([OK])
    outcome = await read(scripts)
    assert (outcome.data, type(outcome.error)) == (DATA[:3], DataLoss)


@pytest.mark.parametrize("bug", [TypeError("bug"), TimeoutError("foreign"), KeyError("bug")])
@pytest.mark.parametrize("where", ["head", "tail"])
async def test_bugs_pass_through(bug: BaseException, where: str) -> None:
    broken = Script(head=bug) if where == "head" else Script(stop=10, tail=bug)
    scripts = Scripts([broken, OK])
    with pytest.raises(type(bug)) as caught:
        await read(scripts)
    assert caught.value is bug
    assert (scripts.open, len(scripts.asked)) == (0, 1)


@BOTH
async def test_a_cancellation_at_any_step_closes_everything() -> None:
    """Steps are turns of the event loop; a script gives its turn away before every piece."""
    for steps in range(40):
        scripts = Scripts([Script(stop=70), Script(head=StoreUnavailable("refused")), OK])
        task = asyncio.create_task(read(scripts))
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        if finished:
            assert (await task).data == DATA
        else:
            with pytest.raises(asyncio.CancelledError):
                await task
        assert scripts.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert finished


# Readings that are given up, and go on.


@PARTS
async def test_it_goes_on_at_any_byte_of_the_last_piece(start: int, length: int) -> None:
    """From its first byte on, of the same replica: no other one is asked."""
    end = start + length
    for piece in (1, 13, 64):
        for count in range(1, 6):
            for back in range(0, piece + 1, 3):
                scripts = Scripts([Script(piece=piece), Script(head=AssertionError("asked"))])
                one = ChunkReading(scripts, CHUNK)
                got = await read(scripts, start, length, reading=one, enough=after(count))
                last = len(got.pieces[-1])
                position = start + len(got.data) - min(back, last)
                last_start = (start + len(got.data) - 1) // piece * piece
                assert one.reaches(CHUNK, position)
                rest = await read(scripts, position, end - position, reading=one)
                assert (rest.data, rest.error) == (DATA[position:end], None)
                if position < end and len(got.data) < length:
                    assert scripts.asked == [(0, 0), (0, last_start)]


async def test_it_may_be_given_up_again_and_again() -> None:
    scripts = Scripts([OK])
    one = ChunkReading(scripts, CHUNK)
    position = 0
    while position < SIZE - 44:
        [piece] = (await read(scripts, position, reading=one, enough=after(1))).pieces
        assert DATA[position:].startswith(piece)
        position += max(len(piece) // 2, 1)
    assert (await read(scripts, position, reading=one)).data == DATA[position:]
    starts = [start for _, start in scripts.asked]
    assert starts == sorted(starts)
    assert len(starts) > 8


MEANWHILE = {
    "refuses": Script(head=StoreUnavailable("refused")),
    "not found": Script(head=DataLoss("status 404")),
    "another version": Script(OTHER, crc_of(OTHER)),
    "breaks off": Script(stop=70),
    "starts later": Script(start=65),
    "starts earlier": Script(start=63),
    "wrong before": Script(flipped(70)),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE)
async def test_where_it_cannot_go_on_another_replica_is_asked_for_all(meanwhile: Script) -> None:
    for back in range(1, 57):
        scripts = Scripts([OK, OK])
        one = ChunkReading(scripts, CHUNK)
        got = await read(scripts, reading=one, enough=after(2))
        scripts.scripts[0] = meanwhile
        position = len(got.data) - back
        assert (await read(scripts, position, reading=one)).data == DATA[position:]
        assert scripts.asked[1:] == [(0, 64), (1, 0)]


async def test_a_replica_that_gives_no_range_is_asked_for_all_in_the_next_round() -> None:
    class Wholly(Scripts):
        async def ask(self, address: str, chunk: Chunk, start: int, expect: int) -> Response:
            response = await super().ask(address, chunk, start, expect)
            if start:
                response.close()
                raise StoreUnavailable("status 500")
            return response

    scripts = Wholly([OK])
    one = ChunkReading(scripts, CHUNK)
    await read(scripts, reading=one, enough=after(2))
    assert (await read(scripts, 100, reading=one)).data == DATA[100:]
    assert scripts.asked == [(0, 0), (0, 64), (0, 0)]


async def test_wrong_bytes_of_a_range_are_found_before_the_last_piece() -> None:
    """A chunkserver does not check a range: too late for another one, but not to say so."""
    for place in range(64, SIZE):
        scripts = Scripts([OK])
        one = ChunkReading(scripts, CHUNK)
        await read(scripts, reading=one, enough=after(2))
        scripts.scripts[0] = Script(flipped(place))
        rest = await read(scripts, 100, reading=one)
        assert type(rest.error) is DataLoss
        assert len(rest.data) < SIZE - 100


async def test_wrong_bytes_that_were_yielded_are_found_when_the_reading_goes_on() -> None:
    for place in (3, 100, 200, 299):
        scripts = Scripts([Script(flipped(place))])
        one = ChunkReading(scripts, CHUNK)
        await read(scripts, reading=one, enough=after(2))
        assert type((await read(scripts, 69, reading=one)).error) is DataLoss
    scripts = Scripts([Script(flipped(3)), OK, OK])
    one = ChunkReading(scripts, CHUNK)
    await read(scripts, reading=one, enough=after(2))
    scripts.scripts[0] = Script(head=StoreUnavailable("refused"))
    rest = await read(scripts, 100, reading=one)
    assert (rest.data, type(rest.error)) == (b"", DataLoss)
    assert "different bytes" in str(rest.error)


async def test_bytes_that_were_given_up_are_taken_only_if_they_are_the_same() -> None:
    """They come again in smaller pieces; the first of them are compared before any is yielded."""
    scripts = Scripts([OK, OK, OK])
    one = ChunkReading(scripts, CHUNK)
    await read(scripts, reading=one, enough=after(2))
    scripts.scripts[:2] = [Script(head=CUT), Script(flipped(70), piece=8)]
    rest = await read(scripts, 90, reading=one)
    assert (rest.data, rest.error) == (DATA[90:], None)
    assert scripts.asked[1:] == [(0, 64), (1, 0), (2, 0)]


async def test_a_compressed_chunk_is_asked_for_whole_again() -> None:
    scripts = Scripts([Script(crc="00000000")])
    one = ChunkReading(scripts, Chunk("3,a0", SIZE, compressed=True))
    await read(scripts, reading=one, enough=after(3))
    assert (await read(scripts, 130, reading=one)).data == DATA[130:]
    assert scripts.asked == [(0, 0), (0, 0)]


async def test_what_a_reading_reaches() -> None:
    scripts = Scripts([OK])
    one = ChunkReading(scripts, CHUNK)
    assert one.reaches(CHUNK, 0)
    assert not one.reaches(CHUNK, 1)
    await read(scripts, reading=one, enough=after(2))
    assert one.reaches(CHUNK, 128)
    assert not one.reaches(CHUNK, 129)
    assert not one.reaches(replace(CHUNK, key="3,b0"), 0)


# Anything.

SCRIPTS = st.builds(
    Script,
    data=st.sampled_from([DATA, DATA, DATA, OTHER]) | st.integers(0, SIZE - 1).map(flipped),
    crc=st.sampled_from([crc_of(DATA), crc_of(DATA), "", crc_of(OTHER)]),
    size=st.sampled_from([SIZE, SIZE, SIZE + 1]),
    start=st.sampled_from([None, None, None, 0, 64, 290]),
    stop=st.none() | st.integers(0, SIZE),
    piece=st.sampled_from([1, 13, 64, 300]),
    head=st.sampled_from([None, None, None, DataLoss("404"), StoreUnavailable("refused")]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.lists(SCRIPTS, max_size=3), st.integers(1, 4)), min_size=1, max_size=4),
    st.booleans(),
    st.data(),
)
def test_always_right_or_an_error(
    turns: list[tuple[list[Script], int]], small: bool, data: st.DataObject
) -> None:
    """Each turn is a reading that is given up after some pieces, of replicas that do as they
    like."""
    start = data.draw(st.integers(0, SIZE))
    end = data.draw(st.integers(start, SIZE))

    async def scenario() -> None:
        scripts = Scripts([])
        one = ChunkReading(scripts, CHUNK)
        got, position = b"", start
        for replicas, count in turns:
            scripts.scripts = replicas
            outcome = await read(
                scripts, position, end - position, reading=one, enough=after(count)
            )
            taken = outcome.data
            if outcome.pieces and outcome.error is None and len(taken) < end - position:
                last = len(outcome.pieces[-1])
                taken = taken[: len(taken) - data.draw(st.integers(0, last))]
            got, position = got + taken, position + len(taken)
            if outcome.error is not None:
                return
        scripts.scripts = [OK]
        outcome = await read(scripts, position, end - position, reading=one)
        if outcome.error is None:
            assert got + outcome.data == DATA[start:end]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "WHOLE_BYTES", SIZE if small else 0)
        asyncio.run(scenario())
