"""Uploads made by hand, byte by byte, and what they must not leave behind."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.client import Answer, Connection, connect
from tests.support.service import Service
from tests.support.waiting import eventually

WAYS = ("raw", "chunked", "multipart", "chunked multipart")
"""The ways in which a body can arrive."""

_BOUNDARY = "frontier"
FORM = f"multipart/form-data; boundary={_BOUNDARY}"
_WAITING = {"RequestHandler.start", "Queue.get", "Session.notification"}
"""Tasks that come and go with connections and with what the database tells its listener."""


def form(content: bytes) -> bytes:
    """A form whose part ``file`` is ``content``, between two other fields."""
    field = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
    before, file, after = (
        (field % name).encode() for name in ("note", 'file"; filename="ignored.txt', "more")
    )
    return b"%b1\r\n%b%b\r\n%b2\r\n--%b--\r\n" % (
        before,
        file,
        content,
        after,
        _BOUNDARY.encode(),
    )


def chunked(data: bytes, size: int = 50_000) -> bytes:
    """``data`` in the chunked coding of HTTP/1.1, in chunks of ``size``."""
    parts = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def framed(way: str, content: bytes) -> tuple[dict[str, str], bytes]:
    """The headers and the bytes with which ``content`` travels."""
    body = form(content) if "multipart" in way else content
    headers = {"Content-Type": FORM} if "multipart" in way else {}
    if "chunked" in way:
        return {**headers, "Transfer-Encoding": "chunked"}, chunked(body)
    return {**headers, "Content-Length": str(len(body))}, body


def head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The bytes of a request up to its body. Adds Host, and nothing else."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\nHost: sfs.example\r\n{lines}\r\n".encode("latin-1")


def request(
    method: str, target: str, way: str, content: bytes, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a whole upload. ``headers`` win over those of the way."""
    own, body = framed(way, content)
    return head(method, target, {**own, **(headers or {})}) + body


async def upload(
    service: Service,
    method: str,
    target: str,
    content: bytes,
    way: str = "raw",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Upload as alice, on a connection of its own."""
    async with connect(service.port) as connection:
        named = {**service.bearer(), **(headers or {})}
        connection.send_raw(request(method, target, way, content, named))
        return await connection.answer()


async def begin(
    service: Service,
    connection: Connection,
    method: str,
    target: str,
    content: bytes,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Send half of an upload, wait until the store has started it, and return the other half."""
    before = len(temporaries(service))
    named = {**service.bearer(), **(headers or {})}
    whole = request(method, target, "raw", content, named)
    half = len(whole) - len(content) // 2
    connection.send_raw(whole[:half])
    await eventually(lambda: len(temporaries(service)) > before)
    return whole[half:]


def temporaries(service: Service) -> list[str]:
    """What the store is writing, or has forgotten to remove."""
    return sorted(os.listdir(service.data / "files" / "~tmp"))


def open_files(data: Path) -> list[str]:
    """The files of the store that this process holds open, deleted ones too."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if target.startswith(f"{data}/files/") and not target.endswith("~lock"):
            found.append(target)
    return found


async def nothing_left(service: Service, tasks: set[asyncio.Task[object]]) -> None:
    """Hold that no upload is running or has left anything. ``tasks`` are those from before."""

    def left() -> list[str]:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        busy = _names(running) - _names(tasks)
        return [*temporaries(service), *open_files(service.data), *busy.elements()]

    try:
        await eventually(lambda: not left())
    except AssertionError:
        raise AssertionError(left()) from None


def _names(tasks: Iterable[asyncio.Task[object] | None]) -> Counter[str]:
    """What is running, by its name, but for what only waits."""
    coroutines = (task.get_coro() for task in tasks if task is not None)
    names = (getattr(coroutine, "__qualname__", "?") for coroutine in coroutines)
    return Counter(name for name in names if name not in _WAITING)


def vanish(connection: socket.socket) -> None:
    """Close a connection with an RST, as a machine does that was switched off and on."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
