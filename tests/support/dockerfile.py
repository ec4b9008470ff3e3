"""The Dockerfile, taken apart: the features that ours uses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """From one FROM to the next: its base, and (instruction, rest of the line)."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]

    def one(self, instruction: str) -> str:
        (rest,) = self.all(instruction)
        return rest

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for line in self.all("ENV") for pair in line.split())


def parse() -> list[Stage]:
    """The stages. Every instruction is one line."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(" ")
        if name == "ARG":
            key, _, value = rest.partition("=")
            arguments[key] = value
        elif name == "FROM":
            for key, value in arguments.items():
                rest = rest.replace(f"${{{key}}}", value)
            stages.append(Stage(rest))
        else:
            stages[-1].steps.append((name, rest))
    return stages


def command(text: str) -> list[str]:
    """The words of an instruction in the exec form. Raises where it is not."""
    words: Any = json.loads(text)
    assert isinstance(words, list)
    assert all(isinstance(word, str) for word in words)
    return words


def context() -> set[str]:
    """The files and directories that .dockerignore lets into a build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    named = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    return {str(one.relative_to(ROOT)) for name in named for one in ROOT.glob(name)}
