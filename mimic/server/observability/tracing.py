"""OpenTelemetry traces: a span for each request, with child spans for its match, store and upstream.

Imported only with ``MIMIC_TRACES`` on, since its dependencies are optional. Names follow OpenTelemetry's semantic
conventions for HTTP, databases and generative models. Spans contain neither messages nor queries.
"""

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mimic import __version__
from mimic.corpus.corpus import Corpus
from mimic.corpus.manifest import Seeded, Seeding
from mimic.corpus.schemas import Document, Lookup, Version
from mimic.corpus.stores.base import Batches, Replacement, Store
from mimic.engine.base import Answers, CompletionRequest, Continuations, ContinuationsRequest, Prompt, Usage
from mimic.engine.retrieval import RetrievalEngine
from mimic.errors import MimicError, StoreError
from mimic.recordings.calls import UpstreamCall
from mimic.server.observability.requests import record_of
from mimic.server.request_ids import client_id_of

T = TypeVar("T")

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY"})
OTHER: Final = "_OTHER"
CLIENT_ERROR: Final = 400
SERVER_ERROR: Final = 500
TRACEPARENT: Final = "traceparent"
_OF_ANSWERS: Final = {b"x-mimic-match": "mimic.match", b"x-mimic-score": "mimic.score"}


class Tracing:
    """Spans of this process, sent in batches by a separate thread. An async context manager, which sends the rest.

    OpenTelemetry's variables, ``OTEL_...``, set the destination and the share of requests.
    """

    def __init__(self, route_of: Callable[[Scope], str], unknown_route: str) -> None:
        process: dict[str, str | int] = {"service.instance.id": str(uuid.uuid4()), "process.pid": os.getpid()}
        resource = Resource.create({"service.name": "mimic", "service.version": __version__, **process})
        resource = resource.merge(OTELResourceDetector().detect())  # the operator's values override ours
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("mimic", __version__)
        self._route_of = route_of
        self._unknown_route = unknown_route

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._provider.shutdown)

    @contextmanager
    def span(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, str] | None = None
    ) -> Iterator[Span]:
        """Open a child span. It fails if the store fails; a miss is no failure."""
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except MimicError as exc:
                if isinstance(exc, StoreError):  # its text would show paths and hosts
                    _fail(span, type(exc).__name__)
                raise

    def call(self, url: str, model: str) -> "TracedCall":
        """Begin the span of a call of the upstream."""
        operation = "text_completion" if url.endswith("/v1/completions") else "chat"
        about = {**_url_attributes(url), **_model_attributes(operation, model)}
        return TracedCall(self._tracer.start_span(f"{operation} {model}", kind=SpanKind.CLIENT, attributes=about))

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Return an application with a span for each request, up to the last byte of the answer."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            # Join the values of a repeated header (RFC 9110, 5.3).
            carrier: dict[str, str] = {}
            for name, value in scope["headers"]:
                key, text = name.decode("latin-1"), value.decode("latin-1")
                carrier[key] = f"{carrier[key]},{text}" if key in carrier else text
            method = scope["method"] if scope["method"] in METHODS else OTHER
            with self._tracer.start_as_current_span(
                _method_name(method),
                propagate.extract(carrier),
                SpanKind.SERVER,
                _request_attributes(scope, method, carrier),
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    await app(scope, receive, _record_answer(span, send) if span.is_recording() else send)
                finally:
                    self._record_route(span, scope, method)

        return traced

    def _record_route(self, span: Span, scope: HTTPScope, method: str) -> None:
        route, record = self._route_of(scope), record_of(scope)
        if route != self._unknown_route:
            span.update_name(f"{_method_name(method)} {route}")
            span.set_attribute("http.route", route)
        if record.context is None:
            return
        known = record.context.known
        for name, value in (("version", known.version), ("model", known.model), ("fault", record.fault)):
            if value:
                span.set_attribute(f"mimic.{name}", str(value))


class TracedCall(UpstreamCall):
    """A call of the upstream with a span, up to the last byte of its answer."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def headers(self) -> Mapping[str, str]:
        """The ``traceparent`` alone: a client's ``tracestate`` and ``baggage`` are not for the upstream."""
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, set_span_in_context(self._span))
        return {name: value for name, value in carrier.items() if name == TRACEPARENT}

    def answered(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= CLIENT_ERROR:
            _fail(self._span, str(status))

    def used(self, usage: Usage) -> None:
        self._span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
        self._span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)

    def failed(self, cause: str) -> None:
        _fail(self._span, cause)

    def end(self) -> None:
        self._span.end()


