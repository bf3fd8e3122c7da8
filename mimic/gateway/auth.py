"""API keys and secrets, and brute-force protection against wrong ones."""

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
"""Minimum length of a wrong key, in characters, for its error to show the last four."""
MAX_WRONG_A_MINUTE: Final = 20
"""Wrong keys from one address that are answered without a delay."""
SECONDS_OF_DELAY: Final = 1.0
"""Delay of the 401 for every further wrong key."""

CHALLENGE: Final = {"www-authenticate": "Bearer"}


class BruteForceGuard:
    """Count wrong keys per client address in the ledger, in 65,536 buckets, which bounds the memory.

    Two addresses that share a bucket share their count. A right key never waits.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._bucket = TokenBucket("requests", MAX_WRONG_A_MINUTE)

    async def delay(self, address: str | None) -> None:
        """Count a wrong key, and wait one second after too many. Without an address, do nothing.

        The number of waiting clients has no limit: an immediate answer would show that the key is wrong.
        """
        if address is None:
            return
        with self._ledger.transaction() as changes:
            granted, _ = changes.take(_bucket_of(address), self._bucket.seconds_of(1))
        if not granted:
            await asyncio.sleep(SECONDS_OF_DELAY)


class Keys:
    """The accepted API keys. Without keys, every request is accepted."""

    def __init__(self, keys: Sequence[str], guard: BruteForceGuard) -> None:
        self._keys = keys
        self.guard = guard
        self.are_required = bool(keys)

    async def check(self, authorization: str | None, address: str | None) -> None:
        """Check the key in an Authorization header. Raises RequestError (401), delayed after many wrong keys."""
        if not self._keys:
            return
        candidate = bearer(authorization or "")
        if not candidate:
            raise RequestError(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                headers=CHALLENGE,
            )
        # Compare all keys, so that the time does not show which one matches.
        matches = [is_same(candidate.encode("latin-1"), key) for key in self._keys]
        if not any(matches):
            await self.guard.delay(address)
            text = f"Incorrect API key provided: {mask(candidate)}."
            raise RequestError(401, text, code="invalid_api_key", headers=CHALLENGE)

    def owner_of(self, key: str) -> str:
        """The owner of records that a request with this key makes: an opaque digest, or "" if no keys are required.

        Without required keys all clients share their records, whatever keys they send.
        """
        if not self._keys:
            return ""
        return blake2b(key.encode("latin-1", "replace"), digest_size=16, person=b"mimic-owner").hexdigest()


def mask(key: str) -> str:
    """Mask a key for an error message, since the key may be valid for another service."""
    return "*" * 8 + (key[-4:] if len(key) >= SHOWN_FROM else "")


def bearer(authorization: str) -> str | None:
    """Return the key in an Authorization header, one character for each byte, or None."""
    scheme, _, candidate = authorization.partition(" ")
    # Without an argument, strip() would remove bytes of UTF-8 as white space.
    return candidate.strip(" \t") or None if scheme.lower() == "bearer" else None


def is_same(candidate: bytes, secret: str) -> bool:
    """Compare with the secret of a setting. The time depends neither on a common start nor on the length."""
    return compare_digest(_digest(candidate), _digest(secret.encode(errors="surrogateescape")))


def _digest(key: bytes) -> bytes:
    return blake2b(key).digest()


def _bucket_of(address: str) -> bytes:
    return b"guesses" + blake2b(_network(address), digest_size=2).digest()


def _network(address: str) -> bytes:
    """Return the bytes of an address: of IPv6 the first half, since one customer owns a whole /64 network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address.encode()
    return parsed.packed[:8] if isinstance(parsed, IPv6Address) else parsed.packed
