"""A gate in front of the files, which a move closes for the microseconds that it takes.

A move over a folder takes two renames (:mod:`gfs.embedded.tree`), and what is between them nobody
may see. A move of one rename is a step for whoever opens a file, but not for a listing, which gets
names first and then what they are of. So who opens or lists files is inside of the gate meanwhile,
for some milliseconds at most; a move waits until nobody is, and who comes then waits for the move.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets any number of readers in at once, or one change alone. Whoever is inside must not wait
    for the gate again, nor stay for long."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._is_closed = False
        self.closings = 0
        """How often it was closed."""

    def enter(self) -> bool:
        """Enter, without waiting; False if it is closed. Whoever entered has to ``leave``."""
        with self._condition:
            if self._is_closed:
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        """Leave."""
        with self._condition:
            self._inside -= 1
            if self._is_closed:
                self._condition.notify_all()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Wait until it is open, and be inside."""
        self._wait_and_enter()
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def left(self) -> Iterator[None]:
        """Be outside for a while, to do what takes long."""
        self.leave()
        try:
            yield
        finally:
            self._wait_and_enter()

    def _wait_and_enter(self) -> None:
        with self._condition:
            while self._is_closed:
                self._condition.wait()
            self._inside += 1

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Close it, and wait until nobody is inside. One at a time."""
        with self._condition:
            self._is_closed = True
            self.closings += 1
            while self._inside:
                self._condition.wait()
        try:
            yield
        finally:
            with self._condition:
                self._is_closed = False
                self._condition.notify_all()
