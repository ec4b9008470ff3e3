"""The uploads of one process that can be resumed: their rows, their requests, what is counted."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager

from gfs.api import FileSystem
from sfs_server.database import Database
from sfs_server.exchange import Exchange
from sfs_server.uploads.recording import Recording
from sfs_server.uploads.requests import Feeding, Requests
from sfs_server.uploads.sessions import Session, SessionLedger, Sessions

EVENTS = ("started", "resumed", "overtaken", "published", "refused", "deleted", "expired")
"""What can become of an upload: it was started; a client has asked where to go on; a request found
that another one goes on with it; it was published; that was refused, and its bytes are kept; it was
deleted by its client; it has expired, or its namespace was deleted."""


class Uploads:
    """The uploads that can be resumed, as one process sees them. ``sessions`` are their rows."""

    def __init__(self, database: Database, fs: FileSystem, expiry: int) -> None:
        """``expiry``: how many seconds an unfinished upload is kept after its last byte."""
        self.sessions = Sessions(database, expiry)
        self.events: Counter[str] = Counter(dict.fromkeys(EVENTS, 0))
        """How often this process has seen each of EVENTS."""
        self.received = 0
        """Bytes that this process has received and recorded."""
        self.unfinished, self.unfinished_bytes = 0, 0
        """How many uploads were not finished, of all processes, when this one last asked, and how
        many bytes they had."""
        self._fs = fs
        self._requests = Requests()

    def __repr__(self) -> str:
        return f"<Uploads {dict(self.events)} {self._requests!r}>"

    def join(self, exchange: Exchange) -> None:
        """There are other processes."""
        self._requests.join(exchange)

    def drain(self) -> None:
        """The process stops: end the requests that receive; they record what they have."""
        self._requests.drain()

    def ledger(self, session: Session) -> SessionLedger:
        """The rows of one upload, for the engine."""
        return SessionLedger(self.sessions, session)

    async def take_over(self, id_: str, owner: str) -> Session:
        """The upload ``id_`` of ``owner``, to go on with: whichever request does is ended. Raises
        NoSuchUpload, DatabaseUnavailable."""
        await self._requests.end_here(id_, owner)
        session = await self.sessions.take_over(id_, owner)
        self._requests.taken_over(session)
        return session

    def feeding(self, session: Session) -> AbstractContextManager[Feeding]:
        """Be the request that feeds the upload, during the body. Raises Overtaken."""
        return self._requests.feeding(session)

    def recording(self, feeding: Feeding, session: Session, *, at_end: bool) -> Recording:
        """What a request receives. ``at_end``: record it only when all has been verified."""
        return Recording(self.sessions, self._fs, feeding, session, self, at_end=at_end)

    async def discard(self, session: Session) -> None:
        """Free what the store has of the upload, but for what was published, and forget it. Raises
        GfsError, DatabaseUnavailable, and Overtaken, where nothing was freed."""
        await self.sessions.give_up(session)
        await self._free(session)

    async def expire(self, session: Session) -> None:
        """The same for an upload that ``Sessions.expired`` has returned."""
        self._requests.taken_over(session)
        await self._free(session)
        if session.published is None:
            self.events["expired"] += 1

    async def _free(self, session: Session) -> None:
        if not session.cleared:
            published = session.published is not None or session.publishing
            await self._fs.discard(self.ledger(session), published=published)
        await self.sessions.delete(session)

    async def count_unfinished(self) -> None:
        """Ask the database for ``unfinished``. Raises DatabaseUnavailable."""
        self.unfinished, self.unfinished_bytes = await self.sessions.unfinished()
