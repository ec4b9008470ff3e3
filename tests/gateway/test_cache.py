"""What comes out of the gateway's cache, and what may not."""

from __future__ import annotations

import asyncio
import json
import signal
from functools import partial
from itertools import count

import pytest

from manifests.gateway import Nginx
from manifests.laptop.weed import free_ports
from tests.gateway.conftest import (
    HOLD_SECONDS,
    ORIGINS,
    STORABLE,
    Gateway,
    Recorder,
    from_cache,
    recording,
    started,
)
from tests.support.client import MIB, Answer, call, connect
from tests.support.waiting import eventually

_numbers = count()

STALE_SECONDS = 2.1
"""After this, what was fresh for a second is not; nginx counts whole ones."""


@pytest.fixture
def name() -> str:
    """A file's name that no other test has."""
    return f"cache-{next(_numbers)}.txt"


@pytest.fixture
async def paths(gateway: Gateway, name: str) -> list[str]:
    """The view and the download of a file, both stored."""
    paths = [f"/storage/default/{name}", f"/storage/download/default/{name}"]
    await gateway.put(paths[0], b"first")
    for path in paths:
        assert (await gateway.stored(path)).body == b"first"
    return paths


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_what_replaces_a_file_evicts_its_view_and_its_download(
    gateway: Gateway, paths: list[str], method: str
) -> None:
    target = f"{paths[0]}?overwrite=true"
    answer = await call(gateway.port, method, target, gateway.bearer(), b"second")
    assert answer.status == 200
    for path in paths:
        found = await gateway.get(path)
        assert (found.body, from_cache(found)) == (b"second", False)
        assert (await gateway.get(path, {"Range": "bytes=0-2"})).body == b"sec"
        assert (await call(gateway.port, "HEAD", path)).headers["Content-Length"] == "6"
        assert (await gateway.get(f"{path}?x=1")).body == b"second"


async def test_a_delete_evicts_and_a_new_upload_is_seen(gateway: Gateway, paths: list[str]) -> None:
    await gateway.delete(paths[0])
    for path in paths:
        assert (await gateway.get(path)).status == 404
    await gateway.put(paths[0], b"again")
    for path in paths:
        assert (await gateway.get(path)).body == b"again"


@pytest.mark.parametrize(
    "spell",
    [
        ("cache", "%63ache"),
        ("cache", "%63%61%63he"),
        ("/storage/default", "/%73torage/%64efault"),
        ("/storage", "http://sfs.example/storage"),
    ],
)
async def test_another_spelling_of_the_path_evicts_too(
    gateway: Gateway, paths: list[str], spell: tuple[str, str]
) -> None:
    await gateway.put(paths[0].replace(*spell), b"second")
    assert [(await gateway.get(path)).body for path in paths] == [b"second", b"second"]


async def test_names_that_need_an_encoding_are_stored_and_evicted(gateway: Gateway) -> None:
    for name in ("a%2520b", "%C3%A9%20%2B+.txt", "x%22%27%5B"):
        path = f"/storage/default/evict-{name}"
        await gateway.put(path, b"first")
        listed = await gateway.get("/storage/files?prefix=evict-")
        canonical = listed.json()[0]["path"]
        assert (await gateway.stored(canonical)).body == b"first"
        await gateway.put(path, b"second")
        assert (await gateway.get(canonical)).body == b"second"
        await gateway.delete(path)


async def test_what_was_read_before_a_change_and_came_after_it_is_not_served(
    gateway: Gateway, name: str
) -> None:
    """The GET has started, and its bytes are on their way, when the PUT succeeds."""
    path, size = f"/storage/default/{name}", 6 * MIB
    await gateway.put(path, bytes(size))
    async with connect(gateway.port, receive_buffer=4096) as slow:
        slow.send("GET", path)
        status, _ = await slow.head()
        assert status == 200
        await gateway.put(path, b"second")
        assert await slow.reader.readexactly(size) == bytes(size)
    for _ in range(3):
        assert (await gateway.get(path)).body == b"second"


async def test_a_refused_change_evicts_nothing(gateway: Gateway, paths: list[str]) -> None:
    for method in ("PUT", "POST", "DELETE"):
        assert (await call(gateway.port, method, paths[0], body=b"x")).status == 401
    assert (await call(gateway.port, "POST", paths[0], gateway.bearer(), b"x")).status == 409
    for path in paths:
        assert from_cache(await gateway.get(path))


