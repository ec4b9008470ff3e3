"""Futures that somebody waits for."""

from __future__ import annotations

import asyncio
from typing import TypeVar

_T = TypeVar("_T")


def resolve(future: asyncio.Future[_T], value: _T) -> None:
    """Give ``future`` its result, unless it has ended: whoever waited may have been cancelled, or
    another callback of the same turn of the event loop was first."""
    if not future.done():
        future.set_result(value)
