"""POST requests to targets of webhooks: to a checked address, without redirects and proxies, and in bounded time."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import h11

from mimic import __version__
from mimic.errors import WebhookFailed
from mimic.stored.webhook_targets import TargetGuard, TargetURL

SECONDS: Final = 10.0
SECONDS_FOR_BODY: Final = 1.0
MOST_READ: Final = 65_536
"""Bytes of an answer that are read, the head and the body each."""
_PIECE: Final = 16_384


class Poster:
    """Sends POST requests, each on a connection of its own. ``seconds`` is the time until the head of the answer."""

    def __init__(self, guard: TargetGuard, seconds: float = SECONDS) -> None:
        self._guard = guard
        self._seconds = seconds
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, is_checked: bool) -> int:
        """Send a request, and return the status of the answer. With ``is_checked`` the guard's rules apply.

        Raises WebhookFailed.
        """
        try:
            async with asyncio.timeout(self._seconds) as limit:
                target = TargetURL.parse(url)
                addresses = await self._guard.addresses(target, is_checked=is_checked)
                async with self._connected(target, addresses) as (reader, writer):
                    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_READ)
                    _send(connection, writer, target, headers, body)
                    status = await _read_status(connection, reader)
                    limit.reschedule(None)  # the status is the outcome, even if the body is late
                    await _read_body(connection, reader)
                    return status
        except (OSError, ValueError, h11.RemoteProtocolError) as exc:
            raise WebhookFailed(_reason(exc)) from exc

    @asynccontextmanager
    async def _connected(
        self, url: TargetURL, addresses: Sequence[str]
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the first address that accepts one. Raises OSError."""
        tls = await self._context() if url.scheme == "https" else None
        for number, address in enumerate(addresses, 1):
            try:
                # The last address has all the time that is left.
                async with asyncio.timeout(None if number == len(addresses) else self._seconds / len(addresses)):
                    reader, writer = await asyncio.open_connection(
                        address, url.port, ssl=tls, server_hostname=url.host if tls else None
                    )
                break
            except OSError:
                if number == len(addresses):
                    raise
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def _context(self) -> ssl.SSLContext:
        """The certificates of the system, which take some time to read."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls


def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    target: TargetURL,
    headers: Mapping[str, str],
    body: bytes,
) -> None:
    own = {
        "host": target.authority,
        "user-agent": f"Mimic/{__version__}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    request = h11.Request(method="POST", target=target.path, headers=list({**own, **headers}.items()))
    for event in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")


async def _read_status(connection: h11.Connection, reader: asyncio.StreamReader) -> int:
    while True:
        event = await _next_event(connection, reader)
        if isinstance(event, h11.Response):
            return event.status_code


async def _read_body(connection: h11.Connection, reader: asyncio.StreamReader) -> None:
    """Read the rest of an answer, so that its sender is not interrupted: up to a limit, and for a short time."""
    size = 0
    with suppress(OSError, h11.RemoteProtocolError):
        async with asyncio.timeout(SECONDS_FOR_BODY):
            while size < MOST_READ and isinstance(event := await _next_event(connection, reader), h11.Data):
                size += len(event.data)


async def _next_event(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_PIECE))
    return event


def _reason(exc: Exception) -> str:
    """A word for a failure. The text of the system would name addresses of a private network."""
    if isinstance(exc, TimeoutError):
        return "timeout"
    if isinstance(exc, socket.gaierror):
        return "name_not_found"
    if isinstance(exc, ssl.SSLError):
        return "tls_failed"
    return "connection_failed" if isinstance(exc, OSError) else "invalid_answer"
