"""Ends of connections in stages (RFC 9112, 9.6): the last answer, the end of writing, and a while of reading.

To close a connection on which something still comes is a reset. A client that sends before it reads then loses the
answer, so what it goes on to send is read and thrown away.
"""

import asyncio
from typing import Final

from mimic.server.http11 import limits

SECONDS_TO_LINGER: Final = 30.0
"""Time that a client has to send the rest, from when it has taken all of its answer."""
SECONDS_BETWEEN_PIECES: Final = 5.0
"""Time that may pass before the next piece of the rest."""


class LingeringConnections:
    """The lingering connections of a process, the oldest first. For one more than ``most``, the oldest is closed."""

    def __init__(self, most: int = limits.MOST_LINGERING) -> None:
        self._most = most
        self._connections: dict[Lingering, None] = {}

    def add(self, connection: "Lingering") -> None:
        """Count this connection from now on."""
        if len(self._connections) >= self._most:
            oldest = next(iter(self._connections))
            self.discard(oldest)
            oldest.abort()
        self._connections[connection] = None

    def discard(self, connection: "Lingering") -> None:
        """Count this connection no more."""
        self._connections.pop(connection, None)


class Lingering(asyncio.Protocol):
    """Connection on which everything is written, and on which whatever comes is thrown away.

    It ends when the client closes it, sends nothing for ``seconds_between`` seconds, sends for ``seconds`` in all, or
    sends more than is ignored. While a part of the answer is not taken, the monitor of slow clients looks after that.
    ``protocol`` had the connection before, and is told when it is lost.
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
        """Linger for so many more seconds at most, since the server ends."""
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
