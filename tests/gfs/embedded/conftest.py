"""A store of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gfs.embedded.filesystem import EmbeddedFileSystem
from tests.gfs.suite import DIR


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Its directory."""
    return tmp_path / "files"


@pytest.fixture
async def fs(root: Path) -> AsyncIterator[EmbeddedFileSystem]:
    """The store, which has the directory DIR."""
    fs = await EmbeddedFileSystem.start(str(root))
    await fs.make_directory(DIR)
    yield fs
    await fs.close()
