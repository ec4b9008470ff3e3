"""The integrity fields of RFC 9530: what is verified, what is ignored, what is refused."""

from __future__ import annotations

import base64
import hashlib

import pytest

from sfs_server.errors import Problem
from sfs_server.http.digests import Digest

BODY = b"the bytes of a file"
GOOD = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
OTHER = base64.b64encode(hashlib.sha256(b"others").digest()).decode()
SHA512 = base64.b64encode(hashlib.sha512(b"others").digest()).decode()
SHORT = base64.b64encode(b"x" * 31).decode()
LONG = base64.b64encode(b"x" * 33).decode()


def outcome(*lines: str, body: bytes = BODY) -> str:
    """``refused`` before a byte was read, ``mismatch`` after the last one, or ``ok``."""
    step = "refused"
    try:
        digest = Digest("Repr-Digest", lines)
        step = "mismatch"
        for position in range(len(body)):
            digest.update(body[position : position + 1])
        digest.verify()
    except Problem as problem:
        return step if problem.status == 400 and "Repr-Digest" in problem.detail else "?"
    return "ok"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((f"sha-256=:{GOOD}:",), "ok"),
        ((f"  sha-256=:{GOOD}:  ",), "ok"),
        ((f"sha-256=:{OTHER}:",), "mismatch"),
        ((f"sha-256=:{GOOD.rstrip('=')}:",), "ok"),
        ((f"sha-256=:{OTHER.rstrip('=')}:",), "mismatch"),
        # Others besides it, in one line or in several (RFC 9530 §2, RFC 9651 §3.2).
        ((f"sha-512=:{SHA512}:, sha-256=:{GOOD}:",), "ok"),
        ((f"sha-256=:{OTHER}:,sha-512=:{SHA512}:",), "mismatch"),
        ((f"sha-512=:{SHA512}:", f"sha-256=:{GOOD}:"), "ok"),
        ((f"sha-512=:{SHA512}:", f"sha-256=:{OTHER}:"), "mismatch"),
        # Of the same member twice the last one counts (RFC 9651 §3.2).
        ((f"sha-256=:{OTHER}:, sha-256=:{GOOD}:",), "ok"),
        ((f"sha-256=:{GOOD}:", f"sha-256=:{OTHER}:"), "mismatch"),
        # Nothing that is looked at.
        ((f"sha-512=:{SHA512}:",), "ok"),
        (("unknown=:AAAA:",), "ok"),
        (("md5=::",), "ok"),
        (("",), "ok"),
        # Malformed.
        (("sha-256",), "refused"),
        (("sha-256=",), "refused"),
        (("sha-256=:",), "refused"),
        ((f"sha-256={GOOD}",), "refused"),
        ((f'sha-256="{GOOD}"',), "refused"),
        ((f"sha-256=:{GOOD}",), "refused"),
        ((f"SHA-256=:{GOOD}:",), "refused"),
        ((f"sha-256=:{GOOD}: sha-512=:{SHA512}:",), "refused"),
        ((f"sha-256=:{GOOD}:, garbage",), "refused"),
        (("sha-256=:*:",), "refused"),
        (("sha-256=:A:",), "refused"),
        (("sha-256=:AA=A:",), "refused"),
        # No SHA-256 has this length.
        (("sha-256=::",), "refused"),
        ((f"sha-256=:{SHORT}:",), "refused"),
        ((f"sha-256=:{LONG}:",), "refused"),
        ((f"sha-256=:{SHA512}:",), "refused"),
    ],
)
def test_what_a_field_says_is_verified(lines: tuple[str, ...], expected: str) -> None:
    assert outcome(*lines) == expected


@pytest.mark.parametrize("changed", [b"", BODY[:-1], BODY + b"\0", BODY[::-1]])
def test_no_other_bytes_pass(changed: bytes) -> None:
    assert outcome(f"sha-256=:{GOOD}:", body=changed) == "mismatch"


def test_an_empty_body_has_a_digest_too() -> None:
    empty = base64.b64encode(hashlib.sha256().digest()).decode()
    assert outcome(f"sha-256=:{empty}:", body=b"") == "ok"


def test_a_long_field_that_is_malformed_is_refused_at_once() -> None:
    assert outcome("sha-256=:" + "A" * 8000) == "refused"
    assert outcome(" " * 8000 + "x") == "refused"