def _url_attributes(url: str) -> dict[str, str | int]:
    """The attributes of the URL of an upstream, which has neither a query nor credentials."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    server: dict[str, str | int] = {"server.address": parts.hostname or "", "server.port": port}
    return {"http.request.method": "POST", "url.full": url, **server}


def _model_attributes(operation: str, model: str) -> dict[str, str]:
    """The attributes of a generation: its kind, the format of the service, and the model."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
    }


def _method_name(method: str) -> str:
    return "HTTP" if method == OTHER else method


def _request_attributes(scope: HTTPScope, method: str, headers: Mapping[str, str]) -> dict[str, str | int]:
    """Return the attributes of a request that are known at its start."""
    address, port = scope.get("server") or (None, None)
    client, _ = scope.get("client") or (None, None)
    known = {
        "http.request.method": method,
        "http.request.method_original": scope["method"] if method == OTHER else None,
        "url.scheme": scope["scheme"],
        "url.path": scope.get("raw_path", b"").decode("ascii", "backslashreplace"),
        "network.protocol.version": scope["http_version"],
        "server.address": address,
        "server.port": port,
        "client.address": client,
        "user_agent.original": headers.get("user-agent"),
        "mimic.request_id": record_of(scope).request_id,
        "mimic.client_request_id": client_id_of(scope),
    }
    return {name: value for name, value in known.items() if value is not None}


def _record_answer(span: Span, send: Send) -> Send:
    async def record_and_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set_attribute("http.response.status_code", status)
            if status >= SERVER_ERROR:
                _fail(span, str(status))
            for name, value in message["headers"]:
                if attribute := _OF_ANSWERS.get(name):
                    span.set_attribute(attribute, value.decode("latin-1"))
        await send(message)

    return record_and_send


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


class TracedEngine(RetrievalEngine):
    """The engine that answers from the corpus, with a span for each match."""

    def __init__(self, corpus: Corpus, tracing: Tracing) -> None:
        super().__init__(corpus)
        self._tracing = tracing

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        with self._tracing.span("match"):
            return await super().answer(prompt, request)

    async def continuations(self, request: ContinuationsRequest) -> Continuations:
        if request.policy is None:  # an exact lookup without a match
            return await super().continuations(request)
        with self._tracing.span("match"):
            return await super().continuations(request)


class TracedStore(Store):
    """A store with a span for each read. The span of a long answer ends with its first batch."""

    def __init__(self, store: Store, tracing: Tracing, url: str) -> None:
        self._store = store
        self._tracing = tracing
        scheme, separator, rest = url.partition("://")
        self._system = "mongodb" if separator and scheme != "sqlite" else "sqlite"
        self._name = Path((rest if separator else url).partition("?")[0]).name

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._store.__aexit__(exc_type, exc, traceback)

    async def seeded(self) -> Mapping[Version, Seeded]:
        with self._span("seeded"):
            return await self._store.seeded()

    async def check(self) -> None:
        with self._span("check"):
            await self._store.check()

    async def find(self, lookup: Lookup, limit: int | None = None) -> Batches[Document]:
        with self._span("find", lookup.version) as span:
            found = await self._store.find(lookup, limit)
            span.set_attribute("db.response.returned_rows", len(found.first))
            return found

    async def documents(self, version: Version, positions: Sequence[int]) -> Sequence[Document]:
        with self._span("documents", version) as span:
            found = await self._store.documents(version, positions)
            span.set_attribute("db.response.returned_rows", len(found))
            return found

    def attached(self, name: str) -> AbstractAsyncContextManager[Path]:
        return self._store.attached(name)

    async def seeding(self) -> Seeding | None:
        with self._span("seeding"):
            return await self._store.seeding()

    async def _claim(self, seeding: Seeding) -> Replacement:
        return await self._store._claim(seeding)  # noqa: SLF001 - it wraps this store

    def _span(self, operation: str, version: str = "") -> AbstractContextManager[Span]:
        about = {"db.system.name": self._system, "db.namespace": self._name, "db.operation.name": operation}
        if version:
            about["db.collection.name"] = version
        return self._tracing.span(f"{operation} {version or self._name}", SpanKind.CLIENT, about)
