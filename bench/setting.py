"""How much is measured, and the files that it is measured with."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.servers import Place
from bench.table import GIB, MIB

BIG = "big.bin"
SMALL = "small.bin"
SMALL_SIZE = 158720


@dataclass(frozen=True, slots=True)
class Setting:
    """One run of the bench.

    ``big`` is the size of the large file; each figure is the median of ``rounds``; wrk runs for
    ``wrk_seconds``, the many transfers for ``many_seconds``; ``listed`` files are listed;
    ``requests`` times the small file is fetched for a percentile; ``watchers`` watch one upload,
    and ``idle_watchers`` wait for one.
    """

    place: Place
    big: int = GIB
    rounds: int = 3
    wrk_seconds: int = 4
    many: int = 32
    many_seconds: float = 10.0
    many_least: int = 256 * MIB
    listed: int = 100_000
    requests: int = 2000
    watchers: int = 1000
    idle_watchers: int = 10_000

    @property
    def big_name(self) -> str:
        """How the table calls the large file."""
        return f"{self.big / GIB:g} GiB" if self.big >= GIB else f"{self.big / MIB:g} MiB"

    def prepare(self) -> None:
        """Make the two files, durably: no measurement meets their writeback."""
        for name, size in ((BIG, self.big), (SMALL, SMALL_SIZE)):
            path = self.place.file(name)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(path, "wb") as file:
                for start in range(0, size, MIB):
                    file.write(os.urandom(min(MIB, size - start)))
                file.flush()
                os.fsync(file.fileno())

    def digest(self, name: str) -> str:
        """The SHA-256 of a file in the store, in hexadecimal. Its pages are in memory then."""
        with open(self.place.file(name), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def alternate(rounds: int, runs: Sequence[Callable[[], float]]) -> list[float]:
    """Run A B A B … and return the median of each."""
    found: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for figures, run in zip(found, runs, strict=True):
            figures.append(run())
    return [statistics.median(figures) for figures in found]
