"""Errors as clients see them, and what the service says about itself."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import NoReturn

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gfs.api import FileSystem
from gfs.errors import StoreFull, StoreUnavailable
from sfs_server.web.keys import DATABASE, FILESYSTEM, LIFECYCLE
from tests.support.client import call
from tests.support.postgres import Postgres
from tests.support.service import Service
from tests.support.waiting import eventually

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


# Errors.


async def test_every_error_is_a_problem_that_says_what_was_wrong(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    bearer = service.bearer()
    cases: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", "/storage/nowhere/at/all", {}, 404),
        ("GET", "/api/nothing", {}, 404),
        ("GET", "/storage/default/absent", {}, 404),
        ("GET", "/storage/absent/a", bearer, 404),
        ("DELETE", "/storage/default/absent", bearer, 404),
        ("PUT", "/storage/default/b", {}, 401),
        ("GET", "/api/session", {}, 401),
        ("DELETE", "/storage/namespaces/default", bearer, 403),
        ("PATCH", "/storage/default/a", bearer, 405),
        ("POST", "/storage/default/a", bearer, 409),
        ("PUT", "/storage/default/a", {**bearer, "If-Match": '"x"'}, 412),
        ("PUT", "/storage/default/a", {**bearer, "Content-Encoding": "gzip"}, 415),
        ("GET", "/storage/default/a", {"Range": "bytes=5-"}, 416),
        ("PUT", "/storage/default/a", {**bearer, "Expect": "miracles"}, 417),
        ("GET", "/storage/default/%zz", {}, 400),
    ]
    for method, target, headers, status in cases:
        response = await call(service.port, method, target, headers)
        assert response.status == status, (method, target)
        assert response.problem()
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-Id"])
        page = await call(service.port, method, target, {**headers, **BROWSER})
        assert page.status == status
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert str(status).encode() in page.body
        if method == "GET":
            head = await call(service.port, "HEAD", target, headers)
            assert head.body == b""
            assert head.status == (200 if status == 416 else status)


async def test_a_page_for_a_browser_shows_no_markup_of_the_request(service: Service) -> None:
    attack = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    bearer = service.bearer()
    for method, target in (
        ("GET", f"/storage/default/{attack}"),
        ("GET", f"/storage/{attack}/a"),
        ("GET", f"/storage/files?namespace={attack}"),
        ("GET", f"/storage/files?limit={attack}"),
        ("PATCH", f"/storage/default/{attack}"),
        ("DELETE", f"/storage/namespaces/{attack}"),
        ("PUT", f"/storage/default/a?x={attack}"),
    ):
        response = await call(
            service.port, method, target, {**bearer, **BROWSER, "X-File-Size": "<b>"}
        )
        assert response.status >= 400, target
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert b"<script" not in response.body
        assert b"<b>" not in response.body


async def test_a_client_that_takes_json_before_html_gets_json(service: Service) -> None:
    for accept, kind in (
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
        ("application/json, text/html", "application/problem+json"),
        ("text/html", "text/html; charset=utf-8"),
        ("text/html, application/json", "text/html; charset=utf-8"),
        ("text/html;q=0.5, application/json", "application/problem+json"),
        ("application/json;q=0.5, Text/HTML", "text/html; charset=utf-8"),
        ("application/problem+json, text/html; level=1; q=0.9", "application/problem+json"),
        ("text/html;q=0", "application/problem+json"),
        ("text/html;q=x, text/htmlx", "application/problem+json"),
        ("", "application/problem+json"),
    ):
        response = await call(service.port, "GET", "/storage/default/absent", {"Accept": accept})
        assert response.headers["Content-Type"] == kind, accept


async def test_a_method_that_a_path_does_not_take_is_a_405_that_lists_the_others(
    service: Service,
) -> None:
    for target, allowed in (
        ("/storage/default/a", "DELETE GET HEAD MKCOL MOVE POST PUT"),
        ("/storage/default/a/", "DELETE GET HEAD MKCOL MOVE POST PUT"),
        ("/storage/download/default/a", "GET HEAD"),
        ("/storage/files", "GET HEAD"),
        ("/storage/namespaces", "GET HEAD POST"),
        ("/storage/namespaces/default", "DELETE PUT"),
        ("/storage/status", "GET HEAD"),
        ("/api/session", "GET HEAD"),
        ("/healthz", "GET HEAD"),
        ("/readyz", "GET HEAD"),
        ("/metrics", "GET HEAD"),
    ):
        for method in ("PATCH", "TRACE", "DELETE", "PROPFIND", "MKCOL"):
            if method in allowed.split():
                continue
            response = await call(service.port, method, target, service.bearer())
            assert response.status == 405, (method, target)
            listed = set(re.split(", *", response.headers["Allow"])) - {"OPTIONS"}
            assert listed == set(allowed.split()), target
            assert response.problem()
    for method in ("GET", "HEAD", "POST"):
        assert (await call(service.port, method, "/storage/namespaces/default")).status == 405


async def test_an_unexpected_error_shows_nothing_of_the_machine(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await service.put("/storage/default/a", b"x")

    def broken(*args: object, **named: object) -> NoReturn:
        raise RuntimeError("secret of /srv/machine/path, line 7")

    store: FileSystem = service.app[FILESYSTEM]
    for verb in ("open", "stat", "create", "list_files", "status", "delete"):
        monkeypatch.setattr(store, verb, broken)
    caplog.set_level(logging.ERROR)
    for method, target in (
        ("GET", "/storage/default/a"),
        ("HEAD", "/storage/default/a"),
        ("PUT", "/storage/default/a"),
        ("DELETE", "/storage/default/a"),
        ("GET", "/storage/files"),
        ("GET", "/storage/files?limit=5"),
        ("GET", "/storage/status"),
    ):
        for accept in ({}, BROWSER):
            caplog.clear()
            response = await call(service.port, method, target, {**service.bearer(), **accept})
            assert response.status == 500, (method, target)
            text = response.body + str(response.headers).encode()
            for part in (b"secret", b"/srv", b"Traceback", b"RuntimeError", b".py", b"sfs_server"):
                assert part not in text
            if method != "HEAD" and not accept:
                assert "log" in response.problem()
            # The log says what the response does not, under the same id.
            assert response.headers["X-Request-Id"] in caplog.text
            assert "secret of /srv/machine/path" in caplog.text
    assert (await call(service.port, "GET", "/healthz")).status == 200


async def test_a_store_that_is_unavailable_or_full_is_a_503_or_507(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: FileSystem = service.app[FILESYSTEM]
    for error, status in ((StoreUnavailable, 503), (StoreFull, 507)):

        def failing(*args: object, error: type[Exception] = error, **named: object) -> NoReturn:
            raise error("as ordered, in /srv/path")

        for verb in ("open", "stat", "create", "list_files", "status"):
            monkeypatch.setattr(store, verb, failing)
        for method, target in (
            ("GET", "/storage/default/a"),
            ("PUT", "/storage/default/a"),
            ("GET", "/storage/files"),
            ("GET", "/storage/status"),
        ):
            if (status, method) == (507, "GET"):
                continue  # nothing is too full to be read
            response = await call(service.port, method, target, service.bearer())
            assert response.status == status, (method, target)
            assert "/srv" not in response.problem()
            assert ("Retry-After" in response.headers) == (status == 503)


async def test_without_its_database_the_service_reads_on_and_recovers_by_itself(
    service: Service, postgres: Postgres
) -> None:
    await service.put("/storage/default/a", b"stored")
    bearer = service.bearer()
    await asyncio.to_thread(postgres.stop)
    try:
        assert await service.get("/storage/default/a") == (200, b"stored")
        assert (await call(service.port, "GET", "/storage/files")).status == 200
        responses = await asyncio.gather(
            call(service.port, "PUT", "/storage/default/b", bearer, b"x"),
            call(service.port, "DELETE", "/storage/default/a", bearer),
            call(service.port, "GET", "/storage/unknown/a", bearer),
            call(service.port, "GET", "/storage/namespaces", bearer),
            call(service.port, "POST", "/storage/namespaces", bearer, b'{"name": "x"}'),
        )
        for response in responses:
            assert response.status == 503
            assert "database" in response.problem()
            assert int(response.headers["Retry-After"]) > 0
        ready = await call(service.port, "GET", "/readyz")
        assert ready.status == 503
        assert ready.json()["checks"]["database"] != "ok"
        assert ready.json()["checks"]["store"] == "ok"
        assert (await call(service.port, "GET", "/healthz")).status == 200
        assert await service.get("/storage/default/a") == (200, b"stored")
    finally:
        await asyncio.to_thread(postgres.start)
    await eventually(lambda: service.status("/readyz"), equals=200)
    await service.put("/storage/default/b", b"healed")
    assert await service.get("/storage/default/b") == (200, b"healed")


# Malformed HTTP.


@pytest.mark.both_loops
async def test_malformed_http_gets_a_4xx_and_the_end_of_the_connection(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    good = b"GET /storage/default/a HTTP/1.1\r\nHost: a\r\n\r\n"
    put = b"PUT /storage/default/b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n" % (
        service.token().encode()
    )
    cases = {
        "no version": b"GET /storage/default/a\r\nHost: a\r\n\r\n",
        "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "bad version": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "space in the path": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "bytes beyond ASCII in the path": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        "control character in the path": b"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        "endless path": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        "endless header": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        "endless header name": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X" * 20_000 + b": a\r\n\r\n",
        "space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "header without a name": b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
        "length that is no number": put + b"Content-Length: x\r\n\r\n",
        "negative length": put + b"Content-Length: -1\r\n\r\n",
        "signed length": put + b"Content-Length: +1\r\n\r\nx",
        "enormous length": put + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nx",
        "two lengths": put + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "length and chunks": put
        + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "empty transfer coding": put + b"Transfer-Encoding:\r\n\r\n",
        "empty transfer coding and a length": put
        + b"Transfer-Encoding:\r\nContent-Length: 1\r\n\r\nx",
        "no host": b"GET / HTTP/1.1\r\n\r\n",
        "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "two hosts in one field": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "host with a user": b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "unknown transfer coding": put + b"Transfer-Encoding: cow\r\n\r\n",
        "chunked not last": put + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
        "chunk size that is no number": put + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    }
    wrong = []
    for name, data in cases.items():
        try:
            # What follows on the connection must not be read as another request.
            came = await service.raw(data + good, seconds=2)
        except (TimeoutError, ConnectionError) as error:
            wrong.append(f"{name}: {error!r}")
            continue
        if not came.startswith(b"HTTP/1.1 4") and not came.startswith(b"HTTP/1.0 4"):
            wrong.append(f"{name}: {came[:60]!r}")
        elif came.count(b"\r\nDate: ") != 1:
            wrong.append(f"{name}: more than one response")
        elif b"Traceback" in came or b".py" in came:
            wrong.append(f"{name}: shows its inside")
        elif b"application/problem+json" not in came or b"aiohttp" in came:
            wrong.append(f"{name}: a response that is not ours, {came!r}")
    assert wrong == []
    assert (await service.get("/storage/default/b"))[0] == 404
    for host in ("a", "a:80", "a:", "[::1]", "[::1]:8080", "192.0.2.1:80", "xn--bcher-kva.example"):
        assert (await call(service.port, "GET", "/storage/default/a", {"Host": host})).body == b"x"


# The service about itself.


async def test_readiness_names_the_store_the_database_or_the_shutdown(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def checks() -> tuple[int, dict[str, str]]:
        response = await call(service.port, "GET", "/readyz")
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, response.json()["checks"]

    status, found = await checks()
    assert (status, set(found.values())) == (200, {"ok"})

    async def unavailable() -> None:
        raise StoreUnavailable("as ordered, in /srv/path")

    async def never() -> None:
        await asyncio.Event().wait()

    for owner, name in ((service.app[FILESYSTEM], "store"), (service.app[DATABASE], "database")):
        for failure in (unavailable, never):
            with monkeypatch.context() as patch:
                patch.setattr("sfs_server.handlers.service.CHECK_SECONDS", 0.5)
                patch.setattr(owner, "check", failure)
                status, found = await checks()
            assert status == 503
            assert {key for key, value in found.items() if value != "ok"} == {name}
            assert "/srv" not in str(found)

    async def full() -> None:
        raise StoreFull("as ordered")

    with monkeypatch.context() as patch:  # it responses: reads and deletes go on
        patch.setattr(service.app[FILESYSTEM], "check", full)
        assert await checks() == (200, {**dict.fromkeys(found, "ok"), "store": "full"})
    assert (await checks())[0] == 200
    service.app[LIFECYCLE].draining = True
    status, found = await checks()
    assert status == 503
    assert {key for key, value in found.items() if value != "ok"} == {"process"}
    alive = await call(service.port, "GET", "/healthz")
    assert alive.status == 200
    service.app[LIFECYCLE].draining = False


async def test_metrics_can_be_parsed_and_name_nobody(service: Service) -> None:
    await service.put("/storage/default/private-name", b"12345", user="private-user")
    for method, target in (
        ("GET", "/storage/default/private-name"),
        ("GET", "/storage/default/private-absent"),
        ("GET", "/storage/private-namespace/a"),
        ("GET", "/storage/default/private-name?token=private-token"),
        ("GET", "/private-path/one"),
        ("GET", "/private-path/two"),
        ("GET", "/private.php"),
        ("PROPFIND", "/storage/default/a"),
        ("PATCH", "/storage/default/a"),
    ):
        await call(service.port, method, target)
    response = await call(service.port, "GET", "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert b"private" not in response.body.lower()
    assert str(service.data).encode() not in response.body
    families = {f.name: f for f in text_string_to_metric_families(response.body.decode())}
    requests = families["sfs_http_request_duration_seconds"]
    assert requests.type == "histogram"
    counts = {
        (s.labels["route"], s.labels["method"], s.labels["status"]): s.value
        for s in requests.samples
        if s.name.endswith("_count")
    }
    file = "/storage/{namespace}/{path}"
    assert counts["/{path}", "GET", "404"] == 3
    assert counts[file, "PUT", "201"] == 1
    assert counts[file, "GET", "200"] == 1
    assert counts[file, "GET", "404"] == 2
    assert counts[file, "GET", "401"] == 1
    assert {method for _, method, _ in counts} <= {"GET", "PUT", "PATCH", "other"}
    [sent] = families["sfs_http_sent_bytes"].samples
    [received] = families["sfs_http_received_bytes"].samples
    assert (sent.value, received.value) == (5, 5)
    running = {s.labels["direction"]: s.value for s in families["sfs_transfers_in_flight"].samples}
    assert running == {"upload": 0, "download": 0}
    assert families["sfs_build_info"].samples[0].value == 1


async def test_the_status_of_the_store_is_shown(service: Service) -> None:
    response = await call(service.port, "GET", "/storage/status")
    assert response.status == 200
    status = response.json()
    assert list(status) == ["engine", "chunkserver_count", "total_servers", "capacity", "used"]
    assert status["engine"] == "embedded"
    assert 0 < status["used"] < status["capacity"]
    assert json.dumps(status["capacity"]).isdigit()
    assert status["chunkserver_count"] >= 1
    assert status["total_servers"] >= 1
