"""Closing of connections in stages (RFC 9112, 9.6): send the last answer, end writing, read for a while, close.

A close while the client still sends is a reset, and a client that sends before it reads would lose the answer. So the
server reads and discards the data.
"""

import asyncio
from typing import Final

from mimic.server.http11 import limits

SECONDS_TO_LINGER: Final = 30.0
"""Timeout for the rest of a client's data, from the time when it has read the whole answer."""
SECONDS_BETWEEN_PIECES: Final = 5.0
"""Timeout for the next piece of the rest."""


class LingeringConnections:
    """The lingering connections of a process, the oldest first. Beyond ``most``, the oldest is closed."""

    def __init__(self, most: int = limits.MOST_LINGERING) -> None:
        self._most = most
        self._connections: dict[Lingering, None] = {}

    def add(self, connection: "Lingering") -> None:
        """Add a connection, and close the oldest if there are too many."""
        if len(self._connections) >= self._most:
            oldest = next(iter(self._connections))
            self.discard(oldest)
            oldest.abort()
        self._connections[connection] = None

    def discard(self, connection: "Lingering") -> None:
        """Remove a connection."""
        self._connections.pop(connection, None)


class Lingering(asyncio.Protocol):
    """Connection after its last answer, which discards all received data.

    It ends when the client closes it, sends nothing for ``seconds_between``, sends for ``seconds`` in total, or sends
    more than ``MOST_IGNORED``. The monitor of slow clients checks the connection until the client has read the answer.
    ``protocol`` is the previous protocol of the connection, and is notified of its end.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        others: LingeringConnections,
        seconds: float = SECONDS_TO_LINGER,
        seconds_between: float = SECONDS_BETWEEN_PIECES,
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._others = others
        self._loop = asyncio.get_running_loop()
        self._received = 0
        others.add(self)
        transport.set_protocol(self)
        transport.write_eof()
        transport.resume_reading()
        self._set_timer(seconds, seconds_between)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        self._last = self._loop.time()
        if limits.is_too_much_to_ignore(self._received):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._others.discard(self)
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def hurry(self, seconds: float) -> None:
        """Shorten both timeouts, since the server shuts down."""
        self._timer.cancel()
        self._set_timer(seconds, seconds)

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def _set_timer(self, seconds: float, seconds_between: float) -> None:
        self._seconds, self._seconds_between = seconds, seconds_between
        self._began = self._last = self._loop.time()
        self._timer = self._loop.call_later(min(seconds, seconds_between), self._check)

    def _check(self) -> None:
        if self._transport.get_write_buffer_size():
            self._set_timer(self._seconds, self._seconds_between)
            return
        until = min(self._began + self._seconds, self._last + self._seconds_between)
        if self._loop.time() < until:
            self._timer = self._loop.call_at(until, self._check)
        else:
            self.abort()
