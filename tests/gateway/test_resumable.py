"""Uploads that can be resumed (tus 1.0.0): what is passed on, and what they evict."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from itertools import count

import pytest

from tests.gateway.conftest import HOLD_SECONDS, STORABLE, Gateway, Recorder, from_cache
from tests.support.client import MIB, Answer, call, connect
from tests.support.uploads import head
from tests.support.waiting import eventually

UPLOAD = "/storage/uploads/0123456789abcdef0123456789abcdef"
TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {
    **TUS,
    "Upload-Offset": "0",
    "Content-Type": "application/offset+octet-stream",
}
_numbers = count()


@pytest.fixture
async def kept(recorder: Recorder) -> str:
    """The path of a file that is stored, in a namespace that no other test has."""
    path = f"/storage/resumable-{next(_numbers)}/a/file"
    recorder.answer = STORABLE
    for stored in (False, True):
        assert await is_kept(recorder, path) == stored
    return path


async def is_kept(recorder: Recorder, path: str) -> bool:
    recorder.answer = STORABLE
    return from_cache(await call(recorder.gateway_port, "GET", path))


def says(status: int, **fields: str) -> bytes:
    """A response of tus without a body."""
    named = {"Tus-Resumable": "1.0.0", "Content-Length": "0", **fields}
    if status == 204:
        del named["Content-Length"]
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} So\r\n{lines}\r\n".encode()


async def test_a_patch_reaches_sfs_as_it_comes(recorder: Recorder) -> None:
    recorder.wants = 1000
    recorder.answer = says(204, Upload_Offset="1000")
    async with connect(recorder.gateway_port) as client:
        client.send_raw(head("PATCH", UPLOAD, {**PATCH, "Content-Length": "1000"}) + b"first")
        await eventually(lambda: recorder.received == b"first")
        client.send_raw(bytes(995))
        answer = await client.answer()
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "1000")
    assert PATCH.items() <= dict(recorder.fields(0)).items()


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("OPTIONS", "/storage/uploads", {"Tus-Extension": "creation", "Tus-Max-Size": "5"}),
        ("HEAD", UPLOAD, {"Upload-Offset": "3", "Cache-Control": "no-store"}),
        ("DELETE", UPLOAD, {}),
        ("POST", "/storage/default/a/", {"Location": UPLOAD, "Upload-Expires": "soon"}),
    ],
)
async def test_the_fields_of_tus_pass_both_ways(
    recorder: Recorder, method: str, path: str, fields: dict[str, str]
) -> None:
    recorder.answer = says(204, **fields)
    sent = {**TUS, "Upload-Length": "9", "Upload-Metadata": "filename YQ==,empty"}
    answer = await call(recorder.gateway_port, method, path, sent)
    assert sent.items() <= dict(recorder.fields(0)).items()
    assert fields.items() <= dict(answer.headers).items()


async def test_nobody_is_asked_before_whether_a_part_is_wanted(recorder: Recorder) -> None:
    """The question would take the upload over, or start one that nobody goes on with."""
    recorder.answer = says(204, Upload_Offset="1")
    expects = {**PATCH, "Expect": "100-continue", "Content-Length": "1"}
    for method, path in (("PATCH", UPLOAD), ("POST", "/storage/default/a/")):
        recorder.heads.clear()
        async with connect(recorder.gateway_port) as client:
            client.send_raw(head(method, path, expects))
            assert (await client.head())[0] == 100
            client.send_raw(b"x")
            assert (await client.answer()).status == 204
        assert len(recorder.heads) == 1


@pytest.mark.parametrize(
    ("method", "target", "status", "published"),
    [
        ("PATCH", UPLOAD, 204, True),
        ("PATCH", UPLOAD, 204, False),
        ("POST", "{folder}", 201, True),
        ("POST", "{folder}", 201, False),
        ("POST", "{file}", 201, True),
        ("POST", "{file}", 201, False),
        ("DELETE", UPLOAD, 204, False),
    ],
)
async def test_a_response_evicts_the_file_that_it_names_and_nothing_else(
    recorder: Recorder, kept: str, method: str, target: str, status: int, published: bool
) -> None:
    folder = kept.removesuffix("file")
    other = f"{folder}other"
    for stored in (False, True):
        assert await is_kept(recorder, other) == stored
    recorder.answer = says(status, **({"Content-Location": kept} if published else {}))
    path = target.format(folder=folder, file=kept)
    assert (await call(recorder.gateway_port, method, path, PATCH, b"x")).status == status
    assert await is_kept(recorder, kept) != published
    assert await is_kept(recorder, other)


async def test_a_response_without_tus_is_to_a_whole_file(recorder: Recorder, kept: str) -> None:
    """It comes from a process that does not know tus yet, and took the body for the file."""
    recorder.answer = b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n"
    assert (await call(recorder.gateway_port, "POST", kept, TUS)).status == 201
    assert not await is_kept(recorder, kept)


@pytest.mark.parametrize(
    ("method", "answer", "evicted"),
    [
        ("PATCH", None, True),
        ("PATCH", 500, True),
        ("PATCH", 503, True),
        ("PATCH", 507, False),
        ("PATCH", 409, False),
        ("DELETE", None, False),
    ],
)
async def test_where_the_end_of_an_upload_is_unknown_all_that_is_stored_is_evicted(
    recorder: Recorder, kept: str, method: str, answer: int | None, evicted: bool
) -> None:
    recorder.dies = answer is None
    recorder.answer = says(answer or 204)
    lost = await call(recorder.gateway_port, method, UPLOAD, PATCH, b"last")
    assert lost.status == (answer or 502)
    recorder.dies = False
    assert await is_kept(recorder, kept) != evicted
    await asyncio.sleep(HOLD_SECONDS)  # nothing is stored for so long


async def test_a_part_that_was_cut_evicts_nothing(recorder: Recorder, kept: str) -> None:
    """Whoever it was that died: what has not come whole has published nothing."""
    recorder.dies = True
    async with connect(recorder.gateway_port) as client:
        client.send_raw(head("PATCH", UPLOAD, {**PATCH, "Content-Length": "100000"}) + b"first")
        assert (await client.answer()).status == 502
    recorder.dies = False
    assert await is_kept(recorder, kept)


def _named(name: str) -> dict[str, str]:
    return {"Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"}


async def _ask(
    gateway: Gateway, method: str, path: str, fields: dict[str, str], body: bytes = b""
) -> Answer:
    return await call(gateway.port, method, path, {**TUS, **gateway.bearer(), **fields}, body)


async def test_an_upload_over_all_processes_replaces_a_file_for_everyone(gateway: Gateway) -> None:
    """Each request goes to the next process; after the last one all serve the new file."""
    name, content = f"resumed-{next(_numbers)}.bin", hashlib.shake_256(b"resumed").digest(5 * MIB)
    views = [f"/storage/default/{name}", f"/storage/download/default/{name}"]
    await gateway.put(views[0], b"first")
    for view in views:
        assert (await gateway.stored(view)).body == b"first"
    fields = {"Upload-Length": str(len(content)), **_named(name)}
    begun = await _ask(gateway, "POST", "/storage/default/?overwrite=true", fields)
    assert begun.status == 201, begun
    path = begun.headers["Location"]
    assert path.startswith("/storage/uploads/")
    for start in range(0, len(content), MIB):
        for view in views:
            assert from_cache(await gateway.get(view)), "only the last part changes the file"
        known = await _ask(gateway, "HEAD", path, {})
        assert int(known.headers["Upload-Offset"]) == start
        part = content[start : start + MIB]
        taken = await _ask(gateway, "PATCH", path, {**PATCH, "Upload-Offset": str(start)}, part)
        assert taken.status == 204, taken
    assert taken.headers["Content-Location"] == views[0]
    for view in views * 4:
        assert (await gateway.get(view)).body == content
    await gateway.delete(views[0])


async def test_a_file_that_comes_with_the_beginning_of_its_upload_evicts(gateway: Gateway) -> None:
    path = f"/storage/default/resumed-{next(_numbers)}.txt"
    await gateway.put(path, b"first")
    assert (await gateway.stored(path)).body == b"first"
    fields = {"Upload-Length": "6", "Content-Type": PATCH["Content-Type"]}
    begun = await _ask(gateway, "POST", f"{path}?overwrite=true", fields, b"second")
    assert (begun.status, begun.headers["Content-Location"]) == (201, path)
    for _ in range(4):
        assert (await gateway.get(path)).body == b"second"
    await gateway.delete(path)
