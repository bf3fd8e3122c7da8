"""What is seen of the server from outside: an id for every request, and metrics."""

import os
import time
from collections.abc import Callable
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNKNOWN_ROUTE: Final = "unknown"
OPENAI_VERSION: Final = b"2020-10-01"
"""Of the API that /v1 is like: what OpenAI's own answers say."""

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

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class Observed:
    """The application, observed: ASGI in, ASGI out."""

    def __init__(self, app: ASGIApp, metrics: Metrics, route_of: Callable[[Scope], str]) -> None:
        self._app = app
        self._metrics = metrics
        self._route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = f"req_{os.urandom(12).hex()}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-request-id", request_id.encode())]
                if scope["path"].startswith("/v1/"):
                    milliseconds = round((time.perf_counter() - started) * 1000)
                    headers += [(b"openai-version", OPENAI_VERSION), (b"openai-processing-ms", b"%d" % milliseconds)]
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            route = self._route_of(scope)
            self._metrics.requests.labels(scope["method"], route, status).inc()
            self._metrics.seconds.labels(route, state.get("version", "")).observe(seconds)
