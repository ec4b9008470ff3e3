"""The room by itself: a real PostgreSQL, and an embedded store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gfs.api import FileSystem
from gfs.factory import open_filesystem
from gfs.types import Expect
from sfs_server.auth.access import Namespace
from sfs_server.auth.claims import Principal
from sfs_server.database.pool import Database
from sfs_server.namespaces.rows import Namespaces
from sfs_server.uploads.sessions import Session, new_id
from sfs_server.uploads.uploads import Uploads
from tests.support.namespaces import opened

EXPIRY = 3600


@pytest.fixture
async def namespaces(database_url: str) -> AsyncIterator[Namespaces]:
    database, namespaces = await opened(database_url)
    yield namespaces
    await namespaces.close()
    await database.close()


@pytest.fixture
def database(namespaces: Namespaces) -> Database:
    return namespaces._database


@pytest.fixture
async def fs(tmp_path: Path) -> AsyncIterator[FileSystem]:
    fs = await open_filesystem(str(tmp_path / "files"))
    await fs.make_directory("default")
    yield fs
    await fs.close()


@pytest.fixture
def uploads(database: Database, fs: FileSystem) -> Uploads:
    return Uploads(database, fs, EXPIRY)


@pytest.fixture
async def default(namespaces: Namespaces) -> Namespace:
    found = await namespaces.resolve("default", Principal("ann"))
    assert found is not None
    return found


@pytest.fixture
def wanted(default: Namespace) -> Session:
    """An upload that can be started."""
    return Session(
        id=new_id(),
        owner="ann",
        namespace=default,
        path="a/b",
        folder="a",
        expect=Expect(versions=frozenset({"v1", "no version \udcff", "x" * 65})),
        exclusive=True,
        size=100,
        digest=b"d" * 32,
        metadata="filename YQ==",
        transfer="t1",
    )
