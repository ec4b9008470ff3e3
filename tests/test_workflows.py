"""The workflows of CI run every environment of tox, on every Python."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS: dict[str, Any] = {
    path.stem: yaml.safe_load(path.read_text())["jobs"]
    for path in (ROOT / ".github/workflows").glob("*.yml")
}
TOX = configparser.ConfigParser(interpolation=None)
TOX.read(ROOT / "tox.ini")

BY_HAND = {"format", "coverage"}
"""Environments that check nothing."""


def environments(text: str) -> set[str]:
    """The environments of tox that a command names."""
    return {name for names in re.findall(r" -e ([\w,]+)", text) for name in names.split(",")}


def test_the_pythons_are_those_of_tox() -> None:
    (minors,) = re.findall(r"py3\{([\d,]+)\}", TOX["tox"]["env_list"])
    pythons = [f"3.{minor}" for minor in minors.split(",")]
    assert WORKFLOWS["ci"]["test"]["strategy"]["matrix"]["python"] == pythons


def test_every_environment_of_tox_is_run_by_some_job() -> None:
    lint = re.search(r"^lint:.*\n(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert lint is not None
    run = {"py"}
    for jobs in WORKFLOWS.values():
        for job in jobs.values():
            commands = "\n".join(step.get("run", "") for step in job["steps"])
            run |= environments(commands.replace("make lint", lint[1]))
            run |= set(job.get("strategy", {}).get("matrix", {}).get("environment", []))
    sections = [section.removeprefix("testenv:") for section in TOX.sections()]
    known = {re.sub(r"\{.*\}", "", name) for name in sections if name not in ("tox", "testenv")}
    assert run == known - BY_HAND - {"pkgenv"} | {"py"}
