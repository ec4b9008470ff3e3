"""Who may do what, asked over HTTP: the contract's table, tokens, scopes, and where tokens show."""

from __future__ import annotations

import logging
import time

import pytest

from sfs_server.web.keys import ACCESS_LOG
from tests.support import tokens
from tests.support.client import call, connect
from tests.support.credentials import authorization
from tests.support.service import Service

LIST = "/storage/namespaces"


def token(**claims: object) -> str:
    """A token of alice's with these claims, good for this service."""
    return tokens.token({"exp": time.time() + 600, **claims})


def api_token(scopes: dict[str, list[str]]) -> str:
    return token(type="api_token", scopes=scopes)


@pytest.fixture
async def callers(service: Service) -> dict[str, dict[str, str]]:
    """The headers of each kind of caller, when alice has a namespace ``open`` and a hidden one
    ``secret``, and there is a file in each, and in ``default``."""
    headers = {
        "anonymous": {},
        "user": service.bearer("bob"),
        "owner": service.bearer("alice"),
        "admin": service.bearer("root", admin=True),
    }
    for body in (b'{"name": "open"}', b'{"name": "secret", "hidden": true}'):
        assert (await call(service.port, "POST", LIST, headers["owner"], body)).status == 201
    for namespace in ("default", "open", "secret"):
        await service.put(f"/storage/{namespace}/a", b"bytes")
    return headers


CALLERS = ("anonymous", "user", "owner", "admin")
READS = [
    ("GET", "/storage/{}/a"),
    ("HEAD", "/storage/{}/a"),
    ("GET", "/storage/download/{}/a"),
    ("HEAD", "/storage/download/{}/a"),
    ("GET", "/storage/files?namespace={}"),
    ("GET", "/storage/files?namespace={}&limit=1"),
]
WRITES = [
    ("PUT", "/storage/{}/new"),
    ("POST", "/storage/{}/a?overwrite=true"),
    ("DELETE", "/storage/{}/new"),
]


async def table(
    service: Service,
    callers: dict[str, dict[str, str]],
    requests: list[tuple[str, str]],
    namespace: str,
    expected: tuple[int, int, int, int],
    body: bytes = b"",
) -> None:
    """Each caller makes all the requests; an expected 200 stands for any success."""
    for caller, wanted in zip(CALLERS, expected, strict=True):
        for method, target in requests:
            path = target.format(namespace)
            answer = await call(service.port, method, path, callers[caller], body)
            status = 200 if answer.status == 201 else answer.status
            assert status == wanted, (caller, method, path)
            if wanted >= 400 and method != "HEAD":
                assert answer.problem()
            if wanted == 401:
                assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_reading_follows_the_table(
    service: Service, callers: dict[str, dict[str, str]]
) -> None:
    await table(service, callers, READS, "default", (200, 200, 200, 200))
    await table(service, callers, READS, "open", (401, 200, 200, 200))
    await table(service, callers, READS, "secret", (404, 404, 200, 200))
    await table(service, callers, READS, "absent", (404, 404, 404, 404))


async def test_writing_follows_the_table(
    service: Service, callers: dict[str, dict[str, str]]
) -> None:
    await table(service, callers, WRITES, "default", (401, 200, 200, 200))
    await table(service, callers, WRITES, "open", (401, 403, 200, 200))
    await table(service, callers, WRITES, "secret", (404, 404, 200, 200))
    await table(service, callers, WRITES, "absent", (404, 404, 404, 404))


