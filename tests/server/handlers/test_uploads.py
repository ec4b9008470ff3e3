"""Uploads by tus: what each request gets, and what is stored when."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
import re
import time
from typing import Any

import pytest

from sfs_server.database.session import Session
from sfs_server.errors import DatabaseUnavailable
from sfs_server.uploads.recording import Recording
from sfs_server.web.keys import LIFECYCLE, UPLOADS
from tests.support import tokens
from tests.support.client import MIB, Answer, Connection, call, connect
from tests.support.credentials import authorization, bearer
from tests.support.events import watching_changes
from tests.support.postgres import Postgres
from tests.support.service import Service
from tests.support.tus import VERSION, Upload, create, metadata, start
from tests.support.uploads import chunked
from tests.support.waiting import eventually

CONTENT = random.Random(14).randbytes(3 * MIB)
FILE = "/storage/default/f.bin"
BEARER = bearer()


def checksum(body: bytes) -> str:
    return "sha256 " + base64.b64encode(hashlib.sha256(body).digest()).decode()


def digest(body: bytes) -> dict[str, str]:
    return {"Repr-Digest": f"sha-256=:{checksum(body).partition(' ')[2]}:"}


def left(service: Service) -> list[str]:
    """What the store has of uploads that are not published."""
    return os.listdir(service.data / "files" / "~uploads")


async def rows(service: Service) -> int:
    return len(await service.app[UPLOADS].sessions._database.fetch("SELECT id FROM uploads"))


async def is_stored(service: Service, content: bytes, target: str = FILE) -> None:
    assert await service.get(target, {**BEARER, "Cache-Control": "no-cache"}) == (200, content)


def published(answer: Answer, path: str = FILE) -> None:
    assert answer.headers["Content-Location"] == path
    assert re.fullmatch('"[!-~]+"', answer.headers["ETag"])


async def test_it_comes_piece_by_piece_and_is_published_with_the_last_byte(
    service: Service,
) -> None:
    said = {**metadata(filename="other name", type="x"), "X-Transfer-Id": "t1"}
    upload = await start(service, "/storage/default/a/b.bin", len(CONTENT), said)
    assert await upload.offset() == 0
    step, offset = 700_001, 0
    async with watching_changes(service.port, "namespace=default", BEARER) as changes:
        while offset < len(CONTENT):
            assert (await service.get("/storage/default/a/b.bin"))[0] == 404
            piece = CONTENT[offset : offset + step]
            answer = await upload.patch(offset, piece)
            offset += len(piece)
            assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(offset))
            assert answer.headers["Tus-Resumable"] == "1.0.0"
        published(answer, "/storage/default/a/b.bin")
        assert (await changes.event())["name"] == "a/b.bin"
        assert (await upload.head()).headers["ETag"] == answer.headers["ETag"]
        await changes.silent()
    await is_stored(service, CONTENT, "/storage/default/a/b.bin")
    head = await upload.head()
    assert head.headers["Upload-Length"] == head.headers["Upload-Offset"] == str(len(CONTENT))
    assert head.headers["Upload-Metadata"] == said["Upload-Metadata"]
    assert head.headers["Upload-Expires"].endswith(" GMT")
    again = await upload.patch(len(CONTENT))
    assert (again.status, again.headers["ETag"]) == (204, answer.headers["ETag"])
    assert left(service) == []
    counted = await call(service.port, "GET", "/storage/namespaces", BEARER)
    assert counted.json()[0]["count"] == 1
    assert counted.json()[0]["bytes"] == len(CONTENT)


@pytest.mark.parametrize(
    ("target", "said", "path"),
    [
        ("/storage/default/", {"filename": "ü 1.txt"}, "/storage/default/%C3%BC%201.txt"),
        ("/storage/default/a/b/", {"filename": "f"}, "/storage/default/a/b/f"),
        (
            "/storage/default/a/",
            {"filename": "f", "relativePath": "b/c/d"},
            "/storage/default/a/b/c/d",
        ),
        ("/storage/default/a/f", {"filename": "g"}, "/storage/default/a/f"),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 1000])
@pytest.mark.parametrize("way", ["at once", "later", "chunked"])
async def test_the_path_names_the_file_or_its_folder(
    service: Service, target: str, said: dict[str, str], path: str, size: int, way: str
) -> None:
    content = CONTENT[:size]
    headers = metadata(**said)
    if way == "at once":
        answer = await create(service, target, size, headers, content)
    elif way == "later":
        answer = await create(service, target, size, headers)
        if size:
            assert "ETag" not in answer.headers
            assert answer.headers["Upload-Offset"] == "0"
            upload = Upload(service, answer.headers["Location"])
            answer = await upload.patch(0, content)
            assert answer.status == 204
    else:
        headers |= {"Transfer-Encoding": "chunked", "Upload-Length": str(size)}
        headers |= {"Content-Type": "application/offset+octet-stream", **VERSION, **BEARER}
        async with connect(service.port) as connection:
            connection.send_raw(
                f"POST {target} HTTP/1.1\r\nHost: a\r\n".encode()
                + "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
                + b"\r\n"
                + chunked(content)
            )
            answer = await connection.answer()
    published(answer, path)
    assert answer.headers["Upload-Offset"] == str(size)
    await is_stored(service, content, path)
    assert left(service) == []


async def test_a_length_may_come_late(service: Service) -> None:
    upload = await start(service, FILE, None)
    assert (await upload.head()).headers["Upload-Defer-Length"] == "1"
    assert (await upload.patch(0, CONTENT[:1000])).status == 204
    for length, status in (("999", 400), ("2001", 204), ("2002", 400)):
        answer = await upload.patch(1000, Upload_Length=length)
        assert answer.status == status, length
    assert (await upload.head()).headers["Upload-Length"] == "2001"
    published(await upload.patch(1000, CONTENT[1000:2001], Upload_Length="2001"))
    await is_stored(service, CONTENT[:2001])
    empty = await start(service, "/storage/default/empty", None)
    published(await empty.patch(0, Upload_Length="0"), "/storage/default/empty")


@pytest.mark.parametrize("settings", [{"max_upload_bytes": 2_000_000}])
async def test_what_it_may_not_have_is_refused_when_it_starts(
    service: Service,
) -> None:
    await service.put("/storage/default/old", b"old")
    await service.put("/storage/default/folder/f", b"1")
    await service.make_namespace("bobs", "bob")
    await service.make_namespace("hidden", "bob", hidden=True)
    etag = {"If-Match": '"other"'}
    for status, target, length, more in (
        (409, "/storage/default/old", 10, {}),
        (412, "/storage/default/old?overwrite=true", 10, {"If-None-Match": "*"}),
        (412, "/storage/default/old?overwrite=true", 10, etag),
        (412, "/storage/default/new?overwrite=true", 10, {"If-Match": "*"}),
        (409, "/storage/default/old/f", 10, {}),
        (409, "/storage/default/folder", 10, {}),
        (413, FILE, 2_000_001, {}),
        (403, "/storage/bobs/f", 10, {}),
        (404, "/storage/hidden/f", 10, {}),
        (404, "/storage/none/f", 10, {}),
        (400, "/storage/default/", 10, {}),
        (400, "/storage/default/", 10, metadata(filename="..")),
        (400, FILE, 10, {"Upload-Defer-Length": "1"}),
        (501, FILE, 10, {"Upload-Concat": "partial"}),
        (412, FILE, 10, {"Tus-Resumable": "0.2.2"}),
        (501, f"{FILE}?uploadId=1", 10, {}),
    ):
        for user in ("alice", ""):
            identity = {} if user else {"Authorization": ""}
            answer = await create(service, target, length, {**more, **identity})
            if user:
                assert answer.status == status, (target, more, answer)
                answer.problem()
                assert answer.headers["Tus-Resumable"] == "1.0.0"
            else:
                assert answer.status in (400, 401, 404, 412, 501), (target, more)
    assert await rows(service) == 0


@pytest.mark.parametrize("settings", [{"max_upload_bytes": 2_000_000}])
@pytest.mark.parametrize("length", [1_500_000, None])
@pytest.mark.parametrize("way", ["whole", "chunked"])
async def test_more_than_the_file_has_is_refused(
    service: Service, length: int | None, way: str
) -> None:
    upload = await start(service, FILE, length)
    assert (await upload.patch(0, CONTENT[:1_000_000])).status == 204
    surplus = CONTENT[1_000_000:2_200_000]
    if way == "whole":
        answer = await upload.patch(1_000_000, surplus)
    else:
        async with connect(service.port) as connection:
            headers = upload.patching(1_000_000, Transfer_Encoding="chunked")
            connection.send("PATCH", upload.location, headers)
            connection.send_raw(chunked(surplus))
            answer = await connection.answer()
    assert answer.status == 413
    offset = await upload.offset()
    assert 1_000_000 <= offset <= (length or 2_000_000)
    assert (way == "chunked") == (offset > 1_000_000)
    if length is not None:
        published(await upload.patch(offset, CONTENT[offset:length]))
        await is_stored(service, CONTENT[:length])


async def test_a_wrong_offset_a_wrong_type_and_a_wrong_checksum_store_nothing(
    service: Service,
) -> None:
    upload = await start(service, FILE, len(CONTENT))
    half = CONTENT[:1_500_000]
    for status, answer in (
        (409, await upload.patch(1, half)),
        (409, await upload.patch(len(CONTENT), b"")),
        (400, await upload.patch(0, half, Upload_Offset="x")),
        (415, await upload.patch(0, half, Content_Type="application/octet-stream")),
        (400, await upload.patch(0, half, Upload_Checksum="sha1 AAAA")),
        (460, await upload.patch(0, half, Upload_Checksum=checksum(b"other"))),
        (460, await upload.patch(0, half[:100], Upload_Checksum=checksum(b"other"))),
        (412, await upload.patch(0, half, Tus_Resumable="2.0.0")),
    ):
        assert answer.status == status, answer
        answer.problem()
        assert await upload.offset() == 0
    assert (await upload.patch(0, half, Upload_Checksum=checksum(half))).status == 204
    assert await upload.offset() == len(half)
    rest = CONTENT[len(half) :]
    published(await upload.patch(len(half), rest, Upload_Checksum=checksum(rest)))
    await is_stored(service, CONTENT)


@pytest.mark.parametrize("way", ["pieces", "at once"])
async def test_the_digest_of_the_file_is_verified_when_it_is_whole(
    service: Service, way: str
) -> None:
    for said, right in ((CONTENT, True), (b"other", False)):
        if way == "at once":
            answer = await create(service, FILE, len(CONTENT), digest(said), CONTENT)
        else:
            upload = await start(service, FILE, len(CONTENT), digest(said), CONTENT[:1000])
            answer = await upload.patch(1000, CONTENT[1000:])
        if right:
            published(answer)
            await service.delete(FILE)
        else:
            assert (answer.status, "Repr-Digest" in answer.problem()) == (400, True)
    assert (await service.get(FILE))[0] == 404
    assert left(service) == []
    if way == "pieces":
        assert (await upload.head()).status == 404


async def test_nobody_else_may_use_it(service: Service) -> None:
    upload = await start(service, FILE, 10, body=b"12345")
    absent = Upload(service, f"/storage/uploads/{'0' * 32}")
    for user in ("bob", "root"):
        for other in (upload.by(user), absent.by(user)):
            assert (await other.head()).status == 404
            assert (await other.patch(5, b"67890")).status == 404
            assert (await other.delete()).status == 404
    stranger = {**upload.headers, "Authorization": ""}
    del stranger["Authorization"]
    assert (await call(service.port, "HEAD", upload.location, stranger)).status == 401
    assert (await call(service.port, "GET", upload.location, BEARER)).status == 405
    assert await upload.offset() == 5


async def test_the_scopes_of_a_token_are_needed_for_each_request(service: Service) -> None:
    upload = await start(service, FILE, 10, body=b"12345")
    for right, status in (("read", 403), ("create", 200)):
        scopes = {"storage.alice.files.default": [right]}
        claims = {"sub": "alice", "type": "api_token", "scopes": scopes, "exp": time.time() + 60}
        headers = {**upload.headers, **authorization(tokens.token(claims))}
        answer = await call(service.port, "HEAD", upload.location, headers)
        assert answer.status == status
        if status == 403:
            answer = await call(service.port, "DELETE", upload.location, headers)
            assert answer.status == 403
    assert await upload.offset() == 5


async def test_a_deleted_upload_is_gone_and_so_are_its_bytes(service: Service) -> None:
    upload = await start(service, FILE, len(CONTENT), body=CONTENT[:1000])
    assert left(service) == [upload.id]
    assert (await upload.delete()).status == 204
    assert left(service) == []
    for answer in (await upload.head(), await upload.patch(1000, b"1"), await upload.delete()):
        assert answer.status == 404
    done = await start(service, FILE, 10, body=b"1234567890")
    assert (await done.delete()).status == 204
    assert (await done.head()).status == 404
    await is_stored(service, b"1234567890")


async def whole_but(upload: Upload, status: int, content: bytes = b"new content") -> Answer:
    """Send all bytes of an upload, whose publish is refused."""
    answer = await upload.patch(0, content)
    assert answer.status == status, answer
    answer.problem()
    return answer


async def test_a_refused_publish_keeps_the_bytes_and_is_tried_again(service: Service) -> None:
    upload = await start(service, FILE, 11)
    await service.put(FILE, b"meanwhile")
    await whole_but(upload, 409)
    assert left(service) == [upload.id]
    assert (await upload.patch(11)).status == 409
    assert await upload.offset() == 10  # whoever takes 11 for done would be wrong
    assert (await upload.patch(10, b"t")).status == 409
    await is_stored(service, b"meanwhile")
    await service.delete(FILE)
    published(await upload.patch(10, b"t"))
    await is_stored(service, b"new content")
    assert left(service) == []


@pytest.mark.parametrize(
    ("conditions", "status"),
    [({"If-None-Match": "*"}, 412), ({"If-Match": "ETAG"}, 412), ({"If-Match": "*"}, None)],
)
async def test_conditions_hold_at_the_start_and_at_the_publish(
    service: Service, conditions: dict[str, str], status: int | None
) -> None:
    overwriting = f"{FILE}?overwrite=true"
    if "If-Match" in conditions:
        await service.put(FILE, b"old")
        tag = await service.etag(FILE)
        conditions = {name: value.replace("ETAG", tag) for name, value in conditions.items()}
    first = await start(service, overwriting, 11, conditions)
    second = await start(service, overwriting, 11, conditions)
    published(await first.patch(0, b"new content"))
    if status is None:
        published(await second.patch(0, b"new content"))
    else:
        await whole_but(second, status)
    if "*" in conditions.get("If-Match", ""):
        third = await start(service, overwriting, 11, conditions)
        await service.delete(FILE)
        await whole_but(third, 412)


async def test_whoever_is_overtaken_before_the_publish_publishes_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await start(service, FILE, 11)
    sessions = service.app[UPLOADS].sessions
    set_publishing = sessions.set_publishing

    async def overtaken(session: Any, publishing: bool) -> Any:
        marked = await set_publishing(session, publishing)
        await sessions.take_over(upload.id, "alice")
        return marked

    with monkeypatch.context() as overtaking:
        overtaking.setattr(sessions, "set_publishing", overtaken)
        assert "Another request" in (await whole_but(upload, 409)).problem()
    assert (await service.get(FILE))[0] == 404
    published(await upload.patch(11))
    await is_stored(service, b"new content")


def lose_the_publish(service: Service, patch: pytest.MonkeyPatch, *, soon: bool) -> list[Session]:
    """From now on the first transaction that would write something is not committed, as if the
    connection had broken; unless ``soon``, it is not recorded afterwards either. Returns whose
    transaction that was."""
    lost: list[Session] = []
    commit = Session.commit

    async def lose(session: Session) -> None:
        if session._last and not lost:
            lost.append(session)
            await session.roll_back(1)
            raise DatabaseUnavailable("lost")
        await commit(session)

    async def fail(session: object, version: str) -> None:
        raise DatabaseUnavailable("lost too")

    patch.setattr(Session, "commit", lose)
    if not soon:
        patch.setattr(service.app[UPLOADS].sessions, "set_published_again", fail)
    return lost


@pytest.mark.parametrize("soon", [True, False])
async def test_a_publish_that_could_not_be_recorded_is_found_out_later(
    service: Service, monkeypatch: pytest.MonkeyPatch, soon: bool
) -> None:
    upload = await start(service, FILE, 11)
    lost = lose_the_publish(service, monkeypatch, soon=soon)
    first = await upload.patch(0, b"new content")
    published(first)
    assert (len(lost), left(service)) == (1, [] if soon else [upload.id])
    await is_stored(service, b"new content")
    assert await upload.offset() == (11 if soon else 10)
    again = await upload.patch(11)
    published(again)
    assert again.headers["ETag"] == first.headers["ETag"]
    assert await upload.offset() == 11
    assert (await upload.delete()).status == 204
    await is_stored(service, b"new content")


@pytest.mark.parametrize("moved", ["a/f", "a/"])
async def test_what_was_perhaps_published_and_then_moved_is_not_published_twice(
    service: Service, monkeypatch: pytest.MonkeyPatch, moved: str
) -> None:
    """Both files would have the same chunks, which the deletion of either frees."""
    upload = await start(service, "/storage/default/a/f", 11)
    assert lose_the_publish(service, monkeypatch, soon=False) == []
    published(await upload.patch(0, b"new content"), "/storage/default/a/f")
    to = {**BEARER, "Destination": f"/storage/default/b{moved[1:]}"}
    assert (await call(service.port, "MOVE", f"/storage/default/{moved}", to)).status == 201
    assert await upload.offset() == 10
    refused = await upload.patch(11)
    assert (refused.status, "moved since" in refused.problem()) == (409, True)
    assert (await service.get("/storage/default/a/f"))[0] == 404
    assert (await upload.delete()).status == 204
    await is_stored(service, b"new content", "/storage/default/b/f")


async def test_a_move_does_not_hinder_an_upload_that_waits_for_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is marked as perhaps published before it waits for the lock, and was not published."""
    upload = await start(service, FILE, 11)
    sessions = service.app[UPLOADS].sessions
    hold = sessions.hold

    async def hold_moved(guarded: Any, session: Any) -> bool:
        await sessions.note_move(guarded, session.path)
        return await hold(guarded, session)

    with monkeypatch.context() as moving:
        moving.setattr(sessions, "hold", hold_moved)
        published(await upload.patch(0, b"new content"))
    await is_stored(service, b"new content")