async def test_a_credential_is_never_answered_from_the_cache_nor_stored(
    gateway: Gateway, name: str
) -> None:
    path, bearer = f"/storage/default/{name}", gateway.bearer()
    token = bearer["Authorization"].split()[1]
    await gateway.put(path, b"first")
    for _ in range(3):
        for answer in (
            await call(gateway.port, "GET", path, bearer),
            await gateway.get(f"{path}?token={token}"),
        ):
            assert (answer.body, from_cache(answer)) == (b"first", False)
            assert answer.headers["Cache-Control"] == "private, no-cache"
    assert not from_cache(await gateway.get(path)), "what a credential was answered was stored"
    await gateway.stored(path)
    assert not from_cache(await call(gateway.port, "GET", path, bearer))
    assert (await call(gateway.port, "GET", path, {"Authorization": "Bearer x.y.z"})).status == 401


async def test_a_private_file_is_for_who_may_read_it_alone(gateway: Gateway, name: str) -> None:
    hidden = json.dumps({"name": name, "hidden": True}).encode()
    made = await call(gateway.port, "POST", "/storage/namespaces", gateway.bearer(), hidden)
    assert made.status == 201
    path = f"/storage/{name}/secret"
    await gateway.put(path, b"secret")
    link = await call(
        gateway.port,
        "POST",
        "/storage/links",
        gateway.bearer(),
        json.dumps({"namespace": name, "file": "secret"}).encode(),
    )
    for _ in range(3):
        assert (await call(gateway.port, "GET", path, gateway.bearer())).body == b"secret"
        assert (await gateway.get(link.json()["url"])).body == b"secret"
        assert (await gateway.get(path)).status == 404
        assert (await gateway.get(path, {"Cookie": "session=alice"})).status == 404
        assert (await call(gateway.port, "GET", path, gateway.bearer("bob"))).status == 404
    assert not any(b"secret" in file.read_bytes() for file in gateway.cache_files())


async def test_each_origin_gets_its_own_answer(gateway: Gateway, name: str) -> None:
    path = f"/storage/default/{name}"
    await gateway.put(path, b"first")
    for _ in range(2):
        for origin in (*ORIGINS, "https://evil.example"):
            answer = await gateway.stored(path, {"Origin": origin})
            allowed = answer.headers.get("Access-Control-Allow-Origin")
            assert allowed == (origin if origin in ORIGINS else None)
        assert "Access-Control-Allow-Origin" not in (await gateway.stored(path)).headers


async def test_conditions_and_ranges_are_answered_from_what_is_stored(
    gateway: Gateway, paths: list[str]
) -> None:
    whole = await gateway.get(paths[0])
    etag, date = whole.headers["ETag"], whole.headers["Last-Modified"]
    same = await gateway.get(paths[0], {"If-None-Match": etag})
    assert (same.status, same.body, from_cache(same)) == (304, b"", True)
    assert same.headers["ETag"] == etag
    assert (await gateway.get(paths[0], {"If-None-Match": '"x"'})).status == 200
    assert (await gateway.get(paths[0], {"If-Modified-Since": date})).status == 304
    part = await gateway.get(paths[0], {"Range": "bytes=1-2"})
    assert (part.status, part.body, from_cache(part)) == (206, b"ir", True)
    assert part.headers["Content-Range"] == "bytes 1-2/5"
    assert (await gateway.get(paths[0], {"Range": "bytes=-2"})).body == b"st"
    past = await gateway.get(paths[0], {"Range": "bytes=9-"})
    assert (past.status, past.headers["Content-Range"]) == (416, "bytes */5")
    assert (await gateway.get(paths[0], {"Range": "lines=1-2"})).status == 200


async def test_conditions_that_need_the_newest_version_go_to_sfs(
    gateway: Gateway, paths: list[str]
) -> None:
    etag = (await gateway.get(paths[0])).headers["ETag"]
    for condition, status, body in (
        ({"Range": "bytes=0-0", "If-Range": etag}, 206, b"f"),
        ({"Range": "bytes=0-0", "If-Range": '"other"'}, 200, b"first"),
        ({"If-Match": etag}, 200, b"first"),
    ):
        answer = await call(gateway.port, "GET", paths[0], condition)
        assert (answer.status, answer.body, from_cache(answer)) == (status, body, False)
    assert (await gateway.get(paths[0], {"If-Match": '"other"'})).status == 412
    several = await gateway.get(paths[0], {"Range": "bytes=0-0,4-4"})
    assert several.headers["Content-Type"].startswith("multipart/byteranges")
    assert from_cache(await gateway.get(paths[0])), "an answer to a condition was stored"


