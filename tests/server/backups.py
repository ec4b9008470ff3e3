"""A service whose files come and go is saved, restored elsewhere, and asked for what it had."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_aiohttp import AiohttpServer

from sfs_server.app import make_app
from sfs_server.backup import backup, restore
from sfs_server.config import Config
from tests.support.client import call
from tests.support.service import Service

FILES = 40
CHANGES = 100
"""So many files, at least, are replaced and deleted while the backup is taken."""

CHUNKS = 9_000_001
"""Bytes of a file of three chunks."""


def content(name: str, version: int) -> bytes:
    """What a file has, known by its name and version: a mixture of two would be none of them."""
    block = hashlib.sha256(f"{name} {version}".encode()).digest()
    return block * (1 + version * 977 % 2048)


async def churn(service: Service, backing_up: asyncio.Task[str], newest: list[int]) -> None:
    """Replace the files in turns, make and delete others, until the backup is done."""
    changes = 0
    while not backing_up.done() or changes < CHANGES:
        number = changes % FILES
        name = f"kept-{number}"
        newest[number] += 1
        await service.put(f"/storage/photos/{name}", content(name, newest[number]))
        path = f"/storage/default/passing-{changes}"
        await service.put(path, b"passing")
        await service.delete(path)
        changes += 1


async def begin_upload(service: Service) -> asyncio.StreamWriter:
    """An upload that does not end."""
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"PUT /storage/default/half HTTP/1.1\r\nHost: sfs\r\nContent-Length: 1000000\r\n"
        + f"Authorization: {service.bearer()['Authorization']}\r\n\r\n".encode()
        + b"x" * 500_000
    )
    await writer.drain()
    return writer


async def save_and_restore(
    service: Service, config: Config, empty: Config, target: Path, aiohttp_server: AiohttpServer
) -> None:
    """Save what ``service`` serves by ``config`` while it is used, restore it to ``empty``, and
    compare: every file that was whole is whole, of some version that there was meanwhile."""
    newest = [0] * FILES
    still = {"b%C3%A4r%20%26.txt": b"a name", "nothing": b"", "chunks": content("", 1)[:1] * CHUNKS}
    await service.make_namespace("photos", hidden=True)
    for number in range(FILES):
        await service.put(f"/storage/photos/kept-{number}", content(f"kept-{number}", 0))
    for name, body in still.items():
        await service.put(f"/storage/default/{name}", body)
    asked = {"namespace": "photos", "file": "kept-0", "ttl": 3600}
    made = await call(service.port, "POST", "/storage/links", service.bearer(), asked)
    link = made.json()["url"]
    half = await begin_upload(service)

    backing_up = asyncio.create_task(backup(config, str(target)))
    await churn(service, backing_up, newest)
    assert (await backing_up).startswith("2 namespaces, ")
    half.close()
    assert not [one.name for one in (target / "files").iterdir() if one.name.startswith("~")]

    await restore(empty, str(target))
    restored = replace(service, server=await aiohttp_server(make_app(empty)))
    for number, last in enumerate(newest):
        name = f"kept-{number}"
        status, body = await restored.get(f"/storage/photos/{name}", restored.bearer())
        assert status == 200
        assert body in [content(name, version) for version in range(last + 1)]
    for name, body in still.items():
        assert await restored.get(f"/storage/default/{name}") == (200, body)
    before, after = [await _listed(one, list(still)) for one in (service, restored)]
    assert len(before) == len(still)
    assert before == after
    assert (await restored.get("/storage/default/half"))[0] == 404
    assert (await restored.get("/storage/photos/kept-0"))[0] == 404, "it is hidden"
    assert (await restored.get(link))[0] == 200, "links outlive it"
    _, spaces = await restored.get("/storage/namespaces", restored.bearer())
    (photos,) = (one for one in json.loads(spaces) if one["name"] == "photos")
    assert (photos["hidden"], photos["owner"]) == (True, "alice")


async def _listed(service: Service, names: list[str]) -> list[dict[str, Any]]:
    """What a client sees of those files that may not have changed."""
    _, listing = await service.get("/storage/files")
    return [
        {key: value for key, value in one.items() if key != "etag"}
        for one in json.loads(listing)
        if one["path"].rpartition("/")[2] in names
    ]
