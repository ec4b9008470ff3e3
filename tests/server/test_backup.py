"""A backup that is taken while files come and go has whole whatever was whole when it began."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpServer

from gfs.copying import Copied
from gfs.factory import copy_store
from gfs.paths import MAX_NAME_BYTES, MAX_SEGMENTS
from sfs_server import backup as backups
from sfs_server.app import make_app
from sfs_server.backup import backup, restore
from sfs_server.cli import parse_backup, parse_restore
from sfs_server.config import Config, ConfigError
from sfs_server.database.migrations import read_migrations
from sfs_server.postgres.data_directory import refuse_root, sole_user
from sfs_server.web.keys import DATABASE
from tests.server.backups import save_and_restore
from tests.support.client import call
from tests.support.credentials import SECRET
from tests.support.launcher import SETTINGS, SFS_SERVER, Process, Program, environment, run
from tests.support.postgres import Postgres, connected
from tests.support.rooted import require_root
from tests.support.service import Service
from tests.support.waiting import eventually

ROWS = "SELECT name, hidden, owner, created_at FROM namespaces ORDER BY name"


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


@pytest.mark.parametrize("recount_seconds", [1.0])
async def test_what_was_whole_is_whole_when_it_is_restored(
    service: Service, config: Config, empty: Config, target: Path, aiohttp_server: AiohttpServer
) -> None:
    await save_and_restore(service, config, empty, target, aiohttp_server)
    there, here = (Path(one, "files", "default", "bär &.txt") for one in (config.data, target))
    assert here.stat().st_mtime_ns == there.stat().st_mtime_ns
    assert here.samefile(there) == (here.stat().st_dev == there.stat().st_dev)
    async with connected(empty.database or "") as restored:
        assert await restored.fetch("SELECT number, name FROM sfs_migrations ORDER BY number") == [
            (one.number, one.name) for one in read_migrations()
        ]


async def test_the_embedded_database_is_asked_while_a_server_has_it_and_started_where_none_has(
    tmp_path: Path,
) -> None:
    live, copy, again = tmp_path / "data", tmp_path / "copy", tmp_path / "again"
    with Process(live) as process:
        stored = live / "files" / "default" / "one"
        stored.write_bytes(b"1")
        os.utime(stored, ns=(1, 1_234_567_890_123_456_789))
        (live / "jwt-secret").write_text("kept")
        done = await asyncio.to_thread(run, "backup", "-data", str(live), "-to", str(copy))
        assert done.returncode == 0, done.stderr
        assert (
            done.stdout == "1 namespaces, 1 files, 1 of them as links on the same disk, 1 bytes\n"
        )
        assert (await call(process.port, "GET", "/readyz")).status == 200, "it does not notice"
        process.signal(signal.SIGTERM)  # its database ends with it
        assert await process.ended() == 0
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
    with pytest.raises(ConfigError, match="-to is not empty"):
        await backup(config, str(tmp_path / "backup"))
    with pytest.raises(ConfigError, match="there are files already"):
        await restore(config, str(tmp_path / "backup"))
    await restore(empty, str(tmp_path / "backup"))
    await service.make_namespace("theirs")
    elsewhere = replace(config, data=str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match="The database has namespaces already"):
        await restore(elsewhere, str(tmp_path / "backup"))


async def test_a_namespace_that_was_deleted_comes_back_for_nobody(
    service: Service, config: Config, empty: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("photos", "letters"):
        await service.make_namespace(name)
        await service.put(f"/storage/{name}/private", b"of alice")

    def slowly(source: str, target: str, names: list[str]) -> Copied:
        copied = copy_store(source, target, names)
        asyncio.run_coroutine_threadsafe(change(), loop).result(10)
        return copied

    async def change() -> None:
        await service.delete("/storage/namespaces/photos")
        await service.make_namespace("photos", "bob")

    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patching:
        patching.setattr(backups, "copy_store", slowly)
        said = await backup(config, str(tmp_path / "backup"))
    assert said.startswith("2 namespaces, ")
    await restore(empty, str(tmp_path / "backup"))
    assert sorted(os.listdir(Path(empty.data) / "files")) == ["default", "letters"]


async def test_what_was_closed_is_closed_when_it_is_restored(
    service: Service, config: Config, empty: Config, tmp_path: Path, aiohttp_server: AiohttpServer
) -> None:
    await service.put("/storage/default/secret", b"secret")
    admin = service.bearer("root", admin=True)
    hidden = await call(service.port, "PUT", "/storage/namespaces/default", admin, {"hidden": True})
    assert hidden.status == 200
    assert (await service.get("/storage/default/secret"))[0] == 404
    database = service.app[DATABASE]
    odd = "INSERT INTO namespaces VALUES ('odd', NULL, NULL, 'bob') RETURNING name"
    await database.fetch(odd)
    said = await database.fetch(ROWS, idempotent=True)
    await backup(config, str(tmp_path / "backup"))
    await restore(empty, str(tmp_path / "backup"))
    restored = replace(service, server=await aiohttp_server(make_app(empty)))
    assert (await restored.get("/storage/default/secret"))[0] == 404
    assert (await restored.get("/storage/files"))[0] == 404
    assert await restored.app[DATABASE].fetch(ROWS, idempotent=True) == said


def plant(files: Path) -> list[str]:
    """Put what is no file or folder of a namespace next to one; what is said of each."""
    directory = files / "default"
    below = directory / "a" / "b"
    below.mkdir(parents=True)
    for folder in (directory, below):
        (folder / "link").symlink_to(directory / "one")
        os.mkfifo(folder / "fifo")
        for name in (b" spaced", b"a\\b", b"line\nend", b"\xff"):
            os.close(os.open(os.fsencode(folder) + b"/" + name, os.O_CREAT))
    (below / " odd" / "folder").mkdir(parents=True)
    deep = Path(directory, *"d" * MAX_SEGMENTS)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    long = Path(directory, *["l" * MAX_NAME_BYTES] * 4)
    long.mkdir(parents=True)
    (long / "ll").touch()
    (files / "nobody").mkdir()
    (files / "nobody" / "file").touch()
    (files / "empty").mkdir()
    (files / "lost+found").mkdir()
    (files / "plain").touch()
    (files / "linked").symlink_to(directory)
    said = {
        "link": "a symbolic link",
        "fifo": "a socket, a FIFO or a device",
        " spaced": "a name that no file can have",
        "a\\b": "a name that no file can have",
        "line\\nend": "a name that no file can have",
        "\\udcff": "a name that no file can have",
    }
    return [
        *(
            f"{at}/{name}: {what}"
            for at in ("default", "default/a/b")
            for name, what in said.items()
        ),
        "default/a/b/ odd: a name that no folder can have",
        f"{deep.relative_to(files)}/file: a path that is too long",
        f"{long.relative_to(files)}/ll: a path that is too long",
        "nobody: a directory that is no namespace",
        "plain: a file that is in no namespace",
        "linked: a symbolic link that is in no namespace",
    ]


KEPT = {"one", "a/b", "/".join("d" * MAX_SEGMENTS), "/".join(["l" * MAX_NAME_BYTES] * 4)}
"""What is kept of what ``plant`` planted in, as far as nothing is below it."""


def found_in(directory: Path) -> set[str]:
    """The paths of the files and of the empty folders below ``directory``."""
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def named(error: pytest.ExceptionInfo[ConfigError]) -> list[str]:
    return sorted(line.strip() for line in str(error.value).splitlines()[1:])


async def test_a_backup_names_what_it_leaves_out(
    service: Service, config: Config, empty: Config, target: Path
) -> None:
    await service.put("/storage/default/one", b"1")
    expected = sorted(plant(Path(config.data) / "files"))
    with pytest.raises(ConfigError, match=r"1 namespaces, 1 files.*; but 18 left out:") as caught:
        await backup(config, str(target))
    assert named(caught) == expected
    assert str(target.parent) not in str(caught.value)
    # What is in it is good, and complete.
    assert (await restore(empty, str(target))).startswith("1 namespaces, 1 files")
    assert found_in(Path(empty.data) / "files" / "default") == KEPT


async def test_a_restore_names_what_it_leaves_out_and_restores_the_rest(
    service: Service,
    config: Config,
    empty: Config,
    tmp_path: Path,
    aiohttp_server: AiohttpServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await service.put("/storage/default/one", b"1")
    source = tmp_path / "backup"
    await backup(config, str(source))
    expected = plant(source / "files")
    (source / "files" / "files").mkdir()
    (source / "files" / "files" / "a").touch()
    expected.append("files: a directory that is no namespace")
    rows = json.loads((source / "database.json").read_text())
    for name in ("files", "a/b", ".."):
        rows["namespaces"].append([name, False, "alice", None])
    (source / "database.json").write_text(json.dumps(rows))
    with pytest.raises(ConfigError, match=r"1 namespaces, 1 files.*; but 22 left out:") as caught:
        await restore(empty, str(source))
    said = named(caught)
    assert [line for line in said if not line.startswith("the namespace")] == sorted(expected)
    assert [line.split()[2] for line in said if line.startswith("the namespace")] == [
        *("..:", "a/b:", "files:")
    ]
    restored = replace(service, server=await aiohttp_server(make_app(empty)))
    assert await restored.get("/storage/default/one") == (200, b"1")
    assert found_in(Path(empty.data) / "files" / "default") == KEPT
    monkeypatch.setattr(backups, "MAX_LISTED", 3)
    shutil.rmtree(Path(empty.data))
    with pytest.raises(ConfigError) as caught:
        await restore(empty, str(source))
    assert str(caught.value).splitlines()[4:] == ["  …"]


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "null", "{}", '{"format": 1}', '{"format": 1, "namespaces": 1, "link_key": ""}'),
        *(
            '{"format": 1, "namespaces": [' + row + '], "link_key": "00"}'
            for row in ("1", '["a"]', "[1, false, null, null]", '["a", false, null, "today"]')
        ),
    ],
)
def test_tables_that_somebody_has_changed_are_refused_in_a_sentence(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "database.json").write_text(text)
    with pytest.raises(ConfigError, match="not a complete backup"):
        asyncio.run(restore(Config(data=str(tmp_path / "new")), str(tmp_path)))
    assert not (tmp_path / "new").exists()


async def test_half_a_backup_is_refused_and_one_of_another_version(
    service: Service, config: Config, empty: Config, tmp_path: Path
) -> None:
    await backup(config, str(tmp_path / "backup"))
    rows = tmp_path / "backup" / "database.json"
    rows.write_text(rows.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ConfigError, match="another version"):
        await restore(empty, str(tmp_path / "backup"))
    rows.unlink()
    with pytest.raises(ConfigError, match="not a complete backup"):
        await restore(empty, str(tmp_path / "backup"))
    assert not Path(empty.data).exists()


async def test_a_backup_that_is_killed_is_none(
    service: Service, config: Config, empty: Config, target: Path
) -> None:
    """It is held up before the last of what it reads, until it has been killed."""
    for number in range(30):
        await service.put(f"/storage/default/{number % 3}/{number}", b"data")
    place = ("-data", config.data, "-database", config.database or "", "-to", str(target))
    async with connected(config.database or "") as database, database.transaction() as session:
        await session.fetch("LOCK TABLE link_key")
        with Program(*SFS_SERVER, "backup", *place, env=environment(SETTINGS)) as program:
            await eventually(lambda: any((target / "files").glob("default/*/*")), 60)
            program.kill()
    with pytest.raises(ConfigError, match="not a complete backup"):
        await restore(empty, str(target))
    assert not Path(empty.data).exists()
    with pytest.raises(ConfigError, match="-to is not empty"):
        await backup(config, str(target))


async def test_the_tables_can_be_kept_alone(
    service: Service, config: Config, empty: Config, tmp_path: Path
) -> None:
    await service.make_namespace("photos")
    cluster = replace(config, master="127.0.0.1:9", data=str(tmp_path / "unused"))
    said = await backup(cluster, str(tmp_path / "backup"), tables_only=True)
    assert said == "2 namespaces, no files"
    assert [one.name for one in (tmp_path / "backup").iterdir()] == ["database.json"]
    restored = replace(empty, master="127.0.0.1:9")
    assert await restore(restored, str(tmp_path / "backup")) == said
    assert not (Path(empty.data) / "files").exists()


async def test_a_server_that_is_still_starting_is_asked_again_later(tmp_path: Path) -> None:
    (tmp_path / "data" / "files").mkdir(parents=True)
    with sole_user(str(tmp_path / "data")), pytest.raises(ConfigError, match="try again"):
        await backup(Config(data=str(tmp_path / "data")), str(tmp_path / "backup"))


def test_flags_say_what_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    config, *rest = parse_backup(["-data", "here", "-to", "there"])
    assert (config.data, rest) == ("here", ["there", False])
    assert parse_backup(["-data", "here", "-to", "there", "-tables"])[2]
    config, source = parse_restore(["-data", "here", "-from", "there"])
    assert (config.data, source) == ("here", "there")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["backup", "-to", "{}/new", "-data", "{}/none"], "no files under -data"),
        (["restore", "-from", "{}/none"], "not a complete backup"),
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


def test_root_acts_as_nobody_but_root_in_the_directory_of_another_user(place: Path) -> None:
    require_root("it is about what root does")
    config = Config(data=str(place / "data"))
    refuse_root(config)
    (place / "data/files/default").mkdir(parents=True)
    refuse_root(config)
    shutil.chown(place / "data", "nobody", "nogroup")  # made for it, but never served from
    for words in (
        ["backup", "-data", config.data, "-to", str(place / "to")],
        ["restore", "-data", config.data, "-from", str(place / "from")],
        ["-data", config.data, "-addr", "127.0.0.1:0"],
    ):
        done = run(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Run it as that user: `sudo -u nobody sfs-server …`" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert sorted(os.listdir(place)) == ["data"]
    assert os.listdir(place / "data") == ["files"]
    elsewhere = Config(data=config.data, master="127.0.0.1:9", database="postgresql:///a")
    refuse_root(elsewhere)
    # A volume of Kubernetes is root's and the group's; whoever has served from it is known by that.
    shutil.chown(place / "data", "root", "root")
    (place / "data/lock").write_bytes(b"")
    os.chown(place / "data/lock", 54321, 54321)
    with pytest.raises(ConfigError, match="sudo -u '#54321' sfs-server"):
        refuse_root(config)
