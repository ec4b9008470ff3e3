"""A cluster is saved and restored as one machine is, and one by the backup of the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpServer

from sfs_server.backup import backup, restore
from sfs_server.config import Config, ConfigError
from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.server.backups import content, save_and_restore
from tests.support.postgres import Postgres
from tests.support.service import Service

__all__ = ["cluster", "seaweed"]


@pytest.fixture
def config(config: Config, cluster: Cluster) -> Config:
    """The settings of ``service``: on the cluster, at a place of the test's own."""
    return replace(config, master=cluster.masters, prefix=f"/{Path(config.data).parent.name}")


@pytest.fixture
def empty(config: Config, postgres: Postgres, tmp_path: Path) -> Config:
    """Another place to serve from, with nothing in it."""
    postgres.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
    postgres.execute("CREATE DATABASE restored")
    url = postgres.url("restored")
    return replace(
        config, prefix=f"{config.prefix}-restored", data=str(tmp_path / "new"), database=url
    )


@pytest.mark.parametrize("recount_seconds", [1.0])
async def test_what_was_whole_on_a_cluster_is_whole_when_it_is_restored(
    service: Service, config: Config, empty: Config, tmp_path: Path, aiohttp_server: AiohttpServer
) -> None:
    await save_and_restore(service, config, empty, tmp_path / "backup", aiohttp_server)
    elsewhere = replace(empty, database=config.database)
    with pytest.raises(ConfigError, match="namespaces already"):
        await restore(elsewhere, str(tmp_path / "backup"))


async def test_one_machine_moves_to_a_cluster_and_back(
    service: Service, config: Config, empty: Config, tmp_path: Path
) -> None:
    body = content("a", 2047)
    await service.put("/storage/default/a", body)
    await backup(config, str(tmp_path / "one"))
    machine = replace(empty, master=None)
    await restore(machine, str(tmp_path / "one"))
    assert Path(machine.data, "files", "default", "a").read_bytes() == body
    await backup(machine, str(tmp_path / "two"))
    moved = replace(empty, prefix=f"{config.prefix}-moved")
    said = await restore(moved, str(tmp_path / "two"))
    assert said == f"1 namespaces, 1 files, {len(body)} bytes"
    with pytest.raises(ConfigError, match="files already in default"):
        await restore(moved, str(tmp_path / "two"))
