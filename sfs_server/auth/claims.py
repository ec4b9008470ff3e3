"""Parses tokens: the header before the signature is checked, the claims afterwards. Pure.

A token is a JWS in compact form (RFC 7515 §7.1): three base64url segments, header, payload and
signature. ``split`` and ``read_header`` take it apart; ``read_claims`` reads the payload, and is to
be called only when the signature is valid. Each part is accepted in one spelling only: base64url
without padding and with zero trailing bits (RFC 4648 §3.5), JSON without duplicate members (RFC
8725 §2.4 and RFC 8259 §4) and without NaN or Infinity. So one token has only one text, and
different parsers cannot read different claims in it. The size is checked before anything is parsed.
``crit`` and ``b64`` (RFC 7515 §4.1.11, RFC 7797) ask for processing that is not implemented here,
and are refused. Keys in the header (``jku``, ``jwk``, ``x5u``, ``x5c``) are ignored (RFC 8725
§3.10).

The times are those of RFC 7519 §4.1.4 to 4.1.6: a token is valid from the later of ``nbf`` and
``iat`` (inclusive) until ``exp`` (exclusive), with LEEWAY_SECONDS added at both ends.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

MAX_TOKEN_CHARACTERS = 8192
"""The longest token that is accepted. With the other headers of a request it still fits into the
limit that HTTP servers commonly have for a header section."""

LEEWAY_SECONDS = 30.0
"""How far the clocks of the issuer and of this machine may differ."""

MAX_USER_CHARACTERS = 255
"""The longest name of a user. RFC 7519 has no limit for ``sub``; this one is that of OpenID Connect
Core §2."""

_TYPES = frozenset({"jwt", "at+jwt"})
"""The values of ``typ`` in a header that are accepted: a JWT (RFC 7519 §5.1), and a JWT that is an
OAuth access token (RFC 9068 §2.1, and §4 for both spellings). ``typ`` is a media type, compared
without regard to case, and ``application/`` may be left out (RFC 7515 §4.1.9)."""

API_TOKEN = "api_token"  # noqa: S105 - a kind of token, not one  # nosec B105
"""The value of the claim ``type`` in an API token, which has scopes."""

MAX_NESTING = 64
"""How many arrays and objects of a JSON text may be inside each other. What clients of SFS and
issuers of tokens send has two or three levels."""

_PREFIX = "ecloud_"
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

_BRACKETS_AND_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
"""A bracket or brace of a JSON text, or a whole string, so that brackets inside strings are not
counted. A string that is not closed matches up to the end of the text: the search does not start
again inside it, and takes linear time."""

_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""The Unicode categories that a user's name must not contain: control characters, lone surrogates,
line and paragraph separators. With them a name could forge log lines."""


class InvalidToken(Exception):
    """The token is refused. The text says why, and never contains a part of the token."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sent a request: an anonymous caller (``user`` is None), a user, an admin, or an API token
    of a user.

    ``user`` identifies the user, ``username`` is the name to display. ``scopes`` is None unless the
    credential is an API token. Then it maps a resource (``storage.<user>.files.<ns>``,
    ``storage.<user>.namespaces.<ns>``, or a shorter one: ``storage.<user>.files``,
    ``storage.<user>``) to the actions that are allowed there; all others are refused. ``expires``
    is the claim ``exp``, in Unix seconds, without leeway; infinity for an anonymous caller.
    """

    user: str | None
    username: str = ""
    admin: bool = False
    scopes: Mapping[str, frozenset[str]] | None = field(default=None, hash=False)
    expires: float = field(default=math.inf, compare=False)

    @property
    def anonymous(self) -> bool:
        """Whether the request has no credential."""
        return self.user is None

    def granted(self, resource: str, action: str) -> bool:
        """Whether the scopes allow ``action`` on ``resource``. Always True without scopes. The user
        may still lack the right.

        ``resource`` is ``files.<ns>`` or ``namespaces.<ns>``, or ``files`` for all namespaces at
        once. Scopes are compared whole, not as prefixes of text: the name of a namespace may
        contain dots, so a scope for the namespace ``a`` must not apply to ``a.b``.
        """
        if self.scopes is None:
            return True
        kind = resource.partition(".")[0]
        keys = {f"storage.{self.user}{part}" for part in ("", f".{kind}", f".{resource}")}
        return any(action in self.scopes.get(key, ()) for key in keys)


