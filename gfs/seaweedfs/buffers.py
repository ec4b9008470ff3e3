"""The memory that the uploads of one process hold together, and its bound.

A chunk is gathered in a buffer of its own: anonymous memory that is mapped (mmap(2)), so that freed
memory returns to the system, and only pages that were filled exist. Before bytes are read from a
client, memory for them is asked for (:meth:`Buffers.grant`): clients that send faster than chunks
are stored wait in the order in which they asked, and TCP slows them down.

No upload may wait for clients that send nothing and hold part of a chunk each. So while one waits,
such buffers are sent on as short chunks (:meth:`Buffers._relieve`):

- those of uploads that got no byte for IDLE_SECONDS, the fullest first, until the buffers that are
  not on their way to chunkservers are at most half of the limit;
- and, if less is on its way than is waited for (at most a quarter of the limit), the fullest of
  all. So there is always something that will be freed, and no upload waits for ever: a chunk that
  cannot be stored fails within ``uploads.SEND_SECONDS``.

An idle buffer that has less than half of its share of the limit is left alone: freeing it would not
help, and a client that sends a byte now and then would make a chunk of each byte. So short chunks
have ``limit / (2 * uploads)`` bytes and more, unless all buffers are smaller than that.

Using fresh memory costs several times what copying into it does. So a few buffers whose chunks were
stored are kept for the next ones, within the limit, and freed when they were not needed for
KEEP_SECONDS.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import deque
from contextlib import suppress
from typing import Protocol

from gfs.errors import StoreUnavailable

IDLE_SECONDS = 1.0
"""After so long without a byte an upload is idle."""

KEEP_SECONDS = 5.0
"""How long a buffer that is not needed is kept."""

RELIEVE_SECONDS = 0.01
"""How long after an upload has to wait buffers are sent on. To look at them takes about 1 µs for
each upload."""

_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Buffer:
    """Memory for one chunk. ``filled``: how many bytes of the chunk are in it; ``touched``: how
    many bytes of the memory exist; ``granted``: how many are counted, at least those."""

    __slots__ = ("filled", "granted", "memory", "touched")

    def __init__(self, size: int) -> None:
        self.memory = mmap.mmap(-1, size, flags=_PRIVATE)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            with suppress(OSError):  # a kernel without huge pages
                self.memory.madvise(mmap.MADV_NOHUGEPAGE)  # otherwise one byte takes 2 MiB
        self.filled = self.touched = self.granted = 0


class Filler(Protocol):
    """An upload that can be made to send on what it has of a chunk."""

    moved_at: float
    """When its client last sent bytes, in seconds of the event loop's clock."""

    def unsent(self) -> Buffer | None:
        """The buffer that is being filled, if it is not empty and can be sent on now."""
        ...

    def send_on(self) -> None:
        """Send that buffer on as a short chunk (:meth:`Buffers.sent`). Does not wait."""
        ...


