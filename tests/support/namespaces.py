"""The table of namespaces, for tests that need no service."""

from __future__ import annotations

from sfs_server.database.migrations import migrate
from sfs_server.database.pool import Database
from sfs_server.namespaces.rows import Namespaces


async def opened(url: str) -> tuple[Database, Namespaces]:
    """The database of ``url`` with its tables, and its namespaces, started; close both."""
    database = await Database.connect(url)
    await migrate(database)
    namespaces = Namespaces(database)
    await namespaces.start()
    return database, namespaces
