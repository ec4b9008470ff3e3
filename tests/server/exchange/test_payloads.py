"""Payloads: they fit, keep the order, and are not trusted."""

from __future__ import annotations

import json

import pytest

from sfs_server.exchange.payloads import MAX_PAYLOAD_BYTES, pack, unpack


def test_payloads_fit_and_keep_the_order() -> None:
    items = [json.dumps("\U0001f600" * 650)] * 5 + [json.dumps("y" * 128)] * 500 + ["null", "[1]"]
    payloads = list(pack("0123456789abcdef", items))
    assert all(len(payload.encode()) <= MAX_PAYLOAD_BYTES for payload in payloads)
    assert 10 < len(payloads) < 20
    unpacked = [unpack(payload) for payload in payloads]
    assert {sender for sender, _ in unpacked} == {"0123456789abcdef"}
    assert [item for _, found in unpacked for item in found] == [json.loads(one) for one in items]


def test_nothing_makes_no_payload() -> None:
    assert list(pack("me", [])) == []


@pytest.mark.parametrize(
    "payload",
    ["", "x", "5", "{}", "null", '["a"]', "\x00", "[" * 7000, '{"a": ' * 1000],
)
def test_what_is_no_payload_has_no_sender(payload: str) -> None:
    assert unpack(payload) == (None, [])


@pytest.mark.parametrize("line", ["", "nul", "[" * 7000, "{", "'a'"])
def test_what_is_no_item_is_dropped_alone(line: str) -> None:
    assert unpack(f'"other"\n{line}\n"next"') == ("other", ["next"])
