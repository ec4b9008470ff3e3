"""Files over HTTP: what went in comes out, by every verb of the contract."""

from __future__ import annotations

import pytest

from gfs.embedded.filesystem import EmbeddedFileSystem
from tests.server.conftest import Service
from tests.server.http import connect


@pytest.mark.both_loops
async def test_what_was_put_is_served_to_the_byte(service: Service) -> None:
    body = bytes(range(256)) * 5000
    await service.put("/storage/default/a%20b", body)
    assert await service.get("/storage/default/a%20b") == (200, body)
    assert await service.get("/storage/download/default/a%20b", Range="bytes=5-9") == (
        206,
        body[5:10],
    )


async def test_a_request_with_no_cache_has_the_store_look_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[tuple[str, str]] = []
    monkeypatch.setattr(
        EmbeddedFileSystem, "forget", lambda _, directory, name: forgotten.append((directory, name))
    )
    path = "/storage/default/f"
    for headers in ({}, {"Cache-Control": "max-age=0"}, {"Cache-Control": "No-Cache, no-store"}):
        for method in ("PUT", "GET", "HEAD", "DELETE"):
            async with connect(service.port) as connection:
                answer = await connection.ask(method, path, {**service.bearer(), **headers})
            assert answer.status in (200, 201), method
    assert forgotten == [("default", "f")] * 4
