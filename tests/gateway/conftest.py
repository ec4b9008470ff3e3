"""A real gateway in front of four real processes of SFS, which share a real cluster and database.

All is started once for each session (or worker of xdist). A test that ends a process of SFS starts
one again. ``recorder`` is a gateway of its own before a server that keeps what it is sent.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import uvloop
from multidict import CIMultiDict

from manifests.gateway import INSTALL, Nginx, find, render
from manifests.laptop.server import Server, listens
from manifests.laptop.weed import free_ports
from tests.gfs.cluster import Cluster, seaweed
from tests.support import credentials
from tests.support.client import Answer, call
from tests.support.launcher import Process
from tests.support.postgres import Postgres
from tests.support.waiting import eventually

__all__ = ["seaweed"]

PROCESSES = 4
CHECK_SECONDS = 0.4
HOLD_SECONDS = 1
STORABLE = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 02 Nov 2026 10:00:00 GMT\r\n"
    b"Cache-Control: public, max-age=0, s-maxage=30\r\nContent-Length: 2\r\n\r\nok"
)
"""What SFS answers with to a GET of a file that anybody may read."""

ORIGINS = ("https://one.example", "https://two.example")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Gateway:
    """A running gateway, as its clients see it, and what is behind it."""

    port: int
    server: Server
    processes: list[Process]
    start: Callable[[int], Process]

    def restart(self, number: int) -> None:
        """End a process of SFS, if it has not ended, and start it again where it was."""
        self.processes[number].kill()
        self.processes[number] = self.start(self.processes[number].port)

    bearer = staticmethod(credentials.bearer)

    async def put(self, target: str | bytes, body: bytes, user: str = "alice") -> None:
        answer = await call(self.port, "PUT", target, self.bearer(user), body)
        assert answer.status in (200, 201), answer

    async def delete(self, target: str | bytes, user: str = "alice") -> None:
        answer = await call(self.port, "DELETE", target, self.bearer(user))
        assert answer.status == 200, answer

    async def get(self, target: str | bytes, headers: Mapping[str, str] | None = None) -> Answer:
        return await call(self.port, "GET", target, headers)

    async def status(self, target: str) -> int:
        return (await self.get(target)).status

    async def stored(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask until the answer comes from the cache: the second time, or when no change of the
        namespace holds that up any more."""

        async def cached() -> Answer | None:
            answer = await self.get(target, headers)
            return answer if from_cache(answer) else None

        found: Answer = await eventually(cached)
        return found

    def log(self) -> str:
        """What all processes of SFS have said."""
        return "".join(process.log for process in self.processes)

    def cache_files(self) -> list[Path]:
        return [path for path in (self.server.home / "cache").rglob("*") if path.is_file()]


def from_cache(answer: Answer) -> bool:
    """The gateway gives an age to what it had stored (RFC 9111 §5.1)."""
    return "Age" in answer.headers


@pytest.fixture(scope="session")
def nginx() -> Nginx:
    """The program. Skips where there is none, and fails under CI."""
    found = find()
    if found is None:
        assert not os.environ.get("CI"), f"CI must have the gateway: {INSTALL}"
        pytest.skip(f"no gateway to test with: {INSTALL}")
    return found


