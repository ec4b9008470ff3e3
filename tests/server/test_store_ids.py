"""A database serves one store, and a store that is another one is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gfs.api import FileSystem
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.errors import StoreFull
from sfs_server.config import Config, ConfigError
from sfs_server.database.pool import Database
from sfs_server.store import require_its_database
from tests.support.credentials import SECRET
from tests.support.launcher import launched, run
from tests.support.postgres import Postgres


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[list[FileSystem]]:
    opened = [await EmbeddedFileSystem.start(str(tmp_path / name)) for name in "ab"]
    yield list(opened)
    for fs in opened:
        await fs.close()


async def test_a_database_takes_the_first_store_and_refuses_every_other(
    config: Config, database: Database, stores: list[FileSystem]
) -> None:
    one, other = stores
    for _ in "first", "again":
        await require_its_database(config, one, database)
    ids = [(await fs.identity())[:8] for fs in stores]
    for place, flag in ((config, "-data"), (replace(config, master="m:9333"), "-master")):
        with pytest.raises(ConfigError) as caught:
            await require_its_database(place, other, database)
        for part in (*ids, flag, "-database", "TRUNCATE store_id"):
            assert part in str(caught.value)
    await database.fetch("TRUNCATE store_id")
    await require_its_database(config, other, database)
    with pytest.raises(ConfigError):
        await require_its_database(config, one, database)


async def test_processes_that_start_at_the_same_time_agree(
    config: Config, database_url: str, database: Database, stores: list[FileSystem]
) -> None:
    databases = [await Database.connect(database_url) for _ in range(4)]
    try:
        async with asyncio.TaskGroup() as group:
            for one in databases:
                group.create_task(require_its_database(config, stores[0], one))
    finally:
        for one in databases:
            await one.close()
    assert await database.fetch("SELECT id FROM store_id") == [(await stores[0].identity(),)]


async def test_a_full_disk_does_not_stop_a_start(
    config: Config,
    database: Database,
    stores: list[FileSystem],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def full() -> str:
        raise StoreFull("as ordered")

    with monkeypatch.context() as patch:
        patch.setattr(stores[0], "identity", full)
        await require_its_database(config, stores[0], database)
    assert "could not check" in caplog.text
    await require_its_database(config, stores[1], database)


async def test_a_second_process_without_a_master_is_refused_by_its_start(
    postgres: Postgres, database_url: str, tmp_path: Path
) -> None:
    async with launched(tmp_path / "a", "-database", database_url):
        flags = ("-addr", "127.0.0.1:0", "-database", database_url)
        second = await asyncio.to_thread(
            run, *flags, "-data", str(tmp_path / "b"), env={"JWT_SECRET": SECRET}, seconds=120
        )
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1
        assert "The database belongs to the store" in second.stderr
    async with launched(tmp_path / "a", "-database", database_url):
        pass
