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
from tests.support.waiting import eventually

FILES = 40
CHANGES = 100
"""So many files, at least, are replaced and deleted while the backup is taken."""

MOVED = 5
"""So many files are in a folder that is moved all the time."""

FOLDERS = ("empty", "a/b%20c/empty/inner")
"""Folders without files."""

CHUNKS = 9_000_001
"""Bytes of a file of three chunks."""


def content(name: str, version: int) -> bytes:
    """What a file has, known by its name and version: a mixture of two would be none of them."""
    block = hashlib.sha256(f"{name} {version}".encode()).digest()
    return block * (1 + version * 977 % 2048)


def kept(number: int) -> str:
    """The path of a file, in one of a few folders."""
    return f"{number % 4}/kept/{number}"


async def churn(service: Service, backing_up: asyncio.Task[str], newest: list[int]) -> None:
    """Replace the files in turns, make and delete others, and move a folder, until the backup is
    done."""
    changes = 0
    while not backing_up.done() or changes < CHANGES:
        number = changes % FILES
        newest[number] += 1
        await service.put(f"/storage/photos/{kept(number)}", content(f"{number}", newest[number]))
        path = f"/storage/default/passing-{changes}"
        await service.put(path, b"passing")
        await service.delete(path)
        if changes % 10 == 0:
            await move(service, f"moved-{changes // 10}", f"moved-{changes // 10 + 1}")
        changes += 1


async def move(service: Service, folder: str, to_folder: str) -> None:
    """Rename a folder at the top of ``default``."""
    headers = {**service.bearer(), "Destination": f"/storage/default/{to_folder}/"}
    moved = await call(service.port, "MOVE", f"/storage/default/{folder}/", headers)
    assert moved.status == 201


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
    still = {
        "b%C3%A4r%20%26.txt": b"a name",
        "a/b%20c/d/nothing": b"",
        "a/chunks": content("", 1)[:1] * CHUNKS,
    }
    await service.make_namespace("photos", hidden=True)
    for number in range(FILES):
        await service.put(f"/storage/photos/{kept(number)}", content(f"{number}", 0))
    for name, body in still.items():
        await service.put(f"/storage/default/{name}", body)
    for number in range(MOVED):
        await service.put(f"/storage/default/moved-0/in/{number}", content(f"{number}", 1))
    for folder in FOLDERS:
        made = await call(service.port, "MKCOL", f"/storage/default/{folder}/", service.bearer())
        assert made.status == 201
    asked = {"namespace": "photos", "file": kept(0), "ttl": 3600}
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
        status, body = await restored.get(f"/storage/photos/{kept(number)}", restored.bearer())
        assert status == 200
        assert body in [content(f"{number}", version) for version in range(last + 1)]
    for name, body in still.items():
        assert await restored.get(f"/storage/default/{name}") == (200, body)
    _, listing = await restored.get("/storage/files?prefix=moved-")
    moved = {one["name"].rpartition("/")[2]: one["path"] for one in json.loads(listing)}
    for number in range(MOVED):
        assert (await restored.get(moved[f"{number}"]))[1] == content(f"{number}", 1)
    before, after = [await _listed(one, list(still)) for one in (service, restored)]
    assert len(before) == len(still)
    assert before == after
    for folder in FOLDERS:
        assert (await restored.get(f"/storage/default/{folder}/"))[0] == 200
    assert (await restored.get("/storage/default/half"))[0] == 404
    assert (await restored.get(f"/storage/photos/{kept(0)}"))[0] == 404, "it is hidden"
    assert (await restored.get(link))[0] == 200, "links outlive it"
    photos = await _photos(restored)
    assert (photos["hidden"], photos["owner"]) == (True, "alice")

    async def count() -> Any:
        return (await _photos(restored))["count"]

    await eventually(count, equals=FILES)


async def _photos(service: Service) -> Any:
    """What the list of namespaces says of ``photos``."""
    _, spaces = await service.get("/storage/namespaces", service.bearer())
    (photos,) = (one for one in json.loads(spaces) if one["name"] == "photos")
    return photos


async def _listed(service: Service, names: list[str]) -> list[dict[str, Any]]:
    """What a client sees of those files that may not have changed."""
    _, listing = await service.get("/storage/files")
    return [
        {key: value for key, value in one.items() if key != "etag"}
        for one in json.loads(listing)
        if one["path"].removeprefix("/storage/default/") in names
    ]
