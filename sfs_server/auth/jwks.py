"""The issuer's published keys (RFC 7517 §5), fetched from a URL and kept for a while.

No request waits for the issuer while there is a set that may be used. The first request fetches
one. From then on a timer fetches it again, next to the requests: FRESH_SECONDS after a fetch that
went well, REFETCH_SECONDS after one that failed. Until a fetch has gone well the set that is there
is used (stale-while-revalidate and stale-if-error of RFC 5861), but never one that is older than
STALE_SECONDS: a key that was withdrawn is trusted for FRESH_SECONDS and the time of a fetch where
the issuer can be reached, and for STALE_SECONDS at most where it cannot. After that, and before the
first fetch, requests wait for the fetch, for FETCH_TIMEOUT_SECONDS at most.

A token that names a key which is not in the set (keys rotate) waits for a fetch too, and nobody
else does. There is one fetch at a time, which all who wait share, and one for such names at most
every REFETCH_SECONDS: made-up names must not become traffic to the issuer. A fetch is a task of its
own, so a caller that leaves does not break it for the others. A set that was fetched well is
believed even if it is empty; that is how keys are revoked.

What is fetched is trusted to name keys, not to be small or well-formed: its size is bounded while
it is read, compression is neither asked for nor undone, and a redirect is a failure.
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
"""How long a set is used before it is fetched again."""

STALE_SECONDS = 3600.0
"""How long a set is used at most, while it cannot be fetched again."""

REFETCH_SECONDS = 30.0
"""Between two fetches, where one has failed or a token names a key that is not in the set."""

FETCH_TIMEOUT_SECONDS = 5.0
MAX_BYTES = 64 * 1024

_log = logging.getLogger(__name__)

Jwk = Mapping[str, object]


class _Unusable(Exception):
    """The answer is not a JWK set that can be used. The text says why, for the log."""


class Jwks:
    """The JWK set at one URL. Belongs to one event loop; ``close`` ends what is under way."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError for a URL that is not http(s)."""
        try:
            self._url = yarl.URL(url)
        except ValueError:
            self._url = yarl.URL()
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ConfigError("-jwks-url must be a URL that begins with https:// or http://.")
        self._keys: tuple[Jwk, ...] = ()
        self._fetched_at: float | None = None
        self._attempted_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Jwks {self._url.host} keys={len(self._keys)} fetched_at={self._fetched_at}>"

    async def current(self) -> tuple[Jwk, ...]:
        """The keys, raw and unjudged; the same object as last time unless they have changed.

        Does not suspend while there is a set younger than STALE_SECONDS. Raises Problem 503 if
        there is none, and none can be fetched.
        """
        if not self._usable():
            await self._fetch_once(float(RETRY_AFTER_SECONDS))  # what the 503 has clients wait
        return self._current()

    async def refetched(self) -> tuple[Jwk, ...]:
        """As ``current``, after a fetch unless there was one in the last REFETCH_SECONDS."""
        await self._fetch_once(REFETCH_SECONDS)
        return self._current()

    async def close(self) -> None:
        """End a fetch under way, and start no other. May be called again."""
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
        """Wait for the fetch that is under way, or for a new one unless there was one in the last
        ``pause`` seconds."""
        fetching = self._fetching
        if fetching is None:
            if self._attempted_at is not None and clock.monotonic() - self._attempted_at < pause:
                return
            fetching = self._start()
        await asyncio.shield(fetching)

    def _start(self) -> asyncio.Task[None]:
        """Start a fetch, while there is none, in place of the one that the timer would start."""
        if self._timer is not None:
            self._timer.cancel()
        self._attempted_at = clock.monotonic()
        self._fetching = asyncio.create_task(self._fetch_and_keep(), name="jwks")
        return self._fetching

    async def _fetch_and_keep(self) -> None:
        again = REFETCH_SECONDS
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
