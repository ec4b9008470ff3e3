"""Which process gets a request, what reaches it, and what never does."""

from __future__ import annotations

import asyncio
import re
import signal

import pytest

from tests.gateway.conftest import CHECK_SECONDS, STORABLE, Gateway, Recorder, Recorders, recording
from tests.support.client import Connection, call, connect
from tests.support.waiting import eventually

READ = "/storage/default/upstreams"
PROBE_SECONDS = 3 * CHECK_SECONDS
"""Within this, every process has been asked whether it is ready."""


async def test_a_process_that_ends_costs_nothing(gateway: Gateway) -> None:
    """It answers while it drains, with /readyz at 503. It gets nothing new; nor does a dead one."""
    process = gateway.processes[0]
    await gateway.put(READ, b"there")
    process.signal(signal.SIGTERM)
    try:
        await asyncio.sleep(PROBE_SECONDS)
        for _ in range(8):
            await gateway.put(f"{READ}-drained", b"there")
        process.kill()
        assert "upstreams-drained" not in process.log
        await eventually(lambda: "upstreams-drained" in gateway.log())
        for _ in range(8):
            assert (await call(gateway.port, "GET", READ, gateway.bearer())).status == 200
            await gateway.put(READ, b"there")
    finally:
        gateway.restart(0)


async def test_a_process_that_has_just_died_costs_nothing(recorders: Recorders) -> None:
    """No probe has seen it yet; a change may be sent on, as nothing of it was."""
    async with recording(recorders.ports) as all_live:
        await asyncio.sleep(PROBE_SECONDS)
        assert not all_live.heads
    async with (
        recording(recorders.ports[1:]) as recorder,
        connect(recorders.gateway_port) as client,
    ):
        for method, body in (("PUT", b"x"), ("POST", b"x"), ("DELETE", b""), ("GET", b"")) * 2:
            answer = await client.ask(method, "/storage/default/dead", {}, body)
            assert answer.status == 200, method
        assert len(recorder.heads) == 8


async def test_a_process_that_hangs_is_left_alone_once_a_probe_has_seen_it(
    gateway: Gateway,
) -> None:
    process = gateway.processes[2]
    process.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(PROBE_SECONDS)
        async with asyncio.timeout(5):
            for _ in range(8):
                await gateway.put(READ, b"there")
    finally:
        process.signal(signal.SIGCONT)


async def test_a_change_is_never_sent_twice(recorder: Recorder) -> None:
    recorder.dies = True
    for method, body in (
        ("PUT", b"x"),
        ("POST", b"x"),
        ("PUT", b""),
        ("POST", b""),
        ("DELETE", b""),
        ("MKCOL", b""),
        ("MOVE", b""),
        ("PATCH", b"x"),
        ("PATCH", b""),
    ):
        recorder.heads.clear()
        answer = await call(recorder.gateway_port, method, "/storage/default/a", {}, body)
        assert answer.status == 502
        assert "check whether it was made" in answer.problem()
        assert len(recorder.heads) == 1, method
    recorder.heads.clear()
    assert (await call(recorder.gateway_port, "GET", "/storage/default/a")).status == 502
    assert len(recorder.heads) == 3, "a read is tried everywhere, once"


async def test_what_is_slow_may_take_longer_than_other_requests_and_is_sent_once(
    recorder: Recorder,
) -> None:
    """A byte has to come within a second here, as within 75 elsewhere."""
    recorder.pause = 1.5
    for method, status in (("DELETE", 502), ("MOVE", 200), ("PATCH", 200)):
        recorder.heads.clear()
        answer = await call(recorder.gateway_port, method, "/storage/default/large/")
        assert (answer.status, len(recorder.heads)) == (status, 1)


@pytest.mark.parametrize("length", [{}, {"Content-Length": "0"}])
async def test_a_change_without_a_body_is_never_sent_as_a_question(
    recorder: Recorder, length: dict[str, str]
) -> None:
    expect = {"Expect": "100-continue", "Destination": "/storage/default/b", **length}
    async with connect(recorder.gateway_port) as client:
        client.send("MOVE", "/storage/default/a", expect)
        assert [(await client.head())[0] for _ in range(2)] == [100, 200]
    assert len(recorder.heads) == 1


