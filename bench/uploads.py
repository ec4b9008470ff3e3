"""Uploads of a large file: raw beside copyparty, and as a form beside our own raw one.

The service answers when the file is durable. copyparty does not call fsync(2) at all, so its
answer promises less; a second row adds the time that fsync takes on its file afterwards.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from statistics import median

from bench.client import Client
from bench.parallel import together
from bench.servers import Server, copyparty, sfs
from bench.setting import BIG, Setting, alternate
from bench.table import GIB, NOT_INSTALLED, Row, Wanted, compared

_BOUNDARY = "bench-0123456789abcdef"
_BEFORE = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
_AFTER = f"\r\n--{_BOUNDARY}--\r\n".encode()
_KIND = f"multipart/form-data; boundary={_BOUNDARY}"
_serial = count()


def measure_raw(setting: Setting) -> Iterator[Row]:
    """PUT, beside copyparty."""
    with sfs(setting.place) as ours, copyparty(setting.place) as peer:
        servers = [ours] if peer is None else [ours, peer]
        for server in servers:
            put(setting, server, check=True)
        answers: dict[str, list[float]] = {server.name: [] for server in servers}
        durable: dict[str, list[float]] = {server.name: [] for server in servers}
        before, database = ours.cpu_seconds(), ours.database_cpu_seconds()
        for _ in range(setting.rounds):
            for server in servers:
                seconds, syncing = put(setting, server)
                answers[server.name].append(setting.big / GIB / seconds)
                durable[server.name].append(setting.big / GIB / (seconds + syncing))
        amount = setting.rounds * setting.big / GIB
        cost = (ours.cpu_seconds() - before) / amount
        database = (ours.database_cpu_seconds() - database) / amount
    rate = median(answers["SFS"])
    there = peer is not None
    yield compared(
        f"PUT {setting.big_name}, until the answer",
        rate,
        median(answers["copyparty"]) if there else None,
        "{:.2f} GiB/s",
        "copyparty, which does not fsync",
        Wanted(least=1.5),
    )
    yield compared(
        f"PUT {setting.big_name}, until it is durable",
        rate,
        median(durable["copyparty"]) if there else None,
        "{:.2f} GiB/s",
        "copyparty, and fsync by the bench",
        Wanted(least=1.5),
    )
    yield Row(
        f"PUT {setting.big_name}, server CPU",
        f"{cost:.2f} s/GiB; PostgreSQL {database:.2f} s/GiB",
        "—" if there else f"copyparty: {NOT_INSTALLED}",
    )


def measure_form(setting: Setting) -> Iterator[Row]:
    """POST of a form, beside our own PUT."""
    with sfs(setting.place) as ours:
        put(setting, ours, form=True, check=True)

        def rate(*, form: bool) -> float:
            return setting.big / GIB / put(setting, ours, form=form)[0]

        form, raw = alternate(setting.rounds, [partial(rate, form=True), partial(rate, form=False)])
    work = f"POST {setting.big_name} as a form"
    yield compared(work, form, raw, "{:.2f} GiB/s", "our own PUT", Wanted(least=0.8))


def put(
    setting: Setting, server: Server, *, form: bool = False, check: bool = False
) -> tuple[float, float]:
    """Upload under a new name; seconds until the answer, and those of an fsync after it.

    Begins with nothing to be written back, and with memory that the machine really has. The file
    is looked at, hashed if ``check``, and deleted.
    """
    os.sync()
    touch_memory(setting.big + setting.big // 4)
    name = f"upload-{next(_serial)}.bin"
    call = partial(_send_form if form else _send, setting, server, name)
    _, seconds = together([call])
    path = setting.place.file(name)
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size != setting.big:
            raise RuntimeError(f"{server.name} stored another size")
        began = time.monotonic()
        os.fsync(file.fileno())
        syncing = time.monotonic() - began
        if check and hashlib.file_digest(file, "sha256").hexdigest() != setting.digest(BIG):
            raise RuntimeError(f"{server.name} stored other bytes")
    os.unlink(path)
    return seconds, syncing


def touch_memory(count: int) -> None:
    """Use ``count`` bytes of memory, and give them back.

    A virtual machine may have given its free memory to its host. Whoever writes a file then pays
    for getting it back, page by page, up to five times what the writing costs, and whoever comes
    next does not: that would be measured, not the servers.
    """
    with mmap.mmap(-1, count) as memory:
        page = b"\1" * mmap.PAGESIZE
        for start in range(0, count - mmap.PAGESIZE, mmap.PAGESIZE):
            memory[start : start + mmap.PAGESIZE] = page


def _send(setting: Setting, server: Server, name: str) -> None:
    with Client(server.port, server.token) as client:
        client.send("PUT", server.path(name), setting.place.file(BIG))


def _send_form(setting: Setting, server: Server, name: str) -> None:
    with Client(server.port, server.token) as client:
        file = setting.place.file(BIG)
        client.send("POST", server.path(name), file, before=_BEFORE, after=_AFTER, kind=_KIND)
