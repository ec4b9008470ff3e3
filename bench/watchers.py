"""What watching costs: the rate of an upload under many eyes, and the memory of idle streams.

The watchers are in a process of their own, which on a machine with few cores takes its share of
them as well: the ratio is that of the service and its watchers together.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection

from bench import proc
from bench.client import Client, WrongAnswerError
from bench.servers import Server, sfs
from bench.setting import BIG, Setting, alternate
from bench.table import GIB, KIB, MIB, Row, Wanted, compared
from bench.uploads import touch_memory

_FORK = multiprocessing.get_context("fork")
_SECONDS = 120
_CONNECTING = 100
"""Connections that are begun before the first of them is answered."""

_serial = count()


def measure(setting: Setting) -> Iterator[Row]:
    """The rows, each on a service that has just begun."""
    with sfs(setting.place) as ours:
        _put(setting, ours, "warm")
        watched, alone = alternate(
            setting.rounds,
            [lambda: _watched(setting, ours), lambda: _put(setting, ours, f"u{next(_serial)}")],
        )
    yield compared(
        f"PUT {setting.big_name}, {setting.watchers} watchers",
        watched,
        alone,
        "{:.2f} GiB/s",
        "without",
        Wanted(least=0.9),
    )
    with sfs(setting.place) as ours:
        with _watching(ours, "warm", 10):
            pass
        idle = proc.resident(ours.pid)
        with _watching(ours, "never", setting.idle_watchers):
            above = proc.resident(ours.pid) - idle
    each = above / setting.idle_watchers / KIB
    yield Row(
        f"memory of {setting.idle_watchers} idle watchers, above idle",
        f"+{above / MIB:.1f} MiB (idle {idle / MIB:.0f} MiB); {each:.1f} KiB each",
        wanted=Wanted(most=200.0, unit="MiB").text(above / MIB),
    )


def _watched(setting: Setting, server: Server) -> float:
    id_ = f"u{next(_serial)}"
    with _watching(server, id_, setting.watchers) as pipe:
        rate = _put(setting, server, id_)
        if not pipe.poll(_SECONDS):
            raise WrongAnswerError("the streams do not end")
        ends: list[bytes] = pipe.recv()
    for end in ends:
        event = json.loads(end.removeprefix(b"data: "))
        if (event["bytes"], event["total"], event["done"]) != (setting.big, setting.big, True):
            raise WrongAnswerError(f"the last event of a watcher is {event}")
    if len(ends) != setting.watchers:
        raise WrongAnswerError(f"{len(ends)} watchers saw the end")
    return rate


def _put(setting: Setting, server: Server, id_: str) -> float:
    """Upload the big file as a transfer; GiB/s until the answer."""
    os.sync()
    touch_memory(setting.big + setting.big // 4)
    with Client(server.port, server.token) as client:
        began = time.monotonic()
        client.send("PUT", f"{server.path('watched.bin')}?id={id_}", setting.place.file(BIG))
        seconds = time.monotonic() - began
    os.unlink(setting.place.file("watched.bin"))
    return setting.big / GIB / seconds


@contextmanager
def _watching(server: Server, id_: str, many: int) -> Iterator[Connection]:
    """``many`` streams in another process, once all of them are open; until the body is done. The
    pipe gives the last event of each when all have ended."""
    ours, theirs = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_hold, args=(server, id_, many, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_SECONDS) or ours.recv() != many:
            raise WrongAnswerError("the streams do not begin")
        yield ours
    finally:
        process.kill()
        process.join()
        ours.close()


def _hold(server: Server, id_: str, many: int, pipe: Connection) -> None:
    request = (
        f"GET /sse/progress?id={id_} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {server.token}\r\n\r\n"
    ).encode()
    streams: dict[int, socket.socket] = {}
    tails: dict[int, bytes] = {}
    poll = select.epoll()
    ends: list[bytes] = []
    begun = 0
    while len(ends) < many:
        while len(streams) < many and len(streams) < begun + _CONNECTING:
            stream = socket.create_connection(("127.0.0.1", server.port), timeout=_SECONDS)
            stream.sendall(request)
            streams[stream.fileno()] = stream
            tails[stream.fileno()] = b""
            poll.register(stream, select.EPOLLIN)
        for descriptor, _ in poll.poll():
            piece = streams[descriptor].recv(4096)
            if not tails[descriptor] and piece:
                begun += 1
                if begun == many:
                    pipe.send(begun)
            tails[descriptor] = (tails[descriptor] + piece)[-1024:]
            if not piece:
                poll.unregister(descriptor)
                lines = tails[descriptor].split(b"\n")
                ends.append([line for line in lines if line.startswith(b"data: ")][-1])
    pipe.send(ends)
