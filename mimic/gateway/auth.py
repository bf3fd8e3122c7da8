"""Keys and secrets: who may ask, and brute-force protection for what is wrong."""

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address
from typing import Final

from mimic.errors import RequestError
from mimic.gateway.ledger import Ledger
from mimic.gateway.rate_limits import TokenBucket

SHOWN_FROM: Final = 12
"""Characters from which on a wrong key is told by its last four."""
MAX_WRONG_A_MINUTE: Final = 20
"""Wrong keys from one address that are told so at once."""
SECONDS_OF_DELAY: Final = 1.0
"""How long those beyond wait for their answer."""

CHALLENGE: Final = {"www-authenticate": "Bearer"}


class BruteForceGuard:
    """Counts wrong keys by address, in the ledger: 65,536 buckets, so that many addresses take little.

    Two addresses that share a bucket wait for one another's wrong keys. A right key never waits.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._bucket = TokenBucket("requests", MAX_WRONG_A_MINUTE)

    async def delay(self, address: str | None) -> None:
        """Count a wrong key, and wait a second where there were too many; without an address nothing is counted.

        All wait, however many they are: a client that was told at once would know that its key was wrong.
        """
        if address is None:
            return
        with self._ledger.transaction() as changes:
            granted, _ = changes.take(_bucket_of(address), self._bucket.seconds_of(1))
        if not granted:
            await asyncio.sleep(SECONDS_OF_DELAY)


class Keys:
    """The API keys that are accepted; without any, every request is."""

    def __init__(self, keys: Sequence[str], guard: BruteForceGuard) -> None:
        self._keys = keys
        self._guard = guard
        self.are_asked_for = bool(keys)

    async def check(self, authorization: str | None, address: str | None) -> None:
        """Let a request in by its Authorization header. Raises RequestError, 401, delayed where many are wrong."""
        if not self._keys:
            return
        given = bearer(authorization or "")
        if not given:
            raise RequestError(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                headers=CHALLENGE,
            )
        # All keys are compared, so that the time does not tell which.
        matches = [is_same(given.encode("latin-1"), key) for key in self._keys]
        if not any(matches):
            await self._guard.delay(address)
            text = f"Incorrect API key provided: {masked(given)}."
            raise RequestError(401, text, code="invalid_api_key", headers=CHALLENGE)


def masked(key: str) -> str:
    """A key as it may be shown: it may be right somewhere else."""
    return "*" * 8 + (key[-4:] if len(key) >= SHOWN_FROM else "")


def bearer(authorization: str) -> str | None:
    """The key in an Authorization header, one character for each byte; None where it brings none."""
    scheme, _, given = authorization.partition(" ")
    # Without an argument strip() would take bytes of UTF-8 for white space.
    return given.strip(" \t") or None if scheme.lower() == "bearer" else None


def is_same(given: bytes, secret: str) -> bool:
    """Whether it is the secret of a setting. The time tells neither how much of it is right nor its length."""
    return compare_digest(_digest(given), _digest(secret.encode(errors="surrogateescape")))


def _digest(key: bytes) -> bytes:
    return blake2b(key).digest()


def _bucket_of(address: str) -> bytes:
    return b"guesses" + blake2b(_network(address), digest_size=2).digest()


def _network(address: str) -> bytes:
    """An address; of IPv6 the first half, since one customer has all of the other."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address.encode()
    return parsed.packed[:8] if isinstance(parsed, IPv6Address) else parsed.packed
