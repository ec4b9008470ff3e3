"""Folders on a cluster whose filers fail while one is moved or removed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import pytest

from tests.faults.test_filers import fill, store
from tests.faults.transfers import Ledger, times
from tests.gfs.cluster import Cluster, require, running
from tests.support.waiting import eventually

require()

from gfs.errors import NoSuchFolder, StoreUnavailable  # noqa: E402
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # noqa: E402
from gfs.types import Moved  # noqa: E402
from tests.gfs.suite import DIR  # noqa: E402

__all__ = ["store"]

pytestmark = pytest.mark.timeout(900)

ENTRIES = 1000
WAKES_SECONDS = 3.0
"""What a filer has left to do when it wakes, it does by then."""


@asynccontextmanager
async def two_processes(cluster: Cluster) -> AsyncIterator[list[SeaweedFileSystem]]:
    systems = [await SeaweedFileSystem.start(cluster.masters) for _ in range(2)]
    try:
        await systems[0].make_directory(DIR)
        yield systems
    finally:
        for system in systems:
            await system.close()


async def whole(fs: SeaweedFileSystem, folders: tuple[str, str]) -> str:
    """Which of the two folders is there, with all its entries; the other is not."""
    there = []
    for folder in folders:
        usage = await fs.usage(DIR, folder)
        try:
            await fs.stat_folder(DIR, folder)
        except NoSuchFolder:
            assert usage.files == 0
        else:
            assert usage.files == ENTRIES
            there.append(folder)
    (one,) = there
    return one


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_filer_that_fails_in_a_move_leaves_the_old_place_or_the_new_one(
    store: dict[str, str], ledger: Ledger, fault: str
) -> None:
    chance = random.Random(1)
    with running(filers=2, store=store) as cluster:
        filer = min(cluster.filers, key=lambda one: one.dotted)
        async with two_processes(cluster) as (fs, other):
            here, there = "a", "b/c"
            await fs.make_folder(DIR, here)
            await fill(fs, f"{DIR}/{here}", ENTRIES)
            with ledger.loop(f"a filer is {fault} while a folder is moved") as loop:
                for _ in range(times(10)):
                    moving = asyncio.create_task(fs.move(DIR, here, DIR, there))
                    await asyncio.sleep(chance.uniform(0.05, 0.6))
                    if fault == "killed":
                        filer.kill()
                    else:
                        filer.stop()
                    (result,) = await asyncio.gather(moving, return_exceptions=True)
                    now = await whole(other, (here, there))
                    if isinstance(result, Moved):
                        assert now == there
                        loop.transfers += 1
                    else:
                        assert isinstance(result, StoreUnavailable)
                        assert now == here
                    cluster.mend()
                    await asyncio.sleep(WAKES_SECONDS)
                    for each in (fs, other):
                        assert await whole(each, (here, there)) == now
                    if now == there:
                        here, there = there, here
                    loop.strikes += 1


async def test_a_folder_that_moves_is_never_listed_twice_and_never_missing(
    store: dict[str, str], ledger: Ledger
) -> None:
    """By the process that moves it, and by one that only learns of it."""
    with running(filers=2, store=store) as cluster:
        async with two_processes(cluster) as systems:
            folders = ("a", "b")
            await systems[0].make_folder(DIR, "a")
            await fill(systems[0], f"{DIR}/a", ENTRIES)
            moving = True

            async def look(fs: SeaweedFileSystem) -> int:
                count = 0
                while moving:
                    async with aclosing(fs.list_folder(DIR)) as batches:
                        (entry,) = [one async for batch in batches for one in batch]
                    assert entry.name in folders
                    count += 1
                return count

            with ledger.loop("a folder is moved to and fro") as loop:
                looking = [asyncio.create_task(look(one)) for one in systems]
                for number in range(times(10)):
                    here, there = folders[number % 2], folders[1 - number % 2]
                    await systems[0].move(DIR, here, DIR, there)
                    assert await whole(systems[0], folders) == there
                    await eventually(partial(is_there, systems[1], there))
                    assert await whole(systems[1], folders) == there
                    loop.strikes += 1
                moving = False
                loop.notes.append(f"{sum(await asyncio.gather(*looking))} lists")


async def is_there(fs: SeaweedFileSystem, folder: str) -> bool:
    """Whether the folder is seen."""
    try:
        return (await fs.stat_folder(DIR, folder)).path == folder
    except NoSuchFolder:
        return False
