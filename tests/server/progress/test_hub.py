"""The hub: what is sampled, who sees it, what is kept after the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sfs_server.auth.claims import ANONYMOUS, Principal
from sfs_server.errors import Problem
from sfs_server.progress.hub import LOST, Hub
from sfs_server.progress.transfers import (
    Direction,
    State,
    Transfer,
    Watcher,
    check_id,
    may_see,
)
from sfs_server.streams import COMMENT, RETRY

ALICE, BOB, ADMIN = Principal("alice"), Principal("bob"), Principal("root", admin=True)


class Others:
    """Other processes, scripted."""

    def __init__(self, *requested: str, responding: bool = True) -> None:
        self.they_requested = set(requested)
        self.responding = responding
        self.sent: list[Transfer] = []
        self.we_requested: list[str] = []

    def requested(self, id_: str) -> bool:
        return id_ in self.they_requested

    def send(self, transfer: Transfer) -> None:
        self.sent.append(transfer)

    def request(self, id_: str) -> bool:
        self.we_requested.append(id_)
        return self.responding


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr("sfs_server.progress.hub.SAMPLE_SECONDS", 0.01)
    monkeypatch.setattr("sfs_server.progress.hub.RESPONSE_SECONDS", 0.05)
    monkeypatch.setattr("sfs_server.progress.transfers.GAP_SECONDS", 0.0)
    return Hub()


def started(
    hub: Hub, id_: str = "t", owner: str | None = "alice", total: int | None = None
) -> Transfer:
    transfer = Transfer("upload", id_, owner)
    hub.start(transfer, total)
    return transfer


def resumed(hub: Hub, moved: int, owner: str | None = "alice") -> Transfer:
    """One more request of the upload ``t``, which starts where ``moved`` bytes are durable."""
    transfer = Transfer("upload", "t", owner, moved=moved, resumable=True)
    hub.start(transfer, 100)
    return transfer


def remote(
    run: str,
    *,
    moved: int = 0,
    done: bool = False,
    age: float = 1.0,
    resumable: bool = False,
    paused: bool = False,
) -> Transfer:
    """A state of alice's transfer ``t`` as another process sends it."""
    now = asyncio.get_running_loop().time()
    transfer = Transfer(
        "upload", "t", "alice", moved=moved, run=run, started=now - age, last_received=now
    )
    transfer.resumable, transfer.paused = resumable, paused
    if done:
        transfer.ended, transfer.total = now, moved
    return transfer


async def next_sent(watcher: Watcher, seconds: float = 1.0) -> bytes:
    """What the watcher is to send next."""
    async with asyncio.timeout(seconds):
        await watcher.wait()
    return watcher.take()


async def next_state(watcher: Watcher, seconds: float = 1.0) -> tuple[int, bool]:
    """The bytes and ``done`` of the state that the watcher is to send next."""
    event = await next_sent(watcher, seconds)
    assert event.startswith(b"data: ")
    shown = json.loads(event.removeprefix(b"data: "))
    return shown["bytes"], shown["done"]


async def nothing(watcher: Watcher, seconds: float = 0.1) -> None:
    with pytest.raises(TimeoutError):
        await next_state(watcher, seconds)


@pytest.mark.parametrize(
    ("principal", "owner", "shown"),
    [
        (ANONYMOUS, None, True),
        (ALICE, None, True),
        (ADMIN, None, True),
        (ANONYMOUS, "alice", False),
        (ALICE, "alice", True),
        (BOB, "alice", False),
        (ADMIN, "alice", True),
        (ALICE, "Alice", False),
    ],
)
def test_a_transfer_is_shown_to_its_user_and_to_admins(
    principal: Principal, owner: str | None, shown: bool
) -> None:
    assert may_see(principal, Transfer("upload", "t", owner)) is shown


