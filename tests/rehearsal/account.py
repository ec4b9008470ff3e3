"""What happened to the requests, and what a client may do about one that failed.

A plain retry is the same request once more, at once or after the ``Retry-After`` that it was told,
where the connection failed (before or in the middle of the answer), or the answer was 502, or 503
with ``Retry-After``. It cures if the second answer is what the first should have been; a DELETE may
find then that there is nothing left. A transfer must need none: that is what a drain is for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.client import Answer

MAX_WAIT_SECONDS = 5.0


class Failed(Exception):
    """One try failed in a way that a plain retry is for: ``after`` so many seconds."""

    def __init__(self, cause: str, after: float = 0.0) -> None:
        super().__init__(cause)
        self.cause = cause
        self.after = after


@dataclass
class Account:
    """Counts by kind of request, and by kind and cause of what was tried again; ``resumed`` counts
    by status what interrupted an upload that was resumed; ``wrong`` says what no retry has cured,
    or what came back and was not what had been stored."""

    requests: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    resumed: Counter[str] = field(default_factory=Counter)
    transfers: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        return {
            "requests": dict(self.requests),
            "retries": dict(self.retries),
            "resumed": dict(self.resumed),
            "transfers": dict(self.transfers),
            "bytes": dict(self.bytes),
            "wrong": self.wrong,
        }

    async def ask(self, kind: str, what: str, once: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a request, and a plain retry if it takes one: the answer that counts. Raises Failed
        if that has failed too, and has said so."""
        self.requests[kind] += 1
        try:
            return await _try(once)
        except Failed as error:
            self.retries[f"{kind}: {error.cause}"] += 1
            await asyncio.sleep(min(error.after, MAX_WAIT_SECONDS))
        try:
            return await _try(once)
        except Failed as error:
            self.wrong.append(f"{kind} {what}: {error.cause}, after a retry")
            raise

    def check(self, good: bool, kind: str, what: str, answer: Answer) -> None:
        if not good:
            found = f"{answer.status}, {answer.headers.get('Content-Length')} bytes"
            self.wrong.append(f"{kind} {what}: {found}: {answer.body[:200]!r}")


async def _try(once: Callable[[], Awaitable[Answer]]) -> Answer:
    try:
        answer = await once()
    except TimeoutError:
        raise
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Failed(type(error).__name__) from error
    if answer.status == 502:
        raise Failed("502")
    if answer.status == 503 and "Retry-After" in answer.headers:
        raise Failed("503", float(answer.headers["Retry-After"]))
    return answer