async def test_conditions_and_ranges_of_what_is_not_stored_are_answered_by_sfs(
    gateway: Gateway, name: str
) -> None:
    path, content = f"/storage/default/{name}", bytes(9 * MIB)
    await gateway.put(path, content)
    for _ in range(2):
        whole = await gateway.get(path)
        assert (whole.body == content, from_cache(whole)) == (True, False), "too large to store"
        same = await gateway.get(path, {"If-None-Match": whole.headers["ETag"]})
        assert (same.status, same.body) == (304, b"")
        part = await gateway.get(path, {"Range": "bytes=9437183-"})
        assert (part.status, part.body) == (206, b"\0")
    assert not [file for file in gateway.cache_files() if file.stat().st_size > 8.5 * MIB]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"Authorization": "Bearer x"}),
        ("?token=x", {}),
        ("?id=watched", {}),
        ("", {"X-Transfer-Id": "watched"}),
        ("", {"If-Match": "*"}),
        ("", {"If-Unmodified-Since": "Mon, 02 Nov 2026 10:00:00 GMT"}),
        ("", {"Cache-Control": "no-cache"}),
    ],
)
async def test_what_is_not_plain_reaches_sfs_whatever_that_answers(
    recorder: Recorder, query: str, headers: dict[str, str]
) -> None:
    recorder.answer = STORABLE
    path = f"/storage/default/plain-{len(query)}-{'-'.join(headers)}"
    async with connect(recorder.gateway_port) as client:
        for _ in range(2):
            assert not from_cache(await client.ask("GET", path + query, headers))
        assert not from_cache(await client.ask("GET", path)), "that answer was stored"
        assert from_cache(await client.ask("GET", path))
        assert not from_cache(await client.ask("GET", path + query, headers))


@pytest.mark.parametrize(
    "condition",
    [
        {"Range": "bytes=5-"},
        {"If-None-Match": '"x"'},
        {"If-Modified-Since": "Mon, 02 Nov 2026 10:00:00 GMT"},
    ],
)
async def test_a_condition_on_what_is_not_stored_is_not_turned_into_the_whole_file(
    recorder: Recorder, condition: dict[str, str]
) -> None:
    await call(recorder.gateway_port, "GET", "/storage/default/conditions", condition)
    assert condition.items() <= dict(recorder.fields(0)).items()


async def test_an_origin_shares_no_answer_whatever_sfs_varies(recorder: Recorder) -> None:
    recorder.answer = STORABLE
    async with connect(recorder.gateway_port) as client:
        for origin in ({}, {"Origin": "https://a.example"}, {"Origin": "https://b.example"}):
            for stored in (False, True):
                answer = await client.ask("GET", "/storage/default/origins", origin)
                assert from_cache(answer) == stored


async def test_after_a_change_sfs_is_told_to_look_again(recorder: Recorder) -> None:
    """Whichever process answers, it may not have heard of what another one has changed."""
    recorder.answer = STORABLE
    for method in ("PUT", "DELETE"):
        recorder.heads.clear()
        changed, other = f"/storage/default/{method}-1", f"/storage/default/{method}-2"
        async with connect(recorder.gateway_port) as client:
            await client.ask(method, changed)
            for path in (changed, changed.replace("/default", "/download/default"), other):
                for again in ("GET", "HEAD"):
                    await client.ask(again, path, {"Authorization": "Bearer x"})
            await client.ask("GET", changed)
            assert from_cache(await client.ask("GET", changed))
        asked = ["Cache-Control" in recorder.fields(number) for number in range(8)]
        assert asked == [False, True, True, True, True, False, False, True]


async def test_whoever_asks_past_the_cache_gets_there(gateway: Gateway, paths: list[str]) -> None:
    assert not from_cache(await gateway.get(paths[0], {"Cache-Control": "no-cache"}))
    assert not from_cache(await call(gateway.port, "HEAD", paths[0]))