@pytest.mark.parametrize(
    ("scopes", "shown"),
    [
        ({}, ""),
        ({"storage.alice.files.ns": {"read"}}, "upload download"),
        ({"storage.alice.files": {"read"}}, "upload download"),
        ({"storage.alice": {"read"}}, "upload download"),
        ({"storage.alice.files.ns": {"create"}}, "upload"),
        ({"storage.alice.files.ns": {"delete"}}, ""),
        ({"storage.alice.files.other": {"read", "create"}}, ""),
        ({"storage.alice.namespaces.ns": {"read", "create"}}, ""),
        ({"storage.bob": {"read"}}, ""),
    ],
)
@pytest.mark.parametrize("admin", [False, True])
def test_an_api_token_sees_the_transfers_that_its_scopes_allow(
    scopes: dict[str, set[str]], shown: str, admin: bool
) -> None:
    granted = {key: frozenset(actions) for key, actions in scopes.items()}
    principal = Principal("alice", admin=admin, scopes=granted)
    directions: tuple[Direction, ...] = ("upload", "download")
    for direction in directions:
        transfer = Transfer(direction, "t", "alice")
        assert not may_see(principal, transfer)  # nobody knows where it is
        transfer.namespace = "ns"
        assert may_see(principal, transfer) is (direction in shown.split())
        assert may_see(principal, Transfer(direction, "t"))


@pytest.mark.parametrize("text", ["a", "0", "A.b_c-9", "x" * 128, "..", "-"])
def test_an_id_can_be(text: str) -> None:
    assert check_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a/b", "ä", "a\n", "a%20", "a:b", "٣"])
def test_an_id_cannot_be(text: str) -> None:
    with pytest.raises(Problem) as caught:
        check_id(text)
    assert caught.value.status == 400


async def test_a_watcher_sees_the_start_what_moves_and_the_end(hub: Hub, stack: ExitStack) -> None:
    watcher = stack.enter_context(hub.watch("t", ALICE))
    await nothing(watcher)
    transfer = started(hub, total=10)
    assert await next_state(watcher) == (0, False)
    await nothing(watcher)  # nothing has moved
    transfer.moved += 4
    assert await next_state(watcher) == (4, False)
    transfer.moved += 6
    hub.end(transfer)
    assert await next_state(watcher) == (10, True)
    assert watcher.over


async def test_a_second_watcher_takes_nothing_from_the_first(hub: Hub, stack: ExitStack) -> None:
    first = stack.enter_context(hub.watch("t", ALICE))
    transfer = started(hub)
    assert await next_state(first) == (0, False)
    second = stack.enter_context(hub.watch("t", ALICE))
    assert await next_state(second) == (0, False)
    transfer.moved = 3
    assert [await next_state(first), await next_state(second)] == [(3, False)] * 2
    hub.end(transfer)
    assert [await next_state(first), await next_state(second)] == [(3, True)] * 2


async def test_a_slow_watcher_holds_one_state(hub: Hub, stack: ExitStack) -> None:
    watcher = stack.enter_context(hub.watch("t", ALICE))
    transfer = started(hub)
    for moved in range(1, 6):
        transfer.moved = moved
        await asyncio.sleep(0.02)
    hub.end(transfer)
    assert await next_state(watcher) == (5, True)


async def test_a_state_that_is_offered_late_or_again_is_ignored(hub: Hub, stack: ExitStack) -> None:
    watcher = stack.enter_context(hub.watch("t", ALICE))
    older = State("t", "upload", 1, 9, done=False)
    newer = State("t", "upload", 2, 9, done=False)
    watcher.offer(newer)
    watcher.offer(older)
    assert await next_state(watcher) == (2, False)
    watcher.offer(newer)
    await nothing(watcher, 0.03)


async def test_a_free_stream_is_sent_to_at_once_but_for_the_end(hub: Hub, stack: ExitStack) -> None:
    watcher = stack.enter_context(hub.watch("t", ALICE))
    sent: list[int] = []
    free = True

    def send_at_once(event: bytes) -> bool:
        if free:
            sent.append(json.loads(event.removeprefix(b"data: "))["bytes"])
        return free

    watcher.send_at_once = send_at_once
    transfer = started(hub)
    transfer.moved = 1
    await asyncio.sleep(0.05)
    assert sent == [0, 1]
    free = False
    transfer.moved = 2
    assert await next_state(watcher) == (2, False)
    free = True
    hub.end(transfer)
    assert await next_state(watcher) == (2, True)
    assert sent == [0, 1]


async def test_many_watchers_all_see_the_end(hub: Hub, stack: ExitStack) -> None:
    watchers = [stack.enter_context(hub.watch("t", ALICE)) for _ in range(250)]
    transfer = started(hub)
    hub.end(transfer)
    assert {await next_state(watcher) for watcher in watchers} == {(0, True)}


