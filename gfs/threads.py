"""Blocking calls in threads, and steps that a cancellation does not leave half done.

A call to the disk cannot be interrupted. If its caller did not wait for it when cancelled, it would
close a descriptor that the thread still uses, and the number might by then be that of another file.
So :func:`in_thread` returns only when the call has ended, cancelled or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")


async def in_thread(
    pool: Executor,
    call: Callable[[*_Args], _T],
    *args: *_Args,
    undo: Callable[[_T], object] | None = None,
) -> _T:
    """Return ``call(*args)``, run in ``pool``, or raise what it raised.

    When cancelled: a call that has not started never will; one that has is waited for, ``undo`` is
    called with its result (so that a descriptor just opened is closed), and then CancelledError is
    raised. The wait is as long as the call takes, so the calls must be finite.
    """
    submitted = pool.submit(call, *args)
    future = asyncio.wrap_future(submitted)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not submitted.cancel():
            await _settled(future)
            if future.exception() is None and undo is not None:
                undo(future.result())
        raise


async def shielded(work: Coroutine[Any, Any, _T]) -> _T:
    """Return what ``work`` returns, or raise what it raises; ``work`` itself is never cancelled.

    When the caller is cancelled, ``work`` is waited for. Then its exception is raised if it failed,
    and CancelledError otherwise.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _settled(task)
        task.result()
        raise


async def _settled(future: asyncio.Future[Any]) -> None:
    """Wait until ``future`` is done, however often the caller is cancelled meanwhile."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue  # the caller is being cancelled already, and raises it when this returns
