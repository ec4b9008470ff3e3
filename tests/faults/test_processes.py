"""Processes of the service are killed, and race each other."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gfs.seaweedfs.servers.address import parse
from manifests.laptop.weed import Weed, store_in_postgres
from tests.faults.replicas import copies, fsck, orphans
from tests.faults.transfers import (
    Ledger,
    Loop,
    download,
    serving,
    sha256,
    some_bytes,
    times,
    upload,
)
from tests.gfs.cluster import Cluster, running
from tests.support.launcher import Process
from tests.support.postgres import Postgres

pytestmark = pytest.mark.timeout(900)

SIZE = 24_000_000
TOGETHER = 3
KILL_SECONDS = 0.3
PROCESSES = 4
NAMES = 50
RACERS = 20
ROUNDS = 10
LEAVE_SECONDS = 0.5
"""In so long everybody knows that a filer has gone."""

JOIN_SECONDS = 0.5
"""It takes about so long to join, on a busy machine."""

SETTLE_SECONDS = 2.5
"""The filer deletes within 1.2 s, and fsck passes over what is younger than 1 s."""


async def killed_once(
    home: Path, cluster: Cluster, database: str, number: int, kept: dict[str, bytes]
) -> None:
    """Kill a process in the middle of some uploads; what was confirmed is added to ``kept``."""
    dice = random.Random(number)
    with serving(home / str(number), cluster.masters, database) as (sfs,):

        async def strike() -> None:
            await asyncio.sleep(dice.random() * KILL_SECONDS)  # bytes that were sent are stored
            sfs.kill()

        async def send(path: str, data: bytes, at: int) -> None:
            with suppress(OSError, asyncio.IncompleteReadError, RuntimeError):
                answer = await upload(sfs.port, path, data, at=at, strike=strike)
                assert answer.status == 201
                kept[path] = data

        path = f"/storage/default/{number}"
        kept[path] = some_bytes(dice.randrange(SIZE // 3), number)
        assert (await upload(sfs.port, path, kept[path])).status == 201
        async with asyncio.TaskGroup() as group:
            for one in range(TOGETHER):
                data = some_bytes(SIZE // 3**one, 100 * number + one)
                at = dice.randrange(SIZE) if one == 0 else SIZE
                group.create_task(send(f"{path}-{one}", data, at))


async def test_fsck_finds_exactly_what_killed_processes_left(
    database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    with running() as cluster, ledger.loop("kill -9 the service in uploads") as loop:
        kept: dict[str, bytes] = {}
        for number in range(times(50)):
            with loop.transfer(0):
                await killed_once(tmp_path, cluster, database_url, number, kept)
            loop.strikes += 1
        await asyncio.sleep(SETTLE_SECONDS)
        left = await orphans(cluster)
        found = await asyncio.to_thread(fsck, cluster)
        loop.notes.append(
            f"{len(kept)} files confirmed, {len(copies(cluster))} copies of needles stored, "
            f"{len(left)} of no file, {len(found)} found by fsck"
        )
        assert left
        assert found == left
        await asyncio.to_thread(fsck, cluster, "-reallyDeleteFromVolume")
        assert await asyncio.to_thread(fsck, cluster) == set()
        with serving(tmp_path / "last", cluster.masters, database_url) as (sfs,):
            for path, data in kept.items():
                with loop.transfer(len(data)):
                    assert sha256(await download(sfs.port, path)) == sha256(data), path


@pytest.fixture(params=["one filer", "a filer that joins"])
def racing(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[tuple[Cluster, Weed]]:
    """A cluster, and the filer that is the first in the order of addresses, which everybody uses
    when it is there."""
    if request.param == "one filer":
        with running() as cluster:
            yield cluster, cluster.filer
        return
    postgres.execute("DROP DATABASE IF EXISTS filer WITH (FORCE)")
    postgres.execute("CREATE DATABASE filer TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    sockets = str(Path(postgres.socket).parent)
    with running(filers=2, store=store_in_postgres(sockets)) as cluster:
        yield cluster, min(cluster.filers, key=lambda filer: parse(filer.dotted))


async def race(processes: list[Process], paths: list[str], loop: Loop) -> Counter[int]:
    """Let RACERS upload to each path at once, through all processes; the statuses of the answers.

    Of each path exactly one upload is answered 201, and it is the one that is there afterwards.
    """
    winners: dict[str, list[bytes]] = {path: [] for path in paths}
    statuses: Counter[int] = Counter()
    limit = asyncio.Semaphore(8 * PROCESSES)

    async def post(sfs: Process, path: str, body: bytes) -> None:
        async with limit:
            with loop.transfer(len(body)):
                answer = await upload(sfs.port, path, body, method="POST")
        statuses[answer.status] += 1
        if answer.status == 201:
            winners[path].append(body)

    async with asyncio.TaskGroup() as group:
        for path in paths:
            for racer in range(RACERS):
                body = f"{path} {racer} ".encode() * (1 + racer * 300)
                group.create_task(post(processes[racer % PROCESSES], path, body))
    won = {path: len(bodies) for path, bodies in winners.items()}
    assert won == dict.fromkeys(paths, 1), (won, statuses)
    for path, (body,) in winners.items():
        for sfs in processes:
            assert await download(sfs.port, path) == body, path
    return statuses


async def test_of_all_that_race_for_a_new_name_exactly_one_wins(
    racing: tuple[Cluster, Weed], database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    """Where there are two filers, the first one joins again and again right before a race."""
    cluster, first = racing
    joins = len(cluster.filers) > 1
    which = "a filer that joins" if joins else "one filer"
    with (
        serving(tmp_path, cluster.masters, database_url, count=PROCESSES) as processes,
        ledger.loop(f"race for new names in four processes, {which}") as loop,
    ):
        statuses: Counter[int] = Counter()
        for number in range(ROUNDS):
            paths = [f"/storage/default/{number}-{name}" for name in range(NAMES // ROUNDS)]
            if joins:
                first.kill()
                await asyncio.sleep(LEAVE_SECONDS)
                first.start()
                await asyncio.sleep(number * JOIN_SECONDS / ROUNDS)
            statuses += await race(processes, paths, loop)
            loop.strikes += 1
        loop.notes.append(f"statuses {dict(statuses)}")
        assert statuses == {201: NAMES, 409: NAMES * (RACERS - 1)}
