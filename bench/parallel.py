"""Clients in processes of their own, so that no interpreter lock stands between two of them."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import TypeVar

_T = TypeVar("_T")
_FORK = multiprocessing.get_context("fork")
_START_SECONDS = 60
_END_SECONDS = 900


def together(calls: Sequence[Callable[[], _T]]) -> tuple[list[_T], float]:
    """Run each call in a process of its own, all of them begun at once.

    Returns their results, and the seconds from the first one's beginning to the last one's end
    (CLOCK_MONOTONIC is the same in all processes). Raises RuntimeError if one of them failed.
    """
    barrier = _FORK.Barrier(len(calls))
    started = []
    for call in calls:
        ours, theirs = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_run, args=(call, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    results: list[_T] = []
    began, ended = [], []
    try:
        for _, pipe in started:
            if not pipe.poll(_END_SECONDS):
                raise RuntimeError("a client has not ended")
            failure, result, first, last = pipe.recv()
            if failure:
                raise RuntimeError(f"a client failed:\n{failure}")
            results.append(result)
            began.append(first)
            ended.append(last)
    finally:
        for process, pipe in started:
            process.terminate()
            process.join()
            pipe.close()
    return results, max(ended) - min(began)


@contextmanager
def beside(*calls: Callable[[], object]) -> Iterator[None]:
    """Let each call run again and again in a process of its own until the body is done.

    Raises RuntimeError if one of them failed meanwhile.
    """
    processes = [_FORK.Process(target=_repeat, args=(call,), daemon=True) for call in calls]
    for process in processes:
        process.start()
    try:
        yield
        if not all(process.is_alive() for process in processes):
            raise RuntimeError("a client beside the measurement failed")
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _run(call: Callable[[], object], barrier: Barrier, pipe: Connection) -> None:
    try:
        barrier.wait(_START_SECONDS)
        began = time.monotonic()
        result = call()
        pipe.send(("", result, began, time.monotonic()))
    except BaseException:  # noqa: BLE001 - told to the parent, who raises it
        pipe.send((traceback.format_exc(), None, 0.0, 0.0))


def _repeat(call: Callable[[], object]) -> None:
    while True:
        call()
