"""How many event streams one client may have, and how long one waits for its transfer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack

import pytest

from sfs_server.errors import Problem
from sfs_server.http.forwarded import parse_network
from sfs_server.streams.limits import Streams
from sfs_server.web.keys import PROGRESS
from tests.support.client import call, connect
from tests.support.events import watching
from tests.support.service import Service
from tests.support.uploads import begin
from tests.support.waiting import eventually

PROXY = {"trusted_proxies": (parse_network("127.0.0.1"),), "max_streams": 2}


def at(address: str, user: Mapping[str, str] | None = None) -> dict[str, str]:
    return {"X-Forwarded-For": address, **(user or {})}


@pytest.mark.parametrize(
    ("two", "same", "other"),
    [
        (("192.0.2.1", "192.0.2.1"), "::ffff:192.0.2.1", "192.0.2.2"),
        (("2001:db8::1", "2001:db8::2"), "2001:db8:0:0:ffff::", "2001:db8:0:1::1"),
        (("", ""), "", "192.0.2.2"),
    ],
)
def test_an_address_has_so_many_streams_and_no_more(
    two: tuple[str, str], same: str, other: str
) -> None:
    streams = Streams(2)
    with ExitStack() as stack:
        for address in two:
            stack.enter_context(streams.one(address, None))
        for _ in range(2):
            with pytest.raises(Problem) as caught, streams.one(same, None):
                pass
            assert caught.value.status == 429
        with streams.one(other, None):
            pass
    with streams.one(same, None):
        pass
    assert not streams._open


def test_a_user_has_so_many_wherever_they_are() -> None:
    streams = Streams(2)
    with (
        streams.one("192.0.2.1", "alice"),
        streams.one("192.0.2.2", "alice"),
        streams.one("192.0.2.1", "bob"),
    ):
        with pytest.raises(Problem, match="user"), streams.one("192.0.2.3", "alice"):
            pass
        with streams.one("192.0.2.3", None), streams.one("192.0.2.3", "bob"):
            pass


def test_0_is_no_limit() -> None:
    streams = Streams(0)
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(streams.one("192.0.2.1", "alice"))


async def link(service: Service, id_: str) -> str:
    """A query with a link: with it, anyone can watch what alice transfers under ``id_``."""
    body = json.dumps({"transfer": id_}).encode()
    answer = await call(service.port, "POST", "/storage/links", service.bearer(), body)
    return "&token=" + str(answer.json()["url"]).partition("token=")[2]


@pytest.mark.parametrize("settings", [PROXY])
async def test_one_stream_too_many_is_refused_for_a_while(service: Service) -> None:
    alice = service.bearer()
    async with AsyncExitStack() as stack:
        for number in range(2):
            await stack.enter_async_context(
                watching(service.port, f"{number}", at("192.0.2.1", alice))
            )
        for headers in (at("192.0.2.1"), at("192.0.2.1", service.bearer("bob"))):
            answer = await call(service.port, "GET", "/sse/progress?id=t", headers)
            assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
            assert "address" in answer.problem()
        answer = await call(service.port, "GET", "/sse/progress?id=t", at("192.0.2.2", alice))
        assert (answer.status, "user" in answer.problem()) == (429, True)
        await stack.enter_async_context(watching(service.port, "t", at("192.0.2.9")))
        # What others do with a link of hers does not count as hers.
        token = await link(service, "t")
        for number in range(3):
            watching_it = watching(service.port, "t", at(f"192.0.2.{number + 10}"), query=token)
            await stack.enter_async_context(watching_it)
        await stack.enter_async_context(watching(service.port, "t", at("192.0.2.10"), query=token))
        answer = await call(service.port, "GET", f"/sse/progress?id=t{token}", at("192.0.2.10"))
        assert (answer.status, "address" in answer.problem()) == (429, True)
    hub = service.app[PROGRESS]
    await eventually(lambda: not hub.streams)
    async with watching(service.port, "t", at("192.0.2.1", alice)):
        pass


async def test_a_stream_whose_transfer_does_not_start_ends(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.progress.transfers.START_SECONDS", 0.3)
    async with connect(service.port) as client:
        rest = await begin(service, client, "PUT", "/storage/default/f?id=t", b"12345")
        async with (
            watching(service.port, "t", service.bearer()) as started,
            watching(service.port, "never") as never,
        ):
            await never.end()
            assert (never.source.retry, never.events) == (60_000, [])
            while (await started.event())["bytes"] < 3:
                pass
            await started.silent()
            client.send_raw(rest)
            assert (await client.answer()).status == 201
            assert (await started.last())["bytes"] == 5