@contextmanager
def started(
    nginx: Nginx,
    ports: Sequence[int],
    *,
    idle_seconds: int = 75,
    first_hold_seconds: float = 0,
    generations: str = "16m",
    trusted_proxies: Sequence[str] = (),
    requests: int = 1024,
    streams: int = 256,
) -> Iterator[tuple[int, Server]]:
    """A gateway before servers on ``ports``."""
    home = Path(tempfile.mkdtemp(prefix="sfs-gateway-"))
    port = free_ports(1)[0]
    command = render(
        nginx,
        home,
        f"127.0.0.1:{port}",
        [("127.0.0.1", upstream) for upstream in ports],
        workers="2",
        idle_seconds=idle_seconds,
        drain_seconds=1,
        check_seconds=CHECK_SECONDS,
        hold_seconds=HOLD_SECONDS,
        first_hold_seconds=first_hold_seconds,
        generations=generations,
        trusted_proxies=trusted_proxies,
        requests=requests,
        streams=streams,
    )
    environ = {"LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
    # It listens: /healthz would not do, since nothing may be behind it yet.
    server = Server(home, command, environ, partial(listens, port))
    try:
        server.start()
        server.wait_until_ready()
        yield port, server
    finally:
        server.end(5)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def gateway(nginx: Nginx, seaweed: Cluster, postgres: Postgres) -> Iterator[Gateway]:
    """Before four processes of SFS."""
    postgres.execute("CREATE DATABASE gateway")
    data = Path(tempfile.mkdtemp(prefix="sfs-gateway-data-"))
    common = ["-master", seaweed.masters, "-database", postgres.url("gateway")]
    common += ["-max-upload-mb", "100", "-drain-grace", "20"]
    common += ["-trusted-proxy", "127.0.0.1"]
    common += [part for origin in ORIGINS for part in ("-cors-origin", origin)]

    def start(port: int = 0) -> Process:
        return Process(data, *common, "-addr", f"127.0.0.1:{port}")

    processes: list[Process] = []
    try:
        with ThreadPoolExecutor(PROCESSES) as pool:
            for future in [pool.submit(start) for _ in range(PROCESSES)]:
                processes.append(future.result())
        with started(nginx, [process.port for process in processes]) as (port, server):
            yield Gateway(port, server, processes, start)
    finally:
        for process in processes:
            process.kill()
        shutil.rmtree(data, ignore_errors=True)


@dataclass
class Recorder:
    """A server that keeps what it is sent, and says what it is told to.

    It answers ``pause`` seconds after ``wants`` bytes of a body have come, if there is a body;
    closes the connection after that with ``cuts``, and instead of that with ``dies``.
    """

    gateway_port: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    received: bytearray = field(default_factory=bytearray)
    heads: list[bytes] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    wants: int = 1
    pause: float = 0
    cuts: bool = False
    dies: bool = False

    def fields(self, number: int) -> CIMultiDict[str]:
        """The headers of a request."""
        _, *lines = self.heads[number].decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        return CIMultiDict((name, value) for name, _, value in pairs)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writers.add(writer)
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /readyz "):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        self.heads.append(head)
        self.received.clear()
        if b"content-length: " in head.lower() and b"Length: 0\r\n" not in head:
            while len(self.received) < self.wants and (piece := await reader.read(1 << 16)):
                self.received += piece
        if self.dies:
            raise ConnectionError
        await asyncio.sleep(self.pause)
        writer.write(self.answer)
        if self.cuts:
            raise ConnectionError


@asynccontextmanager
async def recording(ports: Sequence[int]) -> AsyncIterator[Recorder]:
    """A recorder that listens on ``ports``."""
    recorder = Recorder()
    servers = [await asyncio.start_server(recorder.serve, "127.0.0.1", port) for port in ports]
    try:
        yield recorder
    finally:
        for server in servers:
            server.close()
        for writer in recorder.writers:
            writer.transport.abort()


@dataclass(frozen=True)
class Recorders:
    """The port of a gateway, and the ports that it has processes of SFS on."""

    gateway_port: int
    ports: list[int]


@pytest.fixture(scope="session")
def recorders(nginx: Nginx) -> Iterator[Recorders]:
    """A gateway whose timeouts are 1 s, and for its processes of SFS nothing yet."""
    ports = free_ports(3)
    with started(nginx, ports, idle_seconds=1) as (port, _):
        yield Recorders(port, ports)


@pytest.fixture
async def recorder(recorders: Recorders) -> AsyncIterator[Recorder]:
    """All that the gateway at ``recorder.gateway_port`` has behind it."""
    async with recording(recorders.ports) as found:
        found.gateway_port = recorders.gateway_port
        yield found
