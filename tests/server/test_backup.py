"""A backup that is taken while files come and go has whole whatever was whole when it began."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from pytest_aiohttp import AiohttpServer

from sfs_server.app import make_app
from sfs_server.backup import backup, restore
from sfs_server.cli import parse_backup, parse_restore
from sfs_server.config import Config, ConfigError
from sfs_server.data_directory import sole_user
from tests.postgres import Postgres
from tests.server.conftest import SECRET, Service
from tests.server.processes import Process, run

FILES = 40
CHANGES = 100
"""So many files, at least, are replaced and deleted while the backup is taken."""


@pytest.fixture(params=["same disk", "another disk"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where a backup goes."""
    if request.param == "same disk":
        yield tmp_path / "backup"
        return
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other disk")
    directory = memory / f"sfs-test-{os.getpid()}"
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def empty(postgres: Postgres, config: Config, tmp_path: Path) -> Config:
    """Another place to serve from, with nothing in it."""
    postgres.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
    postgres.execute("CREATE DATABASE restored")
    return replace(config, data=str(tmp_path / "new"), database=postgres.url("restored"))


def content(name: str, version: int) -> bytes:
    """What a file has, known by its name and version: a mixture of two would be none of them."""
    block = hashlib.sha256(f"{name} {version}".encode()).digest()
    return block * (1 + version * 977 % 2048)


async def churn(service: Service, backing_up: asyncio.Task[str], newest: list[int]) -> None:
    """Replace the files in turns, make and delete others, until the backup is done."""
    changes = 0
    while not backing_up.done() or changes < CHANGES:
        number = changes % FILES
        name = f"kept-{number}"
        newest[number] += 1
        await service.put(f"/storage/photos/{name}", content(name, newest[number]))
        path = f"/storage/default/passing-{changes}"
        await service.put(path, b"passing")
        async with service.session.delete(service.url(path), headers=service.bearer()) as answer:
            assert answer.status == 200
        changes += 1


async def begin_upload(service: Service) -> asyncio.StreamWriter:
    """An upload that does not end."""
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"PUT /storage/default/half HTTP/1.1\r\nHost: sfs\r\nContent-Length: 1000000\r\n"
        + f"Authorization: {service.bearer()['Authorization']}\r\n\r\n".encode()
        + b"x" * 500_000
    )
    await writer.drain()
    return writer


async def test_what_was_whole_is_whole_when_it_is_restored(
    service: Service, config: Config, empty: Config, target: Path, aiohttp_server: AiohttpServer
) -> None:
    newest = [0] * FILES
    made = {"name": "photos", "hidden": True}
    session, bearer = service.session, service.bearer()
    async with session.post(service.url("/storage/namespaces"), json=made, headers=bearer) as a:
        assert a.status == 201
    for number in range(FILES):
        await service.put(f"/storage/photos/kept-{number}", content(f"kept-{number}", 0))
    await service.put("/storage/default/b%C3%A4r%20%26.txt", b"a name")
    asked = {"namespace": "photos", "file": "kept-0", "ttl": 3600}
    async with session.post(service.url("/storage/links"), json=asked, headers=bearer) as answer:
        link = (await answer.json())["url"]
    half = await begin_upload(service)

    backing_up = asyncio.create_task(backup(config, str(target)))
    await churn(service, backing_up, newest)
    assert (await backing_up).startswith("2 namespaces, ")
    half.close()
    there, here = (Path(one, "files", "default", "bär &.txt") for one in (config.data, target))
    assert here.stat().st_mtime_ns == there.stat().st_mtime_ns
    assert here.samefile(there) == (here.stat().st_dev == there.stat().st_dev)

    await restore(empty, str(target))
    restored = replace(service, server=await aiohttp_server(make_app(empty)))
    for number, last in enumerate(newest):
        name = f"kept-{number}"
        status, body = await restored.get(f"/storage/photos/{name}", **restored.bearer())
        assert status == 200
        assert body in [content(name, version) for version in range(last + 1)]
    assert await restored.get("/storage/default/b%C3%A4r%20%26.txt") == (200, b"a name")
    assert (await restored.get("/storage/default/half"))[0] == 404
    assert (await restored.get("/storage/photos/kept-0"))[0] == 404, "it is hidden"
    assert (await restored.get(link))[0] == 200, "links outlive it"
    _, spaces = await restored.get("/storage/namespaces", **restored.bearer())
    (photos,) = (one for one in json.loads(spaces) if one["name"] == "photos")
    assert (photos["hidden"], photos["owner"]) == (True, "alice")


