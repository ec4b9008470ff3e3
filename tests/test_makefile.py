"""``make run`` where Python has no venv or an environment was left half made, and ``make help``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"

PYTHON = """#!/bin/sh
case "$*" in
    *ensurepip*) test -e has-venv ;;
    "-m venv"*)
        case "$*" in *--clear*) rm -rf .venv ;; esac
        mkdir -p .venv/bin && touch .venv/bin/python
        test -e is-killed && exit 1
        printf '#!/bin/sh\\necho "pip: $*"\\n' > .venv/bin/pip
        printf '#!/bin/sh\\necho "serves: $*"\\n' > .venv/bin/sfs-server
        chmod +x .venv/bin/pip .venv/bin/sfs-server ;;
esac
"""
"""What stands in for Python: it makes an environment without a network."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    if shutil.which("make") is None:
        assert not os.environ.get("CI"), "CI must not skip this: there is no make"
        pytest.skip("there is no make")
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(project: Path, target: str = "run") -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"]}
    command = ["make", target, "PYTHON=./python", "ARGS=-addr :1"]
    return subprocess.run(
        command, cwd=project, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_what_is_missing_is_named_each_time_and_nothing_is_left(project: Path) -> None:
    for _ in range(2):
        done = make(project)
        assert done.returncode != 0
        assert "apt install python3-venv" in done.stdout
        assert not (project / ".venv").exists()
    (project / "has-venv").touch()
    assert make(project).stdout.endswith("serves: -addr :1\n")


def test_an_environment_that_was_left_half_made_is_made_anew(project: Path) -> None:
    (project / "has-venv").touch()
    (project / "is-killed").touch()
    assert make(project).returncode != 0
    assert (project / ".venv/bin/python").exists()
    (project / ".venv/half").touch()
    (project / "is-killed").unlink()
    assert make(project).stdout.endswith("serves: -addr :1\n")
    assert not (project / ".venv/half").exists()
    again = make(project)
    assert "pip:" not in again.stdout, "what is installed is not installed again"
    assert again.stdout.endswith("serves: -addr :1\n")


def test_help_names_every_target_and_makes_nothing(project: Path) -> None:
    described = re.findall(r"^make (\w+) +\w.*$", make(project, "help").stdout, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE.read_text(), re.MULTILINE)
    assert phony is not None
    assert described == phony[1].split()
    assert not (project / ".venv").exists()
