"""SIGTERM: not ready first, then no new connections, then what runs is finished or cut."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from sfs_server.app import make_app
from sfs_server.config import Config
from tests.support.client import MIB, Connection, call, connect
from tests.support.credentials import SECRET, bearer
from tests.support.launcher import (
    SETTINGS,
    SFS_SERVER,
    Process,
    Program,
    environment,
    launched,
    run,
)
from tests.support.postgres import Postgres
from tests.support.uploads import WAYS, request
from tests.support.waiting import eventually

BEARER = bearer()
SIZE = 8 * MIB
"""More than the kernel holds for a client that does not read."""

EACH = 10


def target(name: str) -> str:
    return f"/storage/default/{name}"


class Transfers:
    """Downloads and uploads that have come half way."""

    def __init__(self, data: Path, content: bytes) -> None:
        self.content = content
        self.files = data / "files"
        self.down: list[Connection] = []
        self.up: list[tuple[Connection, bytes]] = []

    async def begin(self, port: int, stack: AsyncExitStack) -> None:
        for number in range(EACH):
            connection = await stack.enter_async_context(connect(port, receive_buffer=65536))
            connection.send("GET", target("big"))
            assert (await connection.head())[0] == 200
            self.down.append(connection)
            connection = await stack.enter_async_context(connect(port))
            way = WAYS[number % len(WAYS)]
            whole = request("PUT", target(f"new-{number}"), way, self.content, BEARER)
            half = len(whole) // 2
            connection.send_raw(whole[:half])
            self.up.append((connection, whole[half:]))
        await eventually(lambda: len(os.listdir(self.files / "~tmp")) == EACH)

    async def finish(self, count: int) -> None:
        """Finish ``count`` in each direction, and hold that they are whole."""

        async def download(connection: Connection) -> None:
            assert await connection.reader.readexactly(SIZE) == self.content

        async def upload(connection: Connection, rest: bytes) -> None:
            connection.send_raw(rest)
            assert (await connection.answer()).status == 201

        await asyncio.gather(
            *(download(connection) for connection in self.down[:count]),
            *(upload(*one) for one in self.up[:count]),
        )
        for number in range(count):
            assert (self.files / "default" / f"new-{number}").read_bytes() == self.content


@asynccontextmanager
async def running(tmp_path: Path, database_url: str) -> AsyncIterator[tuple[Process, Transfers]]:
    """A process with EACH downloads and EACH uploads under way."""
    content = random.Random(6).randbytes(SIZE)
    async with (
        launched(tmp_path, "-database", database_url) as process,
        AsyncExitStack() as stack,
    ):
        stored = await call(process.port, "PUT", target("big"), BEARER, content)
        assert stored.status == 201
        transfers = Transfers(tmp_path, content)
        await transfers.begin(process.port, stack)
        yield process, transfers


async def test_sigterm_loses_no_transfer_that_ends_in_time(
    tmp_path: Path, database_url: str
) -> None:
    async with running(tmp_path, database_url) as (process, transfers):
        process.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        await transfers.finish(EACH)
        assert await process.ended() == 0
    assert os.listdir(tmp_path / "files" / "~tmp") == []
    assert "cut" not in process.log
    assert "Traceback" not in process.log


async def test_what_has_not_ended_is_cut_where_everybody_sees_it(
    tmp_path: Path, database_url: str
) -> None:
    done = EACH - 2
    async with running(tmp_path, database_url) as (process, transfers):
        process.signal(signal.SIGTERM)
        await transfers.finish(done)
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        for connection in transfers.down[done:]:
            assert len(await connection.broken_body()) < SIZE
        for connection, _ in transfers.up[done:]:
            assert await connection.broken_body() == b""
    assert os.listdir(tmp_path / "files" / "~tmp") == []
    stored = set(os.listdir(tmp_path / "files" / "default"))
    assert stored == {"big", *(f"new-{number}" for number in range(done))}
    assert "cut: 4" in process.log
    lines = [line for line in process.log.splitlines() if '"status": 499' in line]
    assert len([line for line in lines if '"sfs.access"' in line]) == 4
    assert "Traceback" not in process.log


async def test_new_connections_are_served_until_a_load_balancer_has_seen_the_503(
    tmp_path: Path, database_url: str
) -> None:
    arguments = ("-database", database_url, "-drain-grace", "60")
    async with launched(tmp_path, *arguments) as process:
        assert (await call(process.port, "PUT", target("a"), BEARER, bytes(SIZE))).status == 201
        async with connect(process.port, receive_buffer=65536) as connection:
            connection.send("GET", target("a"))
            assert "Connection" not in (await connection.head())[1]
            process.signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            assert await connection.rest() == bytes(SIZE), "and then it is closed"
        answer = await call(process.port, "GET", target("a"))
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        answer = await call(process.port, "GET", "/readyz")
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
        assert answer.json()["checks"]["process"] == "draining"
        answer = await call(process.port, "GET", "/storage/files")
        assert (answer.status, len(answer.json())) == (200, 1)
        process.signal(signal.SIGTERM)  # somebody will not wait for it
        assert await process.ended(15) == 0
    assert "Traceback" not in process.log


# Starts.


def test_a_start_that_waits_for_its_database_ends_at_a_signal(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"postgresql://me:hush@127.0.0.1:{closed.getsockname()[1]}/sfs"
        command = (*SFS_SERVER, "-data", str(tmp_path), "-database", url)
        with Program(*command, env=environment(SETTINGS)) as process:
            process.wait_for("waiting for the database")
            process.signal(signal.SIGTERM)
            assert process.wait(15) == 0
    assert "Traceback" not in process.log


async def test_a_start_that_is_ended_listens_no_more(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would go on, and complain of the database that is stopped next."""

    async def wait(*_: object) -> None:
        await asyncio.Event().wait()

    def listeners() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks() if "listen" in task.get_name()]

    monkeypatch.setattr("sfs_server.database.listener.Listener._ping", wait)
    runner = web.AppRunner(make_app(config))
    starting = asyncio.create_task(runner.setup())
    await eventually(lambda: listeners() == ["listen sfs_namespaces"], 20)
    starting.cancel()
    await asyncio.wait([starting])
    await runner.cleanup()
    assert listeners() == []


def test_a_database_of_another_program_is_a_clear_message(
    tmp_path: Path, database_url: str, database_name: str, postgres: Postgres
) -> None:
    postgres.execute("CREATE TABLE namespaces (nothing int)", database_name)
    arguments = ("-addr", "127.0.0.1:0", "-data", str(tmp_path), "-database", database_url)
    ended = run(*arguments, env={"JWT_SECRET": SECRET})
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("sfs-server: The database ")
    assert " has a table namespaces that is not one of SFS: " in ended.stderr
    assert ended.stderr.count("\n") == 1
