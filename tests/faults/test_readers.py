"""Files are replaced and deleted under readers that are slow, through the service."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.transfers import Ledger, Loop, download, sha256, some_bytes, times, upload
from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.client import call, connect
from tests.support.credentials import bearer
from tests.support.launcher import Process

__all__ = ["cluster", "seaweed"]

pytestmark = pytest.mark.timeout(900)

PATH = "/storage/default/f"
SIZE = 16_000_000
READERS = 20
PAUSE = 0.01
"""After each piece of 64 kB: a reader takes 2.5 s and more."""


async def slow_readers(port: int, loop: Loop) -> list[asyncio.Task[str]]:
    """Readers that have started; each gives the digest of what it got."""
    started = asyncio.Semaphore(0)

    async def read() -> str:
        with loop.transfer(SIZE):
            return sha256(
                await download(port, PATH, at=1, strike=started.release, pause=PAUSE, deadline=60)
            )

    readers = [asyncio.create_task(read()) for _ in range(READERS)]
    for _ in readers:
        await started.acquire()
    return readers


@pytest.mark.parametrize("how", ["overwrite", "delete", "overwrite and delete"])
async def test_slow_readers_get_the_version_that_they_began(
    sfs: Process, cluster: Cluster, ledger: Ledger, how: str
) -> None:
    with ledger.loop(f"{how} under {READERS} slow readers") as loop:
        for number in range(times(5)):
            data = some_bytes(SIZE, number)
            assert (await upload(sfs.port, PATH, data)).status in (200, 201)
            readers = await slow_readers(sfs.port, loop)
            if "overwrite" in how:
                newer = some_bytes(SIZE, 1000 + number)
                assert (await upload(sfs.port, PATH, newer)).status == 200
                assert sha256(await download(sfs.port, PATH)) == sha256(newer)
            if "delete" in how:
                async with connect(sfs.port) as connection:
                    assert (await connection.ask("DELETE", PATH, bearer())).status == 200
                    assert (await connection.ask("GET", PATH)).status == 404
            loop.strikes += 1
            assert not any(reader.done() for reader in readers)
            assert set(await asyncio.gather(*readers)) == {sha256(data)}


STOP_SECONDS = 3.0
"""Long enough that what is held for a reader is let go of."""


async def test_readers_that_stop_get_the_version_that_they_began(
    sfs: Process, cluster: Cluster, ledger: Ledger
) -> None:
    with ledger.loop(f"overwrite and delete under {READERS} readers that stop") as loop:
        data = some_bytes(SIZE, 1)
        assert (await upload(sfs.port, PATH, data)).status in (200, 201)
        stopped = asyncio.Semaphore(0)

        async def read(number: int) -> str:
            async def stop() -> None:
                stopped.release()
                await asyncio.sleep(STOP_SECONDS)

            at = SIZE * number // READERS + 1
            with loop.transfer(SIZE):
                return sha256(await download(sfs.port, PATH, at=at, strike=stop, deadline=60))

        readers = [asyncio.create_task(read(number)) for number in range(READERS)]
        for _ in readers:
            await stopped.acquire()
        assert (await upload(sfs.port, PATH, some_bytes(SIZE, 2))).status == 200
        assert (await call(sfs.port, "DELETE", PATH, bearer())).status == 200
        loop.strikes += 1
        assert set(await asyncio.gather(*readers)) == {sha256(data)}
