"""The time that tests of tokens and links set."""

from __future__ import annotations

import pytest

from gfs import clock
from tests.support.tokens import Clock


@pytest.fixture
def still_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The Unix time of the code under test, which stands still at ``tokens.NOW`` or is set."""
    still = Clock()
    monkeypatch.setattr(clock, "unix", still)
    return still
