"""Filers and masters die under a real process of the service; a cluster is filled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.laptop.weed import Sizes
from tests.faults.test_clusters import leader
from tests.faults.transfers import Ledger, download, serving, sha256, some_bytes, times, upload
from tests.gfs.cluster import Cluster, running
from tests.support.client import Answer, call, connect
from tests.support.credentials import bearer

pytestmark = pytest.mark.timeout(900)

PATH = "/storage/default/f"
COMMITS = 20


@pytest.fixture(scope="module")
def three_masters() -> Iterator[Cluster]:
    with running(masters=3) as cluster:
        yield cluster


async def test_every_commit_outlives_a_filer_that_is_killed(
    three_masters: Cluster, database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    """Each answer is 201, and each file has its bytes: no commit is lost, and none is refused
    because it had been carried out before."""
    cluster = three_masters
    dice = random.Random(1)
    with (
        serving(tmp_path, cluster.masters, database_url) as (sfs,),
        ledger.loop("kill -9 the filer while files are committed") as loop,
    ):
        for number in range(times(50)):
            bodies = {
                f"/storage/default/{number}-{one}": dice.randbytes(dice.choice([0, 1, 9000]))
                for one in range(COMMITS)
            }

            async def post(path: str, body: bytes) -> Answer:
                with loop.transfer(len(body)):
                    return await upload(sfs.port, path, body, method="POST", deadline=30)

            posts = [asyncio.create_task(post(*one)) for one in bodies.items()]
            await asyncio.sleep(dice.random() * 0.06)
            cluster.filer.kill()
            await asyncio.sleep(0.2)
            cluster.filer.start()
            answers = await asyncio.gather(*posts)
            loop.strikes += 1
            assert [answer.status for answer in answers] == [201] * COMMITS, number
            for path, body in bodies.items():
                assert await download(sfs.port, path) == body, path


async def test_every_upload_outlives_the_leading_master(
    three_masters: Cluster, database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    cluster = three_masters
    size = 24_000_000
    dice = random.Random(2)
    with (
        serving(tmp_path, cluster.masters, database_url) as (sfs,),
        ledger.loop("kill -9 the leading master in an upload") as loop,
    ):
        for number in range(times(10)):
            data = some_bytes(size, number)
            leading = await leader(cluster)
            with loop.transfer(2 * size):
                answer = await upload(
                    sfs.port, PATH, data, at=dice.randrange(size), strike=leading.kill
                )
                assert answer.status in (200, 201), (number, answer)
                assert sha256(await download(sfs.port, PATH)) == sha256(data), number
            loop.strikes += 1
            await asyncio.to_thread(leading.restart)
            await leader(cluster)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_full_cluster_is_507_and_keeps_what_it_has(
    database_url: str, tmp_path: Path, ledger: Ledger, announced: bool
) -> None:
    sizes = Sizes(volume_megabytes=8, volumes_grown=1, volumes_most=2)
    before = some_bytes(1_000_000, 3)
    with (
        running(sizes=sizes) as cluster,
        serving(tmp_path, cluster.masters, database_url) as (sfs,),
        ledger.loop(f"fill the volumes, size {'' if announced else 'not '}announced") as loop,
    ):
        with loop.transfer(len(before)):
            assert (await upload(sfs.port, PATH, before)).status == 201
        if announced:
            answer = await refused(sfs.port, f"{PATH}-2", 200_000_000)
        else:
            answer = await without_length(sfs.port, f"{PATH}-2", 200)
        assert answer.status == 507, answer
        assert "room" in answer.problem() or "full" in answer.problem()
        loop.strikes += 1
        with loop.transfer(len(before)):
            assert await download(sfs.port, PATH) == before
        listed = (await call(sfs.port, "GET", "/storage/files")).json()
        assert [file["name"] for file in listed] == ["f"]


async def refused(port: int, path: str, size: int) -> Answer:
    """The answer to an upload that waits to be told that it may send."""
    headers = {**bearer(), "Content-Length": str(size), "Expect": "100-continue"}
    return await call(port, "PUT", path, headers)


async def without_length(port: int, path: str, megabytes: int) -> Answer:
    """Upload in chunks of 1 MB until there is an answer, for at most 30 s."""
    async with connect(port) as connection, asyncio.timeout(30):
        headers = "".join(f"{name}: {value}\r\n" for name, value in bearer().items())
        connection.send_raw(
            f"PUT {path} HTTP/1.1\r\nHost: x\r\n{headers}"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        answer = asyncio.create_task(connection.answer())
        piece = b"f4240\r\n" + bytes(1_000_000) + b"\r\n"
        for _ in range(megabytes):
            connection.send_raw(piece)
            draining = asyncio.create_task(connection.drain())
            await asyncio.wait({draining, answer}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                draining.cancel()
                break
        return await answer
