"""What Prometheus sees: well-formed, documented, used by the dashboard and the alerts, and of
nobody."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gfs.errors import DataLoss, StoreUnavailable
from gfs.observe import OPERATIONS
from sfs_server import metrics
from sfs_server.metrics import GfsMetrics, Metrics
from sfs_server.web.keys import DATABASE, METRICS
from tests.support.client import connect
from tests.support.credentials import bearer
from tests.support.launcher import Process
from tests.support.postgres import Postgres
from tests.support.promtool import promtool
from tests.support.service import Service
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "manifests" / "monitoring"
BEARER = bearer("private-user")


def parse(text: str) -> dict[str, Metric]:
    """The families by their names, those of counters with _total."""
    return {
        family.name + "_total" * (family.type == "counter"): family
        for family in text_string_to_metric_families(text)
    }


def samples(text: str) -> dict[tuple[str, ...], float]:
    """The values by the name and, in the order of the labels' names, the labels' values."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def exposed(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a process that has done a little of everything answers to a scrape."""
    postgres.execute("DROP DATABASE IF EXISTS metrics")
    postgres.execute("CREATE DATABASE metrics")
    data = tmp_path_factory.mktemp("metrics")

    async def use(process: Process) -> str:
        async with connect(process.port) as connection:
            for method, target, status in (
                ("PUT", "/storage/default/private-file", 201),
                ("GET", "/storage/default/private-file", 200),
                ("GET", "/storage/default/private-file?token=private", 401),
                ("GET", "/storage/default/private-absent", 404),
                ("GET", "/storage/files", 200),
                ("GET", "/private-path", 404),
                ("PROPFIND", "/storage/default/private-file", 405),
                ("DELETE", "/storage/default/private-file", 200),
                ("GET", "/readyz", 200),
            ):
                body = b"12345" * (method == "PUT")
                named = {} if "token" in target else BEARER
                assert (await connection.ask(method, target, named, body)).status == status
            return (await connection.ask("GET", "/metrics")).body.decode()

    with Process(data, "-database", postgres.url("metrics")) as process:
        return asyncio.run(use(process))


def test_promtool_finds_nothing_to_say_about_the_metrics(exposed: str) -> None:
    promtool("check", "metrics", text=exposed)


def test_promtool_finds_nothing_to_say_about_the_alert_rules() -> None:
    promtool("check", "rules", str(MONITORING / "alerts.yaml"))


def test_every_metric_is_documented_with_its_type_labels_and_help(exposed: str) -> None:
    rows = re.findall(
        r"^\| `(sfs_\w+)` \| (\w+) \| ((?:`\w+`(?:, )?)*) ?\| (.+) \|$",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    described = {
        name: (kind, set(re.findall(r"\w+", labels)), text.replace("`", ""))
        for name, kind, labels, text in rows
    }
    families = {name: family for name, family in parse(exposed).items() if name[:4] == "sfs_"}
    assert described == {
        name: (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
            family.documentation,
        )
        for name, family in families.items()
    }


@pytest.mark.parametrize("file", ["alerts.yaml", "dashboard.json"])
def test_what_the_alerts_and_the_dashboard_ask_for_is_there(file: str, exposed: str) -> None:
    there = {sample[0] for sample in samples(exposed)}
    asked = set(re.findall(r"\b(?:sfs|process|python)_\w+", (MONITORING / file).read_text()))
    assert len(asked) > 5
    assert asked - there == set()


def test_the_dashboard_is_one() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])


def test_labels_name_nobody_and_are_of_closed_sets(exposed: str) -> None:
    assert "private" not in exposed
    families = parse(exposed)
    values = {
        (label, value)
        for family in families.values()
        for sample in family.samples
        for label, value in sample.labels.items()
    }
    routes = {value for label, value in values if label == "route"}
    assert routes == {
        "/readyz",
        "/storage/files",
        "/storage/{namespace}/{path}",
        "/{path}",
        "unknown",
    }
    methods = {value for label, value in values if label == "method"}
    assert methods == {"GET", "PUT", "DELETE", "other"}
    assert {value for label, value in values if label == "operation"} == set(OPERATIONS)
    assert {value for label, value in values if label == "engine"} == {"embedded"}


