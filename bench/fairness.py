"""The time of a small GET while others are slow or greedy, beside the same on an idle service."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial

from bench.client import Client
from bench.parallel import beside, together
from bench.servers import Server, sfs
from bench.setting import BIG, SMALL, SMALL_SIZE, Setting, alternate
from bench.table import Row, Wanted, compared

_RECEIVE_BUFFER = 4096


def measure(setting: Setting) -> Iterator[Row]:
    """The 99th percentile, with and without the others."""
    with sfs(setting.place) as ours:

        def idle() -> float:
            return _p99(setting, ours)

        def busy() -> float:
            with beside(
                partial(_read_slowly, setting, ours),
                partial(_send_slowly, setting, ours),
                partial(_upload, setting, ours),
            ):
                time.sleep(0.3)
                return _p99(setting, ours)

        loaded, alone = alternate(setting.rounds, [busy, idle])
    yield compared(
        f"p99 of GET 155 KB beside a reader and a sender at 1 KB/s and PUTs of {setting.big_name}",
        loaded * 1000,
        alone * 1000,
        "{:.2f} ms",
        "idle",
        Wanted(most=5.0),
    )


def _p99(setting: Setting, server: Server) -> float:
    (found,), _ = together([partial(_times, setting, server)])
    return sorted(found)[len(found) * 99 // 100]


def _times(setting: Setting, server: Server) -> list[float]:
    found = []
    with Client(server.port) as client:
        for _ in range(setting.requests):
            began = time.perf_counter()
            client.get(server.path(SMALL), SMALL_SIZE)
            found.append(time.perf_counter() - began)
    return found


def _read_slowly(setting: Setting, server: Server) -> None:
    with Client(server.port, receive_buffer=_RECEIVE_BUFFER) as client:
        client.get_slowly(server.path(BIG), setting.big, 1024, 1.0, 3600.0)


def _send_slowly(setting: Setting, server: Server) -> None:
    with Client(server.port, server.token) as client:
        client.send_slowly(server.path("slow.bin"), setting.big, 1024, 1.0)


def _upload(setting: Setting, server: Server) -> None:
    with Client(server.port, server.token) as client:
        client.send("PUT", server.path("greedy.bin"), setting.place.file(BIG))
    os.sync()
