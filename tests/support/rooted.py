"""Tests that take root: to be other users, and to have a network or a root of one's own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def require_root(reason: str, *there: object) -> None:
    """Skip the test where the user is not root, or one of ``there`` is not; fail it in CI."""
    if os.geteuid() != 0 or not all(there):
        assert not os.environ.get("CI"), f"CI must not skip this: {reason}"
        pytest.skip(reason)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may walk through, unlike those of pytest."""
    path = Path(tempfile.mkdtemp(prefix="sfs-rooted-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
