"""One at a time for each key, in the order of asking, within this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from sfs_server.errors import Busy

TURN_SECONDS = 15.0
"""How long anyone waits for their turn."""


class Turns:
    """Locks by their keys. A key that nobody holds or waits for takes no memory."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"<Turns keys={len(self._locks)}>"

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """Have the turn of ``key`` during the body. Raises Busy after TURN_SECONDS."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await lock.acquire()
        except TimeoutError as error:
            raise Busy("others held the same name for too long") from error
        try:
            yield
        finally:
            lock.release()
