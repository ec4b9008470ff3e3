"""Frees what upload sessions have left: those that have expired, and those whose namespace was
deleted.

Every process looks for them now and then. It takes some over, which keeps other processes from them
for AGAIN_SECONDS, has the store free their bytes, and deletes their rows. What cannot be freed now
is tried again by the process that looks next after that time. Half of the time nothing is done.
Rows of published uploads of which the store has nothing left are deleted many at a time.
"""

from __future__ import annotations

import asyncio
import logging

from gfs.errors import GfsError
from sfs_server.database import Periodic
from sfs_server.uploads.sessions import Overtaken
from sfs_server.uploads.uploads import Uploads

FIRST_SECONDS = 5.0
"""How long after its start a process looks for the first time."""

LOOK_SECONDS = 60.0
"""The time between two looks."""

AGAIN_SECONDS = 300.0
"""How long an upload that a process has started to free is left to it."""

AT_ONCE = 10
"""How many uploads are taken over at once, to be freed one by one."""

ROWS_AT_ONCE = 1000
"""How many rows of published uploads are deleted at once."""

PAUSE_SECONDS = 0.02
"""The shortest pause after each upload that was freed."""

_log = logging.getLogger(__name__)


class Sweeper:
    """Frees, from ``start`` until ``close``, what has expired, in the background."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._loop = asyncio.get_running_loop()
        self._sweeping = Periodic(self._work, "free expired uploads")

    def __repr__(self) -> str:
        return f"<Sweeper {self._uploads!r}>"

    def start(self) -> None:
        """Start to look."""
        self._sweeping.start(FIRST_SECONDS, LOOK_SECONDS)

    def stop(self) -> None:
        """Stop soon: the process is going to end. ``close`` waits for it."""
        self._sweeping.stop()

    async def close(self) -> None:
        """Stop. Idempotent."""
        await self._sweeping.close()

    async def _work(self) -> None:
        await self.sweep()
        await self._uploads.count_unfinished()

    async def sweep(self) -> None:
        """Free what is to be freed, until there is nothing. Raises DatabaseUnavailable,
        StatementFailed."""
        sessions = self._uploads.sessions
        while found := await sessions.expired(AGAIN_SECONDS, AT_ONCE):
            for session in found:
                start = self._loop.time()
                try:
                    await self._uploads.expire(session)
                except (GfsError, Overtaken) as error:
                    _log.warning("the upload %s cannot be freed now: %s", session.id, error)
                took = self._loop.time() - start
                await asyncio.sleep(max(took, PAUSE_SECONDS))
        while True:
            forgotten = await sessions.forget(ROWS_AT_ONCE)
            if forgotten < ROWS_AT_ONCE:
                return
            await asyncio.sleep(PAUSE_SECONDS)
