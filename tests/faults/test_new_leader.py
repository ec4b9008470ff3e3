"""Uploads that begin while a new master has just started to lead."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.test_clusters import leader
from tests.faults.transfers import Ledger, download, serving, some_bytes, upload
from tests.gfs.cluster import running

pytestmark = pytest.mark.timeout(300)

SPACE_SECONDS = 5.0
"""For so long the service remembers how much room there was."""

UPLOADS = 20
EVERY_SECONDS = 0.3


async def test_an_upload_that_begins_under_a_new_leader_is_not_refused_as_full(
    database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    """The new leader does not know the volume servers yet: that is not a full store."""
    data = some_bytes(1_000_000, 1)
    with (
        running(masters=3) as cluster,
        serving(tmp_path, cluster.masters, database_url) as (sfs,),
        ledger.loop("begin uploads under a new leader") as loop,
    ):
        assert (await upload(sfs.port, "/storage/default/before", data)).status == 201
        await asyncio.sleep(SPACE_SECONDS)
        (await leader(cluster)).kill()

        async def send(number: int) -> None:
            await asyncio.sleep(number * EVERY_SECONDS)
            path = f"/storage/default/{number}"
            with loop.transfer(2 * len(data)):
                answer = await upload(sfs.port, path, data)
                assert answer.status == 201, (number, answer)
                assert await download(sfs.port, path) == data

        async with asyncio.TaskGroup() as group:
            for number in range(UPLOADS):
                group.create_task(send(number))
