"""Uploads that are refused: when, with what, and so that the client gets to read it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import pytest

from sfs_server.web.keys import NAMESPACES
from tests.support.client import Answer, Connection, connect
from tests.support.service import Service
from tests.support.uploads import (
    FORM,
    WAYS,
    chunked,
    form,
    framed,
    head,
    nothing_left,
    temporaries,
    upload,
)

LIMIT = 100_000
MB = 1_000_000
limited = pytest.mark.parametrize("settings", [{"max_upload_bytes": LIMIT}])
impatient = pytest.mark.parametrize("settings", [{"upload_idle_timeout": 0.3}])

CHUNKED = {"Transfer-Encoding": "chunked"}
WAITING = {"Expect": "100-continue"}
END = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

HOPELESS: tuple[tuple[int, str, str, dict[str, str]], ...] = (
    (400, "PUT", "/storage/default/a%00b", {}),
    (400, "PUT", "/storage/default/new", {"X-File-Size": "11"}),
    (400, "PUT", "/storage/default/new", {"X-File-Size": "many"}),
    (400, "PUT", "/storage/default/new", {"Repr-Digest": "garbage"}),
    (400, "PUT", "/storage/default/new", {"Content-Type": "multipart/form-data"}),
    (401, "PUT", "/storage/default/new", {"Authorization": "Bearer garbage"}),
    (401, "POST", "/storage/default/new", {"Authorization": ""}),
    (403, "PUT", "/storage/bobs/new", {}),
    (404, "PUT", "/storage/none/new", {}),
    (404, "PUT", "/storage/hidden/new", {}),
    (400, "PUT", "/storage/default/new//none", {}),
    (400, "PUT", "/storage/default/new" + "/a" * 32, {}),
    (409, "PUT", "/storage/default/old/below", {}),
    (405, "PATCH", "/storage/default/new", {}),
    (409, "POST", "/storage/default/old", {}),
    (412, "PUT", "/storage/default/old", {"If-None-Match": "*"}),
    (412, "PUT", "/storage/default/old", {"If-Match": '"other"'}),
    (412, "PUT", "/storage/default/new", {"If-Match": "*"}),
    (413, "PUT", "/storage/default/new", {"Content-Length": str(LIMIT + 1)}),
    (413, "PUT", "/storage/default/new", {**CHUNKED, "X-File-Size": str(LIMIT + 1)}),
    (413, "PUT", "/storage/default/new", {"Content-Type": FORM, "Content-Length": str(20 * MB)}),
    (415, "PUT", "/storage/default/new", {"Content-Encoding": "gzip"}),
    (415, "POST", "/storage/default/new", {"Content-Encoding": "identity, br"}),
    (
        415,
        "PUT",
        "/storage/default/new",
        {"Content-Encoding": "identity\r\nContent-Encoding: gzip"},
    ),
    (400, "PUT", "/storage/default/old", {"Content-Range": "bytes 0-9/20"}),
    (400, "PUT", "/storage/default/old", {**CHUNKED, "Trailer": "Repr-Digest"}),
    (400, "PUT", "/storage/default/old", {**CHUNKED, "Trailer": "X-A , content-digest"}),
    *(
        (501, method, "/storage/default/old?overwrite=true", {**kind, **said})
        for method, kind in (("PUT", {}), ("POST", {}), ("POST", {"Content-Type": FORM}))
        for said in (
            {"Upload-Complete": "?0"},
            {"Upload-Complete": "?1"},
            {"Upload-Incomplete": "?1"},
            {"Upload-Draft-Interop-Version": "6"},
            {"Upload-Offset": "0"},
            {"Upload-Length": "10"},
            {"Upload-Concat": "partial"},
            {"X-Update-Range": "bytes=3-12"},
            {"OC-Chunked": "1"},
            {"X-Goog-Upload-Offset": "3"},
            {"X-Content-Range": "bytes 0-2/9"},
        )
    ),
    (501, "POST", "/storage/default/", {"Upload-Complete": "?0"}),
    (501, "POST", "/storage/default/", {"Upload-Complete": "?0", "Tus-Resumable": "1.0.0"}),
    (501, "PATCH", "/storage/uploads/none", {"Upload-Complete": "?1", "Upload-Offset": "0"}),
    (501, "PUT", "/storage/default/old", {"Tus-Resumable": "1.0.0"}),
    (415, "POST", "/storage/default/old", {"Tus-Resumable": "1.0.0"}),
    (415, "POST", "/storage/default/", {"Tus-Resumable": "1.0.0"}),
    (501, "PUT", "/storage/default/folder/", {"Upload-Draft-Interop-Version": "6"}),
    *(
        (501, "PUT", f"/storage/default/old?overwrite=true&{said}", {})
        for said in ("partNumber=1&uploadId=a", "comp=block&blockid=a", "resumableChunkNumber=1")
    ),
)
"""Status, method, target, headers: what is wrong with each request can be told from its head."""


async def three_namespaces(service: Service) -> None:
    """One of bob's, one that he hides, and a file ``old`` in ``default``."""
    namespaces = service.app[NAMESPACES]
    await namespaces.create("bobs", hidden=False, owner="bob")
    await namespaces.create("hidden", hidden=True, owner="bob")
    await service.put("/storage/default/old", b"old")


