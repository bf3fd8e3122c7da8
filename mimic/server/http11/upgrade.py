"""Requests for another protocol (``Upgrade``): WebSocket handshakes, and bodies of all other such requests.

An upgrade to any other protocol is ignored, and the request is answered in HTTP/1.1 (RFC 9110, 7.8).
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import unquote

import httptools

from mimic.server.http11.deadlines import Deadline, ExchangeProgress, SlowClientMonitor
from mimic.server.http11.lingering import SECONDS_TO_LINGER, Lingering, LingeringConnections

Headers = Iterable[tuple[bytes, bytes]]

_OPENED: Final = b"HTTP/1.1 101 "
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


def framing_of(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers that define the end of the body; none if there is no body."""
    return [header for header in headers if header[0] in _FRAMING]


def is_websocket_handshake(method: bytes, headers: Headers) -> bool:
    """Return True if a request with an ``Upgrade`` is a WebSocket handshake: a GET without a body."""
    protocols = [value.strip().lower() for name, value in headers if name == b"upgrade"]
    return method == b"GET" and protocols == [b"websocket"] and not framing_of(headers)


def path_of(url: bytes) -> str:
    """Return the decoded path of a URL, without the query. Raises httptools.HttpParserInvalidURLError."""
    path: bytes = httptools.parse_url(url).path or b""
    return unquote(path.decode("ascii"))


class FinalBody:
    """Reader of the last body of a connection, after another parser has read the head.

    httptools skips the body of a request with an ``Upgrade``, as data of the other protocol. Java's HTTP client sends
    requests with an ``Upgrade`` and a body.
    """

    __slots__ = ("_on_body", "_on_complete", "_parser", "is_complete")

    def __init__(self, framing: Headers, on_body: Callable[[bytes], None], on_complete: Callable[[], None]) -> None:
        self._on_body = on_body
        self._on_complete = on_complete
        self.is_complete = False
        self._parser = httptools.HttpRequestParser(self)
        head = b"".join(b"%s: %s\r\n" % header for header in framing)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % head)

    def feed(self, data: bytes) -> None:
        """Parse data, and ignore data after the body. Raises httptools.HttpParserError."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.is_complete:
                raise

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body. The parser calls it."""
        if not self.is_complete:
            self._on_body(body)

    def on_message_complete(self) -> None:
        """Pass on the end of the body. The parser calls it."""
        if not self.is_complete:
            self.is_complete = True
            self._on_complete()


class HandshakeTransport:
    """Transport of a connection that was passed to uvicorn's WebSocket protocol.

    ``close`` lingers, so that a client that is still sending gets its answer, or the reason of the close. It lingers
    for ``seconds`` if no WebSocket was opened, and else until the client sends nothing for ``seconds``.
    """

    def __init__(self, transport: asyncio.Transport, lingering: LingeringConnections, seconds: float) -> None:
        self._transport = transport
        self._lingering = lingering
        self._seconds = seconds
        self._is_open = self._is_closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write to the client. The first bytes show whether the WebSocket is open."""
        self._is_open = self._is_open or data.startswith(_OPENED)
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection after all data are written."""
        if self._transport.is_closing():
            self._transport.close()
        elif not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self._linger)  # after the transport got its protocol

    def is_closing(self) -> bool:
        """Return True if the connection is closed, or will be when the client has stopped sending."""
        return self._is_closing or self._transport.is_closing()

    def _linger(self) -> None:
        if not self._transport.is_closing():
            protocol: Any = self._transport.get_protocol()
            seconds = (SECONDS_TO_LINGER, self._seconds) if self._is_open else (self._seconds,)
            Lingering(self._transport, protocol, self._lingering, *seconds)


class OpenWebSocket:
    """Connection that was passed to uvicorn's WebSocket protocol, for the monitor of slow clients.

    Uvicorn pings the client, and closes the connection without an answer. A client that does not read would keep the
    closing connection open, so the deadline applies to the written data.
    """

    def __init__(self, transport: HandshakeTransport, monitor: SlowClientMonitor) -> None:
        self._transport = transport
        self._monitor = monitor
        self._deadline = Deadline()
        monitor.add(self)

    def has_hung_up(self) -> bool:
        """Return False: pings detect it."""
        return False

    def is_late(self, interval: float) -> bool:
        """Return True if the server closed the connection and the client has not read for too long."""
        unsent, is_closing = self._transport.get_write_buffer_size(), self._transport.is_closing()
        if is_closing and not unsent:
            self._monitor.discard(self)
        now = ExchangeProgress(
            None, None, False, must_send=False, is_all_written=is_closing, unsent=unsent, body_size=0
        )
        return self._deadline.is_over(now, interval)

    def give_up(self) -> None:
        """End the connection."""
        self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()
