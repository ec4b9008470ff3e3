"""The checker of histories finds what cannot have been, and allows what can."""

from __future__ import annotations

import random

import pytest

from tests.support.linear import Op, age, linearizable


def put(value: str, start: float, end: float, **rest: str) -> Op:
    return Op("put", value, start, end, **rest)  # type: ignore[arg-type]


def get(value: str | None, start: float, end: float) -> Op:
    return Op("get", value, start, end)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [get(None, 0, 1), put("a", 1, 2), get("a", 3, 4)],
        [put("a", 0, 5), get(None, 1, 2), get("a", 3, 4)],
        [put("a", 0, 5), put("b", 0, 5), get("b", 6, 7)],
        [put("a", 0, 1), put("b", 2, 3, outcome="unknown"), get("a", 4, 5), get("b", 6, 7)],
        [put("a", 0, 1), put("b", 2, 3, outcome="unknown"), get("a", 4, 5)],
        [put("a", 0, 1), Op("swap", "b", 2, 3, "done", "a"), get("b", 4, 5)],
        [put("a", 0, 1), Op("new", "b", 2, 3, "refused"), get("a", 4, 5)],
        [Op("delete", None, 0, 1, "refused"), Op("new", "b", 2, 3), Op("delete", None, 4, 5)],
    ],
)
def test_what_can_be_is_allowed(history: list[Op]) -> None:
    assert linearizable(history)


@pytest.mark.parametrize(
    "history",
    [
        [get("a", 0, 1)],
        [put("a", 0, 1), get(None, 2, 3)],
        [put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)],
        [put("a", 0, 9), get("a", 1, 2), get(None, 3, 4)],
        [put("a", 0, 9), put("b", 0, 9), get("a", 1, 2), get("b", 3, 4), get("a", 5, 6)],
        [put("a", 0, 1), put("b", 2, 3, outcome="unknown"), get("b", 4, 5), get("a", 6, 7)],
        [put("a", 0, 1), Op("delete", None, 2, 3), get("a", 4, 5)],
        [put("a", 0, 1), Op("swap", "b", 2, 3, "done", "c")],
        [Op("new", "a", 0, 1), Op("new", "b", 0, 1), get("b", 2, 3)],
        [Op("new", "a", 0, 1, "refused")],
        [Op("delete", None, 0, 1)],
    ],
)
def test_what_cannot_be_is_found(history: list[Op]) -> None:
    assert not linearizable(history)


def test_a_history_of_an_order_is_allowed_and_one_wrong_read_in_it_is_found() -> None:
    dice = random.Random(1)
    for _ in range(50):
        state, history = "0", [put("0", 0, 0.5)]
        for number in range(1, 60):
            start, end = number - dice.random() * 3, number + dice.random() * 3
            if dice.random() < 0.5:
                state = str(number)
                history.append(put(state, start, end))
            else:
                history.append(get(state, start, end))
        assert linearizable(history)
        assert not linearizable([*history, put("x", 70, 71), get(state, 72, 73)])


def test_the_age_of_a_read_counts_from_the_end_of_what_replaced_it() -> None:
    history = [put("a", 0, 1), put("b", 2, 3), put("c", 5, 6), Op("delete", None, 8, 9)]
    assert age(get("b", 4, 5), history) == 0
    assert age(get("a", 4, 5), history) == 1
    assert age(get("c", 11, 12), history) == 2
    assert age(get(None, 11, 12), history) == 0
    assert age(get(None, 3.5, 4), history) == 2.5
    assert age(get("a", 4, 5), [put("a", 0, 1), put("b", 0.5, 3)]) == 0
