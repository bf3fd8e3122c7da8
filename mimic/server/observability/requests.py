"""Observation of requests: an id for each, metrics, the journal, and the log."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send, WebSocketScope

from mimic.engine.overrides import FAULT_HEADER
from mimic.errors import StoreError
from mimic.gateway.context import RequestContext
from mimic.gateway.faults import Fault
from mimic.gateway.journal import MOST_NAMES, Entry, Journal, shorten
from mimic.gateway.ledger import Changes
from mimic.server.http11.asgi import CUT, HTTP, RECORD, cut, outcome_of, record_outcome
from mimic.server.observability.metrics import FAULTS, REQUESTS, AnswerCounts, Metrics
from mimic.server.request_ids import client_id_of, new_id

log = structlog.get_logger("mimic")

UNKNOWN_ROUTE: Final = "unknown"
OPENAI_PREFIX: Final = "/v1/"
OPENAI_VERSION: Final = b"2020-10-01"
"""The version of OpenAI's API, in the header ``openai-version``."""
CLIENT_LEFT: Final = 499
FORBIDDEN: Final = 403
SERVER_ERROR: Final = 500
MOST_IGNORED: Final = 100
"""Names of ignored fields that a process logs; clients choose those of content parts."""
SWITCHING: Final = 101
"""The status of a WebSocket that was opened."""
HANDSHAKE: Final = "GET"
"""The method of a request that opens a WebSocket."""
MESSAGE: Final = "WEBSOCKET"
"""The method in metrics, journal and log of a request that is a message on an open WebSocket."""


class RequestRecord(AnswerCounts):
    """The record of one request: its id, the headers of its answer, and its outcome.

    ``context`` is the context in the gateway, for a request to an endpoint.
    """

    __slots__ = (
        "_entry",
        "_journal",
        "_method",
        "_number",
        "_scope",
        "_send",
        "_started",
        "_status",
        "_watcher",
        "context",
        "has_ended",
        "is_recorded",
        "request_id",
    )

    def __init__(
        self, scope: HTTPScope | WebSocketScope, send: Send, watcher: "RequestLog", method: str = HANDSHAKE
    ) -> None:
        self._scope = scope
        self._method = scope["method"] if scope["type"] == HTTP else method
        self._send = send
        self._watcher = watcher
        self.metrics = watcher.metrics
        self._started = time.perf_counter()
        self._status = 0
        self._number = 0
        self.has_ended = False
        self.request_id = new_id()
        self.context: RequestContext | None = None
        self._journal = watcher.journal if watcher.journal is not None and is_recorded(scope) else None
        self._entry = None if self._journal is None else self._first_entry()
        self.is_recorded = self._journal is not None

    def of_message(self) -> "RequestRecord":
        """Return the record of a request that came as a message on this WebSocket."""
        return RequestRecord(self._scope, self._send, self._watcher, MESSAGE)

    def _first_entry(self) -> Entry:
        path = shorten(self._scope["path"]) or ""
        # The route is not known yet. For most requests it is equal to the path.
        return Entry(id=self.request_id, at=datetime.now(UTC), method=self._method, path=path, route=path)

    def record(self, changes: Changes) -> None:
        """Add the request to the journal."""
        if self._journal and self._entry:
            self._number = self._journal.open(changes, self._entry)

    def unrecord(self) -> None:
        """Undo :meth:`record`, since its transaction failed."""
        self._number = 0

    def ignored(self, fields: Sequence[str]) -> None:
        """Log each of the fields, once a process."""
        known = self._watcher.ignored_fields
        for field in fields:
            if field not in known and len(known) < MOST_IGNORED:
                known.add(field)
                log.info("field ignored", field=field, hint="x-mimic-ignored names it; MIMIC_STRICT=on refuses it")

    def crash(self) -> None:
        """Record a failure of the application: the server answers a pending handshake with a 500."""
        if self._scope["type"] == ScopeType.WEBSOCKET:
            self._status = self._status or SERVER_ERROR

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the answer. Count the last part before it is sent: the client may read metrics right after.

        Return the awaitable of the server: a coroutine here would cost time for every part.
        """
        if message["type"] == "http.response.body" or message["type"] == "websocket.http.response.body":
            if not self.has_ended and not message.get("more_body", False):
                self.close()
        elif message["type"] == "http.response.start" or message["type"] == "websocket.http.response.start":
            message["headers"] = self.begin(message["status"], message.get("headers", ()))
        elif message["type"] == "websocket.accept":
            message["headers"] = self.begin(SWITCHING, message.get("headers", ()))
            self._record_now()
        elif message["type"] == "websocket.close":
            self._status = self._status or FORBIDDEN  # the server's answer to a rejected handshake
            self.close()
        return self._send(message)

    def _record_now(self) -> None:
        """Add a WebSocket to the journal when it opens, since it may stay open for long."""
        if self._journal and self._entry:
            try:
                self._number = self._journal.open_now(self._entry)
            except StoreError as exc:
                log.warning("a request is not in the journal", request_id=self.request_id, cause=repr(exc.__cause__))

    def close(self, *, client_left: bool = False) -> None:
        """End the record and count the request, once. Later calls do nothing."""
        if self.has_ended:
            return
        self.has_ended = True
        seconds = time.perf_counter() - self._started
        watcher, context = self._watcher, self.context
        metrics = self.metrics
        route = watcher.route_of(self._scope)
        status = outcome_of(self._scope) or self._status or (CLIENT_LEFT if client_left else 0)
        version = context.known.version if context else None
        metrics.count(REQUESTS, (self._method, route, status))
        metrics.observe((route, version or ""), seconds)
        fault = context.injected if context else None
        if fault:
            metrics.count(FAULTS, (fault.kind,))
        if self._journal and self._entry:
            self._close_entry(self._journal, self._entry, route, seconds, client_left=client_left)
        has_failed = status >= SERVER_ERROR and not fault
        if has_failed or watcher.logs_requests:
            self._log(route, status, seconds, has_failed=has_failed, client_left=client_left)

    @property
    def fault(self) -> Fault | None:
        """The injected fault of the request, if any."""
        return self.context.injected if self.context else None

    def _close_entry(self, journal: Journal, entry: Entry, route: str, seconds: float, *, client_left: bool) -> None:
        context, fault, outcome = self.context, self.fault, outcome_of(self._scope)
        usage = context.usage if context else None
        ended = msgspec.structs.replace(
            entry,
            route=route,
            model=shorten(context.known.model) if context else None,
            version=context.known.version if context else None,
            prompt_tokens=usage and usage.prompt_tokens,
            completion_tokens=usage and usage.completion_tokens,
            tool_calls=[shorten(name) or "" for name in context.tool_calls[:MOST_NAMES]] if context else (),
            last_byte_ms=round(seconds * 1000, 1),
            fault=fault and str(fault),
            status=outcome or entry.status,
            client_left=not outcome and (client_left or _has_left(entry.status, fault)),
        )
        try:
            journal.close(self._number, ended)
        except StoreError as exc:
            problem = (
                "the end of a request is not in the journal" if self._number else "a request is not in the journal"
            )
            log.warning(problem, request_id=self.request_id, cause=repr(exc.__cause__))

    def _log(self, route: str, status: int, seconds: float, *, has_failed: bool, client_left: bool) -> None:
        """Log the request, without its messages, its key and its query, which may contain a key."""
        scope, fault = self._scope, self.fault
        facts = {
            "client_request_id": client_id_of(scope),
            "path": shorten(scope.get("raw_path", b"").decode("ascii", "backslashreplace")),
            "fault": fault and str(fault),
            "client_left": client_left or _has_left(status, fault) or None,
        }
        (log.error if has_failed else log.info)(
            "request",
            request_id=self.request_id,
            method=self._method,
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            **{name: value for name, value in facts.items() if value and value != route},
        )

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Record the start of an answer. Returns its headers with those that each answer has."""
        seconds = time.perf_counter() - self._started
        self._status = status
        if self._entry:
            self._entry = _start_entry(self._entry, status, dict(headers), seconds)
        headers = [*headers, (b"x-request-id", self.request_id.encode())]
        context = self.context
        if context and context.headers:
            headers += [(name.encode(), value.encode()) for name, value in context.headers.items()]
        if self._scope["path"].startswith(OPENAI_PREFIX):
            milliseconds = round(seconds * 1000)
            headers += [(b"openai-version", OPENAI_VERSION), (b"openai-processing-ms", b"%d" % milliseconds)]
        if context and context.injected:
            headers.append((FAULT_HEADER.encode(), str(context.injected).encode()))
        return headers


