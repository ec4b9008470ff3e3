"""Resident memory of the service while many transfers run, above what it has when idle.

Uploads go at full speed for some seconds, and are then broken off: nothing is left on the disk.
Downloads are read at about 8 MiB/s each, so that all of them are under way at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial

from bench import proc
from bench.client import Client
from bench.parallel import together
from bench.servers import Server, sfs
from bench.setting import BIG, SMALL, SMALL_SIZE, Setting
from bench.table import MIB, Row, Wanted

_PIECE = 256 * 1024
_PAUSE = 1 / 32
_SWEEP_SECONDS = 30


def measure(setting: Setting) -> Iterator[Row]:
    """The rows for uploads and for downloads, each on a service that has just begun."""
    for work, call in (("uploads, full speed", go_up), ("downloads, slow readers", go_down)):
        with sfs(setting.place) as ours:
            _warm_up(setting, ours)
            yield above_idle(setting, ours, work, call, 64.0)
            _swept(setting)


def above_idle(
    setting: Setting,
    server: Server,
    work: str,
    call: Callable[[Setting, Server, int], int],
    most: float,
) -> Row:
    """The row of many transfers at once, of which ``call`` makes one; ``most`` MiB are wanted."""
    idle = proc.resident(server.pid)
    proc.reset_peak(server.pid)
    calls = [partial(call, setting, server, number) for number in range(setting.many)]
    moved, seconds = together(calls)
    above = (proc.peak(server.pid) - idle) / MIB
    shown = (
        f"+{above:.1f} MiB (idle {idle / MIB:.0f} MiB); each moved {min(moved) / MIB:.0f} to "
        f"{max(moved) / MIB:.0f} MiB in {seconds:.0f} s"
    )
    wanted = Wanted(most=most, unit="MiB").text(above)
    return Row(f"memory of {setting.many} {work}, above idle", shown, wanted=wanted)


def _warm_up(setting: Setting, server: Server) -> None:
    """One request of each kind: what is loaded with the first one is not the many ones' doing."""
    with Client(server.port, server.token) as client:
        client.get(server.path(SMALL), SMALL_SIZE)
        client.send("PUT", server.path("warm.bin"), setting.place.file(SMALL))
    os.unlink(setting.place.file("warm.bin"))


def go_up(setting: Setting, server: Server, number: int) -> int:
    """An upload that is broken off; how many bytes went."""
    with Client(server.port, server.token) as client:
        path, file = server.path(f"never-{number}.bin"), setting.place.file(BIG)
        return client.send_for(path, file, setting.many_seconds, setting.many_least)


def go_down(setting: Setting, server: Server, _number: int) -> int:
    """A download at the pace of a slow reader; how many bytes came."""
    with Client(server.port) as client:
        path, seconds = server.path(BIG), setting.many_seconds
        return client.get_slowly(path, setting.big, _PIECE, _PAUSE, seconds)


def _swept(setting: Setting) -> None:
    """Wait until the service has removed what the broken uploads left."""
    scratch = os.path.join(setting.place.data, "files", "~tmp")
    until = time.monotonic() + _SWEEP_SECONDS
    while os.listdir(scratch):
        if time.monotonic() > until:
            raise RuntimeError("broken uploads have left files behind")
        time.sleep(0.1)