@pytest.mark.parametrize("coded", [False, True])
async def test_no_more_is_read_while_what_came_is_not_recorded(
    service: Service, monkeypatch: pytest.MonkeyPatch, coded: bool
) -> None:
    """Otherwise a process that is killed would lose more than was promised."""
    monkeypatch.setattr("sfs_server.uploads.recording.RECORD_SECONDS", 0.001)
    content = random.Random(3).randbytes(64 * MIB)
    upload = await start(service, FILE, len(content))
    sessions, open_, came = service.app[UPLOADS].sessions, asyncio.Event(), 0
    record, arrived = sessions.record, Recording.arrived

    async def late(*rest: Any) -> Any:
        await open_.wait()
        return await record(*rest)

    def count(self: Recording, more: int) -> None:
        nonlocal came
        came += more
        arrived(self, more)

    monkeypatch.setattr(sessions, "record", late)
    monkeypatch.setattr(Recording, "arrived", count)
    headers = upload.patching(0)
    body = chunked(content) if coded else content
    how = {"Transfer-Encoding": "chunked"} if coded else {"Content-Length": str(len(content))}
    async with connect(service.port) as connection:
        connection.send("PATCH", upload.location, {**headers, **how})
        connection.send_raw(body)
        await eventually(lambda: came > 4 * MIB)
        await asyncio.sleep(0.5)
        assert came < len(content) / 2
        open_.set()
        published(await connection.answer())
    await is_stored(service, content)


