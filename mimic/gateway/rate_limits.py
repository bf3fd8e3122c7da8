"""Rate limits: token buckets for requests and for tokens of each key, with their headers and errors."""

from hashlib import blake2b
from math import ceil, floor
from typing import Final, Literal, TypeAlias

import msgspec

from mimic.errors import RequestError
from mimic.gateway.ledger import Changes

Unit: TypeAlias = Literal["requests", "tokens"]

MINUTE: Final = 60.0
_NAMES: Final = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


class TokenBucket(msgspec.Struct, frozen=True):
    """A limit of ``most`` requests or tokens per minute."""

    unit: Unit
    most: int

    def seconds_of(self, amount: int) -> float:
        """Return the seconds until the bucket refills by an amount."""
        return amount * MINUTE / self.most

    def remaining(self, missing: float) -> int:
        """Return the amount in a bucket that is full in ``missing`` seconds."""
        return max(0, floor(self.most * (1 - missing / MINUTE) + 1e-6))

    def wait(self, missing: float, amount: int) -> float:
        """Return the seconds until an amount is available. An amount above ``most`` never is."""
        return max(0.0, missing + self.seconds_of(amount) - MINUTE)

    def refusal(self, missing: float, amount: int) -> str:
        """Return OpenAI's error message for an amount that is not available."""
        where = f"on {_NAMES[self.unit]}: Limit {self.most},"
        if amount > self.most:
            return f"Request too large {where} Requested {amount}. It must be smaller to run successfully."
        used = self.most - self.remaining(missing)
        delay = format_seconds(self.wait(missing, amount))
        return f"Rate limit reached {where} Used {used}, Requested {amount}. Please try again in {delay}."


def format_seconds(seconds: float) -> str:
    """Format a time for OpenAI's headers, rounded up to milliseconds: ``120ms``, ``8.64s``, ``6m0s``."""
    milliseconds = ceil(seconds * 1000 - 1e-6)
    if 0 < milliseconds < 1000:  # noqa: PLR2004 - milliseconds in a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"


class LimitOptions(msgspec.Struct, frozen=True):
    """Requests and tokens per minute for each key; 0 means no limit."""

    rpm: int = 0
    tpm: int = 0


class RateLimiter:
    """The buckets of all keys, kept in the ledger."""

    def __init__(self, options: LimitOptions) -> None:
        self._requests = TokenBucket("requests", options.rpm) if options.rpm else None
        self._tokens = TokenBucket("tokens", options.tpm) if options.tpm else None
        self.is_on = bool(options.rpm or options.tpm)
        """True if requests or tokens are limited."""
        self.counts_tokens = bool(options.tpm)
        """True if tokens are limited."""

    def admit(self, changes: Changes, key: str, headers: dict[str, str]) -> RequestError | None:
        """Take one request from a key's buckets, and set the headers. Returns the error (429), if any.

        The error is returned and not raised, so that the transaction keeps its other changes.
        """
        error = _take(changes, self._tokens, key, 0, headers) if self._tokens else None
        if self._requests and error is None:
            error = _take(changes, self._requests, key, 1, headers)
        return error

    def charge(self, changes: Changes, key: str, tokens: int, headers: dict[str, str]) -> RequestError | None:
        """Take the tokens of a request, and set the headers. Returns the error (429), if any."""
        return _take(changes, self._tokens, key, tokens, headers) if self._tokens else None


def _take(changes: Changes, bucket: TokenBucket, key: str, amount: int, headers: dict[str, str]) -> RequestError | None:
    digest = blake2b(key.encode("latin-1", "replace"), digest_size=16).digest()  # the ledger contains no keys
    granted, missing = changes.take(bucket.unit.encode() + digest, bucket.seconds_of(amount))
    headers[f"x-ratelimit-limit-{bucket.unit}"] = str(bucket.most)
    headers[f"x-ratelimit-remaining-{bucket.unit}"] = str(bucket.remaining(missing))
    headers[f"x-ratelimit-reset-{bucket.unit}"] = format_seconds(missing)
    return None if granted else _refusal(bucket, missing, amount)


def _refusal(bucket: TokenBucket, missing: float, amount: int) -> RequestError:
    wait = bucket.wait(missing, amount)
    headers = {"retry-after": str(ceil(wait - 1e-6)), "retry-after-ms": str(ceil(wait * 1000 - 1e-3))}
    if amount > bucket.most:
        headers = {"x-should-retry": "false"}  # a retry cannot succeed
    text = bucket.refusal(missing, amount)
    return RequestError(429, text, kind=bucket.unit, code="rate_limit_exceeded", headers=headers)
