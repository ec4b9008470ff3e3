"""Waiting for sockets by edges: none is lost, whenever it came."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gfs.chunkservers.edges import MAX_EDGES, Edges

LONG = 30.0
"""Seconds that no wait here should take."""


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


async def test_an_edge_ends_the_wait_that_it_came_in_and_no_other() -> None:
    edges = Edges()
    with pair() as (ours, theirs):
        edge = edges.watch(ours.fileno())
        waiting = asyncio.create_task(edge.wait(LONG))
        await asyncio.sleep(0)
        theirs.send(b"x")
        assert await waiting
        assert not await edge.wait(0.01)  # the byte is there, and is no news
        theirs.send(b"y")
        assert await edge.wait(LONG)
    edges.close()


async def test_an_edge_before_the_wait_ends_it_at_once() -> None:
    edges = Edges()
    with pair() as (ours, theirs):
        theirs.send(b"x")
        edge = edges.watch(ours.fileno())
        await asyncio.sleep(0.01)
        assert await edge.wait(0.0)
        theirs.send(b"y")
        await asyncio.sleep(0.01)
        edge.forget()
        assert not await edge.wait(0.01)
    edges.close()


async def test_the_end_of_a_connection_is_an_edge() -> None:
    edges = Edges()
    with pair() as (ours, theirs):
        edge = edges.watch(ours.fileno())
        theirs.close()
        assert await edge.wait(LONG)
    edges.close()


async def test_all_are_notified_when_there_are_more_edges_than_one_turn_handles() -> None:
    edges = Edges()
    with ExitStack() as pairs:
        sockets = [pairs.enter_context(pair()) for _ in range(MAX_EDGES + 9)]
        watched = [edges.watch(ours.fileno()) for ours, _ in sockets]
        waiting = [asyncio.create_task(edge.wait(LONG)) for edge in watched]
        for _, theirs in sockets:
            theirs.send(b"x")
        assert all(await asyncio.gather(*waiting))
    edges.close()


async def test_a_wait_that_was_cancelled_leaves_the_next_edge_to_the_next_wait() -> None:
    edges = Edges()
    with pair() as (ours, theirs):
        edge = edges.watch(ours.fileno())
        waiting = asyncio.create_task(edge.wait(LONG))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        theirs.send(b"x")
        assert await edge.wait(LONG)
    edges.close()


async def test_a_closed_socket_is_not_notified_under_its_number() -> None:
    edges = Edges()
    with pair() as (ours, theirs):
        number = ours.fileno()
        edge = edges.watch(number)
        theirs.send(b"x")  # an edge that is not handled yet
        edge.close()
        edge.close()
        ours.close()
        with pair() as (again, _):
            assert again.fileno() == number
            assert not await edges.watch(number).wait(0.01)
    edges.close()
    edges.close()
    edge.close()
