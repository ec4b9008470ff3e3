"""A store that is full, foreign or broken: what clients, the log and the start say of it."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from aiohttp import web

from sfs_server.app import make_app
from sfs_server.config import Config, ConfigError
from sfs_server.postgres import files
from sfs_server.web.keys import FILESYSTEM
from tests.support.client import call, connect
from tests.support.credentials import SECRET, bearer
from tests.support.launcher import Process, launched
from tests.support.mounts import fill, tmpfs
from tests.support.rooted import place
from tests.support.service import Service

__all__ = ["place"]

BEARER = bearer()
MIB = 1 << 20
PHOTOS = "/storage/photos/a"


async def test_storage_that_was_moved_behind_a_link_is_told_from_storage_that_is_lost(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = await call(
        service.port, "POST", "/storage/namespaces", service.bearer(), b'{"name": "photos"}'
    )
    assert made.status == 201
    await service.put(PHOTOS, b"kept")
    directory, elsewhere = service.data / "files" / "photos", tmp_path / "elsewhere"
    directory.rename(elsewhere)
    directory.symlink_to(elsewhere)
    for method, target in (
        ("GET", PHOTOS),
        ("HEAD", PHOTOS),
        ("GET", "/storage/download/photos/a"),
        ("GET", "/storage/files?namespace=photos"),
        ("GET", "/storage/files?namespace=photos&limit=1"),
        ("PUT", PHOTOS),
        ("POST", "/storage/photos/b"),
        ("DELETE", PHOTOS),
        ("DELETE", "/storage/namespaces/photos"),
    ):
        caplog.clear()
        answer = await call(service.port, method, target, service.bearer())
        assert answer.status == 500, (method, target)
        assert "Retry-After" not in answer.headers
        if method != "HEAD":
            assert "trying again does not help" in answer.problem()
            assert str(service.data) not in answer.problem()
        [record] = [one for one in caplog.records if one.name == "sfs.error"]
        assert record.levelname == "ERROR"
        assert record.exc_info is None
        assert "photos is a symbolic link" in record.message
    caplog.clear()
    listed = (await call(service.port, "GET", "/storage/namespaces", service.bearer())).json()
    assert [(one["name"], one["count"]) for one in listed] == [("default", 0), ("photos", 1)]
    assert (
        await call(service.port, "GET", "/readyz", service.bearer())
    ).status == 200  # the others are served
    directory.unlink()
    elsewhere.rename(directory)
    assert await service.get(PHOTOS, service.bearer()) == (200, b"kept")


@pytest.mark.parametrize("settings", [{"reserve_bytes": 10**18}])
async def test_past_the_reserve_uploads_alone_are_refused_before_their_bytes(
    service: Service,
) -> None:
    (service.data / "files" / "default" / "old").write_bytes(b"old")
    for method in ("PUT", "POST"):
        async with connect(service.port) as connection:
            headers = {"Expect": "100-continue", "Content-Length": "5", **service.bearer()}
            connection.send(method, "/storage/default/new", headers)
            answer = await connection.answer()
            assert answer.status == 507
            assert "Delete files" in answer.problem()
    ready = await call(service.port, "GET", "/readyz", service.bearer())
    assert (ready.status, ready.json()["checks"]["store"]) == (200, "full")
    assert await service.get("/storage/default/old") == (200, b"old")
    assert (
        await call(service.port, "DELETE", "/storage/default/old", service.bearer())
    ).status == 200


async def test_a_store_nobody_can_write_to_is_not_ready(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    ready = await call(service.port, "GET", "/readyz", service.bearer())
    assert (ready.status, ready.json()["checks"]["store"]) == (503, "StoreBroken")
    monkeypatch.undo()
    await service.app[FILESYSTEM].check()


async def set_up(app: web.Application) -> None:
    runner = web.AppRunner(app)
    try:
        await runner.setup()
    finally:
        await runner.cleanup()


async def test_a_disk_that_does_not_fit_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store says so before the embedded PostgreSQL is made, or given to its user."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("as exFAT does")

    data = tmp_path / "data"
    app = make_app(Config(data=str(data)))
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(ConfigError, match=r"-data cannot be opened: .* no hard links.*ext4"):
        await set_up(app)
    assert os.listdir(data) == ["files"]


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.EPERM, "-database"), (errno.ENOSPC, "delete files")]
)
async def test_a_disk_that_is_not_fit_for_the_database_is_told_in_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    """As bindfs and mergerfs may be: fit for the files and not for PostgreSQL."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, "as ordered", "/secret/path")

    app = make_app(Config(data=str(place / "data"), jwt_secret=SECRET))
    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(ConfigError, match=f"the embedded database cannot [^/]*{remedy}"):
        await set_up(app)


