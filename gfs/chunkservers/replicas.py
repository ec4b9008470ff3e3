"""Reading a chunk from its replicas: what a dead one costs is time, never bytes.

A chunk is written once and kept in several copies. ``read_span`` asks the replicas one after the
other, in the order given and each at most once, and goes on with the next one exactly where the
last one stopped. All that it knows of its progress is one integer, ``position``: the byte of the
chunk that is to be yielded next. It is what the next replica is asked for, what that replica's
answer is measured against, and what the end is compared with; no second counter can disagree.

What a replica says is not trusted further than it can be checked:

- An answer that begins behind ``position`` is refused; bytes of one that begins before it (a
  server that ignores ranges answers from byte 0) are read and dropped up to ``position``.
- An answer of another version, or for a chunk of another size, is refused. Where the chunk's own
  version is unknown, the first replica whose bytes were yielded sets it.
- One that ends too early, breaks, or is silent for ``idle_seconds`` has failed, and the next
  replica goes on. Only silence counts, and only while somebody waits for a byte: neither a large
  chunk nor a slow reader is a failure, and there is no deadline for the whole. An answer that has
  not begun after ``idle_seconds`` has not begun at all.
- Of one that goes on too long, nothing is passed on after the last byte asked for; its connection
  is closed.

So every byte that was yielded came from the right place of the right version as far as the
replica's own description goes. Whether the description is true only a checksum of the whole chunk
can tell; an engine that has one checks it in its ChunkSource, before it lets the bytes out.

Only a GfsError makes the next replica's turn. A cancellation, a closed generator and a bug pass
through as they are, and every answer is closed on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from gfs.chunkservers.spans import Span, spans
from gfs.errors import DataLoss, GfsError, StoreUnavailable
from gfs.types import Bytes, Chunk, Replica

IDLE_SECONDS = 10.0
"""How long a replica may be silent, before its answer begins and between two pieces of it."""

OnFailover = Callable[[Replica, GfsError], None]
"""Told of each replica that failed, and why. It must not block; what it raises passes through."""


class Answer(Protocol):
    """What one replica says that it sends, and how to get it."""

    start: int
    """The byte of the chunk where the pieces begin; it need not be the one that was asked for."""

    version: str
    """The version of the chunk, '' if it was not told."""

    size: int | None
    """Bytes of the whole chunk, ``None`` if it was not told."""

    async def piece(self) -> Bytes:
        """The next bytes, at most 1 MiB, not changed afterwards; they may end anywhere. None at the
        end of the answer. Raises what ``fetch`` raises. When cancelled, only ``close`` follows."""
        ...

    def close(self) -> None:
        """Give up what is left of the answer. Idempotent."""
        ...


class ChunkSource(Protocol):
    """The way to one replica; a protocol of chunkservers."""

    async def fetch(
        self, replica: Replica, chunk: Chunk, start: int, length: int, idle_seconds: float
    ) -> Answer:
        """Ask ``replica`` for ``length`` >= 1 bytes of ``chunk`` from byte ``start`` of it on.

        Returns when the answer has begun; who asked closes it. This, and the answer's ``piece``,
        raise StoreUnavailable where the replica cannot be reached, gives up (refused, cut, 5xx) or
        is silent, and DataLoss where it does not have those bytes (no such chunk, an answer that
        makes no sense). Errors of libraries are turned into these two. Silence of ``idle_seconds``
        between two pieces is for the source to notice; how long it takes until the answer begins
        is bounded by ``read_span``, which cancels this call. A cancellation leaves nothing open.
        """
        ...


async def read_span(
    source: ChunkSource,
    span: Span,
    *,
    idle_seconds: float = IDLE_SECONDS,
    on_failover: OnFailover | None = None,
) -> AsyncGenerator[Bytes, None]:
    """Yield exactly the bytes of ``span``, in non-empty pieces, from whichever replicas have them.

    When no replica is left it raises DataLoss if any of them gave a byte or a wrong answer, and
    StoreUnavailable if none could be reached (or the chunk has none). The message names every
    replica's address and failure; ``__cause__`` is the last failure. What was yielded before is
    right all the same. Hold the generator in ``contextlib.aclosing``.
    """
    chunk, position, end = span.chunk, span.start, span.start + span.length
    version = chunk.version
    answered = False
    failures: list[str] = []
    last: GfsError | None = None
    for replica in chunk.replicas:
        if position == end:
            return
        answer: Answer | None = None
        try:
            answer = await _begin(source, replica, chunk, position, end - position, idle_seconds)
            offered = _check(answer, chunk, version, position)
            surplus = position - answer.start
            while position < end:
                piece = await answer.piece()
                if not piece:
                    raise DataLoss(f"the answer ends {end - position} bytes too early")
                answered = True
                wanted = _cut(piece, surplus, end - position)
                surplus = max(surplus - len(piece), 0)
                if wanted:
                    position += len(wanted)
                    version = offered
                    yield wanted
        except GfsError as error:
            answered = answered or not isinstance(error, StoreUnavailable)
            failures.append(f"{replica.address}: {error}")
            last = error
            if on_failover is not None:
                on_failover(replica, error)
        finally:
            if answer is not None:
                answer.close()
    if position < end:
        kind = DataLoss if answered else StoreUnavailable
        reasons = "; ".join(failures) or "it has no replica"
        raise kind(f"byte {position} of chunk {chunk.key}: {reasons}") from last


async def read_chunks(
    source: ChunkSource,
    chunks: Sequence[Chunk],
    start: int,
    length: int,
    *,
    idle_seconds: float = IDLE_SECONDS,
    on_failover: OnFailover | None = None,
) -> AsyncGenerator[Bytes, None]:
    """Yield exactly ``length`` bytes of a file from its byte ``start`` on, without a gap.

    ``chunks`` are as :func:`gfs.chunkservers.spans.spans` wants them. Raises what ``read_span``
    raises, and DataLoss at a byte that no chunk holds; what was yielded before is right all the
    same. A replica that failed for one chunk is asked again for the next one: whom to ask first is
    for the order of ``Chunk.replicas`` to say. Hold the generator in ``contextlib.aclosing``.
    """
    for span in spans(chunks, start, length):
        reading = read_span(source, span, idle_seconds=idle_seconds, on_failover=on_failover)
        async with aclosing(reading) as pieces:
            async for piece in pieces:
                yield piece


def _check(answer: Answer, chunk: Chunk, version: str, position: int) -> str:
    """Raise DataLoss unless the answer can give the byte at ``position`` of the right version.

    Returns the version that its bytes are of, '' if nobody has told one yet.
    """
    if version and answer.version and answer.version != version:
        raise DataLoss("another version of the chunk")
    if answer.size is not None and answer.size != chunk.size:
        raise DataLoss(f"a chunk of {answer.size} bytes instead of {chunk.size}")
    if not 0 <= answer.start <= position:
        raise DataLoss(f"the answer begins at byte {answer.start}, not at {position}")
    return version or answer.version


def _cut(piece: Bytes, surplus: int, most: int) -> Bytes:
    """``piece`` without its first ``surplus`` bytes and without what follows the ``most`` next
    ones; without a copy."""
    if surplus == 0 and len(piece) <= most:
        return piece
    return memoryview(piece)[surplus : surplus + most]


async def _begin(
    source: ChunkSource, replica: Replica, chunk: Chunk, start: int, length: int, seconds: float
) -> Answer:
    """The answer, when it has begun; StoreUnavailable if that takes longer than ``seconds``."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await source.fetch(replica, chunk, start, length, seconds)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise StoreUnavailable(f"silent for {seconds:g} s") from error