async def test_namespaces_follow_the_table(
    service: Service, callers: dict[str, dict[str, str]]
) -> None:
    for caller, wanted in zip(CALLERS, (401, 201, 201, 201), strict=True):
        body = b'{"name": "made-by-%b"}' % caller.encode()
        assert (await call(service.port, "POST", LIST, callers[caller], body)).status == wanted
    update = [("PUT", LIST + "/{}")]
    for namespace, expected, body in (
        ("default", (401, 403, 403, 200), b'{"hidden": false}'),
        ("open", (401, 403, 200, 200), b'{"hidden": false}'),
        ("secret", (404, 404, 200, 200), b'{"hidden": true}'),
        ("absent", (404, 404, 404, 404), b'{"hidden": true}'),
    ):
        await table(service, callers, update, namespace, expected, body)
    delete = [("DELETE", LIST + "/{}")]
    await table(service, callers, delete, "default", (401, 403, 403, 403))
    await table(service, callers, delete, "open", (401, 403, 200, 404))
    await table(service, callers, delete, "secret", (404, 404, 200, 404))
    for caller in ("owner", "admin"):
        for name in ("user", "admin"):
            answer = await call(service.port, "DELETE", f"{LIST}/made-by-{name}", callers[caller])
            expected_status = 403 if caller == "owner" else 200
            assert answer.status == expected_status, (caller, name)


async def test_default_hidden_is_hidden_from_all_but_admins(
    service: Service, callers: dict[str, dict[str, str]]
) -> None:
    hide = b'{"hidden": true}'
    assert (
        await call(service.port, "PUT", f"{LIST}/default", callers["admin"], hide)
    ).status == 200
    await table(service, callers, READS, "default", (404, 404, 404, 200))


@pytest.mark.parametrize("settings", [{"anonymous_read": False}])
async def test_anonymous_callers_can_be_kept_out_altogether(
    service: Service, callers: dict[str, dict[str, str]]
) -> None:
    await table(service, callers, READS, "default", (401, 200, 200, 200))
    await table(service, callers, READS, "open", (401, 200, 200, 200))
    assert (await call(service.port, "GET", LIST)).json() == []
    assert (await call(service.port, "GET", "/healthz")).status == 200


async def test_a_token_is_taken_from_the_query_for_reading_only(
    service: Service, callers: dict[str, dict[str, str]]
) -> None:
    good = service.token()
    for text in (good, f"ecloud_{good}"):
        for method, target in READS:
            joint = "&" if "?" in target else "?"
            path = f"{target.format('secret')}{joint}token={text}"
            assert (await call(service.port, method, path)).status == 200, path
            path = target.format("secret")
            assert (await call(service.port, method, path, authorization(text))).status == 200, path
        session = await call(service.port, "GET", f"/api/session?token={text}")
        assert (session.status, session.json()["user"]) == (200, "alice")
        for method in ("PUT", "POST", "DELETE"):
            ignored = await call(service.port, method, f"/storage/default/b?token={text}")
            assert ignored.status == 401, method
            assert ignored.headers["WWW-Authenticate"] == "Bearer"
        made = await call(service.port, "POST", f"{LIST}?token={text}", {}, b'{"name": "x"}')
        assert made.status == 401
    # A bad one is ignored just the same, and the header wins over the query.
    assert (
        await call(service.port, "PUT", "/storage/default/b?token=x", authorization(good))
    ).status == 201
    assert (
        await call(service.port, "GET", "/storage/secret/a?token=x", authorization(good))
    ).status == 200


