"""Clients that upload the same at once, and whether what comes of it can be explained."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from tests.faults.resumable import FAILURES, PIECE, VERSION, Fleet, patch_fields, random_bytes
from tests.support.client import call, connect, encode
from tests.support.credentials import bearer

RIVAL_SECONDS = 0.3
"""The longest pause of a client after a failure."""

PACE_SECONDS = 0.004
"""The longest one after a piece."""

TURNS = 12
"""A multiple of the number of processes."""


@dataclass
class Attempt:
    """A PATCH of bytes that nobody else sends, from ``start`` on."""

    start: int
    body: bytes
    acknowledged: bytes = b""
    """What was acknowledged of the body."""


class Rival:
    """One of two clients of an upload, that pay no regard to each other."""

    def __init__(self, fleet: Fleet, location: str, size: int, name: str) -> None:
        self.attempts: list[Attempt] = []
        self.statuses: Counter[int] = Counter()
        self._fleet = fleet
        self._location = location
        self._size = size
        self._dice = random.Random(name)

    async def run(self) -> None:
        """Go on until it is published."""
        start = 0
        while not await self._patch(start):
            await asyncio.sleep(self._dice.random() * RIVAL_SECONDS)
            start = await self._offset()

    async def _patch(self, start: int) -> bool:
        """Send what is missing, and say whether the upload is published now."""
        attempt = Attempt(start, random_bytes(self._size - start))
        self.attempts.append(attempt)
        status, headers = 0, None
        async with connect(await self._port()) as connection:
            fields = patch_fields(start, len(attempt.body))
            connection.send_raw(encode("PATCH", self._location, fields))
            with suppress(*FAILURES):
                for place in range(0, len(attempt.body), PIECE):
                    connection.send_raw(attempt.body[place : place + PIECE])
                    await connection.drain()
                    await asyncio.sleep(self._dice.random() * PACE_SECONDS)
                status, headers = await connection.head()
        self.statuses[status] += 1
        assert status in (0, 204, 409), (status, headers)
        if status != 204:
            return False
        assert headers is not None
        if len(attempt.body) > 1:  # else it may only have asked for the publish
            attempt.acknowledged = attempt.body[: int(headers["Upload-Offset"]) - start]
        return "ETag" in headers

    async def _offset(self) -> int:
        fields = {**bearer(), **VERSION}
        answer = await call(await self._port(), "HEAD", self._location, fields)
        assert answer.status == 200, answer
        return int(answer.headers["Upload-Offset"])

    async def _port(self) -> int:
        return (await self._fleet.one(self._dice.randrange(TURNS))).port


def explained(content: bytes, attempts: list[Attempt]) -> bool:
    """Whether the content is made of attempts alone: of each what it sent from its start on, up to
    where another one starts, or the end."""
    places = sorted({one.start for one in attempts} | {len(content)})
    reached = {0}
    for one in sorted(attempts, key=lambda attempt: attempt.start):
        if one.start in reached:
            reached |= {
                place
                for place in places
                if place >= one.start
                and content[one.start : place] == one.body[: place - one.start]
            }
    return len(content) in reached
