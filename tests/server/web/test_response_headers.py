"""What every response says, whichever handler makes it, and however its body is sent."""

from __future__ import annotations

import pytest

from tests.support.client import connect
from tests.support.service import Service


async def test_every_kind_of_response_has_the_common_headers(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    async with connect(service.port) as connection:
        for method, target, named, status in (
            ("GET", "/storage/default/a", {}, 200),
            ("HEAD", "/storage/default/a", {}, 200),
            ("GET", "/storage/default/a", {"If-None-Match": "*"}, 304),
            ("GET", "/storage/files", {}, 200),
            ("GET", "/storage/files?limit=1", {}, 200),
            ("GET", "/healthz", {}, 200),
            ("GET", "/", {}, 200),
            ("OPTIONS", "*", {}, 204),
            ("GET", "/storage/default/none", {}, 404),
            ("PATCH", "/storage/default/a", {}, 405),
        ):
            own = {"X-Request-Id": "mine", **named}
            response = await connection.ask(method, target, own)
            assert response.status == status, target
            assert response.headers["X-Request-Id"] == "mine", target
            assert response.headers["Server"] == "SFS", target
            assert "Connection" not in response.headers, target


@pytest.mark.both_loops
@pytest.mark.parametrize("target", ["/storage/default/a", "/storage/files", "/healthz", "/nowhere"])
async def test_a_response_to_a_body_that_nobody_reads_is_the_last_one(
    service: Service, target: str
) -> None:
    await service.put("/storage/default/a", b"x")
    async with connect(service.port) as connection:
        response = await connection.ask("GET", target, {}, b"nobody reads this")
        assert response.headers["Connection"] == "close"
        assert await connection.rest() == b""
