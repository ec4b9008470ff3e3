"""An upload by tus is one transfer to those who watch it, over all its requests."""

from __future__ import annotations

import random

import pytest

from sfs_server.web.keys import PROGRESS
from tests.support.client import MIB, connect
from tests.support.events import Stream, seen, watching
from tests.support.service import Service
from tests.support.tus import Upload, start
from tests.support.uploads import head
from tests.support.waiting import eventually

CONTENT = random.Random(7).randbytes(3 * MIB)
FILE = "/storage/default/a"
TAGGED = {"X-Transfer-Id": "t"}


async def add_and_vanish(upload: Upload, offset: int, part: bytes) -> None:
    """Send ``part`` of a larger body, and lose the connection when it has been counted."""
    fields = {**upload.patching(offset), "Content-Length": str(len(part) + MIB)}
    hub = upload.service.app[PROGRESS]
    async with connect(upload.service.port) as connection:
        connection.send_raw(head("PATCH", upload.location, fields) + part)
        await eventually(lambda: any(one.moved == offset + len(part) for one in hub.sampled()))
        connection.reset()
    await eventually(lambda: not hub.sampled())


def events_are_of_one_transfer(stream: Stream, size: int) -> None:
    assert [event["done"] for event in stream.events] == [False] * (len(stream.events) - 1) + [True]
    assert all(event["total"] == size for event in stream.events)
    assert stream.events[-1]["bytes"] == size


@pytest.mark.parametrize("named", [True, False])
async def test_requests_that_break_are_shown_as_one_transfer_in_all_processes(
    service: Service, other: Service, named: bool
) -> None:
    upload = await start(service, FILE, len(CONTENT), TAGGED if named else {})
    id_ = "t" if named else upload.id
    async with (
        watching(service.port, id_, service.bearer()) as near,
        watching(other.port, id_, service.bearer()) as far,
        watching(service.port, id_, service.bearer("bob")) as foreign,
    ):
        await add_and_vanish(upload, 0, CONTENT[:MIB])
        for process in (service, other):
            async with watching(process.port, id_, service.bearer()) as late:
                while not late.events or late.events[-1]["bytes"] < MIB:
                    await late.event()
                assert not late.events[-1]["done"]
        offset = await upload.offset()
        assert (await upload.patch(offset, CONTENT[offset : 2 * MIB])).status == 204
        await foreign.silent(0.1)
        assert (await upload.patch(2 * MIB, CONTENT[2 * MIB :])).status == 204
        for stream in (near, far):
            await stream.last()
            events_are_of_one_transfer(stream, len(CONTENT))
        assert near.events[0]["bytes"] <= MIB


async def test_an_upload_that_is_given_up_has_an_end(service: Service, other: Service) -> None:
    upload = await start(service, FILE, 10, TAGGED)
    async with (
        watching(service.port, "t", service.bearer()) as near,
        watching(other.port, "t", service.bearer()) as far,
    ):
        await upload.patch(0, b"12345")
        assert (await upload.delete()).status == 204
        for stream in (near, far):
            last = await stream.last()
            assert (last["bytes"], last["error"]) == (5, "The upload was given up.")


async def test_a_refused_publish_is_an_end_and_so_is_one_that_works_later(
    service: Service,
) -> None:
    upload = await start(service, FILE, 5, TAGGED)
    await service.put(FILE, b"x")
    async with watching(service.port, "t", service.bearer()) as stream:
        refused = await upload.patch(0, b"12345")
        assert refused.status == 409
        last = await stream.last()
        assert (last["bytes"], last["error"]) == (5, refused.problem())
    await service.delete(FILE)
    assert (await upload.patch(5)).status == 204
    last = await seen(service.port, "t", service.bearer())
    assert (last["bytes"], last["done"], "error" in last) == (5, True, False)
