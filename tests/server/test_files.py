"""Files over HTTP: what went in comes out, by every verb of the contract."""

from __future__ import annotations

import pytest

from tests.server.conftest import Service


@pytest.mark.both_loops
async def test_what_was_put_is_served_to_the_byte(service: Service) -> None:
    body = bytes(range(256)) * 5000
    await service.put("/storage/default/a%20b", body)
    assert await service.get("/storage/default/a%20b") == (200, body)
    assert await service.get("/storage/download/default/a%20b", Range="bytes=5-9") == (
        206,
        body[5:10],
    )
