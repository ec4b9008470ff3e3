"""Folders on a cluster whose filers fail while one is moved or removed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.faults.test_filers import fill, store
from tests.faults.transfers import Ledger, serving, times, upload
from tests.gfs.cluster import Cluster, require, running
from tests.support.client import call
from tests.support.credentials import bearer
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

            with ledger.loop("a folder is moved back and forth") as loop:
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


async def test_what_four_processes_upload_into_a_folder_that_moves_is_all_somewhere(
    store: dict[str, str], database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    acknowledged: set[str] = set()
    refused: Counter[int] = Counter()
    moving = True

    async def put(client: int, port: int) -> None:
        number = 0
        while moving:
            name = f"{client}-{number}"
            number += 1
            answer = await upload(port, f"/storage/default/busy/{name}", name.encode())
            if answer.status == 201:
                acknowledged.add(name)
            else:
                refused[answer.status] += 1

    async def get(port: int) -> None:
        while moving:
            name = random.choice([*acknowledged, "first"])
            for folder in ("busy", "moved/0", "moved/1", "moved/2"):
                answer = await call(port, "GET", f"/storage/default/{folder}/{name}")
                assert answer.status in (200, 404, 503)
                assert answer.status != 200 or answer.body == name.encode()

    with (
        running(filers=2, store=store) as cluster,
        serving(tmp_path, cluster.masters, database_url, count=4) as processes,
        ledger.loop("four processes upload into a folder that is moved") as loop,
    ):
        ports = [process.port for process in processes]
        first = await upload(ports[0], "/storage/default/busy/first", b"first")
        assert first.status == 201
        acknowledged.add("first")
        clients = [asyncio.create_task(put(n, ports[n % 4])) for n in range(50)]
        clients += [asyncio.create_task(get(ports[n % 4])) for n in range(50)]
        for number in range(3):
            await asyncio.sleep(3)
            await move_away(ports[number], number)
            loop.strikes += 1
        moving = False
        await asyncio.gather(*clients)
        found = await all_names(cluster)
        assert len(set(found)) == len(found)
        assert acknowledged <= set(found)
        assert set(refused) <= {409, 503}
        loop.transfers = len(acknowledged)
        loop.notes.append(f"refused: {dict(refused)}; besides: {len(found) - len(acknowledged)}")


async def move_away(port: int, number: int) -> None:
    """Move the folder ``busy``, however often it is too busy for that."""
    headers = {**bearer(), "Destination": f"/storage/default/moved/{number}/"}
    while (answer := await call(port, "MOVE", "/storage/default/busy/", headers)).status != 201:
        assert answer.status == 503, answer.body


async def all_names(cluster: Cluster) -> list[str]:
    fs = await SeaweedFileSystem.start(cluster.masters)
    try:
        async with aclosing(fs.list_files("default")) as batches:
            return [info.name async for batch in batches for info in batch]
    finally:
        await fs.close()


async def is_there(fs: SeaweedFileSystem, folder: str) -> bool:
    """Whether the folder is seen."""
    try:
        return (await fs.stat_folder(DIR, folder)).path == folder
    except NoSuchFolder:
        return False
