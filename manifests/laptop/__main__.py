"""``make cluster``, ``python -m manifests.laptop``: a whole cluster of SFS on this machine.

Three masters, three volume servers and two filers of SeaweedFS, a PostgreSQL that has the filers'
metadata and SFS's own tables, each in a database of its own, and four processes of SFS, which
share everything. In front of them is the gateway (see :mod:`manifests.gateway`), if its program is
installed. Each server has a directory under ``-data`` (see :mod:`manifests.laptop.server`),
and so has PostgreSQL. All listen on 127.0.0.1: on the ports of PORTS, or on a free one where
somebody else has that.

It ends with Ctrl-C, SIGTERM or SIGHUP, and ends all servers: SFS first, which lets transfers
finish. SIGUSR1 starts again those that have died, so that one may kill them. If it is killed
itself, the servers run on, and the next start on the same directory ends them first.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2

from manifests import gateway
from manifests.laptop.server import Server, end_leftovers, responds
from manifests.laptop.weed import (
    GENEROUS,
    GRPC_OFFSET,
    Ports,
    Weed,
    free_ports,
    store_in_postgres,
    wait_until_registered,
)
from sfs_server import postgres
from sfs_server.auth import secret_of
from sfs_server.config import Config, ConfigError
from sfs_server.postgres.data_directory import refuse_root

PORTS = {
    "gateway": range(8088, 8089),
    "sfs": range(8080, 8084),
    "master": range(9333, 9336),
    "volume": range(9341, 9344),
    "filer": range(8888, 8890),
}
"""By kind of server, where its processes listen; gRPC is GRPC_OFFSET above."""

END_SECONDS = 3.0
FILER_END_SECONDS = 1.5
"""A filer takes 10 s and more to end. What it must do first is delete the chunks of files that were
deleted or replaced, within 1.2 s."""

DRAIN_SECONDS = 10
WATCH_SECONDS = 0.2


class Cluster:
    """The servers of the directory ``data``, in the order in which they start."""

    def __init__(self, data: Path, postgres_url: str) -> None:
        self.data = data
        masters = [_ports(port) for port in PORTS["master"]]
        sockets = parse_qs(urlsplit(postgres_url).query)["host"][0]
        self.masters = self._weeds("master", masters, masters, {})
        self.volumes = self._weeds(
            "volume", masters, [_ports(port) for port in PORTS["volume"]], {}
        )
        self.filers = self._weeds(
            "filer", masters, [_ports(port) for port in PORTS["filer"]], store_in_postgres(sockets)
        )
        self.sfs_ports = [_port(port) for port in PORTS["sfs"]]
        environ = {
            "JWT_SECRET": secret_of(Config(data=str(data))) or "",
            "SFS_MASTER": ",".join(map(str, masters)),
            "SFS_DATABASE": postgres_url.replace("/postgres?", "/sfs?"),
            "SFS_DRAIN_TIMEOUT": str(DRAIN_SECONDS),
            "SFS_TRUSTED_PROXY": "127.0.0.1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        self.sfs = [self._sfs(number, port, environ) for number, port in enumerate(self.sfs_ports)]
        self.gateway_port = _port(PORTS["gateway"][0])
        self.gateway = self._gateway()

    @property
    def servers(self) -> list[Server]:
        return [*self.masters, *self.volumes, *self.filers, *self.sfs, *self.gateway]

    def start(self) -> None:
        """Start all that do not run, and wait until they are ready. Raises RuntimeError."""
        first, *others = self.filers  # the first makes the table: two at once would collide
        groups: Sequence[Sequence[Server]] = (
            self.masters,
            [*self.volumes, first],
            others,
            self.sfs,
            self.gateway,
        )
        for group in groups:
            dead = [server for server in group if not server.alive]
            for server in dead:
                server.start()
            for server in dead:
                server.wait_until_ready()
            if group is others:
                wait_until_registered(self.masters[0], len(self.volumes))

    def end(self) -> None:
        """End all, users before what they use."""
        for group, seconds in (
            (self.gateway, END_SECONDS),
            (self.sfs, DRAIN_SECONDS + END_SECONDS),
            (self.filers, FILER_END_SECONDS),
            ([*self.volumes, *self.masters], END_SECONDS),
        ):
            for server in group:
                server.signal(signal.SIGTERM)
            deadline = time.monotonic() + seconds
            for server in group:
                server.end(max(deadline - time.monotonic(), 0))

    def _home(self, kind: str, number: int) -> Path:
        home = self.data / f"{kind}{number}"
        home.mkdir(exist_ok=True)
        return home

    def _weeds(
        self, kind: str, masters: list[Ports], ports: list[Ports], settings: dict[str, str]
    ) -> list[Weed]:
        return [
            Weed(self._home(kind, number), one, masters, GENEROUS, settings)
            for number, one in enumerate(ports)
        ]

    def _gateway(self) -> list[Server]:
        """One, or none where its program is not installed."""
        nginx = gateway.find()
        if nginx is None:
            return []
        home, listen = self._home("gateway", 0), f"127.0.0.1:{self.gateway_port}"
        upstreams = [("127.0.0.1", port) for port in self.sfs_ports]
        command = gateway.render(nginx, home, listen, upstreams)
        environ = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        return [Server(home, command, environ, partial(responds, f"http://{listen}/healthz"))]

    def _sfs(self, number: int, port: int, environ: dict[str, str]) -> Server:
        command = [sys.executable, "-m", "sfs_server", "-addr", f"127.0.0.1:{port}"]
        ready = partial(responds, f"http://127.0.0.1:{port}/readyz")
        return Server(self._home("sfs", number), command, environ, ready)


def _port(wanted: int) -> int:
    """The port if nobody listens on it, else a free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_ports(1)[0]
    return wanted


