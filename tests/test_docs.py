"""The README is true: its examples run, and it names the routes and the flags that there are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from sfs_server.config import FLAGS
from sfs_server.routes import add_routes
from tests.server.processes import SECRET, Process

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_examples_run(database_url: str, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        assert "CI" not in os.environ, "CI must have curl"
        pytest.skip("curl is not installed")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
    server = Process(tmp_path / "sfs-data", "-database", database_url)
    try:
        url = f"http://127.0.0.1:{server.port}"
        script = script.replace("http://localhost:8080", url).replace(" /tmp", f" {tmp_path}")
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "CURL_HOME": str(tmp_path), "JWT_SECRET": SECRET},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        server.kill()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "part.txt").read_text() == "hello, world\n"
    assert done.stdout.count("hello, world") >= 1
    assert '"name": "photos"' in done.stdout


def test_the_routes_are_those_of_the_table() -> None:
    app = web.Application()
    add_routes(app)
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    described = {
        (method.strip(), path)
        for methods, path in re.findall(r"^\| ([A-Z, ]+) \| `(/[^`]*)` \|", README, re.MULTILINE)
        for method in methods.split(",")
    }
    assert described == served


def test_the_flags_are_those_of_the_table() -> None:
    table = README[README.index("| flag |") :]
    rows = re.findall(r"^\| ((?:`-[a-z-]+`(?:, )?)+) \|", table, re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`-([a-z-]+)`", row)}
    assert described == {flag.name for flag in FLAGS}
