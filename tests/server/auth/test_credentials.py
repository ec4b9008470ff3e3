"""The keys that the operator gives, minting, and where a request carries its token."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from multidict import CIMultiDict

from sfs_server.auth.tokens import InvalidToken, Principal, Verifier, credential, mint
from sfs_server.config import Config, ConfigError
from tests.support.credentials import SECRET
from tests.support.tokens import (
    Clock,
    accept,
    hs256,
    hs_verifier,
    pem_verifier,
    public_pem,
    refuse,
    token,
)

pytestmark = pytest.mark.usefixtures("still_clock")

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("secret", ["", "short", "a" * 15])
def test_short_secrets_are_refused(secret: str) -> None:
    with pytest.raises(ConfigError, match="JWT_SECRET") as caught:
        hs_verifier(secret=secret)
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize(("length", "weak"), [(16, True), (31, True), (32, False)])
def test_weak_secrets_are_noticed(
    length: int, weak: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        verifier = hs_verifier(secret=("secretly" * 4)[:length])
    assert verifier.weak is weak
    assert ("weak" in caplog.text) is weak
    assert "secretly" not in caplog.text


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        (" " * 32, "blank"),
        ("\t\n \r" * 16, "blank"),
        ("\x00" * 32, "blank"),
        ("a" * 64, "random"),
        ("abc" * 16, "random"),
        ("ÿ" * 16, "random"),
        (f" {SECRET}", "white space"),
        (f"{SECRET} ", "white space"),
        (f"{SECRET}\n", "white space"),
        (f"{SECRET}\r\n", "white space"),
    ],
)
def test_secrets_that_are_a_mistake_are_refused_and_not_shown(secret: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        hs_verifier(secret=secret)
    assert "JWT_SECRET" in str(caught.value)
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match=says):
        mint(secret, user="bob", ttl=1)


def test_a_key_file_is_no_secret() -> None:
    for text in (public_pem(RSA_KEY).decode(), "\n " + public_pem(EC_KEY).decode()):
        with pytest.raises(ConfigError, match="-jwt-public-key"):
            hs_verifier(secret=text)


@pytest.mark.parametrize(
    "secret", ['"quoted secret of more bytes"', "1234567890123456", "ÿéàüö" * 2]
)
def test_a_secret_is_bytes_whatever_it_looks_like(secret: str) -> None:
    verifier = hs_verifier(secret=secret)
    accept(token(sign=hs256(secret)), verifier)
    refuse(token(sign=hs256(secret.strip('"') + " ")), verifier)


def test_some_key_is_needed_and_two_are_too_many() -> None:
    with pytest.raises(ConfigError, match="JWT_SECRET"):
        Verifier.from_config(Config(), None)
    with pytest.raises(ConfigError, match="exclude"):
        Verifier.from_config(Config(jwt_public_key="k", jwks_url="https://id/keys"), None)


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("pem", "says"),
    [
        (private_pem(RSA_KEY), "openssl pkey"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "openssl x509"),
        (b"", "BEGIN PUBLIC KEY"),
        (b"ssh-ed25519 AAAA", "BEGIN PUBLIC KEY"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "BEGIN PUBLIC KEY"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "2048"),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (public_pem(ec.generate_private_key(ec.SECP256K1())), "P-256"),
        (
            ed25519.Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
            "P-256",
        ),
    ],
    ids=["private", "cert", "empty", "ssh", "broken", "rsa1024", "p384", "secp256k1", "ed25519"],
)
def test_key_files_that_cannot_be_used(pem: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        pem_verifier(tmp_path, pem)


def test_a_missing_key_file_is_named_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="No such file") as caught:
        Verifier.from_config(Config(jwt_public_key="missing.pem"), None)
    assert "-jwt-public-key missing.pem" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


# Minting, and taking the credential from a request.


def test_mint(still_clock: Clock) -> None:
    text = mint(SECRET, user="bob", username="Bob", admin=True, ttl=60)
    assert accept(text) == Principal("bob", username="Bob", admin=True)
    text = mint(SECRET, user="bob", ttl=60)
    assert accept(text) == Principal("bob", username="bob")
    still_clock.now += 90
    refuse(text)


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf, 1e10])
def test_mint_bounds_the_ttl(ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        mint(SECRET, user="bob", ttl=ttl)


def test_mint_makes_nothing_that_would_be_refused() -> None:
    for user in ("", "a\n", "a" * 256):
        with pytest.raises(ValueError, match="user"):
            mint(SECRET, user=user, ttl=1)
    with pytest.raises(ConfigError):
        mint("short", user="bob", ttl=1)


def headers(*authorization: str) -> CIMultiDict[str]:
    return CIMultiDict(("authorization", value) for value in authorization)


@pytest.mark.parametrize(
    ("authorization", "query", "method", "expected"),
    [
        ([], None, "GET", None),
        (["Bearer abc"], None, "PUT", "abc"),
        (["bEARER   abc "], None, "GET", "abc"),
        (["Bearer abc"], "q", "GET", "abc"),
        ([], "q", "GET", "q"),
        ([], "q", "HEAD", "q"),
        ([], "q", "POST", None),
        ([], "q", "PUT", None),
        ([], "q", "DELETE", None),
        ([], "q", "get", None),
        ([], "", "POST", None),
    ],
)
def test_credential(
    authorization: list[str], query: str | None, method: str, expected: object
) -> None:
    found = credential(headers(*authorization), query, method)
    assert found == expected


@pytest.mark.parametrize(
    ("authorization", "query"),
    [
        (["Basic YTpi"], None),
        (["Basic YTpi"], "q"),
        (["Bearer"], None),
        (["Bearer "], "q"),
        ([""], "q"),
        (["abc.def.ghi"], None),
        (["Bearer\tabc"], None),
        (["Bearer a", "Bearer a"], None),
        (["Bearer a", "Basic YTpi"], None),
        ([], ""),
    ],
)
def test_credentials_that_are_refused(authorization: list[str], query: str | None) -> None:
    with pytest.raises(InvalidToken):
        credential(headers(*authorization), query, "GET")
