"""The whole service on a real socket, with a real PostgreSQL and a store on the real disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import uvloop
from pytest_aiohttp import AiohttpServer

from sfs_server.app import make_app
from sfs_server.config import Config
from sfs_server.openapi.contract import document
from sfs_server.web.keys import CONFIG
from tests.support.credentials import SECRET
from tests.support.service import Service, pass_for_one_store

PATHS = document()["paths"]


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


@pytest.fixture
def recount_seconds() -> float:
    """How often ``service`` looks for files to count in the background, and when for the first
    time: later than a test ends, because many look at what a request does to the store and the
    database."""
    return 3600.0


@pytest.fixture(autouse=True)
def recounts(recount_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfs_server.namespaces.recount.FIRST_SECONDS", recount_seconds)
    monkeypatch.setattr("sfs_server.namespaces.recount.LOOK_SECONDS", recount_seconds)


@pytest.fixture(autouse=True)
def sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No upload is freed in the background: for the same reason."""
    monkeypatch.setattr("sfs_server.uploads.sweeping.FIRST_SECONDS", 3600.0)


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
    """One process of the service. Every response must be one that the contract has, so that all
    tests together hold ``/openapi.json`` true."""
    app = make_app(replace(config, **settings))  # type: ignore[arg-type]
    undocumented: set[tuple[str, str, int]] = set()

    async def compare(request: aiohttp.web.Request, answer: aiohttp.web.StreamResponse) -> None:
        resource = request.match_info.route.resource
        path = "" if resource is None else resource.canonical
        item = PATHS.get(path, {})
        operation = item.get(request.method.lower())
        if operation is None:
            operation = item.get("x-additionalOperations", {}).get(request.method)
        if operation is not None and str(answer.status) not in operation["responses"]:
            undocumented.add((request.method, path, answer.status))

    app.on_response_prepare.append(compare)
    server = await aiohttp_server(app)
    yield Service(server, Path(app[CONFIG].data))
    assert not undocumented, "the contract (/openapi.json) does not know these answers"


@pytest.fixture
async def other(
    config: Config, tmp_path: Path, aiohttp_server: AiohttpServer, service: Service
) -> Service:
    """A second process (in this one) on the same database."""
    second = replace(config, data=str(tmp_path / "other"))
    pass_for_one_store(service.data, tmp_path / "other")
    server = await aiohttp_server(make_app(second))
    return Service(server, Path(second.data))
