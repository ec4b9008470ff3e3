"""A Service with an address of its own, as kube-proxy makes one on every node.

A new connection goes to one of the pods that are ready now, by chance; one that is there stays with
its pod, whatever becomes of that. Where no pod is ready, or the chosen one does not listen, the
connection is reset. (kube-proxy would have it refused, before anything could be sent on it: whoever
is content with this is content with that.)
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

Address = tuple[str, int]

_PIECE = 1 << 18
_CONNECT_SECONDS = 5.0
_RESET = struct.pack("ii", 1, 0)


class Service:
    """``endpoints`` are the pods that are ready; it may be set from any thread, as a whole."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.endpoints: tuple[Address, ...] = ()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        ends = [writer]
        try:
            if not self.endpoints:
                raise ConnectionRefusedError
            chosen = random.choice(self.endpoints)
            async with asyncio.timeout(_CONNECT_SECONDS):
                mine = (self._address, 0)
                there, to = await asyncio.open_connection(*chosen, limit=_PIECE, local_addr=mine)
            ends.append(to)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, to))
                group.create_task(_pump(there, writer))
        except* OSError:  # TimeoutError is one
            for end in ends:
                with suppress(OSError):
                    channel = end.get_extra_info("socket")
                    channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.transport.abort()
        finally:
            for end in ends:
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes in one direction until its end, and pass the end on."""
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


@contextmanager
def service(address: str, port: int) -> Iterator[Service]:
    """One that listens while the context is open, in a thread of its own."""
    found, loop, began = Service(address), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(found.carry, address, port, limit=_PIECE, backlog=1024)
        async with server:
            began.set()
            await asyncio.Event().wait()

    def run() -> None:
        with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main)

    main = serve()
    thread = threading.Thread(target=run, name=f"service {address}")
    thread.start()
    try:
        assert began.wait(_CONNECT_SECONDS), f"nobody may listen at {address}:{port}"
        yield found
    finally:
        loop.call_soon_threadsafe(_cancel_all, loop)
        thread.join()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