class Buffers:
    """The buffers of one process, of at most ``limit`` bytes together, each for a chunk of at most
    ``chunk_bytes``. Belongs to one event loop."""

    def __init__(self, limit: int, chunk_bytes: int) -> None:
        self.limit = limit
        self.held = 0
        """Bytes that are granted."""

        self._sending = 0
        self.chunk_bytes = chunk_bytes
        self._fillers: dict[Filler, None] = {}
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._spare: list[Buffer] = []
        self._unused = 0
        self._relieving: asyncio.TimerHandle | None = None
        self._keeping: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Buffers held={self.held} limit={self.limit} waiting={len(self._waiting)}>"

    def open(self, filler: Filler) -> Buffer:
        """An empty buffer, to be filled as far as is granted. End it with ``sent`` or ``drop``.
        Raises StoreUnavailable if the system has no memory."""
        if self._spare:
            buffer = self._take_spare()
            buffer.granted = buffer.touched
            self.held += buffer.granted
        else:
            try:
                buffer = Buffer(self.chunk_bytes)
            except OSError as error:
                raise StoreUnavailable("the system gives no memory for a chunk") from error
        self._fillers[filler] = None
        return buffer

    async def grant(self, count: int) -> None:
        """Wait until ``count`` more bytes may be held. They are counted until ``free``. A
        cancellation leaves nothing behind."""
        if not self._waiting and self._fits(count):
            self.held += count
            return
        turn = self._loop.create_future()
        self._waiting.append((count, turn))
        self._schedule_relief()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.free(count)
            self._serve()  # those that wait behind this one
            raise

    def free(self, count: int) -> None:
        """``count`` bytes are no longer held."""
        self.held -= count
        self._serve()

    def settle(self, buffer: Buffer) -> None:
        """Count what is in ``buffer`` now instead of what was granted for it."""
        buffer.touched = max(buffer.touched, buffer.filled)
        excess, buffer.granted = buffer.granted - buffer.touched, buffer.touched
        if excess:
            self.free(excess)

    def sent(self, filler: Filler, buffer: Buffer) -> None:
        """``buffer`` is on its way to a chunkserver. ``stored`` or ``drop`` follows."""
        self._fillers.pop(filler, None)
        self._sending += buffer.granted

    def stored(self, buffer: Buffer) -> None:
        """The chunk in ``buffer``, which was ``sent``, is stored: its memory is free."""
        self._sending -= buffer.granted
        self.held -= buffer.granted
        if not self._waiting:
            buffer.filled = 0
            self._spare.append(buffer)
            if self._keeping is None:
                self._keeping = self._loop.call_later(KEEP_SECONDS, self._free_spare)
        self._serve()

    def drop(self, filler: Filler, buffer: Buffer, *, sent: bool) -> None:
        """Give ``buffer`` up. It stays mapped for as long as something still reads from it."""
        if sent:
            self._sending -= buffer.granted
        else:
            self._fillers.pop(filler, None)
        self.free(buffer.granted)

    def close(self) -> None:
        """Free the spare buffers. End all others first."""
        self._spare.clear()
        for timer in (self._relieving, self._keeping):
            if timer is not None:
                timer.cancel()

    def _fits(self, count: int) -> bool:
        """Whether ``count`` more bytes may be held, if need be in the place of spare buffers. A
        single upload may always hold what it asks for."""
        while self._spare and self.held + self._spared() + count > self.limit:
            self._take_spare()
        return self.held + count <= self.limit or not self.held

    def _spared(self) -> int:
        return sum(buffer.touched for buffer in self._spare)

    def _take_spare(self) -> Buffer:
        buffer = self._spare.pop()
        self._unused = min(self._unused, len(self._spare))
        return buffer

    def _serve(self) -> None:
        """Grant what fits, in the order in which it was asked for."""
        while self._waiting:
            count, turn = self._waiting[0]
            if not turn.done():  # otherwise its task was cancelled
                if not self._fits(count):
                    self._schedule_relief()
                    return
                self.held += count
                turn.set_result(None)
            self._waiting.popleft()

    def _schedule_relief(self) -> None:
        if self._relieving is None:
            self._relieving = self._loop.call_later(RELIEVE_SECONDS, self._relieve)

    def _relieve(self) -> None:
        """Send buffers on so that waiting uploads get memory."""
        self._relieving = None
        for filler in list(self._fillers):
            buffer = filler.unsent()
            if buffer is not None and buffer.touched > buffer.filled:
                self._trim(buffer)
        if not self._waiting:
            return
        old = self._loop.time() - IDLE_SECONDS
        share = self.limit // (2 * len(self._fillers) or 1)
        found = [(buffer.filled, one) for one in self._fillers if (buffer := one.unsent())]
        found.sort(key=lambda pair: pair[0], reverse=True)
        rest = []
        for filled, filler in found:
            many = self.held - self._sending > self.limit // 2
            if many and filled >= share and filler.moved_at <= old:
                filler.send_on()
            else:
                rest.append(filler)
        wanted = min(sum(count for count, _ in self._waiting), self.limit // 4)
        for filler in rest:
            if self._sending >= wanted:
                break
            filler.send_on()
        self._relieving = self._loop.call_later(IDLE_SECONDS / 4, self._relieve)

    def _trim(self, buffer: Buffer) -> None:
        """Free the pages of a buffer behind what has been filled."""
        start = -(-buffer.filled // mmap.PAGESIZE) * mmap.PAGESIZE
        if start < buffer.touched:
            buffer.memory.madvise(mmap.MADV_DONTNEED, start)
            buffer.touched = buffer.filled
            self.settle(buffer)

    def _free_spare(self) -> None:
        """Free the spare buffers that were not needed since the last time."""
        self._keeping = None
        del self._spare[: self._unused]
        self._unused = len(self._spare)
        if self._spare:
            self._keeping = self._loop.call_later(KEEP_SECONDS, self._free_spare)
