"""The service in the process of the test, as its clients see it."""

from __future__ import annotations

import asyncio
import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.test_utils import TestServer
from yarl import URL

from tests.support import credentials


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

    token = staticmethod(credentials.token)
    bearer = staticmethod(credentials.bearer)

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
