"""The whole service on a real socket, with a real PostgreSQL and a store on the real disk."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp.test_utils import TestServer
from pytest_aiohttp import AiohttpServer
from yarl import URL

from sfs_server.app import make_app
from sfs_server.auth.tokens import mint
from sfs_server.config import Config
from sfs_server.openapi.contract import document
from sfs_server.web.keys import CONFIG

PATHS = document()["paths"]
SECRET = "a secret of the tests, longer than 32 bytes"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of production; tests marked ``both_loops`` run on asyncio's own too."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "uvloop": uvloop.new_event_loop
    }
    if item.get_closest_marker("both_loops"):
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@dataclass
class Service:
    """One running process of the service, as its clients see it."""

    server: TestServer
    session: aiohttp.ClientSession
    data: Path

    @property
    def app(self) -> aiohttp.web.Application:
        return self.server.app

    @property
    def port(self) -> int:
        assert self.server.port is not None
        return self.server.port

    def url(self, raw_path: str) -> URL:
        """The URL of a path that is percent-encoded already."""
        return URL(f"http://127.0.0.1:{self.port}{raw_path}", encoded=True)

    def token(self, user: str = "alice", *, admin: bool = False) -> str:
        return mint(SECRET, user=user, admin=admin, ttl=3600)

    def bearer(self, user: str = "alice", *, admin: bool = False) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user, admin=admin)}"}

    async def put(self, raw_path: str, body: bytes, user: str = "alice") -> None:
        """Store ``body``, for tests whose subject is something else."""
        async with self.session.put(
            self.url(raw_path), data=io.BytesIO(body), headers=self.bearer(user)
        ) as response:
            assert response.status in (200, 201), await response.text()

    async def get(self, raw_path: str, **headers: str) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(self.url(raw_path), headers=named) as response:
            return response.status, await response.read()

    async def raw(self, request: bytes, *, seconds: float = 10.0) -> bytes:
        """Send bytes on a new connection, and return all that comes until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(seconds):
                return await reader.read()
        finally:
            writer.close()


def pass_for_one_store(one: Path, other: Path) -> None:
    """Give the store that will be under ``other`` the id of that under ``one``: processes of one
    machine cannot share an embedded store, and so they can share a database all the same."""
    (other / "files").mkdir(parents=True)
    shutil.copy(one / "files" / "~id", other / "files" / "~id")


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Config:
    """The settings of ``service``; a test may replace some with ``dataclasses.replace``."""
    return Config(data=str(tmp_path / "data"), database=database_url, jwt_secret=SECRET)


@pytest.fixture
def settings() -> dict[str, object]:
    """What differs from ``config``: override it, or parametrize it, in a module or a class."""
    return {}


@pytest.fixture
async def service(
    config: Config, settings: dict[str, object], aiohttp_server: AiohttpServer
) -> AsyncIterator[Service]:
    """One process of the service with one client. Every answer must be one that the contract knows:
    so all tests together hold ``/openapi.json`` true."""
    app = make_app(replace(config, **settings))  # type: ignore[arg-type]
    undocumented: set[tuple[str, str, int]] = set()

    async def compare(request: aiohttp.web.Request, answer: aiohttp.web.StreamResponse) -> None:
        resource = request.match_info.route.resource
        path = "" if resource is None else resource.canonical
        operation = PATHS.get(path, {}).get(request.method.lower())
        if operation is not None and str(answer.status) not in operation["responses"]:
            undocumented.add((request.method, path, answer.status))

    app.on_response_prepare.append(compare)
    server = await aiohttp_server(app)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Service(server, session, Path(app[CONFIG].data))
    assert not undocumented, "the contract (/openapi.json) does not know these answers"
