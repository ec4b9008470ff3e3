"""Uploads: what is stored, what is answered, and who wins."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import random
from itertools import product

import pytest

from tests.support.client import connect
from tests.support.service import Service
from tests.support.uploads import (
    FORM,
    WAYS,
    begin,
    form,
    head,
    nothing_left,
    request,
    temporaries,
    upload,
)

LONG = random.Random(1).randbytes(1_500_000)
FUTURE = "Fri, 01 Jan 2100 00:00:00 GMT"
PAST = "Sat, 01 Jan 2000 00:00:00 GMT"
FILE = "/storage/default/a"


def sha256(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


async def stored(service: Service, target: str = FILE) -> bytes | None:
    """The bytes under a name, None if there are none."""
    status, body = await service.get(target)
    assert status in (200, 404)
    return body if status == 200 else None


@pytest.mark.both_loops
async def test_an_upload_is_stored_and_described(service: Service) -> None:
    contents = (b"", b"x", LONG[:65537], LONG)
    for number, (method, way, content) in enumerate(product(("POST", "PUT"), WAYS, contents)):
        target = f"/storage/default/{number}%20%C3%A4.txt"
        query = "?overwrite=true" if method == "POST" else ""
        for status, version in ((201, content), (200, content[::-1])):
            answer = await upload(service, method, target + query, version, way)
            assert answer.status == status
            tag = await service.etag(target)
            assert answer.json() == {
                "status": "ok",
                "name": f"{number} \u00e4.txt",
                "namespace": "default",
                "size": len(content),
                "etag": tag,
            }
            assert answer.headers["ETag"] == tag
            assert answer.headers["Location"] == target
            assert await stored(service, target) == version
        created = await upload(service, method, target + "b", content, way)
        assert created.status == 201


async def test_each_version_has_an_etag_of_its_own(service: Service) -> None:
    tags = [(await upload(service, "PUT", FILE, b"same")).headers["ETag"] for _ in range(5)]
    assert len(set(tags)) == 5


@pytest.mark.both_loops
async def test_a_connection_serves_on_after_each_kind_of_upload(service: Service) -> None:
    async with connect(service.port) as connection:
        for number, way in enumerate(WAYS):
            target = f"/storage/default/{number}"
            content = LONG[: 100_000 + number]
            connection.send_raw(request("PUT", target, way, content, service.bearer()))
            assert (await connection.answer()).status == 201
            assert (await connection.ask("GET", target)).body == content


async def test_an_upload_without_any_body_is_an_empty_file(service: Service) -> None:
    async with connect(service.port) as connection:
        connection.send_raw(head("PUT", FILE, service.bearer()))
        answer = await connection.answer()
    assert (answer.status, answer.json()["size"]) == (201, 0)
    assert await stored(service) == b""


async def test_a_body_of_another_type_is_stored_as_it_is(service: Service) -> None:
    body = form(b"x")
    for kind in ("application/json", "multipart/mixed; boundary=frontier"):
        answer = await upload(service, "POST", FILE, body, headers={"Content-Type": kind})
        assert answer.status == 201
        assert await stored(service) == body
        await service.delete(FILE)


async def test_bytes_that_are_compressed_already_stay_so(service: Service) -> None:
    packed = gzip.compress(LONG[:10_000])
    for coding in (None, "identity", "Identity"):
        headers = {} if coding is None else {"Content-Encoding": coding}
        assert (await upload(service, "PUT", FILE, packed, headers=headers)).status in (200, 201)
        assert await stored(service) == packed


async def test_post_replaces_only_when_told_to(service: Service) -> None:
    for way in WAYS:
        await service.put(FILE, b"old")
        for query in ("", "?overwrite=false", "?overwrite", "?overwrite=1"):
            answer = await upload(service, "POST", FILE + query, b"new", way)
            assert answer.status == 409
            assert "overwrite=true" in answer.problem()
        assert await stored(service) == b"old"
        answer = await upload(service, "POST", FILE + "?overwrite=true", b"new", way)
        assert answer.status == 200
        assert await stored(service) == b"new"


async def test_a_put_that_is_told_not_to_replace_is_refused(service: Service) -> None:
    await service.put(FILE, b"old")
    for way in WAYS:
        for query in ("?overwrite=false", "?overwrite", "?overwrite=1", "?overwrite=TRUE"):
            for more in ("", "&overwrite=true"):
                answer = await upload(service, "PUT", FILE + query + more, b"new", way)
                assert answer.status == 400
                assert "If-None-Match" in answer.problem()
    two = "?overwrite=true&overwrite=false"
    assert (await upload(service, "POST", FILE + two, b"new")).status == 409
    assert await stored(service) == b"old"
    assert (await upload(service, "PUT", f"{FILE}?overwrite=true", b"new")).status == 200
    assert await stored(service) == b"new"


CONDITIONS = (
    # Field, value, status where there is a file, status where there is none.
    ("If-Match", "{}", 200, 412),
    ("If-Match", '"other", {}', 200, 412),
    ("If-Match", "*", 200, 412),
    ("If-Match", '"other"', 412, 412),
    ("If-Match", "W/{}", 412, 412),
    ("If-Match", "garbage", 412, 412),
    ("If-None-Match", "*", 412, 201),
    ("If-None-Match", "{}", 412, 201),
    ("If-None-Match", "W/{}", 412, 201),
    ("If-None-Match", '"other"', 200, 201),
    ("If-Unmodified-Since", FUTURE, 200, 201),
    ("If-Unmodified-Since", PAST, 412, 201),
    ("If-Unmodified-Since", "garbage", 200, 201),
)


async def test_conditions_are_kept(service: Service) -> None:
    for number, (method, case) in enumerate(product(("PUT", "POST"), CONDITIONS)):
        name, value, there, absent = case
        query = "?overwrite=true" if method == "POST" else ""
        await service.put(FILE, b"old")
        tag = await service.etag(FILE)
        headers = {name: value.format(tag)}
        answer = await upload(service, method, FILE + query, b"new", headers=headers)
        assert answer.status == there, case
        assert await stored(service) == (b"old" if there == 412 else b"new")
        if there == 412:
            answer.problem()
            assert await service.etag(FILE) == tag
        other = f"/storage/default/{number}"
        answer = await upload(service, method, other + query, b"new", headers=headers)
        assert answer.status == absent, case
        assert await stored(service, other) == (None if absent == 412 else b"new")


RACES = (
    # Method, query, condition, whether there is an old file, what the later one is answered.
    ("PUT", "", ("If-Match", "{}"), True, 412),
    ("PUT", "", ("If-Unmodified-Since", FUTURE), True, 412),
    ("PUT", "", ("If-None-Match", "*"), False, 412),
    ("POST", "", None, False, 409),
    ("POST", "?overwrite=true", ("If-Match", "{}"), True, 412),
    ("POST", "?overwrite=true", ("If-None-Match", "*"), False, 412),
    ("POST", "?overwrite=true", None, False, 200),
    ("PUT", "", None, False, 200),
    ("PUT", "", None, True, 200),
)


@pytest.mark.both_loops
async def test_what_must_hold_must_hold_at_the_end_too(service: Service) -> None:
    tasks = asyncio.all_tasks()
    for number, race in enumerate(RACES):
        method, query, condition, old, status = race
        target = f"/storage/default/{number}"
        if old:
            await service.put(target, b"old")
        tag = await service.etag(target) if old else ""
        headers = {} if condition is None else {condition[0]: condition[1].format(tag)}
        async with connect(service.port) as connection:
            rest = await begin(service, connection, method, target + query, b"late" * 9, headers)
            await service.put(target, b"quick")
            connection.send_raw(rest)
            answer = await connection.answer()
        assert answer.status == status, race
        assert await stored(service, target) == (b"late" * 9 if status == 200 else b"quick")
    await nothing_left(service, tasks)


async def test_a_file_that_must_exist_may_not_be_deleted_meanwhile(service: Service) -> None:
    for value in ("*", "{}"):
        await service.put(FILE, b"old")
        headers = {"If-Match": value.format(await service.etag(FILE))}
        async with connect(service.port) as connection:
            rest = await begin(service, connection, "PUT", FILE, b"late" * 10, headers)
            await service.delete(FILE)
            connection.send_raw(rest)
            assert (await connection.answer()).status == 412
        assert await stored(service) is None


@pytest.mark.both_loops
async def test_of_two_at_once_each_is_whole_and_only_one_is_new(service: Service) -> None:
    tasks = asyncio.all_tasks()
    contents = (LONG[:300_001], LONG[300_001:700_000])
    kinds: tuple[tuple[str, dict[str, str], list[int]], ...] = (
        ("POST", {}, [201, 409]),
        ("PUT", {"If-None-Match": "*"}, [201, 412]),
        ("PUT", {}, [200, 201]),
    )
    for number in range(18):
        method, headers, statuses = kinds[number % 3]
        target = f"/storage/default/{number}"
        async with connect(service.port) as one, connect(service.port) as two:
            rests = [
                await begin(service, connection, method, target, content, headers)
                for connection, content in zip((one, two), contents, strict=True)
            ]
            assert await stored(service, target) is None
            one.send_raw(rests[0])
            two.send_raw(rests[1])
            answers = await asyncio.gather(one.answer(), two.answer())
        assert sorted(answer.status for answer in answers) == statuses
        # Of two that both succeed, the one that says it replaced the other came last.
        last = 0 if answers[0].status == statuses[0] else 1
        assert await stored(service, target) == contents[last]
    await nothing_left(service, tasks)


SIZES = (
    # Content, X-File-Size, status.
    (b"", "0", 200),
    (LONG, str(len(LONG)), 200),
    (LONG, str(len(LONG) - 1), 400),
    (LONG, str(len(LONG) + 1), 400),
    (b"", "1", 400),
    *((b"x", text, 400) for text in ("0", "-1", "+1", "", "1.0", "0x1", "1 1", "\u00b9", "one")),
    (b"x", "9" * 19, 400),
    (b"x", "9" * 5000, 400),
    (b"x", str(2**63 - 1), 507),  # no disk has so much room
)


async def test_the_announced_size_is_compared(service: Service) -> None:
    tasks = asyncio.all_tasks()
    await service.put(FILE, b"old")
    for way, (content, size, status) in product(WAYS, SIZES):
        if way == "raw" and status == 507:
            continue  # Content-Length contradicts it
        before = await stored(service)
        answer = await upload(service, "PUT", FILE, content, way, {"X-File-Size": size})
        assert answer.status == status, (way, size)
        assert await stored(service) == (content if status == 200 else before)
    await nothing_left(service, tasks)


async def test_digests_are_verified(service: Service) -> None:
    tasks = asyncio.all_tasks()
    for way in WAYS:
        content = form(LONG) if "multipart" in way else LONG
        for field, value, status in (
            ("Repr-Digest", sha256(LONG), 200),
            ("Content-Digest", sha256(content), 200),
            ("Repr-Digest", sha256(LONG[:-1]), 400),
            ("Content-Digest", sha256(content[:-1]), 400),
            ("Repr-Digest", "sha-256=:AAAA:", 400),
            ("Content-Digest", "garbage", 400),
            ("Repr-Digest", "sha-999=:AAAA:", 200),
            ("Content-Digest", f"sha-999=:AAAA:, {sha256(b'')}", 400),
        ):
            await service.put(FILE, b"old")
            answer = await upload(service, "PUT", FILE, LONG, way, {field: value})
            assert answer.status == status, (way, field, value)
            assert await stored(service) == (LONG if status == 200 else b"old")
            if status == 400:
                assert field in answer.problem()
    await nothing_left(service, tasks)


async def test_digests_of_file_and_content_differ_in_a_form(service: Service) -> None:
    for field, value in (("Repr-Digest", form(b"x")), ("Content-Digest", b"x")):
        answer = await upload(service, "PUT", FILE, b"x", "multipart", {field: sha256(value)})
        assert answer.status == 400
    assert await stored(service) is None


async def test_a_form_that_is_none_stores_nothing(service: Service) -> None:
    for body in (b"", b"garbage", b"--frontier--\r\n", form(b"x")[:-4]):
        answer = await upload(service, "POST", FILE, body, headers={"Content-Type": FORM})
        assert answer.status == 400
        answer.problem()
        assert await stored(service) is None
        assert temporaries(service) == []
