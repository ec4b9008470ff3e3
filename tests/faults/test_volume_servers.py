"""Volume servers die, hang and spoil their disks under a real process of the service."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.replicas import flip, holders
from tests.faults.transfers import (
    Ledger,
    Strike,
    download,
    metric,
    serving,
    sha256,
    some_bytes,
    times,
    upload,
)
from tests.gfs.cluster import Cluster, cluster, running, seaweed
from tests.support.launcher import Process

__all__ = ["cluster", "seaweed"]

pytestmark = pytest.mark.timeout(900)

SIZE = 24_000_000
DOWNLOADS = 4
"""At once, so that some are in the middle of a chunk of the server that dies."""

PATH = "/storage/default/f"


def struck(process: Callable[[], None]) -> tuple[Strike, list[bool]]:
    """A strike that says whether it was done."""
    done: list[bool] = []

    def strike() -> None:
        process()
        done.append(True)

    return strike, done


async def stored(sfs: Process, seed: int, path: str = PATH, size: int = SIZE) -> bytes:
    data = some_bytes(size, seed)
    answer = await upload(sfs.port, path, data)
    assert answer.status in (200, 201), answer
    return data


async def test_every_download_outlives_a_volume_server_that_is_killed(
    sfs: Process, cluster: Cluster, ledger: Ledger
) -> None:
    """On one machine the kernel still delivers what a process has written, and the master tells of
    its death within 50 ms. So in every other round the master is frozen before, and others must
    find out by themselves."""
    data = await stored(sfs, 1)
    dice = random.Random(1)
    with ledger.loop(f"kill -9 a volume server in {DOWNLOADS} downloads") as loop:
        for number in range(times(100)):
            strike, done = struck(cluster.volumes[number % 3].kill)
            at = dice.randrange(SIZE)
            if number % 2 == 0:
                cluster.master.stop()
            with loop.transfer(DOWNLOADS * len(data)):
                first = download(sfs.port, PATH, at=at, strike=strike)
                others = [download(sfs.port, PATH) for _ in range(DOWNLOADS - 1)]
                bodies = await asyncio.gather(first, *others)
            assert {sha256(body) for body in bodies} == {sha256(data)}, number
            assert done
            loop.strikes += 1
            cluster.mend()
        failovers = await metric(sfs.port, "sfs_gfs_failovers_total")
        loop.notes.append(f"{failovers:.0f} failovers")
        assert failovers >= loop.strikes / 10


async def test_every_upload_outlives_a_volume_server_that_is_killed(
    sfs: Process, cluster: Cluster, ledger: Ledger
) -> None:
    dice = random.Random(2)
    with ledger.loop("kill -9 a volume server in an upload") as loop:
        for number in range(times(50)):
            data = some_bytes(SIZE, 100 + number)
            strike, done = struck(cluster.volumes[number % 3].kill)
            with loop.transfer(2 * len(data)):
                answer = await upload(sfs.port, PATH, data, at=dice.randrange(SIZE), strike=strike)
                assert answer.status in (200, 201), (number, answer)
                assert sha256(await download(sfs.port, PATH)) == sha256(data), number
            assert done
            loop.strikes += 1
            cluster.mend()
        assert sha256(await download(sfs.port, PATH)) == sha256(data)


@pytest.mark.parametrize("kind", ["download", "upload"])
async def test_every_transfer_outlives_a_volume_server_that_hangs(
    sfs: Process, cluster: Cluster, ledger: Ledger, kind: str
) -> None:
    data = await stored(sfs, 3)
    dice = random.Random(3)
    with ledger.loop(f"freeze a volume server in {kind}s") as loop:
        for number in range(times(20)):
            strike, done = struck(cluster.volumes[number % 3].stop)
            at = dice.randrange(SIZE)
            with loop.transfer(len(data)):
                if kind == "upload":
                    data = some_bytes(SIZE, 200 + number)
                    answer = await upload(sfs.port, PATH, data, at=at, strike=strike)
                    assert answer.status in (200, 201), (number, answer)
                else:
                    got = await download(sfs.port, PATH, at=at, strike=strike, deadline=30)
                    assert sha256(got) == sha256(data), number
            assert done
            loop.strikes += 1
            cluster.mend()
            assert sha256(await download(sfs.port, PATH)) == sha256(data), number
            await asyncio.sleep(0.5)  # volumes of the server that is back are writable again


async def test_spoiled_bytes_of_one_replica_are_never_sent(
    database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    """On a cluster of its own: the bytes are searched for in all that there is."""
    size = 10_000_000
    dice = random.Random(4)
    with (
        running() as cluster,
        serving(tmp_path, cluster.masters, database_url) as (sfs,),
        ledger.loop("flip a byte of one replica") as loop,
    ):
        for number in range(times(20)):
            data = await stored(sfs, 300 + number, f"{PATH}-{number}", size)
            place = dice.randrange(size - 64)
            for path, where in holders(cluster, data[place : place + 64]):
                flip(path, where)
                loop.strikes += 1
                for start, end in spans(dice, place, size):
                    with loop.transfer(end - start):
                        got = await download(
                            sfs.port, f"{PATH}-{number}", range_=f"bytes={start}-{end - 1}"
                        )
                    assert got == data[start:end], (number, path, start, end)
                flip(path, where)
        assert loop.strikes >= 2 * (number + 1) - 1  # a place across two chunks is not found


def spans(dice: random.Random, place: int, size: int) -> list[tuple[int, int]]:
    """The whole file, and parts that have the byte, begin or end with it, or lie before it."""
    around = [(max(place - dice.randrange(9000), 0), min(place + 1 + dice.randrange(9000), size))]
    return [(0, size), (place, place + 1), (place, size), (0, place + 1), *around, *around]
