"""Uvicorn's HTTP protocol, extended. The only file that uses private names of uvicorn.

``tests/unit/server/test_http11.py`` lists these names, and detects changes by a new version of uvicorn.
"""

import asyncio
import socket
from collections.abc import Callable, Collection, Sized
from typing import Any, Final, NoReturn

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mimic.server.http11 import deadlines, limits, refusals
from mimic.server.http11.asgi import CUT, record_outcome, request_id_of
from mimic.server.http11.deadlines import Deadline, ExchangeProgress, SlowClientMonitor
from mimic.server.http11.lingering import Lingering, LingeringConnections
from mimic.server.http11.refusals import Refusal
from mimic.server.http11.upgrade import (
    FinalBody,
    HandshakeTransport,
    OpenWebSocket,
    framing_of,
    is_websocket_handshake,
    path_of,
)

SECONDS_TO_END: Final = 0.5
"""Timeout at shutdown for a request on an open connection, or for the rest of a request that was answered."""
_OLD_VERSIONS: Final = frozenset({"0.9", "1.0"})


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's protocol for a connection, with additions.

    - Limits: uvicorn waits forever for the rest of a request and for a client that does not read, and httptools accepts
      heads of any size.
    - Cutting: uvicorn logs an answer that ends in the middle as a bug, and ASGI has no other way to cut an answer.
    - WebSockets on the paths of ``websocket_paths`` only. On all other paths an ``Upgrade`` is ignored.
    - Graceful close of a connection and of the server: uvicorn closes at once, and a client that is still sending
      loses its answer.
    - HTTP/1.0: uvicorn answers with chunks, which HTTP/1.0 lacks.
    """

    def __init__(
        self,
        *args: Any,
        monitor: SlowClientMonitor,
        lingering: LingeringConnections,
        websocket_paths: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._monitor = monitor
        self._others_lingering = lingering
        self._lingering: Lingering | None = None
        self._websocket_paths = websocket_paths
        self._deadline = Deadline()
        self._outside_body = 0  # bytes since the last piece of a body
        self._body_size = 0  # bytes of the body
        self._problem = refusals.INVALID_HTTP
        self._passed_over: list[tuple[bytes, bytes]] = []  # framing of a body that is not read yet
        self._final_body: FinalBody | None = None
        self._running: RequestResponseCycle | None = None
        self._opens_websocket = self._is_refused = self._is_ending = False

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _PipelineFlow(transport, self.pipeline)
        self._outlet = _Outlet(transport, self._close)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # not on Windows
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.MOST_UNSENT)
        self._monitor.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._monitor.discard(self)
        running = self._running
        if running is not None and not running.response_complete:  # uvicorn notifies only the newest of a pipeline
            _disconnect(running)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # after a reset uvicorn leaves the timer, which keeps this object alive
        self._final_body = self._lingering = None
        self._outlet.close = self.transport.close  # breaks a reference cycle

    def shutdown(self) -> None:
        """Begin a graceful shutdown: answer further requests with ``Connection: close``, and close when idle.

        An immediate close would lose a request that is already sent, even one that follows the current answer.
        """
        self._is_ending = True
        self.timeout_keep_alive = SECONDS_TO_END  # type: ignore[assignment] # the type is int, but a float works
        cycle: RequestResponseCycle | None = self.cycle
        if self._lingering is not None:
            self._lingering.hurry(SECONDS_TO_END)
        elif cycle is None:
            self._wait_for_request()
        elif cycle.response_complete and cycle.more_body:
            self._linger()
        elif cycle.response_complete:
            self._wait_for_request()
        elif not cycle.response_started:
            cycle.keep_alive = False

    def _wait_for_request(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(SECONDS_TO_END, self.timeout_keep_alive_handler)

    def _close(self) -> None:
        """Close the connection after its last answer, or cut an incomplete answer."""
        if self._running is not None and self._running.response_complete:
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """End writing, and discard all further data of the client."""
        if self._lingering is not None or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._final_body = None
        self.pipeline.clear()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None:
            cycle.body = bytearray()
        self.flow.resume_reading()
        seconds = {"seconds": SECONDS_TO_END} if self._is_ending else {}
        self._lingering = Lingering(self.transport, self, self._others_lingering, **seconds)

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    # Received data

    def data_received(self, data: bytes) -> None:
        self._outside_body += len(data)
        if self._is_refused or (self._final_body is not None and self._final_body.is_complete):
            if limits.is_too_much_to_ignore(self._outside_body):  # data after the last request are ignored
                self.abort()
            return
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            problem = refusals.invalid_http(data) if self._problem is refusals.INVALID_HTTP else self._problem
            self._refuse(refusals.URL_TOO_LARGE if limits.is_url_too_large(self.url) else problem)
        if limits.is_head_too_large(self._outside_body):
            self._refuse(refusals.HEAD_TOO_LARGE)

    def _parse(self, data: bytes) -> None:
        """Pass data to the parsers. Raises httptools.HttpParserError."""
        while data and self._final_body is None:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as exc:
                data = data[exc.args[0] :]
            if self._opens_websocket:
                self._open_websocket(data)
                return
            framing, self._passed_over = self._passed_over, []
            if framing:
                self._final_body = FinalBody(framing, self.on_body, self.on_message_complete)
        if data and self._final_body is not None:
            self._final_body.feed(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CUT: self.transport.close}  # type: ignore[dict-item]
        self._outside_body = self._body_size = 0

    def on_headers_complete(self) -> None:
        if limits.has_too_many_headers(self.headers):
            self._stop_parsing(refusals.TOO_MANY_HEADERS)
        if self.parser.should_upgrade():
            self._opens_websocket = self._may_open_websocket()
            self._passed_over = framing_of(self.headers)
        super().on_headers_complete()
        if self._opens_websocket:
            return
        if self._passed_over or self._is_ending:
            self.cycle.keep_alive = False
        self.cycle.transport = self._outlet  # type: ignore[assignment] # the methods of a transport that it needs
        if self.scope["http_version"] in _OLD_VERSIONS:
            self.cycle.__class__ = _OldExchange
            self.cycle.waiting_for_100_continue = False
        elif self.cycle.waiting_for_100_continue:
            self.cycle.__class__ = _ExpectingExchange
        self.headers = []  # trailers must not change the current request

    def _stop_parsing(self, refusal: Refusal) -> NoReturn:
        """Raise an error, which the parser turns into an HttpParserError."""
        self._problem = refusal
        raise ValueError(refusal.message)

    def on_body(self, body: bytes) -> None:
        self._outside_body = 0
        self._body_size += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._passed_over:
            return
        super().on_message_complete()
        if not self._opens_websocket:
            self.cycle.more_body = False  # uvicorn does not set it after a complete answer

    def on_response_complete(self) -> None:
        if self._is_ending and self._running is not None and self._running.more_body:
            self._linger()
        if self._lingering is None:
            super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # WebSockets

    def _may_open_websocket(self) -> bool:
        """Return True if the request may open a WebSocket: not before all answers are sent, nor during shutdown."""
        return (
            bool(self._websocket_paths)
            and not self._is_ending
            and self._unanswered() is None
            and is_websocket_handshake(self.parser.get_method(), self.headers)
            and path_of(self.url) in self._websocket_paths
        )

    def _should_upgrade(self) -> bool:
        return self._opens_websocket

    def _open_websocket(self, early: bytes) -> None:
        """Pass the connection to uvicorn's WebSocket protocol, with the data after the handshake."""
        self._monitor.discard(self)
        self._outside_body = 0
        transport = self.transport
        handshake = HandshakeTransport(transport, self._others_lingering, SECONDS_TO_END)
        self.transport = handshake  # type: ignore[assignment]
        self.handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment] # breaks a reference cycle
        OpenWebSocket(handshake, self._monitor)
        websocket: Any = transport.get_protocol()
        if not websocket.handshake_initiated:  # too long headers, for instance; uvicorn would wait forever
            self._write(refusals.INVALID_HANDSHAKE, refusals.log_refusal(refusals.INVALID_HANDSHAKE))
            self.transport.close()
            return
        if not websocket.close_sent:  # the handshake is accepted
            websocket.scope["extensions"][CUT] = transport.close
        if early:
            websocket.data_received(early)

    # Late clients

    def resume_writing(self) -> None:
        self._deadline.restart()
        super().resume_writing()

    def is_late(self, interval: float) -> bool:
        """Return True if the client has kept the server waiting for too long. Call it every ``interval`` seconds."""
        return self._deadline.is_over(self._progress(), interval)

    def _progress(self) -> ExchangeProgress:
        request = self._unanswered()
        if self._lingering is not None:
            must_send = False  # lingering has its own timer
        elif request is None or request.disconnected:
            must_send = True
        else:
            must_send = request.more_body and not (request.waiting_for_100_continue or self.flow.read_paused)
        return ExchangeProgress(
            head=self.scope,
            exchange=self.cycle,
            is_sending=request is not None and request.more_body,
            must_send=must_send,
            is_all_written=request is None or self.flow.write_paused,
            unsent=self.transport.get_write_buffer_size(),
            body_size=self._body_size,
        )

    def has_hung_up(self) -> bool:
        """Return True if the client is gone and reading is paused, so that the event loop does not notice."""
        if not self.flow.read_paused or self.transport.is_closing():
            return False
        return deadlines.has_hung_up(self.transport.get_extra_info("socket"))

    def give_up(self) -> None:
        """End the connection of a late client, with a 408 if the client waits for an answer."""
        is_owed = self._is_in_head() or self._unanswered()
        if self.transport.get_write_buffer_size() or self._is_refused or not is_owed:
            self.abort()
        else:
            self._refuse(refusals.TIMED_OUT)

    def _unanswered(self) -> RequestResponseCycle | None:
        """Return the newest request with a complete head, if its answer is not complete."""
        newest: RequestResponseCycle | None = self.cycle
        return None if newest is None or newest.response_complete else newest

    def _last_owed(self) -> RequestResponseCycle:
        """Return the last of the pipelined requests that get an answer."""
        assert self._running is not None
        return self.pipeline[0][0] if self.pipeline else self._running

    def _is_in_head(self) -> bool:
        """Return True if the head of a request has begun and is not complete."""
        newest: RequestResponseCycle | None = self.cycle
        return self.scope is not (None if newest is None else newest.scope)

    # Refusals

    def _refuse(self, refusal: Refusal) -> None:
        """Answer instead of the application, and accept no more data from the client."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        request = self._unanswered()
        if request is None:
            self._send(refusal, refusals.log_refusal(refusal))
        elif self._is_in_head():
            request.keep_alive = False  # the previous request still gets its answer
        elif self.pipeline:  # the client would assign this answer to another request
            self.pipeline.popleft()
            self._last_owed().keep_alive = False
        elif request.response_started:
            self.abort()  # the client has its answer
        else:
            record_outcome(request.scope, refusal.status)
            _disconnect(request)
            self._send(refusal, request_id_of(request.scope))

    def _send(self, refusal: Refusal, request_id: str | None) -> None:
        self._write(refusal, request_id)
        self._linger()

    def _write(self, refusal: Refusal, request_id: str | None) -> None:
        self.transport.write(refusals.render(refusal, request_id, self.server_state.default_headers))


class _Outlet:
    """The methods of a transport that an answer needs. ``close`` calls the connection instead."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class _OldExchange(RequestResponseCycle):
    """Request of HTTP/1.0, which lacks chunks. An answer of unknown length ends with its connection.

    Uvicorn creates the requests, so their class is changed afterwards.
    """

    _has_length = True

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if not self._has_length:
                self.chunked_encoding = False
        elif not self._has_length:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class _ExpectingExchange(RequestResponseCycle):
    """Request that waits for a ``100 Continue``. After any other answer, the client may send the body or omit it.

    The start of the next request is then unknown, so the connection ends (RFC 9110, 10.1.1).
    """

    async def send(self, message: Any) -> None:
        if self.waiting_for_100_continue:
            self.keep_alive = False
        await super().send(message)


class _PipelineFlow(FlowControl):
    """Uvicorn's flow control, which also pauses reading while pipelined requests wait."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if self.read_paused and not self._waiting:
            super().resume_reading()


def _disconnect(request: RequestResponseCycle) -> None:
    """Notify the application that the client has left."""
    request.disconnected = True
    request.message_event.set()