def hopeless_head(service: Service, index: int, **more: str) -> bytes:
    _, method, target, headers = HOPELESS[index]
    length = {} if "Transfer-Encoding" in headers else {"Content-Length": "10"}
    named = {**length, **service.bearer(), **more, **headers}
    return head(method, target, {name: value for name, value in named.items() if value})


@pytest.mark.both_loops
@limited
async def test_what_the_head_tells_is_refused_before_the_body(service: Service) -> None:
    await three_namespaces(service)
    tasks = asyncio.all_tasks()
    for index, (status, *_) in enumerate(HOPELESS):
        async with connect(service.port) as connection:
            connection.send_raw(hopeless_head(service, index, **WAITING))
            answer = await connection.answer()
            assert answer.status == status, HOPELESS[index]
            answer.problem()
            assert answer.headers["Connection"] == "close"
    assert (await service.get("/storage/default/new"))[0] == 404
    assert (await service.get("/storage/default/old"))[1] == b"old"
    await nothing_left(service, tasks)


@limited
async def test_what_the_head_tells_is_refused_without_expect_too(service: Service) -> None:
    await three_namespaces(service)
    for index, (status, *_) in enumerate(HOPELESS):
        async with connect(service.port) as connection:
            connection.send_raw(hopeless_head(service, index))
            assert (await connection.answer()).status == status, HOPELESS[index]


async def test_a_file_larger_than_the_store_is_refused_before_the_body(service: Service) -> None:
    for way in ({"Content-Length": str(2**62)}, {**CHUNKED, "X-File-Size": str(2**62)}):
        async with connect(service.port) as connection:
            connection.send_raw(
                head("PUT", "/storage/default/a", {**service.bearer(), **WAITING, **way})
            )
            answer = await connection.answer()
        assert answer.status == 507
        answer.problem()
    assert temporaries(service) == []


@pytest.mark.both_loops
async def test_a_client_that_waits_is_told_to_go_on_once(service: Service) -> None:
    content = bytes(range(256)) * 1000
    async with connect(service.port) as connection:
        for number, way in enumerate(WAYS):
            for expect in ("100-continue", "100-Continue"):
                target = f"/storage/default/{number}{expect[4]}"
                headers, body = framed(way, content)
                named = {**service.bearer(), **headers, "Expect": expect}
                connection.send_raw(head("POST", target, named))
                assert await connection.reader.readexactly(len(CONTINUE)) == CONTINUE
                assert await service.get(target) != (200, content)
                connection.send_raw(body)
                answer = await connection.answer()
                assert (answer.status, answer.json()["size"]) == (201, len(content))
                assert await service.get(target) == (200, content)


async def test_a_client_that_does_not_wait_is_not_told(service: Service) -> None:
    answer = await upload(service, "PUT", "/storage/default/a", b"x")
    assert answer.status == 201  # and not 100


async def test_what_is_found_in_the_body_follows_100_continue(service: Service) -> None:
    headers, body = framed("chunked", b"x" * 10)
    named = {**service.bearer(), **headers, **WAITING, "X-File-Size": "11"}
    async with connect(service.port) as connection:
        connection.send_raw(head("PUT", "/storage/default/a", named))
        assert await connection.reader.readexactly(len(CONTINUE)) == CONTINUE
        connection.send_raw(body)
        answer = await connection.answer()
    assert answer.status == 400
    answer.problem()


async def test_another_expectation_is_refused(service: Service) -> None:
    for method, expect in (("PUT", "200-ok"), ("PUT", "100-continue, x"), ("GET", "200-ok")):
        async with connect(service.port) as connection:
            named = {**service.bearer(), "Content-Length": "1", "Expect": expect}
            connection.send_raw(head(method, "/storage/default/a", named))
            answer = await connection.answer()
        assert answer.status == 417
        answer.problem()
    assert (await service.get("/storage/default/a"))[0] == 404


