"""What one request receives of an upload, written down while it comes.

Bytes go from the client to the engine's PartWriter. Beside that, a task asks for what is durable
and records it: when RECORD_BYTES have come since it last did, or RECORD_SECONDS have passed, one
Part at a time. So a process that is killed loses no more than that; and the client is never waited
for, nor does it wait. However the request ends (its bytes have come, its client has left, another
request has taken the upload over, the process stops, the store or the database has failed), what is
left is made durable and recorded at the end, shielded from cancellation and within FINISH_SECONDS.

With a checksum of the request's bytes nothing is recorded before it has been verified.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from gfs.api import FileSystem, PartWriter, Sink
from gfs.errors import GfsError, StoreUnavailable
from gfs.threads import shielded
from gfs.types import Part
from sfs_server.errors import DatabaseUnavailable
from sfs_server.uploads.requests import Feeding
from sfs_server.uploads.sessions import (
    Overtaken,
    RecordedAndOvertaken,
    Session,
    SessionLedger,
    Sessions,
)

RECORD_BYTES = 4 * 1024 * 1024
"""Bytes after which a Part is recorded while more come."""

RECORD_SECONDS = 1.0
"""Seconds after which it is, if fewer have come."""

FINISH_SECONDS = 45.0
"""How long the end of a request takes at most: to store what is left, and to record it."""

_log = logging.getLogger(__name__)


class Counts(Protocol):
    """What is counted, for metrics."""

    received: int
    """Bytes that were recorded."""


class Recording:
    """What the request ``feeding`` adds to an upload. ``session`` is the upload as it was recorded
    last. Used once."""

    def __init__(
        self,
        sessions: Sessions,
        fs: FileSystem,
        feeding: Feeding,
        session: Session,
        counts: Counts,
        *,
        at_end: bool,
    ) -> None:
        """``at_end``: nothing is recorded until everything has been received and verified."""
        self.session = session
        self._sessions = sessions
        self._fs = fs
        self._feeding = feeding
        self._counts = counts
        self._at_end = at_end
        self._ledger = SessionLedger(sessions, session)
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._arrived = 0  # counted where the bytes are written, perhaps in a thread
        self._announced = 0  # of these, when ``_due`` was last set
        self._over = False

    def __repr__(self) -> str:
        return f"<Recording {self.session.id} received={self.session.received}>"

    def arrived(self, count: int) -> None:
        """So many bytes more have been written. Called in any thread."""
        self._arrived += count
        if self._arrived - self._announced >= RECORD_BYTES:
            self._announced = self._arrived
            self._loop.call_soon_threadsafe(self._due.set)

    async def receive(self, receive_into: Callable[[Sink], Awaitable[None]]) -> None:
        """Have ``receive_into`` write what comes, and record it. Raises what that raises, what the
        engine raises, Overtaken, DatabaseUnavailable, and whatever ``feeding`` is ended with; what
        had come before is recorded all the same."""
        session = self.session
        writer = await self._fs.append(session.namespace.name, self._ledger, session.received)
        beside = None if self._at_end else asyncio.create_task(self._record_beside(writer))
        try:
            async with self._feeding.receiving():
                await receive_into(writer)
        except BaseException as error:
            try:
                await shielded(self._finish(writer, beside, keep=not self._at_end))
            except Overtaken:
                if isinstance(error, Exception) and not isinstance(error, ConnectionError):
                    raise
            except (GfsError, DatabaseUnavailable) as other:
                _log.log(
                    logging.INFO if isinstance(error, Overtaken) else logging.WARNING,
                    "the last bytes of an upload could not be recorded: %s",
                    other,
                )
            raise
        await shielded(self._finish(writer, beside, keep=True))

    async def _record_beside(self, writer: PartWriter) -> None:
        """Record what is durable, until the end. An error ends the request."""
        noted = 0
        try:
            while not self._over:
                try:
                    async with asyncio.timeout(RECORD_SECONDS):
                        await self._due.wait()
                except TimeoutError:
                    pass
                self._due.clear()
                if self._arrived != noted and not self._over:
                    noted = self._arrived
                    part = await writer.part()
                    if part is not None:
                        await self._record(part)
        except Exception as error:
            self._feeding.end(error)
            raise

    async def _finish(
        self, writer: PartWriter, beside: asyncio.Task[None] | None, *, keep: bool
    ) -> None:
        """Record what is left if ``keep``, and free the rest."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                self._over = True
                self._due.set()
                if beside is not None:
                    await beside
                while keep:
                    part = await writer.part(rest=True)
                    if part is None:
                        break
                    await self._record(part)
        except TimeoutError as error:
            raise StoreUnavailable("the end of an upload took too long") from error
        finally:
            await writer.abort()

    async def _record(self, part: Part) -> None:
        try:
            self.session = await self._sessions.record(self.session, part)
        except RecordedAndOvertaken:
            raise
        except Overtaken:
            if part.token:
                await self._fs.discard(self._ledger, [part])
            raise
        self._counts.received += part.size
