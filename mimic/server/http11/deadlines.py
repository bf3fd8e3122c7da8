"""Deadlines of clients, and detection of clients that keep a worker process waiting for too long."""

import asyncio
import select
import socket
from typing import Final, Protocol

import msgspec
import structlog

from mimic.server.http11.limits import seconds_for_body

log = structlog.get_logger("mimic")

CHECKS: Final = 8
"""Number of checks within the timeout of a client."""

_CAN_POLL: Final = hasattr(select, "poll")
"""False on Windows, which lacks the events of poll as well."""
_HUNG_UP: Final = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0) if _CAN_POLL else 0
"""Events of a client that is gone; POLLRDHUP exists on Linux only."""


class Connection(Protocol):
    """Interface of a client's connection for the monitor."""

    def has_hung_up(self) -> bool:
        """Return True if the client is gone and the event loop has not noticed."""

    def is_late(self, interval: float) -> bool:
        """Return True if the client has kept the server waiting for too long. Call it every ``interval`` seconds."""

    def give_up(self) -> None:
        """End the connection of a late client."""

    def abort(self) -> None:
        """End the connection at once."""


class SlowClientMonitor:
    """Check all connections of a process periodically, which costs less than a timer for each request.

    ``seconds`` is the timeout of a client.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = seconds / CHECKS
        self._connections: set[Connection] = set()
        self._is_scheduled = False

    def add(self, connection: Connection) -> None:
        """Add a connection to the checks."""
        self._connections.add(connection)
        self._schedule()

    def discard(self, connection: Connection) -> None:
        """Remove a connection from the checks."""
        self._connections.discard(connection)

    def _schedule(self) -> None:
        if self._connections and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_later(self._interval, self._check)

    def _check(self) -> None:
        connections = tuple(self._connections)
        gone = [connection for connection in connections if connection.has_hung_up()]
        for connection in gone:
            connection.abort()
        late = [connection for connection in connections if connection.is_late(self._interval)]
        for connection in late:
            connection.give_up()
        if late:
            log.info("clients took too long", connections=len(late))
        self._is_scheduled = False
        self._schedule()


class ExchangeProgress(msgspec.Struct, frozen=True):
    """Position of a connection at one check. ``head`` and ``exchange`` are compared by identity."""

    head: object
    """The request with the newest head."""
    exchange: object
    """The newest request that the application received."""
    is_sending: bool
    """The client has not sent the whole body."""
    must_send: bool
    """The server waits for data of a request."""
    is_all_written: bool
    """The server writes nothing more until the client reads."""
    unsent: int
    """Written bytes that the client has not read."""
    body_size: int
    """Bytes of the body received so far."""


_START: Final = ExchangeProgress(None, None, False, False, False, 0, 0)


class Deadline:
    """Counter of consecutive checks at which a client kept the server waiting."""

    __slots__ = ("_checks", "_seen")

    def __init__(self) -> None:
        self._checks = 0
        self._seen = _START

    def is_over(self, now: ExchangeProgress, interval: float) -> bool:
        """Record a check, ``interval`` seconds after the previous check. Returns whether the client is late."""
        before, self._seen = self._seen, now
        if not _is_clients_turn(before, now):
            self._checks = 0
            return False
        self._checks = 1 if _has_moved(before, now) else self._checks + 1
        return self._checks > CHECKS + (seconds_for_body(now.body_size) / interval if now.is_sending else 0)

    def restart(self) -> None:
        """Restart the client's timeout."""
        self._checks = 0


def _is_clients_turn(before: ExchangeProgress, now: ExchangeProgress) -> bool:
    """Return True if the client has to read written data, or to send a request or the rest of a request.

    While the server goes on writing, the number of unsent bytes does not show whether the client reads.
    """
    if now.unsent and now.is_all_written:
        return now.unsent >= before.unsent
    return now.must_send


def _has_moved(before: ExchangeProgress, now: ExchangeProgress) -> bool:
    is_same = now.head is before.head and now.exchange is before.exchange
    return not is_same or now.is_sending is not before.is_sending


def has_hung_up(connection: socket.socket) -> bool:
    """Return True if the kernel reports that the client is gone; always False on systems without poll."""
    if not _CAN_POLL:
        return False
    poll = select.poll()
    poll.register(connection, _HUNG_UP)
    return bool(poll.poll(0))
