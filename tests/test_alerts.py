"""Each alert fires on what it is for, when its time has come, and on nothing less.

The rows below are stories: series as a process of SFS has them, a value a minute, and who is called
at some minute. ``promtool test rules`` tells them to Prometheus's own evaluation of the rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.promtool import promtool

ROOT = Path(__file__).parent.parent
ALERTS = ROOT / "manifests" / "monitoring" / "alerts.yaml"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load(ALERTS.read_text())["groups"]
    for rule in group["rules"]
}
OF_CLIENT = {
    "up": set[str](),
    "process_open_fds": set[str](),
    "process_max_fds": set[str](),
    "process_start_time_seconds": set[str](),
}
"""Metrics that are not of SFS itself, and their labels."""


@dataclass(frozen=True)
class Story:
    """``series`` are by name and labels (``job`` and ``instance`` are added), values in promtool's
    shorthand: ``0+6x30`` grows by 6 a minute for 30 minutes, ``1x5`` stays. ``fires`` are the
    labels of the alerts at ``minute``, beside job and severity; empty: nobody is called."""

    alert: str
    series: Mapping[str, str]
    minute: int
    fires: tuple[Mapping[str, str], ...] = ()


ONE = {"instance": "a:8080"}
STORE = {"engine": "seaweedfs"}
ALL: Mapping[str, str] = {}
REQUESTS = 'sfs_http_request_duration_seconds_count{route="unknown",method="GET",status="%s"}'
FAILURES = 'sfs_gfs_failures_total{engine="seaweedfs",operation="read",error="%s"}'
FAILOVERS = 'sfs_gfs_failovers_total{engine="seaweedfs",error="StoreUnavailable"}'
IN_USE = 'sfs_database_connections{state="in_use"}'
LAG = 'sfs_event_loop_lag_seconds_bucket{le="%s"}'
ERRORS = {REQUESTS % 200: "0+97x30", REQUESTS % 503: "0+3x30"}
WAITING = {"sfs_database_waiting": "3x20", IN_USE: "8x20"}
LATE = {LAG % 0.2: "0+12x20", LAG % 0.5: "0+120x20", LAG % "+Inf": "0+120x20"}
SCARCE = {"process_open_fds": "90x20", "process_max_fds": "100x20"}

STORIES = (
    Story("SfsDown", {"up": "1x5 0x10"}, 9, (ONE,)),
    Story("SfsDown", {"up": "1x5 0x10"}, 7),  # not for two minutes yet
    Story("SfsDown", {"up": "1x20"}, 15),
    Story("SfsDown", {}, 5, (ALL,)),  # there is no process at all
    Story("SfsErrors", ERRORS, 20, (ALL,)),
    Story("SfsErrors", ERRORS, 5),
    Story("SfsErrors", {REQUESTS % 200: "0+99x30", REQUESTS % 503: "0+1x30"}, 20),
    Story("SfsErrors", {REQUESTS % 200: "0+9x30", REQUESTS % 404: "0+91x30"}, 20),
    Story("SfsErrors", {REQUESTS % 200: "0x30"}, 20),  # nobody asks
    Story("SfsStoreFailing", {FAILURES % "StoreUnavailable": "0+12x30"}, 20, (STORE,)),
    Story("SfsStoreFailing", {FAILURES % "StoreBroken": "0+12x30"}, 20, (STORE,)),
    Story("SfsStoreFailing", {FAILURES % "other": "0+12x30"}, 20, (STORE,)),
    Story("SfsStoreFailing", {FAILURES % "StoreUnavailable": "0+12x30"}, 5),
    Story("SfsStoreFailing", {FAILURES % "StoreUnavailable": "0+1x30"}, 20),
    Story("SfsStoreFailing", {FAILURES % "NoSuchFile": "0+600x30"}, 20),
    Story("SfsDataLoss", {FAILURES % "DataLoss": "0x10 1x10"}, 12, (STORE,)),  # once is enough
    Story("SfsDataLoss", {FAILURES % "DataLoss": "0x10 1x30"}, 30),  # it is long ago
    Story("SfsDataLoss", {FAILURES % "StoreUnavailable": "0+60x30"}, 20),
    Story("SfsStoreFull", {FAILURES % "StoreFull": "0x10 1x10"}, 12, (STORE,)),
    Story("SfsStoreFull", {FAILURES % "StoreFull": "0x10 1x20"}, 25),
    Story("SfsStoreFull", {FAILURES % "NoSuchFile": "0+600x30"}, 20),
    Story("SfsFailovers", {FAILOVERS: "0+12x40"}, 30, (STORE,)),
    Story("SfsFailovers", {FAILOVERS: "0+12x40"}, 10),
    Story("SfsFailovers", {FAILOVERS: "0+3x40"}, 30),
    Story("SfsDatabaseFailing", {"sfs_database_failures_total": "0+6x20"}, 10, (ALL,)),
    Story("SfsDatabaseFailing", {"sfs_database_failures_total": "0+6x20"}, 4),
    Story("SfsDatabaseFailing", {"sfs_database_failures_total": "0+1x20"}, 10),
    Story("SfsDatabasePoolExhausted", WAITING, 10, (ONE,)),
    Story("SfsDatabasePoolExhausted", WAITING, 4),
    Story("SfsDatabasePoolExhausted", {"sfs_database_waiting": "0x20", IN_USE: "8x20"}, 10),
    Story("SfsDatabaseNotListening", {"sfs_database_listening": "1x5 0x10"}, 9, (ONE,)),
    Story("SfsDatabaseNotListening", {"sfs_database_listening": "1x5 0x10"}, 7),
    Story("SfsDatabaseNotListening", {"sfs_database_listening": "1x20"}, 10),
    Story("SfsEventLoopLate", LATE, 15, (ONE,)),
    Story("SfsEventLoopLate", LATE, 5),
    Story("SfsEventLoopLate", {**LATE, LAG % 0.2: "0+119x20"}, 15),
    Story("SfsDescriptorsScarce", SCARCE, 15, (ONE,)),
    Story("SfsDescriptorsScarce", SCARCE, 4),
    Story("SfsDescriptorsScarce", {**SCARCE, "process_open_fds": "70x20"}, 15),
    Story("SfsRestarting", {"process_start_time_seconds": "0+60x9 600x9"}, 12, (ONE,)),
    Story("SfsRestarting", {"process_start_time_seconds": "0x5 60x20"}, 12),  # an upgrade
)


def told(story: Story) -> dict[str, object]:
    """The story in promtool's words."""
    rule = RULES[story.alert]
    job = {"job": "sfs"}

    def named(series: str) -> str:
        name, _, labels = series.partition("{")
        return f'{name}{{job="sfs",instance="{ONE["instance"]}",{labels or "}"}'

    return {
        "interval": "1m",
        "input_series": [
            {"series": named(series), "values": values} for series, values in story.series.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": f"{story.minute}m",
                "alertname": story.alert,
                "exp_alerts": [
                    {
                        "exp_labels": {**job, **rule["labels"], **labels},
                        "exp_annotations": rule["annotations"],
                    }
                    for labels in story.fires
                ],
            }
        ],
    }


def test_alerts_fire_when_they_should_and_not_otherwise(tmp_path: Path) -> None:
    stories = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "30s",
        "tests": [told(story) for story in STORIES],
    }
    file = tmp_path / "stories.yaml"
    file.write_text(json.dumps(stories))
    promtool("test", "rules", str(file))


@pytest.mark.parametrize("alert", RULES)
def test_every_alert_has_a_story_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    assert {bool(story.fires) for story in STORIES if story.alert == alert} == {True, False}


def test_the_series_of_the_stories_are_such_as_a_process_has() -> None:
    rows = re.findall(
        r"^\| `(sfs_\w+)` \| (\w+) \|([^|]*)\|",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    there = dict(OF_CLIENT)
    for name, kind, cell in rows:
        labels = set(re.findall(r"`(\w+)`", cell))
        if kind == "histogram":
            there |= {f"{name}_count": labels, f"{name}_bucket": labels | {"le"}}
        else:
            there[name] = labels
    for series in {series for story in STORIES for series in story.series}:
        name, _, rest = series.partition("{")
        assert set(re.findall(r'(\w+)="', rest)) == there[name]