async def test_a_change_whose_answer_was_lost_evicts(recorder: Recorder) -> None:
    recorder.answer = STORABLE
    async with connect(recorder.gateway_port) as client:
        for age in (False, True):
            answer = await client.ask("GET", "/storage/default/lost")
            assert ("Age" in answer.headers) == age
        recorder.dies = True
        assert (await client.ask("DELETE", "/storage/default/lost")).status == 502
        recorder.dies = False
    await asyncio.sleep(PROBE_SECONDS)
    assert "Age" not in (await call(recorder.gateway_port, "GET", "/storage/default/lost")).headers


async def test_where_a_request_came_from_is_said_by_the_gateway_alone(
    recorder: Recorder,
) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=203.0.113.9",
        "X-Real-IP": "203.0.113.9",
        "X_Forwarded_For": "203.0.113.9",
        "X-Request-Id": "given-1",
    }
    async with connect(recorder.gateway_port) as client:
        await client.ask("GET", "/storage/default/a", forged)
        await client.ask("GET", "/storage/default/a")
    fields = recorder.fields(0)
    assert "203.0.113.9" not in str(fields)
    assert fields.getall("X-Forwarded-For") == ["127.0.0.1"]
    assert fields.getall("X-Forwarded-Proto") == ["http"]
    assert fields.getall("X-Forwarded-Host") == fields.getall("Host") == ["sfs.example"]
    assert fields.getall("X-Request-Id") == ["given-1"]
    assert len(recorder.fields(1)["X-Request-Id"]) == 32


async def test_no_log_has_a_token_or_a_name(gateway: Gateway) -> None:
    token = gateway.bearer()["Authorization"].removeprefix("Bearer ")
    target = f"/storage/default/unheard-of?token={token}"
    assert (await gateway.get(target)).status == 404
    assert (await gateway.get(f"/storage/default/%00?token={token}")).status == 400
    async with connect(gateway.port) as client:
        client.send("PUT", target, {"Content-Length": "5"})
        await client.answer()
    logs = (gateway.server.home / "access.log").read_text() + gateway.server.log()
    assert " GET 404 " in logs
    assert not any(word in logs for word in (token, "unheard-of"))


