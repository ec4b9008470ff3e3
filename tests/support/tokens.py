"""Tokens made by hand, good and bad, and what a verifier has to say to them.

The writer knows nothing of the code under test: it signs with hmac and cryptography alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sfs_server.auth.tokens import InvalidToken, Principal, Verifier
from sfs_server.config import Config
from tests.support.credentials import SECRET

NOW = 1_700_000_000.0

Sign = Callable[[bytes], bytes]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hs256(secret: bytes | str) -> Sign:
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda data: hmac.digest(key, data, hashlib.sha256)


def rs256(key: rsa.RSAPrivateKey) -> Sign:
    return lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def es256(key: ec.EllipticCurvePrivateKey) -> Sign:
    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)

    return sign


def raw_token(header: bytes, payload: bytes, sign: Sign) -> str:
    """A token of these very bytes, whatever they are."""
    signing_input = f"{b64(header)}.{b64(payload)}"
    return f"{signing_input}.{b64(sign(signing_input.encode()))}"


def token(
    claims: dict[str, object] | None = None,
    *,
    header: dict[str, object] | None = None,
    sign: Sign | None = None,
) -> str:
    """A good HS256 token for alice, but for what is given; a claim given as ... is left out."""
    payload = {"sub": "alice", "exp": NOW + 600, **(claims or {})}
    payload = {name: value for name, value in payload.items() if value is not ...}
    head = {"alg": "HS256", "typ": "JWT", **(header or {})}
    head = {name: value for name, value in head.items() if value is not ...}
    return raw_token(json.dumps(head).encode(), json.dumps(payload).encode(), sign or hs256(SECRET))


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public_jwk(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, **members: object
) -> dict[str, object]:
    """The public half as a JWK; ``members`` are added, or replace."""
    if isinstance(key, rsa.RSAPrivateKey):
        rsa_numbers = key.public_key().public_numbers()
        size = (rsa_numbers.n.bit_length() + 7) // 8
        return {
            "kty": "RSA",
            "n": b64(rsa_numbers.n.to_bytes(size)),
            "e": b64(rsa_numbers.e.to_bytes(3)),
            **members,
        }
    numbers = key.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": b64(numbers.x.to_bytes(32)),
        "y": b64(numbers.y.to_bytes(32)),
        **members,
    }


class Clock:
    """Stands still at ``now``, in Unix seconds."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def at_once(work: Coroutine[object, None, Principal]) -> Principal:
    """The result of a coroutine that never suspends: with a fixed key, nothing is waited for."""
    try:
        work.send(None)
    except StopIteration as done:
        result = done.value
        assert isinstance(result, Principal)
        return result
    raise AssertionError("the coroutine suspended")


def hs_verifier(config: Config | None = None, *, secret: str = SECRET) -> Verifier:
    return Verifier.from_config(config or Config(), secret)


def pem_verifier(directory: Path, pem: bytes) -> Verifier:
    path = directory / "key.pem"
    path.write_bytes(pem)
    return Verifier.from_config(Config(jwt_public_key=str(path)), None)


def accept(text: str, verifier: Verifier | None = None) -> Principal:
    return at_once((verifier or hs_verifier()).verify(text))


def refuse(text: str, verifier: Verifier | None = None) -> str:
    """The reason for the refusal, which must show nothing of the token."""
    with pytest.raises(InvalidToken) as caught:
        accept(text, verifier)
    reason = str(caught.value)
    assert reason
    assert not any(part in reason for part in text.split(".") if len(part) > 3)
    assert caught.value.__cause__ is None
    return reason
