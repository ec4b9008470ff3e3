"""Turns the credential of a request into a Principal. The only module that uses python-jose.

The threats are those of RFC 8725. The configuration of the server decides the algorithm: HS256 with
a secret, RS256 or ES256 by the type of the public key, or, with a JWK set, by the type of each key
in it. The ``alg`` of a token must be the algorithm of its key, and never selects one (§2.1, §3.1);
so ``none`` is refused, and a public key is never used as an HMAC secret. The ``kid`` of a token
selects one of the keys of the JWK set. Each key must be strong enough for its algorithm: RSA 2048
bits (RFC 7518 §3.3), P-256 (§3.4). A secret must have MIN_SECRET_BYTES, and one shorter than the 32
bytes of §3.2 is logged as weak. jose is used only to load keys, to sign, and to check one signature
with one loaded key. Its ``decode`` is not used, because it would take a secret that happens to be
JSON for a JWK.

A page of thumbnails sends the same token a hundred times. So the results for valid tokens are
cached under the SHA-256 of the token, for the CACHE_ENTRIES tokens used last: measured, 4
microseconds instead of 30 (HS256), 65 (RS256) or 130 (ES256). The times of a token are checked
again at each use, and the cache is emptied when the JWK set changes.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from jose import jwk, jws
from jose.exceptions import JOSEError
from multidict import MultiMapping

from gfs import clock
from sfs_server.auth.claims import (
    ANONYMOUS,
    Compact,
    Header,
    InvalidToken,
    Principal,
    Verified,
    check_user,
    decode_segment,
    read_claims,
    read_header,
    split,
)
from sfs_server.auth.jwks import Jwk, Jwks
from sfs_server.auth.pem import algorithm_of, read_public_key
from sfs_server.auth.secret import MIN_SECRET_BYTES
from sfs_server.config import Config, ConfigError

__all__ = ["ANONYMOUS", "InvalidToken", "Principal", "Verifier", "credential", "mint"]

MIN_SECRET_VARIETY = 5
"""How many different bytes a secret must have. Fewer than one in two million random secrets of 16
hexadecimal digits has less."""

STRONG_SECRET_BYTES = 32
"""The length from which a secret is not called weak (RFC 7518 §3.2)."""

MAX_TTL_SECONDS = 10 * 365 * 86400.0
"""The longest validity of a token that ``mint`` makes."""

CACHE_ENTRIES = 1024
"""For how many tokens the result of checking them is cached."""

_log = logging.getLogger(__name__)

_JWK_KINDS = {"RSA": ("RS256", ("n", "e")), "EC": ("ES256", ("crv", "x", "y"))}
"""The type of a key (``kty``) → its algorithm, and the members of its public half (RFC 7518 §6)."""


@dataclass(frozen=True, slots=True)
class _Key:
    """A key as jose has loaded it, and its algorithm. ``kid`` is its name in the JWK set, None if
    it has none there or is from the configuration."""

    algorithm: str
    loaded: Any
    kid: str | None = None


class Verifier:
    """Checks tokens against the configured keys. Belongs to one event loop."""

    def __init__(
        self,
        keys: Iterable[_Key],
        jwks: Jwks | None,
        config: Config,
        *,
        weak: bool = False,
    ) -> None:
        self.weak = weak
        """Whether the secret is shorter than RFC 7518 §3.2 requires."""
        self._keys = tuple(keys)
        self._jwks = jwks
        self._jwk_set: tuple[Jwk, ...] | None = None
        """The JWK set that ``_keys`` were made from."""
        self._issuer = config.jwt_issuer
        self._audience = config.jwt_audience
        self._cache: OrderedDict[bytes, Verified] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Verifier keys={len(self._keys)} jwks={self._jwks!r} cached={len(self._cache)}>"

    @classmethod
    def from_config(cls, config: Config, secret: str | None) -> Verifier:
        """Make the Verifier for ``config``. ``secret`` is the HS256 secret, None if there is none.

        If ``-jwt-public-key`` or ``-jwks-url`` is given, ``secret`` is not used. Reads the key
        file, but does not fetch the JWK set. Raises ConfigError.
        """
        if config.jwt_public_key is not None and config.jwks_url is not None:
            raise ConfigError("-jwt-public-key and -jwks-url exclude each other: give one of them.")
        if config.jwks_url is not None:
            return cls((), Jwks(config.jwks_url), config)
        if config.jwt_public_key is not None:
            algorithm, public = read_public_key(config.jwt_public_key)
            key = _Key(algorithm, jwk.construct(public, algorithm))
            return cls([key], None, config)
        if secret is None:
            raise ConfigError("Tokens need a key: set JWT_SECRET, -jwt-public-key or -jwks-url.")
        key = _key_of_secret(secret)
        weak = len(_secret_bytes(secret)) < STRONG_SECRET_BYTES
        if weak:
            _log.warning("JWT_SECRET is weak: give it at least %d bytes", STRONG_SECRET_BYTES)
        return cls([key], None, config, weak=weak)

    async def verify(self, token: str) -> Principal:
        """Check ``token`` and return its principal. Suspends only while a JWK set is being fetched.

        Raises InvalidToken; Problem 503 if the JWK set cannot be fetched.
        """
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        # Before the JWK set is fetched: a text that is no token must not cause that.
        compact = None if digest in self._cache else split(token)
        if self._jwks is not None:
            self._use(await self._jwks.current())
        verified = self._cache.get(digest)
        if verified is None:
            verified = await self._check(compact or split(token))
            # Nothing suspends between the check and here: the keys are still those it used.
            self._cache[digest] = verified
            if len(self._cache) > CACHE_ENTRIES:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(digest)
        now = clock.unix()
        if not verified.not_before <= now < verified.not_after:
            raise verified.refusal(now)
        return verified.principal

    async def close(self) -> None:
        """Stop fetching the JWK set. Idempotent."""
        if self._jwks is not None:
            await self._jwks.close()

    async def _check(self, compact: Compact) -> Verified:
        header = read_header(compact.header)
        signature = decode_segment(compact.signature)
        keys = self._candidates(header)
        if not keys and self._jwks is not None and header.algorithm in ("RS256", "ES256"):
            self._use(await self._jwks.refetched())
            keys = self._candidates(header)
        if not keys:
            raise InvalidToken("The token is not signed with a key that this service trusts.")
        if not any(key.loaded.verify(compact.signing_input, signature) for key in keys):
            raise InvalidToken("The token's signature is wrong.")
        return read_claims(compact.payload, issuer=self._issuer, audience=self._audience)

    def _candidates(self, header: Header) -> list[_Key]:
        """The keys that may have signed a token with this header.

        A key from the configuration has no name, and is used whatever ``kid`` the token has. With a
        JWK set, a token without ``kid`` is accepted only if the set has exactly one key of its
        algorithm (OpenID Connect Core §10.1).
        """
        keys = [key for key in self._keys if key.algorithm == header.algorithm]
        if self._jwks is None:
            return keys
        if header.kid is None:
            return keys if len(keys) == 1 else []
        return [key for key in keys if key.kid == header.kid]

    def _use(self, jwk_set: tuple[Jwk, ...]) -> None:
        """Check tokens with the keys of ``jwk_set`` from now on."""
        if jwk_set is self._jwk_set:
            return
        self._jwk_set = jwk_set
        self._keys = tuple(key for key in map(_key_of_jwk, jwk_set) if key is not None)
        self._cache.clear()
        if not self._keys:
            _log.warning("the JWK set has no RSA or P-256 key that can check signatures")


def credential(headers: MultiMapping[str], query_token: str | None, method: str) -> str | None:
    """Return the token of a request, or None if it has none.

    ``query_token`` is the value of ``?token=``. It is used for GET and for HEAD, and only if the
    request has no ``Authorization``; else it is ignored. Raises InvalidToken if ``Authorization``
    is not one ``Bearer`` token (RFC 6750 §2.1), or the token is empty.
    """
    values = headers.getall("Authorization", [])
    if len(values) > 1:
        raise InvalidToken("The request has several Authorization headers.")
    if values:
        scheme, _, token = values[0].strip(" \t").partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidToken("The Authorization header is not of the scheme Bearer.")
        token = token.lstrip(" ")
    elif query_token is not None and method in ("GET", "HEAD"):
        token = query_token
    else:
        return None
    if not token:
        raise InvalidToken("The token is empty.")
    return token


def mint(
    secret: str,
    *,
    user: str,
    username: str | None = None,
    admin: bool = False,
    ttl: float,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """Return an HS256 token for ``user`` that is valid for ``ttl`` seconds from now on. ``issuer``
    becomes its claim ``iss`` and ``audience`` its ``aud``, if they are given.

    Raises ValueError if ``ttl`` or a name is not allowed, ConfigError if ``secret`` is not.
    """
    if not 0 < ttl <= MAX_TTL_SECONDS:
        raise ValueError(f"the ttl must be more than 0 and at most {MAX_TTL_SECONDS:.0f} seconds")
    try:
        names = {"sub": check_user(user), "username": check_user(username or user)}
    except InvalidToken:
        raise ValueError("the user must be 1 to 255 characters, none a control one") from None
    now = clock.unix()
    times = {"iat": int(now), "exp": math.ceil(now + ttl)}
    parties = {"iss": issuer, "aud": audience}
    given = {name: value for name, value in parties.items() if value is not None}
    claims = {**names, "admin": admin, **times, **given}
    key = _key_of_secret(secret)
    return str(jws.sign(claims, key.loaded, algorithm=key.algorithm))


def _secret_bytes(secret: str) -> bytes:
    # Bytes of an environment variable that are not UTF-8 are lone surrogates in text (PEP 383).
    return secret.encode("utf-8", "surrogateescape")


def _key_of_secret(secret: str) -> _Key:
    raw = _secret_bytes(secret)
    if len(raw) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"JWT_SECRET has {len(raw)} bytes; give it at least {MIN_SECRET_BYTES}, better "
            f"{STRONG_SECRET_BYTES}: openssl rand -base64 32"
        )
    try:
        key = _Key("HS256", jwk.construct(raw, "HS256"))
    except JOSEError:
        raise ConfigError(
            "JWT_SECRET looks like a key file. Give a public key with -jwt-public-key FILE, or a "
            "random secret: openssl rand -base64 32"
        ) from None
    if len(set(raw)) < MIN_SECRET_VARIETY:
        raise ConfigError(
            "JWT_SECRET is blank or repeats a few characters, and can be guessed. Make a random "
            "one: openssl rand -base64 32"
        )
    if raw != raw.strip():
        raise ConfigError(
            "JWT_SECRET begins or ends with white space, which programs that make tokens may drop. "
            "Remove it: a line break at the end comes from echo; printf adds none."
        )
    return key


def _key_of_jwk(raw: Jwk) -> _Key | None:
    """The key in one member of a JWK set, or None if it is not an RSA or P-256 key for checking
    signatures, or contains the private half (``d``): such a key has been published.
    """
    kty, kid = raw.get("kty"), raw.get("kid")
    if not isinstance(kty, str) or kty not in _JWK_KINDS or not isinstance(kid, str | None):
        return None
    algorithm, names = _JWK_KINDS[kty]
    operations = raw.get("key_ops", ["verify"])
    if (
        raw.get("use", "sig") != "sig"
        or raw.get("alg", algorithm) != algorithm
        or not isinstance(operations, list)
        or "verify" not in operations
        or "d" in raw
        or raw.get("crv", "P-256") != "P-256"
    ):
        return None
    try:
        loaded = jwk.construct({"kty": kty, **{name: raw[name] for name in names}}, algorithm)
    except (JOSEError, KeyError, TypeError, ValueError, UnsupportedAlgorithm):
        return None
    return _Key(algorithm, loaded, kid) if algorithm_of(loaded.prepared_key) else None
