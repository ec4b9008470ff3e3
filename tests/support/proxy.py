"""A TCP proxy that dies to order, in front of a server that does not.

It lets a number of bytes through and then strikes: every connection through it is closed, reset or
falls silent, and so is every one made afterwards, as if the machine behind it had died. ``heal``
lets new connections through again, and silent ones go on. One more strike is that of a client that
changes its network: it loses its connections, and the target is not notified of that.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Literal, Self

Strike = Literal["cut", "reset", "stall", "leave"]

_PIECE = 1 << 16


class Proxy:
    """Listens on ``port`` of 127.0.0.1 (``listen``, or a free one) while its context is open, and
    connects to the target.

    ``passed`` counts the bytes that went to clients, ``opened`` the connections that came,
    ``strikes`` how often it has struck.
    """

    def __init__(self, target: tuple[str, int] | str, *, listen: int = 0) -> None:
        """``target`` is a host and a port, or the path of a Unix socket."""
        self._target = target
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._targets: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._strike: Strike | None = None
        self._upstream = False
        self._left = 0
        self.port = 0
        self.passed = 0
        self.opened = 0
        self.strikes = 0

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def cut_after(self, count: int, *, upstream: bool = False) -> None:
        """Close all connections when ``count`` more bytes have gone to clients, over all of them
        together; ``upstream`` counts the bytes to the target instead. 0: now."""
        self._plan("cut", count, upstream)

    def reset_after(self, count: int, *, upstream: bool = False) -> None:
        """As ``cut_after``, with an RST; the last of the ``count`` bytes may be lost by it."""
        self._plan("reset", count, upstream)

    def stall_after(self, count: int, *, upstream: bool = False) -> None:
        """As ``cut_after``, but connections stay open and nothing passes, in either direction."""
        self._plan("stall", count, upstream)

    def leave_after(self, count: int, *, upstream: bool = False) -> None:
        """As ``reset_after``, but the connections to the target stay open and say no more."""
        self._plan("leave", count, upstream)

    def heal(self) -> None:
        """Forget what was ordered."""
        self._strike = None
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._listen)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _plan(self, strike: Strike, count: int, upstream: bool) -> None:
        self.heal()
        self._strike, self._left, self._upstream = strike, count, upstream
        if count == 0:
            self._hit()

    def _hit(self) -> None:
        self.strikes += 1
        if self._strike == "stall":
            self._flowing.clear()
            return
        if self._strike == "leave":
            self._silent |= self._targets
        for writer in (self._clients | self._targets) - self._silent:
            self._drop(writer)

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        if self._strike in {"reset", "leave"}:
            linger = struct.pack("ii", 1, 0)
            with suppress(OSError):
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        ends = [writer]
        try:
            with suppress(OSError):
                await self._carry(reader, writer, ends)
                for end in ends:
                    end.close()
                    await end.wait_closed()
        except asyncio.CancelledError:
            pass  # The context ends; a task that ends as cancelled would be logged as a failure.
        finally:
            for known in (self._clients, self._targets, self._silent):
                known.difference_update(ends)
            for end in ends:
                end.transport.abort()
            self._tasks.discard(task)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ends: list[asyncio.StreamWriter],
    ) -> None:
        """Connect to the target, add that connection to ``ends``, and carry bytes both ways."""
        if self._strike in {"cut", "reset", "leave"} and self._left == 0:
            self._drop(writer)
            return
        await self._flowing.wait()
        if isinstance(self._target, str):
            target_reader, target_writer = await asyncio.open_unix_connection(self._target)
        else:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
        ends.append(target_writer)
        self._clients.add(writer)
        self._targets.add(target_writer)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(reader, target_writer, upstream=True))
            group.create_task(self._pump(target_reader, writer, upstream=False))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upstream: bool
    ) -> None:
        """Carry bytes in one direction until its end, and pass the end on."""
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                while piece and self._takes(writer):
                    await self._flowing.wait()
                    piece = await self._pass(piece, writer, upstream)
            await self._flowing.wait()
            if self._takes(writer):
                writer.write_eof()

    def _takes(self, writer: asyncio.StreamWriter) -> bool:
        return not writer.is_closing() and writer not in self._silent

    async def _pass(self, piece: bytes, writer: asyncio.StreamWriter, upstream: bool) -> bytes:
        """Send as much of ``piece`` as may pass before the strike; returns the rest."""
        counted = self._strike is not None and self._upstream == upstream
        sent = piece[: self._left] if counted else piece
        writer.write(sent)
        if not upstream:
            self.passed += len(sent)
        if counted:
            self._left -= len(sent)
            if self._left == 0:
                self._hit()
        if not writer.is_closing():
            await writer.drain()
        return piece[len(sent) :]
