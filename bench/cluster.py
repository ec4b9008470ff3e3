"""The service on a SeaweedFS cluster, beside that cluster's own filer over HTTP.

Both send the same chunks from the same volume servers: three of them, on this machine, with two
copies of each chunk, and all of it shares the cores with the clients. So a ratio says how much of a
machine a byte costs, from the volume server's disk cache to the client.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from bench.client import Client
from bench.downloads import fetched
from bench.memory import above_idle, go_down, go_up
from bench.parallel import together
from bench.servers import Place, Server, find, sfs
from bench.setting import BIG, SMALL, Setting, alternate
from bench.small import CONNECTIONS, wrk
from bench.table import GIB, MIB, NOT_INSTALLED, Row, Wanted, compared
from manifests.laptop.weed import (
    GENEROUS,
    Ports,
    Weed,
    free_ports,
    program,
    wait_until_registered,
)

_TIMES = {1: 3, 4: 1}
"""How many clients there are, and how often each fetches the file on its connection."""

_SERVERS = ("master0", "volume0", "volume1", "volume2", "filer0")
FILER = "SeaweedFS filer"
ABSENT = f"SeaweedFS is {NOT_INSTALLED}"
_PREFIX = "/sfs/default/"
_TUS = f"/.tus{_PREFIX}"
_serial = count()


@dataclass(frozen=True, slots=True)
class Pair:
    """The service and the filer of one cluster."""

    ours: Server
    filer: Server

    @property
    def servers(self) -> tuple[Server, Server]:
        return self.ours, self.filer


@contextmanager
def alone(setting: Setting) -> Iterator[Server | None]:
    """The service on a cluster of its own that is empty; None where SeaweedFS is not installed."""
    with started(setting) as pair:
        yield None if pair is None else pair.ours


@contextmanager
def _pair(setting: Setting) -> Iterator[Pair | None]:
    """Both, with the two files of the setting stored by the service; None where SeaweedFS is not
    installed."""
    with started(setting) as pair:
        if pair is not None:
            with Client(pair.ours.port, pair.ours.token) as client:
                for name in (BIG, SMALL):
                    client.send("PUT", pair.ours.path(name), setting.place.file(name))
        yield pair


@contextmanager
def started(setting: Setting) -> Iterator[Pair | None]:
    """Both, on a cluster of their own that is empty; None where SeaweedFS is not installed."""
    if program() is None:
        yield None
        return
    place = Place(os.path.join(setting.place.directory, f"cluster-{next(_serial)}"))
    os.makedirs(place.directory)
    with _cluster(Path(place.directory)) as (master, filer), sfs(place, master) as ours:
        peer = Server(FILER, filer.pid, int(filer.http.rpartition(":")[2]), _PREFIX, "", _TUS)
        yield Pair(ours, peer)


@contextmanager
def _cluster(home: Path) -> Iterator[tuple[str, Weed]]:
    """One master, three volume servers and a filer; the master's address, and the filer."""
    numbers = free_ports(2 * len(_SERVERS))
    ports = [Ports(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    servers = []
    try:
        for name, own in zip(_SERVERS, ports, strict=True):
            (home / name).mkdir()
            servers.append(Weed(home / name, own, ports[:1], GENEROUS, {}))
            servers[-1].start()
            servers[-1].wait_until_ready()
        wait_until_registered(servers[0], len(_SERVERS) - 2)
        yield str(ports[0]), servers[-1]
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(home, ignore_errors=True)


def measure_get(setting: Setting) -> Iterator[Row]:
    """GET of a large file: throughput, and CPU time beside that of our embedded engine."""
    with _pair(setting) as pair, sfs(setting.place) as embedded:
        if pair is None:
            yield Row("cluster: GET", ABSENT)
            return
        digest = setting.digest(BIG)
        for server in pair.servers:
            with Client(server.port) as client:
                client.get(server.path(BIG), setting.big, digest)
        for clients, times in _TIMES.items():
            rates: dict[str, list[float]] = {server.name: [] for server in pair.servers}
            costs: list[float] = []
            loops: list[float] = []
            for _ in range(setting.rounds):
                for server in pair.servers:
                    rate, cost = fetched(setting, server, clients, times)
                    rates[server.name].append(rate)
                    if server is pair.ours:
                        costs.append(cost)
                loops.append(_looped(setting, embedded, clients, times))
            work = f"cluster: GET {setting.big_name}, {clients} client{'s' * (clients > 1)}"
            ours, peer = (median(rates[server.name]) for server in pair.servers)
            yield compared(work, ours, peer, "{:.2f} GiB/s", FILER, Wanted(least=1.0))
            yield compared(
                f"{work}, server CPU",
                median(costs),
                median(loops),
                "{:.3f} s/GiB",
                "embedded, read and write",
                Wanted(most=2.0),
            )


def _looped(setting: Setting, server: Server, clients: int, times: int) -> float:
    """CPU seconds for a GiB of the embedded engine where it reads and writes itself: an answer of
    two ranges is not left to the kernel."""
    before = server.cpu_seconds()
    together([partial(_fetch_ranges, server, setting.big, times)] * clients)
    return (server.cpu_seconds() - before) / (clients * times * setting.big / GIB)


def _fetch_ranges(server: Server, size: int, times: int) -> None:
    half = size // 2
    with Client(server.port) as client:
        for _ in range(times):
            client.get_ranges(server.path(BIG), f"0-{half - 2},{half}-{size - 1}")


def measure_small(setting: Setting) -> Iterator[Row]:
    """GET of a small file on connections that are kept alive."""
    program = find("wrk")
    if program is None:
        yield Row("cluster: GET 155 KB, kept alive, requests/s", f"wrk is {NOT_INSTALLED}")
        return
    with _pair(setting) as pair:
        if pair is None:
            yield Row("cluster: GET 155 KB", ABSENT)
            return
        for connections in CONNECTIONS:
            ours, peer = alternate(
                setting.rounds,
                [
                    partial(wrk, program, server, connections, setting.wrk_seconds)
                    for server in pair.servers
                ],
            )
            work = f"cluster: GET 155 KB, {connections} connection{'s' * (connections > 1)}"
            yield compared(work, ours, peer, "{:.0f}/s", FILER, Wanted(least=0.8))


def measure_first(setting: Setting) -> Iterator[Row]:
    """The time to the first byte of a large file, asked for again and again, and of files that
    the service has not served before."""
    with _pair(setting) as pair:
        if pair is None:
            yield Row("cluster: time to first byte", ABSENT)
            return
        hot = alternate(
            setting.rounds,
            [partial(_first, server, [server.path(BIG)] * 50) for server in pair.servers],
        )
        names = [f"cold-{number}.bin" for number in range(50)]
        with Client(pair.ours.port, pair.ours.token) as client:
            for name in names:
                client.send("PUT", pair.ours.path(name), setting.place.file(SMALL))
        cold: list[list[float]] = [[], []]
        turns = len(names) // setting.rounds
        for turn in range(setting.rounds):
            batch = names[turn * turns : (turn + 1) * turns]
            for found, server in zip(cold, pair.servers, strict=True):
                found.append(_first(server, [server.path(name) for name in batch]))
        for work, (ours, peer) in (("hot", hot), ("cold", map(median, cold))):
            yield compared(
                f"cluster: time to first byte, {work}",
                ours * 1000,
                peer * 1000,
                "{:.2f} ms",
                FILER,
                Wanted(most=1.0),
            )


def _first(server: Server, paths: list[str]) -> float:
    """The median of the seconds until the first byte of a body is there."""
    found = []
    for path in paths:
        with Client(server.port) as client:
            began = time.perf_counter()
            client.begin(path)
            found.append(time.perf_counter() - began)
    return median(found)


def measure_put(setting: Setting) -> Iterator[Row]:
    """PUT of a large file, two copies of each chunk."""
    with _pair(setting) as pair:
        if pair is None:
            yield Row("cluster: PUT", ABSENT)
            return
        rates: dict[str, list[float]] = {server.name: [] for server in pair.servers}
        before = pair.ours.cpu_seconds()
        for _ in range(setting.rounds):
            for server in pair.servers:
                rates[server.name].append(setting.big / GIB / _put(setting, server))
        cost = (pair.ours.cpu_seconds() - before) / (setting.rounds * setting.big / GIB)
        ours, peer = (median(rates[server.name]) for server in pair.servers)
        work = f"cluster: PUT {setting.big_name}"
        yield compared(work, ours, peer, "{:.2f} GiB/s", FILER, Wanted(least=1.2))
        yield Row(f"{work}, server CPU", f"{cost:.2f} s/GiB")


def _put(setting: Setting, server: Server) -> float:
    """Upload under a new name, with nothing to be written back before; seconds."""
    os.sync()
    _, seconds = together([partial(_send, setting, server, f"upload-{next(_serial)}.bin")])
    return seconds


def _send(setting: Setting, server: Server, name: str) -> None:
    with Client(server.port, server.token) as client:
        client.send("PUT", server.path(name), setting.place.file(BIG))


def measure_memory(setting: Setting) -> Iterator[Row]:
    """Resident memory while many transfers of the large file run, above idle."""
    few = replace(setting, many_least=min(setting.many_least, 64 * MIB))
    for work, call, most in (
        ("uploads, full speed", go_up, 256.0),
        ("downloads, slow readers", go_down, 96.0),
    ):
        with _pair(few) as pair:
            if pair is None:
                yield Row(f"cluster: memory of {few.many} {work}", ABSENT)
                continue
            row = above_idle(few, pair.ours, work, call, most)
            yield replace(row, work=f"cluster: {row.work}")
