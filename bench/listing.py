"""The list of a large namespace: when its first entry arrives, and what memory it takes."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from http.client import HTTPConnection

from bench import proc
from bench.client import SECONDS, WrongAnswerError
from bench.servers import Server, sfs
from bench.setting import Setting
from bench.table import MIB, Row, Wanted

_RUNS = 5
_NAMESPACE = "many"


def measure(setting: Setting) -> Iterator[Row]:
    """The rows for the time and for the memory."""
    with sfs(setting.place) as ours:
        _make_namespace(ours)
        for number in range(setting.listed):
            path = setting.place.file(f"file-{number * 7919 % setting.listed:06}.jpg", _NAMESPACE)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        os.sync()
        idle = proc.resident(ours.pid)
        proc.reset_peak(ours.pid)
        _check(setting, _fetch(ours)[2])
        above = (proc.peak(ours.pid) - idle) / MIB
        runs = [_fetch(ours) for _ in range(_RUNS)]
    first, whole = (
        statistics.median(figures) * 1000 for figures in list(zip(*runs, strict=True))[:2]
    )
    work = f"list {setting.listed:,} files"
    wanted = Wanted(most=50.0, unit="ms").text(first)
    yield Row(f"{work}, first entry", f"{first:.0f} ms; whole {whole:.0f} ms", wanted=wanted)
    wanted = Wanted(most=16.0, unit="MiB").text(above)
    yield Row(f"{work}, memory above idle", f"+{above:.1f} MiB", wanted=wanted)


def _make_namespace(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    body = json.dumps({"name": _NAMESPACE, "hidden": False})
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    connection.request("POST", "/storage/namespaces", body, headers)
    if connection.getresponse().status != 201:
        raise WrongAnswerError("the namespace has not been made")
    connection.close()


def _fetch(server: Server) -> tuple[float, float, bytes]:
    """Seconds until the first entry is here, seconds until the last byte is, and the body."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    connection.connect()
    headers = {"Authorization": f"Bearer {server.token}"}
    began = time.perf_counter()
    connection.request("GET", f"/storage/files?namespace={_NAMESPACE}", headers=headers)
    answer = connection.getresponse()
    body = bytearray()
    while b'"name"' not in body:
        piece = answer.read1(65536)
        if not piece:
            raise WrongAnswerError("the list has no entry")
        body += piece
    first = time.perf_counter() - began
    while piece := answer.read1(65536):
        body += piece
    whole = time.perf_counter() - began
    connection.close()
    return first, whole, bytes(body)


def _check(setting: Setting, body: bytes) -> None:
    names = [entry["name"] for entry in json.loads(body)]
    if len(names) != setting.listed or names != sorted(names):
        raise WrongAnswerError("the list is not the files, sorted")
