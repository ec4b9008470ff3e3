"""Two processes behind a pooler: what is changed at one of them is seen at the other one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpServer

from sfs_server.app import make_app
from sfs_server.config import Config, ConfigError
from sfs_server.database.listener import NO_NOTIFICATIONS, TRUST_SECONDS
from sfs_server.database.migrations import migrate, read_migrations
from sfs_server.database.pool import Database
from sfs_server.web.keys import CONFIG, DATABASE
from tests.support.client import call
from tests.support.credentials import SECRET
from tests.support.pgbouncer import pgbouncer
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.service import Service, pass_for_one_store
from tests.support.waiting import eventually

ALL = "/storage/namespaces"


@pytest.fixture
def mode() -> str:
    return "transaction"


@pytest.fixture
async def pooled(postgres: Postgres, database_name: str, mode: str) -> AsyncIterator[str]:
    # PostgreSQL lets in nobody but this user, who may be root, which PgBouncer refuses to be.
    async with Proxy(postgres.socket) as wire:
        with pgbouncer(wire.port, database_name, mode) as url:
            yield url


@pytest.fixture
async def pair(
    pooled: str, tmp_path: Path, aiohttp_server: AiohttpServer, monkeypatch: pytest.MonkeyPatch
) -> tuple[Service, Service]:
    """Two processes (in this one) of the service that share the database and the files."""
    monkeypatch.setattr("sfs_server.database.listener.ARRIVAL_SECONDS", 1.0)
    config = Config(data=str(tmp_path), database=pooled, jwt_secret=SECRET)
    found: list[Service] = []
    for name in "ab":
        if found:
            pass_for_one_store(found[0].data, tmp_path / name)
        app = make_app(replace(config, data=str(tmp_path / name)))
        found.append(Service(await aiohttp_server(app), Path(app[CONFIG].data)))
    return found[0], found[1]


async def listening(service: Service) -> tuple[str, str]:
    """What ``/readyz`` and ``/metrics`` say of it."""
    ready = await call(service.port, "GET", "/readyz")
    assert ready.status == 200
    metrics = (await call(service.port, "GET", "/metrics")).body.decode()
    [line] = [one for one in metrics.splitlines() if one.startswith("sfs_database_listening ")]
    return ready.json()["checks"]["listening"], line.split()[1]


@pytest.mark.parametrize(
    ("mode", "said"), [("transaction", (NO_NOTIFICATIONS, "0.0")), ("session", ("ok", "1.0"))]
)
async def test_what_is_hidden_at_one_process_is_hidden_at_the_other(
    pair: tuple[Service, Service], said: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    a, b = pair
    heard = said[0] == "ok"
    assert await listening(a) == await listening(b) == said
    logged = [record.getMessage() for record in caplog.get_records("setup")]
    assert any(NO_NOTIFICATIONS in line for line in logged) != heard
    await a.make_namespace("team")

    async def seen_at_b(user: str) -> int:
        """The status of a listing. A notification may take a moment; the database does not."""
        target = "/storage/files?namespace=team"
        return (await call(b.port, "GET", target, b.bearer(user))).status

    async def gone_at_b(user: str) -> None:
        if heard:
            await eventually(lambda: seen_at_b(user), TRUST_SECONDS - 2, equals=404)
        else:
            assert await seen_at_b(user) == 404

    assert await seen_at_b("bob") == 200
    hidden = await call(a.port, "PUT", f"{ALL}/team", a.bearer(), {"hidden": True})
    assert hidden.status == 200
    await gone_at_b("bob")
    await a.delete(f"{ALL}/team")
    await gone_at_b("alice")
    assert await listening(b) == said


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_files_are_stored_whatever_other_programs_set(
    pair: tuple[Service, Service], pooled: str
) -> None:
    """A pooler in transaction mode hands on a connection with all that was set on it."""
    a, b = pair
    other = await Database.connect(pooled, size=8)
    for _ in range(8):
        await other.fetch(
            "SET lock_timeout = 1; SET default_transaction_isolation = 'serializable'"
        )
    await other.close()
    made = await a.make_namespace("team")
    assert abs(time.time() - made["created_at"]) < 60
    answers = await asyncio.gather(
        *(call(a.port, "PUT", "/storage/team/a", a.bearer(), b"1") for _ in range(8)),
        *(call(b.port, "PUT", "/storage/default/b", b.bearer(), b"1") for _ in range(8)),
    )
    assert {answer.status for answer in answers} <= {200, 201}


async def test_notifications_for_another_session_are_not_gathered(
    pair: tuple[Service, Service], postgres: Postgres, database_name: str
) -> None:
    """The connection that LISTEN was executed on is used by whoever comes next."""
    a, _ = pair
    arrived: list[int] = []
    database = a.app[DATABASE]
    for _ in range(20):
        await database.fetch("SELECT pg_notify('sfs_namespaces', 'x')")
        arrived += [session._connection.notifies.qsize() for session in database._idle]
    assert set(arrived) == {0}


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_processes_that_start_at_once_make_the_tables_once(pooled: str) -> None:
    databases = [await Database.connect(pooled) for _ in range(4)]
    try:
        await asyncio.gather(*(migrate(database) for database in databases))
        assert await databases[0].fetch("SELECT count(*) FROM sfs_migrations") == [
            (len(read_migrations()),)
        ]
    finally:
        for database in databases:
            await database.close()


@pytest.mark.parametrize("mode", ["statement"])
async def test_a_pooler_without_transactions_is_refused_at_the_start(pooled: str) -> None:
    database = await Database.connect(pooled)
    try:
        with pytest.raises(ConfigError, match="pool_mode=session"):
            await migrate(database)
    finally:
        await database.close()
