"""Links: tokens in URLs that open one thing, for a while, with the rights of whoever made them.

A URL ends up in logs, histories and Referer fields, so its token says as little as it can. It is
the 16 bytes of a synthetic IV and an encrypted payload (AES-SIV, RFC 5297), in base64url: when it
ends, who made it, and when the namespace was made in which the file is. What it opens is not in
it: that goes into the seal as associated data, and is taken from the path of the request that
brings the token. So a token opens nothing but what it was made for, and whoever finds one learns
nothing from it.

Nobody can take one for a user's token, nor the reverse (RFC 8725 §3.11, §3.12): the key is another
one, and a link has no dot where a JWT must have two. Its key is made by the database on which all
processes agree, once (``migrate``), because where tokens are checked by a public key there is
no secret to derive one from. A deleted row ends all links at the next start.

The rights are those of the maker, as they are when the link is used: the namespace is looked up
again, it has to be the same one and not another that was made under its name, and
:func:`sfs_server.auth.access.require` decides for the maker. What only the maker's token said, that
they are an admin, is taken from the link; the scopes of an API token cannot change, and were asked
when the link was made. A link never outlives the token that it was made with: it ends at that
token's ``exp``, if not before. No leeway is added, neither to that nor to its own end.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from gfs import clock
from sfs_server.auth.access import Namespace
from sfs_server.auth.claims import ANONYMOUS, InvalidToken, Principal, decode_segment
from sfs_server.database import Database

DEFAULT_TTL = 300
MAX_TTL = 7 * 86400

_HEAD = struct.Struct(">BQq")
"""Flags, the end in Unix milliseconds, the namespace's time in Unix microseconds; then the user."""

_ADMIN, _ANONYMOUS = 1, 2
_SIV_BYTES = 16
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Subject = tuple[bytes, ...]
"""What a link opens: the kind, and the names that say which."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link that is good now: whose rights it has, and in which namespace it was made."""

    maker: Principal
    made_in: int

    def same(self, namespace: Namespace | None) -> Namespace | None:
        """``namespace``, or None if it is not the one that the link was made in."""
        if namespace is None or _identity(namespace) != self.made_in:
            return None
        return namespace


class Links:
    """Makes links, and opens those that any process with the same key has made."""

    def __init__(self, key: bytes) -> None:
        """``key`` has 32 bytes."""
        self._seal = AESSIV(key)

    @classmethod
    async def of(cls, database: Database) -> Links:
        """Those of ``database``, whose schema has been applied. Raises DatabaseUnavailable."""
        [(key,)] = await database.fetch("SELECT key FROM link_key", idempotent=True)
        return cls(bytes(key))

    def make(
        self, maker: Principal, subject: Subject, namespace: Namespace | None, ttl: int
    ) -> tuple[str, int]:
        """A token for ``subject`` (in ``namespace``, if it is a file) that is good for ``ttl``
        seconds, but never longer than the token of its ``maker``; and the Unix second from which on
        it may be dead. Whether ``maker`` may see the subject has been asked. Raises InvalidToken
        where the maker's token has expired, and is good only by leeway."""
        now = clock.unix()
        end = min(now + ttl, maker.expires)
        if end <= now:
            raise InvalidToken("The token has expired. Sign in again to make links.")
        flags = _ADMIN * maker.admin | _ANONYMOUS * maker.anonymous
        made_in = 0 if namespace is None else _identity(namespace)
        payload = _HEAD.pack(flags, math.floor(end * 1000), made_in) + (maker.user or "").encode()
        sealed = self._seal.encrypt(payload, list(subject))
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode(), math.floor(end)

    def open(self, token: str, subject: Subject) -> Link:
        """The link that ``token`` is. Raises InvalidToken unless it is one for ``subject`` and has
        not ended."""
        sealed = decode_segment(token)
        if len(sealed) < _SIV_BYTES + _HEAD.size:
            raise InvalidToken("The link is not one of this service.")
        try:
            payload = self._seal.decrypt(sealed, list(subject))
        except InvalidTag:
            raise InvalidToken("The link is not for this address.") from None
        flags, end, made_in = _HEAD.unpack_from(payload)
        if clock.unix() * 1000 >= end:
            raise InvalidToken("The link has expired. Ask for a new one.")
        if flags & _ANONYMOUS:
            return Link(ANONYMOUS, made_in)
        user = payload[_HEAD.size :].decode()
        return Link(Principal(user, username=user, admin=bool(flags & _ADMIN)), made_in)


def looks_like_link(token: str) -> bool:
    """Whether ``token`` can only be a link: every other one has dots."""
    return _ALPHABET.fullmatch(token) is not None


def file_subject(namespace: str, name: str) -> Subject:
    """What a link to a file opens, by view and by download."""
    return b"sfs link 1: file", namespace.encode(), name.encode()


def transfer_subject(id_: str) -> Subject:
    """What a link to the events of a transfer opens."""
    return b"sfs link 1: transfer", id_.encode()


def _identity(namespace: Namespace) -> int:
    """When ``namespace`` was made: another one of its name was made later."""
    return (namespace.created_at - _EPOCH) // timedelta(microseconds=1)
