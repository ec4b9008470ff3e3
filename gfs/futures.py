"""Setting the result of a future that may be done."""

from __future__ import annotations

import asyncio
from typing import TypeVar

_T = TypeVar("_T")


def resolve(future: asyncio.Future[_T], value: _T) -> None:
    """Set the result of ``future`` to ``value``, unless it is done: its waiter may have been
    cancelled, or another callback in the same turn of the event loop was first."""
    if not future.done():
        future.set_result(value)
