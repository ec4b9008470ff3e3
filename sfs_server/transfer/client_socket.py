"""The socket of the client that sent a request: the only place that knows how bytes go through it.

Large bodies go past aiohttp, both ways, on a duplicate of the socket's descriptor: uvloop guards
its own, and has no ``loop.sendfile``. A duplicate also stays ours when the transport closes, so
that a thread never uses a number that is another socket's by now.

**Sending.** sendfile(2) moves a file without copying it through this process, and write(2) sends
pieces from memory. The order of bytes on the wire is kept by waiting until the transport has
written all that it was given (the headers) before the first call (:meth:`ClientSocket.flush`), and
by giving it nothing until the last call has returned. No call waits for the disk in the event loop:
cachestat(2) says beforehand whether the next window of the file is in memory, and if not, or if the
kernel cannot say, a thread makes the call. A window of 1 MiB keeps one fast client from holding the
loop for longer than about 0.2 ms.

**Receiving.** aiohttp's way of a body is made for any body: each read is copied into an object,
parsed, queued, and handed on by the loop, which costs 1.2 s of CPU per GiB on top of the work of
the kernel. For a large body of known length none of that is needed: what follows on the socket are
its bytes, that many of them, and nothing else. So what the loop has received already is taken over,
reading is paused, and the rest is read from the duplicate, piece by piece, so that an upload of any
size holds one of them. A store that is written by calls that block gets its pieces in a thread,
which also reads them: the loop waits for the socket to become readable, and a thread works while
bytes are there, up to BURST, and goes, so slow clients hold none. Any other store gets them in the
loop, in place where it has memory for them: nothing is read before there is. aiohttp does not know
that its body was read behind its back, so the connection cannot be used again.

**Clients that stall.** A client that takes nothing is given up after one to two times
STALL_SECONDS. "Nothing" is what the kernel says of the unacknowledged bytes (SIOCOUTQ), not when
the socket becomes writable again: with a send buffer of some MiB and a client that reads 1 KB/s
that takes many minutes. While a client takes nothing for PATIENCE_SECONDS, nothing is held for it
but what the kernel has: pieces come from servers that hold more than we do for a response under way
(:class:`sfs_server.transfer.pieces.Source`). A client that sends nothing for
``-upload-idle-timeout`` is given up too.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from aiohttp import HttpVersion11, hdrs, web

from gfs.api import BufferWriter
from gfs.errors import DataLoss, StoreUnavailable
from gfs.futures import resolve
from gfs.linux import resident
from gfs.threads import in_thread
from gfs.types import Bytes
from sfs_server.errors import Problem
from sfs_server.http import ByteRange
from sfs_server.progress import Transfer
from sfs_server.transfer.pieces import Source
from sfs_server.web import CONFIG, RECEIVE_POOL, SEND_POOL, TAKEN

STALL_SECONDS = 120.0
"""How long a client may take nothing; after twice that at most its connection is ended."""

PATIENCE_SECONDS = 1.0
"""How long a client may take nothing before the pieces that wait to be sent to it are released."""

WINDOW = 1024 * 1024
"""Bytes that are sent to one client before other tasks get their turn."""

WITH_HEADERS = 64 * 1024
"""Bytes of a body, at most, that go out with the headers: the transport keeps them until its client
takes them."""

DIRECT_BYTES = 1024 * 1024
"""Bytes that a body must have to be read past aiohttp: it costs the connection, and must be more
than aiohttp ever has buffered."""

PIECE = 512 * 1024
"""Bytes that are read from a client at once, at most."""

SMALL_PIECE = 64 * 1024
"""The same, where the piece is held while the store waits for memory."""

BURST = 8 * 1024 * 1024
"""Bytes that one thread receives before others get their turn."""

_UNREACHABLE = frozenset(
    {
        *(errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN),
        *(errno.ETIMEDOUT, errno.ENOTCONN),
    }
)
"""What sendfile(2) says of a client that cannot be reached any more, where it is not a
ConnectionError; other errors are the disk's."""

Pace = Callable[[], Awaitable[None]]
"""Waits until more of a body may be read."""

Release = Callable[[], Awaitable[None]]
"""Frees what is held for a client that takes nothing."""

_T = TypeVar("_T")


class ClientStalled(ConnectionError):
    """The client has taken no byte for STALL_SECONDS."""