@pytest.mark.parametrize("query", ["", "?overwrite=true", "?overwrite=yes"])
async def test_a_name_that_was_taken_meanwhile_may_be_overwritten_at_last(
    service: Service, query: str
) -> None:
    """There is no moment without the one file or the other."""
    upload = await start(service, FILE, 11)
    await service.put(FILE, b"another")
    await whole_but(upload, 409)
    last = await call(service.port, "PATCH", upload.location + query, upload.patching(11))
    if query == "?overwrite=true":
        published(last)
        await is_stored(service, b"new content")
    else:
        assert last.status == 409
        await is_stored(service, b"another")


@pytest.mark.parametrize("conditions", [{"If-None-Match": "*"}, {"If-Match": "now"}])
async def test_conditions_hold_also_for_what_may_overwrite(
    service: Service, conditions: dict[str, str]
) -> None:
    if "If-Match" in conditions:
        await service.put(FILE, b"before")
        now = await call(service.port, "HEAD", FILE, BEARER)
        conditions = {"If-Match": now.headers["ETag"]}
    upload = await start(service, FILE + "?overwrite=true", 11, conditions)
    await service.put(FILE, b"another")
    await whole_but(upload, 412)
    target = upload.location + "?overwrite=true"
    assert (await call(service.port, "PATCH", target, upload.patching(11))).status == 412
    await is_stored(service, b"another")


