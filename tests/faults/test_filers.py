"""Filers are frozen, killed and cut off under four processes: what is read is old for at most a
second, what is changed is decided, and every history can be explained.

A filer that ends is started again at once, as a supervisor does: one that its masters gave up ends
when it wakes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests.faults.histories import Service, Supervised, break_and_mend
from tests.faults.network import GRPC, HTTP, HostedWeed, Network, network, why_not
from tests.faults.transfers import MB, SCALE, Ledger, serving, times, upload
from tests.gfs.cluster import Process as ClusterProcess
from tests.gfs.cluster import empty_store, require, running
from tests.support.client import call
from tests.support.credentials import bearer
from tests.support.launcher import Process
from tests.support.postgres import Postgres
from tests.support.waiting import eventually

require()

from gfs.seaweedfs import listing  # noqa: E402
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # noqa: E402
from gfs.seaweedfs.proto import filer_pb2 as pb  # noqa: E402
from gfs.seaweedfs.servers.rpc import CallFailed  # noqa: E402
from tests.gfs.suite import DIR, listed, names  # noqa: E402

pytestmark = pytest.mark.timeout(900)

PROCESSES = 4
REQUESTS = 12_000
"""In all rounds of a test together, at least; times SFS_FAULT_SCALE."""

ROUNDS_MOST = 40


@pytest.fixture
def store(postgres: Postgres) -> dict[str, str]:
    """The settings of filers that share a store, an empty one."""
    return empty_store(postgres)


@dataclass
class Fault:
    """What is broken in a round, and for how long."""

    name: str
    strike: Callable[[], None]
    mend: Callable[[], None] = field(default=lambda: None)
    held: float = 6.0


async def rounds(
    services: list[Service], faults: list[Fault], supervised: list[Supervised], ledger: Ledger
) -> None:
    """Each fault once, and again until there were REQUESTS requests."""
    asked = 0
    for number in range(ROUNDS_MOST):
        if number >= len(faults) * min(SCALE, 1) and asked >= REQUESTS * SCALE:
            break
        fault = faults[number % len(faults)]
        with ledger.loop(f"four processes and two filers: {fault.name}") as loop:
            loop.strikes = number
            asked += await break_and_mend(
                fault.name,
                services,
                loop,
                strike=fault.strike,
                mend=fault.mend,
                held=fault.held,
                supervised=supervised,
            )
            loop.strikes = 1
    assert asked >= REQUESTS * SCALE


async def test_no_change_is_lost_and_no_read_is_old_while_filers_freeze_and_die(
    store: dict[str, str], database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    with (
        running(filers=2, store=store) as cluster,
        serving(tmp_path, cluster.masters, database_url, count=PROCESSES) as processes,
    ):
        first, second = sorted(cluster.filers, key=lambda filer: filer.dotted)
        faults = [
            Fault("the first filer is frozen", first.stop, first.cont),
            Fault("the first filer is frozen for a moment", first.stop, first.cont, 1.2),
            Fault("the first filer is killed", first.kill, held=1.0),
            Fault("the second filer is frozen", second.stop, second.cont),
            Fault("the first filer is frozen for long", first.stop, first.cont, 14.0),
        ]
        services = [Service(process.port) for process in processes]
        await rounds(services, faults, list(cluster.filers), ledger)


async def test_what_a_filer_has_of_a_creation_that_was_given_up_is_refused_when_it_wakes(
    store: dict[str, str], ledger: Ledger
) -> None:
    names = [f"f{number}" for number in range(300)]
    with running(filers=2, store=store) as cluster:
        fs = await SeaweedFileSystem.start(cluster.masters)
        try:
            await fs.make_directory(DIR)
            first = min(cluster.filers, key=lambda filer: filer.dotted)
            filers = fs._filers

            async def make(name: str) -> None:
                attributes = pb.FuseAttributes(file_mode=0o644)
                entry = pb.Entry(name=name, attributes=attributes)
                await filers.create(f"/sfs/{DIR}", entry, over=None)

            with ledger.loop("a filer wakes with creations that were given up") as loop:
                for number in range(times(6)):
                    await make(f"before-{number}")
                    first.stop()
                    given_up = await asyncio.gather(
                        *(make(f"{number}-{name}") for name in names), return_exceptions=True
                    )
                    assert {type(error) for error in given_up} == {CallFailed}
                    await filers.settle(5)
                    first.cont()
                    await asyncio.sleep(6)  # until the filer is used again
                    loop.strikes += 1
                    loop.transfers += len(names)
                    assert len(await listed(fs)) == loop.strikes
                    assert first.alive
        finally:
            await fs.close()


async def test_a_namespace_of_many_files_is_deleted_at_once(
    store: dict[str, str], database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    count = times(20_000)
    with (
        running(store=store) as cluster,
        serving(tmp_path, cluster.masters, database_url, count=2) as processes,
        ledger.loop(f"delete a namespace of {count} files") as loop,
    ):
        memory = psutil.Process(cluster.filer.pid).memory_info
        answer = await call(
            processes[0].port, "POST", "/storage/namespaces", bearer(), b'{"name": "big"}'
        )
        assert answer.status == 201
        fs = await SeaweedFileSystem.start(cluster.masters)
        try:
            await fill(fs, "big", count)
            before = memory().rss
            started = time.monotonic()
            answer = await call(processes[0].port, "DELETE", "/storage/namespaces/big", bearer())
            gone = time.monotonic()
            assert answer.status == 200
            for process in processes:
                assert (await call(process.port, "GET", "/storage/big/f0", bearer())).status == 404
                listing = (await call(process.port, "GET", "/storage/namespaces", bearer())).json()
                assert [one["name"] for one in listing] == ["default"]
            answer = await call(
                processes[1].port, "POST", "/storage/namespaces", bearer(), b'{"name": "big"}'
            )
            assert answer.status == 201
            made = time.monotonic()
            for process in processes:
                assert (await upload(process.port, "/storage/big/f0", b"new")).status in (200, 201)
                kept = await call(process.port, "GET", "/storage/big/f0", bearer())
                assert kept.body == b"new"
                target = "/storage/files?namespace=big"
                listed = await call(process.port, "GET", target, bearer())
                assert len(listed.json()) == 1
            await eventually(lambda: freed(fs, "big"), 600)
            ended = time.monotonic()
            kept = await call(processes[0].port, "GET", "/storage/big/f0", bearer())
            assert kept.body == b"new"
            loop.strikes, loop.slowest = 1, gone - started
            loop.notes.append(
                f"gone after {gone - started:.2f} s, made again after {made - gone:.2f} s, freed "
                f"after {ended - started:.1f} s, memory of the filer grew by "
                f"{(memory().rss - before) / MB:.0f} MB"
            )
        finally:
            await fs.close()


async def fill(fs: SeaweedFileSystem, directory: str, count: int) -> None:
    """Put so many entries without bytes into a directory."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            attributes = pb.FuseAttributes(file_mode=0o644)
            entry = pb.Entry(name=f"f{number}", attributes=attributes)
            await fs._filers.create(f"/sfs/{directory}", entry, over=None)

    await asyncio.gather(*(some() for _ in range(32)))


