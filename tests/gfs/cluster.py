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
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from manifests.laptop.weed import (
    GENEROUS,
    Ports,
    Sizes,
    Weed,
    free_ports,
    program,
    store_in_postgres,
    wait_until_registered,
)
from tests.support.postgres import Postgres
from tests.support.programs import freeze

HTTP_SECONDS = 10.0
VOLUME_SERVERS = 3


class Process(Weed):
    """One server of the cluster, which tests may kill and freeze."""

    _frozen = False

    def kill(self) -> None:
        super().kill()
        self._frozen = False

    def stop(self) -> None:
        """Freeze the process: its sockets stay open and say nothing."""
        freeze(self.pid)
        self._frozen = True

    def cont(self) -> None:
        """Let a frozen process go on."""
        self.signal(signal.SIGCONT)
        self._frozen = False

    def restart(self) -> None:
        """Kill the process if it is there, and start it again on what it left."""
        self.kill()
        self.start()
        self.wait_until_ready()

    def mend(self) -> bool:
        """Make it run, whatever a test did to it; returns whether there was anything to do."""
        if self._frozen:
            self.cont()
            return True
        if not self.alive:
            self.restart()
            return True
        return False


class Cluster:
    """The processes of a cluster, and requests that tests send them over HTTP."""

    def __init__(
        self,
        home: Path,
        *,
        masters: int = 1,
        filers: int = 1,
        sizes: Sizes = GENEROUS,
        settings: Mapping[str, str] | None = None,
        store: Mapping[str, str] | None = None,
        hidden: Mapping[str, str] | None = None,
    ) -> None:
        """``home`` is an empty directory; ``settings`` are more environment variables, ``store``
        those of filers; ``hidden`` are the addresses of servers that do not listen where they
        say."""
        self.home = home
        hidden = hidden or {}
        chosen = free_ports(2 * (masters + VOLUME_SERVERS + filers))
        ports = [Ports(*pair) for pair in zip(chosen[::2], chosen[1::2], strict=True)]
        leading = ports[:masters]
        self.masters = ",".join(map(str, leading))

        def servers(kind: str, count: int, more: Mapping[str, str]) -> list[Process]:
            homes = [home / f"{kind}{number}" for number in range(count)]
            for one in homes:
                one.mkdir()
            return [
                Process(
                    one, ports.pop(0), leading, sizes, more, bind=hidden.get(one.name, "127.0.0.1")
                )
                for one in homes
            ]

        settings = settings or {}
        self.all_masters = servers("master", masters, settings)
        self.master = self.all_masters[0]
        self.volumes = servers("volume", VOLUME_SERVERS, settings)
        self.filers = servers("filer", filers, {**settings, **(store or {})})
        self.filer = self.filers[0]
        self.processes = [*self.all_masters, *self.volumes, *self.filers]

    def start(self) -> None:
        for process in self.all_masters:
            process.start()
        for process in self.all_masters:
            process.wait_until_ready()
        for process in self.volumes:
            process.start()
        for process in self.filers:
            process.start()
            process.wait_until_ready()
        for process in self.volumes:
            process.wait_until_ready()
        wait_until_registered(self.master, VOLUME_SERVERS)

    def end(self) -> None:
        for process in self.processes:
            process.kill()

    def mend(self) -> None:
        mended = [process.mend() for process in self.processes]
        if any(mended):
            wait_until_registered(self.master, VOLUME_SERVERS)

    def get(self, process: Process, path: str, headers: dict[str, str] | None = None) -> bytes:
        """The body of a response over HTTP; blocks."""
        request = urllib.request.Request(f"http://{process.http}{path}", headers=headers or {})
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as response:
            body: bytes = response.read()
            return body

    def status(self, process: Process, path: str) -> int:
        """The status of a response over HTTP; blocks."""
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
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as response:
            response.read()

    def sha256(self, path: str) -> str:
        """The digest of what the filer's own HTTP serves; blocks."""
        return hashlib.sha256(self.get(self.filer, path)).hexdigest()


def require() -> None:
    """Skip the module that calls it where there is no SeaweedFS to test with; fail under CI."""
    needed = [importlib.util.find_spec(name) for name in ("grpc", "google_crc32c")]
    if program() is None or None in needed:
        reason = "the extra [cluster] is not installed: no SeaweedFS to test with"
        if os.environ.get("CI"):
            raise RuntimeError(reason)
        pytest.skip(reason, allow_module_level=True)


require()


@contextmanager
def running(
    *,
    masters: int = 1,
    filers: int = 1,
    sizes: Sizes = GENEROUS,
    settings: Mapping[str, str] | None = None,
    store: Mapping[str, str] | None = None,
    hidden: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """A cluster for one test."""
    home = Path(tempfile.mkdtemp(prefix="sfs-cluster-"))
    cluster = Cluster(
        home,
        masters=masters,
        filers=filers,
        sizes=sizes,
        settings=settings,
        store=store,
        hidden=hidden,
    )
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(home, ignore_errors=True)


def empty_store(postgres: Postgres) -> dict[str, str]:
    """The settings of filers that share a store with transactions, which is empty now."""
    postgres.execute("DROP DATABASE IF EXISTS filer WITH (FORCE)")
    postgres.execute("CREATE DATABASE filer TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    return store_in_postgres(str(Path(postgres.socket).parent))


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Cluster]:
    """The cluster of the session; use the fixture ``cluster`` in a test that may break it."""
    with running() as cluster:
        yield cluster


@pytest.fixture
def cluster(seaweed: Cluster) -> Iterator[Cluster]:
    """The cluster, with every process running before and after the test."""
    seaweed.mend()
    yield seaweed
    seaweed.mend()
