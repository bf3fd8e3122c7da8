"""Wrong keys and secrets: so many a minute from one address, and those beyond wait."""

import asyncio
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any, Final, NoReturn

from litestar.connection import ASGIConnection

from mimic.allowances import Allowance
from mimic.api.errors import ApiError
from mimic.ledger import Ledger

IN_A_MINUTE: Final = 20
"""Wrong ones from one address that are told so at once."""

SECONDS: Final = 1.0
"""How long those beyond wait for their answer."""

MOST_WAITING: Final = 100
"""How many of them do at a time, in one process. More are told at once to come back later."""


class Guesses:
    """Who guessed wrong how often, in the ledger: 65,536 buckets, so that however many addresses there are take little.

    Two addresses that share one wait for one another's wrong guesses. Who is right never does.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._allowance = Allowance("requests", IN_A_MINUTE)
        self._waiting = 0

    async def refuse(self, connection: ASGIConnection[Any, Any, Any, Any], error: ApiError) -> NoReturn:
        """Raises the error of a wrong key or secret, late where there were too many; ApiError, 429, where many wait."""
        granted, missing = self._ledger.withdraw(_bucket(connection), self._allowance.seconds_of(1))
        if granted:
            raise error
        if self._waiting >= MOST_WAITING:
            headers = {"retry-after": str(ceil(self._allowance.wait(missing, 1)))}
            text = f"{error} Too many wrong ones came from this address: please try again later."
            raise ApiError(429, text, code="too_many_wrong_secrets", headers=headers)
        self._waiting += 1
        try:
            # The same error as before: a client that is merely set up wrong is to see that, and not to try again.
            await asyncio.sleep(SECONDS)
        finally:
            self._waiting -= 1
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
