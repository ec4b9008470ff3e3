"""Log lines: what they say, that nobody can forge one, and that no token is in them."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import re
import sys
import threading
from ipaddress import ip_network
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest

from gfs.types import FileInfo
from sfs_server.logs import AccessLog, Change, _Json, _Text, one_line, redact
from sfs_server.web.keys import ACCESS_LOG, FILESYSTEM, METRICS
from tests.support.client import call, connect
from tests.support.credentials import SECRET
from tests.support.service import Service
from tests.support.tokens import hs256, raw_token, token
from tests.support.uploads import begin, nothing_left
from tests.support.waiting import eventually

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
REAL = token()
SPACED = raw_token(b' { "alg":"HS256"}', b' {"sub":"a","exp":1}', hs256(SECRET))
FORGED = '\n2026-01-01T00:00:00.000Z INFO    sfs: "all is well"\r\x1b[2J\u2028\x85'


# What is taken out, and what is escaped.


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET /a?token=abc.d-e_f HTTP/1.1", "GET /a?token=(secret) HTTP/1.1"),
        ("/a?x=1&token=abc&y=2", "/a?x=1&token=(secret)&y=2"),
        ("/a?TOKEN=abc#there", "/a?TOKEN=(secret)#there"),
        ("/a?%74ok%65n=abc&y", "/a?%74ok%65n=(secret)&y"),
        ("back=%2Fa%3Ftoken%3Dabc&y", "back=%2Fa%3Ftoken%3D(secret)&y"),
        ("<a href='/a?token=abc'>", "<a href='/a?token=(secret)'>"),
        (f"no such file: {JWT}", "no such file: (secret)"),
        (f"ecloud_{JWT}, {JWT}", "(secret), (secret)"),
        (f"a_{REAL}", "(secret)"),
        (f"{REAL}.txt", "(secret).txt"),
        (f"my.file.{REAL}-2", "my.file.(secret)"),
        (f"é{SPACED}", "é(secret)"),
        (SPACED.replace(".", "%2E"), "(secret)"),
        ("HeyJude.mp3", "HeyJude.mp3"),
        (
            "HeyJude-remastered-2015.live-at-the-bowl.flac.part",
            "HeyJude-remastered-2015.live-at-the-bowl.flac.part",
        ),
        ("archive-of-2026.tar.gz, a.b.c", "archive-of-2026.tar.gz, a.b.c"),
        ("Authorization: Bearer abc", "Authorization: Bearer (secret)"),
        ("nothing to hide: tokens, a=b", "nothing to hide: tokens, a=b"),
        ("token= token", "token= token"),
    ],
)
def test_tokens_are_taken_out(text: str, left: str) -> None:
    assert redact(text) == left


def test_what_cannot_be_printed_is_escaped() -> None:
    assert one_line("plain ünïcödé 日本語") == "plain ünïcödé 日本語"
    assert one_line("a\nb\r\x1b\x85\u2028\u202e\0") == r"a\nb\r\x1b\x85\u2028\u202e\x00"


def failure(text: str) -> logging.LogRecord:
    """A record of an error whose message and exception say ``text``."""
    try:
        raise ValueError(text)  # noqa: TRY301 - it is the subject
    except ValueError:
        return logging.LogRecord("sfs", logging.ERROR, "", 0, "it: %s", (text,), sys.exc_info())


def test_an_error_in_text_is_one_line_and_an_indented_traceback() -> None:
    lines = _Text().format(failure(f"/a?token=abc {FORGED}")).splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.match(rf"{stamp} ERROR   sfs: it: /a\?token=\(secret\) \\n2026-", lines[0])
    assert len(lines) > 3
    assert all(line.startswith("    | ") for line in lines[1:])
    assert "abc" not in "".join(lines)
    assert all(line.isprintable() for line in lines)


def test_an_error_in_json_is_one_line() -> None:
    line = _Json().format(failure(f"/a?token=abc {FORGED}"))
    assert line.isascii()
    assert line.isprintable()
    assert "abc" not in line
    assert json.loads(line)["message"] == f"it: /a?token=(secret) {FORGED}"


# Requests.


@pytest.fixture
def settings() -> dict[str, object]:
    return {"log_format": "json"}


class Lines:
    """The lines that the service has written since they were last taken."""

    def __init__(self, service: Service, capture: pytest.CaptureFixture[str]) -> None:
        self._service = service
        self._capture = capture

    def take(self, logger: str) -> list[dict[str, Any]]:
        self._service.app[ACCESS_LOG].flush()
        lines = [json.loads(line) for line in self._capture.readouterr().err.splitlines()]
        found = [line for line in lines if line["logger"] == logger]
        for line in found:
            assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
            assert (line.pop("level"), line.pop("logger")) == ("info", logger)
        return found

    def both(self) -> list[dict[str, Any]]:
        """Those of requests and of changes."""
        self._service.app[ACCESS_LOG].flush()
        found = [json.loads(line) for line in self._capture.readouterr().err.splitlines()]
        return [line for line in found if line["logger"] in ("sfs.access", "sfs.audit")]

    async def await_some(self, logger: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def told() -> bool:
            found.extend(self.take(logger))
            return bool(found)

        await eventually(told)
        return found


@pytest.fixture
def lines(service: Service, capsys: pytest.CaptureFixture[str]) -> Lines:
    return Lines(service, capsys)


async def test_a_request_is_one_line(service: Service, lines: Lines) -> None:
    await service.put("/storage/default/a", b"12345")
    await call(service.port, "GET", "/storage/default/a", {"X-Request-Id": "mine"})
    await call(service.port, "GET", "/storage/default/a", {"Range": "bytes=0-1"})
    await call(service.port, "HEAD", "/storage/default/a")
    await call(service.port, "GET", "/nowhere?token=abc")
    await call(service.port, "PROPFIND", "/storage/default/a")
    found = lines.take("sfs.access")
    assert all(0 <= line.pop("seconds") < 10 for line in found)
    assert found[1].pop("id") == "mine"
    for line in found[:1] + found[2:]:
        assert re.fullmatch("[0-9a-f]{32}", line.pop("id"))
    route = "/storage/{namespace}/{path}"
    assert {line.pop("client") for line in found} == {"127.0.0.1"}
    keys = ("method", "route", "status", "bytes", "user")
    assert found == [
        dict(zip(keys, values, strict=True))
        for values in (
            ("PUT", route, 201, 5, "alice"),
            ("GET", route, 200, 5, None),
            ("GET", route, 206, 2, None),
            ("HEAD", route, 200, 0, None),
            ("GET", "/{path}", 401, 0, None),
            ("other", "unknown", 405, 0, None),
        )
    ]


@pytest.mark.parametrize("kind", ["json", "text"])
async def test_no_name_forges_a_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = AccessLog(kind)
    evil = f"eve\u202e{FORGED}?token=abc"
    log.write("mine", "GET", "/a", 200, 1, 0.5, evil, "::1")
    log.audit("mine", evil, None, Change("upload", evil, evil), 201, "open")
    written = capsys.readouterr().err
    assert written.count("\n") == 2
    assert "abc" not in written
    for line in written.splitlines():
        assert line.isprintable()
        assert line.isascii()
        assert r'"eve\u202e\n2026' in line


async def test_a_request_id_is_taken_where_it_is_fit_for_a_log_line(service: Service) -> None:
    ids = set()
    short = raw_token(b'{"alg":"HS256"}', b'{"sub":"a","exp":1}', hs256(SECRET))
    assert len(short) < 120
    async with connect(service.port) as connection:
        for target in ("/healthz", "/storage/files", "/nowhere", "/storage/default/a"):
            for given in ("a", "A-z_0.9", "x" * 128):
                answer = await connection.ask("GET", target, {"X-Request-Id": given})
                assert answer.headers["X-Request-Id"] == given
                assert answer.headers["Server"] == "SFS"
            unfit: tuple[str | None, ...] = ("", "x" * 129, "a b", 'a"b', "a,b", "é", "a\tb", None)
            unfit += (JWT, short, f"a_{short}", f"ecloud_{JWT}")
            for wrong in unfit:
                named = {} if wrong is None else {"X-Request-Id": wrong}
                answer = await connection.ask("GET", target, named)
                assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
                ids.add(answer.headers["X-Request-Id"])
    assert len(ids) == 48


async def test_a_download_that_breaks_off_tells_how_far_it_came(
    service: Service, lines: Lines
) -> None:
    await service.put("/storage/default/a", bytes(30_000_000))
    lines.take("sfs.access")
    async with connect(service.port, receive_buffer=65536) as connection:
        connection.send("GET", "/storage/default/a")
        assert (await connection.head())[0] == 200
        await connection.reader.readexactly(100_000)
        connection.reset()
    [line] = await lines.await_some("sfs.access")
    assert line["status"] == 499
    assert 100_000 <= line["bytes"] < 30_000_000
    assert service.app[METRICS].sent == line["bytes"]


@pytest.mark.parametrize("reason", [errno.EHOSTUNREACH, errno.ETIMEDOUT])
@pytest.mark.parametrize(("call", "ranges"), [("sendfile", "0-"), ("write", "0-9,20-2000000")])
async def test_a_client_that_cannot_be_reached_any_more_is_gone(
    service: Service,
    lines: Lines,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    reason: int,
    call: str,
    ranges: str,
) -> None:
    await service.put("/storage/default/a", bytes(3_000_000))
    lines.take("sfs.access")
    async with connect(service.port) as connection:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, Mock(side_effect=OSError(reason, os.strerror(reason))))
            connection.send("GET", "/storage/default/a", {"Range": f"bytes={ranges}"})
            await connection.rest()
    [line] = await lines.await_some("sfs.access")
    assert line["status"] == 499
    assert [one for one in caplog.records if one.levelno > logging.INFO] == []  # no failure of ours


async def test_what_a_thread_was_sending_when_its_client_left_is_told(
    service: Service, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.put("/storage/default/a", bytes(30_000_000))
    lines.take("sfs.access")
    left = threading.Event()
    sendfile = os.sendfile

    def lingering(*arguments: int) -> int:
        sent = sendfile(*arguments)
        left.wait(10)
        return sent

    monkeypatch.setattr(os, "sendfile", lingering)
    monkeypatch.setattr("sfs_server.transfer.client_socket.resident", lambda *_: False)
    async with connect(service.port, receive_buffer=65536) as connection:
        connection.send("GET", "/storage/default/a")
        assert (await connection.head())[0] == 200
        await connection.reader.readexactly(50_000)
        connection.reset()
    asyncio.get_running_loop().call_later(0.2, left.set)
    [line] = await lines.await_some("sfs.access")
    assert line["status"] == 499
    assert 50_000 <= line["bytes"] < 30_000_000
    assert service.app[METRICS].sent == line["bytes"]


@pytest.mark.parametrize(
    ("settings", "client"),
    [
        ({"log_format": "json", "trusted_proxies": (ip_network("127.0.0.0/8"),)}, "192.0.2.7"),
        ({"log_format": "json", "trusted_proxies": (ip_network("10.0.0.0/8"),)}, "127.0.0.1"),
        ({"log_format": "json"}, "127.0.0.1"),
    ],
)
async def test_the_client_is_who_a_trusted_proxy_says(
    service: Service, lines: Lines, client: str
) -> None:
    bearer = service.bearer()["Authorization"]
    named = {"X-Forwarded-For": "8.8.8.8, 192.0.2.7", "X-Forwarded-Host": "evil.example"}
    answer = await call(
        service.port, "DELETE", "/storage/default/a", {"Authorization": bearer, **named}
    )
    assert "evil" not in str(answer)
    assert [line["client"] for line in lines.both()] == [client, client]


# Changes.


async def test_every_change_is_one_line_that_says_who_what_where_and_what_came_of_it(
    service: Service, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change(
        method: str, target: str, body: bytes = b"", user: str | None = "alice"
    ) -> int:
        named = {"X-Request-Id": "mine", **({} if user is None else service.bearer(user))}
        return (await call(service.port, method, target, named, body)).status

    nss = "/storage/namespaces"
    assert await change("POST", nss, b'{"name": "n"}') == 201
    assert await change("POST", nss, b'{"name": "n"}') == 409
    assert await change("POST", nss, b'{"name": "n"}', user=None) == 401
    assert await change("PUT", f"{nss}/n", b'{"hidden": true}') == 200
    assert await change("PUT", "/storage/n/a%0db", b"x") == 400
    assert await change("PUT", "/storage/n/a", b"x") == 201
    assert await change("PUT", "/storage/n/a", b"y", user="bob") == 404
    assert await change("POST", "/storage/links", b'{"namespace": "n", "file": "a"}') == 201
    assert await change("GET", "/storage/n/a") == 200
    assert await change("DELETE", "/storage/n/a") == 200
    assert await change("DELETE", "/storage/n/a") == 404
    assert await change("DELETE", f"{nss}/n", user="bob") == 404
    assert await change("DELETE", f"{nss}/n") == 200

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("as ordered")

    monkeypatch.setattr(service.app[FILESYSTEM], "create", broken)
    assert await change("PUT", "/storage/default/a", b"x") == 500
    keys = (
        "id",
        "client",
        "connection",
        "user",
        "action",
        "namespace",
        "file",
        "outcome",
        "status",
    )
    assert lines.take("sfs.audit") == [
        dict(zip(keys, ("mine", "127.0.0.1", "open", *values), strict=True))
        for values in (
            ("alice", "create a namespace", "n", None, "done", 201),
            ("alice", "create a namespace", "n", None, "refused", 409),
            (None, "create a namespace", None, None, "refused", 401),
            ("alice", "update a namespace", "n", None, "done", 200),
            ("alice", "upload", "n", "a", "done", 201),
            ("bob", "upload", "n", "a", "refused", 404),
            ("alice", "create a link", "n", "a", "done", 201),
            ("alice", "delete", "n", "a", "done", 200),
            ("alice", "delete", "n", "a", "refused", 404),
            ("bob", "delete a namespace", "n", None, "refused", 404),
            ("alice", "delete a namespace", "n", None, "done", 200),
            ("alice", "upload", "default", "a", "failed", 500),
        )
    ]


@pytest.mark.parametrize("settings", [{"log_format": "json"}, {"log_format": "text"}])
async def test_a_token_in_the_wrong_place_is_in_no_line(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = (service.token(), SPACED)
    for text in texts:
        for name in (text, f"a_{text}", f"{text}.txt", quote(text, safe="").replace(".", "%2e")):
            await service.put(f"/storage/default/{name}", b"x")
            for method in ("GET", "DELETE", "DELETE"):
                named = {"X-Request-Id": text, "X-Transfer-Id": text[:128], **service.bearer()}
                await call(service.port, method, f"/storage/default/{name}", named)
        body = json.dumps({"namespace": "default", "file": text}).encode()
        async with connect(service.port) as connection:
            await connection.ask("POST", "/storage/links", service.bearer(), body)
            await connection.ask("POST", "/storage/namespaces", service.bearer(text), b"{}")
    service.app[ACCESS_LOG].flush()
    written = capsys.readouterr().err
    assert "(secret)" in written
    for text in texts:
        for part in text.split("."):
            assert part not in written


async def test_a_change_whose_client_went_away_is_abandoned_or_done(
    service: Service, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = asyncio.all_tasks()
    async with connect(service.port) as connection:
        await begin(service, connection, "PUT", "/storage/default/a", b"x" * 1000)
        connection.reset()
        await nothing_left(service, tasks)
    [line] = lines.take("sfs.audit")
    assert (line["outcome"], line["status"], line["connection"]) == ("abandoned", 499, "lost")

    store = service.app[FILESYSTEM]
    await service.put("/storage/default/a", b"x")
    lines.take("sfs.audit")
    real, going = store.delete, asyncio.Event()

    async def slow(*args: Any, **named: Any) -> FileInfo:
        going.set()
        await asyncio.sleep(0.2)
        return await real(*args, **named)

    monkeypatch.setattr(store, "delete", slow)
    async with connect(service.port) as connection:
        connection.send("DELETE", "/storage/default/a", service.bearer())
        await asyncio.wait_for(going.wait(), 5)
        connection.reset()
    found = await lines.await_some("sfs.audit")
    told = [(line["outcome"], line["status"], line["connection"]) for line in found]
    assert told == [("done", 200, "half-closed")]  # a FIN, of a client that may still read
    assert (await service.get("/storage/default/a"))[0] == 404
