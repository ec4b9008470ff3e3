"""A way to this Python for users who may not pass to it."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

OPEN = """\
set -e
mount --bind "$1" "$2"
mount -t tmpfs -o mode=755 tmpfs "$3"
mkdir -p "$1"
mount --bind "$2" "$1"
shift 3
exec "$@"
"""
"""Run a program that sees $1 although $3, above it, is closed to its user; $2 is an empty
directory. To be done where mounts are seen by nobody else."""


def opened(place: Path) -> list[str]:
    """The words before a program of another user, who has to read this Python. That of pyenv is
    in the home of root."""
    python = Path(sys.base_prefix).resolve()
    closed = [one for one in python.parents if not one.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return []
    (place / "python").mkdir()
    return ["sh", "-c", OPEN, "open", str(python), str(place / "python"), str(closed[-1])]