class ClientSocket:
    """The connection on which ``request`` came, for its response and its body. ``pace`` is awaited
    before more of the body is read.

    One task sends and one receives at a time. Every method that sends raises ConnectionError if the
    client is gone, or ClientStalled; after any error the connection cannot be used again.
    """

    def __init__(self, request: web.Request, pace: Pace | None = None) -> None:
        self._request = request
        self._pace = pace

    # Sending.

    async def start(self, response: web.StreamResponse) -> None:
        """Start ``response``. Its headers may be kept back until the first bytes of its body."""
        if await response.prepare(self._request) is None:
            raise ConnectionResetError("the response has ended already")

    async def write(self, piece: Bytes) -> None:
        """Send a piece of the body of a response that has started, and wait until it has left."""
        await self._request.writer.write(piece, drain=False)  # type: ignore[call-arg]
        await self.flush()

    def write_at_once(self, piece: bytes) -> bool:
        """Send bytes past aiohttp, if all that was sent before has left; whether it was done."""
        transport = self._request.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        transport.write(piece)
        return True

    async def send_file(
        self, response: web.Response, source: int, part: ByteRange, transfer: Transfer
    ) -> None:
        """Send ``response`` with the bytes ``part`` of the open file ``source``, and count them.

        Raises StoreUnavailable or DataLoss before the response starts if there is no first byte;
        afterwards DataLoss if the file is shorter, OSError if the disk fails. When cancelled, no
        thread uses ``source`` or the socket any more.
        """
        pool = self._request.app[SEND_POOL]
        position, end = part.start, part.start + part.length
        cached = _cached(source, position, end)
        if cached == position:
            await in_thread(pool, _read_first, source, position)
        await self.start(response)
        self._request.writer.send_headers()
        transport = await self.flush()
        if cached == end:
            # A small file in memory mostly goes out in one call, which needs no duplicate.
            target = transport.get_extra_info("socket").fileno()
            with suppress(BlockingIOError):
                position += _sendfile(target, source, position, end - position, transfer)
            if position == end:
                return
        with self._duplicate() as target:
            while position < end:
                if position >= cached:
                    cached = _cached(source, position, end)
                try:
                    if position < cached:
                        sent = _sendfile(target, source, position, cached - position, transfer)
                    else:
                        window = min(WINDOW, end - position)
                        sent = await in_thread(
                            pool, _sendfile, target, source, position, window, transfer
                        )
                except BlockingIOError:
                    await self._until(partial(_writable, target))
                    continue
                position += sent
                if sent == WINDOW:
                    await asyncio.sleep(0)

    async def send_pieces(self, response: web.Response, pieces: Source, transfer: Transfer) -> None:
        """Send ``response`` with ``pieces``, each in whole before the next one is fetched, and
        count their bytes. The caller closes ``pieces``. Raises what ``pieces`` raises; for the
        first one that is before the response starts."""
        await pieces.more()
        await self.start(response)
        first = pieces.left
        if len(first) > WITH_HEADERS:
            self._request.writer.send_headers()
        else:
            await self._request.writer.write(first, drain=False)  # type: ignore[call-arg]
            transfer.moved += len(first)
            pieces.sent(len(first))
        del first
        await self.flush(pieces.release)
        if not await pieces.more():
            return
        burst = 0
        with self._duplicate() as target:
            while await pieces.more():
                sent = _attempt(os.write, target, pieces.left)
                if sent is None:
                    burst = 0
                    await self._until(partial(_writable, target), pieces.release)
                    continue
                transfer.moved += sent
                pieces.sent(sent)
                burst += sent
                if burst >= WINDOW:
                    burst = 0
                    await asyncio.sleep(0)

    async def flush(self, release: Release | None = None) -> asyncio.Transport:
        """Wait until the transport has given the kernel all that it was given, and return it."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise _gone()
        if transport.get_write_buffer_size():
            await asyncio.sleep(0)  # uvloop hands over at the end of a turn what it was given in it
            if not transport.is_closing() and transport.get_write_buffer_size():
                await self._drain(transport, release)
            if transport.is_closing():
                raise _gone()
        return transport

    async def _drain(self, transport: asyncio.Transport, release: Release | None) -> None:
        transport.set_write_buffer_limits(high=0)
        # aiohttp's drain cannot be awaited again after it was cancelled: one task sees it through.
        draining = asyncio.ensure_future(self._request.writer.drain())

        async def drained(seconds: float) -> bool:
            return draining in (await asyncio.wait([draining], timeout=seconds))[0]

        try:
            await self._until(drained, release)
            draining.result()
        finally:
            draining.cancel()
        if not transport.is_closing():
            transport.set_write_buffer_limits()

    async def _until(
        self, ready: Callable[[float], Awaitable[bool]], release: Release | None = None
    ) -> None:
        """Wait until the client takes bytes again: until ``ready``, which is given seconds to wait,
        returns True. ``release`` is called once if that takes longer than PATIENCE_SECONDS. Raises
        ClientStalled."""
        if release is not None:
            if await ready(min(PATIENCE_SECONDS, STALL_SECONDS)):
                return
            await release()
        before: int | None = None
        while not await ready(STALL_SECONDS):
            waiting = self._unacknowledged()
            if before is not None and waiting >= before:
                raise ClientStalled("the client takes no bytes")
            before = waiting

    def _unacknowledged(self) -> int:
        """Bytes that have been sent, and that the client's kernel has not acknowledged."""
        transport = self._open_transport()
        descriptor = transport.get_extra_info("socket").fileno()
        (sent,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))
        return int(sent) + transport.get_write_buffer_size()

    def hold_little(self, send_buffer: int) -> None:
        """Let the kernel hold ``send_buffer`` bytes for the client, and end the connection when it
        acknowledges nothing for STALL_SECONDS: for a response that lasts long and says little."""
        channel = self._open_transport().get_extra_info("socket")
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = int(STALL_SECONDS * 1000)
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    # Receiving.

    async def invite_body(self) -> None:
        """Ask a client that waits for it (``Expect: 100-continue``) to send its body, unless it has
        (RFC 9110 §10.1.1). For when every refusal that needs no body is behind."""
        request = self._request
        if request.content.is_eof():
            return
        if hdrs.EXPECT in request.headers and request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # nothing of the response itself has been sent

    async def receive(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, through aiohttp, in pieces of at least one byte.

        Raises Problem 408 when no byte arrives for ``-upload-idle-timeout``; the time that the
        consumer takes does not count. Raises ConnectionError when the client goes away. So do the
        three other ways below.
        """
        content, seconds = self._request.content, self._request.app[CONFIG].upload_idle_timeout
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as idle:
                while True:
                    if self._pace is not None:
                        await self._pace()
                    idle.reschedule(loop.time() + seconds)
                    piece = await content.readany()
                    idle.reschedule(None)
                    if not piece:
                        return
                    yield piece
        except TimeoutError:
            raise _silent(seconds) from None

    async def receive_in_threads(self, length: int, sink: Callable[[bytes], object]) -> None:
        """Give the body of ``length`` >= DIRECT_BYTES bytes to ``sink``, by pieces, in threads.

        ``sink`` blocks, and should not keep a piece; what it raises is raised. When cancelled,
        ``sink`` is not running any more.
        """
        pool = self._request.app[RECEIVE_POOL]
        with self._taken_over() as (target, head):
            left = length - len(head)
            if head:
                await in_thread(pool, sink, head)
            del head
            while left:
                await self._readable(target)
                left -= await in_thread(pool, _burst, target, left, sink)

    async def receive_in_place(
        self, length: int, writer: BufferWriter, look: Callable[[Bytes], object]
    ) -> None:
        """Read the body of ``length`` >= DIRECT_BYTES bytes into the memory of ``writer``. ``look``
        is shown each piece before it is written."""
        with self._taken_over() as (target, head):
            left = length - len(head)
            look(head)
            await writer.write(head)
            del head
            while left:
                await self._readable(target)
                space = await writer.space(min(PIECE, left))
                count = _attempt(os.readv, target, (space,))
                if count == 0:
                    raise _gone()
                count = count or 0
                look(space[:count])
                await writer.advance(count)
                left -= count

    async def receive_pieces(self, length: int) -> AsyncGenerator[bytes, None]:
        """Yield the body of ``length`` >= DIRECT_BYTES bytes by small pieces: they are held while
        the consumer waits for memory."""
        with self._taken_over() as (target, piece):
            left = length
            while True:
                left -= len(piece)
                if piece:
                    yield piece
                if not left:
                    break
                await self._readable(target)
                piece = _read(target, min(SMALL_PIECE, left))

    @contextmanager
    def _taken_over(self) -> Iterator[tuple[int, bytes]]:
        """Take the body from aiohttp: a duplicate to read it from, and what has been read already.
        From now on the connection cannot be used for another request."""
        request, transport = self._request, self._open_transport()
        request[TAKEN] = True
        with self._duplicate() as target:
            try:
                # No await between these two: taking the bytes makes aiohttp read on.
                taken = [request.content.read_nowait()]
                transport.pause_reading()
                yield target, taken.pop()  # popped, so that it is not held here
                request.content.feed_eof()
            except BaseException:
                # The client may still be sending: let aiohttp read, so that the response arrives.
                if not transport.is_closing():
                    transport.resume_reading()
                raise

    async def _readable(self, target: int) -> None:
        if self._pace is not None:
            await self._pace()
        seconds = self._request.app[CONFIG].upload_idle_timeout
        if not await _ready(target, seconds, to_read=True):
            raise _silent(seconds)

    # Both.

    def _open_transport(self) -> asyncio.Transport:
        """The transport, while it is open: uvloop's can be asked for hardly anything afterwards."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise _gone()
        return transport

    @contextmanager
    def _duplicate(self) -> Iterator[int]:
        """A descriptor of the same socket, which stays open until the ``with`` ends."""
        target = os.dup(self._open_transport().get_extra_info("socket").fileno())
        try:
            yield target
        finally:
            os.close(target)


def _gone() -> ConnectionResetError:
    return ConnectionResetError("the client is gone")


def _silent(seconds: float) -> Problem:
    return Problem(408, f"No byte arrived for {seconds:g} seconds.")


def _attempt(call: Callable[..., _T], *arguments: object) -> _T | None:
    """What a system call on the client's socket returns; None if it would have to wait. Raises
    ConnectionResetError for whatever became of the way to the client."""
    try:
        return call(*arguments)
    except BlockingIOError:
        return None
    except OSError as error:
        raise _gone() from error


def _read(target: int, most: int) -> bytes:
    """What is there to read; nothing if there is nothing yet. Raises ConnectionResetError at the
    end."""
    piece = _attempt(os.read, target, most)
    if piece == b"":
        raise _gone()
    return piece or b""


def _burst(target: int, left: int, sink: Callable[[bytes], object]) -> int:
    """Give ``sink`` what is there to read, at most BURST and ``left`` bytes; how many it was."""
    goal = min(BURST, left)
    moved = 0
    while moved < goal:
        piece = _read(target, min(PIECE, left - moved))
        if not piece:
            break
        sink(piece)
        moved += len(piece)
    return moved


def _cached(source: int, start: int, end: int) -> int:
    """Up to which byte the file is in memory, from ``start`` on: up to ``end`` or the end of the
    next WINDOW, or up to ``start`` if that much is not."""
    length = min(WINDOW, end - start)
    return start + length if resident(source, start, length) else start


def _read_first(source: int, start: int) -> None:
    """Wait for the disk to have the byte ``start`` of a file."""
    try:
        first = os.pread(source, 1, start)
    except OSError as error:
        raise StoreUnavailable(f"the disk: {os.strerror(error.errno or 0)}") from error
    if not first:
        raise DataLoss("the file is shorter than it was")


def _sendfile(target: int, source: int, start: int, length: int, transfer: Transfer) -> int:
    """Send some of the bytes, and count them here, in the thread where there is one: what it has
    sent when its task is cancelled has been sent."""
    try:
        sent = os.sendfile(target, source, start, length)
    except OSError as error:
        if error.errno in _UNREACHABLE:
            raise _gone() from error
        raise
    if not sent:
        raise DataLoss("the file was cut short while it was sent")
    transfer.moved += sent
    return sent


async def _writable(target: int, seconds: float) -> bool:
    return await _ready(target, seconds, to_read=False)


async def _ready(target: int, seconds: float, *, to_read: bool) -> bool:
    """Whether the kernel has bytes of ``target``, or takes some, within ``seconds``.

    Asked some thousand times a second, so with a bare timer, which is cheaper than a timeout.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()
    (loop.add_reader if to_read else loop.add_writer)(target, resolve, ready, True)
    timer = loop.call_later(seconds, resolve, ready, False)
    try:
        return await ready
    finally:
        timer.cancel()
        (loop.remove_reader if to_read else loop.remove_writer)(target)
