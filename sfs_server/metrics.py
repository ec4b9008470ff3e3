"""What Prometheus sees. Only this module imports prometheus_client.

One process is one target, with a registry of its own. Labels come from closed sets: the template
of the route, never a path; so no name, user or token can appear, and a scanner makes no series.

What is counted for every request is counted in plain numbers, by the event loop alone, and turned
into samples when Prometheus asks: the library's own counters take a lock each time.
"""

from __future__ import annotations

import asyncio
import math
import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate, product

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

from gfs import clock
from gfs.errors import GfsError
from gfs.observe import OPERATIONS
from sfs_server import __version__
from sfs_server.database import Database
from sfs_server.namespaces import Namespaces, Recounter
from sfs_server.uploads import Uploads

SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the buckets, in seconds, from a GET out of the page cache to an hour of
transfer."""

GFS_SECONDS = (0.0001, 0.0005, 0.002, 0.01, 0.05, 0.2, 1.0, 5.0, 20.0, 60.0, 300.0)
"""The same for operations of the store, from opening what is cached to all waits of a large
upload."""

LAG_SECONDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Upper bounds of the buckets, in seconds, for the lag of the event loop."""

LAG_POLL_SECONDS = 0.5
"""The time between two measurements of the lag of the event loop."""

FRESH_SECONDS = 1.0
"""The greatest age of a text exposition that is sent again. Making one keeps the event loop busy
for some 5 ms, and anyone may ask for it."""

STORE_FAILURES = ("StoreUnavailable", "StoreBroken", "StoreFull", "DataLoss")
"""The errors by which the store fails. The others are ordinary results, such as NoSuchFile."""


class _Durations:
    """A histogram of durations: how many there were in each bucket, and their sum in seconds."""

    __slots__ = ("_bounds", "_buckets", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._buckets = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, seconds: float) -> None:
        self._buckets[bisect_left(self._bounds, seconds)] += 1
        self._total += seconds

    def sample(self, family: HistogramMetricFamily, labels: list[str]) -> None:
        """Add this histogram to ``family``."""
        bounds = [*map(str, self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._buckets), strict=True))
        family.add_metric(labels, buckets, self._total)