async def test_an_end_without_a_total_has_its_bytes_for_one(hub: Hub, stack: ExitStack) -> None:
    transfer = started(hub)
    transfer.moved = 7
    hub.end(transfer)
    assert transfer.state().total == 7
    failed = started(hub)
    hub.end(failed, "x" * 1000)
    assert failed.state().total is None
    assert len(failed.state().error or "") == 200


async def test_events_of_a_stream_keep_their_distance(
    hub: Hub, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.transfers.GAP_SECONDS", 0.12)
    loop = asyncio.get_running_loop()
    watcher = stack.enter_context(hub.watch("t", ALICE))
    transfer = started(hub)
    before = loop.time()
    await next_state(watcher)
    transfer.moved = 1
    await asyncio.sleep(0.02)
    transfer.moved = 2
    hub.end(transfer)
    assert await next_state(watcher) == (2, True)
    assert loop.time() - before >= 0.118  # the clock of uvloop has milliseconds


async def test_transfers_of_other_users_are_not_shown(hub: Hub, stack: ExitStack) -> None:
    bob, nobody, admin = (
        stack.enter_context(hub.watch("t", who)) for who in (BOB, ANONYMOUS, ADMIN)
    )
    transfer = started(hub)
    late = stack.enter_context(hub.watch("t", BOB))
    assert await next_state(admin) == (0, False)
    hub.end(transfer)
    latest = stack.enter_context(hub.watch("t", BOB))
    for watcher in (bob, nobody, late, latest):
        await nothing(watcher, 0.03)
    own = started(hub, owner="bob")
    own.moved = 1
    assert await next_state(bob) == (0, False)
    assert await next_state(late) == (0, False)
    await nothing(nobody, 0.03)


async def test_ones_own_comes_first_then_what_runs_then_the_youngest(
    hub: Hub, stack: ExitStack
) -> None:
    for owner, moved in (("alice", 1), (None, 2), ("bob", 3)):
        transfer = started(hub, owner=owner)
        transfer.moved = moved
        if owner == "alice":
            hub.end(transfer)
    expected = ((ALICE, (1, True)), (BOB, (3, False)), (ANONYMOUS, (2, False)), (ADMIN, (3, False)))
    for principal, event in expected:
        assert await next_state(stack.enter_context(hub.watch("t", principal))) == event


async def test_an_id_that_is_used_again_is_a_new_transfer(hub: Hub, stack: ExitStack) -> None:
    first = started(hub)
    first.moved = 9
    watcher = stack.enter_context(hub.watch("t", ALICE))
    assert await next_state(watcher) == (9, False)
    second = started(hub)
    await nothing(watcher, 0.03)  # it stays with the one that it has seen
    assert await next_state(stack.enter_context(hub.watch("t", ALICE))) == (0, False)
    hub.end(first, "cut")
    assert await next_state(watcher) == (9, True)
    hub.end(second)
    assert await next_state(stack.enter_context(hub.watch("t", ALICE))) == (0, True)


async def test_an_end_can_be_watched_for_a_while(
    hub: Hub, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.hub.KEEP_SECONDS", 0.1)
    hub.end(started(hub))
    assert await next_state(stack.enter_context(hub.watch("t", ALICE))) == (0, True)
    await asyncio.sleep(0.12)
    await nothing(stack.enter_context(hub.watch("t", ALICE)), 0.03)
    assert not hub.ended


async def test_the_number_of_ends_that_are_kept_is_bounded(
    hub: Hub, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.hub.MAX_ENDED", 3)
    for number in range(5):
        hub.end(started(hub, f"t{number}"))
    assert [transfer.id for transfer in hub.ended] == ["t2", "t3", "t4"]
    assert list(hub._runs) == ["t2", "t3", "t4"]


async def test_too_many_watchers_are_refused(
    hub: Hub, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.streams.event_stream.MAX_STREAMS", 1)
    with hub.watch("t", ALICE):
        assert len(hub.streams) == 1
        with pytest.raises(Problem) as caught:
            stack.enter_context(hub.watch("t", ALICE))
        assert caught.value.status == 503
    assert len(hub.streams) == 0


async def test_nothing_is_kept_of_watchers_that_have_left(hub: Hub) -> None:
    with hub.watch("t", ALICE), hub.watch("other", ALICE):
        transfer = started(hub)
    assert (len(hub.streams), transfer.watchers, hub._waiting) == (0, set(), {})
    await asyncio.sleep(0.03)
    assert hub.sampled() == []
    assert hub._timer is None


async def test_an_idle_stream_sends_comments(
    hub: Hub, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.transfers.COMMENT_SECONDS", 0.02)
    watcher = stack.enter_context(hub.watch("t", ALICE))
    assert await next_sent(watcher) == COMMENT
    assert await next_sent(watcher) == COMMENT
    assert not watcher.over


async def test_draining_ends_streams_with_a_hint_but_shows_an_end_first(
    hub: Hub, stack: ExitStack
) -> None:
    waiting = stack.enter_context(hub.watch("other", ALICE))
    running = stack.enter_context(hub.watch("t", ALICE))
    transfer = started(hub)
    ended = stack.enter_context(hub.watch("t", ALICE))
    await next_state(ended)
    hub.end(transfer)
    hub.streams.drain()
    assert await next_state(running) == (0, True)
    assert await next_state(ended) == (0, True)
    late = stack.enter_context(hub.watch("other", ALICE))
    for watcher in (waiting, late):
        assert await next_sent(watcher) == RETRY
        assert watcher.over


async def test_states_are_sent_of_what_others_requested_and_of_nothing_else(hub: Hub) -> None:
    hub.others = others = Others("t")
    started(hub, "unwatched").moved = 5
    transfer = started(hub)
    transfer.moved = 5
    await asyncio.sleep(0.05)
    assert others.sent == [transfer, transfer]
    hub.end(transfer)
    assert others.sent == [transfer] * 3
    others.they_requested.clear()
    other = started(hub)
    hub.send_requested("t")  # the one that has ended, and the one that runs
    assert others.sent[3:] == [transfer, other]
    hub.close()


async def test_a_transfer_is_requested_unless_it_runs_here(hub: Hub, stack: ExitStack) -> None:
    hub.others = others = Others()
    stack.enter_context(hub.watch("t", ALICE))
    stack.enter_context(hub.watch("t", ALICE))
    assert others.we_requested == ["t", "t"]
    assert hub.ids_to_request() == {"t"}
    transfer = started(hub)
    stack.enter_context(hub.watch("t", ALICE))
    assert others.we_requested == ["t", "t"]
    assert hub.ids_to_request() == set()
    hub.end(transfer)
    stack.enter_context(hub.watch("t", ALICE))
    assert others.we_requested == ["t"] * 3


async def test_what_arrives_is_shown_and_never_falls(hub: Hub, stack: ExitStack) -> None:
    hub.others = Others()
    watcher = stack.enter_context(hub.watch("t", ALICE))
    foreign = stack.enter_context(hub.watch("t", BOB))
    hub.receive(remote("a", moved=3))
    assert await next_state(watcher) == (3, False)
    assert hub.ids_to_request() == {"t"}
    hub.receive(remote("a", moved=2))
    await nothing(watcher, 0.03)
    hub.receive(remote("a", moved=5))
    hub.receive(remote("b", moved=1))  # another one of that id
    assert await next_state(watcher) == (5, False)
    hub.receive(remote("a", moved=6, done=True))
    hub.receive(remote("a", moved=7))
    assert await next_state(watcher) == (6, True)
    await nothing(foreign, 0.03)


async def test_only_the_end_is_kept_of_a_transfer_that_nobody_watches(
    hub: Hub, stack: ExitStack
) -> None:
    hub.others = Others()
    hub.receive(remote("a", moved=3))
    assert hub.remote == {}
    hub.receive(remote("b", moved=3, done=True))
    assert await next_state(stack.enter_context(hub.watch("t", ALICE))) == (3, True)


async def test_an_end_is_shown_only_if_it_does_not_run_in_another_process(
    hub: Hub, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.hub.RESPONSE_SECONDS", 30.0)
    hub.others = Others()
    hub.end(started(hub))
    for ended_there in (False, True):
        watcher = stack.enter_context(hub.watch("t", ALICE))
        if ended_there:
            hub.receive(remote("a", moved=1, done=True))
        await nothing(watcher, 0.02)
        hub.receive(remote(f"b{ended_there}", moved=2))
        assert await next_state(watcher) == (2, False)
        hub.receive(remote(f"b{ended_there}", moved=2, done=True))
        assert await next_state(watcher) == (2, True)
    hub.others = Others(responding=False)
    hub.remote.clear()
    hub._runs.clear()
    hub.end(started(hub))
    with hub.watch("t", ALICE) as watcher:
        async with asyncio.timeout(10):
            assert b'"done": true' in await next_sent(watcher)


async def test_a_transfer_whose_process_is_silent_ends_and_may_come_back(
    hub: Hub, stack: ExitStack
) -> None:
    watcher = stack.enter_context(hub.watch("t", ALICE))
    hub.others = Others()
    hub.receive(remote("a", moved=3))
    (transfer,) = hub.remote.values()
    hub.lose(transfer)
    event = await next_sent(watcher)
    assert json.loads(event[6:])["error"] == LOST
    assert watcher.over
    assert hub.remote == {}
    again = stack.enter_context(hub.watch("t", ALICE))
    await nothing(again)
    hub.receive(remote("a", moved=4))
    assert await next_state(again) == (4, False)


# Uploads that are resumed: one transfer over several requests.


async def test_a_watcher_goes_on_with_the_next_request(hub: Hub, stack: ExitStack) -> None:
    watcher = stack.enter_context(hub.watch("t", ALICE))
    first = resumed(hub, 0)
    assert await next_state(watcher) == (0, False)
    first.moved = 50
    hub.pause(first)
    assert await next_state(watcher) == (50, False)  # the newest state, and no end
    await nothing(watcher, 0.05)
    assert (hub._runs, list(hub.ended), first.watchers) == ({}, [], set())
    second = resumed(hub, 40)
    second.moved = 45
    await nothing(watcher, 0.05)  # below what was shown
    second.moved = 60
    assert await next_state(watcher) == (60, False)
    second.moved = 100
    hub.end(second)
    assert await next_state(watcher) == (100, True)
    assert watcher.over


async def test_an_upload_that_fails_below_what_was_shown_has_an_end_all_the_same(
    hub: Hub, stack: ExitStack
) -> None:
    watcher = stack.enter_context(hub.watch("t", ALICE))
    first = resumed(hub, 50)
    assert await next_state(watcher) == (50, False)
    hub.pause(first)
    hub.end(resumed(hub, 40), "deleted")
    sent = await next_sent(watcher)
    assert json.loads(sent.removeprefix(b"data: "))["bytes"] == 50
    assert b"deleted" in sent
    assert watcher.over


async def test_a_pause_waits_for_the_same_upload_and_for_nothing_that_was_before(
    hub: Hub, stack: ExitStack
) -> None:
    hub.end(started(hub), "an earlier one")
    first = resumed(hub, 1)
    watcher = stack.enter_context(hub.watch("t", ADMIN))
    assert await next_state(watcher) == (1, False)
    hub.pause(first)
    resumed(hub, 2, owner="bob")
    download = Transfer("download", "t", "alice", moved=3)
    hub.start(download, 100)
    await nothing(watcher, 0.15)  # longer than others have to respond
    hub.end(resumed(hub, 4))
    assert await next_state(watcher) == (4, True)


async def test_a_pause_is_waited_for_as_long_as_a_start(
    hub: Hub, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.transfers.START_SECONDS", 0.2)
    watcher = stack.enter_context(hub.watch("t", ALICE))
    transfer = resumed(hub, 1)
    assert await next_state(watcher) == (1, False)
    await asyncio.sleep(0.25)
    hub.pause(transfer)
    assert 0.0 < watcher.patience() <= 0.2
    assert (await next_sent(watcher)).startswith(b": no transfer")
    assert watcher.over


async def test_nothing_is_kept_of_a_watcher_that_leaves_in_a_pause(hub: Hub) -> None:
    with hub.watch("t", ALICE):
        transfer = resumed(hub, 1)
        hub.pause(transfer)
        assert list(hub._waiting) == ["t"]
    assert (hub._waiting, transfer.watchers, hub.sampled()) == ({}, set(), [])


@pytest.mark.parametrize("here", [True, False])
async def test_a_request_takes_the_watchers_over_from_one_that_runs(
    hub: Hub, stack: ExitStack, here: bool
) -> None:
    hub.others = Others()
    watcher = stack.enter_context(hub.watch("t", ALICE))
    if here:
        first = resumed(hub, 10)
    else:
        first = remote("a", moved=10, resumable=True)
        hub.receive(first)
    assert await next_state(watcher) == (10, False)
    second = resumed(hub, 20) if here else remote("b", moved=20, resumable=True, age=0.1)
    hub.receive(second)
    assert await next_state(watcher) == (20, False)
    first.moved = 15
    hub.pause(first) if here else hub.receive(remote("a", moved=15, resumable=True))
    await nothing(watcher, 0.05)
    assert list(hub.remote) == ([] if here else ["b"])
    third = resumed(hub, 30)
    assert await next_state(watcher) == (30, False)
    hub.end(third)
    assert await next_state(watcher) == (30, True)


async def test_a_pause_in_another_process_is_requested_from_all(hub: Hub, stack: ExitStack) -> None:
    hub.others = others = Others()
    watcher = stack.enter_context(hub.watch("t", ALICE))
    hub.receive(remote("a", moved=3, resumable=True))
    assert await next_state(watcher) == (3, False)
    del others.we_requested[:]
    hub.receive(remote("a", moved=5, resumable=True, paused=True))
    assert await next_state(watcher) == (5, False)
    assert (others.we_requested, hub.ids_to_request(), hub.remote) == (["t"], {"t"}, {})
    hub.receive(remote("a", moved=5, resumable=True, paused=True))  # once more
    hub.receive(remote("b", moved=6, resumable=True))
    assert await next_state(watcher) == (6, False)
    hub.receive(remote("b", moved=9, resumable=True, done=True))
    assert await next_state(watcher) == (9, True)


async def test_a_pause_is_sent_to_those_who_requested_the_transfer(hub: Hub) -> None:
    hub.others = others = Others("t")
    transfer = resumed(hub, 1)
    hub.pause(transfer)
    assert others.sent == [transfer, transfer]
    assert transfer.paused
    hub.send_requested("t")  # to a process whose watcher has come in the pause
    assert others.sent == [transfer] * 3
    assert hub.sampled() == []


async def test_who_comes_in_a_pause_is_shown_where_it_started(hub: Hub, stack: ExitStack) -> None:
    hub.end(started(hub), "an earlier one")
    hub.pause(resumed(hub, 30))
    watcher = stack.enter_context(hub.watch("t", ALICE))
    foreign = stack.enter_context(hub.watch("t", BOB))
    assert await next_state(watcher) == (30, False)
    hub.receive(remote("a", moved=30, resumable=True, paused=True, age=0.0))
    await nothing(watcher, 0.15)  # neither again, nor the earlier end
    await nothing(foreign, 0.03)
    hub.pause(resumed(hub, 40))
    assert await next_state(watcher) == (40, False)
    hub.end(resumed(hub, 50))
    assert await next_state(watcher) == (50, True)
    assert hub._paused == {}


async def test_where_a_transfer_paused_is_kept_for_a_while(
    hub: Hub, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.hub.MAX_PAUSED", 2)
    monkeypatch.setattr("sfs_server.progress.hub.KEEP_SECONDS", 0.1)
    for number in range(3):
        transfer = Transfer("upload", f"t{number}", "alice", resumable=True)
        hub.start(transfer, 100)
        hub.pause(transfer)
    assert list(hub._paused) == ["t1", "t2"]
    await asyncio.sleep(0.15)
    await nothing(stack.enter_context(hub.watch("t2", ALICE)), 0.03)
    assert hub._paused == {}


async def test_a_resumable_transfer_outlives_its_process(hub: Hub, stack: ExitStack) -> None:
    watcher = stack.enter_context(hub.watch("t", ALICE))
    hub.others = Others()
    transfer = remote("a", moved=3, resumable=True)
    hub.receive(transfer)
    assert await next_state(watcher) == (3, False)
    hub.lose(transfer)
    await nothing(watcher, 0.05)
    assert hub.remote == {}
    hub.receive(remote("a", moved=4, resumable=True))  # it was only slow
    assert await next_state(watcher) == (4, False)
