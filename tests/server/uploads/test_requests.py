"""Which request feeds an upload, and how it is ended, from here and from other processes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any, cast

import pytest

from gfs.errors import StoreUnavailable
from sfs_server.errors import Problem
from sfs_server.exchange import Exchange
from sfs_server.uploads.requests import Requests
from sfs_server.uploads.sessions import Overtaken, Session


class Woken:
    """An exchange that only counts."""

    def __init__(self) -> None:
        self.topics: list[Any] = []
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def first(wanted: Session) -> Session:
    return replace(wanted, epoch=1)


async def receive_for_ever(requests: Requests, session: Session) -> None:
    with requests.feeding(session) as feeding:
        async with feeding.receiving():
            await asyncio.sleep(3600)


async def test_a_later_request_ends_the_one_before(first: Session) -> None:
    requests = Requests()
    before = asyncio.create_task(receive_for_ever(requests, first))
    await asyncio.sleep(0)
    with requests.feeding(replace(first, epoch=2)):
        with pytest.raises(Overtaken):
            await before
        with pytest.raises(Overtaken), requests.feeding(first):
            pass
    with pytest.raises(Overtaken), requests.feeding(first):
        pass


async def test_whoever_was_overtaken_does_not_start_to_feed(
    first: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody feeds the upload any more; as far as it is remembered."""
    monkeypatch.setattr("sfs_server.uploads.requests.MAX_REMEMBERED", 2)
    requests = Requests()
    requests.taken_over(replace(first, epoch=7))
    requests.taken_over(replace(first, epoch=6))
    with pytest.raises(Overtaken), requests.feeding(replace(first, epoch=6)):
        pass
    for id_ in ("1" * 32, "2" * 32):
        requests.taken_over(replace(first, id=id_))
    with requests.feeding(replace(first, epoch=6)):
        pass


async def test_whoever_asks_waits_until_it_has_recorded_all(first: Session) -> None:
    requests, recorded = Requests(), asyncio.Event()

    async def feed() -> None:
        with requests.feeding(first) as feeding:
            try:
                async with feeding.receiving():
                    await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0.05)
                recorded.set()

    before = asyncio.create_task(feed())
    await asyncio.sleep(0)
    await requests.end_here(first.id, "bob")
    assert not recorded.is_set()
    await requests.end_here(first.id, first.owner)
    assert recorded.is_set()
    with pytest.raises(Overtaken):
        await before


async def test_it_does_not_wait_for_ever(first: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfs_server.uploads.requests.END_SECONDS", 0.01)
    requests = Requests()
    with requests.feeding(first):
        await requests.end_here(first.id, first.owner)


async def test_a_stop_ends_all_and_what_comes_later(first: Session) -> None:
    requests = Requests()
    running = asyncio.create_task(receive_for_ever(requests, first))
    await asyncio.sleep(0)
    requests.drain()
    for task in (running, receive_for_ever(requests, first)):
        with pytest.raises(Problem) as caught:
            await task
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})


async def test_what_the_store_refuses_whoever_was_overtaken_is_not_its_fault(
    first: Session,
) -> None:
    requests = Requests()
    for overtaken in (False, True):
        with (
            pytest.raises(Overtaken if overtaken else StoreUnavailable),
            requests.feeding(first) as feeding,
        ):
            if overtaken:
                feeding.end(Overtaken())
            raise StoreUnavailable("another request")


async def test_errors_of_the_body_are_its_own(first: Session) -> None:
    requests = Requests()
    for error in (ZeroDivisionError, TimeoutError, asyncio.CancelledError):
        with pytest.raises(error), requests.feeding(first) as feeding:
            async with feeding.receiving():
                raise error


async def test_take_overs_reach_other_processes(first: Session) -> None:
    here, there, woken = Requests(), Requests(), Woken()
    here.join(cast(Exchange, woken))
    assert woken.topics == [here]
    running = asyncio.create_task(receive_for_ever(there, first))
    await asyncio.sleep(0)
    there.taken_over(replace(first, epoch=1))  # its own; there is nobody to send it to
    assert not there.waiting()
    here.taken_over(replace(first, epoch=2))
    assert (woken.woken, here.waiting()) == (1, True)
    items = here.take(10)
    assert (len(items), here.waiting(), here.take(10)) == (1, False, [])
    wrong: list[object] = [None, "upload", ["upload", first.id], ["upload", first.id, "3"], {}]
    for item in wrong:
        there.receive(item)
    there.receive(["upload", first.id, 1])
    there.receive(["upload", "0" * 32, 2])
    await asyncio.sleep(0.01)
    assert not running.done()
    there.receive(json.loads(items[0]))
    with pytest.raises(Overtaken):
        await running


async def test_what_could_not_be_sent_is_sent_again(
    first: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.uploads.requests.MAX_TAKEN", 3)
    requests = Requests()
    requests.join(cast(Exchange, Woken()))
    for number in range(5):
        requests.taken_over(replace(first, id=str(number), epoch=7))
    assert [json.loads(item)[1] for item in requests.take(2)] == ["0", "1"]
    requests.taken_over(replace(first, id="1", epoch=8))
    requests.restore()
    assert [json.loads(item)[1:] for item in requests.take(10)] == [["0", 7], ["1", 8], ["2", 7]]
