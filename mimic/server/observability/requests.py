"""Requests as they are seen from outside: an id for each, metrics, the journal, and lines in the log."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send, WebSocketScope

from mimic.corpus.schemas import Version
from mimic.engine.base import Completion
from mimic.engine.overrides import FAULT_HEADER
from mimic.errors import StoreError
from mimic.gateway.context import RequestContext
from mimic.gateway.faults import Fault
from mimic.gateway.journal import Entry, Journal, shortened
from mimic.gateway.ledger import Changes
from mimic.server.http11.asgi import CUT, HTTP, RECORD, cut, outcome_of, record_outcome
from mimic.server.observability.metrics import CHOICES, FAULTS, MATCHES, MISSES, REQUESTS, Metrics
from mimic.server.request_ids import client_id_of, new_id

log = structlog.get_logger("mimic")

UNKNOWN_ROUTE: Final = "unknown"
OPENAI_PREFIX: Final = "/v1/"
OPENAI_VERSION: Final = b"2020-10-01"
"""Of the API that /v1 is like: what OpenAI's own answers say."""
CLIENT_LEFT: Final = 499
FORBIDDEN: Final = 403
SERVER_ERROR: Final = 500
MOST_IGNORED: Final = 100
"""Names of ignored fields that a process logs; clients choose those of content parts."""
SWITCHING: Final = 101
"""The status of a WebSocket that was opened."""


class RequestRecord:
    """One request, seen from outside: its id, what the headers of its answer say, and how it ended.

    ``context`` is that of the gateway, for a request that is answered there.
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

    def __init__(self, scope: HTTPScope | WebSocketScope, send: Send, watcher: "RequestLog") -> None:
        self._scope = scope
        self._method = scope["method"] if scope["type"] == HTTP else "GET"  # as its handshake had
        self._send = send
        self._watcher = watcher
        self._started = time.perf_counter()
        self._status = 0
        self._number = 0
        self.has_ended = False
        self.request_id = new_id()
        self.context: RequestContext | None = None
        self._journal = watcher.journal if watcher.journal is not None and is_recorded(scope) else None
        self._entry = None if self._journal is None else self._first_entry()
        self.is_recorded = self._journal is not None

    def _first_entry(self) -> Entry:
        path = shortened(self._scope["path"]) or ""
        # Which route it is nobody knows yet; most have no parameters.
        return Entry(id=self.request_id, at=datetime.now(UTC), method=self._method, path=path, route=path)

    def record(self, changes: Changes) -> None:
        """Put the request into the journal, which has it from now on."""
        if self._journal and self._entry:
            self._number = self._journal.open(changes, self._entry)

    def unrecord(self) -> None:
        """Forget that the journal has it: the transaction failed."""
        self._number = 0

    def completed(self, version: Version, completion: Completion) -> None:
        """Count the answers to each prompt, and once those that no corpus gave."""
        count, choices = self._watcher.metrics.count, 0
        for one in completion.results:
            count(MATCHES, (version, one.rung or "none"))
            choices += len(one.answers)
        count(CHOICES, (version,), choices)
        if missed := {id(one) for one in completion.results if one.rung is None}:  # equal prompts have the same result
            count(MISSES, (version,), len(missed))

    def continued(self, version: Version, choices: int) -> None:
        """Count choices that are about to be sent."""
        self._watcher.metrics.count(CHOICES, (version,), choices)

    def missed(self, version: Version) -> None:
        """Count a request that the corpus has no answer to."""
        self._watcher.metrics.count(MISSES, (version,))

    def ignored(self, fields: Sequence[str]) -> None:
        """Log each of the fields, once a process."""
        known = self._watcher.ignored_fields
        for field in fields:
            if field not in known and len(known) < MOST_IGNORED:
                known.add(field)
                log.info("field ignored", field=field, hint="x-mimic-ignored names it; MIMIC_STRICT=on refuses it")

    def crash(self) -> None:
        """Note that the application failed: a handshake that was not accepted yet is answered with a 500."""
        if self._scope["type"] == ScopeType.WEBSOCKET:
            self._status = self._status or SERVER_ERROR

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the answer. The last one is counted before it is sent, since who has it may ask at once.

        Without a coroutine of its own, which every part would pay for.
        """
        if message["type"] == "http.response.body" or message["type"] == "websocket.http.response.body":
            if not self.has_ended and not message.get("more_body", False):
                self.close()
        elif message["type"] == "http.response.start" or message["type"] == "websocket.http.response.start":
            self._begin(message, message["status"])
        elif message["type"] == "websocket.accept":
            self._begin(message, SWITCHING)
            self._record_now()
        elif message["type"] == "websocket.close":
            self._status = self._status or FORBIDDEN  # as the server answers a handshake that is not accepted
            self.close()
        return self._send(message)

    def _record_now(self) -> None:
        """Put a WebSocket into the journal when it opens, since it may stay open for long."""
        if self._journal and self._entry:
            try:
                self._number = self._journal.open_now(self._entry)
            except StoreError as exc:
                log.warning("a request is not in the journal", request_id=self.request_id, cause=repr(exc.__cause__))

    def close(self, *, client_left: bool = False) -> None:
        """End the record; what happens later does not count."""
        if self.has_ended:
            return
        self.has_ended = True
        seconds = time.perf_counter() - self._started
        watcher, context = self._watcher, self.context
        metrics = watcher.metrics
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
        """The fault that the request got, if any."""
        return self.context.injected if self.context else None

    def _close_entry(self, journal: Journal, entry: Entry, route: str, seconds: float, *, client_left: bool) -> None:
        context, fault, outcome = self.context, self.fault, outcome_of(self._scope)
        usage = context.usage if context else None
        ended = msgspec.structs.replace(
            entry,
            route=route,
            model=shortened(context.known.model) if context else None,
            version=context.known.version if context else None,
            prompt_tokens=usage and usage.prompt_tokens,
            completion_tokens=usage and usage.completion_tokens,
            last_byte_ms=round(seconds * 1000, 1),
            fault=fault and str(fault),
            status=outcome or entry.status,
            client_left=not outcome and (client_left or _has_left(entry.status, fault)),
        )
        try:
            journal.close(self._number, ended)
        except StoreError as exc:
            problem = "how a request ended is not in the journal" if self._number else "a request is not in the journal"
            log.warning(problem, request_id=self.request_id, cause=repr(exc.__cause__))

    def _log(self, route: str, status: int, seconds: float, *, has_failed: bool, client_left: bool) -> None:
        """A line about the request: neither what was said, nor a key, nor a query, in which either may be."""
        scope, fault = self._scope, self.fault
        facts = {
            "client_request_id": client_id_of(scope),
            "path": shortened(scope.get("raw_path", b"").decode("ascii", "backslashreplace")),
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

    def _begin(self, message: Any, status: int) -> None:
        seconds = time.perf_counter() - self._started
        self._status = status
        if self._entry:
            self._entry = _begun(self._entry, status, dict(message.get("headers", ())), seconds)
        headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode())]
        context = self.context
        if context and context.headers:
            headers += [(name.encode(), value.encode()) for name, value in context.headers.items()]
        if self._scope["path"].startswith(OPENAI_PREFIX):
            milliseconds = round(seconds * 1000)
            headers += [(b"openai-version", OPENAI_VERSION), (b"openai-processing-ms", b"%d" % milliseconds)]
        if context and context.injected:
            headers.append((FAULT_HEADER.encode(), str(context.injected).encode()))
        message["headers"] = headers


