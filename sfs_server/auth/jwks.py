"""The JWK set of the issuer (RFC 7517 §5), its public keys, fetched from a URL and cached.

Requests do not wait for the issuer while the cached set may be used. The first request fetches the
set. From then on a timer fetches it again in the background: FRESH_SECONDS after a fetch that
succeeded, REFETCH_SECONDS after one that failed. Meanwhile the cached set is used
(stale-while-revalidate and stale-if-error of RFC 5861) until it is STALE_SECONDS old. So a key that
the issuer withdraws is trusted for FRESH_SECONDS plus one fetch if the issuer can be reached, and
for STALE_SECONDS at most if it cannot. Before the first fetch, and when the set is too old,
requests wait for a fetch, for FETCH_TIMEOUT_SECONDS at most.

A request also waits for a fetch if its token names a key that is not in the set, because the issuer
may have rotated its keys. Such fetches start at most every REFETCH_SECONDS, so that made-up names
do not cause traffic to the issuer. There is one fetch at a time, shared by all requests that wait.
It is a task of its own: a request that is cancelled does not cancel it for the others. An empty set
that was fetched successfully replaces the cached one; this is how an issuer revokes all keys.

The issuer is trusted to name keys, but its response may still be too large or malformed: its size
is checked while it is read, compression is neither requested nor decoded, and a redirect is a
failure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import aiohttp
import yarl

from gfs import clock
from sfs_server.auth.claims import load_json_object
from sfs_server.config import ConfigError
from sfs_server.errors import RETRY_AFTER_SECONDS, Problem

FRESH_SECONDS = 300.0
"""The time from a successful fetch to the next one."""

STALE_SECONDS = 3600.0
"""The longest time that a set is used after it was fetched, if later fetches fail."""

REFETCH_SECONDS = 30.0
"""The time from a failed fetch to the next one, and the shortest time from any fetch to one because
a token names a key that is not in the set."""

FETCH_TIMEOUT_SECONDS = 5.0
"""The longest time that one fetch takes."""

MAX_BYTES = 64 * 1024
"""The size of the largest response that is accepted."""

_log = logging.getLogger(__name__)

Jwk = Mapping[str, object]
"""One key of a JWK set, a JSON object (RFC 7517 §4). None of its members has been checked."""


class _Unusable(Exception):
    """The response is not a JWK set that can be used. The text says why, for the log."""


class Jwks:
    """The JWK set at one URL, cached. Belongs to one event loop. ``close`` it after use."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError if ``url`` is not an http or https URL. Does not fetch it yet."""
        try:
            self._url = yarl.URL(url)
        except ValueError:
            self._url = yarl.URL()
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ConfigError("-jwks-url must be a URL that starts with https:// or http://.")
        self._keys: tuple[Jwk, ...] = ()
        self._fetched_at: float | None = None
        self._attempted_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Jwks {self._url.host} keys={len(self._keys)} fetched_at={self._fetched_at}>"

    async def current(self) -> tuple[Jwk, ...]:
        """The keys of the set, unchecked; the same tuple object as last time if they are the same.

        Does not suspend while the cached set is younger than STALE_SECONDS. Else it is fetched
        first; raises Problem 503 if that fails.
        """
        if not self._usable():
            # Not more often than the 503 asks clients to try again.
            await self._fetch_once(float(RETRY_AFTER_SECONDS))
        return self._current()

    async def refetched(self) -> tuple[Jwk, ...]:
        """Like ``current``, but fetch the set first, unless that was tried in the last
        REFETCH_SECONDS."""
        await self._fetch_once(REFETCH_SECONDS)
        return self._current()

    async def close(self) -> None:
        """Cancel the timer and the fetch that is running. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
            self._fetching = None

    def _usable(self) -> bool:
        return self._fetched_at is not None and clock.monotonic() - self._fetched_at < STALE_SECONDS

    def _current(self) -> tuple[Jwk, ...]:
        if not self._usable():
            raise Problem(
                503,
                "The keys that tokens are checked with cannot be fetched. Try again later.",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        return self._keys

    async def _fetch_once(self, pause: float) -> None:
        """Wait for the fetch that is running, or start one and wait for it. Return at once if none
        is running and the last one started less than ``pause`` seconds ago."""
        fetching = self._fetching
        if fetching is None:
            if self._attempted_at is not None and clock.monotonic() - self._attempted_at < pause:
                return
            fetching = self._start()
        await asyncio.shield(fetching)

    def _start(self) -> asyncio.Task[None]:
        """Start a fetch now, and cancel the timer for the next one. Only while none is running."""
        if self._timer is not None:
            self._timer.cancel()
        self._attempted_at = clock.monotonic()
        self._fetching = asyncio.create_task(self._fetch_and_cache(), name="jwks")
        return self._fetching

    async def _fetch_and_cache(self) -> None:
        again = REFETCH_SECONDS
        try:
            keys = await self._fetch()
        except (aiohttp.ClientError, OSError, _Unusable) as error:
            # A timeout is an OSError. Only the host is logged: the URL may contain a password.
            _log.warning(
                "the JWK set of %s could not be fetched: %s",
                self._url.host,
                error if isinstance(error, _Unusable) else type(error).__name__,
            )
        else:
            again = FRESH_SECONDS
            self._fetched_at = clock.monotonic()
            if keys != self._keys:
                self._keys = keys
        finally:
            self._fetching = None
        self._timer = asyncio.get_running_loop().call_later(again, self._start)

    async def _fetch(self) -> tuple[Jwk, ...]:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
        headers = {"Accept": "application/jwk-set+json, application/json"}
        headers["Accept-Encoding"] = "identity"
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(self._url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise _Unusable(f"the status is {response.status}")
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
