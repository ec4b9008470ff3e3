"""A cache of entries that is kept true by the changes of which the filers notify.

A filer notifies its subscribers within about 5 ms of every change that is made through itself
(``SubscribeLocalMetadata``). It also passes on the changes that are made through other filers, but
150 ms later, because filers ask each other first, and not at all while they are cut off from each
other. So every filer that the masters name is followed here, and nothing depends on what filers
learn from each other. An entry that changed is dropped, and looked up again when it is next needed.
The response to a lookup may be older than a change that is notified while it is under way: then it
is used, but not cached.

A file is cached with the folder that it is in, and that with the one above it. When a folder is
removed or moved, only its own entry changes in the filer, or changes first. So what is cached
counts only as long as all the folders above it are in the cache too (``current``), and one change
of a folder makes void all that is cached below it.

A filer may stop without a word, because its machine or the network hangs. So each filer is pinged
every PING_SECONDS, on the connection of its notifications, and the cache is used only while each
has responded to a ping that was sent within the last TRUST_SECONDS. That bounds the age of what is
read from the cache: a change that a filer could not notify happened after that ping. A filer that
does not respond in time is marked lost (``Filers.mark_lost``) until it responds again. What was
cached before is dropped then, since the notifications that it held back come after that response.

A subscription starts at the time of the filer's own clock. It works from its first message on,
which comes at once: a heartbeat, if nothing was changed since.

A filer that the masters no longer name does not have to respond. It is followed until its
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
from gfs.seaweedfs.entries import Extent
from gfs.seaweedfs.proto import filer_pb2 as pb
from gfs.seaweedfs.servers import Address, Filers
from gfs.types import FileInfo

MAX_WEIGHT = 100_000
"""How much is cached: an entry counts as one, each of its chunks as one, and each KiB of bytes
that are in the entry itself as one. About 30 MB."""

PING_SECONDS = 0.3
"""The time between two pings of a filer."""

TRUST_SECONDS = 0.9
"""How old the last ping with a response may be. A read may be one second old, of which a filer
needs the rest to notify of a change."""

CONNECT_SECONDS = 2.0
"""How long the first response of a filer, and the first message of its stream, may take."""

RETRY_SECONDS = 0.5
"""The time between two attempts to follow a filer."""

_log = logging.getLogger(__name__)


class Cacheable(Protocol):
    """What can be cached."""

    @property
    def weight(self) -> int:
        """What it counts against MAX_WEIGHT."""
        ...

    @property
    def current(self) -> bool:
        """Whether everything that it depends on is in the cache too."""
        ...

    def outdate(self) -> None:
        """It is not in the cache, or not any more: what depends on it is not ``current``."""
        ...


@dataclass(frozen=True, slots=True)
class CachedFile:
    """What a reader needs of a file's entry, and the ``folder`` that it is in."""

    info: FileInfo
    content: bytes
    extents: tuple[Extent, ...]
    folder: Cacheable

    @property
    def weight(self) -> int:
        """What it counts against MAX_WEIGHT."""
        return 1 + len(self.extents) + len(self.content) // 1024

    @property
    def current(self) -> bool:
        """Whether its folder is in the cache, and those above it."""
        return self.folder.current

    def outdate(self) -> None:
        """Nothing depends on it."""


Key = tuple[str, str]
"""The path of a directory or folder below the prefix, and a name in it."""

PLACES = "~", "\\"
"""What divides the name of a directory, or of a folder, from the rest of the name of another place
of its entries (:mod:`gfs.seaweedfs.directories`)."""

_V = TypeVar("_V", bound=Cacheable)


