"""Whether a history of one file can be explained by an order of its requests. Pure.

A file is a register: absent, or one of the values that were written, each of which was written
once. A history is *linearizable* if each request can be given an instant between its start and its
end, so that in the order of these instants each response is the right one (Herlihy and Wing, 1990).
A request whose outcome is unknown may have an instant after its start, however late, or none. The
search is that of Wing and Gong (1993) with the states that were seen remembered (Lowe, 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

STATES_MOST = 2_000_000
"""After so many states the search is given up, which counts as an error of the test."""


@dataclass(frozen=True, slots=True)
class Op:
    """One request. ``start`` and ``end`` in seconds, by one clock.

    ``value`` is what it wrote, or what a get found, None for an absent file; ``expected`` what a
    swap was to replace. ``outcome``: a change was *done* or *refused* (412, 404), or it is
    *unknown* whether it was done.
    """

    kind: Literal["get", "put", "new", "swap", "delete"]
    value: str | None
    start: float
    end: float
    outcome: Literal["done", "refused", "unknown"] = "done"
    expected: str | None = None


def after(op: Op, state: str | None) -> tuple[str | None] | None:
    """The state after ``op``, in a tuple; None if it cannot have had its outcome in ``state``."""
    match op.kind:
        case "get":
            allowed, new = op.value == state, state
        case "put":
            allowed, new = True, op.value
        case "new":
            allowed, new = state is None, op.value
        case "swap":
            allowed, new = state == op.expected, op.value
        case "delete":
            allowed, new = state is not None, None
    if op.outcome == "refused":
        allowed, new = not allowed, state
    return (new,) if allowed else None


def linearizable(history: Sequence[Op], initial: str | None = None) -> bool:
    """Whether there is such an order. Raises RuntimeError if that takes more than STATES_MOST."""
    ops = sorted(history, key=lambda op: op.start)
    ends = [math.inf if op.outcome == "unknown" else op.end for op in ops]
    known = sum(1 << number for number, end in enumerate(ends) if end < math.inf)
    seen: set[tuple[int, str | None]] = set()
    waiting: list[tuple[int, str | None]] = [(0, initial)]
    while waiting:
        done, state = waiting.pop()
        if done & known == known:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > STATES_MOST:
            raise RuntimeError("the history has too many requests at once")
        waiting += _next(ops, ends, done, state)
    return False


def _next(
    ops: list[Op], ends: list[float], done: int, state: str | None
) -> list[tuple[int, str | None]]:
    """What can come next. A request that can, and changes nothing, comes before all others: it may
    only become impossible."""
    found: list[tuple[int, str | None]] = []
    first_end = math.inf
    for number, op in enumerate(ops):
        if op.start > first_end:
            break
        if done >> number & 1:
            continue
        first_end = min(first_end, ends[number])
        new = after(op, state)
        if new is not None:
            step = done | 1 << number, new[0]
            if op.kind == "get" or op.outcome == "refused":
                return [step]
            found.append(step)
    return found


def age(read: Op, history: Sequence[Op]) -> float:
    """For how many seconds what ``read`` found had been replaced when it started; 0 if it had not.

    Of that only what is certain counts: of a change that was done, and that started after the one
    ended by which the value came.
    """
    changes = [op for op in history if op.kind != "get" and op.outcome != "refused"]
    written = max(
        (
            math.inf if op.outcome == "unknown" else op.end
            for op in changes
            if op.value == read.value and op.start < read.end
        ),
        default=-math.inf,
    )
    replaced = [
        op.end
        for op in changes
        if op.outcome == "done" and op.start > written and op.value != read.value
    ]
    return max(read.start - min(replaced, default=math.inf), 0.0)
