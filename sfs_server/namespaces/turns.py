"""Locks by key, for the tasks of this process: each is granted in the order of the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from sfs_server.errors import Busy

TURN_SECONDS = 15.0
"""The longest time that a task waits for a lock, unless it gives another one."""


class Turns:
    """Locks by key. One that no task holds or waits for takes no memory."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"<Turns keys={len(self._locks)}>"

    @asynccontextmanager
    async def of(self, key: Hashable, seconds: float | None = None) -> AsyncIterator[None]:
        """Hold the lock of ``key`` during the body. Raises Busy if it is not granted within
        ``seconds``, or TURN_SECONDS."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        try:
            async with asyncio.timeout(TURN_SECONDS if seconds is None else seconds):
                await lock.acquire()
        except TimeoutError as error:
            raise Busy("others held the same name for too long") from error
        try:
            yield
        finally:
            lock.release()
