"""kill -9 before each call by which a change to an embedded store changes the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gfs.embedded.kills import CHANGES


@pytest.mark.parametrize("change", CHANGES)
def test_a_kill_at_any_step_leaves_what_was_there_or_what_is_to_be(
    tmp_path: Path, change: str
) -> None:
    command = [sys.executable, "-m", "tests.gfs.embedded.kills", str(tmp_path / "files"), change]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= (9 if "over-folder" in change or "folder-over" in change else 2)
