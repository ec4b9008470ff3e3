"""Clients of tus, each a program of its own, on a line that breaks."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest

from tests.clients.conftest import Folder
from tests.support.client import MIB, call
from tests.support.credentials import bearer
from tests.support.launcher import Program, environment
from tests.support.programs import run_program
from tests.support.proxy import Proxy, Strike
from tools.node import find_node

PROGRAMS = Path(__file__).parent / "programs"
CONTENT = os.urandom(24 * MIB + 1)
STRIKE_BYTES = 5 * MIB
"""So many bytes go to the service between two strikes."""

STRIKE_COUNT = 4
"""How often the line breaks while CONTENT is sent."""

CHUNKS = (4 * MIB, 0)
"""Bytes of a PATCH; 0: all of them."""

INSTALL_SECONDS = 300.0
UPLOAD_SECONDS = 60.0
POLL_SECONDS = 0.005


ORDERS: dict[Strike, Callable[..., None]] = {
    "cut": Proxy.cut_after,
    "reset": Proxy.reset_after,
    "leave": Proxy.leave_after,
}
STRIKES = tuple(ORDERS)


def needed(what: str) -> NoReturn:
    """Skip the test for want of ``what``, and fail it in CI."""
    assert "CI" not in os.environ, f"CI must have {what}"
    pytest.skip(f"{what} is not there")


@pytest.fixture(scope="session")
def node() -> str:
    """The program."""
    found = find_node()
    if found is None:
        needed("Node")
    return found


@pytest.fixture(scope="session")
def packages(node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the programs and what they need of npm."""
    directory = tmp_path_factory.mktemp("npm") / "programs"
    shutil.copytree(PROGRAMS, directory)
    try:
        run_program("npm", "install", "--silent", cwd=directory, seconds=INSTALL_SECONDS)
    except AssertionError:
        if "CI" in os.environ:
            raise
        needed("what package.json names")
    return directory


@dataclass(frozen=True)
class Line:
    """The way to a folder of the service, through a proxy that breaks."""

    proxy: Proxy
    folder: Folder

    @property
    def url(self) -> str:
        """The folder's URL, through the proxy."""
        return f"http://{self.proxy.address}{urlsplit(self.folder.url).path}"

    @asynccontextmanager
    async def breaking(self, strike: Strike) -> AsyncIterator[None]:
        """It breaks STRIKE_COUNT times, each after STRIKE_BYTES, and is mended at once."""

        async def strikes() -> None:
            for count in range(1, STRIKE_COUNT + 1):
                ORDERS[strike](self.proxy, STRIKE_BYTES, upstream=True)
                while self.proxy.strikes < count:
                    await asyncio.sleep(POLL_SECONDS)
                self.proxy.heal()

        task = asyncio.create_task(strikes())
        try:
            yield
            assert self.proxy.strikes == STRIKE_COUNT, "the line did not break"
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def check(self, name: str, content: bytes = CONTENT) -> None:
        """The service has the file, and these are its bytes."""
        place = urlsplit(self.folder.url)
        assert place.port is not None
        found = await call(place.port, "GET", f"{place.path}{name}")
        assert (found.status, found.body == content) == (200, True), found.headers


@pytest.fixture
async def line(folder: Folder) -> AsyncIterator[Line]:
    port = urlsplit(folder.url).port
    assert port is not None
    async with Proxy(("127.0.0.1", port)) as proxy:
        yield Line(proxy, folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with CONTENT."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


@dataclass(frozen=True)
class Client:
    """A program that uploads one file, and goes on where it is started again."""

    command: tuple[str | Path, ...]
    home: Path

    def start(self, url: str, file: Path, name: str, chunk: int) -> Program:
        """Start it. It uploads ``file`` as ``name`` to the folder at ``url``, at most ``chunk``
        bytes by each PATCH, or all of them if that is 0."""
        token = bearer()["Authorization"]
        rest = (url, file, name, token, str(chunk), self.home / "storage.json")
        # What a program of others warns of is for others.
        env = environment({"PYTHONWARNINGS": "default"})
        return Program(*self.command, *rest, env=env)


async def succeeds(program: Program) -> None:
    """It ends, and all went well."""
    code = await program.ended(UPLOAD_SECONDS)
    assert code == 0, program.output + program.log


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    """The client that the test's parameter names."""
    name = request.param
    if name == "tus-js-client":
        packages = request.getfixturevalue("packages")
        node = request.getfixturevalue("node")
        return Client((node, packages / "with_node.js"), tmp_path)
    if importlib.util.find_spec({"tuspy": "tusclient"}.get(name, name)) is None:
        needed(name)
    return Client((sys.executable, PROGRAMS / f"with_{name}.py"), tmp_path)
