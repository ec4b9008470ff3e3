"""What processes send each other: it arrives as it was sent, fits, and is not trusted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sfs_server.exchange.payloads import MAX_PAYLOAD_BYTES, pack, unpack
from sfs_server.progress.messages import HELLO, encode_request, encode_state, parse
from sfs_server.progress.transfers import Transfer


def transfer(**changed: Any) -> Transfer:
    made = Transfer("download", "a.b-c_9", "alice", moved=5, total=10, run="0f" * 8, started=90.0)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def known(one: Transfer) -> tuple[object, ...]:
    what = (one.run, one.id, one.direction, one.owner, one.namespace)
    return (*what, one.moved, one.total, one.error, one.resumable, one.paused)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"owner": None, "total": None, "moved": 0},
        {"ended": 95.0},
        {"ended": 95.0, "error": "Zu groß: “no”.\n"},
        {"owner": "Ünï\U0001f600"},
        {"namespace": "ns.1"},
        {"resumable": True},
        {"resumable": True, "paused": True},
        {"resumable": True, "ended": 95.0, "error": "x"},
    ],
)
def test_a_state_arrives_as_it_was_sent_at_another_clock(changed: dict[str, Any]) -> None:
    sent = transfer(**changed)
    got = parse(json.loads(encode_state(sent, 100.0)), 7.0)
    assert isinstance(got, Transfer)
    assert known(got) == known(sent)
    assert (got.started, got.last_received) == (-3.0, 7.0)
    assert got.ended == (7.0 if changed.get("ended") else None)


def test_hello_and_requests_arrive_as_they_were_sent() -> None:
    sent = [HELLO, encode_request("a"), encode_request("b.c")]
    (payload,) = pack("me", sent)
    sender, items = unpack(payload)
    assert (sender, items[0]) == ("me", None)
    assert [parse(item, 0.0) for item in items[1:]] == ["a", "b.c"]


def test_the_longest_states_fit() -> None:
    longest = transfer(id="x" * 128, owner="\U0001f600" * 255, error="\U0001f600" * 200, ended=1.0)
    longest.namespace = "n" * 63
    items = [encode_state(longest, 1e9) for _ in range(5)] + [encode_request("y" * 128)] * 500
    payloads = list(pack("0123456789abcdef", items))
    assert all(len(payload.encode()) <= MAX_PAYLOAD_BYTES for payload in payloads)
    assert len(payloads) < 20
    assert [line for payload in payloads for line in payload.split("\n")[1:]] == items


GOOD = json.loads(encode_state(transfer(), 100.0))


@pytest.mark.parametrize(
    "changed",
    [
        {"run": None},
        {"run": "x" * 17},
        {"run": ["a"]},
        {"id": "a/b"},
        {"id": 5},
        {"id": ["a"]},
        {"direction": "sideways"},
        {"direction": ["upload"]},
        {"owner": 5},
        {"owner": "x" * 256},
        {"namespace": 5},
        {"namespace": "x" * 64},
        {"namespace": ""},
        {"age": "1"},
        {"age": float("nan")},
        {"age": float("inf")},
        {"age": 10**400},
        {"bytes": -1},
        {"bytes": 1.5},
        {"bytes": True},
        {"bytes": 2**63},
        {"bytes": None},
        {"total": "10"},
        {"total": False},
        {"done": 1},
        {"done": None},
        {"done": "over"},
        {"resumable": 1},
        {"error": "x"},  # of one that is not done
        {"done": "paused", "error": "x"},
        {"done": True, "error": 5},
        {"done": True, "error": "x" * 201},
    ],
)
def test_a_state_that_cannot_be_is_dropped(changed: dict[str, Any]) -> None:
    assert parse(json.loads(json.dumps({**GOOD, **changed})), 0.0) is None


def test_a_state_of_the_version_before_is_one_that_is_not_resumable() -> None:
    before = {name: value for name, value in GOOD.items() if name != "resumable"}
    got = parse(before, 0.0)
    assert isinstance(got, Transfer)
    assert (got.resumable, got.paused) == (False, False)


@pytest.mark.parametrize("item", [5, True, [], "a/b", {}, 5.0, ["a"]])
def test_what_is_of_another_topic_is_dropped(item: object) -> None:
    assert parse(item, 0.0) is None
