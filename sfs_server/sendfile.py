"""Moving bytes to a client's socket past the transport: those of an open file without copying them
through this process, and those that this process has without keeping them.

sendfile(2) and write(2) go on a duplicate of the socket's descriptor, since uvloop guards its own
and has no ``loop.sendfile``. The order of bytes on the wire is kept by waiting until the transport
has written all that it was given (the headers) before the first call, and by giving it nothing
until the last call has returned.

No call waits for the disk in the event loop: cachestat(2) says beforehand whether the window is
in memory, and if not, or if the kernel cannot say, the call is made by a thread. A window of
1 MiB keeps one fast client from holding the loop for longer than about 0.2 ms.

A client that takes nothing is given up after one to two times STALL_SECONDS. "Nothing" is what
the kernel says of the unacknowledged bytes (SIOCOUTQ), not when the socket becomes writable
again: with a send buffer of some MiB and a client that reads 1 KB/s that takes many minutes.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import termios
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import suppress

from aiohttp.abc import AbstractStreamWriter

from gfs.errors import DataLoss
from gfs.pagecache import resident
from gfs.threads import in_thread
from gfs.types import Bytes
from sfs_server.multipart_ranges import ByteRange
from sfs_server.progress_types import Count

WINDOW = 1024 * 1024
STALL_SECONDS = 120.0

NO_WAY = frozenset(
    {
        *(errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN),
        *(errno.ETIMEDOUT, errno.ENOTCONN),
    }
)
"""What sendfile(2) says of a client that cannot be reached any more, where it is not a
ConnectionError; other errors are the disk's."""


class ClientStalled(ConnectionError):
    """The client has taken no byte for STALL_SECONDS."""


async def send_descriptor(
    transport: asyncio.Transport,
    source: int,
    body: ByteRange,
    known: int,
    pool: Executor,
    count: Count,
) -> None:
    """Send the bytes ``body`` of the file ``source``, which up to byte ``known`` are in memory, and
    ``count`` them.

    All that was written to ``transport`` before must have left it (:func:`drain_fully`). Raises
    DataLoss if the file is shorter, ConnectionError if the client is gone or stalled, OSError if
    the disk fails. When cancelled, no thread uses ``source`` or the socket any more.
    """
    _check_alive(transport)
    target = transport.get_extra_info("socket").fileno()
    start, end = body.start, body.start + body.length
    if known >= end:
        # A small file in memory mostly goes out in one call, which needs no descriptor of its own.
        with suppress(BlockingIOError):
            start += _sendfile(target, source, start, body.length, count)
        if start == end:
            return
    target = os.dup(target)
    try:
        await _send_rest(target, source, start, end, known, pool, count)
    finally:
        os.close(target)


async def _send_rest(
    target: int, source: int, start: int, end: int, known: int, pool: Executor, count: Count
) -> None:
    loop = asyncio.get_running_loop()
    while start < end:
        length = min(WINDOW, end - start)
        if start >= known and resident(source, start, length):
            known = start + length
        try:
            if start < known:
                sent = _sendfile(target, source, start, min(length, known - start), count)
            else:
                sent = await in_thread(pool, _sendfile, target, source, start, length, count)
        except BlockingIOError:
            await _writable(loop, target)
            continue
        start += sent
        if sent == WINDOW:
            await asyncio.sleep(0)


async def send_pieces(
    transport: asyncio.Transport, pieces: AsyncGenerator[Bytes, None], count: Count
) -> None:
    """Send ``pieces`` as they come, each in whole before the next one is asked for, and ``count``
    their bytes. The caller closes ``pieces``.

    All that was written to ``transport`` before must have left it (:func:`drain_fully`). Raises
    ConnectionError if the client is gone or stalled, and what ``pieces`` raise.
    """
    _check_alive(transport)
    loop = asyncio.get_running_loop()
    target = os.dup(transport.get_extra_info("socket").fileno())
    burst = 0
    try:
        async for piece in pieces:
            left = memoryview(piece)
            while left:
                try:
                    sent = os.write(target, left)
                    count.moved += sent
                    left = left[sent:]
                except BlockingIOError:
                    burst = 0
                    await _writable(loop, target)
                except OSError as error:
                    raise ConnectionResetError("the client is gone") from error
            burst += len(piece)
            if burst >= WINDOW:
                burst = 0
                await asyncio.sleep(0)
    finally:
        os.close(target)