async def test_a_bad_token_is_a_401_even_where_an_anonymous_caller_is_let_in(
    service: Service, callers: dict[str, dict[str, str]]
) -> None:
    good = service.token()
    head, payload, signature = good.split(".")
    bad = [
        "x",
        "",
        "a.b.c",
        f"{head}.{payload}.",
        f"{head}.{payload}.{'A' * len(signature)}",
        tokens.token({"exp": time.time() + 600}, sign=tokens.hs256("another secret" * 3)),
        tokens.token({"exp": time.time() + 600}, header={"alg": "none"}, sign=lambda _: b""),
        token(exp=time.time() - 60),
        token(exp=...),
        token(nbf=time.time() + 600),
        token(type="refresh_token"),
        token(aud=["registry.example"]),
        token(aud=None),
    ]
    for text in bad:
        attempts: list[tuple[str, str, dict[str, str]]] = [
            ("GET", "/storage/default/a", authorization(text)),
            ("HEAD", "/storage/default/a", authorization(text)),
            ("GET", f"/storage/default/a?token={text}", {}),
            ("GET", "/storage/files", authorization(text)),
            ("GET", "/storage/absent/a", authorization(text)),
            ("GET", LIST, authorization(text)),
            ("GET", "/storage/status", authorization(text)),
            ("PUT", "/storage/default/a", authorization(text)),
            ("DELETE", "/storage/default/a", authorization(text)),
            ("GET", "/api/session", authorization(text)),
            ("POST", "/storage/links", authorization(text)),
            ("GET", "/sse/progress?id=t", authorization(text)),
            ("GET", f"/sse/progress?id=t&token={text}", {}),
        ]
        for method, target, headers in attempts:
            answer = await call(service.port, method, target, headers)
            assert answer.status == 401, (text, method, target)
            assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
            assert answer.headers["Cache-Control"] == "no-store"
            if method != "HEAD":
                assert answer.problem()
    without_end = await call(
        service.port, "GET", "/storage/default/a", authorization(token(exp=...))
    )
    assert "exp" in without_end.problem()
    basic = await call(service.port, "GET", "/storage/default/a", {"Authorization": "Basic YTpi"})
    assert basic.status == 401
    assert (await call(service.port, "GET", "/storage/default/a")).body == b"bytes"
    assert (await call(service.port, "GET", "/healthz", authorization("x"))).status == 200


async def test_the_session_is_of_whom_the_token_says(service: Service) -> None:
    for claims, expected in (
        ({}, {"user": "alice", "admin": False}),
        ({"user_id": "id-1"}, {"user": "id-1", "admin": False}),
        ({"username": "Alice É", "admin": True}, {"username": "Alice É", "admin": True}),
        ({"is_admin": True}, {"user": "alice", "admin": True}),
        ({"is_admin": 1}, {"user": "alice", "admin": False}),
        ({"admin": "true"}, {"admin": False}),
        ({"type": ""}, {"user": "alice"}),
    ):
        answer = await call(service.port, "GET", "/api/session", authorization(token(**claims)))
        if claims == {"admin": "true"} and answer.status == 401:
            continue  # an ill-typed claim may be refused, but never makes an admin
        assert answer.status == 200
        assert set(answer.json()) == {"user", "username", "admin"}
        assert expected.items() <= answer.json().items()
        assert answer.headers["Cache-Control"] == "no-store"
    anonymous = await call(service.port, "GET", "/api/session")
    assert anonymous.status == 401
    assert anonymous.headers["WWW-Authenticate"] == "Bearer"
    assert anonymous.problem()


