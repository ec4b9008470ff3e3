"""Who watches which changes.

A handler that has changed something says so once, after the commit, and waits for nothing. The
streams of this process are shown it at once, in batches. For the other processes changes are
collected during COLLECT_SECONDS, and sent by the exchange (:mod:`sfs_server.exchange`) whether or
not anyone watches there: one statement for all requests of a quarter of a second. Of each path only
the last change is sent, and of a namespace with more than MAX_PATHS of them that there were many.
So what is collected, sent and received is bounded, however much changes.

A client keeps its list true by that: it opens the stream, then lists, and lists again upon
``many``. It gets a ``many`` for whatever may have been lost: where it was too slow, where the
listener of this process lost its connection, and where it connects again itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from operator import methodcaller

from sfs_server.changes.messages import (
    MANY,
    Event,
    Kind,
    PathChange,
    What,
    encode,
    encode_many,
    parse,
    seen_from,
)
from sfs_server.changes.stream import ChangeStream
from sfs_server.exchange import Exchange
from sfs_server.streams import OpenStreams, in_batches

COLLECT_SECONDS = 0.25
"""How long changes are collected before they are sent to other processes."""

MAX_PATHS = 100
"""Paths of one namespace that are sent at once."""

MAX_COLLECTED = 1000
"""Paths of all namespaces that are collected."""

_Key = tuple[str | None, str | None]
"""A namespace and a path in it: None is all of them."""


class Changes:
    """The streams of changes of one process, and a :class:`sfs_server.exchange.Topic`. Belongs to
    one event loop. ``streams`` are all that are open."""

    def __init__(self) -> None:
        self.streams = OpenStreams()
        self._watched: dict[str, dict[str | None, set[ChangeStream]]] = {}  # namespace → folder
        self._exchange: Exchange | None = None
        self._collected: dict[_Key, str] = {}  # to be sent
        self._paths: Counter[str] = Counter()  # of these, by namespace
        self._taken: dict[_Key, str] = {}  # sent last
        self._timer: asyncio.TimerHandle | None = None
        self._due = False

    def __repr__(self) -> str:
        return f"<Changes streams={self.streams!r} collected={len(self._collected)}>"

    def join(self, exchange: Exchange) -> None:
        """There are other processes."""
        self._exchange = exchange
        exchange.topics.append(self)

    def changed(self, namespace: str, path: str, kind: Kind, what: What) -> None:
        """A file or folder was put at a path (made, replaced, or moved there), or deleted (or moved
        away)."""
        change = PathChange(namespace, path, kind, what)
        self._show(change)
        self._collect((namespace, path), encode(change))

    def many(self, namespace: str) -> None:
        """Much was changed in a namespace, or it was deleted, or is seen by others now."""
        self._show_many(namespace)
        self._collect((namespace, None), encode_many(namespace))

    @contextmanager
    def watch(
        self, namespace: str, folder: str | None, may_read: Callable[[], Awaitable[bool]]
    ) -> Iterator[ChangeStream]:
        """A stream, until the body of the ``with`` ends. Raises Problem 503."""
        stream = ChangeStream(namespace, folder, may_read)
        with self.streams.one(stream):
            folders = self._watched.setdefault(namespace, {})
            folders.setdefault(folder, set()).add(stream)
            try:
                yield stream
            finally:
                folders[folder].discard(stream)
                if not folders[folder]:
                    del folders[folder]
                if not folders and self._watched.get(namespace) is folders:
                    del self._watched[namespace]

    def _show(self, change: PathChange) -> None:
        for folder, streams in self._watched.get(change.namespace, {}).items():
            event = seen_from(change, folder)
            if event is not None:
                _offer(event, streams)

    def _show_many(self, namespace: str | None) -> None:
        names = list(self._watched) if namespace is None else [namespace]
        for name in names:
            for streams in self._watched.get(name, {}).values():
                _offer(MANY, streams)

    # What other processes send, and are sent.

    def receive(self, item: object) -> None:
        """Another process has sent ``item``."""
        found = parse(item)
        if isinstance(found, PathChange):
            self._show(found)
        elif found is not None:
            self._show_many(*found)

    def returned(self) -> None:
        """The listener of this process has come back: changes may have been missed."""
        self._show_many(None)

    def check(self, now: float) -> None:
        """Nothing becomes due by itself."""

    def take(self, most: int) -> list[str]:
        """What has been collected long enough."""
        self._taken = {}
        if self._due:
            for key in list(islice(self._collected, most)):
                self._taken[key] = self._drop(key)
            self._due = bool(self._collected)
        return list(self._taken.values())

    def restore(self) -> None:
        """What was taken last is to be sent again, before what was collected since."""
        later, self._collected = self._collected, {}
        self._paths.clear()
        for key, item in {**self._taken, **later}.items():
            self._add(key, item)
        self._due = bool(self._collected)

    def waiting(self) -> bool:
        """Whether something is to be sent."""
        return self._due

    def closing(self) -> None:
        """Send what there is now."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = bool(self._collected)

    def _collect(self, key: _Key, item: str) -> None:
        if self._exchange is None:
            return
        self._add(key, item)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(COLLECT_SECONDS, self._on_timer, self._exchange)

    def _on_timer(self, exchange: Exchange) -> None:
        self._timer = None
        self._due = True
        exchange.wake()

    def _add(self, key: _Key, item: str) -> None:
        """Add an item to what is collected, unless it says already that there was much."""
        namespace, path = key
        if (namespace, None) in self._collected or (None, None) in self._collected:
            return
        if key in self._collected:
            self._drop(key)  # so that the last change of a path comes last
        elif namespace is not None and self._paths[namespace] >= MAX_PATHS:
            path, item = None, encode_many(namespace)
        if path is None:
            for other in [one for one in self._collected if namespace in (None, one[0])]:
                self._drop(other)
        if len(self._collected) >= MAX_COLLECTED:
            self._collected.clear()
            self._paths.clear()
            namespace, path, item = None, None, encode_many(None)
        self._collected[namespace, path] = item
        if namespace is not None:
            self._paths[namespace] += 1

    def _drop(self, key: _Key) -> str:
        namespace = key[0]
        if namespace is not None:
            self._paths[namespace] -= 1
            if not self._paths[namespace]:
                del self._paths[namespace]
        return self._collected.pop(key)


def _offer(event: Event, streams: set[ChangeStream]) -> None:
    in_batches(methodcaller("offer", event), list(streams))
