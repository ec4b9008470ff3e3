"""Namespaces over HTTP: their life, what hides them, and uploads that are overtaken by it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from sfs_server.database.pool import Session
from sfs_server.handlers import json_body
from sfs_server.web.keys import METRICS
from tests.support.client import Connection, call, connect
from tests.support.postgres import Postgres
from tests.support.service import Service
from tests.support.waiting import eventually

ALL = "/storage/namespaces"


async def shown(service: Service, user: str | None) -> list[str]:
    return [
        found["name"]
        for found in (await call(service.port, "GET", ALL, service.bearer(user))).json()
    ]


async def test_a_namespace_is_made_shown_changed_and_deleted(service: Service) -> None:
    started = int(time.time())
    made = await service.make_namespace("team")
    assert list(made) == ["name", "count", "bytes", "hidden", "owner", "created_at"]
    assert started - 1 <= made.pop("created_at") <= time.time() + 1
    empty = {"count": 0, "bytes": 0}
    assert made == {"name": "team", **empty, "hidden": False, "owner": "alice"}
    await service.put("/storage/team/a", b"1")
    await service.put("/storage/team/b", b"2")
    await service.put("/storage/team/b", b"345")
    await service.put("/storage/team/c/d", b"6")
    await service.delete("/storage/team/a")
    default, team = (await call(service.port, "GET", ALL, service.bearer())).json()
    assert (default["name"], default["owner"], default["hidden"]) == ("default", None, False)
    assert (team["name"], team["count"], team["bytes"]) == ("team", 2, 4)
    assert team["owner"] == "alice"
    for hidden in (True, True, False):
        changed = await call(
            service.port, "PUT", f"{ALL}/team", service.bearer(), {"hidden": hidden}
        )
        assert (changed.status, changed.json()) == (200, {**team, "hidden": hidden})
    deleted = await call(service.port, "DELETE", f"{ALL}/team", service.bearer())
    assert (deleted.status, deleted.json()) == (200, {"status": "ok"})
    assert await shown(service, "alice") == ["default"]
    assert "team" not in os.listdir(service.data / "files")
    for method in ("PUT", "DELETE"):
        gone = await call(service.port, method, f"{ALL}/team", service.bearer(), {"hidden": True})
        assert (gone.status, gone.problem()) == (404, "There is no such namespace.")
    for method, target in (("GET", "/storage/team/a"), ("GET", "/storage/files?namespace=team")):
        assert (await call(service.port, method, target, service.bearer())).status == 404


async def listed(service: Service) -> list[tuple[str, int | None, int | None]]:
    listed = (await call(service.port, "GET", ALL, service.bearer())).json()
    return [(one["name"], one["count"], one["bytes"]) for one in listed]


async def test_folders_are_counted_where_they_come_from_and_where_they_go(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change(method: str, target: str, to: str = "") -> None:
        headers = {**service.bearer(), **({"Destination": f"/storage/{to}"} if to else {})}
        answer = await call(service.port, method, f"/storage/{target}", headers)
        assert answer.status in (200, 201, 204), answer

    await service.make_namespace("team")
    for path in ("a/1", "a/b/2", "a/b/3", "c/4"):
        await service.put(f"/storage/default/{path}", b"12345")
    await change("MKCOL", "default/empty/")
    await change("MOVE", "default/a/", "default/z/a/")
    assert await listed(service) == [("default", 4, 20), ("team", 0, 0)]
    await change("MOVE", "default/z/a/b/", "team/b/")
    assert await listed(service) == [("default", 2, 10), ("team", 2, 10)]
    await change("MOVE", "default/z/a/1", "team/b/2")  # over a file
    assert await listed(service) == [("default", 1, 5), ("team", 2, 10)]
    await change("MOVE", "default/c/", "team/b/")  # over a folder
    assert await listed(service) == [("default", 0, 0), ("team", 1, 5)]
    await change("MOVE", "team/b/4", "team/x")
    await change("DELETE", "team/b/")
    assert await listed(service) == [("default", 0, 0), ("team", 1, 5)]
    await change("MOVE", "team/x", "team/y/z")
    monkeypatch.setattr("sfs_server.handlers.folders.MOST_COUNTED", 0)
    await change("MOVE", "team/y/", "default/y/")
    assert await listed(service) == [("default", None, None), ("team", None, None)]


@pytest.mark.parametrize("recount_seconds", [0.1])
async def test_what_other_programs_write_is_found(
    service: Service, postgres: Postgres, database_name: str
) -> None:
    (service.data / "files" / "default" / "a").write_bytes(b"123")
    await asyncio.to_thread(postgres.execute, "DELETE FROM recounts", database_name)
    await eventually(lambda: listed(service), equals=[("default", 1, 3)])
    metrics = (await call(service.port, "GET", "/metrics")).body
    assert b'sfs_namespace_recounts_total{result="corrected"} 1.0' in metrics


async def test_the_list_is_sorted_by_bytes_and_shows_what_the_caller_may_see(
    service: Service,
) -> None:
    for name in ("b", "B", "a-b", "a_b", "a.b", "10", "9"):
        await service.make_namespace(name)
    await service.make_namespace("secret", hidden=True)
    names = sorted(["default", "b", "B", "a-b", "a_b", "a.b", "10", "9"])
    assert await shown(service, "bob") == names
    assert await shown(service, "alice") == sorted([*names, "secret"])
    assert await shown(service, None) == ["default"]
    listed = await call(service.port, "GET", ALL, service.bearer("root", admin=True))
    assert [found["name"] for found in listed.json()] == sorted([*names, "secret"])


async def test_the_list_comes_in_pages(service: Service) -> None:
    for name in ("a", "b", "c", "d"):
        await service.make_namespace(name, hidden=name == "b")
    target, found = f"{ALL}?limit=2&token={service.token('bob')}", []
    for names in (["a", "c"], ["d", "default"]):
        answer = await call(service.port, "GET", target, service.bearer("bob"))
        assert [one["name"] for one in answer.json()] == names
        found += names
        link = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("Link", ""))
        assert (link is None) == (names[-1] == "default")
        target = "" if link is None else link[1]
    assert "token" not in target
    for limit in ("0", "-1", "10001", "x", "1.5", "", "1" * 20):
        assert (
            await call(service.port, "GET", f"{ALL}?limit={limit}", service.bearer())
        ).status == 400
    for after in ("%00", "a%00", "%ff", "%ED%B0%80", "b%C3%A9", "zz"):
        assert (
            await call(service.port, "GET", f"{ALL}?after={after}", service.bearer())
        ).status == 200


async def test_a_long_list_is_streamed(
    service: Service, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.handlers.namespaces.PAGE", 3)
    fill = "INSERT INTO namespaces (name) SELECT 'n' || i FROM generate_series(1, 8) i"
    await asyncio.to_thread(postgres.execute, fill, "test")
    names = ["default", *(f"n{number}" for number in range(1, 9))]
    assert await shown(service, "alice") == names
    async with connect(service.port) as connection:
        connection.send("HEAD", ALL, service.bearer())
        assert (await connection.answer(to_head=True)).status == 200
    monkeypatch.setattr("sfs_server.handlers.namespaces.PAGE", 9)
    assert await shown(service, "alice") == names


@pytest.mark.parametrize("settings", [{"max_namespaces": 2}])
async def test_a_user_owns_no_more_namespaces_than_configured(service: Service) -> None:
    for name in ("a", "b"):
        await service.make_namespace(name)
    answer = await call(service.port, "POST", ALL, service.bearer(), {"name": "c"})
    assert answer.status == 403
    assert "You own 2 namespaces" in answer.problem()
    assert "c" not in os.listdir(service.data / "files")
    await service.make_namespace("d", "bob")
    for number in range(3):
        body = {"name": f"e{number}"}
        assert (
            await call(service.port, "POST", ALL, service.bearer("root", admin=True), body)
        ).status == 201
    assert (await call(service.port, "DELETE", f"{ALL}/a", service.bearer())).status == 200
    await service.make_namespace("c")


async def test_a_name_that_is_taken_is_a_409_even_of_a_namespace_of_ones_own(
    service: Service,
) -> None:
    await service.make_namespace("team")
    await service.put("/storage/team/a", b"1")
    for name, user in (("team", "alice"), ("team", "bob"), ("default", "bob")):
        answer = await call(service.port, "POST", ALL, service.bearer(user), {"name": name})
        assert answer.status == 409
        assert answer.problem()
    assert (await call(service.port, "GET", "/storage/team/a", service.bearer())).body == b"1"


async def test_default_cannot_be_deleted(service: Service) -> None:
    await service.put("/storage/default/a", b"1")
    for user, admin in (("alice", False), ("root", True)):
        answer = await call(
            service.port, "DELETE", f"{ALL}/default", service.bearer(user, admin=admin)
        )
        assert answer.status == 403
        assert answer.problem()
    assert (await call(service.port, "GET", "/storage/default/a")).body == b"1"


async def test_a_member_that_is_missing_or_ill_typed_is_named(service: Service) -> None:
    await service.make_namespace("team")
    cases: list[tuple[str, str, object, str]] = [
        ("POST", ALL, {}, '"name"'),
        ("POST", ALL, {"hidden": True}, '"name"'),
        ("POST", ALL, {"name": None}, '"name"'),
        ("POST", ALL, {"name": 1}, '"name"'),
        ("POST", ALL, {"name": ["a"]}, '"name"'),
        ("POST", ALL, {"Name": "a"}, '"name"'),
        ("POST", ALL, {"name": "a", "hidden": None}, '"hidden"'),
        ("POST", ALL, {"name": "a", "hidden": "true"}, '"hidden"'),
        ("POST", ALL, {"name": "a", "hidden": 1}, '"hidden"'),
        ("PUT", f"{ALL}/team", {}, '"hidden"'),
        ("PUT", f"{ALL}/team", {"name": "team"}, '"hidden"'),
        ("PUT", f"{ALL}/team", {"hidden": None}, '"hidden"'),
        ("PUT", f"{ALL}/team", {"hidden": 0}, '"hidden"'),
        ("PUT", f"{ALL}/team", {"hidden": "false"}, '"hidden"'),
    ]
    for more, named in (
        ({"Hidden": True}, '"hidden"'),
        ({"HIDDEN": True, "hidden": True}, '"hidden"'),
        ({"Visibility": 0}, '"visibility"'),
        ({"retention_days": 7}, '"retention_days"'),
        ({"retentionDays": 7}, '"retention_days"'),
        ({"quota_bytes": 0}, '"quota_bytes"'),
    ):
        cases += [("POST", ALL, {"name": "a", **more}, named), ("PUT", f"{ALL}/team", more, named)]
    for method, target, body, named in cases:
        answer = await call(service.port, method, target, service.bearer(), body)
        assert answer.status == 400, body
        assert named in answer.problem()
    assert await shown(service, "alice") == ["default", "team"]


async def test_a_namespace_is_never_more_open_than_its_visibility_says(service: Service) -> None:
    for n, (visibility, hidden) in enumerate(((0, True), ("private", True), ("internal", False))):
        for agreeing in ({}, {"hidden": hidden}):
            name = f"n{n}{len(agreeing)}"
            body: dict[str, object] = {"name": name, "visibility": visibility, **agreeing}
            made = await call(service.port, "POST", ALL, service.bearer(), body)
            assert (made.status, made.json()["hidden"]) == (201, hidden), body
            assert (name in await shown(service, "bob")) is not hidden
            for target in ({"hidden": not hidden}, {"visibility": visibility, **agreeing}):
                changed = await call(service.port, "PUT", f"{ALL}/{name}", service.bearer(), target)
                assert changed.status == 200
            assert changed.json()["hidden"] is hidden
    before = await shown(service, "alice")
    odd: list[object] = [1, 2, 3, -1, "unlisted", "public", "Private", "", "0", "hidden"]
    odd += [False, True, None, 0.0, 1.5, [], ["private"], {}]
    for visibility in odd:
        for agreeing in ({}, {"hidden": True}, {"hidden": False}):
            body = {"name": "new", "visibility": visibility, **agreeing}
            refused = await call(service.port, "POST", ALL, service.bearer(), body)
            assert (refused.status, '"visibility"' in refused.problem()) == (400, True), body
            refused = await call(service.port, "PUT", f"{ALL}/n00", service.bearer(), body)
            assert (refused.status, '"visibility"' in refused.problem()) == (400, True), body
    apart: list[dict[str, object]] = [{"visibility": 0, "hidden": False}]
    for body in (*apart, {"visibility": "internal", "hidden": True}):
        refused = await call(service.port, "POST", ALL, service.bearer(), {"name": "new", **body})
        assert (refused.status, "contradict" in refused.problem()) == (400, True)
        refused = await call(service.port, "PUT", f"{ALL}/n00", service.bearer(), body)
        assert (refused.status, "contradict" in refused.problem()) == (400, True)
    assert await shown(service, "alice") == before
    assert "n00" not in await shown(service, "bob")


@pytest.mark.parametrize(
    ("settings", "shown_as", "other"),
    [({}, ["public", 2], "internal"), ({"anonymous_read": False}, ["internal"], "public")],
)
async def test_the_visibility_of_default_is_what_anonymous_callers_may_do(
    service: Service, shown_as: list[object], other: str
) -> None:
    target = f"{ALL}/default"
    for visibility, status, hidden in (
        (0, 200, True),
        *((shown, 200, False) for shown in shown_as),
        (other, 400, False),
        ("private", 200, True),
        ("unlisted", 400, True),
    ):
        body = {"visibility": visibility}
        answer = await call(service.port, "PUT", target, service.bearer("root", admin=True), body)
        assert answer.status == status, visibility
        [default] = (
            await call(service.port, "GET", ALL, service.bearer("root", admin=True))
        ).json()
        assert default["hidden"] is hidden


async def test_members_that_nobody_knows_are_ignored(service: Service) -> None:
    body = {"name": "team", "owner": "bob", "count": 9, "admin": True, "x": {"y": [1, None]}}
    answer = await call(service.port, "POST", ALL, service.bearer(), body)
    assert answer.status == 201
    assert (answer.json()["owner"], answer.json()["count"]) == ("alice", 0)
    changed = await call(
        service.port,
        "PUT",
        f"{ALL}/team",
        service.bearer(),
        {"hidden": False, "name": "other", "owner": "bob"},
    )
    assert (changed.status, changed.json()["name"], changed.json()["owner"]) == (
        200,
        "team",
        "alice",
    )


async def test_a_body_that_is_not_a_small_json_object_is_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.make_namespace("team")
    bodies: list[tuple[bytes, int]] = [
        (b"", 400),
        (b"{", 400),
        ('{"name": "utf-16"}'.encode("utf-16"), 400),
        (b"hidden=true", 400),
        (b'{"name": "a", "hidden": true}x', 400),
        (b'{"name": "\xff", "hidden": true}', 400),
        (b"[]", 400),
        (b'["name"]', 400),
        (b'"name"', 400),
        (b"null", 400),
        (b"1" * 6000, 400),
        (b"[" * 60_000, 400),
        (b'{"name": "a", "hidden": true, "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400),
        (b'{"name": "a", "hidden": true, "x": ' + b'{"x":' * 9_000 + b"1" + b"}" * 9_001, 400),
        (b'{"name": "a", "hidden": true, "hidden": false}', 400),
        (b'{"name": "a", "name": "b", "hidden": true}', 400),
        (b'{"name": "a", "hidden": true, "x": {"y": 1, "\\u0079": 1}}', 400),
        *((b'{"name": "a", "hidden": true, "x": %b}' % x, 400) for x in (b"NaN", b"-Infinity")),
        (b'{"name": "a", "hidden": true, "x": ' + b"1" * 6000 + b"}", 400),
        (b'\xef\xbb\xbf{"name": "a", "hidden": true}', 400),
        (b'{"name": "a", "hidden": true, "x": "' + b"x" * 70_000 + b'"}', 413),
        (b" " * 1_000_000, 413),
    ]
    for method, target in (("POST", ALL), ("PUT", f"{ALL}/team")):
        for body, status in bodies:
            answer = await call(service.port, method, target, service.bearer(), body)
            assert answer.status == status, (method, body[:50])
            assert answer.problem()
    headers = {**service.bearer(), "Content-Encoding": "gzip"}
    assert (await call(service.port, "POST", ALL, headers, b"{}")).status == 415
    monkeypatch.setattr(json_body, "JSON_SECONDS", 0.1)
    async with connect(service.port) as connection:
        connection.send("POST", ALL, {**service.bearer(), "Content-Length": "10"}, b'{"')
        slow = await connection.answer()
        assert slow.status == 408
        assert slow.problem()
    assert await shown(service, "alice") == ["default", "team"]


async def test_names_that_cannot_be_are_refused(service: Service) -> None:
    bad = ["", ".", "..", "a b", "a/b", "é", "a\n", "\u0000", "x" * 64, "~tmp", "\ud800"]
    bad += "files namespaces download upload uploads delete status links tokens".split()
    for name in bad:
        answer = await call(service.port, "POST", ALL, service.bearer(), {"name": name})
        assert answer.status == 400, name
        assert answer.problem()
    assert await shown(service, "alice") == ["default"]
    kept = ["default", "~id", "~lock", "~tmp", "~trash", "~uploads"]
    assert sorted(os.listdir(service.data / "files")) == kept


# What is hidden.


def without_identity(answer: bytes, name: str) -> bytes:
    """An answer as it came, but for what differs between any two, and its namespace's name."""
    head, _, body = answer.partition(b"\r\n\r\n")
    kept = [
        line
        for line in head.split(b"\r\n")
        if not line.lower().startswith((b"x-request-id:", b"date:"))
    ]
    return b"\r\n".join(kept) + b"\r\n\r\n" + body.replace(name.encode(), b"NAME")


