"""An upload by tus is one transfer to those who watch it, over all its requests."""

from __future__ import annotations

import base64
import random

import pytest

from sfs_server.http import tus
from sfs_server.web.keys import PROGRESS
from tests.support.client import MIB, Answer, call, connect
from tests.support.events import Stream, seen, watching
from tests.support.service import Service
from tests.support.uploads import head
from tests.support.waiting import eventually

CONTENT = random.Random(7).randbytes(3 * MIB)
FOLDER = "/storage/default/"


async def start(service: Service, name: str, size: int, **more: str) -> str:
    """Start an upload of alice; its path."""
    coded = base64.b64encode(name.encode()).decode()
    headers = {"Upload-Length": str(size), "Upload-Metadata": f"filename {coded}"}
    return (await ask(service, "POST", FOLDER, {**headers, **more})).headers["Location"]


async def ask(
    service: Service, method: str, target: str, headers: dict[str, str], body: bytes = b""
) -> Answer:
    named = {**service.bearer(), "Tus-Resumable": tus.VERSION, **headers}
    answer = await call(service.port, method, target, named, body)
    assert answer.status < 500, answer
    return answer


def patch_fields(offset: int) -> dict[str, str]:
    return {"Upload-Offset": str(offset), "Content-Type": tus.CONTENT_TYPE}


async def add(service: Service, path: str, offset: int, body: bytes) -> Answer:
    return await ask(service, "PATCH", path, patch_fields(offset), body)


async def add_and_vanish(service: Service, path: str, offset: int, part: bytes) -> None:
    """Send ``part`` of a larger body, and lose the connection when it has been counted."""
    fields = {**service.bearer(), "Tus-Resumable": tus.VERSION, **patch_fields(offset)}
    fields["Content-Length"] = str(len(part) + MIB)
    hub = service.app[PROGRESS]
    async with connect(service.port) as connection:
        connection.send_raw(head("PATCH", path, fields) + part)
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
    path = await start(service, "a", len(CONTENT), **({"X-Transfer-Id": "t"} if named else {}))
    id_ = "t" if named else path.rpartition("/")[2]
    async with (
        watching(service.port, id_, service.bearer()) as near,
        watching(other.port, id_, service.bearer()) as far,
        watching(service.port, id_, service.bearer("bob")) as foreign,
    ):
        await add_and_vanish(service, path, 0, CONTENT[:MIB])
        answer = await ask(service, "HEAD", path, {})
        offset = int(answer.headers["Upload-Offset"])
        assert (await add(service, path, offset, CONTENT[offset : 2 * MIB])).status == 204
        await foreign.silent(0.1)
        assert (await add(service, path, 2 * MIB, CONTENT[2 * MIB :])).status == 204
        for stream in (near, far):
            await stream.last()
            events_are_of_one_transfer(stream, len(CONTENT))
        assert near.events[0]["bytes"] < MIB + 1


async def test_an_upload_that_is_given_up_has_an_end(service: Service, other: Service) -> None:
    path = await start(service, "a", 10, **{"X-Transfer-Id": "t"})
    async with (
        watching(service.port, "t", service.bearer()) as near,
        watching(other.port, "t", service.bearer()) as far,
    ):
        await add(service, path, 0, b"12345")
        assert (await ask(service, "DELETE", path, {})).status == 204
        for stream in (near, far):
            last = await stream.last()
            assert (last["bytes"], last["error"]) == (5, "The upload was given up.")


async def test_a_refused_publish_is_an_end_and_so_is_one_that_works_later(service: Service) -> None:
    path = await start(service, "a", 5, **{"X-Transfer-Id": "t"})
    await service.put(f"{FOLDER}a", b"x")
    async with watching(service.port, "t", service.bearer()) as stream:
        refused = await add(service, path, 0, b"12345")
        assert refused.status == 409
        last = await stream.last()
        assert (last["bytes"], last["error"]) == (5, refused.problem())
    await service.delete(f"{FOLDER}a")
    assert (await add(service, path, 5, b"")).status == 204
    last = await seen(service.port, "t", service.bearer())
    assert (last["bytes"], last["done"], "error" in last) == (5, True, False)
