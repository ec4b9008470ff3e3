"""What the fault loops share: an account of all transfers, printed at the end."""

from __future__ import annotations

import pytest

from tests.faults.transfers import Ledger

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
