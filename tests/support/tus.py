"""Uploads by tus 1.0.0, made by hand."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from tests.support.client import Answer, call
from tests.support.credentials import bearer
from tests.support.service import Service

VERSION = {"Tus-Resumable": "1.0.0"}
TYPE = {"Content-Type": "application/offset+octet-stream"}


def metadata(**values: str) -> dict[str, str]:
    """The header that has ``values``."""
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


class Upload:
    """An upload that was started, as its client sees it."""

    def __init__(self, service: Service, location: str, user: str = "alice") -> None:
        self.service = service
        self.location = location
        self.headers = {**VERSION, **bearer(user)}

    @property
    def id(self) -> str:
        return self.location.rpartition("/")[2]

    def at(self, service: Service) -> Upload:
        """The same, by requests to another process."""
        return Upload(service, self.location)

    def by(self, user: str) -> Upload:
        """The same, by requests of another user."""
        return Upload(self.service, self.location, user)

    async def head(self) -> Answer:
        return await call(self.service.port, "HEAD", self.location, self.headers)

    async def offset(self) -> int:
        """Where it goes on."""
        answer = await self.head()
        assert answer.status == 200, answer
        assert answer.headers["Cache-Control"] == "no-store"
        return int(answer.headers["Upload-Offset"])

    def patching(self, offset: int, **more: str) -> dict[str, str]:
        """The headers of a PATCH."""
        said = {name.replace("_", "-"): value for name, value in more.items()}
        return {**self.headers, **TYPE, "Upload-Offset": str(offset), **said}

    async def patch(self, offset: int, body: bytes = b"", **more: str) -> Answer:
        headers = {"Content-Length": str(len(body)), **self.patching(offset, **more)}
        return await call(self.service.port, "PATCH", self.location, headers, body)

    async def delete(self) -> Answer:
        return await call(self.service.port, "DELETE", self.location, self.headers)


async def create(
    service: Service,
    target: str,
    length: int | None,
    more: Mapping[str, str] | None = None,
    body: bytes = b"",
    user: str = "alice",
) -> Answer:
    """The response to a POST; ``length`` is None where it is said later."""
    size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    kind = TYPE if body else {}
    headers = {**VERSION, **bearer(user), **size, **kind, **(more or {})}
    return await call(service.port, "POST", target, headers, body)


async def start(
    service: Service,
    target: str,
    length: int | None,
    more: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Upload:
    """An upload that was started."""
    answer = await create(service, target, length, more, body)
    assert answer.status == 201, answer
    return Upload(service, answer.headers["Location"])
