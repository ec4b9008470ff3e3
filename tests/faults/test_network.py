"""The network between the service and a volume server is cut, reset or falls silent.

The volume server is bound to another address of the loopback network than the one that the masters
tell of; there a proxy listens, for HTTP and another one for gRPC. So everybody goes through it: the
service, the masters, and the volume servers that pass replicas on.
"""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.faults.transfers import (
    Ledger,
    download,
    metric,
    serving,
    sha256,
    some_bytes,
    times,
    upload,
)
from tests.gfs.cluster import Cluster, running
from tests.support.launcher import Process
from tests.support.proxy import Proxy

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="needs the whole network 127.0.0.0/8"),
]

HIDDEN = "127.0.0.2"
SIZE = 24_000_000
PATH = "/storage/default/f"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster whose first volume server is not where it is said to be."""
    with running(hidden={"volume0": HIDDEN}) as cluster:
        yield cluster


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[Proxy]:
    """The way to the data of that server."""
    hidden = cluster.volumes[0]
    http, grpc = (int(one.rpartition(":")[2]) for one in (hidden.http, hidden.grpc))
    async with Proxy((HIDDEN, http), listen=http) as proxy, Proxy((HIDDEN, grpc), listen=grpc):
        yield proxy


Strike = Literal["cut", "reset", "stall"]
Begin = Callable[[], AbstractContextManager[Process]]

ROUNDS: dict[Strike, int] = {"cut": 20, "reset": 20, "stall": 10}


@pytest.fixture
def begin(cluster: Cluster, database_url: str, tmp_path: Path) -> Begin:
    """Starts a process of the service, for one round: one that has seen the server fail would ask
    it last for a while, and the next strike would hit nobody."""

    @contextmanager
    def started() -> Iterator[Process]:
        with serving(tmp_path, cluster.masters, database_url) as (process,):
            yield process

    return started


def order(proxy: Proxy, strike: Strike, count: int, *, upstream: bool) -> None:
    orders = {"cut": proxy.cut_after, "reset": proxy.reset_after, "stall": proxy.stall_after}
    orders[strike](count, upstream=upstream)


@pytest.mark.parametrize("strike", ["cut", "reset", "stall"])
async def test_every_download_outlives_a_network_that_fails(
    proxy: Proxy, begin: Begin, ledger: Ledger, strike: Strike
) -> None:
    data = some_bytes(SIZE, 1)
    dice = random.Random(strike)
    failovers = 0.0
    with ledger.loop(f"{strike} the network in a download") as loop:
        for number in range(times(ROUNDS[strike])):
            with begin() as sfs:
                assert (await upload(sfs.port, PATH, data)).status in (200, 201)
                order(proxy, strike, dice.randrange(1, SIZE // 4), upstream=False)
                with loop.transfer(SIZE):
                    got = await download(sfs.port, PATH, deadline=40)
                assert sha256(got) == sha256(data), number
                loop.strikes = proxy.strikes
                proxy.heal()
                failovers += await metric(sfs.port, "sfs_gfs_failovers_total")
        loop.notes.append(f"{failovers:.0f} failovers")
        assert loop.strikes
        assert failovers


@pytest.mark.parametrize("strike", ["cut", "reset", "stall"])
async def test_every_upload_outlives_a_network_that_fails(
    proxy: Proxy, begin: Begin, ledger: Ledger, strike: Strike
) -> None:
    dice = random.Random(strike)
    with ledger.loop(f"{strike} the network in an upload") as loop:
        for number in range(times(ROUNDS[strike])):
            data = some_bytes(SIZE, number)
            with begin() as sfs:
                order(proxy, strike, dice.randrange(1, SIZE // 2), upstream=True)
                with loop.transfer(2 * SIZE):
                    answer = await upload(sfs.port, PATH, data)
                    assert answer.status in (200, 201), (number, answer)
                    proxy.heal()
                    assert sha256(await download(sfs.port, PATH)) == sha256(data), number
            loop.strikes = proxy.strikes
        assert loop.strikes
