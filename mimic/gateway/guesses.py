"""Wrong keys and secrets: so many a minute from one address, and those beyond wait."""

import asyncio
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, NoReturn

from litestar.connection import ASGIConnection

from mimic.gateway.ledger import Ledger
from mimic.gateway.rate_limits import TokenBucket
from mimic.server.errors import ApiError

IN_A_MINUTE: Final = 20
"""Wrong ones from one address that are told so at once."""

SECONDS: Final = 1.0
"""How long those beyond wait for their answer."""


class BruteForceGuard:
    """Who guessed wrong how often, in the ledger: 65,536 buckets, so that however many addresses there are take little.

    Two addresses that share one wait for one another's wrong guesses. Who is right never does.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._allowance = TokenBucket("requests", IN_A_MINUTE)

    async def refuse(self, connection: ASGIConnection[Any, Any, Any, Any], error: ApiError) -> NoReturn:
        """Raises the error of a wrong key or secret; a second later where there were too many.

        All wait, however many they are: whoever was told at once would know that it was wrong. What that takes is a
        connection each.
        """
        granted, _ = self._ledger.take(_bucket(connection), self._allowance.seconds_of(1))
        if not granted:
            await asyncio.sleep(SECONDS)
        raise error


def _bucket(connection: ASGIConnection[Any, Any, Any, Any]) -> bytes:
    host = connection.client.host if connection.client else ""
    return b"guesses" + blake2b(_network(host), digest_size=2).digest()


def _network(host: str) -> bytes:
    """An address; of IPv6 the first half, since one customer has all of the other."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.encode()
    return address.packed[:8] if isinstance(address, IPv6Address) else address.packed