def _sendfile(target: int, source: int, start: int, length: int, count: Count) -> int:
    """Send some of the bytes, and count them here, in the thread where there is one: what it has
    sent when its task is cancelled has been sent."""
    try:
        sent = os.sendfile(target, source, start, length)
    except OSError as error:
        if error.errno in NO_WAY:
            raise ConnectionResetError("the client is gone") from error
        raise
    if not sent:
        raise DataLoss("the file was cut short while it was sent")
    count.moved += sent
    return sent


async def drain_fully(transport: asyncio.Transport, writer: AbstractStreamWriter) -> None:
    """Wait until ``transport`` has handed all its bytes to the kernel.

    Raises ClientStalled, and ConnectionError if the client is gone. When it returns, the transport
    has its default limits again; when it raises, the connection is of no use any more.
    """
    if not await _busy(transport):
        return
    transport.set_write_buffer_limits(high=0)
    await drain(transport, writer)
    _check_alive(transport)
    transport.set_write_buffer_limits()


async def drain(transport: asyncio.Transport, writer: AbstractStreamWriter) -> None:
    """Wait until the transport takes more bytes. Raises ClientStalled, and ConnectionError if the
    client is gone."""
    if not await _busy(transport):
        return
    # aiohttp's drain cannot be awaited again after it was cancelled: one task sees it through.
    waiting = asyncio.ensure_future(writer.drain())
    before: int | None = None
    try:
        while not (await asyncio.wait([waiting], timeout=STALL_SECONDS))[0]:
            before = _fallen(before, _queued(transport))
        waiting.result()
    finally:
        waiting.cancel()


async def _writable(loop: asyncio.AbstractEventLoop, target: int) -> None:
    """Wait until the kernel takes more bytes for ``target``. Raises ClientStalled.

    Done some thousand times a second, so with a bare timer, which is cheaper than a timeout.
    """
    before: int | None = None
    while True:
        ready: asyncio.Future[bool] = loop.create_future()
        loop.add_writer(target, _set, ready, True)
        timer = loop.call_later(STALL_SECONDS, _set, ready, False)
        try:
            if await ready:
                return
        finally:
            timer.cancel()
            loop.remove_writer(target)
        before = _fallen(before, _outq(target))


def _set(ready: asyncio.Future[bool], value: bool) -> None:
    if not ready.done():
        ready.set_result(value)


def _fallen(before: int | None, now: int) -> int:
    """``now``, if fewer bytes are queued than ``before``; else the client has stalled."""
    if before is not None and now >= before:
        raise ClientStalled("the client takes no bytes")
    return now


async def _busy(transport: asyncio.Transport) -> bool:
    """Whether ``transport`` has bytes that the kernel does not take yet."""
    if not transport.get_write_buffer_size():
        return False
    await asyncio.sleep(0)  # uvloop hands over at the end of a turn what it was given in it
    _check_alive(transport)
    return transport.get_write_buffer_size() > 0


def _check_alive(transport: asyncio.Transport) -> None:
    """Raise ConnectionResetError if ``transport`` was closed, as it may be after every await:
    uvloop's can then be asked for hardly anything."""
    if transport.is_closing():
        raise ConnectionResetError("the client is gone")


def _queued(transport: asyncio.Transport) -> int:
    _check_alive(transport)
    waiting: int = transport.get_write_buffer_size()
    return waiting + _outq(transport.get_extra_info("socket").fileno())


def _outq(descriptor: int) -> int:
    """Bytes that the kernel has been given and the client has not acknowledged."""
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))
    return int(count)
