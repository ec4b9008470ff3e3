"""The service and its peers, each in processes of its own on a free port of 127.0.0.1.

All of them serve one directory, so that they read the same pages of the page cache, and all of
them write an access log to a file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import proc
from manifests.laptop import server as launcher
from manifests.laptop.weed import free_ports
from tools.node import find_node

TUS = Path(__file__).parent / "tus"
START_SECONDS = 60
STOP_SECONDS = 60

COPYPARTY_FLAGS = ("--no-thumb", "--no-crt", "--no-snap", "--put-ck", "no", "-q")
"""Its fastest sane settings: no database of files and no deduplication (its defaults), no
thumbnails, no checksum of an upload (its default is sha512), no log on the terminal."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run of the bench keeps its files."""

    directory: str

    @property
    def data(self) -> str:
        """The data directory of the service."""
        return os.path.join(self.directory, "data")

    def file(self, name: str, namespace: str = "default") -> str:
        """The path of the file ``name``, as the embedded store lays it out."""
        return os.path.join(self.data, "files", namespace, name)


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs. ``prefix`` comes before a file's name in the path of its URL, and ``tus`` in
    that where an upload of it is started that can be resumed."""

    name: str
    pid: int
    port: int
    prefix: str
    token: str = ""
    tus: str = ""

    def path(self, name: str) -> str:
        """The path of the URL of the file ``name``."""
        return self.prefix + name

    def url(self, name: str) -> str:
        """The URL of the file ``name``."""
        return f"http://127.0.0.1:{self.port}{self.path(name)}"

    def cpu_seconds(self) -> float:
        """CPU time so far, of the tree of processes; of the service without its PostgreSQL."""
        pids = [self.pid] if self.name == "SFS" else proc.tree(self.pid)
        return sum(map(proc.cpu_seconds, pids))

    def database_cpu_seconds(self) -> float:
        """CPU time so far of the processes below the first one: of the service, PostgreSQL."""
        return sum(map(proc.cpu_seconds, proc.tree(self.pid)[1:]))


@contextmanager
def sfs(place: Place, masters: str | None = None) -> Iterator[Server]:
    """The service with its embedded PostgreSQL; its files are in the embedded store, or in the
    cluster of ``masters``."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "sfs_server"]
    flags = ["-addr", f"127.0.0.1:{port}", "-data", place.data, "-log-format", "json"]
    flags += ["-max-streams", "0"]  # all watchers are at one address
    if masters is not None:
        flags += ["-master", masters]
    with _running([*command, *flags], place, "sfs", port) as pid:
        made = [*command, "token", "-data", place.data, "-user", "bench", "-admin"]
        token = subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()
        prefix = "/storage/default/"
        yield Server("SFS", pid, port, prefix, token, prefix)


@contextmanager
def nginx(place: Place) -> Iterator[Server | None]:
    """nginx with one worker and sendfile; None if it is not installed."""
    program = find("nginx")
    if program is None:
        yield None
        return
    (port,) = free_ports(1)
    home = os.path.join(place.directory, "nginx")
    os.makedirs(home, exist_ok=True)
    configuration = os.path.join(home, "nginx.conf")
    with open(configuration, "w", encoding="utf-8") as file:
        file.write(_nginx_conf(home, port, os.path.join(place.data, "files")))
    command = [program, "-p", home, "-e", os.path.join(home, "error.log"), "-c", configuration]
    with _running(command, place, "nginx", port) as pid:
        yield Server("nginx", pid, port, "/default/")


def _nginx_conf(home: str, port: int, root: str) -> str:
    temporary = "".join(
        f"{kind}_temp_path {home}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
{temporary}
access_log {home}/access.log;
sendfile on;
tcp_nopush on;
keepalive_requests 1000000000;
default_type application/octet-stream;
autoindex on;
autoindex_format json;
server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def copyparty(place: Place) -> Iterator[Server | None]:
    """copyparty with COPYPARTY_FLAGS; None if it is not installed."""
    command = find_copyparty()
    if not command:
        yield None
        return
    (port,) = free_ports(1)
    log = os.path.join(place.directory, "copyparty-access.txt")
    volume = f"{place.data}/files:/:rwd"
    flags = ["-i", "127.0.0.1", "-p", str(port), "-v", volume, "-lo", log, *COPYPARTY_FLAGS]
    with _running([*command, *flags], place, "copyparty", port) as pid:
        yield Server("copyparty", pid, port, "/default/")


@contextmanager
def tus_server(place: Place) -> Iterator[Server | None]:
    """@tus/server of npm on plain files; None if it is not installed."""
    node = find_node()
    if node is None or find_tus_server() is None:
        yield None
        return
    (port,) = free_ports(1)
    directory = os.path.join(place.directory, "tus-files")
    command = [node, str(TUS / "server.js"), str(port), directory]
    with _running(command, place, "tus", port) as pid:
        yield Server("@tus/server", pid, port, "/files/", tus="/files/")


def find_tus_server() -> str | None:
    """The version of @tus/server; None if ``npm install --prefix bench/tus`` was not run."""
    package = TUS / "node_modules" / "@tus" / "server" / "package.json"
    return str(json.loads(package.read_text())["version"]) if package.exists() else None


def find(program: str) -> str | None:
    """The path of a program, also where only root's PATH leads; None if it is not installed."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def find_copyparty() -> Sequence[str]:
    """The command that runs copyparty, empty if it is not installed."""
    program = find("copyparty")
    if program is not None:
        return [program]
    if importlib.util.find_spec("copyparty") is not None:
        return [sys.executable, "-m", "copyparty"]
    return []


@contextmanager
def _running(command: Sequence[str], place: Place, name: str, port: int) -> Iterator[int]:
    """Run ``command`` until the body is done; its pid, once it listens on ``port``."""
    home = Path(place.directory, name)
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    server = launcher.Server(home, command, environment, partial(launcher.listens, port))
    server.start()
    try:
        server.wait_until_ready(START_SECONDS)
        yield server.pid
    finally:
        server.end(STOP_SECONDS)
