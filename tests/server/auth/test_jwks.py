"""Tokens checked with a JWK set from a real HTTP server, which rotates, lies, and goes away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gfs import clock
from sfs_server.auth.jwks import Jwks
from sfs_server.auth.tokens import InvalidToken, Principal, Verifier
from sfs_server.config import Config, ConfigError
from sfs_server.errors import Problem
from tests.support.tokens import b64, es256, hs256, public_jwk, rs256, token
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("still_clock")

RSA_KEY = rsa.generate_private_key(65537, 2048)
WEAK_RSA_KEY = rsa.generate_private_key(65537, 1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
SIGN = rs256(RSA_KEY)
NEXT_KEY = ec.generate_private_key(ec.SECP256R1())


def by_rsa(kid: object = "r") -> str:
    return token(header={"alg": "RS256", "kid": kid}, sign=rs256(RSA_KEY))


def by_ec(kid: object = "e", key: ec.EllipticCurvePrivateKey = EC_KEY) -> str:
    return token(header={"alg": "ES256", "kid": kid}, sign=es256(key))


class Issuer:
    """The server of the keys, and a verifier that uses it, on a clock that the test moves."""

    def __init__(self) -> None:
        self.keys: list[object] = [public_jwk(RSA_KEY, kid="r"), public_jwk(EC_KEY, kid="e")]
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self.good
        self.fetches = 0
        self.now = 1000.0
        self.jwks: Jwks
        self.verifier: Verifier

    async def good(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": self.keys})

    async def bad(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.fetches += 1
        return await self.answer(request)

    def says(self, body: bytes) -> None:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=body)

        self.answer = answer

    async def fetched_again(self) -> None:
        """What the timer does when it is due."""
        await self.jwks._start()

    async def verify(self, text: str) -> Principal:
        return await self.verifier.verify(text)

    async def refuses(self, text: str) -> None:
        with pytest.raises(InvalidToken):
            await self.verify(text)

    async def is_unavailable(self, text: str) -> None:
        with pytest.raises(Problem) as caught:
            await self.verify(text)
        assert caught.value.status == 503
        assert int(caught.value.headers["Retry-After"]) > 0
        assert text not in caught.value.detail


@pytest.fixture
async def issuer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Issuer]:
    issuer = Issuer()
    monkeypatch.setattr(clock, "monotonic", lambda: issuer.now)
    app = web.Application()
    app.router.add_get("/keys", issuer.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        issuer.verifier = Verifier.from_config(
            Config(jwks_url=str(server.make_url("/keys"))),
            "a secret that must not be used here",
        )
        assert issuer.verifier._jwks is not None
        issuer.jwks = issuer.verifier._jwks
        yield issuer
        await issuer.verifier.close()
        await issuer.verifier.close()


async def test_each_key_has_its_own_algorithm(issuer: Issuer) -> None:
    assert (await issuer.verify(by_rsa())).user == "alice"
    assert (await issuer.verify(by_ec())).user == "alice"
    assert issuer.fetches == 1
    await issuer.refuses(token(header={"alg": "RS256", "kid": "e"}, sign=es256(EC_KEY)))
    await issuer.refuses(token(header={"alg": "ES256", "kid": "e"}, sign=rs256(RSA_KEY)))
    await issuer.refuses(token(header={"alg": "HS256", "kid": "r"}, sign=hs256(b"x" * 32)))
    await issuer.refuses(token(header={"alg": "none", "kid": "r"}))
    await issuer.refuses(token(sign=hs256("a secret that must not be used here")))


async def test_kid_only_selects(issuer: Issuer) -> None:
    for kid in ("x", "R", "../r", "' OR 1=1 --", ["r"], {"r": 1}, 0, True, ""):
        await issuer.refuses(by_rsa(kid))
    await issuer.verify(by_rsa(None))
    await issuer.verify(token(header={"alg": "RS256"}, sign=rs256(RSA_KEY)))
    issuer.keys.append(public_jwk(NEXT_KEY, kid="n"))
    await issuer.fetched_again()
    await issuer.verify(by_ec("n", NEXT_KEY))
    await issuer.refuses(by_ec("e", NEXT_KEY))
    await issuer.refuses(by_ec(None, NEXT_KEY))


async def test_keys_in_the_header_are_not_used(issuer: Issuer) -> None:
    header: dict[str, object] = {"alg": "ES256", "kid": "n", "jwk": public_jwk(NEXT_KEY, kid="n")}
    await issuer.refuses(token(header=header, sign=es256(NEXT_KEY)))


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"use": None},
        {"alg": "ES384"},
        {"alg": "RS256"},
        {"alg": "HS256"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"d": b64(b"\1" * 32)},
        {"crv": "secp256k1"},
        {"crv": "P-384"},
        {"crv": ["P-256"]},
        {"x": b64(b"\1" * 32)},
        {"x": 7},
        {"x": ""},
        {"y": "é"},
        {"kid": ["e"]},
        {"kty": "oct", "k": b64(b"x" * 32)},
        {"kty": "OKP"},
        {"kty": ["EC"]},
        {"kty": "RSA"},
    ],
)
async def test_keys_that_are_passed_over(issuer: Issuer, members: dict[str, object]) -> None:
    issuer.keys = [public_jwk(EC_KEY, **{"kid": "e", **members}), public_jwk(RSA_KEY, kid="r")]
    await issuer.refuses(by_ec())
    await issuer.refuses(by_ec(None))
    await issuer.verify(by_rsa())


@pytest.mark.parametrize("members", [{"use": "sig"}, {"alg": "ES256"}, {"key_ops": ["verify"]}])
async def test_keys_that_say_what_they_are_for(issuer: Issuer, members: dict[str, object]) -> None:
    issuer.keys = [public_jwk(EC_KEY, kid="e", **members)]
    await issuer.verify(by_ec())


async def test_a_weak_rsa_key_is_passed_over(issuer: Issuer) -> None:
    issuer.keys = [public_jwk(WEAK_RSA_KEY, kid="r")]
    await issuer.refuses(token(header={"alg": "RS256", "kid": "r"}, sign=rs256(WEAK_RSA_KEY)))


async def test_an_oct_key_makes_no_hmac_token(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.keys = [{"kty": "oct", "k": b64(b"x" * 32), "kid": "h", "alg": "HS256"}, "junk", None]
    with caplog.at_level(logging.WARNING):
        await issuer.refuses(token(header={"kid": "h"}, sign=hs256(b"x" * 32)))
    assert "no RSA or P-256 key" in caplog.text


async def test_rotation(issuer: Issuer) -> None:
    await issuer.verify(by_ec())
    issuer.keys = [public_jwk(NEXT_KEY, kid="n")]
    await issuer.refuses(by_ec("n", NEXT_KEY))
    assert issuer.fetches == 1
    issuer.now += 30
    await issuer.verify(by_ec("n", NEXT_KEY))
    assert issuer.fetches == 2
    # The old token was remembered as good; with its key gone, so is the memory.
    await issuer.refuses(by_ec())
    assert issuer.fetches == 2


async def test_the_same_keys_are_the_same_object(issuer: Issuer) -> None:
    first = await issuer.jwks.current()
    await issuer.fetched_again()
    assert await issuer.jwks.current() is first
    assert issuer.fetches == 2
    issuer.keys.pop()
    await issuer.fetched_again()
    assert await issuer.jwks.current() == first[:1]


async def test_the_remembered_token_dies_with_its_key(issuer: Issuer) -> None:
    text = by_ec()
    await issuer.verify(text)
    issuer.keys = []
    await issuer.verify(text)
    await issuer.fetched_again()
    await issuer.refuses(text)
    assert issuer.fetches == 2


async def test_the_keys_are_fetched_again_and_again_by_themselves(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.auth.jwks.FRESH_SECONDS", 0.01)
    monkeypatch.setattr("sfs_server.auth.jwks.REFETCH_SECONDS", 0.01)
    text = by_ec()

    async def fetched(times: int) -> None:
        before = issuer.fetches
        await eventually(lambda: issuer.fetches >= before + times)

    await issuer.verify(text)
    for answer in (issuer.bad, issuer.good):  # also after a failure
        issuer.answer = answer
        await fetched(3)
        await issuer.verify(text)
    issuer.keys = []  # withdrawn, and nobody asks for anything
    await fetched(2)
    await issuer.refuses(text)
    await issuer.verifier.close()
    before = issuer.fetches
    await asyncio.sleep(0.1)
    assert issuer.fetches == before


async def test_an_issuer_that_hangs_holds_up_nobody_whose_key_is_there(issuer: Issuer) -> None:
    await issuer.verify(by_ec())
    asked, go = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        asked.set()
        await go.wait()
        return await issuer.good(request)

    issuer.answer = hang
    issuer.keys.append(public_jwk(NEXT_KEY, kid="n"))
    refetch = asyncio.create_task(issuer.fetched_again())
    await asked.wait()
    new = [asyncio.create_task(issuer.verify(by_ec("n", NEXT_KEY))) for _ in range(20)]
    for i in range(20):
        for text in (by_ec(), token({"n": i}, header={"alg": "RS256", "kid": "r"}, sign=SIGN)):
            verified = asyncio.ensure_future(issuer.verify(text))
            await asyncio.sleep(0)  # it does not suspend: one turn is enough
            assert verified.done()
    assert not any(task.done() for task in new)
    assert issuer.fetches == 2
    go.set()
    for principal in await asyncio.gather(*new):
        assert principal.user == "alice"
    await refetch
    assert issuer.fetches == 2


async def test_unknown_names_do_not_become_traffic(issuer: Issuer) -> None:
    for i in range(50):
        await issuer.refuses(by_ec(f"made-up-{i}"))
    assert issuer.fetches == 1
    issuer.now += 30
    for i in range(50):
        await issuer.refuses(by_ec(f"made-up-{i}"))
    assert issuer.fetches == 2


async def test_nonsense_does_not_become_traffic(issuer: Issuer) -> None:
    await issuer.refuses("a.b")
    assert issuer.fetches == 0
    await issuer.verify(by_ec())
    issuer.now += 30
    await issuer.refuses(token(header={"alg": "HS256", "kid": "e"}))
    await issuer.refuses(token(header={"alg": "none", "kid": "new"}))
    assert issuer.fetches == 1


async def test_an_outage_is_survived_for_an_hour(issuer: Issuer) -> None:
    text = by_ec()
    await issuer.verify(text)
    issuer.answer = issuer.bad
    for _ in range(10):
        issuer.now += 359.9
        await issuer.fetched_again()
        await issuer.verify(text)
        await issuer.verify(by_rsa())
    assert issuer.fetches == 11
    issuer.now += 1.1 + 5
    await issuer.is_unavailable(text)
    assert issuer.fetches == 12
    issuer.answer = issuer.good
    issuer.now += 5
    await issuer.verify(text)


async def test_no_keys_at_all(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    issuer.answer = issuer.bad
    text = by_ec()
    await issuer.is_unavailable(text)
    await issuer.is_unavailable(text)
    assert issuer.fetches == 1
    assert "127.0.0.1" in caplog.text
    assert text not in caplog.text
    issuer.now += 5
    issuer.answer = issuer.good
    await issuer.verify(text)


async def test_nobody_listens() -> None:
    async with TestServer(web.Application(), host="127.0.0.1") as server:
        url = str(server.make_url("/keys"))
    verifier = Verifier.from_config(Config(jwks_url=url), None)
    with pytest.raises(Problem):
        await verifier.verify(by_ec())
    await verifier.close()


async def test_a_redirect_is_not_followed(issuer: Issuer) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "again" in request.query:
            return await issuer.good(request)
        raise web.HTTPFound("/keys?again=1")

    issuer.answer = answer
    await issuer.is_unavailable(by_ec())
    assert issuer.fetches == 1


@pytest.mark.parametrize("announced", [True, False])
async def test_the_size_is_bounded(issuer: Issuer, announced: bool) -> None:
    def padded(size: int) -> bytes:
        body = json.dumps({"keys": issuer.keys}).encode()
        return body + b" " * (size - len(body))

    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)
            sent += 65536

    if announced:
        issuer.says(padded(65537))
    else:
        issuer.answer = endless
    await issuer.is_unavailable(by_ec())
    assert sent < 64 << 20
    issuer.says(padded(65536))
    issuer.now += 5
    await issuer.verify(by_ec())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"keys":{}}',
        b'{"key":[]}',
        b'{"keys":[],"keys":[]}',
        b'{"keys":[' + b"[" * 30000 + b"]" * 30000 + b"]}",
        b"\xff",
    ],
    ids=["empty", "html", "list", "null", "object", "none", "twice", "deep", "latin"],
)
async def test_answers_that_are_no_set(issuer: Issuer, body: bytes) -> None:
    issuer.says(body)
    await issuer.is_unavailable(by_ec())


async def test_compression_is_neither_asked_for_nor_undone(issuer: Issuer) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        response = web.json_response({"keys": issuer.keys})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    issuer.answer = answer
    await issuer.is_unavailable(by_ec())


async def test_one_fetch_for_all_who_wait(issuer: Issuer) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.set()
        await go.wait()
        return await issuer.good(request)

    issuer.answer = answer
    tasks = [asyncio.create_task(issuer.verify(by_ec())) for _ in range(20)]
    await asked.wait()
    tasks[0].cancel()
    await asyncio.sleep(0)
    go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(r, Principal) for r in results[1:])
    assert issuer.fetches == 1


async def test_a_silent_server_is_given_up(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()

    async def answer(_request: web.Request) -> web.StreamResponse:
        await over.wait()
        raise ConnectionError

    monkeypatch.setattr("sfs_server.auth.jwks.FETCH_TIMEOUT_SECONDS", 0.05)
    issuer.answer = answer
    await issuer.is_unavailable(by_ec())
    over.set()  # the end of the test waits for it


async def test_close_ends_a_fetch(issuer: Issuer) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def answer(_request: web.Request) -> web.StreamResponse:
        asked.set()
        await over.wait()
        raise ConnectionError

    issuer.answer = answer
    waiting = asyncio.create_task(issuer.verify(by_ec()))
    await asked.wait()
    await issuer.verifier.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    over.set()  # the end of the test waits for it


@pytest.mark.parametrize(
    "url", ["", "keys", "file:///etc/passwd", "ftp://id/keys", "https://", "https://[", "//id/keys"]
)
def test_urls_that_cannot_be(url: str) -> None:
    with pytest.raises(ConfigError, match="-jwks-url"):
        Verifier.from_config(Config(jwks_url=url), None)