@pytest.mark.parametrize("files_first", [False, True])
async def test_a_disk_that_users_have_filled_is_started_on_and_deleted_from(
    place: Path, files_first: bool
) -> None:
    with tmpfs(place, "size=150m,nr_inodes=2500"):
        flags = ("-reserve-mb", "40")
        async with launched(place / "data", *flags) as process:
            await fill_by_uploads(process, b"" if files_first else bytes(4 * MIB))
        async with launched(place / "data", *flags) as process:
            await serves_and_deletes(process)
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0


async def fill_by_uploads(process: Process, body: bytes) -> None:
    for number in range(5000):
        answer = await call(process.port, "PUT", f"/storage/default/{number}", BEARER, body)
        if answer.status == 507:
            return
        assert answer.status == 201
    raise AssertionError("it does not fill")


async def serves_and_deletes(process: Process) -> None:
    found = await call(process.port, "GET", "/storage/default/0", BEARER)
    assert found.status == 200
    assert (
        await call(process.port, "PUT", "/storage/default/new", BEARER, bytes(8 * MIB))
    ).status == 507
    assert (await call(process.port, "DELETE", "/storage/default/0", BEARER)).status == 200
    assert (await call(process.port, "GET", "/storage/default/0", BEARER)).status == 404


async def test_a_disk_that_others_have_filled_is_started_on_by_the_ballast(place: Path) -> None:
    with tmpfs(place, "size=250m,nr_inodes=2500"):
        async with launched(place / "data") as process:
            assert (
                await call(process.port, "PUT", "/storage/default/0", BEARER, b"0")
            ).status == 507
            (place / "data" / "files" / "default" / "0").write_bytes(b"0")
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0
        fill(place)
        async with launched(place / "data") as process:
            await serves_and_deletes(process)
            assert "so that the database can start" in process.log


def test_the_ballast_is_given_up_where_the_disk_is_full_and_made_where_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.statvfs(tmp_path)
    full = os.statvfs_result([*real[:4], 0, *real[5:]])
    no_files = os.statvfs_result([*real[:7], 0, *real[8:]])
    monkeypatch.setattr(files, "BALLAST_FILE_BYTES", 4096)
    for crowded in (full, no_files):
        for _ in range(2):
            files.prepare_ballast(str(tmp_path))
            made = list((tmp_path / "ballast").iterdir())
            assert len(made) == files.BALLAST_FILES
            assert {one.stat().st_size for one in made} == {4096}
        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", lambda _, crowded=crowded: crowded)
            files.prepare_ballast(str(tmp_path))
            files.prepare_ballast(str(tmp_path))
        assert os.listdir(tmp_path) == []
    assert len(caplog.records) == 2


async def test_a_directory_whose_name_is_not_utf8_is_served_from(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag has to be UTF-8; the directory that the service is started in need not be."""
    directory = os.fsencode(place) + b"/caf\xe9"
    os.mkdir(directory)
    monkeypatch.chdir(os.fsdecode(directory))
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    async with launched(Path("data"), "-reserve-mb", "0", env=strict) as process:
        assert (await call(process.port, "PUT", "/storage/default/0", BEARER, b"0")).status == 201
        assert r"caf\udce9/data" in process.output
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
