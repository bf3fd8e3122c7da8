"""Prometheus metrics of a process, or of all worker processes together."""

import asyncio
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from mimic.corpus.schemas import Version
from mimic.engine.base import Completion
from mimic.server.observability import METRICS_FOLDER
from mimic.server.observability.gauges import workers

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SECONDS_BETWEEN_CHECKS: Final = 1.0
"""Interval at which a worker process publishes its requests in flight. A request itself publishes nothing."""

Labels: TypeAlias = tuple[str | int, ...]

REQUESTS: Final = "mimic_requests"
CHOICES: Final = "mimic_choices_returned"
MATCHES: Final = "mimic_matches"
MISSES: Final = "mimic_completion_misses"
FAULTS: Final = "mimic_faults"
UPSTREAM_REQUESTS: Final = "mimic_upstream_requests"
COUNTERS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    REQUESTS: ("Requests answered.", ("method", "route", "status")),
    CHOICES: ("Choices returned.", ("version",)),
    MATCHES: ("Prompts answered, by rung.", ("version", "rung")),
    MISSES: ("Completions without an answer from the corpus.", ("version",)),
    FAULTS: ("Faults injected.", ("kind",)),
    UPSTREAM_REQUESTS: ("Requests passed on to the upstream.", ("outcome",)),
}
"""Help text and labels of each counter."""
HISTOGRAM: Final = ("mimic_request_seconds", "Seconds until the last byte of an answer was sent.")
LABELS_OF_SECONDS: Final = ("route", "version")

disable_created_metrics()  # type: ignore[no-untyped-call] # an unused time stamp for every series


class _Own(Collector):
    """Counts of a single process: plain numbers, turned into series when the metrics are read.

    A series of prometheus-client takes five times as long per count, a tenth of the time of a short answer.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts: dict[str, defaultdict[Labels, int]] = {name: defaultdict(int) for name in COUNTERS}
        self._buckets: defaultdict[Labels, list[int]] = defaultdict(lambda: [0] * (len(SECONDS) + 1))
        self._sums: defaultdict[Labels, float] = defaultdict(float)
        registry.register(self)

    def count(self, name: str, labels: Labels, number: int = 1) -> None:
        """Add a number to a counter."""
        self._counts[name][labels] += number

    def observe(self, labels: Labels, seconds: float) -> None:
        """Count a request by its duration."""
        self._buckets[labels][bisect_left(SECONDS, seconds)] += 1
        self._sums[labels] += seconds

    def collect(self) -> Iterator[Metric]:
        """Yield all counts so far."""
        for name, (text, names) in COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=names)
            for labels, number in self._counts[name].items():
                counter.add_metric(list(map(str, labels)), number)
            yield counter
        histogram = HistogramMetricFamily(*HISTOGRAM, labels=LABELS_OF_SECONDS)
        bounds = list(map(floatToGoString, (*SECONDS, inf)))
        for labels, counts in self._buckets.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            histogram.add_metric(list(map(str, labels)), buckets, self._sums[labels])
        yield histogram


class _Shared:
    """Counts of one of several processes, in files of prometheus-client, which keep the counts of dead processes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counters = {
            name: Counter(name, text, names, registry=registry) for name, (text, names) in COUNTERS.items()
        }
        self._seconds = Histogram(*HISTOGRAM, LABELS_OF_SECONDS, buckets=SECONDS, registry=registry)
        self._counter = cache(lambda name, labels: self._counters[name].labels(*labels))
        self._histogram = cache(lambda labels: self._seconds.labels(*labels))

    def count(self, name: str, labels: Labels, number: int = 1) -> None:
        """Add a number to a counter."""
        self._counter(name, labels).inc(number)

    def observe(self, labels: Labels, seconds: float) -> None:
        """Count a request by its duration."""
        self._histogram(labels).observe(seconds)


class _AllProcesses(Collector):
    """Counts and gauges of all worker processes. The file of a process that starts is empty for a moment."""

    def collect(self) -> Iterator[Metric]:
        files = [str(file) for file in Path(os.environ[METRICS_FOLDER]).glob("*.db") if _has_begun(file)]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


def _has_begun(file: Path) -> bool:
    """True if a file exists and has values."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # a gauge of a dead process, which another process has removed meanwhile
        return False


class Metrics:
    """Prometheus metrics of this process, or of all worker processes if PROMETHEUS_MULTIPROC_DIR is set."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counts = _Shared(self._registry) if METRICS_FOLDER in os.environ else _Own(self._registry)
        self.count: Final = counts.count
        self.observe: Final = counts.observe
        self.in_flight = 0
        self._in_flight = Gauge(
            "mimic_requests_in_flight",
            "Requests in flight, except for the request for the metrics.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._paused = Gauge(
            "mimic_upstream_paused",
            "Processes that pause their requests to the upstream after failures.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def count_upstream(self, outcome: str) -> None:
        """Count a request that was passed on."""
        self.count(UPSTREAM_REQUESTS, (outcome,))

    def show_pause(self, is_paused: bool) -> None:
        """Show the beginning or the end of a pause in requests to the upstream."""
        self._paused.set(is_paused)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format, for a request, which is itself in flight."""
        registry = self._registry
        self._in_flight.set(self.in_flight - 1)
        if METRICS_FOLDER in os.environ:
            list(workers())  # removes gauges of dead processes
            registry = CollectorRegistry()
            registry.register(_AllProcesses())
        return generate_latest(registry)

    @asynccontextmanager
    async def shared(self) -> AsyncGenerator[None]:
        """Publish the requests in flight to other worker processes."""
        if METRICS_FOLDER not in os.environ:
            yield
            return
        publishing = asyncio.create_task(self._publish())
        try:
            yield
        finally:
            publishing.cancel()
            with suppress(asyncio.CancelledError):
                await publishing

    async def _publish(self) -> None:
        while True:
            self._in_flight.set(self.in_flight)
            await asyncio.sleep(SECONDS_BETWEEN_CHECKS)


class AnswerCounts:
    """Counts answers: the part that the observers of all kinds of requests share."""

    __slots__ = ("metrics",)

    metrics: Metrics

    def completed(self, version: Version, completion: Completion) -> None:
        """Count the answers to each prompt, and the misses."""
        count, choices = self.metrics.count, 0
        for one in completion.results:
            count(MATCHES, (version, one.rung or "none"))
            choices += len(one.answers)
        count(CHOICES, (version,), choices)
        if missed := {id(one) for one in completion.results if one.rung is None}:  # equal prompts have the same result
            count(MISSES, (version,), len(missed))

    def continued(self, version: Version, choices: int) -> None:
        """Count choices that will be sent next."""
        self.metrics.count(CHOICES, (version,), choices)

    def missed(self, version: Version) -> None:
        """Count a miss: the corpus has no answer."""
        self.metrics.count(MISSES, (version,))
