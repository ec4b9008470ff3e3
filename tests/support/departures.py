"""Clients that leave, or send no more, as soon as they have sent something."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.uploads import vanish
from tests.support.waiting import eventually

SIZES = (0, 100, 90_000, 400_000, 3_000_000)
"""Bytes of a body: none, one read, more than aiohttp buffers, and more than it reads itself."""

LEAVES = ("close", "reset", "half-close")


@asynccontextmanager
async def client(port: int) -> AsyncIterator[socket.socket]:
    """A socket to the service that no event loop looks after."""
    channel = socket.socket()
    channel.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(channel, ("127.0.0.1", port))
        yield channel
    finally:
        channel.close()


async def send_and_leave(port: int, data: bytes, leave: str) -> bytes:
    """Send ``data``, and leave as soon as the service's kernel has it. What comes back, if somebody
    still reads."""
    loop = asyncio.get_running_loop()
    async with client(port) as channel:
        await loop.sock_sendall(channel, data)
        if leave == "close":
            return b""
        if leave == "reset":
            await eventually(lambda: not unacknowledged(channel))
            vanish(channel)
            return b""
        channel.shutdown(socket.SHUT_WR)
        return await everything(channel)


async def everything(channel: socket.socket) -> bytes:
    loop, received = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(20):
        while piece := await loop.sock_recv(channel, 1 << 20):
            received += piece
    return bytes(received)


def unacknowledged(channel: socket.socket) -> int:
    """Bytes that the other end's kernel does not have yet."""
    return int(struct.unpack("i", fcntl.ioctl(channel, termios.TIOCOUTQ, b"\0" * 4))[0])
