"""What one request receives of an upload, written down while it comes.

Bytes go from the client to the engine's PartWriter. Meanwhile a task asks for what is durable and
records it: when RECORD_BYTES have come since it last did, or RECORD_SECONDS have passed, one Part
at a time. The client is not waited for, and does not wait, unless the store or the database falls
behind: while more than RECORD_BYTES are not recorded, and some of them for more than
RECORD_SECONDS, no more are read. So a process that is killed loses RECORD_BYTES, or what came
within about RECORD_SECONDS.

However the request ends (its bytes have come, its client has left, another request has taken the
upload over, the process stops, the store or the database has failed), what is left is made durable
and recorded at the end, shielded from cancellation and within FINISH_SECONDS.

With a checksum of the request's bytes nothing is recorded before it has been verified.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from gfs import clock
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
"""Bytes after which a Part is recorded while more come. An engine holds no more back that could be
in a Part only with more bytes: a chunk of a cluster has as many."""

RECORD_SECONDS = 1.0
"""Seconds after which it is, if fewer have come."""

MARK_BYTES = 1024 * 1024
"""Bytes after which it is noted when they had come."""

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
        self._recorded = asyncio.Event()  # set when something was
        self._start = session.received
        self._arrived = 0  # counted where the bytes are written, perhaps in a thread
        self._announced = 0  # of these, when ``_due`` was last set
        self._marks: deque[tuple[int, float]] = deque()  # how many had come when
        self._over = False

    def __repr__(self) -> str:
        return f"<Recording {self.session.id} received={self.session.received}>"

    def arrived(self, count: int) -> None:
        """So many bytes more have been written. Called in any thread, one at a time."""
        self._arrived += count
        if not self._marks or self._arrived - self._marks[-1][0] >= MARK_BYTES:
            self._marks.append((self._arrived, clock.monotonic()))
        if self._arrived - self._announced >= RECORD_BYTES:
            self._announced = self._arrived
            self._loop.call_soon_threadsafe(self._due.set)

    async def pace(self) -> None:
        """Wait until more bytes may be read. The task that records ends the request where that
        fails, so this wait is bounded like its statements."""
        while not self._at_end and self._is_behind():
            self._recorded.clear()
            await self._recorded.wait()

    def _is_behind(self) -> bool:
        left = self._unrecorded()
        while self._marks and self._marks[0][0] <= self._arrived - left:
            self._marks.popleft()
        if left <= RECORD_BYTES or not self._marks:
            return False
        return clock.monotonic() - self._marks[0][1] > RECORD_SECONDS

    def _unrecorded(self) -> int:
        """How many bytes have been written and not recorded."""
        return self._arrived - (self.session.received - self._start)

    async def receive(self, receive_into: Callable[[Sink], Awaitable[None]]) -> None:
        """Have ``receive_into`` write what comes, and record it. Raises what that raises, what the
        engine raises, Overtaken, DatabaseUnavailable, and what ``feeding`` is ended with; what had
        come before is recorded all the same."""
        session = self.session
        writer = await self._fs.append(session.namespace.name, self._ledger, session.received)
        recording = None if self._at_end else asyncio.create_task(self._record_meanwhile(writer))
        try:
            async with self._feeding.receiving():
                await receive_into(writer)
        except BaseException as error:
            try:
                await shielded(self._finish(writer, recording, keep=not self._at_end))
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
        await shielded(self._finish(writer, recording, keep=True))

    async def _record_meanwhile(self, writer: PartWriter) -> None:
        """Record what is durable, until the end. An error ends the request."""
        try:
            while not self._over:
                try:
                    async with asyncio.timeout(RECORD_SECONDS):
                        await self._due.wait()
                except TimeoutError:
                    pass
                self._due.clear()
                if self._unrecorded() and not self._over:
                    part = await writer.part()
                    if part is not None:
                        await self._record(part)
        except Exception as error:  # raised again; the request must not receive on without this
            self._feeding.end(error)
            raise

    async def _finish(
        self, writer: PartWriter, recording: asyncio.Task[None] | None, *, keep: bool
    ) -> None:
        """Record what is left if ``keep``, and free the rest."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                self._over = True
                self._due.set()
                if recording is not None:
                    await recording
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
        self._recorded.set()
        self._counts.received += part.size