async def test_the_embedded_database_is_asked_while_a_server_has_it_and_started_where_none_has(
    tmp_path: Path,
) -> None:
    live, copy, again = tmp_path / "data", tmp_path / "copy", tmp_path / "again"
    process = Process(live)
    try:
        stored = live / "files" / "default" / "one"
        stored.write_bytes(b"1")
        os.utime(stored, ns=(1, 1_234_567_890_123_456_789))
        (live / "jwt-secret").write_text("kept")
        done = await asyncio.to_thread(run, "backup", "-data", str(live), "-to", str(copy))
        assert done.returncode == 0, done.stderr
        assert (
            done.stdout == "1 namespaces, 1 files, 1 of them as links on the same disk, 1 bytes\n"
        )
        ready = f"http://127.0.0.1:{process.port}/readyz"
        async with aiohttp.ClientSession() as session, session.get(ready) as answer:
            assert answer.status == 200, "the server does not notice"
        process.signal(signal.SIGTERM)  # its database ends with it
        assert await asyncio.to_thread(process.wait) == 0
    finally:
        process.kill()
    # What is restored is backed up once more: there is no server now that has the database.
    new = Config(data=str(tmp_path / "new"))
    await restore(new, str(copy))
    await backup(new, str(again))
    assert (copy / "database.json").read_text() == (again / "database.json").read_text()
    for where in (copy, tmp_path / "new", again):
        assert (where / "files/default/one").stat().st_mtime_ns == 1_234_567_890_123_456_789
        assert (where / "jwt-secret").read_text() == "kept"
        assert (where / "jwt-secret").stat().st_mode & 0o777 == 0o600
    assert (copy / "database.json").stat().st_mode & 0o777 == 0o600
    assert not [one.name for one in copy.rglob("*") if one.name.startswith("~")]


async def test_a_backup_goes_only_where_nothing_is(
    service: Service, config: Config, empty: Config, tmp_path: Path
) -> None:
    await backup(config, str(tmp_path / "backup"))
    with pytest.raises(ConfigError, match="-to has something in it"):
        await backup(config, str(tmp_path / "backup"))
    with pytest.raises(ConfigError, match="there are files already"):
        await restore(config, str(tmp_path / "backup"))
    await restore(empty, str(tmp_path / "backup"))
    async with service.session.post(
        service.url("/storage/namespaces"), json={"name": "theirs"}, headers=service.bearer()
    ) as answer:
        assert answer.status == 201
    elsewhere = replace(config, data=str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match="The database has namespaces already"):
        await restore(elsewhere, str(tmp_path / "backup"))


async def test_half_a_backup_is_refused_and_one_of_another_version(
    service: Service, config: Config, empty: Config, tmp_path: Path
) -> None:
    await backup(config, str(tmp_path / "backup"))
    rows = tmp_path / "backup" / "database.json"
    rows.write_text(rows.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ConfigError, match="another version"):
        await restore(empty, str(tmp_path / "backup"))
    rows.unlink()
    with pytest.raises(ConfigError, match="no whole backup"):
        await restore(empty, str(tmp_path / "backup"))
    assert not Path(empty.data).exists()


async def test_of_a_cluster_the_tables_are_kept(
    service: Service, config: Config, empty: Config, tmp_path: Path
) -> None:
    made = {"name": "photos"}
    async with service.session.post(
        service.url("/storage/namespaces"), json=made, headers=service.bearer()
    ) as answer:
        assert answer.status == 201
    cluster = replace(config, master="127.0.0.1:9", data=str(tmp_path / "unused"))
    said = await backup(cluster, str(tmp_path / "backup"))
    assert said == "2 namespaces, no files"
    assert [one.name for one in (tmp_path / "backup").iterdir()] == ["database.json"]
    restored = replace(empty, master="127.0.0.1:9")
    assert await restore(restored, str(tmp_path / "backup")) == said
    assert not (Path(empty.data) / "files").exists()


async def test_a_server_that_has_only_begun_to_start_is_asked_again_later(tmp_path: Path) -> None:
    (tmp_path / "data" / "files").mkdir(parents=True)
    with sole_user(str(tmp_path / "data")), pytest.raises(ConfigError, match="try again"):
        await backup(Config(data=str(tmp_path / "data")), str(tmp_path / "backup"))


def test_flags_say_what_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    config, to = parse_backup(["-data", "here", "-to", "there"])
    assert (config.data, to) == ("here", "there")
    config, source = parse_restore(["-data", "here", "-from", "there"])
    assert (config.data, source) == ("here", "there")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["backup", "-to", "{}/new", "-data", "{}/none"], "no files under -data"),
        (["restore", "-from", "{}/none"], "no whole backup"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path, words: list[str], reason: str
) -> None:
    done = run(*(word.format(tmp_path) for word in words))
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path) not in done.stderr