def of_store(service: Service) -> list[str]:
    """What the metrics say of operations of the store."""
    lines = service.app[METRICS].render().decode().splitlines()
    return [line for line in lines if line.startswith("sfs_gfs_")]


@pytest.mark.parametrize("accept", ["*/*", "text/html"])
async def test_a_hidden_namespace_answers_in_every_byte_like_one_that_does_not_exist(
    service: Service, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the service does the same for it, so that the answer takes as long."""
    await service.make_namespace("secret", hidden=True)
    await service.put("/storage/secret/a.txt", b"1")
    done: list[str] = []
    fetch = Session.fetch

    async def counted(self: Session, sql: str, *args: Any, **options: Any) -> Any:
        # A session that was idle for a while is asked whether it lives, and a new one is set up,
        # for whomever it is. Tasks with a name work in the background.
        task = cast("asyncio.Task[None]", asyncio.current_task())
        background = "sfs_ping" in str(args) or not task.get_name().startswith("Task-")
        if not background and not sql.startswith(("SELECT 1", "SET ")):
            done.append(sql)
        return await fetch(self, sql, *args, **options)

    monkeypatch.setattr(Session, "fetch", counted)
    requests: list[tuple[str, str, dict[str, str], bytes]] = [
        *((method, "/storage/NAME/a.txt", {}, b"") for method in ("GET", "HEAD", "DELETE")),
        *((method, "/storage/NAME/new.txt", {}, b"") for method in ("GET", "HEAD", "DELETE")),
        *((method, "/storage/download/NAME/a.txt", {}, b"") for method in ("GET", "HEAD")),
        ("GET", "/storage/NAME/a.txt", {"Range": "bytes=9-"}, b""),
        ("GET", "/storage/NAME/a.txt", {"If-Match": '"x"'}, b""),
        ("GET", "/storage/NAME/a.txt", {"If-None-Match": "*"}, b""),
        *((method, "/storage/NAME/a.txt", {}, b"xyz") for method in ("PUT", "POST")),
        *((method, "/storage/NAME/new.txt", {}, b"xyz") for method in ("PUT", "POST")),
        ("PUT", "/storage/NAME/a.txt", {"If-Match": "*"}, b"xyz"),
        ("PUT", "/storage/NAME/a.txt", {"Expect": "100-continue"}, b"xyz"),
        ("PUT", "/storage/NAME/a.txt", {"X-File-Size": "nonsense"}, b"xyz"),
        ("POST", "/storage/NAME/a.txt?overwrite=true", {}, b"xyz"),
        ("DELETE", "/storage/NAME/a.txt", {"If-Match": '"x"'}, b""),
        ("GET", "/storage/files?namespace=NAME", {}, b""),
        ("GET", "/storage/files?namespace=NAME&limit=1", {}, b""),
        ("PUT", f"{ALL}/NAME", {}, b'{"hidden": false}'),
        ("PUT", f"{ALL}/NAME", {}, b"not JSON"),
        ("DELETE", f"{ALL}/NAME", {}, b""),
    ]
    for user in (None, "bob"):
        for method, target, extra, body in requests:
            answers, works = [], []
            for name in ("secret", "absent"):
                # The hidden one is in use: what is known of it is in memory.
                assert (
                    await call(service.port, "GET", "/storage/secret/a.txt", service.bearer())
                ).status == 200
                before = of_store(service)
                done.clear()
                headers = {"Accept": accept, "Connection": "close", **extra}
                headers.update(service.bearer(user) if user else {})
                async with connect(service.port) as connection:
                    connection.send(method, target.replace("NAME", name), headers, body)
                    answers.append(without_identity(await connection.rest(), name))
                works.append([*done])
                assert of_store(service) == before, "the store was asked"
            assert answers[0] == answers[1], (user, method, target)
            assert works[0] == works[1], (user, method, target)
            assert len(works[0]) == 1, (user, method, target)
            assert answers[0].startswith(b"HTTP/1.1 404 "), (user, method, target)
    assert (await call(service.port, "GET", "/storage/secret/a.txt", service.bearer())).body == b"1"


# What overtakes an upload.


@asynccontextmanager
async def upload_under_way(
    service: Service, target: str, user: str = "alice"
) -> AsyncIterator[Connection]:
    """A PUT of 10 bytes, of which 5 have arrived and are being stored."""
    temporary = service.data / "files" / "~tmp"
    async with connect(service.port) as connection:
        headers = {**service.bearer(user), "Content-Length": "10"}
        connection.send("PUT", target, headers, b"01234")
        await eventually(lambda: os.listdir(temporary))
        yield connection
    assert os.listdir(temporary) == []


async def test_an_upload_does_not_bring_back_a_namespace_that_was_deleted_meanwhile(
    service: Service,
) -> None:
    await service.make_namespace("team")
    async with upload_under_way(service, "/storage/team/a") as connection:
        assert (await call(service.port, "DELETE", f"{ALL}/team", service.bearer())).status == 200
        connection.send_raw(b"56789")
        answer = await connection.answer()
        assert answer.status == 404
        assert answer.problem()
    assert await shown(service, "alice") == ["default"]
    assert "team" not in os.listdir(service.data / "files")


@pytest.mark.parametrize("again", ["alice", "bob"])
async def test_an_upload_is_not_published_in_a_namespace_that_was_made_again_meanwhile(
    service: Service, again: str
) -> None:
    await service.make_namespace("team")
    await service.put("/storage/team/old", b"old")
    async with upload_under_way(service, "/storage/team/a") as connection:
        assert (await call(service.port, "DELETE", f"{ALL}/team", service.bearer())).status == 200
        await service.make_namespace("team", again)
        connection.send_raw(b"56789")
        answer = await connection.answer()
        assert answer.status in (403, 404)
        assert answer.problem()
    listed = await call(service.port, "GET", "/storage/files?namespace=team", service.bearer(again))
    assert (listed.status, listed.json()) == (200, [])
    for name in ("a", "old"):
        assert (
            await call(service.port, "GET", f"/storage/team/{name}", service.bearer(again))
        ).status == 404


async def test_an_upload_fails_when_its_namespace_is_hidden_from_the_uploader_meanwhile(
    service: Service,
) -> None:
    async with upload_under_way(service, "/storage/default/a", "bob") as connection:
        changed = await call(
            service.port,
            "PUT",
            f"{ALL}/default",
            service.bearer("root", admin=True),
            {"hidden": True},
        )
        assert changed.status == 200
        connection.send_raw(b"56789")
        answer = await connection.answer()
        assert answer.status == 404
        assert answer.problem()
    assert os.listdir(service.data / "files" / "default") == []
    assert (await call(service.port, "GET", "/storage/files")).status == 404


async def test_a_download_goes_on_when_its_namespace_is_deleted(service: Service) -> None:
    await service.make_namespace("team")
    body = os.urandom(16 * 1024 * 1024)
    await service.put("/storage/team/a", body)
    async with connect(service.port, receive_buffer=65536) as connection:
        connection.send("GET", "/storage/team/a", service.bearer())
        assert (await connection.head())[0] == 200
        assert (await call(service.port, "DELETE", f"{ALL}/team", service.bearer())).status == 200
        assert await connection.reader.readexactly(len(body)) == body


async def test_creating_one_name_many_times_at_once_makes_it_once(service: Service) -> None:
    answers = await asyncio.gather(
        *(
            call(service.port, "POST", ALL, service.bearer(f"user{n}"), {"name": "team"})
            for n in range(8)
        )
    )
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [201] + [409] * 7
    owner = next(answer.json()["owner"] for answer in answers if answer.status == 201)
    [team] = [
        f
        for f in (await call(service.port, "GET", ALL, service.bearer())).json()
        if f["name"] == "team"
    ]
    assert team["owner"] == owner


@pytest.mark.parametrize(
    ("code", "status", "word"),
    [
        ("53100", 507, "disk of the database is full"),
        ("55P03", 503, "at once"),
        *((code, 503, "database") for code in ("53300", "53200", "57P03", "40001", "40P01")),
        *((code, 503, "database") for code in ("25006", "57P01", "58030")),
        *((code, 500, "log") for code in ("42501", "42703", "XX001")),
    ],
)
async def test_what_the_database_refuses_becomes_an_answer(
    service: Service, postgres: Postgres, code: str, status: int, word: str
) -> None:
    raise_it = (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION 'as ordered, in /srv/path' USING ERRCODE = '{code}'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON namespaces "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    await service.make_namespace("team")
    await asyncio.to_thread(postgres.execute, raise_it, "test")
    answers = [
        await call(service.port, "POST", ALL, service.bearer(), {"name": "new"}),
        await call(service.port, "PUT", f"{ALL}/team", service.bearer(), {"hidden": True}),
        await call(service.port, "DELETE", f"{ALL}/team", service.bearer()),
    ]
    for answer in answers:
        assert answer.status == status
        assert word in answer.problem()
        assert "/srv" not in answer.problem()
        assert ("Retry-After" in answer.headers) == (status == 503)
    assert await shown(service, "alice") == ["default", "team"]
