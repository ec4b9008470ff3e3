"""Runs the examples of a page: its blocks of ``sh``, one after the other, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.programs import find_program


def run_examples(
    page: str, home: Path, replace: Mapping[str, str], env: Mapping[str, str], seconds: float
) -> str:
    """What the examples of ``page`` print in the directory ``home``, with some texts replaced.

    The test fails where a command does, and is skipped where there is no curl.
    """
    find_program("curl")
    (home / ".venv").mkdir()
    (home / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (home / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    for old, new in replace.items():
        script = script.replace(old, new)
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=home,
        env={**without_our_own(os.environ), "CURL_HOME": str(home), **env},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without_our_own(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` without what tox passes to the tests: the service knows no such variable."""
    return {name: value for name, value in env.items() if name != "SFS_FAULT_SCALE"}
