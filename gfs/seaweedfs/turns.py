"""Changes of one path, or of one inside of the other, take turns within a process.

Each holds the paths that it changes alone, and the folders above them together with others. Who
comes first gets them first: a move of a folder is not kept waiting by uploads into it that come
later. All are asked for in one order, so that nobody waits for each other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gfs.paths import parents

Key = tuple[str, str]
"""A directory, and a path in it."""


class Turns:
    """Who holds which path, and who waits for it."""

    def __init__(self) -> None:
        self._paths: dict[Key, _Path] = {}

    @asynccontextmanager
    async def change(self, *keys: Key) -> AsyncIterator[None]:
        """Hold these alone, and the folders above them together with others."""
        wanted = {(directory, above): False for directory, path in keys for above in parents(path)}
        wanted.update(dict.fromkeys(keys, True))
        async with AsyncExitStack() as held:
            for key in sorted(wanted):
                await held.enter_async_context(self._hold(key, alone=wanted[key]))
            yield

    @asynccontextmanager
    async def _hold(self, key: Key, *, alone: bool) -> AsyncIterator[None]:
        path = self._paths.setdefault(key, _Path())
        path.users += 1
        try:
            await path.acquire(alone=alone)
            try:
                yield
            finally:
                path.release()
        finally:
            path.users -= 1
            if not path.users:
                del self._paths[key]


class _Path:
    """``users`` hold it or wait for it; ``holders`` hold it, ``alone`` or together."""

    def __init__(self) -> None:
        self.users = 0
        self.holders = 0
        self.alone = False
        self.waiting: deque[tuple[asyncio.Future[None], bool]] = deque()

    async def acquire(self, *, alone: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append((turn, alone))
        self._give()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._give()
            else:  # it was given at the same moment
                self.release()
            raise

    def release(self) -> None:
        self.holders -= 1
        self._give()

    def _give(self) -> None:
        """Give it to those who wait and may have it now, the first ones first."""
        while self.waiting:
            turn, alone = self.waiting[0]
            if not turn.cancelled():
                if self.holders and (alone or self.alone):
                    return
                self.holders += 1
                self.alone = alone
                turn.set_result(None)
            self.waiting.popleft()
