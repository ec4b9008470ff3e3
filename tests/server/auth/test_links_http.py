"""Links over HTTP: who may make one, what it opens, and what ends it."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gfs import clock
from sfs_server.auth.links import MAX_TTL
from sfs_server.web.keys import ACCESS_LOG, DATABASE
from tests.support import tokens
from tests.support.client import call, connect
from tests.support.credentials import authorization
from tests.support.events import watching
from tests.support.launcher import launched
from tests.support.service import Service
from tests.support.waiting import eventually

LINKS_PATH = "/storage/links"
NAMESPACES_PATH = "/storage/namespaces"
PRIVATE = "private, no-cache"


async def link(
    service: Service, namespace: str, name: str, headers: dict[str, str], **more: object
) -> Any:
    body = {"namespace": namespace, "file": name, **more}
    answer = await call(service.port, "POST", LINKS_PATH, headers, body)
    assert answer.status == 201, answer
    assert answer.headers["Cache-Control"] == "no-store"
    found = answer.json()
    assert list(found) == ["url", "download_url", "expires_at"]
    return found


async def make(
    service: Service, name: str, user: str = "alice", *, hidden: bool = False, body: bytes = b"1"
) -> None:
    """A namespace with a file ``a.txt`` in it."""
    wanted = {"name": name, "hidden": hidden}
    answer = await call(service.port, "POST", NAMESPACES_PATH, service.bearer(user), wanted)
    assert answer.status == 201
    await service.put(f"/storage/{name}/a.txt", body, user)


async def hide(service: Service, name: str, user: str = "alice", *, hidden: bool = True) -> None:
    path, headers = f"{NAMESPACES_PATH}/{name}", service.bearer(user, admin=user == "root")
    assert (await call(service.port, "PUT", path, headers, {"hidden": hidden})).status == 200


@pytest.mark.parametrize("name", ["a b.txt", "ü\N{SNOWMAN}.png", "100%41.txt", "q\"'#?&=+;.html"])
async def test_a_link_opens_its_file_by_view_and_by_download(service: Service, name: str) -> None:
    await make(service, "secret", hidden=True)
    await service.put(f"/storage/secret/{quote(name, safe='')}", b"0123456789")
    made = await link(service, "secret", name, service.bearer(), ttl=60)
    assert abs(made["expires_at"] - time.time() - 60) < 5
    kinds = (("url", "/storage/", "inline"), ("download_url", "/storage/download/", "attachment"))
    for member, prefix, disposition in kinds:
        url = made[member]
        assert url.startswith(f"{prefix}secret/{quote(name, safe='')}?token=")
        async with connect(service.port) as connection:
            whole = await connection.ask("GET", url)
            assert (whole.status, whole.body) == (200, b"0123456789")
            assert whole.headers["Content-Disposition"].startswith(disposition)
            head = await connection.ask("HEAD", url)
            assert (head.status, head.headers["Content-Length"]) == (200, "10")
            part = await connection.ask("GET", url, {"Range": "bytes=2-4"})
            assert (part.status, part.body) == (206, b"234")
            etag = {"If-None-Match": whole.headers["ETag"]}
            unchanged = await connection.ask("GET", url, etag)
            assert unchanged.status == 304
            beyond = await connection.ask("GET", url, {"Range": "bytes=10-"})
            assert beyond.status == 416
        for answer in (whole, head, part, unchanged, beyond):
            assert answer.headers["Referrer-Policy"] == "no-referrer"
        for answer in (whole, head, part, unchanged):
            assert answer.headers["Cache-Control"] == PRIVATE
    assert "Referrer-Policy" not in (await call(service.port, "GET", "/storage/files")).headers


async def test_a_link_opens_nothing_else(service: Service) -> None:
    await make(service, "secret", hidden=True)
    await service.put("/storage/secret/b.txt", b"2")
    await service.put("/storage/default/a.txt", b"3")
    url = (await link(service, "secret", "a.txt", service.bearer()))["url"]
    token = url.partition("?token=")[2]
    for target in (
        "/storage/secret/b.txt",
        "/storage/secret/absent",
        "/storage/download/secret/b.txt",
        "/storage/default/a.txt",
        "/storage/files",
        "/storage/files?namespace=secret",
        "/storage/namespaces",
        "/storage/status",
        "/api/session",
        "/nowhere",
    ):
        joint = "&" if "?" in target else "?"
        for method in ("GET", "HEAD"):
            refused = await call(service.port, method, f"{target}{joint}token={token}")
            assert refused.status == 401, (method, target)
            assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
            assert refused.headers["Referrer-Policy"] == "no-referrer"
    for method in ("PUT", "POST", "DELETE"):
        ignored = await call(service.port, method, url, {}, {})
        assert ignored.status == 404
    bearer = authorization(token)
    for method, target in (
        ("GET", "/storage/secret/a.txt"),
        ("GET", url),
        ("GET", "/api/session"),
        ("DELETE", "/storage/secret/a.txt"),
        ("POST", LINKS_PATH),
    ):
        assert (await call(service.port, method, target, bearer)).status == 401
    again = {"namespace": "secret", "file": "a.txt"}
    assert (
        await call(service.port, "POST", f"{LINKS_PATH}?token={token}", {}, again)
    ).status == 404
    assert (await call(service.port, "GET", url)).body == b"1"


async def folder_link(
    service: Service, namespace: str, folder: str, user: str = "alice"
) -> tuple[Any, str]:
    """A link to a folder, and its token."""
    body = {"namespace": namespace, "folder": folder}
    answer = await call(service.port, "POST", LINKS_PATH, service.bearer(user), body)
    assert answer.status == 201, answer
    made = answer.json()
    url, _, token = made["url"].partition("?token=")
    assert url == f"/storage/{namespace}/{quote(folder)}/".replace("//", "/")
    assert made["download_url"] == f"{url}?archive=zip&token={token}"
    return made, token


@pytest.mark.parametrize("folder", ["a", "a/b \N{SNOWMAN}", ""])
async def test_a_link_to_a_folder_opens_all_below_it_for_reading(
    service: Service, folder: str
) -> None:
    await make(service, "secret", hidden=True)
    prefix = f"{folder}/" if folder else ""
    inner = [f"{prefix}f", f"{prefix}c/d/" + "/".join("efghijklmnopqrstuvwxyzABC")]
    for path in (*inner, "a/b c/f", "ab/f"):
        await service.put(f"/storage/secret/{quote(path)}", path.encode())
    made, token = await folder_link(service, "secret", folder)
    json_too = {"Accept": "application/json"}
    async with connect(service.port) as connection:
        for path in inner:
            for place in ("/storage/", "/storage/download/"):
                for method in ("GET", "HEAD"):
                    target = f"{place}secret/{quote(path)}?token={token}"
                    found = await connection.ask(method, target)
                    assert found.status == 200, target
                    assert found.body == (path.encode() if method == "GET" else b"")
                    assert found.headers["Cache-Control"] == PRIVATE
                    assert found.headers["Referrer-Policy"] == "no-referrer"
        index = await connection.ask("GET", made["url"], json_too)
        assert {"f", "c"} <= {entry["name"] for entry in index.json()}
        below = f"/storage/secret/{quote(prefix)}c"
        sent_on = await connection.ask("GET", f"{below}?token={token}")
        assert (sent_on.status, sent_on.headers["Location"]) == (301, f"{below}/?token={token}")
        assert (await connection.ask("GET", sent_on.headers["Location"])).status == 200
        for method in ("PUT", "POST", "DELETE", "MKCOL", "MOVE"):
            refused = await connection.ask(method, f"{below}/x?token={token}")
            assert refused.status in (400, 404), method
        for target in (
            *(("/storage/secret/ab/f", "/storage/secret/a.txt") if folder else ()),
            *(("/storage/secret/", "/storage/secret/a") if folder == "a" else ()),
            *(("/storage/secret/a/", "/storage/secret/a/b%20c/f") if "/" in folder else ()),
            f"/storage/default/{quote(inner[0])}",
            "/storage/files?namespace=secret",
            f"/storage/files?namespace=secret&folder={quote(folder)}",
            "/storage/namespaces",
            "/api/session",
        ):
            joint = "&" if "?" in target else "?"
            refused = await connection.ask("GET", f"{target}{joint}token={token}")
            assert refused.status == 401, target


async def test_a_link_keeps_to_the_kind_of_what_it_was_made_for(service: Service) -> None:
    """Something else may be at its path later."""
    await make(service, "secret", hidden=True)
    await service.put("/storage/secret/a/f", b"x")
    _, to_folder = await folder_link(service, "secret", "a")
    to_file = (await link(service, "secret", "a.txt", service.bearer()))["url"]
    bearer = service.bearer()
    for source, to in (("a", "b"), ("a.txt", "a"), ("b", "a.txt")):
        fields = {**bearer, "Destination": f"/storage/secret/{to}"}
        assert (await call(service.port, "MOVE", f"/storage/secret/{source}", fields)).status == 201
    refused = await call(service.port, "GET", f"/storage/secret/a?token={to_folder}")
    assert refused.status == 401
    sent_on = await call(service.port, "GET", to_file)
    assert sent_on.status == 301
    assert (await call(service.port, "GET", sent_on.headers["Location"])).status == 401
    inner = to_file.replace("a.txt", "a.txt/f")
    assert (await call(service.port, "GET", inner)).status == 401


async def test_a_link_to_a_folder_needs_the_folder_and_the_right_to_read(service: Service) -> None:
    await make(service, "secret", hidden=True)
    await service.put("/storage/secret/a/f", b"x")
    for body, user, status in (
        ({"folder": "none"}, "alice", 404),
        ({"folder": "a.txt"}, "alice", 404),
        ({"folder": "a/f"}, "alice", 404),
        ({"folder": "a/"}, "alice", 400),
        ({"folder": "../a"}, "alice", 400),
        ({"folder": 1}, "alice", 400),
        ({"folder": "a", "file": "a.txt"}, "alice", 400),
        ({"folder": "a", "transfer": "x"}, "alice", 400),
        ({"file": "a"}, "alice", 409),
        ({"folder": "a"}, "bob", 404),
        ({"folder": "none"}, "bob", 404),
        ({"folder": "a", "file": None}, "alice", 201),
        ({"folder": None, "file": "a/f"}, "alice", 201),
    ):
        wanted = {"namespace": "secret", **body}
        answer = await call(service.port, "POST", LINKS_PATH, service.bearer(user), wanted)
        assert answer.status == status, body
    made, _ = await folder_link(service, "secret", "a")
    assert (await call(service.port, "GET", made["url"])).status == 200
    await service.delete(f"{NAMESPACES_PATH}/secret")
    await make(service, "secret", "bob")
    await service.put("/storage/secret/a/f", b"bob's", "bob")
    assert (await call(service.port, "GET", made["url"])).status == 404


async def test_who_may_not_read_the_file_cannot_make_a_link_to_it(service: Service) -> None:
    await make(service, "open")
    await make(service, "secret", hidden=True)
    await service.put("/storage/default/a.txt", b"3")
    bob, root = service.bearer("bob"), service.bearer("root", admin=True)
    scopes = {"storage.bob.files.open": ["create"], "storage.bob.files.default": ["read"]}
    claims = {"sub": "bob", "type": "api_token", "scopes": scopes, "exp": time.time() + 60}
    api = authorization(tokens.token(claims))
    for namespace, name, headers, status in (
        ("default", "a.txt", {}, 201),
        ("default", "absent", {}, 404),
        ("open", "a.txt", {}, 401),
        ("open", "a.txt", bob, 201),
        ("open", "a.txt", api, 403),
        ("default", "a.txt", api, 201),
        ("open", "absent", bob, 404),
        ("secret", "a.txt", {}, 404),
        ("secret", "a.txt", bob, 404),
        ("secret", "absent", bob, 404),
        ("secret", "a.txt", root, 201),
        ("absent", "a.txt", root, 404),
    ):
        answer = await call(
            service.port, "POST", LINKS_PATH, headers, {"namespace": namespace, "file": name}
        )
        assert answer.status == status, (namespace, name, headers)
        if status == 201:
            opened = await call(service.port, "GET", answer.json()["url"])
            assert (opened.status, opened.headers["Cache-Control"]) == (200, PRIVATE)
        else:
            assert answer.problem()


async def test_a_member_that_cannot_be_is_named(service: Service) -> None:
    await service.put("/storage/default/a.txt", b"3")
    good: dict[str, object] = {"namespace": "default", "file": "a.txt"}
    ill_typed: list[tuple[str, list[object]]] = [
        ("namespace", [None, 1, ["default"]]),
        ("file", [None, 1, {}]),
        ("ttl", [0, -1, 0.5, 1.5, MAX_TTL + 1, 10**400]),
        ("ttl", [True, None, "300", [300]]),
    ]
    unusable: list[tuple[str, list[object]]] = [
        ("namespace", ["", "..", "a b", "links", "\ud800"]),
        ("file", ["", "..", "a//b", "/a", "a/../b", "a\n", "x" * 256, "\ud800"]),
    ]
    changes = [
        *((name, bad, f'"{name}"') for name, values in ill_typed for bad in values),
        *((name, bad, "name") for name, values in unusable for bad in values),
        ("transfer", "a", '"namespace"'),
    ]
    for member, bad, named in changes:
        change = {member: bad}
        answer = await call(service.port, "POST", LINKS_PATH, service.bearer(), {**good, **change})
        assert answer.status == 400, change
        assert named in answer.problem()
    for missing in good:
        body = {name: value for name, value in good.items() if name != missing}
        answer = await call(service.port, "POST", LINKS_PATH, service.bearer(), body)
        assert (answer.status, f'"{missing}"' in answer.problem()) == (400, True)
    not_ids: list[object] = [None, 1, ["a"], "", "a b", "a" * 129, "a/b", "\ud800"]
    bad_bodies: list[dict[str, object]] = [
        *[{"transfer": bad} for bad in not_ids],
        {"transfer": "a", "namespace": "a"},
        {"transfer": "a", "file": "a"},
        {"transfer": "a", "ttl": 0},
        {"transfer": "a", "ttl": "1"},
    ]
    for bad_body in bad_bodies:
        answer = await call(service.port, "POST", LINKS_PATH, service.bearer(), bad_body)
        assert answer.status == 400, bad_body
        assert "transfer" in answer.problem() or '"ttl"' in answer.problem()
    for ttl in (1, 300.0, MAX_TTL):
        made = await link(service, "default", "a.txt", {}, ttl=ttl)
        assert abs(made["expires_at"] - time.time() - ttl) < 5
    for number in (b"1e400", b"-1e400", b"NaN", b"Infinity"):
        raw = b'{"namespace": "default", "file": "a.txt", "ttl": %b}' % number
        assert (await call(service.port, "POST", LINKS_PATH, {}, raw)).status == 400
    made = await link(service, "default", "a.txt", {}, unknown=[1], label="x")
    assert abs(made["expires_at"] - time.time() - 300) < 5
    async with connect(service.port) as connection:
        expecting = {"Expect": "100-continue", "Content-Length": "2"}
        connection.send("POST", LINKS_PATH, expecting)
        assert (await connection.head())[0] == 100
        connection.send_raw(b"[]")
        assert (await connection.answer()).status == 400


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"password": "geheim"}, '"password"'),
        ({"password": ""}, '"password"'),
        ({"PASSWORD": "geheim"}, '"password"'),
        ({"kept": True}, '"kept"'),
        ({"upload": True}, '"upload"'),
        ({"upload": 0}, '"upload"'),
        ({"folder": "a/b"}, '"folder"'),
        ({"folder": ""}, '"folder"'),
        ({"TTL": 60}, '"ttl"'),
        ({"Ttl": 60, "ttl": 60}, '"ttl"'),
        ({"expires_in": 60}, '"ttl"'),
        ({"expiresIn": 60}, '"ttl"'),
        ({"expires_at": 1}, '"ttl"'),
        ({"expires": "tomorrow"}, '"ttl"'),
        ({"Namespace": "secret"}, '"namespace"'),
        ({"File": "b"}, '"file"'),
        ({"Transfer": "a"}, '"transfer"'),
    ],
)
async def test_what_would_make_the_link_less_is_refused_and_not_ignored(
    service: Service, change: dict[str, object], named: str
) -> None:
    await service.put("/storage/default/a.txt", b"3")
    for body in ({"namespace": "default", "file": "a.txt", **change}, {"transfer": "a", **change}):
        answer = await call(service.port, "POST", LINKS_PATH, service.bearer(), body)
        assert answer.status == 400, body
        assert named in answer.problem()
    off = {"password": None, "kept": False, "upload": False, "folder": None, "expires_in": None}
    await link(service, "default", "a.txt", service.bearer(), **off)


async def test_a_link_never_outlives_the_token_that_it_was_made_with(service: Service) -> None:
    await service.put("/storage/default/a.txt", b"3")
    end = time.time() + 50
    short = authorization(tokens.token({"exp": end}))
    made = await link(service, "default", "a.txt", short, ttl=MAX_TTL)
    assert made["expires_at"] == int(end)
    assert (await to_transfer(service, "t", short, ttl=MAX_TTL))["expires_at"] == int(end)
    assert (await link(service, "default", "a.txt", short, ttl=1))["expires_at"] < end - 40
    late = tokens.token({"exp": time.time() - 5})
    in_leeway = authorization(late)
    assert (await call(service.port, "GET", "/api/session", in_leeway)).status == 200
    for body in ({"namespace": "default", "file": "a.txt"}, {"transfer": "t"}):
        refused = await call(service.port, "POST", LINKS_PATH, in_leeway, body)
        assert refused.status == 401
        assert "Sign in again" in refused.problem()
        assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_a_link_dies_when_it_expires(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.put("/storage/default/a.txt", b"3")
    url = (await link(service, "default", "a.txt", service.bearer(), ttl=60))["url"]
    opened = await call(service.port, "GET", url)
    assert opened.status == 200
    monkeypatch.setattr(clock, "unix", lambda: time.time() + 60)
    for headers in ({}, {"If-None-Match": opened.headers["ETag"]}):
        dead = await call(service.port, "GET", url, headers)
        assert dead.status == 401
        assert "expired" in dead.problem()


async def test_a_link_dies_when_its_maker_may_not_read_the_file_any_more(service: Service) -> None:
    await make(service, "team")
    urls = {
        who: (await link(service, "team", "a.txt", service.bearer(who, admin=who == "root")))["url"]
        for who in ("alice", "bob", "root")
    }

    async def opens() -> dict[str, bool]:
        answers = {who: await call(service.port, "GET", url) for who, url in urls.items()}
        for answer in answers.values():
            assert answer.status in (200, 404)
        return {who: answer.status == 200 for who, answer in answers.items()}

    assert await opens() == {"alice": True, "bob": True, "root": True}
    await hide(service, "team")
    assert await opens() == {"alice": True, "bob": False, "root": True}
    await service.app[DATABASE].fetch("UPDATE namespaces SET owner = 'bob' WHERE name = 'team'")
    await eventually(opens, 5, equals={"alice": False, "bob": True, "root": True})
    await hide(service, "team", "root", hidden=False)
    assert await opens() == {"alice": True, "bob": True, "root": True}
    removed = await call(service.port, "DELETE", f"{NAMESPACES_PATH}/team", service.bearer("bob"))
    assert removed.status == 200
    assert await opens() == {"alice": False, "bob": False, "root": False}
    await make(service, "team", "alice", body=b"another")
    assert await opens() == {"alice": False, "bob": False, "root": False}


async def test_a_dead_link_tells_hidden_from_deleted_by_nothing(service: Service) -> None:
    await make(service, "one")
    await make(service, "two")
    bob = service.bearer("bob")
    urls = [(await link(service, name, "a.txt", bob))["url"] for name in ("one", "two")]
    await hide(service, "one")
    removed = await call(service.port, "DELETE", f"{NAMESPACES_PATH}/two", service.bearer())
    assert removed.status == 200
    hidden, gone = [await call(service.port, "GET", url) for url in urls]
    assert (hidden.status, hidden.body) == (gone.status, gone.body)
    assert hidden.status == 404
    for answer in (hidden, gone):
        for name in ("Date", "X-Request-Id"):
            del answer.headers[name]
    assert hidden.headers == gone.headers


async def test_a_file_that_is_deleted_is_a_404_for_its_link(service: Service) -> None:
    await service.put("/storage/default/a.txt", b"3")
    url = (await link(service, "default", "a.txt", service.bearer()))["url"]
    gone = await call(service.port, "DELETE", "/storage/default/a.txt", service.bearer())
    assert gone.status == 200
    assert (await call(service.port, "GET", url)).status == 404


async def to_transfer(
    service: Service, id_: str, headers: dict[str, str], **more: object
) -> dict[str, Any]:
    body = {"transfer": id_, **more}
    answer = await call(service.port, "POST", LINKS_PATH, headers, body)
    assert (answer.status, answer.headers["Cache-Control"]) == (201, "no-store")
    found: dict[str, Any] = answer.json()
    assert list(found) == ["url", "expires_at"]
    assert found["url"].startswith(f"/sse/progress?id={id_}&token=")
    return found


async def test_a_link_shows_the_transfer_to_whoever_its_maker_is(service: Service) -> None:
    makers = {
        "alice": service.bearer(),
        "bob": service.bearer("bob"),
        "root": service.bearer("root", admin=True),
        "anonymous": {},
    }
    tokens_of = {
        who: (await to_transfer(service, "one", headers))["url"].partition("&token=")[2]
        for who, headers in makers.items()  # before it begins, as the page does it
    }
    async with AsyncExitStack() as stack:
        streams = {
            who: await stack.enter_async_context(
                watching(service.port, "one", query=f"&token={token}")
            )
            for who, token in tokens_of.items()
        }
        for stream in streams.values():
            assert stream.headers["Referrer-Policy"] == "no-referrer"
        await service.put("/storage/default/a.txt?id=one", b"bytes")
        ends = await asyncio.gather(streams["alice"].last(), streams["root"].last())
        assert [end["bytes"] for end in ends] == [5, 5]
        for who in ("bob", "anonymous"):
            await streams[who].silent()


async def test_an_api_token_makes_a_link_to_a_transfer_only_if_it_may_read_everywhere(
    service: Service,
) -> None:
    for scopes, status in (
        (None, 403),
        ({}, 403),
        ({"storage.alice.files.default": ["read"]}, 403),
        ({"storage.alice.files": ["create", "delete"]}, 403),
        ({"storage.alice.namespaces": ["read"]}, 403),
        ({"storage.alice.files": ["read"]}, 201),
        ({"storage.alice": ["read"]}, 201),
    ):
        kind: dict[str, object] = {"type": "api_token", "exp": time.time() + 60}
        claims = {**kind, "scopes": scopes}
        text = tokens.token(claims)
        headers = authorization(text)
        answer = await call(service.port, "POST", LINKS_PATH, headers, {"transfer": "one"})
        assert answer.status == status, scopes


async def test_a_link_shows_no_other_transfer_and_dies_in_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.put("/storage/default/a.txt?id=one", b"3")
    url = (await to_transfer(service, "one", service.bearer(), ttl=60))["url"]
    token = url.partition("&token=")[2]
    file_token = (await link(service, "default", "a.txt", service.bearer()))["url"].split("=")[1]
    for target, status in (
        (url, 200),
        (f"/sse/progress?id=two&token={token}", 401),
        (f"/sse/progress?token={token}", 400),
        (f"/sse/progress?id=a%20b&token={token}", 400),
        (f"/sse/progress?id=one&token={file_token}", 401),
        (f"/storage/default/a.txt?id=one&token={token}", 401),
        (f"/storage/default/one?token={token}", 401),
        (f"/api/session?id=one&token={token}", 401),
    ):
        assert (await call(service.port, "HEAD", target)).status == status, target
    monkeypatch.setattr(clock, "unix", lambda: time.time() + 60)
    assert (await call(service.port, "HEAD", url)).status == 401


@pytest.mark.parametrize("settings", [{"log_format": "json"}, {"log_format": "text"}])
async def test_a_link_is_in_no_log_line_and_in_no_answer(
    service: Service, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    await service.put("/storage/default/a.html", b"3")
    url = (await link(service, "default", "a.html", service.bearer()))["url"]
    token = url.partition("?token=")[2]
    for target in (url, f"/storage/files?token={token}", f"{url[:-1]}?", f"/nowhere?token={token}"):
        for headers in ({}, {"Accept": "text/html"}, {"Range": "bytes=9-"}):
            answer = await call(service.port, "GET", target, headers)
            assert token.encode() not in answer.body
            assert token not in str(answer.headers)
    service.app[ACCESS_LOG].flush()
    assert token not in caplog.text
    logged = capsys.readouterr()
    assert "/storage/{namespace}/{path}" in logged.err
    assert token not in logged.err + logged.out


async def test_without_a_secret_of_its_own_a_service_makes_links_that_outlive_it(
    database_url: str, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(tokens.public_pem(key))
    text = tokens.token({"exp": time.time() + 600}, header={"alg": "ES256"}, sign=tokens.es256(key))
    bearer = authorization(text)
    body = json.dumps({"namespace": "default", "file": "a"}).encode()
    url, said = "", ""
    for lives in range(2):
        arguments = ("-database", database_url, "-jwt-public-key", str(tmp_path / "key.pem"))
        async with launched(tmp_path / "data", *arguments) as process:
            if not lives:
                put = await call(process.port, "PUT", "/storage/default/a", bearer, b"bytes")
                assert put.status == 201
                url = (await call(process.port, "POST", LINKS_PATH, bearer, body)).json()["url"]
            opened = await call(process.port, "GET", url)
            assert (opened.status, opened.body) == (200, b"bytes")
        said += process.log
    assert url.partition("?token=")[2] not in said
