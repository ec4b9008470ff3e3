"""Tokens against the attacks of RFC 8725: on the algorithm, on the key, on the spelling."""

from __future__ import annotations

import base64
import itertools
import json
import string
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from sfs_server.auth.tokens import InvalidToken, Verifier
from sfs_server.config import Config
from tests.support.credentials import SECRET
from tests.support.tokens import (
    NOW,
    accept,
    b64,
    es256,
    hs256,
    pem_verifier,
    public_jwk,
    public_pem,
    raw_token,
    refuse,
    rs256,
    token,
)

pytestmark = pytest.mark.usefixtures("still_clock")

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_SECRET = "another secret, also of 32 bytes and more"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", " none", None, ["HS256"], 256])
def test_alg_none(alg: object) -> None:
    for sign in (hs256(SECRET), hs256(""), lambda _data: b"\0"):
        refuse(token(header={"alg": alg}, sign=sign))
    refuse(token(header={"alg": alg}).rpartition(".")[0] + ".")


@pytest.mark.parametrize("alg", ["HS384", "HS512", "hs256", "RS256", "ES256", "PS256", ...])
def test_only_the_configured_algorithm(alg: object) -> None:
    refuse(token(header={"alg": alg}))


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_the_public_key_is_no_hmac_secret(kind: str, tmp_path: Path) -> None:
    key = RSA_KEY if kind == "rsa" else EC_KEY
    pem = public_pem(key)
    verifier = pem_verifier(tmp_path, pem)
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    own = "RS256" if kind == "rsa" else "ES256"
    for secret, alg in itertools.product([pem, pem.strip(), der, b""], ["HS256", own]):
        refuse(token(header={"alg": alg}, sign=hs256(secret)), verifier)


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_public_key_algorithms(kind: str, tmp_path: Path) -> None:
    good, bad = ("RS256", "ES256") if kind == "rsa" else ("ES256", "RS256")
    sign = rs256(RSA_KEY) if kind == "rsa" else es256(EC_KEY)
    wrong_sign = es256(EC_KEY) if kind == "rsa" else rs256(RSA_KEY)
    verifier = pem_verifier(tmp_path, public_pem(RSA_KEY if kind == "rsa" else EC_KEY))
    assert accept(token(header={"alg": good}, sign=sign), verifier).user == "alice"
    refuse(token(header={"alg": bad}, sign=wrong_sign), verifier)
    refuse(token(header={"alg": bad}, sign=sign), verifier)
    refuse(token(header={"alg": "none"}, sign=sign), verifier)
    refuse(token(header={"alg": good}, sign=wrong_sign), verifier)
    refuse(token(header={"alg": good}, sign=lambda _data: b"\0" * 64), verifier)
    refuse(token(), verifier)


def test_a_key_flag_puts_the_secret_out_of_use(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(public_pem(EC_KEY))
    verifier = Verifier.from_config(Config(jwt_public_key=str(path)), SECRET)
    refuse(token(), verifier)
    accept(token(header={"alg": "ES256"}, sign=es256(EC_KEY)), verifier)


def test_another_key() -> None:
    refuse(token(sign=hs256(OTHER_SECRET)))
    refuse(token(sign=hs256(b"")))


def test_another_ec_key(tmp_path: Path) -> None:
    verifier = pem_verifier(tmp_path, public_pem(EC_KEY))
    refuse(token(header={"alg": "ES256"}, sign=es256(OTHER_EC_KEY)), verifier)


@pytest.mark.parametrize("kid", ["../../../../dev/null", "' UNION SELECT 'x", "/proc/self/environ"])
def test_kid_leads_nowhere(kid: str) -> None:
    for secret in (b"", b"x", kid.encode()):
        refuse(token(header={"kid": kid}, sign=hs256(secret)))
    accept(token(header={"kid": kid}))


def test_keys_in_the_header_are_not_used(tmp_path: Path) -> None:
    verifier = pem_verifier(tmp_path, public_pem(EC_KEY))
    url = "http://127.0.0.1:9/keys"
    offers: list[dict[str, object]] = [
        {"jwk": public_jwk(OTHER_EC_KEY)},
        {"jku": url},
        {"x5u": url},
        {"x5c": [b64(public_pem(OTHER_EC_KEY))]},
    ]
    for offer in offers:
        refuse(token(header={"alg": "ES256", **offer}, sign=es256(OTHER_EC_KEY)), verifier)
        accept(token(header={"alg": "ES256", **offer}, sign=es256(EC_KEY)), verifier)
    refuse(token(header={"jwk": {"kty": "oct", "k": b64(b"mine")}}, sign=hs256(b"mine")))


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": None},
        {"b64": False},
        {"b64": True},
        {"typ": "JWE"},
        {"typ": None},
        {"typ": ""},
        {"typ": "application/"},
        {"typ": "application/application/jwt"},
        {"typ": "text/jwt"},
        {"typ": "at+jwt; v=1"},
        {"typ": " jwt"},
        {"typ": "dpop+jwt"},
        {"typ": "logout+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": ["JWT"]},
        {"typ": 1},
    ],
)
def test_headers_that_ask_for_more(header: dict[str, object]) -> None:
    refuse(token(header=header))


@pytest.mark.parametrize(
    "typ",
    [
        *(..., "JWT", "jwt", "at+jwt", "AT+JWT", "At+Jwt"),
        *("application/jwt", "application/at+jwt", "Application/JWT", "APPLICATION/AT+jwt"),
    ],
)
def test_typ(typ: object) -> None:
    accept(token(header={"typ": typ}))


# Attacks on the spelling.