async def test_hiding_the_namespace_evicts_what_is_in_it_and_stores_nothing_for_a_while(
    gateway: Gateway, paths: list[str]
) -> None:
    """Other processes of SFS hear of it a moment later; what they say until then is not stored."""
    try:
        await _hide(gateway, True)
        for path in paths:
            assert not from_cache(await gateway.get(path))
            await eventually(partial(gateway.status, path), equals=404)
        await asyncio.sleep(HOLD_SECONDS)
        assert [(await gateway.get(path)).status for path in paths] == [404, 404]
    finally:
        await _hide(gateway, False)
    for _ in range(3):
        assert not from_cache(await gateway.get(paths[0]))


async def _hide(gateway: Gateway, hidden: bool) -> None:
    target, body = "/storage/namespaces/default", json.dumps({"hidden": hidden}).encode()
    answer = await call(gateway.port, "PUT", target, gateway.bearer("root", admin=True), body)
    assert answer.status == 200, answer


@pytest.mark.parametrize(
    ("status", "control", "length"),
    [
        (200, "private, no-cache", 2),
        (200, "public, max-age=30", 2),
        (200, "", 2),
        (404, "public, s-maxage=30", 2),
        (206, "public, s-maxage=30", 2),
        (200, "public, s-maxage=30", None),
    ],
)
async def test_what_sfs_does_not_call_public_and_whole_is_not_stored(
    recorder: Recorder, status: int, control: str, length: int | None
) -> None:
    framing = "Connection: close" if length is None else f"Content-Length: {length}"
    head = f"HTTP/1.1 {status} X\r\nCache-Control: {control}\r\n{framing}\r\n\r\n"
    recorder.answer = head.encode() + b"ok"
    recorder.cuts = length is None
    for _ in range(2):
        answer = await call(
            recorder.gateway_port, "GET", f"/storage/default/{status}-{control[:3]}-{length}"
        )
        assert (answer.status, answer.body, from_cache(answer)) == (status, b"ok", False)
    assert len(recorder.heads) == 2


async def test_what_has_become_stale_is_asked_about_and_never_served_without(
    recorder: Recorder,
) -> None:
    control = b'Cache-Control: public, s-maxage=1, must-revalidate\r\nETag: "v1"\r\n'
    recorder.answer = b"HTTP/1.1 200 OK\r\n" + control + b"Content-Length: 2\r\n\r\nok"

    async def get() -> Answer:
        return await call(recorder.gateway_port, "GET", "/storage/default/stale")

    assert (await get()).body == b"ok"
    await asyncio.sleep(STALE_SECONDS)
    recorder.answer = b"HTTP/1.1 304 Not Modified\r\n" + control + b"\r\n"
    assert (await get()).body == b"ok"
    assert recorder.fields(1)["If-None-Match"] == '"v1"'
    assert (await get()).body == b"ok"
    assert len(recorder.heads) == 2, "what was asked about is fresh again"
    await asyncio.sleep(STALE_SECONDS)
    recorder.dies = True
    assert (await get()).status == 502


async def test_a_reload_keeps_what_is_stored_and_what_was_evicted(
    gateway: Gateway, paths: list[str], name: str
) -> None:
    await gateway.put(paths[0], b"second")
    other = f"/storage/default/other-{name}"
    await gateway.put(other, b"other")
    await gateway.stored(other)
    gateway.server.signal(signal.SIGHUP)
    await asyncio.sleep(0.5)
    assert from_cache(await gateway.get(other))
    assert (await gateway.get(paths[0])).body == b"second"


async def test_when_too_many_changes_are_to_be_remembered_nothing_old_is_served(
    nginx: Nginx,
) -> None:
    """The memory for generations is of one page here."""
    ports = free_ports(1)
    with started(nginx, ports, generations="12k") as (port, _):
        async with recording(ports) as recorder, connect(port) as client:
            recorder.answer = STORABLE
            for expected in (1, 1):
                await client.ask("GET", "/storage/default/old")
                assert len(recorder.heads) == expected
            await client.ask("PUT", "/storage/default/old", {}, b"")
            for number in range(200):
                await client.ask("PUT", f"/storage/default/{number}{'x' * 200}", {}, b"")
            recorder.heads.clear()
            await client.ask("GET", "/storage/default/old")
            assert len(recorder.heads) == 1
