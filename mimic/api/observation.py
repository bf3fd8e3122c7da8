"""What is seen of the server from outside: an id for every request, metrics, and lines in the log."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from mimic.api.gauges import workers
from mimic.api.ids import client_id_of, new_id
from mimic.api.journal import CLIENT_LEFT, Journal, Record, has_left, is_recorded
from mimic.errors import StoreError
from mimic.journal import shortened
from mimic.server.http11.asgi import CUT, ENDED_WITH, hang_up
from mimic.settings import METRICS_FOLDER

log = structlog.get_logger("mimic")

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNKNOWN_ROUTE: Final = "unknown"
OPENAI_VERSION: Final = b"2020-10-01"
"""Of the API that /v1 is like: what OpenAI's own answers say."""

SECONDS_BETWEEN_LOOKS: Final = 1.0
"""At what is in flight, where other processes are to know: nothing is written for a request."""

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

    @cache  # noqa: B019 - there is one for the process  # finding a series by its labels takes longer than counting
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
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


class Observation:
    """One request, seen from outside: what the headers of its answer say, and how it ended.

    ``state["fault"]`` is the fault on purpose that befell it, if any; ``state["headers"]`` are headers that its answer
    has, whatever the answer is.
    """

    __slots__ = ("_ended", "_record", "_scope", "_send", "_started", "_state", "_status", "_watcher")

    def __init__(self, scope: HTTPScope, send: Send, watcher: "Observed") -> None:
        self._scope = scope
        self._send = send
        self._watcher = watcher
        self._started = time.perf_counter()
        self._status = 0
        self._ended = False
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._state.update(request_id=new_id(), headers={}, observation=self)
        journal = watcher.journal if is_recorded(scope) else None
        self._record = Record(journal, scope, self._state) if journal else None

    async def send(self, message: Message) -> None:
        """Send a part of the answer. The last one is counted before it is sent, since who has it may ask at once."""
        if message["type"] == "http.response.start":
            self._begin(message)
        elif not message.get("more_body", False):
            self.end()
        await self._send(message)

    def end(self, *, client_left: bool = False) -> None:
        """The request is over; what happens later does not count."""
        if self._ended:
            return
        self._ended = True
        seconds = time.perf_counter() - self._started
        route = self._watcher.route_of(self._scope)
        metrics = self._watcher.metrics
        version = self._state.get("version", "")
        status = self._state.get(ENDED_WITH) or self._status or (CLIENT_LEFT if client_left else 0)
        requests, latencies = metrics.of_route(self._scope["method"], route, status, version)
        requests.inc()
        latencies.observe(seconds)
        fault = self._state.get("fault")
        if fault:
            metrics.faults.labels(fault.kind).inc()
        if self._record:
            self._record.end(route, seconds, client_left=client_left)
        has_failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR and not fault
        if has_failed or self._watcher.logs_requests:
            self._log(route, status, seconds, has_failed=has_failed, client_left=client_left)

    def _log(self, route: str, status: int, seconds: float, *, has_failed: bool, client_left: bool) -> None:
        """A line about the request: neither what was said, nor a key, nor a query, in which either may be."""
        scope, fault = self._scope, self._state.get("fault")
        facts = {
            "client_request_id": client_id_of(scope),
            "path": shortened(scope.get("raw_path", b"").decode("ascii", "backslashreplace")),
            "fault": fault and str(fault),
            "client_left": client_left or has_left(status, fault) or None,
        }
        (log.error if has_failed else log.info)(
            "request",
            request_id=self._state["request_id"],
            method=scope["method"],
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            **{name: value for name, value in facts.items() if value and value != route},
        )

    def _begin(self, message: HTTPResponseStartEvent) -> None:
        seconds = time.perf_counter() - self._started
        self._status = message["status"]
        if self._record:
            self._record.begin(message, seconds)
        headers = [*message["headers"], (b"x-request-id", self._state["request_id"].encode())]
        headers += self._state["headers"].items()
        if self._scope["path"].startswith("/v1/"):
            milliseconds = round(seconds * 1000)
            headers += [(b"openai-version", OPENAI_VERSION), (b"openai-processing-ms", b"%d" % milliseconds)]
        if fault := self._state.get("fault"):
            headers.append((b"x-mimic-fault", str(fault).encode()))
        message["headers"] = headers


def _store_error(exc: BaseException | None) -> StoreError | None:
    """The error of the store that something else, or a group by a task group, was made of."""
    while not isinstance(exc, StoreError | None):
        exc = exc.exceptions[0] if isinstance(exc, BaseExceptionGroup) else exc.__cause__
    return exc


class Observed:
    """The application, observed: ASGI in, ASGI out."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        route_of: Callable[[Scope], str],
        journal: Journal | None = None,
        *,
        logs_requests: bool = False,
    ) -> None:
        self._app = app
        self.metrics = metrics
        self.route_of = route_of
        self.journal = journal
        self.logs_requests = logs_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        observation = Observation(scope, send, self)
        self.metrics.in_flight += 1
        try:
            await self._app(scope, receive, observation.send)
        except Exception as exc:
            failure = _store_error(exc)
            if failure is None or CUT not in (scope.get("extensions") or {}):
                raise
            # In the middle of an answer, which is not to look as if it had come to its end.
            scope["state"][ENDED_WITH] = int(HTTPStatus.SERVICE_UNAVAILABLE)  # as if it had failed a moment earlier
            log.error("store failed in an answer", request_id=scope["state"]["request_id"], error=str(failure))  # noqa: TRY400 - no bug
            await hang_up(scope, receive)
        finally:
            self.metrics.in_flight -= 1
            observation.end(client_left=True)  # whose answer has no last part: nobody was there to take it
            del scope["state"]["observation"]  # else all of the request waits for the garbage collector
