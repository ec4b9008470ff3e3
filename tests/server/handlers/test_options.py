"""OPTIONS of the paths that take uploads by tus: what they take, and what the service can do."""

from __future__ import annotations

import pytest

from tests.support.client import call
from tests.support.service import Service

PATHS = (
    "/storage/uploads",
    "/storage/uploads/0",
    "/storage/none/",
    "/storage/none/a/",
    "/storage/a/b",
)


@pytest.mark.parametrize("target", PATHS)
@pytest.mark.parametrize("headers", [{}, {"Tus-Resumable": "0.2.2"}])
async def test_what_the_service_can_do_of_tus(
    service: Service, target: str, headers: dict[str, str]
) -> None:
    answer = await call(service.port, "OPTIONS", target, headers)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Tus-Resumable"] == answer.headers["Tus-Version"] == "1.0.0"
    assert "expiration" in answer.headers["Tus-Extension"].split(",")
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha256"
    assert "Tus-Max-Size" not in answer.headers
    refused = await call(service.port, "TRACE", target)
    assert refused.status == 405
    assert answer.headers["Allow"] == refused.headers["Allow"]
    assert "OPTIONS" in answer.headers["Allow"]


@pytest.mark.parametrize("target", ["*", "/", "/storage/files", "/storage/links", "/healthz"])
async def test_other_paths_say_nothing_of_tus(service: Service, target: str) -> None:
    answer = await call(service.port, "OPTIONS", target)
    assert answer.status == 204
    assert not any(name.startswith("Tus-") for name in answer.headers)


async def test_a_refusal_of_a_client_of_tus_says_the_version(service: Service) -> None:
    for headers in ({"Tus-Resumable": "1.0.0"}, {}):
        answer = await call(service.port, "POST", "/storage/none/a", headers)
        assert 400 <= answer.status < 500
        assert ("Tus-Resumable" in answer.headers) == bool(headers)


class TestALimit:
    @pytest.fixture
    def settings(self) -> dict[str, object]:
        return {"max_upload_bytes": 3000}

    async def test_it_is_announced(self, service: Service) -> None:
        for target in PATHS:
            answer = await call(service.port, "OPTIONS", target)
            assert answer.headers["Tus-Max-Size"] == "3000"