class GfsMetrics:
    """What one engine has done, as it notifies a :class:`gfs.observe.Listener`."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.bytes_read = 0
        self.bytes_written = 0
        self.durations: dict[str, _Durations] = {}
        # Those that an alert watches start with 0: Prometheus sees no increase from nothing to 1.
        watched = dict.fromkeys(product(OPERATIONS, STORE_FAILURES), 0)
        self.failures: Counter[tuple[str, str]] = Counter(watched)
        self.failovers: Counter[str] = Counter(dict.fromkeys(STORE_FAILURES, 0))

    def done(self, operation: str, seconds: float, error: BaseException | None) -> None:
        found = self.durations.get(operation)
        if found is None:
            found = self.durations[operation] = _Durations(GFS_SECONDS)
        found.add(seconds)
        if error is not None:
            self.failures[operation, _error_class(error)] += 1

    def read(self, count: int) -> None:
        self.bytes_read += count

    def wrote(self, count: int) -> None:
        self.bytes_written += count

    def failover(self, error: GfsError) -> None:
        self.failovers[_error_class(error)] += 1

    def collect(self) -> Iterator[Metric]:
        labels = ["engine", "operation"]
        durations = HistogramMetricFamily(
            "sfs_gfs_operation_duration_seconds",
            "Time that an operation of the store was waited for. For read, write, list_files and "
            "list_folder it is the sum of all waits of one reader, writer or list.",
            labels=labels,
        )
        for operation, found in self.durations.items():
            found.sample(durations, [self.engine, operation])
        yield durations
        failures = CounterMetricFamily(
            "sfs_gfs_failures",
            "Operations of the store that raised an error. NoSuchFile, AlreadyExists and their "
            "like are ordinary results; StoreUnavailable, StoreBroken (until somebody repairs "
            "it), StoreFull and DataLoss are failures of the store; Cancelled is a client that "
            "left.",
            labels=[*labels, "error"],
        )
        for (operation, error), count in self.failures.items():
            failures.add_metric([self.engine, operation, error], count)
        yield failures
        failovers = CounterMetricFamily(
            "sfs_gfs_failovers",
            "Replicas that failed while a chunk was read, so that another one was asked.",
            labels=["engine", "error"],
        )
        for error, count in self.failovers.items():
            failovers.add_metric([self.engine, error], count)
        yield failovers
        for name, text, count in (
            (
                "read",
                "Bytes read from the store, without those that the kernel sent by itself.",
                self.bytes_read,
            ),
            (
                "written",
                "Bytes written to the store, whether published or not.",
                self.bytes_written,
            ),
        ):
            family = CounterMetricFamily(f"sfs_gfs_{name}_bytes", text, labels=["engine"])
            family.add_metric([self.engine], count)
            yield family


def _error_class(error: BaseException) -> str:
    """The name of one of our errors; a closed set."""
    if isinstance(error, GfsError):
        return type(error).__name__
    return "Cancelled" if isinstance(error, asyncio.CancelledError) else "other"


class Metrics(Collector):
    """The metrics of one process. Only the event loop changes the numbers."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.received = 0
        """Bytes received in the bodies of uploads."""
        self.sent = 0
        """Bytes of files sent in responses."""
        self.uploading = 0
        self.downloading = 0
        self.progress_watchers: Callable[[], int] = int
        """Gives the number of event streams that are open now."""
        self.uploads: Uploads | None = None
        """The uploads that can be resumed."""
        self._gfs: GfsMetrics | None = None
        self._database: tuple[Database, Namespaces, Recounter] | None = None
        self._lag = _Durations(LAG_SECONDS)
        self._requests: dict[tuple[str, str, int], _Durations] = {}
        self._text, self._stale_at = b"", -math.inf
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(self)

    def __repr__(self) -> str:
        return f"<Metrics uploading={self.uploading} downloading={self.downloading}>"

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that has got its response, after ``seconds``. ``route`` is a template,
        and ``method`` one of the common ones or ``other``."""
        key = (route, method, status)
        found = self._requests.get(key)
        if found is None:
            found = self._requests[key] = _Durations(SECONDS)
        found.add(seconds)

    def gfs(self, engine: str) -> GfsMetrics:
        """The listener for the store; there is one store, with one ``engine``."""
        self._gfs = GfsMetrics(engine)
        return self._gfs

    def watch_database(
        self, database: Database, namespaces: Namespaces, recounter: Recounter
    ) -> None:
        """Show the state of these from now on."""
        self._database = database, namespaces, recounter

    async def watch_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_POLL_SECONDS
            await asyncio.sleep(LAG_POLL_SECONDS)
            self._lag.add(max(loop.time() - due, 0.0))

    def render(self) -> bytes:
        """The text exposition of now."""
        return generate_latest(self._registry)

    def scrape(self) -> bytes:
        """The text exposition, at most FRESH_SECONDS old."""
        now = clock.monotonic()
        if now >= self._stale_at:
            self._text, self._stale_at = self.render(), now + FRESH_SECONDS
        return self._text

    def collect(self) -> Iterator[Metric]:
        """All metrics, for the registry of prometheus_client."""
        build = GaugeMetricFamily(
            "sfs_build_info",
            "The value is 1; the labels have the versions of SFS and Python.",
            labels=["version", "python"],
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        yield self._durations()
        yield CounterMetricFamily(
            "sfs_http_received_bytes", "Bytes received in the bodies of uploads.", self.received
        )
        yield CounterMetricFamily(
            "sfs_http_sent_bytes", "Bytes of files sent in responses.", self.sent
        )
        transfers = GaugeMetricFamily(
            "sfs_transfers_in_flight",
            "Uploads and downloads that are running.",
            labels=["direction"],
        )
        transfers.add_metric(["upload"], self.uploading)
        transfers.add_metric(["download"], self.downloading)
        yield transfers
        if self._gfs is not None:
            yield from self._gfs.collect()
        if self._database is not None:
            yield from _of_database(*self._database)
        if self.uploads is not None:
            yield from _of_uploads(self.uploads)
        yield GaugeMetricFamily(
            "sfs_progress_watchers",
            "Event streams that are open.",
            self.progress_watchers(),
        )
        lag = HistogramMetricFamily(
            "sfs_event_loop_lag_seconds",
            "How late the event loop does what is due, measured twice a second.",
            labels=[],
        )
        self._lag.sample(lag, [])
        yield lag

    def _durations(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(
            "sfs_http_request_duration_seconds",
            "Time from the headers of a request to the last byte of its response. "
            "Status 499: the client left.",
            labels=["route", "method", "status"],
        )
        for (route, method, status), found in self._requests.items():
            found.sample(family, [route, method, str(status)])
        return family


def _of_database(
    database: Database, namespaces: Namespaces, recounter: Recounter
) -> Iterator[Metric]:
    usage = database.usage
    connections = GaugeMetricFamily(
        "sfs_database_connections",
        "Sessions of the pool that are open: in_use or idle.",
        labels=["state"],
    )
    connections.add_metric(["in_use"], usage.busy)
    connections.add_metric(["idle"], usage.idle)
    yield connections
    for name, text, value in (
        ("connections_max", "Sessions that the pool may open.", usage.size),
        ("waiting", "Statements that wait for a session of the pool.", usage.waiting),
        (
            "listening",
            "1 while the process is notified of the changes of namespaces that others make: the "
            "notifications that it sends to itself every two seconds come back.",
            int(namespaces.listening),
        ),
    ):
        yield GaugeMetricFamily(f"sfs_database_{name}", text, value)
    yield CounterMetricFamily(
        "sfs_database_failures",
        "Statements that got no response, or not in time.",
        usage.failures,
    )
    recounts = CounterMetricFamily(
        "sfs_namespace_recounts",
        "Namespaces whose files were counted in the store. right: the number was right; corrected: "
        "it was not; void: the result could not be used; failed: the store failed.",
        labels=["result"],
    )
    for result, count in recounter.results.items():
        recounts.add_metric([result], count)
    yield recounts


def _of_uploads(uploads: Uploads) -> Iterator[Metric]:
    events = CounterMetricFamily(
        "sfs_upload_events",
        "What became of uploads that can be resumed. started; resumed: a client asked where to go "
        "on; overtaken: a request found that another one goes on with the upload; published; "
        "refused: all bytes have come, and may not be published now; deleted by the client; "
        "expired, or the namespace was deleted.",
        labels=["event"],
    )
    for event, count in uploads.events.items():
        events.add_metric([event], count)
    yield events
    yield CounterMetricFamily(
        "sfs_upload_recorded_bytes",
        "Bytes of uploads that can be resumed which were received, and are durable.",
        uploads.received,
    )
    for name, text, value in (
        ("unfinished", "Uploads that can be resumed and are not finished.", uploads.unfinished),
        ("unfinished_bytes", "Bytes that these have.", uploads.unfinished_bytes),
    ):
        yield GaugeMetricFamily(
            f"sfs_upload_{name}",
            f"{text} Of all processes together; asked once a minute.",
            value,
        )
