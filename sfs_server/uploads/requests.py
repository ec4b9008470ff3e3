"""Which requests of this process are feeding which upload, and how they are ended.

Only one request feeds an upload. One that comes later ends the one before it: in this process at
once, and there it waits until that one has recorded what it has received; in other processes by the
exchange (:mod:`sfs_server.exchange`), which sends within some tenths of a second. Where a process
does not hear of it, because it is frozen or has lost its connection, its request can write nothing
more all the same (:mod:`sfs_server.uploads.sessions`).

The embedded store cannot see epochs, and cuts off what is behind the offset of a writer. So a
request that was overtaken while it waited for the database must not even start to write: the newest
epochs are remembered, of the uploads that were seen last.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from gfs.errors import StoreUnavailable
from sfs_server.errors import Problem
from sfs_server.exchange import Exchange
from sfs_server.uploads.sessions import Overtaken, Session

END_SECONDS = 1.0
"""How long a request waits until the one before it, in the same process, has recorded all."""

MAX_TAKEN = 10_000
"""Take-overs that wait to be sent to other processes; what exceeds that is not sent."""


MAX_REMEMBERED = 10_000
"""Uploads whose newest epoch is remembered."""


class Feeding:
    """A request that feeds an upload."""

    def __init__(self, session: Session) -> None:
        self.id, self.owner, self.epoch = session.id, session.owner, session.epoch
        self.over = asyncio.Event()
        """Set when the request has recorded all that it will."""
        self.error: Exception | None = None
        """Set when the request is to end: what it is to raise."""
        self._scope: asyncio.Timeout | None = None

    def __repr__(self) -> str:
        return f"<Feeding {self.id} epoch={self.epoch} error={self.error!r}>"

    def end(self, error: Exception) -> None:
        """Have the request receive no more, but raise ``error``. The first one counts."""
        if self.error is None:
            self.error = error
            if self._scope is not None:
                self._scope.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """Run the body until it ends, or until ``end`` is called: then raise that error."""
        if self.error is not None:
            raise self.error
        try:
            async with asyncio.timeout(None) as self._scope:
                try:
                    yield
                finally:
                    self._scope = None
        except Exception:  # raised again, or what caused it: the engine may refuse first
            if self.error is None:
                raise
            raise self.error from None


class Requests:
    """The requests of this process that feed uploads, and a
    :class:`sfs_server.exchange.Topic`: the take-overs of all processes."""

    def __init__(self) -> None:
        self._running: dict[str, Feeding] = {}
        self._exchange: Exchange | None = None
        self._draining = False
        self._taken: dict[str, int] = {}  # id → epoch, to be sent
        self._sent: dict[str, int] = {}  # the same, sent last
        self._newest: dict[str, int] = {}  # id → epoch, the one seen last behind the others

    def __repr__(self) -> str:
        return f"<Requests running={len(self._running)} taken={len(self._taken)}>"

    def join(self, exchange: Exchange) -> None:
        """There are other processes."""
        self._exchange = exchange
        exchange.topics.append(self)

    @contextmanager
    def feeding(self, session: Session) -> Iterator[Feeding]:
        """Be the request of this process that feeds the upload, during the body. Raises
        Overtaken."""
        if self._note(session) > session.epoch:
            raise Overtaken
        before = self._running.get(session.id)
        if before is not None:
            before.end(Overtaken())
        own = self._running[session.id] = Feeding(session)
        if self._draining:
            own.end(_stopping())
        try:
            yield own
        except StoreUnavailable:
            # The engine, too, refuses a request that has been overtaken.
            if own.error is None:
                raise
            raise own.error from None
        finally:
            own.over.set()
            if self._running.get(session.id) is own:
                del self._running[session.id]

    async def end_here(self, id_: str, owner: str) -> None:
        """End the request of this process that feeds the upload ``id_`` of ``owner``, if there is
        one, and wait until it has recorded all, for END_SECONDS at most."""
        feeding = self._running.get(id_)
        if feeding is not None and feeding.owner == owner:
            feeding.end(Overtaken())
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await feeding.over.wait()

    def taken_over(self, session: Session) -> None:
        """The upload was taken over: end the requests of lower epochs, in all processes."""
        self._note(session)
        self._end_below(session.id, session.epoch)
        if self._exchange is not None and len(self._taken) < MAX_TAKEN:
            self._taken[session.id] = session.epoch
            self._exchange.wake()

    def drain(self) -> None:
        """The process stops: end all."""
        self._draining = True
        for feeding in list(self._running.values()):
            feeding.end(_stopping())

    def _note(self, session: Session) -> int:
        """Remember the newest epoch of the upload, and return it."""
        newest = max(session.epoch, self._newest.pop(session.id, 0))
        self._newest[session.id] = newest
        if len(self._newest) > MAX_REMEMBERED:
            del self._newest[next(iter(self._newest))]
        return newest

    def _end_below(self, id_: str, epoch: int) -> None:
        feeding = self._running.get(id_)
        if feeding is not None and feeding.epoch < epoch:
            feeding.end(Overtaken())

    # What other processes send, and are sent: ["upload", id, epoch].

    def receive(self, item: object) -> None:
        """Another process has sent ``item``."""
        match item:
            case ["upload", str(id_), int(epoch)]:
                self._end_below(id_, epoch)

    def returned(self) -> None:
        """What was not heard is not missed: a request that was overtaken finds out by its epoch."""

    def check(self, now: float) -> None:
        """Nothing becomes due by itself."""

    def take(self, most: int) -> list[str]:
        """The take-overs that are to be sent."""
        self._sent = dict(list(self._taken.items())[:most])
        for id_ in self._sent:
            del self._taken[id_]
        return [json.dumps(["upload", id_, epoch]) for id_, epoch in self._sent.items()]

    def restore(self) -> None:
        """Those that were taken last are to be sent again."""
        self._taken = {**self._sent, **self._taken}

    def waiting(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._taken)

    def closing(self) -> None:
        """All is sent at once anyway."""


def _stopping() -> Problem:
    return Problem(503, "The server is stopping: go on with another one.", {"Retry-After": "1"})