@pytest.mark.parametrize("filers", [1, 2])
async def test_a_list_goes_on_when_its_filer_is_killed(
    store: dict[str, str], monkeypatch: pytest.MonkeyPatch, filers: int
) -> None:
    """Another one serves, or the same one when it is there again."""
    for name in ("PAGE_ENTRIES", "FIRST", "BATCH"):
        monkeypatch.setattr(listing, name, 20)
    with running(filers=filers, store=store) as cluster:
        fs = await SeaweedFileSystem.start(cluster.masters)
        try:
            await fs.make_directory(DIR)
            for folder in ("a", "b", "b/c", "d"):
                await fill(fs, f"{DIR}/{folder}", 200)
            right = await names(fs)
            assert len(right) == 800
            for after in (1, 150, 390, 777):
                found: list[str] = []
                restarting = None
                async with aclosing(fs.list_files(DIR)) as batches:
                    async for batch in batches:
                        found += [info.path for info in batch]
                        if restarting is None and len(found) >= after:
                            grpc = fs._filers.preferred.grpc
                            (filer,) = [one for one in cluster.filers if one.grpc == grpc]
                            filer.kill()
                            wait = 0.3 if filers == 1 else 3.0
                            restarting = asyncio.create_task(restart_after(filer, wait))
                assert found == right
                assert restarting is not None
                await restarting
        finally:
            await fs.close()