async def test_an_api_token_may_do_only_what_its_scopes_grant(
    service: Service, callers: dict[str, dict[str, str]]
) -> None:
    files, names = "storage.alice.files", "storage.alice.namespaces"
    everything = ["read", "create", "update", "delete"]
    cases: list[tuple[dict[str, list[str]], str]] = [
        ({}, ""),
        ({f"{files}.open": ["read"]}, "read"),
        ({f"{files}.open": ["create"]}, "create"),
        ({f"{files}.open": ["delete"]}, "delete"),
        ({f"{files}.open": ["read", "create", "delete"]}, "read create delete"),
        ({files: ["read"]}, "read"),
        ({f"{files}.default": everything}, ""),
        ({f"{files}.ope": everything, f"{files}.openx": everything}, ""),
        ({"storage.bob.files.open": everything, "storage.bob": everything}, ""),
        ({"storage": everything, "": everything, "*": everything}, ""),
        ({names: ["create"]}, "make"),
        ({names: ["update"]}, "change"),
        ({names: ["delete"]}, "remove"),
        ({f"{names}.open": everything}, ""),
        ({f"{names}.made": everything}, "make change remove"),
        ({f"{names}.made": ["create"]}, "make"),
        ({"storage.alice": ["read"]}, "read"),
        ({"storage.alice": everything}, "read create delete make change remove"),
    ]
    attempts = [
        *(("read", method, target.format("open"), b"") for method, target in READS),
        ("create", "PUT", "/storage/open/b", b"x"),
        ("create", "POST", "/storage/open/b?overwrite=true", b"x"),
        ("delete", "DELETE", "/storage/open/b", b""),
        ("make", "POST", LIST, b'{"name": "made"}'),
        ("change", "PUT", f"{LIST}/made", b'{"hidden": false}'),
        ("remove", "DELETE", f"{LIST}/made", b""),
    ]
    owner = callers["owner"]
    for scopes, granted in cases:
        await service.put("/storage/open/b", b"x")
        await call(service.port, "DELETE", f"{LIST}/made", owner)
        for what, method, target, body in attempts:
            if what == "change":
                await call(service.port, "POST", LIST, owner, b'{"name": "made"}')
            answer = await call(
                service.port, method, target, authorization(api_token(scopes)), body
            )
            allowed = what in granted.split()
            assert (answer.status != 403) == allowed, (scopes, what, answer)
            if allowed:
                assert answer.status in (200, 201), (scopes, what)
    # Not even what anybody may read, when the scopes do not say it; and 404 stays 404.
    nothing = authorization(api_token({}))
    assert (await call(service.port, "GET", "/storage/default/a", nothing)).status == 403
    assert (await call(service.port, "GET", LIST, nothing)).json() == []
    other = authorization(token(sub="bob", type="api_token", scopes={"storage.bob": everything}))
    assert (await call(service.port, "GET", "/storage/secret/a", other)).status == 404
    assert (await call(service.port, "PUT", "/storage/open/a", other, b"x")).status == 403
    assert (await call(service.port, "GET", "/storage/open/a", other)).status == 200


async def test_a_token_shows_in_no_log_line_metric_or_answer(
    service: Service,
    callers: dict[str, dict[str, str]],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    good, expired = service.token(), token(exp=time.time() - 60)
    forged = f"{good.rpartition('.')[0]}.Zm9yZ2VkZm9yZ2VkZm9yZ2Vk"
    seen = b""
    for text in (good, expired, forged, "a-token-that-is-none"):
        for method, target in (
            *((method, target.format("default")) for method, target in [*READS, *WRITES]),
            ("GET", LIST),
            ("GET", "/api/session"),
            ("GET", "/storage/status"),
            ("GET", "/nowhere"),
            ("PATCH", "/storage/default/a"),
            ("GET", "/storage/default/%zz"),
            ("GET", "/storage/default/absent"),
            ("GET", "/metrics"),
        ):
            joint = "&" if "?" in target else "?"
            for headers, path in (
                (authorization(text), target),
                ({}, f"{target}{joint}token={text}"),
                ({"Accept": "text/html"}, f"{target}{joint}token={text}"),
            ):
                async with connect(service.port) as connection:
                    connection.send(method, path, {**headers, "Connection": "close"})
                    seen += await connection.rest()
        for malformed in (
            f"GET /storage/default/a?token={text} HTTP/9.9\r\nHost: a\r\n\r\n",
            f"GET /storage/default/\xe9?token={text} HTTP/1.1\r\nHost: a\r\n\r\n",
            f"GET /{text} extra HTTP/1.1\r\nHost: a\r\n\r\n",
            f"{text} / HTTP/1.1\r\nHost: a\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {text}\x01\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer {text}\r\n\r\n",
        ):
            refused = await service.raw(malformed.encode("latin-1"))
            assert refused.partition(b" ")[2].startswith(b"400 "), malformed
            assert b"oken" not in refused, malformed
    service.app[ACCESS_LOG].flush()
    lines = capsys.readouterr().err
    assert "GET /storage/{namespace}/{path} 200" in lines
    written = lines + caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for text in (good, expired, forged, "a-token-that-is-none"):
        for part in text.split("."):
            assert part.encode() not in seen
            assert part not in written
