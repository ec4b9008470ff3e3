"""What processes send each other: it arrives as it was sent, fits, and is not trusted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sfs_server.progress.messages import (
    HELLO,
    MAX_PAYLOAD_BYTES,
    encode_request,
    encode_state,
    pack,
    parse,
)
from sfs_server.progress.transfers import Transfer


def transfer(**changed: Any) -> Transfer:
    made = Transfer("download", "a.b-c_9", "alice", moved=5, total=10, run="0f" * 8, started=90.0)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def known(one: Transfer) -> tuple[object, ...]:
    what = (one.run, one.id, one.direction, one.owner, one.namespace)
    return (*what, one.moved, one.total, one.error)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"owner": None, "total": None, "moved": 0},
        {"ended": 95.0},
        {"ended": 95.0, "error": "Zu groß: “no”.\n"},
        {"owner": "Ünï\U0001f600"},
        {"namespace": "ns.1"},
    ],
)
def test_a_state_arrives_as_it_was_sent_at_another_clock(changed: dict[str, Any]) -> None:
    sent = transfer(**changed)
    (payload,) = pack("me", [encode_state(sent, 100.0)])
    sender, items = parse(payload, 7.0)
    assert sender == "me"
    (got,) = items
    assert isinstance(got, Transfer)
    assert known(got) == known(sent)
    assert (got.started, got.last_received) == (-3.0, 7.0)
    assert got.ended == (7.0 if changed.get("ended") else None)


def test_hello_and_requests_arrive_as_they_were_sent() -> None:
    (payload,) = pack("me", [HELLO, encode_request("a"), encode_request("b.c")])
    assert parse(payload, 0.0) == ("me", [None, "a", "b.c"])
    assert list(pack("me", [])) == []


def test_payloads_fit_and_keep_the_order() -> None:
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
        {"error": "x"},  # of one that is not done
        {"done": True, "error": 5},
        {"done": True, "error": "x" * 201},
    ],
)
def test_a_state_that_cannot_be_is_dropped_alone(changed: dict[str, Any]) -> None:
    payload = "\n".join(('"other"', json.dumps({**GOOD, **changed}), '"next"'))
    assert parse(payload, 0.0) == ("other", ["next"])


@pytest.mark.parametrize(
    "payload",
    ["", "x", "5", "{}", "null", '["a"]', "\x00", "[" * 7000, '{"a": ' * 1000],
)
def test_what_is_no_payload_has_no_sender(payload: str) -> None:
    assert parse(payload, 0.0) == (None, [])


@pytest.mark.parametrize("line", ["", "5", "true", "[]", '"a/b"', "nul", "{}", "[" * 7000, " null"])
def test_what_is_no_item_is_dropped(line: str) -> None:
    assert parse(f'"other"\n{line}\n"next"', 0.0) == ("other", ["next"])