class EntryCache:
    """What was looked up lately of the entries below ``top``. ``close`` it."""

    def __init__(self, filers: Filers, top: str) -> None:
        self._filers = filers
        self._top = top
        self._cached: OrderedDict[Key, Cacheable] = OrderedDict()
        self._weight = 0
        self._pending: dict[Key, set[asyncio.Event]] = {}
        self._responded: dict[Address, float] = {}
        self._trusted_until = -math.inf
        self._started = asyncio.Event()
        self._following: dict[Address, asyncio.Task[None]] = {}
        filers.on_named(self._follow_named)
        self._follow_named()

    def __repr__(self) -> str:
        return (
            f"<EntryCache entries={len(self._cached)} weight={self._weight} "
            f"following={len(self._following)}>"
        )

    async def ready(self, seconds: float) -> None:
        """Wait until the cache is in use, for ``seconds`` at most: everything works without it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._started.wait()

    @property
    def in_use(self) -> bool:
        """Whether the cache can be trusted now."""
        return clock.monotonic() < self._trusted_until

    async def get(self, key: Key, kind: type[_V], look_up: Callable[[], Awaitable[_V]]) -> _V:
        """The cached value of ``key``, if it is a ``kind``; else what ``look_up`` returns, which is
        cached. Raises what that raises."""
        if not self.in_use:
            self.clear()
            found = await look_up()
            found.outdate()
            return found
        cached = self._cached.get(key)
        if isinstance(cached, kind) and cached.current:
            self._cached.move_to_end(key)
            return cached
        changed = asyncio.Event()
        waiting = self._pending.setdefault(key, set())
        waiting.add(changed)
        try:
            found = await look_up()
            if self.in_use and not changed.is_set():
                self._keep(key, found)
            else:
                found.outdate()
            return found
        finally:
            waiting.discard(changed)
            if not waiting and self._pending.get(key) is waiting:  # not the set of later lookups
                del self._pending[key]

    def find(self, key: Key, kind: type[_V]) -> _V | None:
        """The cached value of ``key``, if it is a ``kind`` and counts."""
        cached = self._cached.get(key) if self.in_use else None
        return cached if isinstance(cached, kind) and cached.current else None

    def drop(self, key: Key) -> None:
        """Drop an entry that has changed; all below it is void then."""
        self._leave(key)
        for changed in self._pending.pop(key, ()):
            changed.set()

    def clear(self) -> None:
        """Drop everything."""
        for key in [*self._cached, *self._pending]:
            self.drop(key)

    async def close(self) -> None:
        """End the subscriptions. Idempotent."""
        self._filers.on_named(lambda: None)
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _keep(self, key: Key, cached: Cacheable) -> None:
        if cached.weight > MAX_WEIGHT:
            cached.outdate()
            return
        self._leave(key)
        self._weight += cached.weight
        self._cached[key] = cached
        while self._weight > MAX_WEIGHT:
            self._leave(next(iter(self._cached)))

    def _leave(self, key: Key) -> None:
        cached = self._cached.pop(key, None)
        if cached is not None:
            self._weight -= cached.weight
            cached.outdate()

    def _follow_named(self) -> None:
        """Follow the filers that the masters name, which may have changed."""
        for filer in self._filers.named:
            if filer not in self._following:
                task = asyncio.create_task(self._follow(filer), name=f"gfs-filer {filer}")
                self._following[filer] = task
        self._update_trust()

    def _confirm(self, filer: Address, when: float) -> None:
        """``filer`` has responded to a ping that was sent at ``when``, by the monotonic clock."""
        self._responded[filer] = when
        self._filers.mark_found(filer)
        self._update_trust()

    def _lose(self, filer: Address) -> None:
        """``filer`` does not respond."""
        self._responded.pop(filer, None)
        self._filers.mark_lost(filer)
        self._update_trust()

    def _update_trust(self) -> None:
        """Compute until when the cache can be trusted; drop everything if it could not until
        now."""
        if not self.in_use:
            self.clear()
        responded = [self._responded.get(filer, -math.inf) for filer in self._filers.named]
        self._trusted_until = min(responded, default=-math.inf) + TRUST_SECONDS
        if self.in_use:
            self._started.set()
        else:
            self.clear()

    async def _follow(self, filer: Address) -> None:
        """Subscribe, and again after each failure, as long as the masters name the filer."""
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
            self._filers.mark_found(filer)

    async def _subscribe(self, filer: Address) -> None:
        """Follow the changes that are made through ``filer`` until the stream ends. Raises
        StoreUnavailable, alone or in an exception group, and TimeoutError in one."""
        sent = clock.monotonic()
        since = await self._filers.ping(filer, CONNECT_SECONDS)
        started = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(filer, since, started))
            async with asyncio.timeout(CONNECT_SECONDS):
                await started.wait()
            self._confirm(filer, sent)
            group.create_task(self._ping(filer))

    async def _listen(self, filer: Address, since: int, started: asyncio.Event) -> None:
        """Apply the notifications of a filer, and set ``started`` at its first message. Raises
        StoreUnavailable, also when the stream ends."""
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
                self._apply(message)
                started.set()
        raise StoreUnavailable("the filer ended its stream of changes")

    async def _ping(self, filer: Address) -> None:
        """Ping ``filer``, until the task is cancelled."""
        while True:
            sent = clock.monotonic()
            try:
                await self._filers.ping(filer, TRUST_SECONDS - PING_SECONDS)
            except StoreUnavailable:
                self._lose(filer)
            else:
                self._confirm(filer, sent)
            await asyncio.sleep(max(sent + PING_SECONDS - clock.monotonic(), 0.0))

    def _apply(self, message: pb.SubscribeMetadataResponse) -> None:
        """Drop what has changed, by the message and those inside of it."""
        for event in message.events:
            self._apply(event)
        if not message.HasField("event_notification"):
            return
        event = message.event_notification
        if event.HasField("old_entry"):
            self.drop(self._key(message.directory, event.old_entry))
        if event.HasField("new_entry"):
            self.drop(self._key(event.new_parent_path or message.directory, event.new_entry))

    def _key(self, path: str, entry: pb.Entry) -> Key:
        """The key of an entry in ``path``. A directory or folder that was made again has its
        entries in another place (:mod:`gfs.seaweedfs.directories`), but the same keys."""
        top, of_directory, of_folder = f"{self._top}/", *PLACES
        if not path.startswith(top):
            return path, entry.name
        directory, slash, folder = path.removeprefix(top).partition("/")
        path = top + directory.partition(of_directory)[0] + slash + folder
        if of_folder in path:
            path = "/".join(name.partition(of_folder)[0] for name in path.split("/"))
        return path, entry.name.partition(of_folder)[0]
