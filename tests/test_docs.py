"""The README is true: its examples run, and it names the routes and the flags that there are."""

from __future__ import annotations

import re
from pathlib import Path

from aiohttp import web

from sfs_server.config import FLAGS
from sfs_server.routes import add_routes
from tests.support.credentials import SECRET
from tests.support.examples import run_examples
from tests.support.launcher import Process

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_examples_run(database_url: str, tmp_path: Path) -> None:
    with Process(tmp_path / "sfs-data", "-database", database_url) as server:
        replace = {
            "http://localhost:8080": f"http://127.0.0.1:{server.port}",
            " /tmp": f" {tmp_path}",
        }
        printed = run_examples(README, tmp_path, replace, {"JWT_SECRET": SECRET}, 60)
    assert (tmp_path / "part.txt").read_text() == "hello, world\n"
    assert printed.count("hello, world") >= 1
    assert '"name": "photos"' in printed


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


def test_the_table_of_the_flags_is_what_they_say() -> None:
    rows = [
        f"| `-{flag.name}` | {flag.meaning} | {f'`{flag.default}` ' if flag.default else ''}|"
        for flag in FLAGS
    ]
    table = README[README.index("| flag |") :].partition("\n\n")[0]
    assert table.splitlines()[2:] == rows
