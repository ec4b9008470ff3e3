"""What Prometheus sees. The only module that knows prometheus_client.

One process is one target, with a registry of its own. Labels come from closed sets: the template
of the route, never a path; so no name, user or token can appear, and a scanner makes no series.
"""

from __future__ import annotations

import platform

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from sfs_server import __version__

_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 900.0, 3600.0)
"""From a hot GET to an hour of transfer."""


class Metrics:
    """The metrics of one process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        Gauge(
            "sfs_build_info",
            "1, with the version in its labels.",
            ["version", "python"],
            registry=self._registry,
        ).labels(__version__, platform.python_version()).set(1)
        self._seconds = Histogram(
            "sfs_http_request_duration_seconds",
            "Time from a request's headers to the last byte of its answer.",
            ["route", "method", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._received = Counter(
            "sfs_http_received_bytes",
            "Bytes of uploaded bodies.",
            registry=self._registry,
        )
        self._sent = Counter(
            "sfs_http_sent_bytes",
            "Bytes of files sent.",
            registry=self._registry,
        )
        self._uploads = Gauge(
            "sfs_transfers_in_flight",
            "Transfers that are running.",
            ["direction"],
            registry=self._registry,
        )
        self.uploading = self._uploads.labels("upload")
        self.downloading = self._uploads.labels("download")
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request has been answered. ``route`` is a template, ``method`` a known one."""
        key = (route, method, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._seconds.labels(route, method, str(status))
        child.observe(seconds)

    def received(self, count: int) -> None:
        """``count`` bytes of a body have arrived."""
        self._received.inc(count)

    def sent(self, count: int) -> None:
        """``count`` bytes of a file have been sent."""
        self._sent.inc(count)

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self._registry)
