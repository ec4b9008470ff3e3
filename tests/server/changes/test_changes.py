"""What is sent on a stream, and what is collected for other processes: all of it is bounded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sfs_server.changes import Changes, ChangeStream
from sfs_server.changes.changes import MAX_COLLECTED, MAX_PATHS
from sfs_server.changes.messages import MANY, PathChange, seen_from
from sfs_server.changes.stream import MAX_EVENTS
from sfs_server.exchange import Exchange
from sfs_server.streams import COMMENT, RETRY

MANY_SENT = {"change": "many"}


async def yes() -> bool:
    return True


class Sending(Exchange):
    """An exchange that sends nothing by itself."""

    def __init__(self) -> None:
        self.topics = []
        self.woken = asyncio.Event()

    def wake(self) -> None:
        self.woken.set()


def put(stream: ChangeStream, name: str) -> None:
    event = seen_from(PathChange("ns", name, "file", "put"), None)
    assert event is not None
    stream.offer(event)


async def sent(stream: ChangeStream) -> Any:
    """The next event, or the bytes of what is none."""
    async with asyncio.timeout(5):
        await stream.wait()
    piece = stream.take()
    return json.loads(piece.partition(b"data: ")[2]) if b"data: " in piece else piece


async def names(stream: ChangeStream, count: int) -> list[str]:
    return [(await sent(stream)).get("name", "many") for _ in range(count)]


async def test_as_many_as_may_be_sent_are_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfs_server.changes.stream.WINDOW_SECONDS", 3600.0)
    stream = ChangeStream("ns", None, yes)
    for number in range(MAX_EVENTS):
        put(stream, f"f{number}")
    assert await names(stream, MAX_EVENTS) == ["f0", "f1", "f2", "f3"]
    assert not stream.pending()


async def test_more_are_many() -> None:
    stream = ChangeStream("ns", None, yes)
    for number in range(MAX_EVENTS + 1):
        put(stream, f"f{number}")
    put(stream, "more")
    assert await sent(stream) == MANY_SENT
    assert not stream.pending()
    put(stream, "after")
    assert await names(stream, 1) == ["after"]


async def test_no_second_has_more_events_than_the_contract_allows() -> None:
    stream = ChangeStream("ns", None, yes)
    times = []
    for number in range(3 * MAX_EVENTS):
        put(stream, f"f{number}")
        await stream.wait()
        times.append(asyncio.get_running_loop().time())  # the last moment before it is sent
        assert b"data: " in stream.take()
    gaps = [later - first for first, later in zip(times, times[MAX_EVENTS:], strict=False)]
    assert min(gaps) > 1.0


async def test_the_last_of_what_follows_each_other_is_sent() -> None:
    stream = ChangeStream("ns", None, yes)
    for name in ("a", "b", "a", "a"):
        put(stream, name)
    assert await names(stream, 2) == ["b", "a"]
    assert not stream.pending()


async def test_comments_and_the_question_who_may_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfs_server.changes.stream.RECHECK_SECONDS", 0.01)
    may, asked = True, 0

    async def may_read() -> bool:
        nonlocal asked
        asked += 1
        return may

    stream = ChangeStream("ns", None, may_read)
    assert await sent(stream) == b""
    assert await sent(stream) == b""
    assert asked == 2
    stream.wake()
    monkeypatch.setattr("sfs_server.changes.stream.COMMENT_SECONDS", 0.02)
    assert await sent(stream) == COMMENT
    put(stream, "secret")
    may = False
    assert await sent(stream) == MANY_SENT
    assert stream.over


async def test_a_stop_ends_streams_and_those_that_come() -> None:
    changes = Changes()
    with changes.watch("ns", None, yes) as stream:
        changes.streams.drain()
        with changes.watch("ns", "a", yes) as late:
            assert (await sent(stream), await sent(late)) == (RETRY, RETRY)
            assert (stream.over, late.over) == (True, True)


async def test_each_stream_sees_its_namespace_and_folder() -> None:
    changes = Changes()
    with (
        changes.watch("ns", None, yes) as all_of_it,
        changes.watch("ns", "a", yes) as folder,
        changes.watch("other", None, yes) as other,
    ):
        changes.changed("ns", "a/b.txt", "file", "put")
        changes.changed("ns", "c.txt", "file", "deleted")
        assert await names(all_of_it, 2) == ["a/b.txt", "c.txt"]
        assert await names(folder, 1) == ["b.txt"]
        assert not folder.pending()
        assert not other.pending()
        changes.many("ns")
        assert await sent(folder) == MANY_SENT
        assert not other.pending()
        changes.returned()
        assert await sent(other) == MANY_SENT
    assert changes._watched == {}


async def test_many_streams_are_served_in_batches() -> None:
    changes = Changes()
    contexts = [changes.watch("ns", None, yes) for _ in range(250)]
    streams = [context.__enter__() for context in contexts]
    changes.changed("ns", "a", "file", "put")
    assert sum(stream.pending() for stream in streams) == 100
    await asyncio.sleep(0.01)
    assert all(stream.pending() for stream in streams)
    for context in contexts:
        context.__exit__(None, None, None)


def taken(changes: Changes, most: int = 1000) -> list[Any]:
    return [json.loads(item) for item in changes.take(most)]


async def test_what_is_collected_is_sent_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfs_server.changes.changes.COLLECT_SECONDS", 0.01)
    changes, exchange = Changes(), Sending()
    changes.join(exchange)
    changes.changed("ns", "a", "file", "put")
    changes.changed("ns", "b", "file", "put")
    changes.changed("ns", "a", "file", "deleted")
    assert taken(changes) == []  # not yet
    await exchange.woken.wait()
    assert changes.waiting()
    assert taken(changes, 1) == [["ns", "b", "file", "put"]]
    assert taken(changes) == [["ns", "a", "file", "deleted"]]
    assert not changes.waiting()
    changes.changed("ns", "c", "file", "put")
    changes.restore()
    assert taken(changes) == [["ns", "a", "file", "deleted"], ["ns", "c", "file", "put"]]
    changes.closing()
    assert (changes._collected, changes._paths) == ({}, {})


async def test_what_is_collected_is_bounded() -> None:
    changes = Changes()
    changes.join(Sending())
    for number in range(MAX_PATHS + 5):
        changes.changed("ns", f"{number}", "file", "put")
    changes.changed("other", "a", "file", "put")
    changes.closing()
    assert taken(changes) == [["ns"], ["other", "a", "file", "put"]]
    for number in range(MAX_COLLECTED + 5):
        changes.changed(f"ns{number}", "a", "file", "put")
    changes.restore()
    changes.closing()
    assert taken(changes) == [[]]


async def test_alone_nothing_is_collected() -> None:
    changes = Changes()
    changes.changed("ns", "a", "file", "put")
    assert (changes._collected, changes._timer) == ({}, None)


async def test_what_others_send_is_shown_and_not_sent_on() -> None:
    changes = Changes()
    changes.join(Sending())
    with changes.watch("ns", "a", yes) as stream:
        changes.receive(["ns", "a/b", "file", "put"])
        changes.receive(["ns", "a/b", "file"])
        changes.receive(None)
        assert await names(stream, 1) == ["b"]
        changes.receive(["ns"])
        assert await sent(stream) == MANY_SENT
        changes.receive([])
        assert await sent(stream) == MANY_SENT
    assert changes._collected == {}
    assert MANY.key == ()
