"""The service in the process of the test, as its clients see it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support import credentials
from tests.support.client import call


@dataclass
class Service:
    """One running process of the service, as its clients see it."""

    server: TestServer
    data: Path

    @property
    def app(self) -> web.Application:
        return self.server.app

    @property
    def port(self) -> int:
        assert self.server.port is not None
        return self.server.port

    @property
    def connections(self) -> list[web.RequestHandler]:
        """Those that clients have now, each with the task that answers its requests."""
        assert self.server.runner is not None
        assert self.server.runner.server is not None
        return self.server.runner.server.connections

    token = staticmethod(credentials.token)
    bearer = staticmethod(credentials.bearer)

    async def put(self, target: str, body: bytes, user: str = "alice") -> None:
        """Store ``body``, for tests whose subject is something else."""
        response = await call(self.port, "PUT", target, self.bearer(user), body)
        assert response.status in (200, 201), response

    async def delete(self, target: str, user: str = "alice") -> None:
        """Delete a file, or a namespace."""
        response = await call(self.port, "DELETE", target, self.bearer(user))
        assert response.status == 200, response

    async def get(self, target: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """The status and the body."""
        response = await call(self.port, "GET", target, headers)
        return response.status, response.body

    async def make_namespace(self, name: str, user: str = "alice", *, hidden: bool = False) -> Any:
        """Make a namespace of ``user``; what the response says of it."""
        body = {"name": name, "hidden": hidden}
        response = await call(self.port, "POST", "/storage/namespaces", self.bearer(user), body)
        assert response.status == 201, response
        return response.json()

    async def status(self, target: str) -> int:
        """The status that a GET of anyone gets."""
        return (await self.get(target))[0]

    async def etag(self, target: str) -> str:
        """The ETag of a file."""
        return (await call(self.port, "HEAD", target)).headers["ETag"]

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