@limited
async def test_the_limit_counts_the_bytes_of_the_file(service: Service) -> None:
    tasks = asyncio.all_tasks()
    for way in WAYS:
        for size, status in ((LIMIT, 201), (LIMIT + 1, 413), (10 * LIMIT, 413)):
            target = f"/storage/default/{way.replace(' ', '-')}-{size}"
            answer = await upload(service, "PUT", target, b"x" * size, way)
            assert answer.status == status, (way, size)
            assert (await service.get(target))[0] == (200 if status == 201 else 404)
            if status == 413:
                assert str(LIMIT) in answer.problem()
    await nothing_left(service, tasks)


@limited
async def test_the_limit_is_applied_as_soon_as_it_is_passed(service: Service) -> None:
    for way in ("chunked", "chunked multipart"):
        headers, body = framed(way, b"x" * (2 * LIMIT))
        async with connect(service.port) as connection:
            connection.send_raw(head("PUT", "/storage/default/a", {**service.bearer(), **headers}))
            connection.send_raw(body[: LIMIT + LIMIT // 2])  # and no end
            assert (await connection.answer()).status == 413


async def send_all(service: Service, first: bytes, pieces: Iterable[bytes]) -> tuple[Answer, bytes]:
    """Send everything at the pace of a fast line, and only then look for an answer: that, and
    what comes after it. Raises ConnectionError where the service is not there to take it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(first)
    for number, piece in enumerate(pieces):
        writer.write(piece)
        await writer.drain()
        if number % 16 == 0:
            await asyncio.sleep(0.01)
    connection = Connection(reader, writer)
    answer = await connection.answer(), await connection.rest()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.both_loops
@limited
async def test_a_client_that_goes_on_sending_gets_to_read_the_refusal(service: Service) -> None:
    await service.put("/storage/default/old", b"old")
    tasks = asyncio.all_tasks()
    piece, count = b"x" * 65536, 320
    sized = {"Content-Length": str(count * len(piece))}
    before, after = form(b"%").split(b"%")
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    chunks = [*[chunk] * count, END]
    form_chunks = [chunked(before).removesuffix(END), *[chunk] * count, chunked(after)]
    cases: tuple[tuple[int, str, dict[str, str], list[bytes]], ...] = (
        (413, "PUT", sized, [piece] * count),
        (409, "POST", CHUNKED, chunks),
        (413, "PUT", CHUNKED, chunks),
        (401, "PUT", {**CHUNKED, "Authorization": "Bearer x"}, chunks),
        (413, "PUT", {**CHUNKED, "Content-Type": FORM}, form_chunks),
    )
    for status, method, headers, pieces in cases:
        first = head(method, "/storage/default/old", {**service.bearer(), **headers})
        answer, rest = await send_all(service, first, pieces)
        assert (answer.status, rest) == (status, b"")
        answer.problem()
    assert await service.get("/storage/default/old") == (200, b"old")
    await nothing_left(service, tasks)


@pytest.mark.both_loops
@impatient
async def test_an_upload_that_falls_silent_is_given_up(service: Service) -> None:
    await service.put("/storage/default/old", b"old")
    tasks = asyncio.all_tasks()

    async def silent(way: str, share: float, target: str, **more: str) -> None:
        headers, body = framed(way, b"x" * 1000)
        async with connect(service.port) as connection:
            named = {**service.bearer(), **headers, **more}
            connection.send_raw(head("PUT", target, named))
            connection.send_raw(body[: int(len(body) * share)])
            if more:
                assert await connection.reader.readexactly(len(CONTINUE)) == CONTINUE
            started = time.monotonic()
            answer = await connection.answer()
            assert answer.status == 408
            assert answer.headers["Connection"] == "close"
            assert 0.2 < time.monotonic() - started < 20
            answer.problem()

    async with asyncio.TaskGroup() as group:
        for number, way in enumerate(WAYS):
            for share in (0, 0.1, 0.5, 0.999):
                group.create_task(silent(way, share, "/storage/default/old"))
                group.create_task(silent(way, share, f"/storage/default/{number}-{share}"))
        group.create_task(silent("raw", 0, "/storage/default/old", **WAITING))
    assert await service.get("/storage/default/old") == (200, b"old")
    assert len(list((service.data / "files" / "default").iterdir())) == 1
    await nothing_left(service, tasks)


@pytest.mark.both_loops
@impatient
async def test_a_slow_upload_that_goes_on_is_waited_for(service: Service) -> None:
    async def steady(way: str, target: str) -> None:
        content = bytes(range(100))
        headers, whole = framed(way.removeprefix("chunked").strip() or "raw", content)
        step = len(whole) // 10
        pieces = [whole[start : start + step] for start in range(0, len(whole), step)]
        if "chunked" in way:
            del headers["Content-Length"]
            headers.update(CHUNKED)
            pieces = [chunked(piece).removesuffix(END) for piece in pieces]
            pieces[-1] += END
        async with connect(service.port) as connection:
            connection.send_raw(head("PUT", target, {**service.bearer(), **headers}))
            for piece in pieces:
                connection.send_raw(piece)
                await asyncio.sleep(0.08)
            assert (await connection.answer()).status == 201
        assert await service.get(target) == (200, content)

    async with asyncio.TaskGroup() as group:
        for number, way in enumerate(WAYS):
            group.create_task(steady(way, f"/storage/default/{number}"))


@pytest.mark.parametrize("field", ["dzchunkindex", "resumableChunkNumber", "qqpartindex", "chunks"])
@pytest.mark.parametrize("place", ["before", "behind"])
async def test_a_form_that_says_that_its_file_is_a_part_is_refused(
    service: Service, field: str, place: str
) -> None:
    await service.put("/storage/default/old", b"old")
    said, file = (
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n0\r\n'
        for name in (field, 'file"; filename="blob')
    )
    first, second = (said, file) if place == "before" else (file, said)
    body = f"--B\r\n{first}--B\r\n{second}--B--\r\n".encode()
    named = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = await upload(service, "PUT", "/storage/default/old", body, headers=named)
    assert answer.status == 501
    assert field in answer.problem()
    assert (await service.get("/storage/default/old"))[1] == b"old"


@pytest.mark.both_loops
@pytest.mark.parametrize("field", ["Repr-Digest", "content-digest"])
@pytest.mark.parametrize("size", [0, 10, 300_000])
async def test_a_digest_in_the_trailer_of_a_chunked_body_is_refused(
    service: Service, field: str, size: int
) -> None:
    """Announced or not: it cannot be verified, and whoever sent it believes that it was."""
    content = b"x" * size
    named = {**service.bearer(), **CHUNKED}
    for trailer, status in (
        (f"{field}: sha-256=:AAAA:\r\n", 400),
        (f"X-A: b\r\n{field}:\tsha-256=:AAAA:\r\nX-C: d\r\n", 400),
        (f"X-A: {field}\r\n", 201),
        ("", 200),
    ):
        whole = head("PUT", "/storage/default/new", named) + chunked(content).removesuffix(b"\r\n")
        whole += trailer.encode() + b"\r\n"
        places = range(len(whole) - len(trailer) - 12, len(whole), 7)
        for cut in places if status == 400 else [len(whole) - 3]:
            async with connect(service.port) as connection:
                connection.send_raw(whole[:cut])
                await connection.drain()
                await asyncio.sleep(0.002)
                connection.send_raw(whole[cut:])
                answer = await connection.answer()
                assert answer.status == status, (trailer, cut)
                if status == 400:
                    assert field in answer.problem()


@pytest.mark.both_loops
async def test_no_request_is_read_behind_trailer_fields(service: Service) -> None:
    """aiohttp's parser would give the last of them to the next request as a header of its own."""
    begin = head("PUT", "/storage/default/new", {**service.bearer(), **CHUNKED})
    good, lone = begin + b"1\r\nx\r\n0\r\n\r\n", head("PUT", "/storage/default/2", service.bearer())
    lone = lone.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n2")
    for field, status in (
        (b"X: y", 200),
        (b"Content-Range: bytes 0-0/9", 200),
        (b"Repr-Digest: a", 400),
    ):
        bad = begin + b"0\r\n%b\r\n\r\n" % field
        for behind in (b"", lone):
            for cut in (*range(len(bad) - len(field) - 12, len(bad), 5), len(bad + behind)):
                async with connect(service.port) as connection:
                    connection.send_raw(good)
                    assert "Connection" not in (await connection.answer()).headers
                    connection.send_raw((bad + behind)[:cut])
                    await asyncio.sleep(0.005)
                    connection.send_raw((bad + behind)[cut:])
                    answer = await connection.answer()
                    assert (answer.status, answer.headers["Connection"]) == (status, "close")
                    assert await connection.broken_body() == b""
    assert (await service.get("/storage/default/2"))[0] == 404


@pytest.mark.both_loops
async def test_the_response_to_a_read_with_trailer_fields_ends_the_connection(
    service: Service,
) -> None:
    """Also where it is streamed: the next request would wait for a response until the connection
    counts as idle, and behind a proxy it is somebody else's."""
    await service.put("/storage/default/f", b"x")
    bad = b"0\r\nX: y\r\n\r\n"
    for target in ("/storage/files", "/storage/default/f", "/healthz"):
        async with connect(service.port) as connection:
            connection.send_raw(head("GET", target, CHUNKED) + bad)
            answer = await connection.answer()
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
            assert await connection.broken_body() == b""
        async with connect(service.port) as connection:  # whose head says what it will not keep
            connection.send_raw(head("GET", target, CHUNKED))
            assert (await connection.answer()).status == 200
            connection.send_raw(bad)
            assert await connection.broken_body() == b""
