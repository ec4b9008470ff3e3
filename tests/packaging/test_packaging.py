"""What a user installs, in clean environments: ``tox run -e packaging``. It takes minutes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from manifests.gateway import find
from manifests.laptop.weed import free_ports
from tests.packaging.opened import opened
from tests.packaging.pods import ALONE
from tests.support import dockerfile
from tests.support.credentials import SECRET
from tests.support.dockerfile import ROOT, command
from tests.support.launcher import Program
from tests.support.rooted import require_root

INSTALL_SECONDS = 300.0
START_SECONDS = 60.0
END_SECONDS = 20.0
USER = "nobody"
"""Has a name here, as the user of the image has there; PostgreSQL wants that."""

pytestmark = pytest.mark.timeout(2 * INSTALL_SECONDS)


def run(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; what it says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**kept, **(env or {})},
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(place: Path, what: str) -> Path:
    """The programs of a clean environment that has ``what``."""
    run(sys.executable, "-m", "venv", str(place / "venv"), cwd=place)
    programs = place / "venv" / "bin"
    run(str(programs / "pip"), "install", "--quiet", what, cwd=place)
    return programs


def alone(place: Path) -> list[str]:
    """The words before a program that is to be process 1, and the user of the image."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *opened(place)]
    return [*words, "setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups"]


def get(port: int, path: str) -> bytes:
    """The answer, as soon as there is one."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                body: bytes = answer.read()
                return body
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_the_wheel_carries_the_page_and_the_tables(place: Path) -> None:
    run(sys.executable, "-m", "venv", str(place / "venv"), cwd=place)
    pip = str(place / "venv" / "bin" / "pip")
    run(pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT), cwd=place)
    (wheel,) = place.glob("*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for package in ("gfs", "sfs_server")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if not path.name.endswith(".d.ts")  # for the type check alone
    }
    wanted |= {f"sfs_server/schema/{path.name}" for path in (ROOT / "schema").iterdir()}
    assert wanted == {one for one in carried if ".dist-info" not in one}


@pytest.mark.parametrize("extra", ["", "[cluster]"])
def test_without_a_database_it_says_what_is_missing(place: Path, extra: str) -> None:
    programs = install(place, f"{ROOT}{extra}")
    assert run(str(programs / "sfs-server"), "-version", cwd=place).strip()[0].isdigit()
    assert (programs / "weed").exists() == (extra == "[cluster]")
    done = subprocess.run(
        [programs / "sfs-server"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "[embedded]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_with_embedded_it_serves(place: Path) -> None:
    programs = install(place, f"{ROOT}[embedded]")
    (port,) = free_ports(1)
    command = (programs / "sfs-server", "-addr", f"127.0.0.1:{port}")
    with Program(*command, env=os.environ, cwd=place) as process:
        assert b"<title>" in get(port, "/")
        assert b'"ok"' in get(port, "/readyz")
        process.signal(signal.SIGINT)
        assert process.wait(END_SECONDS) == 0


def test_the_image_can_be_made_and_serves_as_process_1(place: Path) -> None:
    """The steps of the Dockerfile, in a directory that stands in for the root of the image."""
    require_root("it takes root to be another user, and process 1", shutil.which("unshare"))
    build, _, image = dockerfile.parse()
    source, opt, data = place / "src", place / "opt", place / "data"
    source.mkdir()
    data.mkdir()
    shutil.chown(data, USER)
    for kind, rest in build.steps:
        if kind == "COPY":
            for name in rest.split()[:-1]:
                run("cp", "-r", str(ROOT / name), str(source), cwd=place)
        elif kind == "RUN":
            words = [word.replace("/opt/", f"{opt}/") for word in command(rest)]
            words[0] = sys.executable if words[0] == "python" else words[0]
            run(*words, cwd=source)
    (port,) = free_ports(1)
    environment = {
        "JWT_SECRET": SECRET,
        **image.environment,
        "PATH": image.environment["PATH"].replace("/opt/", f"{opt}/"),
        "SFS_ADDR": f"127.0.0.1:{port}",
        "SFS_DATA": str(data),
        "SFS_DRAIN_GRACE": "0",
    }
    program, check = command(image.one("ENTRYPOINT")), image.one("HEALTHCHECK")
    with Program(*alone(place), *program, env=environment, cwd=data) as process:
        assert b'"ok"' in get(port, "/readyz")
        words = command(check.partition("CMD ")[2])
        words[0] = str(opt / "sfs" / "bin" / "python")
        run(*words, cwd=place, env=environment)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        os.kill(int(children), signal.SIGTERM)
        assert process.wait(END_SECONDS) == 0


def test_the_image_of_the_gateway_can_be_made_and_ends_when_its_transfers_have(
    place: Path,
) -> None:
    """Debian would install what its Dockerfile asks for, and what is copied starts as process 1."""
    programs = shutil.which("unshare"), shutil.which("apt-get"), find()
    require_root("it takes root, apt-get, and the nginx that it would install", *programs)
    _, image, _ = dockerfile.parse()
    opt, data = place / "opt", place / "data"
    data.mkdir()
    shutil.chown(data, USER)
    for kind, rest in image.steps:
        words = rest.split()
        if kind == "COPY":
            target = Path(words[-1].replace("/opt/", f"{opt}/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            run("cp", "-r", str(ROOT / words[0]), str(target), cwd=place)
        elif "apt-get" in rest:
            update, install, _ = command(rest)[2].split(" && ")
            run(*update.split(), cwd=place)
            assert "Inst nginx" in run(*install.split(), "--simulate", "--reinstall", cwd=place)
    paths = image.environment["PYTHONPATH"].replace("/opt/", f"{opt}/")
    environment = {**image.environment, "PYTHONPATH": paths, "PATH": os.environ["PATH"]}
    port, upstream = free_ports(2)
    python = Path(sys.base_prefix).resolve() / "bin" / "python3"
    program = [str(python), *command(image.one("ENTRYPOINT"))[1:]]
    flags = ["-listen", f"127.0.0.1:{port}", "-upstream", f"127.0.0.1:{upstream}"]
    command_line = (*alone(place), *program, *flags, "-home", str(data))
    with (
        (place / "log").open("wb") as log,
        socket.create_server(("127.0.0.1", upstream)) as sfs,
    ):
        shutil.chown(place / "log", USER)
        with Program(*command_line, env=environment, cwd=data, stdout=log, stderr=log) as process:
            with connected(port) as client:
                client.sendall(b"GET /storage/default/a HTTP/1.1\r\nHost: a\r\n\r\n")
                with requested(sfs) as behind:
                    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
                    os.kill(int(children), signal.Signals[image.one("STOPSIGNAL")])
                    time.sleep(1)
                    behind.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
                    assert client.makefile("rb").read().endswith(b"late")
            assert process.wait(END_SECONDS) == 0


def connected(port: int) -> socket.socket:
    """A connection, as soon as somebody listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), END_SECONDS)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def requested(server: socket.socket) -> socket.socket:
    """The connection of a request for a file; the others ask whether one is ready."""
    server.settimeout(END_SECONDS)
    while True:
        connection, _ = server.accept()
        connection.settimeout(END_SECONDS)
        if b"/storage/" in connection.recv(65536):
            return connection
        connection.close()


def test_the_containers_of_the_manifests_make_a_cluster(place: Path) -> None:
    programs = shutil.which("unshare"), shutil.which("ip")
    require_root("it takes root to have a network of one's own, unshare and ip", *programs)
    run(*ALONE, sys.executable, "-m", "tests.packaging.cluster", str(place), cwd=ROOT)
