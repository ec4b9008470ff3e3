"""The exchange of one process: one listener, and one task that sends.

All that is to be sent goes out in one statement every FLUSH_SECONDS at most, of at most MAX_ITEMS
items. Until then it waits in the topics, which keep the newest of what follows each other. So
nobody who has something to send waits for the database, and a database that is slow or unavailable
only delays it. What could not be sent is sent later.

The listener is not the one of the namespaces: a connection for each costs little, and many items do
not delay the notification that a namespace was deleted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, Protocol

from sfs_server.database import Database, Listener, StatementFailed, ended
from sfs_server.errors import DatabaseUnavailable
from sfs_server.exchange.payloads import pack, unpack

CHANNEL = "sfs_progress"
"""The channel of all topics. Progress was the first, and processes of that version may still
run."""

FLUSH_SECONDS = 0.1
"""The shortest time between two statements."""

MAX_ITEMS = 1000
"""Items in one statement: mostly some 200 KB in 25 payloads."""

CHECK_SECONDS = 1.0
"""The longest time between two looks at what has become due."""

RETRY_SECONDS = 1.0
"""How long the task waits after a failure of the database."""

CLOSE_SECONDS = 1.0
"""How long a process that stops takes to send the last items."""

_log = logging.getLogger(__name__)


class Topic(Protocol):
    """What is sent and received of one kind. No method waits or raises."""

    def receive(self, item: Any) -> None:
        """Another process has sent ``item``, any JSON, which may be of another topic, or wrong."""

    def returned(self) -> None:
        """Notifications arrive from now on, for the first time or again: some may be lost."""

    def check(self, now: float) -> None:
        """Do what has become due; called often. ``now`` is the event loop's time."""

    def take(self, most: int) -> list[str]:
        """What is to be sent next, at most ``most`` items, each a line of JSON in ASCII of at most
        7800 bytes."""

    def restore(self) -> None:
        """What was taken last could not be sent, and is to be sent again."""

    def waiting(self) -> bool:
        """Whether something is to be sent."""

    def closing(self) -> None:
        """The process stops: what ``take`` returns now is the last."""


class Exchange:
    """The other processes. ``start`` it when all topics have been added, and ``close`` it before
    its Database."""

    def __init__(self, database: Database) -> None:
        self.topics: list[Topic] = []
        self._database = database
        self._me = os.urandom(8).hex()
        self._listener = Listener(
            database,
            CHANNEL,
            on_notify=self._on_notify,
            on_lost=lambda: None,
            on_return=self._on_return,
        )
        self._pending = asyncio.Event()  # something is to be sent
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def __repr__(self) -> str:
        return f"<Exchange topics={len(self.topics)} failing={self._failing} {self._listener!r}>"

    @property
    def trusted(self) -> bool:
        """Whether what other processes send arrives here."""
        return self._listener.trusted

    async def start(self) -> None:
        """Start. A database that is unavailable is not an error: it is tried again."""
        await self._listener.start()
        self._task = asyncio.create_task(self._run(), name="exchange")

    async def close(self) -> None:
        """Send the last items, within CLOSE_SECONDS, and stop. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        await ended(task)
        for topic in self.topics:
            topic.closing()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while any(topic.waiting() for topic in self.topics):
                    await self._flush()
        except (DatabaseUnavailable, StatementFailed, TimeoutError) as error:
            _log.warning("the last events did not reach other processes: %s", error)
        await self._listener.close()

    def wake(self) -> None:
        """Something is to be sent soon."""
        self._pending.set()

    def _on_notify(self, payload: str) -> None:
        sender, items = unpack(payload)
        if sender is None or sender == self._me:
            return
        for item in items:
            for topic in self.topics:
                topic.receive(item)

    def _on_return(self) -> None:
        for topic in self.topics:
            topic.returned()

    async def _run(self) -> None:
        """Send what is to be sent, and have the topics do what has become due."""
        while True:
            pause = FLUSH_SECONDS
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._pending.wait()
            except TimeoutError:
                pass
            self._pending.clear()
            now = asyncio.get_running_loop().time()
            for topic in self.topics:
                topic.check(now)
            try:
                await self._flush()
                self._failing = False
            except (DatabaseUnavailable, StatementFailed) as error:
                if not self._failing:
                    _log.warning("events do not reach other processes: %s", error)
                self._failing = True
                pause = RETRY_SECONDS
            except Exception:  # noqa: BLE001 - logged; a task that ended would be silent for ever
                _log.exception("events do not reach other processes")
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)

    async def _flush(self) -> None:
        """Send the oldest of what is to be sent. What could not be sent stays to be sent."""
        items: list[str] = []
        for topic in self.topics:
            items += topic.take(MAX_ITEMS - len(items))
        if any(topic.waiting() for topic in self.topics):
            self._pending.set()
        if not items:
            return
        payloads = list(pack(self._me, items))
        try:
            await self._database.fetch(
                "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload",
                (CHANNEL, payloads),
                idempotent=True,
            )
        except BaseException:
            for topic in self.topics:
                topic.restore()
            self._pending.set()
            raise
