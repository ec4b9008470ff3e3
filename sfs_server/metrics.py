"""What Prometheus sees. The only module that knows prometheus_client.

One process is one target, with a registry of its own. Labels come from closed sets: the template
of the route, never a path; so no name, user or token can appear, and a scanner makes no series.

What is counted for every request is counted in plain numbers, by the event loop alone, and turned
into samples when it is scraped: the library's own counters take a lock each time.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sfs_server import __version__

SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the buckets, from a hot GET to an hour of transfer."""


class _Durations:
    """How long the requests of one kind took: how many per bucket, and the sum in seconds."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS) + 1)
        self.total = 0.0


class Metrics(Collector):
    """The metrics of one process. The numbers are the event loop's to change."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.received = 0
        """Bytes of uploaded bodies."""
        self.sent = 0
        """Bytes of files sent."""
        self.uploading = 0
        self.downloading = 0
        self._requests: dict[tuple[str, str, int], _Durations] = {}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(self)

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request has been answered. ``route`` is a template, ``method`` a known one."""
        key = (route, method, status)
        found = self._requests.get(key)
        if found is None:
            found = self._requests[key] = _Durations()
        found.buckets[bisect_left(SECONDS, seconds)] += 1
        found.total += seconds

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The samples, for the registry."""
        build = GaugeMetricFamily(
            "sfs_build_info", "1, with the versions in its labels.", labels=["version", "python"]
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        yield self._durations()
        yield CounterMetricFamily(
            "sfs_http_received_bytes", "Bytes of uploaded bodies.", self.received
        )
        yield CounterMetricFamily("sfs_http_sent_bytes", "Bytes of files sent.", self.sent)
        transfers = GaugeMetricFamily(
            "sfs_transfers_in_flight", "Transfers that are running.", labels=["direction"]
        )
        transfers.add_metric(["upload"], self.uploading)
        transfers.add_metric(["download"], self.downloading)
        yield transfers

    def _durations(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(
            "sfs_http_request_duration_seconds",
            "Time from a request's headers to the last byte of its answer.",
            labels=["route", "method", "status"],
        )
        bounds = [*map(str, SECONDS), "+Inf"]
        for (route, method, status), found in list(self._requests.items()):
            buckets = list(zip(bounds, accumulate(found.buckets), strict=True))
            family.add_metric([route, method, str(status)], buckets, found.total)
        return family
