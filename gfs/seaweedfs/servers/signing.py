"""The tokens that volume servers require if the cluster's security.toml has keys. Pure.

A token is a JSON Web Token signed with HMAC-SHA256 (RFC 7515, 7519), which names one needle and
expires. Reads and writes have different keys. A token is made for each request; it has about 150
bytes and takes 20 µs.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode

VALID_SECONDS = 60
"""How long a token is valid."""

_HEADER = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")


def token(key: bytes, fid: str, now: float) -> str:
    """A token for the needle ``fid`` that is valid for VALID_SECONDS after ``now`` (Unix time)."""
    claims = json.dumps({"fid": fid, "exp": int(now) + VALID_SECONDS}, separators=(",", ":"))
    signed = _HEADER + b"." + urlsafe_b64encode(claims.encode()).rstrip(b"=")
    signature = hmac.digest(key, signed, hashlib.sha256)
    return (signed + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()
