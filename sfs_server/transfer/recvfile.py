"""Taking a body from the client's socket past aiohttp: sendfile's mirror image.

aiohttp's way of a body is made for any body: each read is copied into an object, parsed, queued,
and handed on by the loop, 1.2 s of CPU per GiB beside the work of the kernel. For a large body of
known length none of that is needed: what follows on the socket are its bytes, that many of them,
and nothing else. So what the loop has received already is taken over, reading is paused, and the
rest is read from a duplicate of the descriptor, piece by piece, so that an upload of any size holds
one of them.

A store that is written by calls that block gets its pieces in a thread, which also reads them. The
loop only waits for the socket to become readable; a thread works while bytes are there, up to
BURST, and goes, so slow clients hold none. Any other store gets them in the loop, in place where it
has memory for them: nothing is read before there is.

aiohttp does not know that its body was read behind its back. It is told the end of it, and the
connection is closed after the answer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager

from aiohttp import web

from gfs.api import BufferWriter
from gfs.futures import resolve
from gfs.threads import in_thread
from gfs.types import Bytes
from sfs_server.errors import Problem

LEAST = 1024 * 1024
"""Bytes of a body for which this is worth the connection; more than aiohttp ever has buffered."""

PIECE = 512 * 1024
SMALL_PIECE = 64 * 1024
BURST = 8 * 1024 * 1024
"""Bytes that one thread moves before others get their turn."""


async def receive_large(
    request: web.Request,
    length: int,
    sink: Callable[[bytes], object],
    idle_timeout: float,
    pool: Executor,
) -> None:
    """Give the body of ``length`` >= LEAST bytes to ``sink``, by pieces, in threads of ``pool``.

    ``sink`` blocks, and should not keep a piece. No byte of the body has been read yet; the client
    has been told to continue. Raises what ``sink`` raises, Problem 408 when no byte arrives for
    ``idle_timeout`` seconds, ConnectionError when the client goes away. Whatever happens, the
    connection must be closed after the answer. When cancelled, ``sink`` is not running any more.
    """
    async with _taken_over(request) as (target, taken):
        head = taken.pop()
        left = length - len(head)
        if head:
            await in_thread(pool, sink, head)
        del head
        while left:
            await _readable(target, idle_timeout)
            left -= await in_thread(pool, _burst, target, left, sink)
        request.content.feed_eof()


async def receive_in_place(
    request: web.Request,
    length: int,
    writer: BufferWriter,
    look: Callable[[Bytes], object],
    idle_timeout: float,
) -> None:
    """Read the body of ``length`` >= LEAST bytes into the memory of ``writer``, like
    :func:`receive_large`. ``look`` is shown each piece before it is written."""
    async with _taken_over(request) as (target, taken):
        head = taken.pop()
        left = length - len(head)
        look(head)
        await writer.write(head)
        del head
        while left:
            await _readable(target, idle_timeout)
            space = await writer.space(min(PIECE, left))
            count = _read_into(target, space)
            look(space[:count])
            await writer.advance(count)
            left -= count
        request.content.feed_eof()


async def receive_pieces(
    request: web.Request, length: int, idle_timeout: float
) -> AsyncGenerator[bytes, None]:
    """Yield the body of ``length`` >= LEAST bytes by small pieces, like :func:`receive_large`: they
    are held while the consumer waits for memory."""
    async with _taken_over(request) as (target, taken):
        left, piece = length, taken.pop()
        while True:
            left -= len(piece)
            if piece:
                yield piece
            if not left:
                break
            await _readable(target, idle_timeout)
            piece = _read(target, min(SMALL_PIECE, left))
        request.content.feed_eof()


@asynccontextmanager
async def _taken_over(request: web.Request) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A duplicate of the socket's descriptor, and what has been read of the body already: to be
    taken out of its list, so that nobody else keeps it."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    target = os.dup(transport.get_extra_info("socket").fileno())
    try:
        # No await between these two: taking the bytes makes aiohttp read on.
        taken = [request.content.read_nowait()]
        transport.pause_reading()
        yield target, taken
    except BaseException:
        # The client may still be sending: let aiohttp read, so that the answer is not lost.
        if not transport.is_closing():
            transport.resume_reading()
        raise
    finally:
        os.close(target)


def _burst(target: int, left: int, sink: Callable[[bytes], object]) -> int:
    """Move what is there, at most BURST and ``left`` bytes; how many it was."""
    goal = min(BURST, left)
    moved = 0
    while moved < goal:
        piece = _read(target, min(PIECE, left - moved))
        if not piece:
            break
        sink(piece)
        moved += len(piece)
    return moved


def _read(target: int, most: int) -> bytes:
    """What is there; nothing if there is nothing yet. Raises ConnectionResetError at the end."""
    try:
        piece = os.read(target, most)
    except BlockingIOError:
        return b""
    except OSError as error:  # whatever became of the way to the client
        raise ConnectionResetError("the client is gone") from error
    if not piece:
        raise ConnectionResetError("the client is gone")
    return piece


def _read_into(target: int, space: memoryview) -> int:
    """Read what is there; how many bytes it was. Raises ConnectionResetError at the end."""
    try:
        count = os.readv(target, (space,))
    except BlockingIOError:
        return 0
    except OSError as error:
        raise ConnectionResetError("the client is gone") from error
    if not count:
        raise ConnectionResetError("the client is gone")
    return count


async def _readable(target: int, idle_timeout: float) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(target, resolve, ready, None)
    try:
        async with asyncio.timeout(idle_timeout):
            await ready
    except TimeoutError:
        raise Problem(408, f"No byte arrived for {idle_timeout:g} seconds.") from None
    finally:
        loop.remove_reader(target)