async def test_sfs_knows_the_client_by_the_gateway_that_it_trusts(gateway: Gateway) -> None:
    """All of it on one machine, so another address of it is the client."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", gateway.port, local_addr=("127.0.0.2", 0)
    )
    connection = Connection(reader, writer)
    forged = {**gateway.bearer(), "X-Forwarded-For": "203.0.113.9", "X-Request-Id": "traced"}
    answer = await connection.ask("DELETE", "/storage/default/not-there", forged)
    writer.close()
    assert (answer.status, answer.headers["X-Request-Id"]) == (404, "traced")
    await eventually(lambda: "traced" in gateway.log())
    lines = [line for line in gateway.log().splitlines() if "traced" in line]
    assert any("127.0.0.2" in line for line in lines), lines
    assert not any("203.0.113.9" in line for line in lines)


async def test_an_id_that_is_a_token_is_kept_by_nobody(gateway: Gateway) -> None:
    short = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0." + "A" * 43
    other = "eyAiYWxnIjoiSFMyNTYifQ.eyAic3ViIjoiYSJ9." + "B" * 43
    async with connect(gateway.port) as client:
        for text in (short, f"a_{short}", other, short[:-20], "x" * 129):
            answer = await client.ask("GET", "/storage/default/none", {"X-Request-Id": text})
            assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
        whole = {"X-Request-Id": "x" * 128}
        answer = await client.ask("GET", "/storage/default/none", whole)
        assert answer.headers["X-Request-Id"] == "x" * 128
    access = gateway.server.home / "access.log"
    await eventually(lambda: "x" * 128 in access.read_text())
    logs = access.read_text() + gateway.server.log() + gateway.log()
    assert not any(word in logs for word in ("eyJ", "eyA", "A" * 23, "B" * 43, "x" * 129))


async def test_the_question_before_an_upload_says_the_same(recorder: Recorder) -> None:
    """What asks for a body that is expected to be continued is a request like others."""
    recorder.answer = b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nX-Own: a\r\nX-Own: b\r\n\r\n"
    recorder.wants = 0
    forged = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    async with connect(recorder.gateway_port) as client:
        headers = {
            **forged,
            "Expect": "100-continue",
            "Content-Length": "5",
            "Authorization": "Bearer x",
            "X-Transfer-Id": "t",
            "Repr-Digest": "sha-256=:x:",
            "Connection": "close, X-Forwarded-For",
        }
        client.send("PUT", "/storage/default/a%2520b?overwrite=true&id=t&x=%26", headers)
        answer = await client.answer()
    assert (answer.status, answer.headers.getall("X-Own")) == (401, ["a", "b"])
    assert recorder.heads[0].startswith(b"PUT /storage/default/a%2520b?overwrite=true&x=%26 HTTP")
    fields = recorder.fields(0)
    assert fields.getall("X-Forwarded-For") == ["127.0.0.1"]
    assert fields.getall("Content-Length") == ["5"]
    assert fields.getall("Host") == ["sfs.example"]
    assert (fields["Authorization"], fields["Repr-Digest"]) == ("Bearer x", "sha-256=:x:")
    assert not {"Forwarded", "X-Transfer-Id"} & set(fields)


@pytest.mark.parametrize(
    "path",
    [
        "/storage/default/a%2Fb",
        "/storage/default/a%252Fb%25",
        "/storage/default/%C3%A9%e2%82%ac+%2B%20%3F",
        "/storage/default//a",
        "/storage/./default/a/../b",
        "/storage/default/" + "%C3%A9" * 127 + "x",
        "/storage/default/" + "x" * 255,
        "/storage/default/a?x=%2F&y=a+b&&z",
    ],
)
async def test_a_path_reaches_sfs_byte_for_byte(recorder: Recorder, path: str) -> None:
    for method in ("GET", "PUT"):
        recorder.heads.clear()
        assert (await call(recorder.gateway_port, method, path, {}, b"")).status == 200
        assert recorder.heads[0].startswith(f"{method} {path} HTTP/1.1\r\n".encode())


async def test_bytes_beyond_ascii_reach_sfs_as_they_are(recorder: Recorder) -> None:
    await call(recorder.gateway_port, "GET", "/storage/default/é".encode())
    assert recorder.heads[0].startswith("GET /storage/default/é HTTP/1.1\r\n".encode())


async def test_a_name_of_255_bytes_can_be_stored_and_read(gateway: Gateway) -> None:
    path = "/storage/default/" + "%C3%A9" * 127 + "x"
    await gateway.put(path, b"long")
    assert (await gateway.stored(path)).body == b"long"
    await gateway.delete(path)


async def test_bytes_are_bytes(gateway: Gateway) -> None:
    path, content = "/storage/default/compressible.txt", b"a" * 100_000
    await gateway.put(path, content)
    for answer in (
        await gateway.get(path, {"Accept-Encoding": "gzip"}),
        await gateway.stored(path, {"Accept-Encoding": "gzip"}),
    ):
        assert (answer.body == content, "Content-Encoding" in answer.headers) == (True, False)


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/%6detrics", "//metrics", "/a/../readyz"])
async def test_what_is_of_the_processes_is_not_shown(gateway: Gateway, path: str) -> None:
    assert (await gateway.get(path)).status == 404


async def test_the_page_and_the_contract_are_shown(gateway: Gateway) -> None:
    assert (await gateway.get("/", {"Accept": "text/html"})).status == 200
    assert (await gateway.get("/openapi.json")).status == 200
    assert (await gateway.get("/healthz")).json() == {"status": "ok"}


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: sfs.example\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length : 5\r\n",
        b"X: y\r\n Content-Length: 5\r\nContent-Length: 500\r\nContent-Length: 0\r\n",
        b"Host: other.example\r\n",
    ],
)
async def test_what_two_servers_may_read_in_two_ways_is_refused(
    recorder: Recorder, fields: bytes
) -> None:
    async with connect(recorder.gateway_port) as client:
        client.send_raw(
            b"PUT /storage/default/a HTTP/1.1\r\nHost: sfs.example\r\n" + fields + b"\r\n"
            b"0\r\n\r\n" + SMUGGLED
        )
        status, _ = await client.head()
        await client.rest()
    assert status in (400, 501)
    assert recorder.heads == []
