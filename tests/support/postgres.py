"""Fixtures with a real PostgreSQL, from the wheel of the extra [embedded].

One server for each session (or worker of xdist), made by the code that serves users, and an empty
database for each test: ``database_url`` has nothing in it, ``database`` has the tables. A test may
restart, stop or disturb the server, as long as it serves again when the test ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psutil  # type: ignore[import-untyped,unused-ignore]
import psycopg2
import pytest

from sfs_server.config import ConfigError
from sfs_server.database.migrations import migrate
from sfs_server.database.pool import Database
from sfs_server.postgres import server as embedded_postgres

LOSE_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test'"
"""Ends the listeners and every other session."""


class Postgres:
    """A server that tests may mistreat."""

    def __init__(self, data: str) -> None:
        self.data = data
        self._server = embedded_postgres.start_now(data)
        self.execute("ALTER SYSTEM SET fsync = off")  # nothing here outlives the machine
        self.execute("SELECT pg_reload_conf()")

    @property
    def pid(self) -> int:
        return self._server.pid

    @property
    def socket(self) -> str:
        return os.path.join(self.data, "postgres", ".s.PGSQL.5432")

    def url(self, database: str) -> str:
        return self._server.url.replace("/postgres?", f"/{database}?")

    def stop(self) -> None:
        self._server.stop_now()

    def start(self) -> None:
        self._server = embedded_postgres.start_now(self.data)

    def restart(self) -> None:
        self.stop()
        self.start()

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute ``sql`` in a session of its own, blocking, in autocommit."""
        connection = psycopg2.connect(self.url(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def freeze(self) -> list[int]:
        """Stop all processes of the server, as a machine does that hangs."""
        main = psutil.Process(self.pid)
        found = [main.pid, *(child.pid for child in main.children(recursive=True))]
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        return found

    def thaw(self, pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Database]:
    """The database of ``url``, as it is."""
    database = await Database.connect(url)
    try:
        yield database
    finally:
        await database.close()


async def refused(url: str) -> str:
    """The one line by which a start refuses the database of ``url``."""
    async with connected(url) as database:
        with pytest.raises(ConfigError) as caught:
            await migrate(database)
        assert await database.fetch("SELECT 1") == [(1,)]
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server."""
    data = tempfile.mkdtemp(prefix="sfs-test-")
    try:
        server = Postgres(data)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def database_name(postgres: Postgres) -> str:
    """The name of an empty database. It is emptied, which takes 10 ms, and not made anew, which
    takes 100."""
    name = "test"
    if not postgres.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
        postgres.execute(f"CREATE DATABASE {name}")
    postgres.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        f"WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    )
    postgres.execute(f"ALTER DATABASE {name} RESET ALL")
    postgres.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", name)
    return name


@pytest.fixture
def database_url(postgres: Postgres, database_name: str) -> str:
    """The URL of an empty database."""
    return postgres.url(database_name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database that has the tables, and in them the namespace ``default``."""
    async with connected(database_url) as database:
        await migrate(database)
        yield database
