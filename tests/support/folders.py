"""Requests about folders, for tests: MKCOL, MOVE and DELETE, and what a namespace has then."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from tests.support.client import Answer, call
from tests.support.service import Service


async def make(service: Service, target: str, user: str = "alice") -> None:
    """Make a folder that is not there."""
    made = await call(service.port, "MKCOL", target, service.bearer(user))
    assert made.status == 201, made


async def move(
    service: Service,
    target: str,
    to: str,
    user: str = "alice",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Move ``target`` to ``to``, or try to."""
    fields = {**service.bearer(user), "Destination": to, **(headers or {})}
    return await call(service.port, "MOVE", target, fields)


async def tree(service: Service, namespace: str = "default", user: str = "alice") -> set[str]:
    """The paths of all that a namespace has, those of folders with a slash at the end."""
    found: set[str] = set()
    folders = [""]
    while folders:
        folder = folders.pop()
        listing = f"/storage/files?namespace={namespace}&folder={quote(folder)}"
        for entry in (await call(service.port, "GET", listing, service.bearer(user))).json():
            path = f"{folder}/{entry['name']}" if folder else entry["name"]
            if entry["type"] == "folder":
                folders.append(path)
                path += "/"
            found.add(path)
    return found