async def test_rights_that_were_taken_away_are_missed_at_the_publish(
    service: Service, postgres: Postgres
) -> None:
    await service.make_namespace("ns")
    upload = await start(service, "/storage/ns/f", 11)

    async def owned_by(user: str) -> None:
        for sql in (
            f"UPDATE uploads SET namespace_owner = '{user}'",
            f"UPDATE namespaces SET owner = '{user}' WHERE name = 'ns'",
        ):
            await asyncio.to_thread(postgres.execute, sql, "test")

    await owned_by("bob")
    await whole_but(upload, 403)
    await owned_by("alice")
    published(await upload.patch(11), "/storage/ns/f")


@pytest.mark.parametrize("again", [False, True])
async def test_a_namespace_that_was_deleted_takes_its_uploads_along(
    service: Service, again: bool
) -> None:
    await service.make_namespace("ns")
    upload = await start(service, "/storage/ns/f", 11, body=b"new")
    await service.delete("/storage/namespaces/ns")
    if again:
        await service.make_namespace("ns")
    assert (await upload.patch(3, b" content")).status == 404
    assert (await upload.head()).status == 404
    assert (await service.get("/storage/ns/f", BEARER))[0] == 404


@pytest.mark.parametrize("change", ["delete", "move"])
@pytest.mark.parametrize("before", [True, False])
async def test_a_folder_that_is_gone_is_not_made_again(
    service: Service, change: str, before: bool
) -> None:
    folder = "/storage/default/a/b/"
    if before:
        made = await call(service.port, "MKCOL", folder, BEARER)
        assert made.status == 201
    upload = await start(service, f"{folder}c/f", 11)
    if not before:
        assert (await call(service.port, "MKCOL", folder, BEARER)).status == 201
    if change == "delete":
        answer = await call(service.port, "DELETE", folder, BEARER)
    else:
        answer = await call(
            service.port, "MOVE", folder, {**BEARER, "Destination": "/storage/default/z/"}
        )
    assert answer.status in (200, 201)
    if before:
        await whole_but(upload, 409)
    else:
        published(await upload.patch(0, b"new content"), f"{folder}c/f")