async def restart_after(filer: ClusterProcess, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await asyncio.to_thread(filer.restart)


async def freed(fs: SeaweedFileSystem, directory: str) -> bool:
    """Whether the old files of a namespace that was made again are deleted from the directory of
    its name. One file may be there: the new one, if they were deleted before it was uploaded."""
    listing = fs._filers.listing(f"/sfs/{directory}", prefix="", after="", limit=2)
    async with aclosing(listing) as found:
        return len([entry async for entry in found]) < 2


@dataclass
class Hosted:
    """A cluster on a network of its own."""

    network: Network
    filers: list[HostedWeed]
    services: list[Service]


@pytest.fixture
def hosted(store: dict[str, str], database_url: str, tmp_path: Path) -> Iterator[Hosted]:
    """One master, two volume servers, two filers and four processes, each on a host."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    servers = ["master0", "volume0", "volume1", "filer0", "filer1"]
    services = [f"sfs{number}" for number in range(PROCESSES)]
    with ExitStack() as stack:
        hosts = stack.enter_context(network([*servers, *services]))
        masters = f"{hosts['master0'].address}:{HTTP}.{GRPC}"
        weeds = []
        for name in servers:
            home = tmp_path / name
            home.mkdir()
            settings = store if name.startswith("filer") else {}
            weed = HostedWeed(home, hosts[name], masters, settings)
            stack.callback(weed.kill)
            weed.start()
            weed.wait_until_ready()
            weeds.append(weed)
        deadline = time.monotonic() + 20
        while weeds[0].get("/dir/status").count(b'"Url"') < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ports = []
        for name in services:
            flags = ("-master", masters, "-database", database_url, "-log-format", "json")
            process = Process(tmp_path / name, *flags, by=hosts[name].inside)
            stack.callback(process.kill)
            ports.append(Service(process.port, hosts[name].socket))
        yield Hosted(hosts, weeds[3:], ports)


async def test_no_change_is_lost_and_no_read_is_old_while_hosts_are_cut_off_from_each_other(
    hosted: Hosted, ledger: Ledger
) -> None:
    cut, heal = hosted.network.cut, hosted.network.heal
    everybody = [f"sfs{number}" for number in range(PROCESSES)]
    faults = [
        Fault("filers cut off from each other", lambda: cut("filer0", "filer1"), heal),
        Fault("a process cut off from the first filer", lambda: cut("sfs0", "filer0"), heal),
        Fault("a process cut off from both filers", lambda: cut("sfs1", "filer0", "filer1"), heal),
        Fault("all cut off from the first filer", lambda: cut("filer0", *everybody), heal),
        Fault("the first filer cut off from its master", lambda: cut("filer0", "master0"), heal),
        Fault("a process cut off from the master", lambda: cut("sfs2", "master0"), heal),
        Fault(
            "the first filer cut off from all but one process",
            lambda: cut("filer0", "master0", "filer1", *everybody[1:]),
            heal,
        ),
    ]
    await rounds(hosted.services, faults, list(hosted.filers), ledger)
