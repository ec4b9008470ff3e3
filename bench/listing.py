"""Lists of many files: what an entry costs, when the first one arrives, what memory a list takes,
and how long another GET waits for it.

As many files are listed twice: in one folder, and in FOLDERS folders. *Flat* is one list of all
depths, *by level* is a list of each folder. nginx (``autoindex_format json``) and copyparty
(``?ls``) list one level at a time, so they are compared by level.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection

from bench import cluster, proc
from bench.client import SECONDS, Client, WrongAnswerError
from bench.parallel import beside, together
from bench.servers import Server, copyparty, nginx, sfs
from bench.setting import SMALL, SMALL_SIZE, Setting, alternate
from bench.table import MIB, NOT_INSTALLED, Row, Wanted

FOLDERS = 1000
"""How many folders the files of the second namespace are in, if there are that many files."""

PAGE = 10_000
"""Entries of a page, if there are that many files."""

_WRITERS = 8
"""How many clients upload the files of a cluster."""

_ENTRY = Wanted(most=40.0, unit="µs")
_FIRST = Wanted(most=50.0, unit="ms")
_PAGE = Wanted(most=0.4, unit="s")
_MEMORY = Wanted(most=16.0, unit="MiB")
_WAIT = Wanted(most=20.0, unit="ms")


@dataclass(frozen=True, slots=True)
class _Files:
    """``count`` files of one namespace, spread over ``folders``; at the top if there are none."""

    namespace: str
    count: int
    folders: Sequence[str] = ()

    def __str__(self) -> str:
        where = f"{len(self.folders):,} folders" if self.folders else "one folder"
        return f"list {self.count:,} files in {where}"

    def names(self) -> list[str]:
        """Their paths, in no order."""
        numbers = [number * 7919 % self.count for number in range(self.count)]
        above = [f"{folder}/" for folder in self.folders] or [""]
        return [f"{above[number % len(above)]}file-{number:06}.jpg" for number in numbers]

    def flat(self, query: str = "") -> str:
        """The path of the list of all."""
        return f"/storage/files?namespace={self.namespace}{query}"

    def levels(self, server: Server) -> list[str]:
        """The paths of the lists by which ``server`` lists all of them."""
        folders = ["", *self.folders]
        if server.name == "SFS":
            return [self.flat(f"&folder={folder}") for folder in folders]
        query = "?ls" if server.name == "copyparty" else ""
        return [f"/{self.namespace}/{folder}{'/' * bool(folder)}{query}" for folder in folders]


def measure(setting: Setting) -> Iterator[Row]:
    """The rows of the embedded engine, beside nginx and copyparty."""
    with ExitStack() as stack:
        ours = stack.enter_context(sfs(setting.place))
        others = [stack.enter_context(server(setting.place)) for server in (nginx, copyparty)]
        peers = [server for server in others if server is not None]
        yield from _rows(setting, ours, peers, partial(_plant, setting))


def _plant(setting: Setting, files: _Files) -> None:
    for folder in files.folders:
        os.makedirs(setting.place.file(folder, files.namespace), mode=0o700)
    for name in files.names():
        path = setting.place.file(name, files.namespace)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    os.sync()


def measure_cluster(setting: Setting) -> Iterator[Row]:
    """The same of the service on a cluster, to which the files are uploaded."""
    with cluster.alone(setting) as ours:
        if ours is None:
            yield Row("cluster: list", f"SeaweedFS is {NOT_INSTALLED}")
            return
        for row in _rows(setting, ours, (), partial(_upload_all, setting, ours)):
            yield Row(f"cluster: {row.work}", row.ours, row.peer, row.ratio, row.wanted)


def _upload_all(setting: Setting, server: Server, files: _Files) -> None:
    empty = setting.place.file("empty")
    os.close(os.open(empty, os.O_WRONLY | os.O_CREAT, 0o600))
    names = files.names()
    parts = [names[first::_WRITERS] for first in range(_WRITERS)]
    together([partial(_upload, server, files.namespace, part, empty) for part in parts])


def _upload(server: Server, namespace: str, names: Sequence[str], file: str) -> None:
    with Client(server.port, server.token) as client:
        for name in names:
            client.send("PUT", f"/storage/{namespace}/{name}", file)


def _rows(
    setting: Setting, ours: Server, peers: Sequence[Server], plant: Callable[[_Files], None]
) -> Iterator[Row]:
    folders = [f"folder-{number:04}" for number in range(min(FOLDERS, setting.listed // 100))]
    for files in (_Files("many", setting.listed), _Files("tree", setting.listed, folders)):
        _make_namespace(ours, files.namespace)
        plant(files)
        idle = proc.resident(ours.pid)
        proc.reset_peak(ours.pid)
        _check(ours, files)
        above = (proc.peak(ours.pid) - idle) / MIB
        yield from _entries(setting, files, ours, peers)
        (first,) = alternate(setting.rounds, [partial(_first, ours, files.flat())])
        yield _row(f"{files}, first entry", first * 1000, "{:.1f} ms", _FIRST)
        yield from _pages(setting, files, ours)
        yield _row(f"{files}, memory above idle", above, "+{:.1f} MiB", _MEMORY)
        yield _wait(setting, files, ours)


def _entries(
    setting: Setting, files: _Files, ours: Server, peers: Sequence[Server]
) -> Iterator[Row]:
    """What an entry costs, flat and by level."""
    runs = [partial(_seconds, ours, [files.flat()])]
    runs += [partial(_seconds, server, files.levels(server)) for server in (ours, *peers)]
    flat, level, *costs = (
        seconds / files.count * 1_000_000 for seconds in alternate(setting.rounds, runs)
    )
    shown = "; ".join(
        f"{peer.name}: {cost:.1f} µs" for peer, cost in zip(peers, costs, strict=True)
    )
    before = ours.cpu_seconds()
    _seconds(ours, [files.flat()])
    used = (ours.cpu_seconds() - before) / files.count * 1_000_000
    yield _row(f"{files}, flat, an entry", flat, f"{{:.1f}} µs; CPU {used:.1f} µs", _ENTRY)
    yield _row(f"{files}, by level, an entry", level, "{:.1f} µs", _ENTRY, shown or "—")


def _pages(setting: Setting, files: _Files, ours: Server) -> Iterator[Row]:
    """The first page, and one in the middle."""
    size = min(PAGE, files.count // 2)
    middle = sorted(files.names())[(files.count - size) // 2]
    for which, after in (("the first", ""), ("one in the middle", f"&after={middle}")):
        path = files.flat(f"&limit={size}{after}")
        (seconds,) = alternate(setting.rounds, [partial(_seconds, ours, [path])])
        yield _row(f"{files}, page of {size:,}, {which}", seconds, "{:.3f} s", _PAGE)


def _wait(setting: Setting, files: _Files, ours: Server) -> Row:
    """The longest of many GETs of a small file, while the list is fetched again and again."""
    with Client(ours.port, ours.token) as client:
        client.send("PUT", ours.path(SMALL), setting.place.file(SMALL))
    with beside(partial(_seconds, ours, [files.flat()])):
        busy = _worst(setting, ours)
    work = f"worst wait of a GET of 155 KB during: {files}"
    return _row(work, busy, "{:.1f} ms", _WAIT, f"idle: {_worst(setting, ours):.1f} ms")


def _worst(setting: Setting, server: Server) -> float:
    """Milliseconds."""
    longest = 0.0
    with Client(server.port) as client:
        for _ in range(setting.requests):
            began = time.perf_counter()
            client.get(server.path(SMALL), SMALL_SIZE)
            longest = max(longest, time.perf_counter() - began)
    return longest * 1000


def _row(work: str, figure: float, form: str, wanted: Wanted, peer: str = "—") -> Row:
    return Row(work, form.format(figure), peer, wanted=wanted.text(figure))


def _make_namespace(server: Server, namespace: str) -> None:
    body = json.dumps({"name": namespace, "hidden": False})
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)) as connection:
        connection.request("POST", "/storage/namespaces", body, headers)
        if connection.getresponse().status != 201:
            raise WrongAnswerError("the namespace has not been made")


def _pieces(connection: HTTPConnection, server: Server, path: str) -> Iterator[bytes]:
    """The pieces of a body, as they arrive."""
    headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
    connection.request("GET", path, headers=headers)
    with connection.getresponse() as answer:
        if answer.status != 200:
            raise WrongAnswerError(f"the answer to {path} is {answer.status}")
        while piece := answer.read1(65536):
            yield piece


def _seconds(server: Server, paths: Sequence[str]) -> float:
    """How long it takes to fetch these lists, one after the other on one connection."""
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)) as connection:
        connection.connect()
        began = time.perf_counter()
        for path in paths:
            for _ in _pieces(connection, server, path):
                pass
        return time.perf_counter() - began


def _first(server: Server, path: str) -> float:
    """Seconds until the first entry of a list is here; the rest of it is fetched too."""
    body = bytearray()
    first = 0.0
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)) as connection:
        connection.connect()
        began = time.perf_counter()
        for piece in _pieces(connection, server, path):
            body += piece if not first else b""
            if not first and b'"name"' in body:
                first = time.perf_counter() - began
    return first


def _check(server: Server, files: _Files) -> None:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)) as connection:
        body = b"".join(_pieces(connection, server, files.flat()))
    if [entry["name"] for entry in json.loads(body)] != sorted(files.names()):
        raise WrongAnswerError("the list is not the files, sorted")
