"""Known holes in the versions that ``constraints.txt`` names: ``tox run -e audit``.

An audit is worth as much as its advisories are young, so the first line that is printed says where
they are from and of which day. There are three places for them:

- a directory that is given: a checkout of the PyPA's advisory-database, for a machine that reaches
  nothing else;
- PyPI, by pip-audit: as of now;
- where PyPI's service for that does not answer, the safety-db that is itself on PyPI. It is of 2021
  and says nothing of younger holes: better than no look at all, and no more.

Exits with 1 where a version has a hole that is not in ACCEPTED.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
PYPI_SECONDS = 300
OLD_DAYS = 90
"""Advisories older than that are warned of."""

ACCEPTED = {
    "CVE-2024-23342": "ecdsa leaks by the time that it takes to sign. Nothing here calls it: "
    "python-jose, which requires it, signs and checks with cryptography where that is installed.",
}
"""Holes that are known and stay, by any of their names, and why."""


@dataclass(frozen=True)
class Hole:
    """One advisory that applies to a version."""

    package: str
    version: str
    names: tuple[str, ...]

    def reason(self) -> str | None:
        """Why it is accepted, where it is."""
        return next((ACCEPTED[name] for name in self.names if name in ACCEPTED), None)


@dataclass(frozen=True)
class Findings:
    """``source`` of the advisories, the day of the youngest of them, what they find."""

    source: str
    day: datetime
    holes: list[Hole]


def pinned(text: str) -> dict[str, Version]:
    """The versions of a constraints file, by the canonical names."""
    rows = (line.split("==") for line in text.splitlines() if "==" in line)
    return {canonicalize_name(name): Version(version) for name, version in rows}


def of_advisories(directory: Path, pins: Mapping[str, Version]) -> Findings:
    """What the OSV files ``directory``/vulns/PACKAGE/*.yaml find."""
    youngest, holes = datetime.min.replace(tzinfo=UTC), []
    for path in sorted((directory / "vulns").glob("*/*.yaml")):
        said = yaml.safe_load(path.read_text())
        youngest = max(youngest, _time(said["modified"]))
        names = (said["id"], *said.get("aliases", ()))
        for affected in () if "withdrawn" in said else said.get("affected", ()):
            package = canonicalize_name(affected["package"]["name"])
            version = pins.get(package)
            if version is not None and _is_affected(version, affected):
                holes.append(Hole(package, str(version), names))
    return Findings(f"{directory.name}, a copy of advisories", youngest, holes)


def _time(said: Any) -> datetime:
    """YAML has made a datetime of it where it was not quoted."""
    when = said if isinstance(said, datetime) else datetime.fromisoformat(str(said))
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _is_affected(version: Version, affected: Mapping[str, Any]) -> bool:
    """The evaluation of https://ossf.github.io/osv-schema/: listed, or within a range."""
    if version in set(_versions(affected.get("versions", ()))):
        return True
    return any(
        _within(version, one["events"])
        for one in affected.get("ranges", ())
        if one["type"] == "ECOSYSTEM"
    )


def _versions(said: Any) -> Iterator[Version]:
    for one in said:
        try:
            yield Version(str(one))
        except InvalidVersion:
            continue  # from before PEP 440: nothing that is pinned has such a one


def _within(version: Version, events: list[Mapping[str, str]]) -> bool:
    inside = False
    for event in sorted(events, key=lambda event: Version(str(next(iter(event.values()))))):
        ((kind, at),) = event.items()
        if kind == "introduced" and version >= Version(str(at)):
            inside = True
        elif (kind == "fixed" and version >= Version(str(at))) or (
            kind == "last_affected" and version > Version(str(at))
        ):
            inside = False
    return inside


def of_safety(said: Mapping[str, Any], pins: Mapping[str, Version]) -> Findings:
    """What ``said``, the ``insecure_full.json`` of safety-db, finds."""
    holes = [
        Hole(package, str(version), (str(one["id"]), *str(one["cve"]).split(", ")))
        for package, version in pins.items()
        for one in said.get(package, ())
        if any(version in SpecifierSet(specs, prereleases=True) for specs in one["specs"])
    ]
    day = datetime.fromtimestamp(said["$meta"]["timestamp"], UTC)
    return Findings("safety-db", day, holes)


def of_pypi() -> Findings | None:
    """What pip-audit finds with the advisories of PyPI; None where PyPI has none to give."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format=json"]
    command += ["--progress-spinner=off", "--requirement", str(CONSTRAINTS)]
    done = subprocess.run(  # noqa: S603 - a program of this environment, and a list
        command, capture_output=True, text=True, timeout=PYPI_SECONDS, check=False
    )
    try:
        rows = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return None  # it was not let out, and has told so at length
    unknown = [row["name"] for row in rows if "skip_reason" in row]
    if len(unknown) == len(rows):
        return None
    if unknown:
        sys.exit(f"PyPI knows nothing of {', '.join(unknown)}.")
    holes = [
        Hole(row["name"], row["version"], (one["id"], *one["aliases"]))
        for row in rows
        for one in row["vulns"]
    ]
    return Findings("PyPI, by pip-audit", datetime.now(UTC), holes)


def find(given: str | None, pins: Mapping[str, Version]) -> Findings:
    """What the best advisories that there are find."""
    if given is not None:
        return of_advisories(Path(given), pins)
    found = of_pypi()
    if found is None:
        print("PyPI's advisories cannot be had here.")
        # Its module looks for the file in the directory that it is run in.
        file = distribution("safety-db").locate_file("safety_db/insecure_full.json")
        found = of_safety(json.loads(Path(str(file)).read_text()), pins)
    return found


def main(arguments: list[str]) -> int:
    """Audit; what the process exits with."""
    pins = pinned(CONSTRAINTS.read_text())
    found = find(arguments[0] if arguments else None, pins)
    age = (datetime.now(UTC) - found.day).days
    print(f"{len(pins)} versions against {found.source}, as of {found.day:%Y-%m-%d}.")
    if age > OLD_DAYS:
        print(f"WARNING: that is {age} days ago; what was found since then is NOT looked for.")
    left = 0
    for hole in found.holes:
        reason = hole.reason()
        left += reason is None
        names = ", ".join(hole.names)
        print(
            f"{hole.package} {hole.version}: {names}: {f'accepted. {reason}' if reason else 'HOLE'}"
        )
    print(f"{left} holes, {len(found.holes) - left} more that are accepted.")
    return min(left, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
