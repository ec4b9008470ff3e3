"""Moving bytes to a client's socket past the transport: from an open file, without copying them
through this process; and from memory, without keeping them for a client that does not read.

sendfile(2) and write(2) go on a duplicate of the socket's descriptor, since uvloop guards its own
and has no ``loop.sendfile``. The order of bytes on the wire is kept by waiting until the transport
has written all that it was given (the headers) before the first call, and by giving it nothing
until the last call has returned.

No call waits for the disk in the event loop: cachestat(2) says beforehand whether the window is
in memory, and if not, or if the kernel cannot say, the call is made by a thread. A window of
1 MiB keeps one fast client from holding the loop for longer than about 0.2 ms.

While a client takes nothing for PATIENCE_SECONDS, nothing is held for it but what the kernel has:
bytes come from servers that hold more than we do for a response under way (:class:`Body`).

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
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress

from aiohttp.abc import AbstractStreamWriter

from gfs.errors import DataLoss
from gfs.futures import resolve
from gfs.pagecache import resident
from gfs.threads import in_thread
from gfs.types import Bytes
from sfs_server.http import ByteRange
from sfs_server.progress import Transfer

WINDOW = 1024 * 1024
STALL_SECONDS = 120.0
PATIENCE_SECONDS = 1.0
"""How long a client may take nothing before what is to be sent to it is let go of."""

LetGo = Callable[[], Awaitable[None]]

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
    transfer: Transfer,
) -> None:
    """Send the bytes ``body`` of the file ``source``, which up to byte ``known`` are in memory, and
    count them.

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
            start += _sendfile(target, source, start, body.length, transfer)
        if start == end:
            return
    target = os.dup(target)
    try:
        await _send_rest(target, source, start, end, known, pool, transfer)
    finally:
        os.close(target)


async def _send_rest(
    target: int, source: int, start: int, end: int, known: int, pool: Executor, transfer: Transfer
) -> None:
    loop = asyncio.get_running_loop()
    while start < end:
        length = min(WINDOW, end - start)
        if start >= known and resident(source, start, length):
            known = start + length
        try:
            if start < known:
                sent = _sendfile(target, source, start, min(length, known - start), transfer)
            else:
                sent = await in_thread(pool, _sendfile, target, source, start, length, transfer)
        except BlockingIOError:
            await _writable(loop, target)
            continue
        start += sent
        if sent == WINDOW:
            await asyncio.sleep(0)


class Body:
    """The bytes of a body, which come in pieces. While its client takes none, they are let go of,
    and asked for again from the next byte on. ``aclose`` it."""

    def __init__(self, rest: Callable[[int], AsyncGenerator[Bytes, None]]) -> None:
        """``rest`` gives the body's pieces from any byte of it on."""
        self._rest = rest
        self._pieces: AsyncGenerator[Bytes, None] | None = None
        self._sent = 0
        self.left: Bytes = b""
        """What has come of the body and has not been sent."""

    def __repr__(self) -> str:
        return f"<Body sent={self._sent} left={len(self.left)}>"

    async def more(self) -> bool:
        """Have something ``left``; False at the end of the body."""
        if not self.left:
            if self._pieces is None:
                self._pieces = self._rest(self._sent)
            self.left = await anext(self._pieces, b"")
        return len(self.left) > 0

    def sent(self, count: int) -> None:
        """The first ``count`` bytes of what was ``left`` have been sent."""
        self._sent += count
        self.left = b"" if count == len(self.left) else memoryview(self.left)[count:]

    async def let_go(self) -> None:
        """Hold nothing of what has not been sent."""
        self.left = b""
        await self.aclose()

    async def aclose(self) -> None:
        """Close what the pieces come from."""
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            await pieces.aclose()


async def send_body(transport: asyncio.Transport, body: Body, transfer: Transfer) -> None:
    """Send ``body``, each piece in whole before the next one is asked for, and count its bytes.
    The caller closes ``body``.

    All that was written to ``transport`` before must have left it (:func:`drain_fully`). Raises
    ConnectionError if the client is gone or stalled, and what ``body`` raises.
    """
    _check_alive(transport)
    loop = asyncio.get_running_loop()
    target = os.dup(transport.get_extra_info("socket").fileno())
    burst = 0
    try:
        while await body.more():
            try:
                sent = os.write(target, body.left)
            except BlockingIOError:
                burst = 0
                await _writable(loop, target, body.let_go)
                continue
            except OSError as error:
                raise ConnectionResetError("the client is gone") from error
            transfer.moved += sent
            body.sent(sent)
            burst += sent
            if burst >= WINDOW:
                burst = 0
                await asyncio.sleep(0)
    finally:
        os.close(target)


def _sendfile(target: int, source: int, start: int, length: int, transfer: Transfer) -> int:
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
    transfer.moved += sent
    return sent


async def drain_fully(
    transport: asyncio.Transport, writer: AbstractStreamWriter, let_go: LetGo | None = None
) -> None:
    """Wait until ``transport`` has handed all its bytes to the kernel.

    ``let_go`` is called once if that takes longer than PATIENCE_SECONDS. Raises ClientStalled, and
    ConnectionError if the client is gone. When it returns, the transport has its default limits
    again; when it raises, the connection is of no use any more.
    """
    if not await _busy(transport):
        return
    transport.set_write_buffer_limits(high=0)
    await drain(transport, writer, let_go)
    _check_alive(transport)
    transport.set_write_buffer_limits()


async def drain(
    transport: asyncio.Transport, writer: AbstractStreamWriter, let_go: LetGo | None = None
) -> None:
    """Wait until the transport takes more bytes. See :func:`drain_fully`."""
    if not await _busy(transport):
        return
    # aiohttp's drain cannot be awaited again after it was cancelled: one task sees it through.
    waiting = asyncio.ensure_future(writer.drain())
    before: int | None = None
    seconds = STALL_SECONDS if let_go is None else min(PATIENCE_SECONDS, STALL_SECONDS)
    try:
        while not (await asyncio.wait([waiting], timeout=seconds))[0]:
            if let_go is not None:
                await let_go()
                let_go, seconds = None, STALL_SECONDS
            else:
                before = _fallen(before, _queued(transport))
        waiting.result()
    finally:
        waiting.cancel()


async def _writable(
    loop: asyncio.AbstractEventLoop, target: int, let_go: LetGo | None = None
) -> None:
    """Wait until the kernel takes more bytes for ``target``. ``let_go`` is called once if that
    takes longer than PATIENCE_SECONDS. Raises ClientStalled.

    Done some thousand times a second, so with a bare timer, which is cheaper than a timeout.
    """
    before: int | None = None
    seconds = STALL_SECONDS if let_go is None else min(PATIENCE_SECONDS, STALL_SECONDS)
    while True:
        ready: asyncio.Future[bool] = loop.create_future()
        loop.add_writer(target, resolve, ready, True)
        timer = loop.call_later(seconds, resolve, ready, False)
        try:
            if await ready:
                return
        finally:
            timer.cancel()
            loop.remove_writer(target)
        if let_go is not None:
            await let_go()
            let_go, seconds = None, STALL_SECONDS
        else:
            before = _fallen(before, _outq(target))


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
