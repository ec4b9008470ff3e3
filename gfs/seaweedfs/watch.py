"""A cache of entries that the filers' changes keep true.

A filer notifies its subscribers within about 5 ms of every change that is made through itself
(``SubscribeLocalMetadata``). What other filers of the cluster change it passes on as well, in a
stream of its own, but 150 ms later, because filers ask each other first, and not at all while they
are cut off from each other. So the changes of each filer that the masters name are followed here,
and nothing depends on what filers hear from each other. An entry that changed is dropped, and
looked up again when it is next wanted. While a lookup is under way, its response may be older than
a change that is notified meanwhile: it is used then, but not cached.

A filer may stop without a word: its machine hangs, or the network between. So each is pinged every
PING_SECONDS, on the connection that the changes come by, and the cache is used only while each has
responded to a ping that was sent within the last TRUST_SECONDS. That bounds the age of what is read
from it: a change that a filer could not notify any more happened after that ping. A filer that does
not respond in time is lost (``Filers.lose``), until it responds again. What was cached before is
forgotten then, since the notifications after a pause come behind that response.

A subscription starts at the time of the filer's own clock, and is sure to work from its first
message on, which comes at once: a sign of life, if nothing was changed since.

A filer that the masters name no more does not have to be heard of. It is followed until its
connection ends: if it was frozen, it may wake, and carry out what it had received before.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gfs import clock
from gfs.errors import StoreUnavailable
from gfs.seaweedfs import entries
from gfs.seaweedfs.entries import Extent
from gfs.seaweedfs.proto import filer_pb2 as pb
from gfs.seaweedfs.servers import Address, Filers
from gfs.types import FileInfo

MAX_WEIGHT = 100_000
"""What is cached at most: an entry counts as one, each of its chunks as one, and each KiB of
bytes that it holds itself as one. About 30 MB."""

PING_SECONDS = 0.3
TRUST_SECONDS = 0.9
"""Below the second for which a read may be old, by what a filer needs to notify a change."""

CONNECT_SECONDS = 2.0
RETRY_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """A file as its entry describes it, read once."""

    info: FileInfo
    content: bytes
    extents: tuple[Extent, ...]

    @property
    def weight(self) -> int:
        """What it counts against MAX_WEIGHT."""
        return 1 + len(self.extents) + len(self.content) // 1024


@dataclass(frozen=True, slots=True)
class Count:
    """How many files a directory has."""

    files: int

    @property
    def weight(self) -> int:
        """What it counts in the cache."""
        return 1


class Weighty(Protocol):
    """What can be cached."""

    @property
    def weight(self) -> int:
        """What it counts against MAX_WEIGHT."""
        ...


Key = tuple[str, str]
"""Path of the directory, name; without a name it is how many files there are."""

_V = TypeVar("_V", bound=Weighty)


class EntryCache:
    """The entries below ``top`` that were looked up lately. ``close`` it."""

    def __init__(self, filers: Filers, top: str) -> None:
        self._filers = filers
        self._top = top
        self._known: OrderedDict[Key, Weighty] = OrderedDict()
        self._weight = 0
        self._pending: dict[Key, set[asyncio.Event]] = {}
        self._heard: dict[Address, float] = {}
        self._trusted_until = -math.inf
        self._begun = asyncio.Event()
        self._following: dict[Address, asyncio.Task[None]] = {}
        filers.on_named(self._named)
        self._named()

    def __repr__(self) -> str:
        return (
            f"<EntryCache entries={len(self._known)} weight={self._weight} "
            f"following={len(self._following)}>"
        )

    async def ready(self, seconds: float) -> None:
        """Return when the cache is in use, or after ``seconds``: it is not needed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._begun.wait()

    @property
    def up(self) -> bool:
        """Whether the cache is in use now."""
        return clock.monotonic() < self._trusted_until

    async def get(self, key: Key, kind: type[_V], look: Callable[[], Awaitable[_V]]) -> _V:
        """What is known of an entry, as a ``kind``, or what ``look`` says, and raises."""
        if not self.up:
            self.clear()
            return await look()
        known = self._known.get(key)
        if isinstance(known, kind):
            self._known.move_to_end(key)
            return known
        changed = asyncio.Event()
        waiting = self._pending.setdefault(key, set())
        waiting.add(changed)
        try:
            found = await look()
            if self.up and not changed.is_set():
                self._keep(key, found)
            return found
        finally:
            waiting.discard(changed)
            if not waiting and self._pending.get(key) is waiting:  # else it is that of later ones
                del self._pending[key]

    def drop(self, key: Key) -> None:
        """Forget an entry that has changed, and how many there are next to it."""
        if key[1]:
            self.drop((key[0], ""))
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
        """End the subscriptions. Idempotent."""
        self._filers.on_named(lambda: None)
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _keep(self, key: Key, known: Weighty) -> None:
        if known.weight > MAX_WEIGHT:
            return
        previous = self._known.pop(key, None)
        self._weight += known.weight - (previous.weight if previous is not None else 0)
        self._known[key] = known
        while self._weight > MAX_WEIGHT:
            _, oldest = self._known.popitem(last=False)
            self._weight -= oldest.weight

    def _named(self) -> None:
        """The masters name other filers, perhaps."""
        for filer in self._filers.named:
            if filer not in self._following:
                task = asyncio.create_task(self._follow(filer), name=f"gfs-filer {filer}")
                self._following[filer] = task
        self._count()

    def _hear(self, filer: Address, when: float) -> None:
        """``filer`` has responded to what was sent at ``when``, on the loop's clock."""
        self._heard[filer] = when
        self._filers.find(filer)
        self._count()

    def _lose(self, filer: Address) -> None:
        """Nothing is heard of ``filer``."""
        self._heard.pop(filer, None)
        self._filers.lose(filer)
        self._count()

    def _count(self) -> None:
        """Say anew how long the cache is trusted; forget what it had if it was not till now."""
        if not self.up:
            self.clear()
        heard = [self._heard.get(filer, -math.inf) for filer in self._filers.named]
        self._trusted_until = min(heard, default=-math.inf) + TRUST_SECONDS
        if self.up:
            self._begun.set()
        else:
            self.clear()

    async def _follow(self, filer: Address) -> None:
        """Subscribe again and again, as long as the masters name the filer."""
        try:
            while filer in self._filers.named:
                try:
                    await self._subscribe(filer)
                except* (StoreUnavailable, TimeoutError) as errors:
                    _log.info("the entry cache is not used for now: %s", errors.exceptions[0])
                except* Exception:  # noqa: BLE001 - logged; the cache would be off for ever
                    _log.exception("following filer %s", filer)
                self._lose(filer)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            del self._following[filer]
            self._filers.find(filer)

    async def _subscribe(self, filer: Address) -> None:
        """Follow the changes that are made through ``filer`` until there are no more to hear of.
        Raises StoreUnavailable, alone or in an exception group, and TimeoutError in one."""
        sent = clock.monotonic()
        since = await self._filers.ping(filer, CONNECT_SECONDS)
        begun = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(filer, since, begun))
            async with asyncio.timeout(CONNECT_SECONDS):
                await begun.wait()
            self._hear(filer, sent)
            group.create_task(self._ping(filer))

    async def _listen(self, filer: Address, since: int, begun: asyncio.Event) -> None:
        """Take what a filer tells, and set ``begun`` at its first message. Raises StoreUnavailable,
        also at its end."""
        request = pb.SubscribeMetadataRequest(
            client_name="sfs",
            path_prefix=self._top,
            since_ns=since - 1,
            client_id=secrets.randbits(31),  # the filer refuses one that it has
            client_epoch=1,
            client_supports_batching=True,
            client_supports_idle_heartbeat=True,
        )
        async with aclosing(self._filers.changes(filer, request)) as messages:
            async for message in messages:
                self._told(message)
                begun.set()
        raise StoreUnavailable("the filer tells of no more changes")

    async def _ping(self, filer: Address) -> None:
        """Ask for signs of life, until it is cancelled."""
        while True:
            sent = clock.monotonic()
            try:
                await self._filers.ping(filer, TRUST_SECONDS - PING_SECONDS)
            except StoreUnavailable:
                self._lose(filer)
            else:
                self._hear(filer, sent)
            await asyncio.sleep(max(sent + PING_SECONDS - clock.monotonic(), 0.0))

    def _told(self, message: pb.SubscribeMetadataResponse) -> None:
        """Drop what the message, and those that come in it, say has changed."""
        for event in message.events:
            self._told(event)
        if not message.HasField("event_notification"):
            return
        event = message.event_notification
        old = event.old_entry if event.HasField("old_entry") else None
        new = event.new_entry if event.HasField("new_entry") else None
        before = self._key(message.directory, old)
        after = self._key(event.new_parent_path or message.directory, new)
        directory = (old is not None and old.is_directory) or (new is not None and new.is_directory)
        if directory and (before != after or (new is not None and entries.is_removed(new))):
            self.clear()
        for key in (before, after):
            if key is not None:
                self.drop(key)

    def _key(self, path: str, entry: pb.Entry | None) -> Key | None:
        """What an entry in ``path`` is cached as: a directory that was made again has its files in
        another place (:mod:`gfs.seaweedfs.directories`)."""
        if entry is None:
            return None
        top = f"{self._top}/"
        if path.startswith(top):
            path = top + path.removeprefix(top).partition("~")[0]
        return path, entry.name
