"""A connection: what uvicorn has of HTTP, and what it lacks: it can be cut, ends well, and copes with bad clients."""

import asyncio
import select
import socket
from collections.abc import Collection, Sized
from typing import Any, Final, NoReturn

import httptools
import msgspec
import structlog
from litestar.types import Receive, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mimic.server.request_ids import new_id
from mimic.wire.openai.errors import ErrorBody, ErrorDetail, type_of

log = structlog.get_logger("mimic")

CUT: Final = "mimic.cut"
"""The extension of ASGI, in ``scope["extensions"]``: a callable that sends what was written so far and hangs up."""
SECONDS_TO_LINGER: Final = 0.5
"""How long a server that ends still waits for a request on a connection that it has kept alive."""

LARGEST_HEAD: Final = 64 * 1024
"""Bytes that may come in a row without a piece of a body among them, and some more in the same read."""
MOST_HEADERS: Final = 100
LEAST_RATE: Final = 10_000
"""Bytes of a body that give its client a second more."""
LOOKS: Final = 8
"""In how many parts the time is measured that a client has."""
MOST_UNSENT: Final = 128 * 1024
"""Bytes that the kernel holds for a client: not megabytes, of which nobody sees how slowly they are taken."""
MOST_IGNORED: Final = 1_000_000
"""Bytes that a refused client may go on to send. Who is cut off while sending might not see why."""


_HUNG_UP: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR  # the first one is Linux's
_OF_BODIES: Final = frozenset({b"content-length", b"transfer-encoding"})


