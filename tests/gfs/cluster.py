"""A real SeaweedFS cluster on 127.0.0.1, from the wheel of the extra [cluster].

Import this module before the engine: without the extra it skips the module that imports it.

One master, three volume servers with replication 001, one filer: separate processes, so that each
can be killed, frozen and started again on its own. One cluster for each session (or worker of
xdist); a test may mistreat it, as long as ``mend`` is called when the test ends, which the fixture
``cluster`` does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

START_SECONDS = 20.0
STOP_SECONDS = 5.0
HTTP_SECONDS = 10.0
VOLUME_SERVERS = 3
VOLUME_MEGABYTES = 1024
VOLUMES_GROWN = 12
"""At once, so that there are volumes without any one server."""

MAX_VOLUMES = 60


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def weed() -> str | None:
    """The program of the wheel that is installed beside this Python."""
    path = Path(sysconfig.get_path("scripts")) / "weed"
    return str(path) if path.exists() else None


class Process:
    """One server of the cluster. Its state outlives it, so that it can be started again."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        home: Path,
        ports: tuple[int, int],
        settings: Mapping[str, str],
    ) -> None:
        http, grpc = ports
        self.name = name
        self.http = f"127.0.0.1:{http}"
        self.grpc = f"127.0.0.1:{grpc}"
        self.dotted = f"127.0.0.1:{http}.{grpc}"
        self.home = home
        self._arguments = arguments
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        program = weed()
        assert program is not None
        with open(self.home / f"{self.name}.log", "ab") as log:
            self._process = subprocess.Popen(
                [program, "-logtostderr=true", *self._arguments],
                cwd=self.home,
                env={
                    "HOME": str(self.home),
                    "PATH": os.environ.get("PATH", ""),
                    "WEED_MASTER_VOLUME_GROWTH_COPY_2": str(VOLUMES_GROWN),
                    **self._settings,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_healthy(self, seconds: float = START_SECONDS) -> None:
        path = "/cluster/healthz" if self.name.startswith("master") else "/healthz"
        deadline = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"http://{self.http}{path}", timeout=1):
                    return
            except OSError:
                if not self.alive or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} did not start: {self.log()}") from None
                time.sleep(0.01)

    def log(self) -> str:
        return (self.home / f"{self.name}.log").read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """End the process as a power cut does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
            self._frozen = False

    def stop(self) -> None:
        """Freeze the process: its sockets stay open and say nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._frozen = True

    def cont(self) -> None:
        """Let a frozen process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._frozen = False

    def restart(self) -> None:
        """Kill the process if it is there, and start it again on what it left."""
        self.kill()
        self.start()
        self.wait_until_healthy()

    def mend(self) -> bool:
        """Make it run, whatever a test did to it; whether there was anything to do."""
        if self._frozen:
            self.cont()
            return True
        if not self.alive:
            self.restart()
            return True
        return False


class Cluster:
    """The processes, and a few questions that tests ask them over HTTP."""

    def __init__(
        self,
        home: Path,
        *,
        masters: int = 1,
        filers: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """``home`` is an empty directory; ``settings`` are more environment variables."""
        self.home = home
        self._settings = settings or {}
        chosen = free_ports(2 * (masters + VOLUME_SERVERS + filers))
        self._ports = list(zip(chosen[::2], chosen[1::2], strict=True))
        dotted = [f"127.0.0.1:{http}.{grpc}" for http, grpc in self._ports[:masters]]
        self.masters = ",".join(dotted)
        self.all_masters = [
            self._process(
                f"master{number}",
                "-mdir={home}",
                f"-peers={self.masters if masters > 1 else 'none'}",
                "-defaultReplication=001",
                "-telemetry=false",
                "-electionTimeout=1s",
                "-heartbeatInterval=100ms",
                f"-volumeSizeLimitMB={VOLUME_MEGABYTES}",
            )
            for number in range(masters)
        ]
        self.master = self.all_masters[0]
        self.volumes = [
            self._process(
                f"volume{number}",
                "-dir={home}",
                f"-max={MAX_VOLUMES}",
                f"-master={self.masters}",
                "-dataCenter=dc1",
                "-rack=rack1",
                "-preStopSeconds=0",
                "-volume.allowUntrustedRemoteEndpoints",
            )
            for number in range(VOLUME_SERVERS)
        ]
        self.filers = [
            self._process(
                f"filer{number}",
                "-defaultStoreDir={home}",
                f"-master={self.masters}",
                "-localSocket={home}/filer.sock",
            )
            for number in range(filers)
        ]
        self.filer = self.filers[0]
        self.processes = [*self.all_masters, *self.volumes, *self.filers]

    def _process(self, name: str, *arguments: str) -> Process:
        home = self.home / name
        home.mkdir()
        ports = self._ports.pop(0)
        own = [
            name.rstrip("0123456789"),
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-port={ports[0]}",
            f"-port.grpc={ports[1]}",
            *(argument.format(home=home) for argument in arguments),
        ]
        return Process(name, own, home, ports, self._settings)

    def start(self) -> None:
        for process in self.all_masters:
            process.start()
        for process in self.all_masters:
            process.wait_until_healthy()
        for process in (*self.volumes, *self.filers):
            process.start()
        for process in (*self.volumes, *self.filers):
            process.wait_until_healthy()
        self.wait_until_registered()

    def wait_until_registered(self) -> None:
        """Until the master counts every volume server."""
        deadline = time.monotonic() + START_SECONDS
        while self.get(self.master, "/dir/status").count(b'"Url"') < VOLUME_SERVERS:
            if time.monotonic() > deadline:
                raise RuntimeError("a volume server did not register")
            time.sleep(0.02)

    def end(self) -> None:
        for process in self.processes:
            process.kill()

    def mend(self) -> None:
        mended = [process.mend() for process in self.processes]
        if any(mended):
            self.wait_until_registered()

    def get(self, process: Process, path: str, headers: dict[str, str] | None = None) -> bytes:
        """The body of an answer over HTTP; blocks."""
        request = urllib.request.Request(f"http://{process.http}{path}", headers=headers or {})
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as answer:
            body: bytes = answer.read()
            return body

    def status(self, process: Process, path: str) -> int:
        """The status of an answer over HTTP; blocks."""
        try:
            self.get(process, path)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        return 200

    def put(self, path: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        """Store a file by the filer's own HTTP; blocks."""
        request = urllib.request.Request(
            f"http://{self.filer.http}{path}",
            data=body,
            method="PUT",
            headers={"Content-Type": content_type},
        )
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as answer:
            answer.read()

    def sha256(self, path: str) -> str:
        """The digest of what the filer's own HTTP serves; blocks."""
        return hashlib.sha256(self.get(self.filer, path)).hexdigest()


def require() -> None:
    """Skip the module that calls it where there is no SeaweedFS to test with; fail under CI."""
    needed = [importlib.util.find_spec(name) for name in ("grpc", "google_crc32c")]
    if weed() is None or None in needed:
        reason = "the extra [cluster] is not installed: no SeaweedFS to test with"
        if os.environ.get("CI"):
            raise RuntimeError(reason)
        pytest.skip(reason, allow_module_level=True)


require()


@contextmanager
def running(
    *, masters: int = 1, filers: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """A cluster of its own."""
    home = Path(tempfile.mkdtemp(prefix="sfs-cluster-"))
    cluster = Cluster(home, masters=masters, filers=filers, settings=settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Cluster]:
    """The cluster; ask for ``cluster`` where you may break it."""
    with running() as cluster:
        yield cluster


@pytest.fixture
def cluster(seaweed: Cluster) -> Iterator[Cluster]:
    """The cluster, with every process running before and after the test."""
    seaweed.mend()
    yield seaweed
    seaweed.mend()
