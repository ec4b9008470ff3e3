"""Files over HTTP: what went in comes out, by every verb of the contract."""

from __future__ import annotations

import pytest

from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.types import FileInfo
from sfs_server.web.keys import FILESYSTEM
from tests.support.client import Answer, call
from tests.support.service import Service


@pytest.mark.both_loops
async def test_what_was_put_is_served_to_the_byte(service: Service) -> None:
    body = bytes(range(256)) * 5000
    await service.put("/storage/default/a%20b", body)
    assert await service.get("/storage/default/a%20b") == (200, body)
    assert await service.get("/storage/download/default/a%20b", {"Range": "bytes=5-9"}) == (
        206,
        body[5:10],
    )


@pytest.mark.parametrize(
    ("method", "headers", "looks"),
    [
        ("GET", {}, False),
        ("GET", {"Cache-Control": "max-age=0"}, False),
        ("GET", {"Cache-Control": "No-Cache, no-store"}, True),
        ("HEAD", {"Cache-Control": "no-cache"}, True),
        ("DELETE", {}, True),
        ("PUT", {}, False),  # neither is asked of the cache, before the commit or at it
        ("PUT", {"If-None-Match": '"another"'}, True),
        ("PUT", {"If-Unmodified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, True),
    ],
)
async def test_what_must_not_be_decided_by_a_cache_has_the_store_look_again(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    headers: dict[str, str],
    looks: bool,
) -> None:
    path, looked = "/storage/default/f", []
    await service.put(path, b"1")
    monkeypatch.setattr(service.app[FILESYSTEM], "forget", lambda *names: looked.append(names))
    answer = await call(service.port, method, path, {**service.bearer(), **headers})
    assert answer.status == 200
    assert looked == ([("default", "f")] if looks else [])


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
    monkeypatch.setattr(service.app[FILESYSTEM], "forget", lambda *_: remembered.clear())
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
    assert (await ask("PUT", **{"If-None-Match": f'"{old.version}"'})).status == 200
