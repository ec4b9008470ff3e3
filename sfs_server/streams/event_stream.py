"""One event stream, and all that are open in a process."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from gfs.futures import resolve
from sfs_server.errors import RETRY_AFTER_SECONDS, Problem

COMMENT_SECONDS = 15.0
"""The longest time in which a stream sends nothing: then it sends a comment, so that proxies keep
the connection open, and a client that has gone is noticed."""

COMMENT = b":\n\n"

RETRY = b"retry: 1000\n\n"
"""The end of a stream in a process that stops: a browser connects again in a second, to another
process."""

MAX_STREAMS = 30_000
"""Event streams of one kind that may be open in one process."""

BATCH = 100
"""Streams that are given something in one turn of the event loop, which takes 1 to 2 ms."""

_T = TypeVar("_T")


class EventStream(ABC):
    """One event stream: what it is to send, and when.

    Its handler calls ``wait`` and sends what ``take`` returns, until ``over`` is true: then that
    was the last. ``send_at_once``, which the handler sets, sends an event if the socket takes it
    without waiting, and returns whether it did. That saves the wake-up of a task, two thirds of the
    cost of an event.
    """

    __slots__ = ("_loop", "_not_before", "_waiter", "leaving", "over", "send_at_once")

    def __init__(self) -> None:
        self.send_at_once: Callable[[bytes], bool] | None = None
        self.leaving = False
        """Whether the process stops."""
        self.over = False
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._not_before = -math.inf  # the time of the next event

    @abstractmethod
    def pending(self) -> bool:
        """Whether an event is to be sent."""

    @abstractmethod
    def take(self) -> bytes:
        """What is to be sent now: the next event, a comment, or an end of the stream."""

    def patience(self) -> float:
        """How long ``wait`` waits at most, in seconds."""
        return COMMENT_SECONDS

    def leave(self) -> None:
        """End the stream, with RETRY unless it has ended by itself: the process stops."""
        self.leaving = True
        self.wake()

    def wake(self) -> None:
        """End ``wait`` now, so that something is sent, if only a comment: nothing else shows
        whether the client is still there."""
        if self._waiter is not None:
            resolve(self._waiter, None)

    async def wait(self) -> None:
        """Wait until something is to be sent."""
        if not self.pending() and not self.leaving:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(self.patience(), resolve, self._waiter, None)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        early = self._not_before - self._loop.time()
        if self.pending() and early > 0:
            await asyncio.sleep(early)


class OpenStreams:
    """The open streams of one kind, in one process. ``len`` is how many there are."""

    def __init__(self) -> None:
        self._open: set[EventStream] = set()
        self._draining = False

    def __repr__(self) -> str:
        return f"<OpenStreams open={len(self)} draining={self._draining}>"

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def one(self, stream: EventStream) -> Iterator[None]:
        """``stream`` is open until the body of the ``with`` ends. Raises Problem 503."""
        if len(self) >= MAX_STREAMS:
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            raise Problem(503, "Too many event streams are open. Try again later.", retry)
        self._open.add(stream)
        try:
            if self._draining:
                stream.leave()
            yield
        finally:
            self._open.discard(stream)

    def drain(self) -> None:
        """End every stream, and those that come, so that clients connect to another process."""
        self._draining = True
        for stream in self._open:
            stream.leave()


def in_batches(call: Callable[[_T], object], streams: list[_T]) -> None:
    """``call`` something with each of ``streams``, and let the loop do other things between many.
    Takes them out of the list."""
    for stream in streams[-BATCH:]:
        call(stream)
    del streams[-BATCH:]
    if streams:
        asyncio.get_running_loop().call_soon(in_batches, call, streams)
