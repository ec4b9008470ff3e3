"""A real process that is killed, drained, and started again on the same data."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests.support.client import Connection, call, connect
from tests.support.credentials import SECRET, bearer
from tests.support.launcher import launched, run
from tests.support.uploads import WAYS, head, request
from tests.support.waiting import eventually

ROUNDS = 10
CLIENTS = 6
BEARER = bearer()


def target(name: str) -> str:
    return f"/storage/default/{name}"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Names:
    """What may be seen under each name: what was last confirmed, or what was being sent."""

    def __init__(self) -> None:
        self.confirmed: dict[str, str | None] = {}
        self.attempted: dict[str, str] = {}

    def allowed(self, name: str) -> set[str | None]:
        return {self.confirmed.get(name), self.attempted.get(name, self.confirmed.get(name))}


async def client(port: int, names: Names, dice: random.Random, number: int, round_: int) -> None:
    """Upload until the server is gone, to a name that is always the same and to new ones."""
    # RuntimeError is what uvloop says of writing to a connection that is gone.
    with suppress(OSError, asyncio.IncompleteReadError, RuntimeError):
        async with connect(port) as connection:
            for turn in range(10_000):
                name = f"kept-{number}" if turn % 2 else f"new-{round_}-{number}-{turn}"
                content = dice.randbytes(dice.choice([0, 1000, 300_000, 2_000_000]))
                names.attempted[name] = digest(content)
                whole = request("PUT", target(name), dice.choice(WAYS), content, BEARER)
                middle = dice.randrange(len(whole))
                connection.send_raw(whole[:middle])
                await asyncio.sleep(dice.random() * 0.02)
                connection.send_raw(whole[middle:])
                answer = await connection.answer()
                assert answer.status in (200, 201)
                names.confirmed[name] = names.attempted.pop(name)


async def check(port: int, names: Names, data: Path) -> int:
    """Hold that each name shows something that may be seen, whole. How many there are."""
    assert os.listdir(data / "files" / "~tmp") == []
    found: dict[str, str | None] = {}
    async with connect(port) as connection:
        for name in names.confirmed | names.attempted:
            answer = await connection.ask("GET", target(name))
            assert answer.status in (200, 404)
            found[name] = digest(answer.body) if answer.status == 200 else None
            assert found[name] in names.allowed(name), name
        listed = (await connection.ask("GET", "/storage/files?namespace=default")).json()
    there = {name for name, one in found.items() if one is not None}
    assert {entry["name"] for entry in listed} == there
    names.confirmed, names.attempted = found, {}
    return len(there)


async def shown(port: int) -> tuple[int, int]:
    """How many files and bytes the list of namespaces says there are."""
    [default] = (await call(port, "GET", "/storage/namespaces")).json()
    return default["count"], default["bytes"]


@pytest.mark.timeout(300)  # it starts eleven times
async def test_a_server_killed_while_uploads_run_shows_old_or_new_files(
    tmp_path: Path, database_url: str
) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    data = tmp_path / "data"
    names = Names()
    in_flight = 0
    for round_ in range(ROUNDS):
        async with launched(data, "-database", database_url) as process:
            await check(process.port, names, data)
            clients = [
                asyncio.create_task(client(process.port, names, dice, number, round_))
                for number in range(CLIENTS)
            ]
            await asyncio.sleep(0.02 + dice.random() * 0.25)
        await asyncio.gather(*clients)
        in_flight += len(names.attempted)
    async with launched(data, "-database", database_url) as process:
        there = await check(process.port, names, data)
        assert there > 0, f"seed {seed}"
        size = sum(file.stat().st_size for file in (data / "files" / "default").iterdir())
        # Files were published, and what they add was not written: a recount finds them.
        await eventually(lambda: shown(process.port), 30, equals=(there, size))
    assert in_flight >= ROUNDS, f"seed {seed}"


class Folders:
    """What may be in the folders of one client: what was confirmed, or what was being changed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.confirmed: dict[str, bytes] = {}
        self.attempted: dict[str, bytes] = {}

    async def change(
        self,
        connection: Connection,
        method: str,
        name: str,
        after: dict[str, bytes],
        body: bytes = b"",
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Ask for what makes ``after`` of the files."""
        self.attempted = after
        answer = await connection.ask(method, target(name), {**BEARER, **(fields or {})}, body)
        assert answer.status in (200, 201, 204), (method, name, answer)
        self.confirmed = after

    async def churn(self, port: int, dice: random.Random) -> None:
        """Fill a folder, move it over the one before, and now and then delete that, until the
        server is gone."""
        here, there = f"here-{self.number}", f"there-{self.number}"
        with suppress(OSError, asyncio.IncompleteReadError, RuntimeError):
            async with connect(port) as connection:
                while True:
                    for name in (f"{here}/f", f"{here}/in/f"):
                        content = dice.randbytes(1000)
                        after = self.confirmed | {name: content}
                        await self.change(connection, "PUT", name, after, content)
                    after = {
                        name.replace(here, there): content
                        for name, content in self.confirmed.items()
                        if name.startswith(here)
                    }
                    to = {"Destination": target(f"{there}/"), "Overwrite": "T"}
                    await self.change(connection, "MOVE", f"{here}/", after, fields=to)
                    if dice.random() < 0.3:
                        await self.change(connection, "DELETE", f"{there}/", {})

    async def check(self, port: int) -> None:
        """Hold that there is what may be there, and go on from it."""
        found = {}
        async with connect(port) as connection:
            for folder in (f"here-{self.number}/", f"there-{self.number}/"):
                listed = await connection.ask("GET", f"/storage/files?prefix={folder}", BEARER)
                for entry in listed.json():
                    answer = await connection.ask("GET", entry["path"], BEARER)
                    assert answer.status == 200
                    found[entry["name"]] = answer.body
        assert found in (self.confirmed, self.attempted)
        self.confirmed = self.attempted = found


@pytest.mark.timeout(300)  # it starts six times
async def test_a_server_killed_while_folders_move_shows_each_where_it_was_or_is_to_be(
    tmp_path: Path, database_url: str
) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    folders = [Folders(number) for number in range(CLIENTS)]
    in_flight = 0
    for _ in range(5):
        async with launched(tmp_path / "data", "-database", database_url) as process:
            await asyncio.gather(*(one.check(process.port) for one in folders))
            running = [asyncio.create_task(one.churn(process.port, dice)) for one in folders]
            await asyncio.sleep(0.1 + dice.random() * 0.3)
        await asyncio.gather(*running)
        in_flight += sum(one.attempted != one.confirmed for one in folders)
    async with launched(tmp_path / "data", "-database", database_url) as process:
        await asyncio.gather(*(one.check(process.port) for one in folders))
        assert os.listdir(tmp_path / "data" / "files" / "~tmp") == []
    assert in_flight > 0, f"seed {seed}"


async def refuses(port: int) -> bool:
    """Whether nobody listens on ``port``."""
    try:
        async with connect(port):
            return False
    except ConnectionRefusedError:
        return True


async def test_sigterm_lets_running_transfers_finish(tmp_path: Path, database_url: str) -> None:
    data = tmp_path / "data"
    content = random.Random(4).randbytes(40_000_000)
    async with launched(data, "-database", database_url) as process:
        async with (
            connect(process.port, receive_buffer=65536) as down,
            connect(process.port) as before,
            connect(process.port) as up,
            connect(process.port) as idle,
        ):
            before.send_raw(request("PUT", target("big"), "raw", content, BEARER))
            assert (await before.answer()).status == 201
            assert (await idle.ask("GET", "/healthz")).status == 200
            down.send("GET", target("big"))
            assert (await down.head())[0] == 200
            first = await down.reader.readexactly(1000)
            whole = request("POST", target("new"), "raw", content[:1_000_000], BEARER)
            up.send_raw(whole[:500_000])
            await eventually(lambda: os.listdir(data / "files" / "~tmp") != [])
            process.signal(signal.SIGTERM)
            await eventually(lambda: refuses(process.port))
            # A gateway that has not noticed yet is answered, and told.
            answer = await idle.ask("GET", "/readyz")
            assert (answer.status, answer.headers["Connection"]) == (503, "close")
            assert await idle.rest() == b""
            up.send_raw(whole[500_000:])
            assert (await up.answer()).status == 201
            rest = await down.reader.readexactly(len(content) - len(first))
            assert first + rest == content
            assert await up.rest() == b""
        assert await process.ended() == 0
    assert (data / "files" / "default" / "new").read_bytes() == content[:1_000_000]
    assert os.listdir(data / "files" / "~tmp") == []
    assert "Traceback" not in process.log


@pytest.mark.parametrize(("seconds", "signals"), [("0.5", 1), ("60", 2)])
async def test_a_drain_ends_when_its_time_is_over_or_at_a_second_signal(
    tmp_path: Path, database_url: str, seconds: str, signals: int
) -> None:
    data = tmp_path / "data"
    flags = ("-database", database_url, "-drain-timeout", seconds)
    async with launched(data, *flags) as process, connect(process.port) as connection:
        headers = {**BEARER, "Content-Length": "1000"}
        connection.send_raw(head("PUT", target("never"), headers) + b"x" * 999)
        await eventually(lambda: os.listdir(data / "files" / "~tmp") != [])
        for _ in range(signals):
            process.signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait_for, "stopping: transfers have")
        assert await process.ended(10) == 0
    assert os.listdir(data / "files" / "~tmp") == []
    assert os.listdir(data / "files" / "default") == []
    assert "cut: 1" in process.log
    assert "Traceback" not in process.log


async def test_a_second_server_on_the_same_data_says_so_and_ends(
    tmp_path: Path, database_url: str
) -> None:
    data = tmp_path / "data"
    async with launched(data, "-database", database_url) as process:
        arguments = ("-addr", "127.0.0.1:0", "-data", str(data), "-database", database_url)
        second = await asyncio.to_thread(run, *arguments, env={"JWT_SECRET": SECRET})
        assert second.returncode != 0
        assert second.stdout == ""
        assert second.stderr.startswith("sfs-server: ")
        assert "another process" in second.stderr
        assert second.stderr.count("\n") == 1
        assert (await call(process.port, "GET", "/healthz")).status == 200


@pytest.fixture
def short_data() -> Iterator[Path]:
    """A data directory that the user of the embedded PostgreSQL can reach."""
    path = Path(tempfile.mkdtemp(prefix="sfs-kill-"))
    yield path
    for process in databases(path):
        process.kill()
    shutil.rmtree(path)


def databases(data: Path) -> list[psutil.Process]:
    """The processes of PostgreSQL that run in a data directory."""
    return [
        process
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "postgres" and (process.info["cwd"] or "").startswith(str(data))
    ]


async def test_the_embedded_database_survives_a_kill_and_ends_with_its_server(
    short_data: Path,
) -> None:
    async with launched(short_data) as process:
        for name in ("one", "two"):
            made = await call(process.port, "POST", target(name), BEARER, b"content")
            assert made.status == 201
    async with launched(short_data) as process:
        async with connect(process.port) as connection:
            assert (await connection.ask("GET", target("one"))).body == b"content"
            listed = (await connection.ask("GET", "/storage/files")).json()
            assert [entry["name"] for entry in listed] == ["one", "two"]
        assert databases(short_data)
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    assert databases(short_data) == []
