"""The namespaces of one database, as two processes have them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sfs_server.namespaces.rows import Namespaces
from tests.support.namespaces import opened


@pytest.fixture
async def ours(database_url: str) -> AsyncIterator[Namespaces]:
    database, namespaces = await opened(database_url)
    yield namespaces
    await namespaces.close()
    await database.close()


@pytest.fixture
async def theirs(database_url: str) -> AsyncIterator[Namespaces]:
    """What another process has."""
    database, namespaces = await opened(database_url)
    yield namespaces
    await namespaces.close()
    await database.close()
