"""GET of a small file on connections that are kept alive, by wrk with one thread."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import partial

from bench.client import Client
from bench.servers import Server, copyparty, find, nginx, sfs
from bench.setting import SMALL, SMALL_SIZE, Setting, alternate
from bench.table import NOT_INSTALLED, Row, Wanted, compared

CONNECTIONS = (1, 10, 50)
_NGINX = Wanted(least=0.35)
_COPYPARTY = {1: Wanted(), 10: Wanted(least=3.0), 50: Wanted(least=3.0)}


def measure(setting: Setting) -> Iterator[Row]:
    """The rows for each number of connections, beside nginx and beside copyparty."""
    program = find("wrk")
    if program is None:
        yield Row("GET 155 KB, kept alive, requests/s", f"wrk is {NOT_INSTALLED}")
        return
    place = setting.place
    with sfs(place) as ours, nginx(place) as first, copyparty(place) as second:
        servers = [server for server in (ours, first, second) if server is not None]
        digest = setting.digest(SMALL)
        for server in servers:
            with Client(server.port) as client:
                client.get(server.path(SMALL), SMALL_SIZE, digest)
        for connections in CONNECTIONS:
            runs = [
                partial(wrk, program, server, connections, setting.wrk_seconds)
                for server in servers
            ]
            medians = alternate(setting.rounds, runs)
            rates = dict(zip([server.name for server in servers], medians, strict=True))
            work = f"GET 155 KB, {connections} connection{'s' * (connections > 1)}"
            for name, wanted in (("nginx", _NGINX), ("copyparty", _COPYPARTY[connections])):
                yield compared(work, rates["SFS"], rates.get(name), "{:.0f}/s", name, wanted)


def wrk(program: str, server: Server, connections: int, seconds: int) -> float:
    """Requests per second. Raises RuntimeError if one of them failed or was short."""
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", server.url(SMALL)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None or "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{server.name} failed under wrk:\n{text}")
    return float(rate.group(1))