def _ports(wanted: int) -> Ports:
    return Ports(_port(wanted), _port(wanted + GRPC_OFFSET))


def _make_databases(url: str) -> None:
    """Filers list in the order of bytes, which is the order of LC_COLLATE C."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name in ("filer", "sfs"):
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(
                        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' "
                        "LC_COLLATE 'C' LC_CTYPE 'C'"
                    )
    finally:
        connection.close()


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Keep other launchers away from ``data``, and end what a killed one left."""
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    with open(data / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another launcher runs on {data}") from None
        left = end_leftovers(data.iterdir())
        if left:
            print(f"ended what was left running: {', '.join(left)}", flush=True)
        yield


def _ready(cluster: Cluster, seconds: float) -> str:
    token = f"{sys.executable} -m sfs_server token -data {cluster.data} -user alice"
    lines = [f"The cluster is ready, after {seconds:.1f} s. Its data: {cluster.data}", ""]
    if cluster.gateway:
        address = f"http://127.0.0.1:{cluster.gateway_port}"
        lines.append(f"  gateway   {address}  pid {cluster.gateway[0].pid}")
    else:
        lines.append(f"  gateway   not there; for one: {gateway.INSTALL}")
    for server, port in zip(cluster.sfs, cluster.sfs_ports, strict=True):
        lines.append(f"  {server.name:8}  http://127.0.0.1:{port}  pid {server.pid}")
    for weed in (*cluster.masters, *cluster.volumes, *cluster.filers):
        lines.append(f"  {weed.name:8}  http://{weed.http}  pid {weed.pid}")
    lines += [
        "",
        f"  A token:               {token}",
        f"  Kill a volume server:  kill -9 $(cat {cluster.data}/volume0/pid)",
        f"  Start the dead again:  kill -USR1 $(cat {cluster.data}/pid)",
        "  Stop:                  Ctrl-C",
        "",
    ]
    return "\n".join(lines)


def _watch(cluster: Cluster, wanted: list[int]) -> None:
    """Say which servers have died, and start them again when that is wanted; for ever."""
    said: set[int] = set()
    while True:
        for server in cluster.servers:
            if not server.alive and server.pid not in said:
                said.add(server.pid)
                print(f"{server.name} has died", flush=True)
        if wanted:
            wanted.clear()
            again = [server.name for server in cluster.servers if not server.alive]
            cluster.start()
            print(f"started again: {', '.join(again) or 'none had died'}", flush=True)
        time.sleep(WATCH_SECONDS)


def _end(*_: object) -> None:
    """The first signal ends the launcher; those that follow would only disturb that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def main() -> None:
    """Start all, say where it is, watch, end all."""
    parser = argparse.ArgumentParser("python -m manifests.laptop", description=__doc__)
    parser.add_argument("-data", default="./sfs-cluster", help="where everything is kept")
    data = Path(parser.parse_args().data).resolve()
    wanted: list[int] = []
    os.umask(0o077)  # what the servers write is for this user alone
    signal.signal(signal.SIGUSR1, lambda number, _: wanted.append(number))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    begun = time.monotonic()
    try:
        with ExitStack() as stack:
            refuse_root(Config(data=str(data)))
            stack.enter_context(_alone(data))
            server = postgres.start_now(str(data))
            stack.callback(server.stop_now)
            _make_databases(server.url)
            cluster = Cluster(data, server.url)
            stack.callback(cluster.end)
            cluster.start()
            (data / "pid").write_text(f"{os.getpid()}\n")
            print(_ready(cluster, time.monotonic() - begun), flush=True)
            _watch(cluster, wanted)
    except (ConfigError, RuntimeError) as error:
        sys.exit(f"cluster: {error}")


if __name__ == "__main__":
    main()
