"""Uploads of a large file that can be resumed (tus), in one request and in many, next to our own
PUT and another server of the protocol: @tus/server of npm, and on a cluster the filer's own.

The service says what is durable: it syncs at the end of each PATCH. @tus/server and the filer do
not call fsync(2), so their responses promise less, and no row corrects for that.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import count
from statistics import median

from bench.client import Client
from bench.cluster import ABSENT, FILER, started
from bench.parallel import together
from bench.servers import Server, sfs, tus_server
from bench.setting import BIG, Setting
from bench.table import GIB, MIB, Row, Wanted, compared
from bench.uploads import touch_memory
from manifests.laptop.weed import program

PART = 4 * MIB
"""Bytes of each PATCH, where there are many: what several clients take by default."""

_Way = Callable[[Setting, Server, str], None]
"""Uploads the large file to a server under a name."""

_serial = count()


def measure(setting: Setting) -> Iterator[Row]:
    """On the embedded engine, next to @tus/server."""

    @contextmanager
    def servers() -> Iterator[tuple[Server, Server | None]]:
        with sfs(setting.place) as ours, tus_server(setting.place) as peer:
            yield ours, peer

    yield from _rows(setting, servers, "@tus/server, which does not fsync", "")


def measure_cluster(setting: Setting) -> Iterator[Row]:
    """On a cluster, next to the filer; each round on a new one, as a deleted file takes as much of
    the disk as before."""
    if program() is None:
        yield Row("cluster: PATCH", ABSENT)
        return

    @contextmanager
    def servers() -> Iterator[tuple[Server, Server | None]]:
        with started(setting) as pair:
            assert pair is not None
            yield pair.servers

    yield from _rows(setting, servers, FILER, "cluster: ")


def _rows(
    setting: Setting,
    servers: Callable[[], AbstractContextManager[tuple[Server, Server | None]]],
    peer_name: str,
    where: str,
) -> Iterator[Row]:
    parts = -(-setting.big // PART)
    ways: list[tuple[str, float, _Way]] = [
        (f"{where}PATCH {setting.big_name}", 0.9, partial(_resumable, setting.big)),
        (f"{where}{parts} PATCHes of {PART // MIB} MiB", 0.5, partial(_resumable, PART)),
    ]
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(setting.rounds):
        with servers() as pair:
            _rate(setting, pair[0], _put)  # a new cluster grows its volumes with the first file
            rates["SFS", "PUT"].append(_rate(setting, pair[0], _put))
            for work, _, way in ways:
                for server in filter(None, pair):
                    rate = _rate(setting, server, way, check=number == 0)
                    rates[server.name, work].append(rate)
                    peer = server.name
    put = median(rates["SFS", "PUT"])
    for work, least, _ in ways:
        ours = median(rates["SFS", work])
        yield compared(work, ours, put, "{:.2f} GiB/s", "our own PUT", Wanted(least=least))
        theirs = median(rates[peer, work]) if peer != "SFS" else None
        yield compared(work, ours, theirs, "{:.2f} GiB/s", peer_name, Wanted())


def _rate(setting: Setting, server: Server, way: _Way, *, check: bool = False) -> float:
    """GiB/s of an upload under a new name, with nothing to be written back before. The file is
    read back and hashed if ``check``, and deleted."""
    os.sync()
    touch_memory(setting.big + setting.big // 4)
    name = f"resumed-{next(_serial)}.bin"
    _, seconds = together([partial(way, setting, server, name)])
    with Client(server.port, server.token) as client:
        if check:
            client.get(server.path(name), setting.big, setting.digest(BIG))
    with Client(server.port, server.token) as client:
        client.delete(server.path(name))
    return setting.big / GIB / seconds


def _put(setting: Setting, server: Server, name: str) -> None:
    with Client(server.port, server.token) as client:
        client.send("PUT", server.path(name), setting.place.file(BIG))


def _resumable(part: int, setting: Setting, server: Server, name: str) -> None:
    with Client(server.port, server.token) as client:
        path = client.start_upload(server.tus + name, name, setting.big)
    with Client(server.port, server.token) as client:
        client.send_parts(path, setting.place.file(BIG), part)
