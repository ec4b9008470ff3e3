"""Waiting for sockets with an epoll(7) of our own, which the event loop watches instead of them.

Adding a reader to uvloop for one wait and removing it again makes and closes a handle: eight system
calls, more than the response itself needs. Here a socket is registered once, edge-triggered
(EPOLLET), and a wait is a future. A reader that stays added would not do: the loop would spin while
there are bytes that are not consumed yet.

There is an edge when something arrives (SO_RCVLOWAT bytes or more, socket(7)) and when the
connection ends, but none while bytes are waiting: a task reads until there are no more before it
waits. An edge since the last wait ends the next wait at once, so a task may be woken for nothing.
"""

from __future__ import annotations

import asyncio
import select

from gfs.futures import resolve

MAX_EDGES = 64
"""How many edges are handled in one turn of the event loop."""


class Edges:
    """The sockets that one event loop waits for. ``close`` it after them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._watched: dict[int, Edge] = {}
        self._loop.add_reader(self._epoll.fileno(), self._notify)

    def watch(self, descriptor: int) -> Edge:
        """Watch a socket until the edge is closed, which must be before the socket is."""
        edge = self._watched[descriptor] = Edge(self, descriptor)
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)
        return edge

    def forget(self, descriptor: int) -> None:
        """Stop watching a socket. Idempotent."""
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Stop watching. Idempotent."""
        if not self._epoll.closed:
            self._watched.clear()
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _notify(self) -> None:
        for descriptor, _ in self._epoll.poll(0, MAX_EDGES):
            edge = self._watched.get(descriptor)
            if edge is not None:
                edge.notify()


class Edge:
    """The edges of one socket. One task at a time waits for them."""

    __slots__ = ("_arrived", "_descriptor", "_edges", "_loop", "_waiting")

    def __init__(self, edges: Edges, descriptor: int) -> None:
        self._edges = edges
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._arrived = False
        self._waiting: asyncio.Future[bool] | None = None

    async def wait(self, seconds: float | None) -> bool:
        """Wait for an edge, or return True at once if there was one since the last wait; False
        after ``seconds``."""
        if self._arrived:
            self._arrived = False
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

    def notify(self) -> None:
        """End the wait for this socket: something has arrived, or the connection has ended. If
        nothing waits, the next wait ends at once."""
        if self._waiting is None or self._waiting.done():
            self._arrived = True
        else:
            self._waiting.set_result(True)

    def forget(self) -> None:
        """Ignore an edge since the last wait."""
        self._arrived = False

    def close(self) -> None:
        """Stop watching the socket. Idempotent."""
        self._edges.forget(self._descriptor)
