"""What the kernel says of a process: CPU time and resident memory (Linux, proc(5))."""

from __future__ import annotations

import os
import re
from contextlib import suppress

_TICK = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """``pid`` and all that descend from it."""
    found = [pid]
    with suppress(FileNotFoundError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                for child in file.read().split():
                    found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far, to 0.01 s."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident(pid: int) -> int:
    """Bytes of one process that are in memory now."""
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most bytes that were in memory since :func:`reset_peak`. The kernel keeps it itself, so
    that nothing falls between two looks."""
    return _status(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Begin the peak anew at what is in memory now."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _status(pid: int, field: str) -> int:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        found = re.search(rf"^{field}:\s+(\d+) kB", file.read(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the kernel says no {field}")
    return int(found.group(1)) * 1024