class Patience:
    """How many seconds clients may keep a worker process waiting.

    All connections are looked at now and then, which costs less than a timer for each request.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = seconds / LOOKS
        self._is_watching = False

    def watch(self, connections: Collection["CuttableProtocol"]) -> None:
        """Look at these connections as long as there are any."""
        if connections and not self._is_watching:
            self._is_watching = True
            asyncio.get_running_loop().call_later(self._interval, self._look, connections)

    def _look(self, connections: Collection["CuttableProtocol"]) -> None:
        gone = [connection for connection in connections if connection.has_hung_up()]
        for connection in gone:
            connection.transport.abort()
        late = [connection for connection in connections if connection.is_late(self._interval)]
        for connection in late:
            connection.give_up()
        if late:
            log.info("clients took too long", connections=len(late))
        self._is_watching = False
        self.watch(connections)


class CuttableProtocol(HttpToolsProtocol):
    """Uvicorn's protocol. ASGI has no way to end an answer in the middle that the server does not take for a bug.

    Uvicorn waits forever for a request that has begun and for a client that does not read, and httptools takes heads
    of any size.
    """

    def __init__(self, *args: Any, patience: Patience, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._looks = 0  # in a row at which it was the client's turn to do the same thing
        self._seen: tuple[object, object, bool] = (None, None, False)  # at the last look
        self._unsent = 0  # bytes that the client had not taken, at the last look
        self._bare = 0  # bytes since the last piece of a body
        self._body = 0  # bytes of the body
        self._problem = (400, "What was sent is not HTTP", "invalid_http")
        self._passed_over: list[tuple[bytes, bytes]] = []  # headers of a body that is not read yet
        self._last_body: _LastBody | None = None
        self._is_refused = False
        self._is_ending = False
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)
        self._patience.watch(self.connections)  # type: ignore[arg-type] # there are no others

    def connection_lost(self, exc: Exception | None) -> None:
        running = self._running
        if running is not None and not running.response_complete:  # uvicorn tells only the last of those in a row
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        self._bare += len(data)
        if self._is_refused or self._has_all():
            if self._bare > MOST_IGNORED:
                self.transport.abort()
            return
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse_what_is_not_http()
        if self._bare > LARGEST_HEAD:
            self._refuse(431, "The head of the request is larger than the 64 KB that are accepted", "head_too_large")

    def _parse(self, data: bytes) -> None:
        """Let the parser read on. Raises httptools.HttpParserError.

        It passes over the body of a request that asks for another protocol (Upgrade), as Java's client does, as if it
        were of that protocol. We go on in ours (RFC 9110, 7.8): another parser reads that body, and is the last one.
        """
        while data and not self._has_all():
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as exc:
                data = data[exc.args[0] :]
            except httptools.HttpParserError:
                if self._has_all():
                    return
                raise
            if self._passed_over:
                head = b"".join(b"%s: %s\r\n" % header for header in self._passed_over)
                self._passed_over = []
                self._last_body = _LastBody(self)
                self.parser = httptools.HttpRequestParser(self._last_body)
                self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % head)

    def _has_all(self) -> bool:
        """Whether the last request of the connection is complete: what comes behind it does not count."""
        return self._last_body is not None and self._last_body.is_whole

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CUT: self.transport.close}  # type: ignore[dict-item]
        self._bare = self._body = 0

    def on_headers_complete(self) -> None:
        if len(self.headers) > MOST_HEADERS:
            problem = f"The request has more than the {MOST_HEADERS} headers that are accepted"
            self._stop_parsing(431, problem, "too_many_headers")
        if self.parser.should_upgrade():
            self._passed_over = [header for header in self.headers if header[0] in _OF_BODIES]
        super().on_headers_complete()
        if self._passed_over:
            self.cycle.keep_alive = False
        self.headers = []  # for trailers, which are not to change the request that is being answered
        if self._is_ending:
            self.cycle.keep_alive = False

    def _stop_parsing(self, status: int, message: str, code: str) -> NoReturn:
        """Raise what becomes the parser's error."""
        self._problem = (status, message, code)
        raise ValueError(message)

    def on_message_complete(self) -> None:
        if not self._passed_over:
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._bare = 0
        self._body += len(body)
        super().on_body(body)

    def resume_writing(self) -> None:
        self._looks = 0
        super().resume_writing()

    def _refuse_what_is_not_http(self) -> None:
        """Answer what the parser does not take, in the shape that all errors have."""
        problem = self._problem
        if len(self.url) > LARGEST_HEAD:  # the parser takes none of this length
            problem = (431, "The URL of the request is larger than the 64 KB that are accepted", "head_too_large")
        self._refuse(*problem)

    def is_late(self, seconds: float) -> bool:
        """Whether the client has kept everybody waiting for too long; to be asked so many seconds apart."""
        request = self._unanswered()
        is_sending = request is not None and request.more_body
        scope, cycle, was_sending = self._seen
        has_moved = scope is not self.scope or cycle is not self.cycle or was_sending is not is_sending
        self._seen = (self.scope, self.cycle, is_sending)
        if not self._owes_something(request):
            self._looks = 0
            return False
        self._looks = 1 if has_moved and not self._is_refused else self._looks + 1
        return self._looks > LOOKS + (self._body / LEAST_RATE / seconds if is_sending else 0)

    def _owes_something(self, request: RequestResponseCycle | None) -> bool:
        """Whether it is the client's turn: to take some of what was written, else to send a request or the rest."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if self._unsent and (request is None or self.flow.write_paused):  # else more is written all the time
            return self._unsent >= before
        if request is None or request.disconnected:
            return True
        return request.more_body and not (request.waiting_for_100_continue or self.flow.read_paused)

    def has_hung_up(self) -> bool:
        """Whether the client is gone, where the event loop does not see it: it does not look where nothing is read."""
        if not self.flow.read_paused or self.transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), _HUNG_UP)
        return bool(poll.poll(0))

    def give_up(self) -> None:
        """End the connection of a client that is late, and tell it so where it waits for an answer."""
        if self._unsent or self._is_refused or not (self._is_in_head() or self._unanswered()):
            self.transport.abort()
        else:
            self._refuse(408, "The request took too long to come", "request_timeout")

    def shutdown(self) -> None:
        """Begin to end: what comes is answered, and told to be the last; where nothing comes, hang up after a moment.

        To hang up at once would lose a request that is on its way, be it the one after an answer that is being sent.
        """
        self._is_ending = True
        self.timeout_keep_alive = SECONDS_TO_LINGER  # type: ignore[assignment] # a whole number only by its type
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr] # at first it is None
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(SECONDS_TO_LINGER, self.timeout_keep_alive_handler)
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def _unanswered(self) -> RequestResponseCycle | None:
        """The last request whose head was complete, while its answer is not."""
        last: RequestResponseCycle | None = self.cycle
        return None if last is None or last.response_complete else last

    def _is_in_head(self) -> bool:
        last: RequestResponseCycle | None = self.cycle
        return self.scope is not (None if last is None else last.scope)

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer what the application never gets to see, and take nothing more of this client."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._looks = LOOKS - 1
        request, known = self._unanswered(), {}
        if request is not None and self._is_in_head():
            request.keep_alive = False  # what was asked before is still answered
            return
        if request is not None:
            if request.response_started or self.pipeline:
                self.transport.abort()  # it has its answer, or would take this for the one to another request
                return
            known = request.scope["state"]
            if record := known.get("record"):
                record.outcome = status
            request.disconnected = True
            request.message_event.set()
        request_id = known["record"].request_id if "record" in known else new_id()
        if not known:  # else the application logs it
            log.info("refused", request_id=request_id, status=status, reason=message)
        body = msgspec.json.encode(ErrorBody(ErrorDetail(message, type_of(status), None, code)))
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))
        self.transport.write_eof()  # and not close: what it has sent meanwhile would make that a reset


class _LastBody:
    """What a parser is to tell of, where the head of the request is known already: one body, and nothing behind it."""

    __slots__ = ("_connection", "is_whole")

    def __init__(self, connection: CuttableProtocol) -> None:
        self._connection = connection
        self.is_whole = False

    def on_body(self, body: bytes) -> None:
        if not self.is_whole:
            self._connection.on_body(body)

    def on_message_complete(self) -> None:
        if not self.is_whole:
            self.is_whole = True
            self._connection.on_message_complete()


class _Flow(FlowControl):
    """Uvicorn's, but for one thing: nothing is read while there are requests that wait for the one before them."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if self.read_paused and not self._waiting:
            self.read_paused = False
            self._transport.resume_reading()


async def cut(scope: Scope, receive: Receive) -> None:
    """Cut the connection, without a word more, as soon as what was written is sent; returns when it is."""
    scope["extensions"][CUT]()  # type: ignore[index, operator]
    while (await receive())["type"] != "http.disconnect":
        pass
