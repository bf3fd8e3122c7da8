"""Prometheus metrics of this process, and of all worker processes together."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from mimic.server.observability import METRICS_FOLDER
from mimic.server.observability.gauges import workers

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SECONDS_BETWEEN_CHECKS: Final = 1.0
"""Between two looks at what is in flight, where other processes are to know: nothing is written for a request."""

disable_created_metrics()  # type: ignore[no-untyped-call] # a time stamp for every series, that nobody reads


class Metrics:
    """Prometheus metrics. With PROMETHEUS_MULTIPROC_DIR set, those of all worker processes together."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "mimic_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "mimic_request_seconds",
            "Seconds until the last byte of an answer was sent.",
            ("route", "version"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.choices = Counter("mimic_choices_returned", "Choices returned.", ("version",), registry=self._registry)
        self.matches = Counter(
            "mimic_matches", "Prompts answered, by rung.", ("version", "rung"), registry=self._registry
        )
        self.misses = Counter(
            "mimic_completion_misses", "Completions that found nothing.", ("version",), registry=self._registry
        )
        self.faults = Counter("mimic_faults", "Faults on purpose.", ("kind",), registry=self._registry)
        self.in_flight = 0
        self._in_flight = Gauge(
            "mimic_requests_in_flight",
            "Requests that wait for their answer or get it, but for the one that asks.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    @cache  # noqa: B019
    def of_route(self, method: str, route: str, status: int, version: str) -> tuple[Counter, Histogram]:
        """The series that a request counts in."""
        return self.requests.labels(method, route, status), self.seconds.labels(route, version)

    @cache  # noqa: B019
    def choices_of(self, version: str) -> Counter:
        """The choices of a version."""
        return self.choices.labels(version)

    @cache  # noqa: B019
    def matches_of(self, version: str, rung: str) -> Counter:
        """The prompts that were answered by a version on a rung."""
        return self.matches.labels(version, rung)

    def text(self) -> bytes:
        """Everything in Prometheus' text format, for a request that asks for it."""
        registry = self._registry
        self._in_flight.set(self.in_flight - 1)
        if METRICS_FOLDER in os.environ:
            list(workers())  # what is of dead ones is left out
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    @asynccontextmanager
    async def shared(self) -> AsyncGenerator[None]:
        """Let other processes know what is in flight in this one."""
        if METRICS_FOLDER not in os.environ:
            yield
            return
        telling = asyncio.create_task(self._tell())
        try:
            yield
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling

    async def _tell(self) -> None:
        while True:
            self._in_flight.set(self.in_flight)
            await asyncio.sleep(SECONDS_BETWEEN_CHECKS)
