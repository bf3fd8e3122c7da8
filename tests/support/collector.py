"""A receiver of OpenTelemetry's protocol: a collector that keeps the spans."""

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx
import msgspec
import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status


class ReceivedSpan(msgspec.Struct, frozen=True):
    """A span, with the attributes of its process."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    seconds: float
    failed: bool
    events: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class SpanReceiver:
    """A collector: it receives spans over HTTP."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        received = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                received.extend(_spans(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def request(self, answer: httpx.Response) -> ReceivedSpan:
        """The span of a request."""
        return self.wait(lambda span: span.attributes.get("mimic.request_id") == answer.headers["x-request-id"])

    def wait(self, wanted: Callable[[ReceivedSpan], bool]) -> ReceivedSpan:
        """The only matching span, once it has arrived."""
        until = time.monotonic() + 20
        while not (found := [span for span in list(self.spans) if wanted(span)]):
            assert time.monotonic() < until, [span.name for span in self.spans]
            time.sleep(0.05)
        [one] = found
        return one

    def below(self, span: ReceivedSpan) -> list[ReceivedSpan]:
        """The children of a span, which end before it and arrive before it."""
        return [one for one in self.spans if one.parent == span.id and one.trace == span.trace]


def _spans(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    return [
        ReceivedSpan(
            span.name,
            span.kind,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            span.status.code == Status.STATUS_CODE_ERROR,
            len(span.events),
            _plain(span.attributes),
            _plain(of_resource.resource.attributes),
        )
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def traced(receiver: SpanReceiver, **settings: str) -> dict[str, str]:
    """The environment of a traced server."""
    standard = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    return {"MIMIC_TRACES": "on", **standard, **settings}
