"""Work that a process does on the database now and then, in the background."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from sfs_server.database.pool import StatementFailed
from sfs_server.errors import DatabaseUnavailable

_log = logging.getLogger(__name__)


class Periodic:
    """Does ``work`` again and again, from ``start`` until ``close``. What it raises is logged, and
    it is tried again at the next time. ``name`` says what the work does, as in "merge rows"."""

    def __init__(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        self._work = work
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Periodic {self._name!r} runs={self._task is not None}>"

    def start(self, first: float, every: float) -> None:
        """Do the work in about ``first`` seconds, and then ``every`` so many. Processes that were
        started together do not do it at the same time."""
        self._task = asyncio.create_task(self._run(first, every), name=self._name)

    def stop(self) -> None:
        """Stop soon: the process is going to end. ``close`` waits for it."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Stop. Idempotent."""
        task, self._task = self._task, None
        await ended(task)

    async def _run(self, first: float, every: float) -> None:
        await asyncio.sleep(first * _spread())
        while True:
            try:
                await self._work()
            except (DatabaseUnavailable, StatementFailed) as error:
                _log.warning("cannot %s now: %s", self._name, error)
            except Exception:  # noqa: BLE001 - logged; the task must not end on an unexpected error
                _log.exception("cannot %s; trying again", self._name)
            await asyncio.sleep(every * _spread())


async def ended(task: asyncio.Task[None] | None) -> None:
    """Cancel ``task``, if there is one, until it has ended.

    Repeatedly: ``asyncio.wait_for`` of Python 3.11, which aiopg uses, loses a cancellation that
    comes together with a response.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


def _spread() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - spreads the load  # nosec B311
