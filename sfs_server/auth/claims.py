"""What a token says, before and after its signature is checked. Pure.

A token is a JWS in compact form (RFC 7515 §7.1): three base64url segments, header, payload and
signature. This module takes it apart (``split``, ``read_header``), and reads the payload of one
whose signature has been found good (``read_claims``). Everything is read in one spelling only:
base64url without padding and with zero trailing bits (RFC 4648 §3.5), JSON without duplicate
members (RFC 8725 §2.4 and RFC 8259 §4) and without NaN or Infinity. So two different texts are
never one token, and no two readers of one token see different claims. The size is bounded before
anything is parsed. ``crit`` and ``b64`` (RFC 7515 §4.1.11, RFC 7797) ask for processing that is
not done here, and are refused. What the header offers as a key (``jku``, ``jwk``, ``x5u``,
``x5c``) is not looked at (RFC 8725 §3.10).

The times are RFC 7519 §4.1.4 to 4.1.6: a token is good from the later of ``nbf`` and ``iat``, that
instant included, until ``exp``, that instant excluded, both widened by LEEWAY_SECONDS.
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
"""As much as fits, with the rest of a request's header, into what HTTP servers commonly allow."""

LEEWAY_SECONDS = 30.0
"""How far the clocks of the issuer and of this machine may be apart."""

MAX_USER_CHARACTERS = 255
"""RFC 7519 sets no limit for ``sub``; OpenID Connect Core §2 sets this one."""

_TYPES = frozenset({"jwt", "at+jwt"})
"""What a header's ``typ`` may say: a JWT (RFC 7519 §5.1), or one that is an OAuth access token (RFC
9068 §2.1, and §4 for both spellings). It is a media type without regard to case, whose
``application/`` may be left out (RFC 7515 §4.1.9)."""

API_TOKEN = "api_token"  # noqa: S105 - a kind of token, not one  # nosec B105

MAX_NESTING = 64
"""Arrays and objects inside each other. What is sent to SFS has two or three."""

_PREFIX = "ecloud_"
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
"""What opens or closes something in a JSON text, and its strings. One that is not closed matches to
the end, so that the search never starts anew inside it."""

_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, lone surrogates, and what ends a line: they forge log lines."""


class InvalidToken(Exception):
    """The token is refused. The text says why, and never contains a part of the token."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: nobody known (``user`` is None), a user, an admin, or an API token of one.

    ``user`` identifies, ``username`` is for show. ``scopes`` is None unless the caller holds an
    ``api_token``; then it maps a resource (``storage.<user>.files.<ns>``,
    ``storage.<user>.namespaces.<ns>`` or a shorter prefix of one) to the actions it allows there,
    and nothing else is allowed. ``expires`` is the ``exp`` of the token, in Unix seconds, without
    leeway; infinity for who has none.
    """

    user: str | None
    username: str = ""
    admin: bool = False
    scopes: Mapping[str, frozenset[str]] | None = field(default=None, hash=False)
    expires: float = field(default=math.inf, compare=False)

    @property
    def anonymous(self) -> bool:
        """Whether the caller showed no credential."""
        return self.user is None

    def granted(self, resource: str, action: str) -> bool:
        """Whether the scopes leave ``action`` on ``resource`` to the rights of the user.

        ``resource`` is ``files.<ns>`` or ``namespaces.<ns>``, or ``files`` for every namespace at
        once. Without scopes the result is True. Keys are compared whole: a namespace's name may
        contain dots, so a key that is merely the beginning of another one grants nothing there.
        """
        if self.scopes is None:
            return True
        kind = resource.partition(".")[0]
        keys = {f"storage.{self.user}{part}" for part in ("", f".{kind}", f".{resource}")}
        return any(action in self.scopes.get(key, ()) for key in keys)


ANONYMOUS = Principal(None)


@dataclass(frozen=True, slots=True)
class Compact:
    """A token taken apart: the segments as they were sent, of the right alphabet, not decoded."""

    header: str
    payload: str
    signature: str

    @property
    def signing_input(self) -> bytes:
        """The bytes under the signature (RFC 7515 §5.2)."""
        return f"{self.header}.{self.payload}".encode("ascii")


@dataclass(frozen=True, slots=True)
class Header:
    """The part of a header that matters: the algorithm it claims, and the name of the key."""

    algorithm: str
    kid: object


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token with a good signature grants: ``principal``, from the Unix second ``not_before``
    until ``not_after``, which is excluded; the leeway is in both."""

    principal: Principal
    not_before: float
    not_after: float

    def refusal(self, now: float) -> InvalidToken:
        """Why the token is refused at ``now``, before or after the time in which it is good."""
        early = now < self.not_before
        return InvalidToken(
            "The token is not valid yet." if early else "The token has expired. Sign in again."
        )


def split(token: str) -> Compact:
    """Take ``token`` apart; one leading ``ecloud_`` is dropped. Raises InvalidToken."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidToken(f"The token is longer than {MAX_TOKEN_CHARACTERS} characters.")
    found = _COMPACT.fullmatch(token.removeprefix(_PREFIX))
    if found is None:
        raise InvalidToken("The token is not three base64url segments with dots between them.")
    return Compact(*found.groups())


def decode_segment(segment: str) -> bytes:
    """Decode base64url in its one canonical spelling. Raises InvalidToken for any other."""
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise InvalidToken("A segment of the token is not base64url.") from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii") != segment:
        raise InvalidToken("A segment of the token is not canonical base64url.")
    return decoded


class RepeatedMember(ValueError):
    """An object names a member twice, and readers would differ in which one they believe."""


def _nesting(text: str) -> int:
    """How deep the arrays and objects of a JSON text are nested; 0 for few of them. Linear."""
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for mark in _MARKS.findall(text):
        depth += (mark in "[{") - (mark in "]}")
        deepest = max(deepest, depth)
    return deepest


def load_json_object(text: bytes) -> dict[str, Any]:
    """Read one JSON object in UTF-8.

    Raises RepeatedMember, and ValueError for anything else that is not plain JSON (RFC 8259): NaN,
    Infinity, more than one value; and for what is nested deeper than MAX_NESTING (RFC 8259 §9 lets
    a parser set a limit; that of Python's own differs between its versions).
    """
    decoded = text.decode("utf-8")
    if _nesting(decoded) > MAX_NESTING:
        raise ValueError("nested too deeply")
    value = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the input is wrong, not its type
    return value


def read_header(segment: str) -> Header:
    """Read the first segment. Raises InvalidToken for what this service does not process."""
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
    """Read the second segment of a token whose signature is good.

    ``issuer`` and ``audience`` are what ``iss`` must be and ``aud`` must contain. Without
    ``issuer``, ``iss`` is not looked at. Without ``audience`` there must be no ``aud``: whoever
    does not find themselves in it has to refuse the token (RFC 7519 §4.1.3). The times are
    returned, not judged. Raises InvalidToken.
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
    """Return ``user`` if it can identify or name one, else raise InvalidToken."""
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
        # The parser's own text quotes what it read; it stays here.
        raise InvalidToken("A segment of the token is not a plain JSON object.") from None


def _time(claims: Mapping[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2) in Unix seconds, or None where there is none."""
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
