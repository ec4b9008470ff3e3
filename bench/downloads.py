"""GET of a large file, beside nginx: throughput, and the server's CPU time for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median

from bench.client import Client
from bench.parallel import together
from bench.servers import Server, nginx, sfs
from bench.setting import BIG, Setting
from bench.table import GIB, Row, Wanted, compared

_TIMES = {1: 4, 4: 2}
"""How many clients there are, and how often each fetches the file on its connection."""


def measure(setting: Setting) -> Iterator[Row]:
    """The rows for one client and for several at once."""
    with sfs(setting.place) as ours, nginx(setting.place) as peer:
        servers = [ours] if peer is None else [ours, peer]
        digest = setting.digest(BIG)
        for server in servers:
            with Client(server.port) as client:
                client.get(server.path(BIG), setting.big, digest)
        for clients, times in _TIMES.items():
            rates: dict[str, list[float]] = {server.name: [] for server in servers}
            costs: dict[str, list[float]] = {server.name: [] for server in servers}
            for _ in range(setting.rounds):
                for server in servers:
                    rate, cost = fetched(setting, server, clients, times)
                    rates[server.name].append(rate)
                    costs[server.name].append(cost)
            work = f"GET {setting.big_name}, {clients} client{'s' * (clients > 1)}"
            yield _row(work, rates, "{:.2f} GiB/s", Wanted(least=1.0))
            yield _row(f"{work}, server CPU", costs, "{:.3f} s/GiB", Wanted(most=1.5))


def fetched(setting: Setting, server: Server, clients: int, times: int) -> tuple[float, float]:
    """GiB/s, and CPU seconds of the server for a GiB."""
    before = server.cpu_seconds()
    fetch = partial(_fetch, server, setting.big, times)
    _, seconds = together([fetch] * clients)
    amount = clients * times * setting.big / GIB
    return amount / seconds, (server.cpu_seconds() - before) / amount


def _fetch(server: Server, size: int, times: int) -> None:
    with Client(server.port) as client:
        for _ in range(times):
            client.get(server.path(BIG), size)


def _row(work: str, figures: dict[str, list[float]], form: str, wanted: Wanted) -> Row:
    peer = figures.get("nginx")
    return compared(
        work, median(figures["SFS"]), None if peer is None else median(peer), form, "nginx", wanted
    )