def test_the_store_is_told_by_operation_and_error(exposed: str) -> None:
    found = samples(exposed)
    count = "sfs_gfs_operation_duration_seconds_count"
    assert found[count, "embedded", "commit"] == 1
    assert found[count, "embedded", "open"] >= 2
    assert found["sfs_gfs_failures_total", "embedded", "NoSuchFile", "open"] == 1
    assert found["sfs_gfs_failures_total", "embedded", "DataLoss", "read"] == 0
    assert found["sfs_gfs_written_bytes_total", "embedded"] == 5


def test_errors_of_the_store_are_counted_by_their_class() -> None:
    metrics = Metrics()
    store: GfsMetrics = metrics.gfs("seaweedfs")
    store.done("read", 0.3, DataLoss("private"))
    store.done("read", 0.3, asyncio.CancelledError())
    store.done("stat", 700.0, OSError("private"))
    store.failover(StoreUnavailable("private"))
    store.read(7)
    found = samples(metrics.render().decode())
    failures = "sfs_gfs_failures_total"
    assert found[failures, "seaweedfs", "DataLoss", "read"] == 1
    assert found[failures, "seaweedfs", "Cancelled", "read"] == 1
    assert found[failures, "seaweedfs", "other", "stat"] == 1
    assert found["sfs_gfs_failovers_total", "seaweedfs", "StoreUnavailable"] == 1
    assert found["sfs_gfs_read_bytes_total", "seaweedfs"] == 7
    buckets = "sfs_gfs_operation_duration_seconds_bucket"
    assert found[buckets, "seaweedfs", "0.2", "read"] == 0
    assert found[buckets, "seaweedfs", "1.0", "read"] == 2
    assert found[buckets, "seaweedfs", "300.0", "stat"] == 0
    assert found[buckets, "seaweedfs", "+Inf", "stat"] == 1


async def test_the_database_pool_is_shown(service: Service, postgres: Postgres) -> None:
    def shown() -> dict[str, float]:
        found = samples(service.app[METRICS].render().decode())
        return {
            " ".join(key)[len("sfs_database_") :]: value
            for key, value in found.items()
            if key[0].startswith("sfs_database_") and not key[0].endswith("_created")
        }

    database = service.app[DATABASE]
    await database.check()
    await eventually(lambda: shown()["connections in_use"] == 0)  # the start asks too
    before = shown()
    assert before.pop("connections idle") in (1, 2)
    assert before == {
        "connections in_use": 0,
        "connections_max": 8,
        "waiting": 0,
        "listening": 1,
        "failures_total": 0,
    }
    release = asyncio.Event()

    async def hold() -> None:
        async with database.transaction():
            await release.wait()

    holding = [asyncio.create_task(hold()) for _ in range(10)]
    await eventually(lambda: (shown()["connections in_use"], shown()["waiting"]) == (8, 2), 4.0)
    assert shown()["connections idle"] == 0
    release.set()
    await asyncio.gather(*holding)
    assert (shown()["waiting"], shown()["connections in_use"]) == (0, 0)
    await asyncio.to_thread(postgres.stop)
    try:
        await eventually(lambda: shown()["listening"] == 0)
        assert (await service.get("/storage/default/a"))[0] == 503
        assert shown()["failures_total"] >= 1
    finally:
        await asyncio.to_thread(postgres.start)
    await eventually(lambda: shown()["listening"] == 1)


async def test_a_loop_that_is_blocked_shows(service: Service) -> None:
    def late() -> float:
        found = samples(service.app[METRICS].render().decode())
        lag = "sfs_event_loop_lag_seconds"
        return found[f"{lag}_count",] - found[f"{lag}_bucket", "0.2"]

    before = late()
    time.sleep(0.9)  # twice as long as the loop is left alone between two looks
    await eventually(lambda: late() > before)


async def test_watchers_are_shown() -> None:
    metrics = Metrics()
    metrics.progress_watchers = lambda: 3
    assert samples(metrics.render().decode())["sfs_progress_watchers",] == 3


async def test_what_is_shown_is_made_once_in_a_while(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks, and however often."""
    made = []

    def generate(registry: CollectorRegistry) -> bytes:
        made.append(registry)
        return generate_latest(registry)

    monkeypatch.setattr(metrics, "generate_latest", generate)
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 3600.0)
    first = await service.get("/metrics")
    for _ in range(20):
        await service.get("/storage/files")
        assert await service.get("/metrics") == first
    assert len(made) == 1
    monkeypatch.setattr(service.app[METRICS], "_stale_at", 0.0)
    assert await service.get("/metrics") != first
    assert len(made) == 2
