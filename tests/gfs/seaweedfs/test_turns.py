"""Changes of paths take turns."""

from __future__ import annotations

import asyncio
import random

from gfs.paths import parents, within
from gfs.seaweedfs.turns import Turns


async def test_a_path_is_changed_by_one_at_a_time_and_in_turn() -> None:
    dice = random.Random(1)
    turns = Turns()
    changing: list[str] = []
    ended: list[str] = []
    everything = ["a", "a/b", "a/b/c", "a/c", "b", "b/c"]

    async def change(*paths: str) -> None:
        async with turns.change(*(("d", path) for path in paths)):
            for path in paths:
                assert not [one for one in changing if within(one, path) or within(path, one)]
            changing.extend(paths)
            try:
                await asyncio.sleep(dice.uniform(0, 0.002))
            finally:
                for path in paths:
                    changing.remove(path)
        ended.extend(paths)

    tasks = []
    for _ in range(300):
        one, other = dice.sample(everything, 2)
        both = not within(one, other) and not within(other, one) and dice.random() < 0.5
        tasks.append(asyncio.create_task(change(one, other) if both else change(one)))
        if dice.random() < 0.3:
            dice.choice(tasks).cancel()
        if dice.random() < 0.3:
            await asyncio.sleep(dice.uniform(0, 0.003))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [one for one in results if isinstance(one, AssertionError)]
    assert not turns._paths
    assert set(ended) == set(everything)
    assert parents("a/b/c") == ["a", "a/b"]


async def test_a_move_is_not_kept_waiting_by_uploads_that_come_later() -> None:
    turns = Turns()
    order: list[str] = []
    holds = asyncio.Event()

    async def change(path: str, name: str) -> None:
        async with turns.change(("d", path)):
            order.append(name)
            await holds.wait()

    tasks = []
    for path, name in (("a/1", "before"), ("a", "move"), ("a/2", "after")):
        tasks.append(asyncio.create_task(change(path, name)))
        await asyncio.sleep(0)
    assert order == ["before"]
    holds.set()
    await asyncio.gather(*tasks)
    assert order == ["before", "move", "after"]