async def test_a_user_has_so_many_that_are_not_finished(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.uploads.sessions.MAX_OPEN", 3)
    answers = await asyncio.gather(
        *(create(service, f"/storage/default/{number}", 10) for number in range(8))
    )
    assert sorted(answer.status for answer in answers) == [201] * 3 + [429] * 5
    for answer in answers:
        if answer.status == 429:
            answer.problem()
    assert (await create(service, FILE, 10, user="bob")).status == 201
    assert (await create(service, FILE, 10, body=b"1234567890")).status == 201  # is finished
    [first, *_] = (answer for answer in answers if answer.status == 201)
    assert (await Upload(service, first.headers["Location"]).delete()).status == 204
    assert (await create(service, "/storage/default/more", 10)).status == 201


class Slow:
    """A PATCH whose bytes come when the test sends them."""

    def __init__(self, connection: Connection, upload: Upload) -> None:
        self.connection = connection
        self.upload = upload
        self.sent = 0

    async def start(self, size: int, offset: int = 0) -> None:
        headers = self.upload.patching(offset, Content_Length=str(size))
        self.connection.send("PATCH", self.upload.location, headers)
        self.sent = offset

    async def send(self, count: int) -> None:
        self.connection.send_raw(CONTENT[self.sent : self.sent + count])
        self.sent += count
        await self.connection.drain()


def arrived(service: Service, upload: Upload, count: int) -> Any:
    """Whether the store has so many bytes."""
    path = service.data / "files" / "~uploads" / upload.id
    return lambda: path.exists() and path.stat().st_size >= count


SIZES = (2000, 2_500_000)
"""Of bodies: through aiohttp, and past it."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["end", "reset"])
async def test_what_had_come_when_the_client_left_is_kept(
    service: Service, size: int, way: str
) -> None:
    upload = await start(service, FILE, size)
    async with connect(service.port) as connection:
        slow = Slow(connection, upload)
        await slow.start(size)
        await slow.send(size // 2)
        await eventually(lambda: bool(service.app[UPLOADS]._requests._running))
        if size > MIB:
            await eventually(arrived(service, upload, size // 2))
        if way == "end":
            connection.end()
        else:
            connection.reset()
        await eventually(lambda: not service.app[UPLOADS]._requests._running)
    offset = await upload.offset()
    assert offset == (size // 2 if size > MIB else offset)
    published(await upload.patch(offset, CONTENT[offset:size]))
    await is_stored(service, CONTENT[:size])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("where", ["here", "there"])
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
async def test_a_request_that_hangs_is_taken_over(
    service: Service, other: Service, size: int, where: str, method: str
) -> None:
    if (where, method) == ("there", "PATCH"):
        pytest.skip("two processes cannot share an embedded store: see the tests of the cluster")
    upload = await start(service, FILE, size)
    async with connect(service.port) as connection:
        slow = Slow(connection, upload)
        await slow.start(size)
        await slow.send(size // 2)
        await eventually(lambda: bool(service.app[UPLOADS]._requests._running))
        if size > MIB:
            await eventually(arrived(service, upload, size // 2))
        later = upload.at(service if where == "here" else other)
        if method == "DELETE":
            assert (await later.delete()).status == 204
        else:
            offset = await later.offset()
            if where == "here" and size > MIB:
                assert offset == size // 2
            if method == "PATCH":
                published(await later.patch(offset, CONTENT[offset:size]))
        answer = await connection.answer()
        assert answer.status == 409
        assert "Another request" in answer.problem()
    if method == "PATCH":
        await is_stored(service, CONTENT[:size])
    assert service.app[UPLOADS].events["overtaken"] == 1


async def test_a_request_that_was_overtaken_and_does_not_hear_of_it_stores_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.uploads.recording.RECORD_SECONDS", 3600.0)
    upload = await start(service, FILE, 2_500_000)
    async with connect(service.port) as connection:
        slow = Slow(connection, upload)
        await slow.start(2_500_000)
        await slow.send(1_500_000)
        await eventually(arrived(service, upload, 1_500_000))
        await service.app[UPLOADS].sessions.take_over(upload.id, "alice")
        await slow.send(1_000_000)
        assert (await connection.answer()).status == 409
    assert await upload.offset() == 0
    assert (await service.get(FILE))[0] == 404


async def test_two_that_send_at_once_never_mix(service: Service) -> None:
    one, two = CONTENT[:200_000], CONTENT[200_000:400_000]
    for _ in range(20):
        upload = await start(service, f"{FILE}?overwrite=true", 200_000)
        answers = await asyncio.gather(upload.patch(0, one), upload.patch(0, two))
        statuses = sorted(answer.status for answer in answers)
        assert set(statuses) <= {204, 409}, statuses
        offset = await upload.offset()
        if offset < len(one):
            parts = service.data / "files" / "~uploads" / upload.id
            received = parts.read_bytes()[:offset] if offset else b""
            whose = one if one.startswith(received) else two
            published(await upload.patch(offset, whose[offset:]))
        assert (await service.get(FILE))[1] in (one, two)
        await service.delete(FILE)


async def test_a_stop_ends_it_at_once_and_keeps_what_has_come(service: Service) -> None:
    upload = await start(service, FILE, 2_500_000)
    async with connect(service.port) as connection:
        slow = Slow(connection, upload)
        await slow.start(2_500_000)
        await slow.send(1_200_000)
        await eventually(arrived(service, upload, 1_200_000))
        service.app[LIFECYCLE].drain()
        answer = await connection.answer()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["Connection"] == "close"
    assert await upload.offset() == 1_200_000
    assert (await upload.patch(1_200_000, CONTENT[1_200_000:2_000_000])).status == 503
    assert await upload.offset() == 1_200_000


async def test_what_has_come_is_recorded_while_more_comes(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.uploads.recording.RECORD_SECONDS", 0.05)
    upload = await start(service, FILE, 2_500_000)
    sessions = service.app[UPLOADS].sessions
    async with connect(service.port) as connection:
        slow = Slow(connection, upload)
        await slow.start(2_500_000)
        for count in range(1, 5):
            await slow.send(500_000)

            async def received() -> bool:
                return (await sessions.find(upload.id, "alice")).received == slow.sent

            await eventually(received)
            assert slow.sent == count * 500_000
        connection.reset()
    assert await upload.offset() == 2_000_000


async def test_a_database_that_is_restarted_meanwhile_loses_nothing(
    service: Service, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.uploads.recording.RECORD_SECONDS", 0.02)
    upload = await start(service, FILE, 2_500_000)
    async with connect(service.port) as connection:
        slow = Slow(connection, upload)
        await slow.start(2_500_000)
        await slow.send(1_000_000)
        await eventually(arrived(service, upload, 1_000_000))
        restarting = asyncio.create_task(asyncio.to_thread(postgres.restart))
        while not restarting.done():
            await slow.send(10_000)
            await asyncio.sleep(0.02)
        await restarting
        await slow.send(2_500_000 - slow.sent)
        answer = await connection.answer()
    published(answer)
    await is_stored(service, CONTENT[:2_500_000])


async def test_a_post_that_fails_leaves_nothing(service: Service) -> None:
    async with connect(service.port) as connection:
        headers = {**VERSION, **BEARER, "Upload-Length": "3000000", "Content-Length": "2000000"}
        headers |= {"Content-Type": "application/offset+octet-stream"}
        connection.send("POST", FILE, headers)
        connection.send_raw(CONTENT[:1_500_000])
        await connection.drain()
        await eventually(lambda: bool(left(service)))
        connection.reset()
        await eventually(lambda: left(service) == [])
    await eventually(lambda: rows(service), equals=0)


async def test_metrics_and_the_audit_log_say_what_became_of_it(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = await start(service, FILE, 10, body=b"12345")
    await upload.offset()
    published(await upload.patch(5, b"67890"))
    gone = await start(service, "/storage/default/g", 10)
    await gone.delete()
    await service.app[UPLOADS].count_unfinished()
    metrics = (await call(service.port, "GET", "/metrics")).body.decode()
    for event, count in (("started", 2), ("resumed", 1), ("published", 1), ("deleted", 1)):
        assert f'sfs_upload_events_total{{event="{event}"}} {count}.0' in metrics
    assert "sfs_upload_recorded_bytes_total 10.0" in metrics
    audit = [line for line in capsys.readouterr().err.splitlines() if " done: " in line]
    actions = [line.partition(" done: ")[2].partition(' "')[0] for line in audit]
    assert actions == ["start an upload", "upload", "start an upload", "delete an upload"]
