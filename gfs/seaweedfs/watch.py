"""A cache of entries that a subscription to the filer's changes keeps true.

The filer tells its subscribers of every change of an entry, by whichever client and through
whichever filer of the cluster. That takes 150 ms, because filers ask each other first; of what was
changed through itself it tells in 5 ms, to those that subscribe to that alone. Processes of this
engine send all to one filer, so both are subscribed to: the second for the changes that other
processes make, the first for all that others make. What is told of is dropped, and looked up again
when it is next wanted. While a lookup is under way its answer may be older than a change that is
told of meanwhile: such an answer is used, but not kept.

The cache is used only while the subscription is known to work. It is, from the first message on:
to have one at once, the subscription begins right before a change that is made for that purpose
(the top directory is made again, which changes nothing), by the filer's own clock. It is no longer
when the stream ends, or when nothing has come for SILENT_SECONDS: an idle filer sends a sign of
life every 5 s. What was cached before is forgotten then.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gfs.errors import StoreUnavailable
from gfs.seaweedfs import entries
from gfs.seaweedfs.entries import Piece
from gfs.seaweedfs.filer import Filers
from gfs.seaweedfs.proto import filer_pb2 as pb
from gfs.types import FileInfo

MAX_WEIGHT = 100_000
"""What is cached at most: an entry counts as one, each of its chunks as one, and each KiB of
bytes that it holds itself as one. About 30 MB."""

SILENT_SECONDS = 7.0
RETRY_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """A file as its entry describes it, read once."""

    info: FileInfo
    content: bytes
    pieces: tuple[Piece, ...]

    @property
    def weight(self) -> int:
        """What it counts against MAX_WEIGHT."""
        return 1 + len(self.pieces) + len(self.content) // 1024


class Weighty(Protocol):
    """What can be cached."""

    @property
    def weight(self) -> int:
        """What it counts against MAX_WEIGHT."""
        ...


Key = tuple[str, str]
"""Path of the directory, name."""

_V = TypeVar("_V", bound=Weighty)
_Changes = AsyncGenerator[pb.SubscribeMetadataResponse, None]


class EntryCache:
    """The entries below ``top`` that were looked up lately. ``close`` it."""

    def __init__(self, filers: Filers, top: str) -> None:
        self._filers = filers
        self._top = top
        self._known: OrderedDict[Key, Weighty] = OrderedDict()
        self._weight = 0
        self._pending: dict[Key, set[asyncio.Event]] = {}
        self._up = False
        self._begun = asyncio.Event()
        self._task = asyncio.create_task(self._follow(), name="gfs-entries")

    async def ready(self, seconds: float) -> None:
        """Return when the cache is in use, or after ``seconds``: it is not needed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._begun.wait()

    @property
    def up(self) -> bool:
        """Whether the cache is in use now."""
        return self._up

    async def get(self, key: Key, kind: type[_V], look: Callable[[], Awaitable[_V]]) -> _V:
        """What is known of an entry, as a ``kind``, or what ``look`` says, and raises."""
        known = self._known.get(key)
        if isinstance(known, kind):
            self._known.move_to_end(key)
            return known
        if not self._up:
            return await look()
        changed = asyncio.Event()
        waiting = self._pending.setdefault(key, set())
        waiting.add(changed)
        try:
            found = await look()
            if self._up and not changed.is_set():
                self._keep(key, found)
            return found
        finally:
            waiting.discard(changed)
            if not waiting:
                self._pending.pop(key, None)

    def drop(self, key: Key) -> None:
        """Forget an entry that has changed."""
        known = self._known.pop(key, None)
        if known is not None:
            self._weight -= known.weight
        for changed in self._pending.pop(key, ()):
            changed.set()

    def clear(self) -> None:
        """Forget all."""
        for key in [*self._known, *self._pending]:
            self.drop(key)

    async def close(self) -> None:
        """End the subscription. Idempotent."""
        self._task.cancel()
        await asyncio.wait([self._task])

    def _keep(self, key: Key, known: Weighty) -> None:
        if known.weight > MAX_WEIGHT:
            return
        previous = self._known.pop(key, None)
        self._weight += known.weight - (previous.weight if previous is not None else 0)
        self._known[key] = known
        while self._weight > MAX_WEIGHT:
            _, oldest = self._known.popitem(last=False)
            self._weight -= oldest.weight

    async def _follow(self) -> None:
        """Subscribe again and again, until it is cancelled."""
        while True:
            try:
                await self._subscribe()
            except* (StoreUnavailable, TimeoutError) as errors:
                _log.info("the entry cache is not used for now: %s", errors.exceptions[0])
            finally:
                self._up = False
                self.clear()
            await asyncio.sleep(RETRY_SECONDS)

    async def _subscribe(self) -> None:
        """Follow the changes until there is no more to hear of them."""
        above, _, name = self._top.rpartition("/")
        entry = entries.directory_entry(name)
        since = await self._filers.make_directory(above or "/", entry)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear_all(since))
            group.create_task(self._hear_early(since))

    async def _changes(self, since: int, *, local: bool = False) -> _Changes:
        """What a filer tells, until it ends the stream. Raises StoreUnavailable, and TimeoutError
        when it does not even give a sign of life. Hold it in ``contextlib.aclosing``."""
        request = pb.SubscribeMetadataRequest(
            client_name="sfs",
            path_prefix=self._top,
            since_ns=since - 1,
            client_id=secrets.randbits(31),  # the filer refuses one that it has
            client_epoch=1,
            client_supports_batching=True,
            client_supports_idle_heartbeat=True,
        )
        async with aclosing(self._filers.changes(request, local=local)) as messages:
            while True:
                async with asyncio.timeout(SILENT_SECONDS):
                    message = await anext(messages, None)
                if message is None:
                    return
                yield message

    async def _hear_all(self, since: int) -> None:
        """Take what there is to hear, which is what the cache stands on. Raises what ``_changes``
        raises, and StoreUnavailable at its end."""
        async with aclosing(self._changes(since)) as messages:
            async for message in messages:
                self._told(message)
                self._up = True
                self._begun.set()
        raise StoreUnavailable("the filer tells of no more changes")

    async def _hear_early(self, since: int) -> None:
        """Take what of it can be had sooner, from the filer whose turn it is. What is missed when
        another one's turn begins, seen at its next sign of life, comes the other way. Raises what
        ``_changes`` raises."""
        while True:
            turn = self._filers.turn
            async with aclosing(self._changes(since, local=True)) as messages:
                async for message in messages:
                    self._told(message)
                    since = max(since, message.ts_ns)
                    if self._filers.turn != turn:
                        break
            await asyncio.sleep(RETRY_SECONDS)

    def _told(self, message: pb.SubscribeMetadataResponse) -> None:
        """Drop what the message, and those that come in it, say has changed."""
        for event in message.events:
            self._told(event)
        if not message.HasField("event_notification"):
            return
        event = message.event_notification
        old = event.old_entry if event.HasField("old_entry") else None
        new = event.new_entry if event.HasField("new_entry") else None
        before = (message.directory, old.name) if old is not None else None
        after = (event.new_parent_path or message.directory, new.name) if new is not None else None
        directory = (old is not None and old.is_directory) or (new is not None and new.is_directory)
        if directory and (before != after or (new is not None and entries.is_removed(new))):
            self.clear()
        for key in (before, after):
            if key is not None:
                self.drop(key)
