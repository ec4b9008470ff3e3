"""Files over HTTP: what went in comes out, by every verb of the contract."""

from __future__ import annotations

import pytest

from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.types import FileInfo
from tests.support.client import Answer, call
from tests.support.service import Service

CHANGES = ("PUT", "DELETE")


@pytest.mark.both_loops
async def test_what_was_put_is_served_to_the_byte(service: Service) -> None:
    body = bytes(range(256)) * 5000
    await service.put("/storage/default/a%20b", body)
    assert await service.get("/storage/default/a%20b") == (200, body)
    assert await service.get("/storage/download/default/a%20b", {"Range": "bytes=5-9"}) == (
        206,
        body[5:10],
    )


async def test_a_change_and_a_request_with_no_cache_have_the_store_look_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[str] = []
    path, asked = "/storage/default/f", ""
    monkeypatch.setattr(
        EmbeddedFileSystem, "forget", lambda _, directory, name: forgotten.append(asked)
    )
    for cached in ("", "max-age=0", "No-Cache, no-store"):
        for method in ("PUT", "GET", "HEAD", "DELETE"):
            asked = f"{method} {cached}".strip()
            headers = {**service.bearer(), **({"Cache-Control": cached} if cached else {})}
            answer = await call(service.port, method, path, headers)
            assert answer.status in (200, 201), method
    changes = [f"{method} {cached}".strip() for cached in ("", "max-age=0") for method in CHANGES]
    last = [f"{method} No-Cache, no-store" for method in ("PUT", "GET", "HEAD", "DELETE")]
    assert forgotten == changes + last


async def test_no_change_is_refused_by_what_is_remembered(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has deleted or replaced the file, and the store has not heard of it."""
    path = "/storage/default/f"
    remembered: list[FileInfo] = []
    stat = EmbeddedFileSystem.stat

    async def cached(self: EmbeddedFileSystem, directory: str, name: str) -> FileInfo:
        return remembered[0] if remembered else await stat(self, directory, name)

    monkeypatch.setattr(EmbeddedFileSystem, "stat", cached)
    monkeypatch.setattr(EmbeddedFileSystem, "forget", lambda *_: remembered.clear())
    old = FileInfo("default", "f", 1, "0" * 32, 0, 0)

    async def ask(method: str, **headers: str) -> Answer:
        remembered[:] = [old]
        return await call(service.port, method, path, {**service.bearer(), **headers})

    created = await ask("PUT", **{"If-None-Match": "*"})
    assert created.status == 201
    current = {"If-Match": created.headers["ETag"]}
    assert (await ask("DELETE", **current)).status == 200
    assert (await ask("POST")).status == 201
    assert (await ask("PUT", **current)).status == 412