def test_tampered_payload_and_signature() -> None:
    header, _, signature = token().split(".")
    payload = b64(json.dumps({"sub": "root", "exp": NOW + 600}).encode())
    refuse(f"{header}.{payload}.{signature}")
    refuse(f"{header}.{payload}.")
    refuse(f"{header}.{payload}")
    refuse(f"{header}.{payload}.{signature[:-4]}")
    refuse(f"{header}.{payload}.{signature}.{signature}")


def test_base64url_has_one_spelling() -> None:
    # Header, payload and signature whose last character has unused bits, and that contain - and _.
    good = next(
        text
        for i in itertools.count()
        if "-" in (text := token({"n": i})) and "_" in text and len(text.split(".")[1]) % 4
    )
    accept(good)
    segments = good.split(".")
    for i, segment in enumerate(segments):
        spellings = [segment + "=" * (-len(segment) % 4 or 4), segment + "=", " " + segment]
        spellings += [segment + "\n", segment[:4] + "\n" + segment[4:], segment[:4] + "\t"]
        spellings += [segment.translate(str.maketrans("-_", "+/")) + "", segment + "A", "", "."]
        if len(segment) % 4:
            alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
            spellings.append(segment[:-1] + alphabet[alphabet.index(segment[-1]) ^ 1])
        for spelling in spellings:
            if spelling != segment:
                refuse(".".join([*segments[:i], spelling, *segments[i + 1 :]]))
    for text in (" " + good, good + " ", good + "\n", good + "\x00", good.replace(".", "。")):
        refuse(text)


def test_a_spelling_under_the_signature_is_refused_too() -> None:
    def signed(header: str, payload: str) -> str:
        signature = b64(hs256(SECRET)(f"{header}.{payload}".encode()))
        return f"{header}.{payload}.{signature}"

    header, payload = b64(b'{"alg":"HS256"}'), b64(b'{"sub":"alice","exp":1800000000}')
    accept(signed(header, payload))
    # 15 and 32 bytes: the last character of the payload has two unused bits, zero when canonical.
    assert len(payload) % 4 == 3
    respelled = payload[:-1] + chr(ord(payload[-1]) + 1)
    assert base64.urlsafe_b64decode(respelled + "=") == base64.urlsafe_b64decode(payload + "=")
    refuse(signed(header, respelled))
    refuse(signed(header, payload + "="))


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        ('{"alg":"none","alg":"HS256"}', '{"sub":"alice","exp":1800000000}'),
        ('{"alg":"HS256"}', '{"sub":"alice","exp":1800000000,"sub":"root"}'),
        ('{"alg":"HS256"}', '{"sub":"alice","exp":1,"\\u0065xp":1800000000}'),
        ('{"alg":"HS256"}', '{"sub":"alice","exp":1800000000,"x":{"a":1,"a":2}}'),
        ('{"alg":"HS256"}', '["alice"]'),
        ('{"alg":"HS256"}', '"alice"'),
        ('{"alg":"HS256"}', "null"),
        ('{"alg":"HS256"}', "{}"),
        ('{"alg":"HS256"}', '{"sub":"alice","exp":1800000000} {}'),
        ('{"alg":"HS256"}', '\ufeff{"sub":"alice","exp":1800000000}'),
        ('{"alg":"HS256"}', '{"sub":"alice","exp":1800000000,"x":' + "[" * 5000 + "]" * 500 + "}"),
        ('["HS256"]', '{"sub":"alice","exp":1800000000}'),
        ("HS256", '{"sub":"alice","exp":1800000000}'),
    ],
)
def test_json_that_is_not_one_plain_object(header: str, payload: str) -> None:
    refuse(raw_token(header.encode(), payload.encode(), hs256(SECRET)))


def test_json_that_is_nested_deeply_fails_as_a_token_if_it_fails() -> None:
    # How deep is too deep is the parser's affair; some Pythons take this.
    header = '{"alg":"HS256","x":' + "[" * 2900 + "]" * 2900 + "}"
    text = raw_token(header.encode(), b'{"sub":"alice","exp":18e8}', hs256(SECRET))
    with suppress(InvalidToken):
        accept(text)


def test_json_that_is_not_utf_8() -> None:
    refuse(raw_token(b'{"alg":"HS256"}', b'{"sub":"\xff","exp":1800000000}', hs256(SECRET)))


def test_size_is_bounded() -> None:
    overhead = len(token({"pad": ""}))
    fits = token({"pad": "a" * ((8192 - overhead) // 4 * 3 - 4)})
    assert 8180 < len(fits) <= 8192
    accept(fits)
    too_long = token({"pad": "a" * ((8192 - overhead) // 4 * 3 + 8)})
    assert 8192 < len(too_long) < 8210
    assert "8192" in refuse(too_long)


@pytest.mark.parametrize(
    "garbage", ["", ".", "..", "...", "a.b.c", "a" * 100, "\ud800.a.b", "☃.☃.☃"]
)
def test_garbage(garbage: str) -> None:
    refuse(garbage)


GOOD = token({"username": "Alice", "scopes": {}})
CHARACTERS = st.sampled_from(string.ascii_letters + string.digits + "-_.=+/ \n\x00é")


@given(st.integers(0, len(GOOD) - 1), CHARACTERS, st.sampled_from(["replace", "insert", "delete"]))
def test_any_change_of_one_character_is_refused(at: int, character: str, edit: str) -> None:
    changed = {
        "replace": GOOD[:at] + character + GOOD[at + 1 :],
        "insert": GOOD[:at] + character + GOOD[at:],
        "delete": GOOD[:at] + GOOD[at + 1 :],
    }[edit]
    if changed == GOOD:
        accept(changed)
    else:
        refuse(changed)


@given(st.text(max_size=200))
def test_arbitrary_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        accept(text)