ANONYMOUS = Principal(None)
"""The principal of a request without a credential."""


@dataclass(frozen=True, slots=True)
class Compact:
    """The three segments of a token: base64url text, not decoded yet."""

    header: str
    payload: str
    signature: str

    @property
    def signing_input(self) -> bytes:
        """The bytes that were signed (RFC 7515 §5.2)."""
        return f"{self.header}.{self.payload}".encode("ascii")


@dataclass(frozen=True, slots=True)
class Header:
    """The members of a token's header that are used: ``alg``, and ``kid``, the name of the key,
    None if it has none. ``kid`` is compared with names, and so may be of any JSON type."""

    algorithm: str
    kid: object


@dataclass(frozen=True, slots=True)
class Verified:
    """A token whose signature is valid. It is to be accepted as ``principal`` from ``not_before``
    (inclusive) until ``not_after`` (exclusive), in Unix seconds with the leeway added."""

    principal: Principal
    not_before: float
    not_after: float

    def refusal(self, now: float) -> InvalidToken:
        """The error for a token that is not valid at ``now`` (Unix seconds)."""
        early = now < self.not_before
        return InvalidToken(
            "The token is not valid yet." if early else "The token has expired. Sign in again."
        )


def split(token: str) -> Compact:
    """Return the segments of ``token``; one prefix ``ecloud_`` is removed. Raises InvalidToken if
    it is too long, or not three base64url segments."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidToken(f"The token is longer than {MAX_TOKEN_CHARACTERS} characters.")
    found = _COMPACT.fullmatch(token.removeprefix(_PREFIX))
    if found is None:
        raise InvalidToken("The token is not three base64url segments with dots between them.")
    return Compact(*found.groups())


def decode_segment(segment: str) -> bytes:
    """The bytes of a base64url text. Raises InvalidToken unless it is in canonical form: without
    padding, and with zero trailing bits."""
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise InvalidToken("A segment of the token is not base64url.") from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii") != segment:
        raise InvalidToken("A segment of the token is not canonical base64url.")
    return decoded


class RepeatedMember(ValueError):
    """A JSON object has two members of one name. Parsers differ in which of them they use."""


def _nesting(text: str) -> int:
    """How deep the arrays and objects of a JSON text are nested; 0 if there are at most MAX_NESTING
    of them. Takes linear time."""
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for found in _BRACKETS_AND_STRINGS.findall(text):
        depth += (found in "[{") - (found in "]}")
        deepest = max(deepest, depth)
    return deepest


def load_json_object(text: bytes) -> dict[str, Any]:
    """Parse ``text``, one JSON object in UTF-8.

    Raises RepeatedMember; ValueError for a text that is not JSON by RFC 8259 (NaN, Infinity, more
    than one value), not an object, or nested deeper than MAX_NESTING (RFC 8259 §9 allows a limit;
    that of Python's parser differs between its versions).
    """
    decoded = text.decode("utf-8")
    if _nesting(decoded) > MAX_NESTING:
        raise ValueError("nested too deeply")
    value = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the input is wrong, not its type
    return value


def read_header(segment: str) -> Header:
    """Parse the first segment of a token. Raises InvalidToken if it is no header of a JWT, or asks
    for an extension."""
    header = _object(segment)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise InvalidToken("The token's header names no algorithm.")
    if "crit" in header or "b64" in header:
        raise InvalidToken("The token's header asks for an extension that is not supported.")
    if "typ" in header:
        typ = header["typ"]
        if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in _TYPES:
            raise InvalidToken("The token's header says that it is not a JWT.")
    return Header(algorithm, header.get("kid"))


def read_claims(segment: str, *, issuer: str | None, audience: str | None) -> Verified:
    """Parse the second segment of a token whose signature is valid.

    The claim ``iss`` must be ``issuer``, and ``aud`` must contain ``audience``. If ``issuer`` is
    None, ``iss`` is ignored. If ``audience`` is None, the token must have no ``aud``: a service
    that is not named there has to refuse it (RFC 7519 §4.1.3). The times are not compared with the
    clock here. Raises InvalidToken.
    """
    claims = _object(segment)
    expires = _time(claims, "exp")
    if expires is None:
        raise InvalidToken("The token has no exp claim: a token must say when it expires.")
    starts = [t for t in (_time(claims, "nbf"), _time(claims, "iat")) if t is not None]
    if issuer is not None and claims.get("iss") != issuer:
        raise InvalidToken("The token is not from the issuer that this service trusts.")
    if audience is not None:
        named = claims.get("aud")
        if audience not in (named if isinstance(named, list) else [named]):
            raise InvalidToken("The token is not meant for this service.")
    elif "aud" in claims:
        raise InvalidToken(
            "The token is meant for another service: it has an aud claim, and this service has no "
            "-jwt-audience."
        )
    return Verified(
        _principal(claims, expires),
        not_before=max(starts, default=-math.inf) - LEEWAY_SECONDS,
        not_after=expires + LEEWAY_SECONDS,
    )


def check_user(user: object) -> str:
    """Return ``user``, the identity or the display name of a user, if it is a text of 1 to
    MAX_USER_CHARACTERS characters and has no control characters; else raise InvalidToken."""
    if not isinstance(user, str) or not user:
        raise InvalidToken("The token names no user.")
    if len(user) > MAX_USER_CHARACTERS:
        raise InvalidToken(f"The token's user has more than {MAX_USER_CHARACTERS} characters.")
    if any(unicodedata.category(c) in _FORBIDDEN_CATEGORIES for c in user):
        raise InvalidToken("The token's user contains control characters.")
    return user


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise RepeatedMember("a JSON member appears twice")
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _object(segment: str) -> dict[str, object]:
    try:
        return load_json_object(decode_segment(segment))
    except ValueError:
        # The message of the parser quotes the token, so it is not passed on.
        raise InvalidToken("A segment of the token is not a plain JSON object.") from None


def _time(claims: Mapping[str, object], name: str) -> float | None:
    """The claim ``name``, a NumericDate (RFC 7519 §2), in Unix seconds; None if it is missing.
    Raises InvalidToken."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
        if math.isfinite(seconds):
            return seconds
    raise InvalidToken(f"The token's {name} claim is not a finite number.")


def _principal(claims: Mapping[str, object], expires: float) -> Principal:
    identity = claims.get("user_id")
    if identity is None:
        identity = claims.get("sub")
    elif isinstance(identity, int) and not isinstance(identity, bool):
        identity = str(identity)
    user = check_user(identity)
    username = claims.get("username")
    kind = claims.get("type")
    if kind not in (None, "", API_TOKEN):
        raise InvalidToken("A token of this type cannot be used here.")
    return Principal(
        user,
        username=user if username in (None, "") else check_user(username),
        admin=claims.get("admin") is True or claims.get("is_admin") is True,
        scopes=_scopes(claims.get("scopes")) if kind == API_TOKEN else None,
        expires=expires,
    )


def _scopes(value: object) -> Mapping[str, frozenset[str]]:
    if value is None:
        return MappingProxyType({})
    if not isinstance(value, dict):
        raise InvalidToken("The token's scopes are not an object of lists of strings.")
    scopes = {}
    for resource, actions in value.items():
        if not isinstance(actions, list) or not all(isinstance(a, str) for a in actions):
            raise InvalidToken("The token's scopes are not an object of lists of strings.")
        scopes[resource] = frozenset(actions)
    return MappingProxyType(scopes)
