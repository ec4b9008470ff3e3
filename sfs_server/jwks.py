"""The issuer's published keys (RFC 7517 §5), fetched from a URL and kept for a while.

A set is fresh for FRESH_SECONDS. After that, whoever asks first starts a fetch, and everybody who
asks meanwhile waits for that same one; it is a task of its own, so a caller that goes away does
not break it for the others. If it fails, the old set is used until it is STALE_SECONDS old, and
the next attempt waits for REFETCH_SECONDS, so that a URL that hangs costs few requests its
FETCH_TIMEOUT_SECONDS. A token that names a key which is not in the set starts a fetch too (keys
rotate), again at most once in REFETCH_SECONDS: made-up names must not become traffic to the
issuer. A set that was fetched well is believed even if it is empty; that is how keys are revoked.

What is fetched is trusted to name keys, not to be small or well-formed: its size is bounded while
it is read, compression is neither asked for nor undone, and a redirect is a failure.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

import aiohttp
import yarl

from sfs_server.claims import load_json_object
from sfs_server.config import ConfigError
from sfs_server.errors import RETRY_AFTER_SECONDS, Problem

FRESH_SECONDS = 300.0
STALE_SECONDS = 3600.0
REFETCH_SECONDS = 30.0
FETCH_TIMEOUT_SECONDS = 5.0
MAX_BYTES = 64 * 1024

_log = logging.getLogger(__name__)

Jwk = Mapping[str, object]


class _Unusable(Exception):
    """The answer is not a JWK set that can be used. The text says why, for the log."""


class Jwks:
    """The JWK set at one URL. Belongs to one event loop; ``close`` ends a fetch under way."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that never go back. Raises ConfigError for a URL not http(s)."""
        try:
            self._url = yarl.URL(url)
        except ValueError:
            self._url = yarl.URL()
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ConfigError("-jwks-url must be a URL that begins with https:// or http://.")
        self._clock = clock
        self._keys: tuple[Jwk, ...] = ()
        self._fetched_at: float | None = None
        self._attempted_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def current(self) -> tuple[Jwk, ...]:
        """The keys, raw and unjudged; the same object as last time unless they have changed.

        Does not suspend while the set is fresh. Raises Problem 503 if there is none to be had.
        """
        if not self._younger_than(FRESH_SECONDS):
            await self._fetch_once()
        return self._usable()

    async def refetched(self) -> tuple[Jwk, ...]:
        """As ``current``, after a fetch unless there was one in the last REFETCH_SECONDS."""
        await self._fetch_once()
        return self._usable()

    async def close(self) -> None:
        """End a fetch under way. May be called again."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
            self._fetching = None

    def _younger_than(self, seconds: float) -> bool:
        return self._fetched_at is not None and self._clock() - self._fetched_at < seconds

    def _usable(self) -> tuple[Jwk, ...]:
        if not self._younger_than(STALE_SECONDS):
            raise Problem(
                503,
                "The keys that tokens are checked with cannot be fetched. Try again later.",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        return self._keys

    async def _fetch_once(self) -> None:
        if self._fetching is None:
            # With no keys at all nothing works: then the wait is what the 503 told the clients.
            pause = (
                REFETCH_SECONDS if self._younger_than(STALE_SECONDS) else float(RETRY_AFTER_SECONDS)
            )
            now = self._clock()
            if self._attempted_at is not None and now - self._attempted_at < pause:
                return
            self._attempted_at = now
            self._fetching = asyncio.create_task(self._fetch_and_keep(), name="jwks")
        await asyncio.shield(self._fetching)

    async def _fetch_and_keep(self) -> None:
        try:
            keys = await self._fetch()
        except (aiohttp.ClientError, OSError, _Unusable) as error:
            # A timeout is an OSError. The URL may contain a password; its host does not.
            _log.warning(
                "the JWK set of %s could not be fetched: %s",
                self._url.host,
                error if isinstance(error, _Unusable) else type(error).__name__,
            )
        else:
            self._fetched_at = self._clock()
            if keys != self._keys:
                self._keys = keys
        finally:
            self._fetching = None

    async def _fetch(self) -> tuple[Jwk, ...]:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
        headers = {"Accept": "application/jwk-set+json, application/json"}
        headers["Accept-Encoding"] = "identity"
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(self._url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise _Unusable(f"it answered {response.status}")
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > MAX_BYTES:
                    raise _Unusable(f"it is larger than {MAX_BYTES} bytes")
        try:
            keys = load_json_object(bytes(body)).get("keys")
        except ValueError:
            raise _Unusable("it is not a JSON object") from None
        if not isinstance(keys, list):
            raise _Unusable("it has no list of keys")
        return tuple(key for key in keys if isinstance(key, dict))
