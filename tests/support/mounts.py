"""File systems of a test's own. Mounting takes root, and a kernel that lets root do it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support.rooted import require_root


@contextmanager
def mounted(place: Path, *how: str) -> Iterator[Path]:
    """``mount HOW place``, until the end. Skips the test where that may not be."""
    require_root("only root mounts")
    done = subprocess.run(["mount", *how, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this container may not mount: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def tmpfs(place: Path, options: str = "size=8m") -> AbstractContextManager[Path]:
    """An empty file system at ``place``."""
    return mounted(place, "-t", "tmpfs", "-o", f"mode=755,{options}", "sfs-test")


def fill(place: Path) -> None:
    """Take every byte and every file that the file system of ``place`` has."""
    with pytest.raises(OSError, match="No space"), open(place / "filler", "wb", 0) as filler:
        while True:
            filler.write(bytes(4096))
    with pytest.raises(OSError, match="No space"):
        for number in range(1_000_000):
            os.close(os.open(place / f"filler-{number}", os.O_CREAT))
