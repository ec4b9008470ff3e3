"""The cluster engine on a real SeaweedFS: the conformance suite. Faults are in tests/faults."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gfs.cluster import Cluster, cluster, seaweed

# The engine's libraries are there from here on.
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # isort: skip
from tests.gfs.suite import DIR, FileSystemSuite  # isort: skip

__all__ = ["cluster", "seaweed"]


@pytest.fixture
async def fs(cluster: Cluster) -> AsyncIterator[SeaweedFileSystem]:
    fs = await SeaweedFileSystem.start(cluster.masters)
    await fs.make_directory(DIR)
    try:
        yield fs
    finally:
        cluster.mend()
        await fs.remove_directory(DIR)
        await fs.remove_directory("another")
        await fs.close()


class TestSeaweed(FileSystemSuite):
    """The conformance suite."""
