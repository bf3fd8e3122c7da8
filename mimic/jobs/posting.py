"""POST requests to targets of webhooks: to a checked address, without redirects and proxies, and in bounded time."""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mimic import __version__
from mimic.errors import WebhookFailed
from mimic.stored.webhook_targets import TargetGuard, TargetURL

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver

SECONDS: Final = 10.0
SECONDS_FOR_BODY: Final = 1.0
MOST_READ: Final = 65_536
"""Bytes of the body of an answer that are read."""


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
        import aiohttp  # noqa: PLC0415 - most servers send nothing

        try:
            async with asyncio.timeout(self._seconds) as limit:
                target = TargetURL.parse(url)
                addresses = await self._guard.addresses(target, is_checked=is_checked)
                async with aiohttp.ClientSession(
                    connector=await self._connector(addresses),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._seconds / len(addresses)),
                    headers={"user-agent": f"Mimic/{__version__}", "content-type": "application/json"},
                    auto_decompress=False,
                ) as session:
                    answer = await session.post(url, data=body, headers=headers, allow_redirects=False)
                    limit.reschedule(None)  # the status is the outcome, even if the body is late
                    await _read_body(answer)
                    return answer.status
        except (OSError, ValueError, aiohttp.ClientError) as exc:
            raise WebhookFailed(_reason(exc)) from exc

    async def _connector(self, addresses: Sequence[str]) -> "aiohttp.TCPConnector":
        """Connections to the first of these addresses that accepts one. The certificates take some time to read."""
        import aiohttp  # noqa: PLC0415

        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return aiohttp.TCPConnector(ssl=self._tls, resolver=_resolver_of(addresses), force_close=True)


def _resolver_of(addresses: Sequence[str]) -> "AbstractResolver":
    """A resolver that knows these addresses only: no name is looked up again after the check."""
    from aiohttp.abc import AbstractResolver, ResolveResult  # noqa: PLC0415

    class CheckedResolver(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=socket.IPPROTO_TCP,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in addresses
            ]

        async def close(self) -> None:
            """Close nothing."""

    return CheckedResolver()


async def _read_body(answer: "aiohttp.ClientResponse") -> None:
    """Read the rest of an answer, so that its sender is not interrupted: up to a limit, and for a short time."""
    import aiohttp  # noqa: PLC0415

    size = 0
    with suppress(OSError, aiohttp.ClientError):
        async with asyncio.timeout(SECONDS_FOR_BODY):
            while size < MOST_READ and (piece := await answer.content.readany()):
                size += len(piece)
    answer.close()


def _reason(exc: Exception) -> str:
    """A word for a failure. The text of the system would name addresses of a private network."""
    import aiohttp  # noqa: PLC0415

    if isinstance(exc, TimeoutError):
        return "timeout"
    if isinstance(exc, socket.gaierror):
        return "name_not_found"
    if isinstance(exc, ssl.SSLError | aiohttp.ClientSSLError):
        return "tls_failed"
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "invalid_answer"
    return "connection_failed" if isinstance(exc, OSError) else "invalid_answer"
