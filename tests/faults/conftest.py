"""What the fault loops share: the service on a cluster, and an account, printed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.transfers import Ledger, serving
from tests.gfs.cluster import Cluster
from tests.support.launcher import Process

_LEDGER = pytest.StashKey[Ledger]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEDGER] = Ledger()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was counted."""
    loops = terminalreporter.config.stash[_LEDGER].loops
    if loops:
        terminalreporter.section("transfers under faults")
    for loop in loops:
        terminalreporter.write_line(str(loop))


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """The account of this run."""
    return request.config.stash[_LEDGER]


@pytest.fixture
def sfs(cluster: Cluster, database_url: str, tmp_path: Path) -> Iterator[Process]:
    """A process of the service on the cluster that the module has chosen."""
    with serving(tmp_path, cluster.masters, database_url) as (process,):
        yield process