def record_of(scope: Scope) -> RequestRecord:
    """Return the record of a request in an application with a :class:`RequestLog`."""
    record: RequestRecord = scope["state"][RECORD]
    return record


def is_recorded(scope: HTTPScope | WebSocketScope) -> bool:
    """Return True if a request belongs in the journal: requests of clients, not of monitoring."""
    if scope["path"].startswith(OPENAI_PREFIX) or scope["type"] == ScopeType.WEBSOCKET:
        return True
    return scope["method"] == "POST"


class RequestLog:
    """ASGI middleware that keeps a record of each request."""

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
        self.ignored_fields: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind == "lifespan":  # missing in Litestar's type of scopes
            await self._app(scope, receive, send)
            return
        record = RequestRecord(scope, send, self)
        state: dict[str, Any] = scope.setdefault("state", {})
        state[RECORD] = record
        self.metrics.in_flight += 1
        try:
            await self._app(scope, receive, record.send)
        except Exception as exc:
            failure = _store_error(exc)
            if failure is None or CUT not in (scope.get("extensions") or {}):
                record.crash()
                raise
            # The answer has begun: cut it, so that it does not look complete.
            record_outcome(scope, HTTPStatus.SERVICE_UNAVAILABLE)  # the status of an earlier failure
            log.error("store failed in an answer", request_id=record.request_id, error=str(failure))  # noqa: TRY400 - no bug
            record.close()  # before the client can notice, and read the journal
            await cut(scope, receive)
        finally:
            self.metrics.in_flight -= 1
            if not record.has_ended:
                # An answer without a last part means that the client left. A WebSocket may end without a last part.
                record.close(client_left=scope["type"] == HTTP)
            del state[RECORD]  # breaks a reference cycle, which would keep the request until garbage collection
            record.context = None


def _start_entry(entry: Entry, status: int, headers: Mapping[bytes, bytes], seconds: float) -> Entry:
    """Return the entry of a request at the start of its answer."""
    return msgspec.structs.replace(
        entry,
        status=status,
        match=_header(headers, b"x-mimic-match"),
        source=_header(headers, b"x-mimic-source"),
        score=_header(headers, b"x-mimic-score"),
        streamed=headers.get(b"content-type", b"").startswith(b"text/event-stream"),
        first_byte_ms=round(seconds * 1000, 1),
    )


def _header(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else shorten(value.decode("latin-1"))


def _has_left(status: int | None, fault: Fault | None) -> bool:
    """Return True if a request ended because its client left. A status of 499 may also be an injected fault."""
    return status == CLIENT_LEFT and not (fault and fault.kind == "status")


def _store_error(exc: BaseException | None) -> StoreError | None:
    """Return the store's error among the causes of an exception or in its group, if any."""
    while not isinstance(exc, StoreError | None):
        exc = exc.exceptions[0] if isinstance(exc, BaseExceptionGroup) else exc.__cause__
    return exc
