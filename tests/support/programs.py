"""Programs of others that tests run: found, and demanded where all tests have to run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

RUN_SECONDS = 60.0


def find_program(name: str) -> str:
    """The path of the program. Skips the test where it is not installed, and fails it in CI."""
    program = shutil.which(name)
    if program is None:
        assert "CI" not in os.environ, f"CI must have {name}"
        pytest.skip(f"{name} is not installed")
    return program


def run_program(
    name: str,
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = RUN_SECONDS,
) -> str:
    """Run it to its end, which must be a success and come within ``seconds``; what it prints.
    ``env`` is added to its environment."""
    done = subprocess.run(
        [find_program(name), *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def freeze(pid: int) -> None:
    """Freeze a process: its sockets stay open and say nothing. Blocks until no thread of it runs.
    SIGCONT lets it go on."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    while any(b") T " not in (task / "stat").read_bytes() for task in tasks.iterdir()):
        time.sleep(0.001)  # a thread may still be sending a response