def record_of(scope: Scope) -> RequestRecord:
    """The record of a request, where the application is watched by a :class:`RequestLog`."""
    record: RequestRecord = scope["state"][RECORD]
    return record


def is_recorded(scope: HTTPScope | WebSocketScope) -> bool:
    """Whether a request is for the journal: what clients ask, not what watches the server."""
    if scope["path"].startswith(OPENAI_PREFIX) or scope["type"] == ScopeType.WEBSOCKET:
        return True
    return scope["method"] == "POST"


class RequestLog:
    """The application, and a record of each of its requests: ASGI in, ASGI out."""

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
        if kind == "lifespan":  # which Litestar does not count among scopes
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
            # In the middle of an answer, which is not to look as if it had come to its end.
            record_outcome(scope, HTTPStatus.SERVICE_UNAVAILABLE)  # as if it had failed a moment earlier
            log.error("store failed in an answer", request_id=record.request_id, error=str(failure))  # noqa: TRY400 - no bug
            record.close()  # before the client can notice, and ask what was seen of it
            await cut(scope, receive)
        finally:
            self.metrics.in_flight -= 1
            if not record.has_ended:
                # An answer without a last part had nobody there to take it; a WebSocket ends by its client's leave.
                record.close(client_left=scope["type"] == HTTP)
            del state[RECORD]  # else all of the request waits for the garbage collector
            record.context = None


def _begun(entry: Entry, status: int, headers: Mapping[bytes, bytes], seconds: float) -> Entry:
    """The entry of a request whose answer begins."""
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
    return None if value is None else shortened(value.decode("latin-1"))


def _has_left(status: int | None, fault: Fault | None) -> bool:
    """Whether a request ended since its client left: 499 may also be a status that was asked for."""
    return status == CLIENT_LEFT and not (fault and fault.kind == "status")


def _store_error(exc: BaseException | None) -> StoreError | None:
    """The error of the store that something else, or a group by a task group, was made of."""
    while not isinstance(exc, StoreError | None):
        exc = exc.exceptions[0] if isinstance(exc, BaseExceptionGroup) else exc.__cause__
    return exc
