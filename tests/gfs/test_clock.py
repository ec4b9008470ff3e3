"""A deadline: how long something is tried again."""

from __future__ import annotations

import asyncio

import pytest

from gfs import clock
from gfs.clock import Deadline


async def test_a_pause_ends_with_the_problem_where_no_time_is_left_for_another_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, paused = 1000.0, 0

    async def sleep(seconds: float) -> None:
        nonlocal now, paused
        now, paused = now + seconds, paused + 1

    monkeypatch.setattr(clock, "monotonic", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    deadline, problem = Deadline(1.0), OSError("it fails")
    for left in (0.75, 0.5, 0.25):
        await deadline.pause(0.25, problem)
        assert deadline.left == left
    with pytest.raises(OSError, match="it fails") as caught:
        await deadline.pause(0.25, problem)
    assert caught.value is problem
    assert paused == 3
    deadline.require(problem)
    now += 0.5
    deadline.require(problem, late=0.25)
    with pytest.raises(OSError, match="it fails"):
        deadline.require(problem)
    deadline.renew(1.0)
    await deadline.pause(0.25, problem)
    assert deadline.left == 0.75
