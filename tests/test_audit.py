"""The audit finds the advisories that apply to a version, and says how old they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tools import audit


def advisory(**affected: Any) -> dict[str, Any]:
    """One of OSV, for the package that is called a."""
    one = {"package": {"ecosystem": "PyPI", "name": "A"}, **affected}
    return {"id": "PYSEC-1", "modified": "2026-01-02T03:04:05Z", "affected": [one]}


def between(*events: dict[str, str]) -> list[dict[str, Any]]:
    git = {"type": "GIT", "events": [{"introduced": "0"}]}
    return [git, {"type": "ECOSYSTEM", "events": list(events)}]


def found(directory: Path, said: dict[str, Any]) -> audit.Findings:
    place = directory / "vulns" / "a"
    place.mkdir(parents=True)
    (place / "PYSEC-1.yaml").write_text(json.dumps(said))  # which is YAML too
    return audit.of_advisories(directory, {"a": Version("1.5"), "b": Version("1.5")})


@pytest.mark.parametrize(
    ("affected", "is_hit"),
    [
        ({"versions": ["1.4", "1.5.0"]}, True),
        ({"versions": ["1.4", "not-a-version"]}, False),
        ({"ranges": between({"introduced": "0"})}, True),
        ({"ranges": between({"introduced": "0"}, {"fixed": "1.5"})}, False),
        ({"ranges": between({"introduced": "1.5"}, {"fixed": "1.10"})}, True),
        ({"ranges": between({"fixed": "1.2"}, {"introduced": "1.1"})}, False),
        ({"ranges": between({"introduced": "1"}, {"last_affected": "1.5"})}, True),
        ({"ranges": between({"introduced": "1"}, {"last_affected": "1.4"})}, False),
        ({"ranges": between({"introduced": "1.6"})}, False),
    ],
)
def test_a_version_is_hit_if_it_is_listed_or_in_a_range(
    tmp_path: Path, affected: dict[str, Any], is_hit: bool
) -> None:
    said = found(tmp_path, advisory(**affected))
    assert said.holes == [audit.Hole("a", "1.5", ("PYSEC-1",))] * is_hit
    assert f"{said.day:%Y-%m-%d}" == "2026-01-02"


def test_what_was_withdrawn_hits_nobody(tmp_path: Path) -> None:
    said = advisory(versions=["1.5"]) | {"withdrawn": "2026-01-03T00:00:00Z"}
    assert found(tmp_path, said).holes == []


def test_safety_db_is_read_by_its_specifiers() -> None:
    rows = [
        {"id": "pyup.io-1", "cve": "CVE-1, CVE-2", "specs": ["<1", ">=1.5,<1.6"]},
        {"id": "pyup.io-2", "cve": None, "specs": ["<1.5"]},
    ]
    said = audit.of_safety({"$meta": {"timestamp": 0}, "a": rows}, {"a": Version("1.5")})
    assert said.holes == [audit.Hole("a", "1.5", ("pyup.io-1", "CVE-1", "CVE-2"))]


def test_a_hole_fails_the_audit_unless_it_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(tmp_path, advisory(ranges=between({"introduced": "0"})) | {"aliases": ["CVE-1"]})
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# versions\nA==1.5\nother_one==2\n")
    monkeypatch.setattr(audit, "CONSTRAINTS", constraints)
    assert audit.main([str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "2 versions" in said
    assert "as of 2026-01-02" in said
    assert "WARNING: that is" in said
    assert "a 1.5: PYSEC-1, CVE-1: HOLE" in said
    monkeypatch.setitem(audit.ACCEPTED, "CVE-1", "It is never called.")
    assert audit.main([str(tmp_path)]) == 0
    assert "accepted. It is never called." in capsys.readouterr().out
