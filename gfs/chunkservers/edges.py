"""Waiting for sockets: one epoll(7) of our own, which the event loop watches in place of them.

Adding a reader for one wait and removing it again costs uvloop a handle, which it makes and closes:
eight system calls, more than the answer itself. Here a socket is registered once, edge-triggered
(EPOLLET), and a wait is a future. Leaving a reader added would not do: the loop would turn without
a pause while there are bytes that nobody wants yet.

An edge is told of when something arrives (SO_RCVLOWAT bytes or more, socket(7)), and when the
connection ends, not while it stays so: whoever has read something looks again before they wait.
What was told since the last wait ends the next one at once, so one may also be woken in vain.
"""

from __future__ import annotations

import asyncio
import select

from gfs.futures import resolve

MOST = 64
"""Edges that are told in one turn of the loop."""


class Edges:
    """The sockets of one event loop. ``close`` it after them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._watched: dict[int, Edge] = {}
        self._loop.add_reader(self._epoll.fileno(), self._tell)

    def watch(self, descriptor: int) -> Edge:
        """The edges of a socket, until its ``close``, which comes before that of the socket."""
        edge = self._watched[descriptor] = Edge(self, descriptor)
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)
        return edge

    def forget(self, descriptor: int) -> None:
        """Watch a socket no longer. Idempotent."""
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watch nothing any more. Idempotent."""
        if not self._epoll.closed:
            self._watched.clear()
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _tell(self) -> None:
        for descriptor, _ in self._epoll.poll(0, MOST):
            edge = self._watched.get(descriptor)
            if edge is not None:
                edge.tell()


class Edge:
    """What one socket has to tell. Waited for by one task at a time."""

    __slots__ = ("_descriptor", "_edges", "_loop", "_told", "_waiting")

    def __init__(self, edges: Edges, descriptor: int) -> None:
        self._edges = edges
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._told = False
        self._waiting: asyncio.Future[bool] | None = None

    async def wait(self, seconds: float | None) -> bool:
        """Return True after an edge, also one since the last wait; False after ``seconds``."""
        if self._told:
            self._told = False
            return True
        waiting = self._waiting = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, resolve, waiting, False)
        try:
            in_time: bool = await waiting
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()
        return in_time

    def tell(self) -> None:
        """There was an edge."""
        if self._waiting is None or self._waiting.done():
            self._told = True
        else:
            self._waiting.set_result(True)

    def forget(self) -> None:
        """What has been told so far is of no interest any more."""
        self._told = False

    def close(self) -> None:
        """Be told nothing any more. Idempotent."""
        self._edges.forget(self._descriptor)
