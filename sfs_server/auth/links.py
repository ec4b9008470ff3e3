"""Links: tokens in URLs, each for one file, folder or transfer, with the rights of the user who
created it.

A link gives access to its *subject* (a file, a folder and all below it, or the events of a
transfer) for a limited time.
URLs end up in logs, histories and Referer fields, so the token reveals nothing. It is base64url of
a synthetic IV of 16 bytes and an encrypted payload (AES-SIV, RFC 5297): when the link expires, who
created it, and when the namespace of the file was created. The subject is not in the payload but is
the associated data of the encryption, and is taken from the path of the request. So a token is
valid only for the subject that it was created for. What a request is for may be in the subjects of
several links: those to the file, and to each of the folders that it is in. Each is tried.

A link cannot be used as a user's token, nor the reverse (RFC 8725 §3.11, §3.12): they have
different keys, and a link has no dot while a JWT has two. The database makes the key of the links
once (``migrate``), and all processes use it; it cannot be derived from a secret for tokens, since
there is none where tokens are checked by a public key. If the row is deleted, the next start makes
a new key, and all links are invalid.

A link has the rights that its creator has when it is used. The namespace is looked up again; it
must be the same one, not a new one of that name; and :func:`sfs_server.auth.access.require` is
called with the creator as principal. Only the token of the creator says whether they are an admin,
so that is stored in the link. Scopes are not stored: they are checked when the link is created, and
those of an API token never change. A link expires no later than the token with which it was
created, at that token's ``exp``. No leeway is added to either time.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from gfs import clock
from gfs.paths import parents
from sfs_server.auth.access import Namespace
from sfs_server.auth.claims import ANONYMOUS, InvalidToken, Principal, decode_segment
from sfs_server.database import Database

DEFAULT_TTL = 300
"""How long a link is valid, in seconds, if the request that creates it does not say."""

MAX_TTL = 7 * 86400
"""The longest time for which a link can be valid, in seconds."""

_HEAD = struct.Struct(">BQq")
"""The first fields of the payload: flags, the time when the link expires (Unix milliseconds), the
time when the namespace was created (Unix microseconds, 0 without one). The user follows."""

_ADMIN, _ANONYMOUS = 1, 2
_SIV_BYTES = 16
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Subject = tuple[bytes, ...]
"""What a link is for: first the kind, ``file``, ``folder`` or ``transfer``, then the names that
identify it."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link that is valid now: the principal whose rights it has, and the creation time of its
    namespace (Unix microseconds, 0 without one)."""

    maker: Principal
    made_in: int

    def same(self, namespace: Namespace | None) -> Namespace | None:
        """``namespace``, or None if it is not the namespace of the link but a later one of the same
        name."""
        if namespace is None or _identity(namespace) != self.made_in:
            return None
        return namespace


class Links:
    """Makes links, and checks links made by any process that has the same key."""

    def __init__(self, key: bytes) -> None:
        """``key`` has 32 bytes (AES-128-SIV)."""
        self._seal = AESSIV(key)

    @classmethod
    async def of(cls, database: Database) -> Links:
        """The Links with the key in ``database``, after ``migrate``. Raises DatabaseUnavailable."""
        [(key,)] = await database.fetch("SELECT key FROM link_key", idempotent=True)
        return cls(bytes(key))

    def make(
        self, maker: Principal, subject: Subject, namespace: Namespace | None, ttl: int
    ) -> tuple[str, int]:
        """Make a link for ``subject`` (in ``namespace``, unless it is a transfer). It is valid for
        ``ttl`` seconds, but no longer than the token of ``maker``, its creator. The caller has
        checked that ``maker`` may read the subject.

        Returns the token of the link, and the time when it expires in Unix seconds, rounded down.
        Raises InvalidToken if the token of ``maker`` has expired, and is accepted only because of
        the leeway.
        """
        now = clock.unix()
        end = min(now + ttl, maker.expires)
        if end <= now:
            raise InvalidToken("The token has expired. Sign in again to make links.")
        flags = _ADMIN * maker.admin | _ANONYMOUS * maker.anonymous
        made_in = 0 if namespace is None else _identity(namespace)
        payload = _HEAD.pack(flags, math.floor(end * 1000), made_in) + (maker.user or "").encode()
        sealed = self._seal.encrypt(payload, list(subject))
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode(), math.floor(end)

    def open(self, token: str, subjects: Iterable[Subject]) -> Link:
        """Decrypt ``token``. Raises InvalidToken unless it is a link for one of ``subjects``, and
        has not expired."""
        sealed = decode_segment(token)
        if len(sealed) < _SIV_BYTES + _HEAD.size:
            raise InvalidToken("The link is not one of this service.")
        payload = self._payload(sealed, subjects)
        flags, end, made_in = _HEAD.unpack_from(payload)
        if clock.unix() * 1000 >= end:
            raise InvalidToken("The link has expired. Ask for a new one.")
        if flags & _ANONYMOUS:
            return Link(ANONYMOUS, made_in)
        user = payload[_HEAD.size :].decode()
        return Link(Principal(user, username=user, admin=bool(flags & _ADMIN)), made_in)

    def _payload(self, sealed: bytes, subjects: Iterable[Subject]) -> bytes:
        for subject in subjects:
            with suppress(InvalidTag):
                return self._seal.decrypt(sealed, list(subject))
        raise InvalidToken("The link is not for this address.")


def looks_like_link(token: str) -> bool:
    """Whether ``token`` has the form of a link: it has no dots, and every other token has."""
    return _ALPHABET.fullmatch(token) is not None


def file_subject(namespace: str, path: str) -> Subject:
    """The subject of a link to the file at ``path``, for viewing it and for downloading it."""
    return b"sfs link 1: file", namespace.encode(), path.encode()


def folder_subject(namespace: str, path: str) -> Subject:
    """The subject of a link to the folder at ``path`` and all below it; "" is the whole
    namespace."""
    return b"sfs link 1: folder", namespace.encode(), path.encode()


def subjects_of(namespace: str, path: str, *, folder: bool) -> list[Subject]:
    """The subjects of all links that open ``path``, of a file, or of a ``folder`` with all that is
    in it: at most 33."""
    above = [*parents(path), path] if folder and path else parents(path)
    folders = [folder_subject(namespace, one) for one in (*reversed(above), "")]
    return folders if folder else [file_subject(namespace, path), *folders]


def transfer_subject(id_: str) -> Subject:
    """The subject of a link to the events of the transfer ``id_``."""
    return b"sfs link 1: transfer", id_.encode()


def _identity(namespace: Namespace) -> int:
    """When ``namespace`` was created, in Unix microseconds. It differs from that of any later
    namespace of the same name."""
    return (namespace.created_at - _EPOCH) // timedelta(microseconds=1)
