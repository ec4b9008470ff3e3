"""The gateway as it is in a pod: before the one address that a Service has for all of SFS."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from manifests.gateway import Nginx
from manifests.gateway.__main__ import TRIES
from manifests.laptop.server import Server, listens
from manifests.laptop.weed import free_ports
from tests.gateway.conftest import STORABLE, Recorder, started
from tests.support.client import connect

ROOT = Path(__file__).parents[2]
READ = "/storage/default/service"
MODULE = [sys.executable, "-m", "manifests.gateway"]


@asynccontextmanager
async def recording(port: int) -> AsyncIterator[Recorder]:
    """What a Service leads to."""
    recorder = Recorder(answer=STORABLE)
    async with await asyncio.start_server(recorder.serve, "127.0.0.1", port):
        yield recorder
        for writer in recorder.writers:
            writer.transport.abort()


async def test_a_read_gets_other_connections_and_a_change_never_a_second(
    nginx: Nginx, tmp_path: Path
) -> None:
    """As many as TRIES. It is told where to listen, whom to ask, whom to believe about clients, and
    where it may write."""
    port, upstream = free_ports(2)
    flags = ["-listen", f"127.0.0.1:{port}", "-upstream", f"localhost:{upstream}"]
    flags += ["-trusted-proxy", "127.0.0.0/8"]
    command = [*MODULE, *flags, "-home", str(tmp_path), "-workers", "1"]
    server = Server(tmp_path, command, {"PYTHONPATH": str(ROOT)}, partial(listens, port))
    server.start()
    try:
        await asyncio.to_thread(server.wait_until_ready)
        async with recording(upstream) as recorder, connect(port) as client:
            recorder.dies = True
            assert (await client.ask("GET", READ)).status == 502
            assert len(recorder.heads) == TRIES
            recorder.heads.clear()
            assert (await client.ask("DELETE", READ)).status == 502
            assert len(recorder.heads) == 1
            recorder.dies = False
            forwarded = {"X-Forwarded-For": "192.0.2.1, 203.0.113.9, 127.0.0.2"}
            assert (await client.ask("DELETE", READ, forwarded)).status == 200
            assert recorder.fields(-1).getall("X-Forwarded-For") == ["203.0.113.9"]
        assert "GET 502 " in server.log(), "requests are logged to standard output"
    finally:
        server.end(5)


async def test_a_new_gateway_keeps_nothing_while_its_predecessor_may_end_uploads(
    nginx: Nginx,
) -> None:
    (upstream,) = free_ports(1)
    async with recording(upstream):
        for seconds, kept in ((3600, False), (0, True)):
            with started(nginx, [upstream], first_hold_seconds=seconds) as (port, _):
                async with connect(port) as client:
                    answers = [await client.ask("GET", READ) for _ in range(2)]
            assert ("Age" in answers[1].headers) == kept


@pytest.mark.parametrize("upstream", ["nowhere.invalid:80", "localhost", "localhost:http"])
def test_it_says_whom_it_does_not_find(nginx: Nginx, tmp_path: Path, upstream: str) -> None:
    done = subprocess.run(
        [*MODULE, "-upstream", upstream, "-home", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"gateway: -upstream {upstream}: ")
    assert done.stderr.count("\n") == 1
