"""Transfers take their time: the pieces of one go out when they are due."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

TRANSFER_SECONDS = 8.0
"""What one takes. More than a pod has between its removal and the end of its port."""

PIECE = 1 << 16


async def paced(start: int, end: int, length: int) -> AsyncGenerator[int, None]:
    """The positions of the pieces from ``start`` to ``end``, each when it is due in a transfer of
    ``length`` bytes that takes TRANSFER_SECONDS."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for position in range(start, end, PIECE):
        due = began + TRANSFER_SECONDS * (position - start) / length
        await asyncio.sleep(max(0.0, due - loop.time()))
        yield position
