"""A cluster is saved by the command while files come and a server dies, and restored to a cluster
and a database in which nothing is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.faults.replicas import flip, holders
from tests.faults.transfers import Ledger, serving, sha256, some_bytes, upload
from tests.gfs.cluster import Cluster, running
from tests.support.client import connect
from tests.support.credentials import SECRET, bearer
from tests.support.launcher import run
from tests.support.postgres import Postgres

pytestmark = pytest.mark.timeout(180)

MIB = 1024 * 1024
CHUNK = 4 * MIB
SIZES = (0, 1, 5_000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7)
SPACES = {"default": "alice", "photos": "alice", "letters": "bob"}
SMALL = 100
"""Small files in each namespace."""

MOVING = 20
SECONDS = 120.0
ENV = {"JWT_SECRET": SECRET}
ROWS = "SELECT name, hidden, owner, created_at FROM namespaces ORDER BY name"


async def sfs_server(*words: str) -> str:
    """Run the command to its end; what it prints."""
    done = await asyncio.to_thread(run, *words, env=ENV, seconds=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def small(number: int) -> str:
    """The path of a small file, in one of a few folders."""
    return f"small/{number % 7}/{number}"


async def fill(port: int, kept: dict[str, list[str]]) -> None:
    """Make the namespaces and their files; ``kept`` gets the digests by the paths."""
    async with connect(port) as connection:
        for name, owner in SPACES.items():
            if name != "default":
                body = json.dumps({"name": name, "hidden": name == "letters"}).encode()
                named = {**bearer(owner), "Content-Type": "application/json"}
                made = await connection.ask("POST", "/storage/namespaces", named, body)
                assert made.status == 201
    for seed, (space, owner) in enumerate(SPACES.items()):
        files = {f"{size}": some_bytes(size, seed) for size in SIZES}
        files |= {small(n): some_bytes(n * 10, n) for n in range(SMALL)}
        for name, data in files.items():
            path = f"/storage/{space}/{name}"
            assert (await upload(port, path, data, headers=bearer(owner))).status == 201
            kept[path] = [sha256(data)]


async def change(port: int, kept: dict[str, list[str]], saving: asyncio.Task[str]) -> int:
    """Replace files and add others until the backup is there; how many were sent."""
    sent = 0
    while not saving.done() or sent < 2 * MOVING:
        moving, new = f"/storage/photos/{small(sent % MOVING)}", f"/storage/photos/new/{sent}"
        data = some_bytes(3_000 + sent, sent)
        kept[moving].append(sha256(data))
        assert (await upload(port, moving, data)).status == 200
        assert (await upload(port, new, data)).status == 201
        sent += 1
    return sent


async def compare(port: int, kept: dict[str, list[str]]) -> None:
    async with connect(port) as connection:
        for path, digests in kept.items():
            owner = SPACES[path.split("/")[2]]
            answer = await connection.ask("GET", path, bearer(owner))
            assert answer.status == 200, path
            assert sha256(answer.body) in digests, path


async def test_a_cluster_in_use_that_loses_a_server_is_restored_to_an_empty_one(
    postgres: Postgres, database_url: str, tmp_path: Path, ledger: Ledger
) -> None:
    postgres.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
    postgres.execute("CREATE DATABASE restored")
    restored_url = postgres.url("restored")
    kept: dict[str, list[str]] = {}
    backup = str(tmp_path / "backup")
    with ledger.loop("backup and restore of a cluster") as loop, running() as old:
        place = ("-master", old.masters, "-database", database_url)
        with serving(tmp_path / "old", old.masters, database_url) as (sfs,):
            await fill(sfs.port, kept)
            saving = asyncio.create_task(sfs_server("backup", *place, "-to", backup))
            killing = asyncio.create_task(kill_soon(old, Path(backup)))
            loop.transfers = await change(sfs.port, kept, saving)
            loop.strikes += await killing
            loop.notes.append((await saving).strip())
            rows = postgres.execute(ROWS, "test")
        old.end()
        with running() as new:
            place = ("-master", new.masters, "-database", restored_url)
            loop.notes.append((await sfs_server("restore", *place, "-from", backup)).strip())
            assert postgres.execute(ROWS, "restored") == rows
            assert len(rows) == len(SPACES)
            with serving(tmp_path / "new", new.masters, restored_url) as (sfs,):
                await compare(sfs.port, kept)


async def kill_soon(cluster: Cluster, backup: Path) -> int:
    """Kill a volume server when the first file has been saved."""
    while not any(path.is_file() for path in (backup / "files").glob("[!~]*/**/*")):
        await asyncio.sleep(0.005)
    assert not (backup / "database.json").exists(), "it was too fast"
    cluster.volumes[0].kill()
    return 1


async def test_a_file_that_no_server_has_whole_is_named_and_the_rest_is_saved(
    database_url: str, tmp_path: Path
) -> None:
    data = some_bytes(100_000, 1)
    with running() as cluster:
        with serving(tmp_path, cluster.masters, database_url) as (sfs,):
            for name, body in (("whole", data[::-1]), ("broken", data)):
                path = f"/storage/default/{name}"
                assert (await upload(sfs.port, path, body)).status == 201
        copies = holders(cluster, data)
        assert len(copies) == 2
        for copy, start in copies:
            flip(copy, start + 50_000)
        place = ("-master", cluster.masters, "-database", database_url)
        words = ("backup", *place, "-to", str(tmp_path / "backup"))
        done = await asyncio.to_thread(run, *words, env=ENV, seconds=SECONDS)
    assert done.returncode == 1
    assert "1 files could not be read: default/broken." in done.stderr
    assert len(done.stderr.splitlines()) == 1
    files = tmp_path / "backup" / "files" / "default"
    assert [one.name for one in files.iterdir()] == ["whole"]
    assert (files / "whole").read_bytes() == data[::-1]
    assert (tmp_path / "backup" / "database.json").exists()
