"""Rate limits: token buckets of requests and of tokens for each key, with the headers and errors that tell of them."""

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
    """So many requests or tokens in a minute."""

    unit: Unit
    most: int

    def seconds_of(self, amount: int) -> float:
        """In how many seconds so much flows in."""
        return amount * MINUTE / self.most

    def remaining(self, missing: float) -> int:
        """How much is left in a bucket that is full in ``missing`` seconds."""
        return max(0, floor(self.most * (1 - missing / MINUTE) + 1e-6))

    def wait(self, missing: float, amount: int) -> float:
        """In how many seconds so much can be taken out of it; never where that is more than all."""
        return max(0.0, missing + self.seconds_of(amount) - MINUTE)

    def refusal(self, missing: float, amount: int) -> str:
        """Why so much cannot be taken, in OpenAI's words."""
        where = f"on {_NAMES[self.unit]}: Limit {self.most},"
        if amount > self.most:
            return f"Request too large {where} Requested {amount}. It must be smaller to run successfully."
        used = self.most - self.remaining(missing)
        again = written(self.wait(missing, amount))
        return f"Rate limit reached {where} Used {used}, Requested {amount}. Please try again in {again}."


def written(seconds: float) -> str:
    """A time as OpenAI's headers have it, rounded up to milliseconds: ``120ms``, ``8.64s``, ``6m0s``."""
    milliseconds = ceil(seconds * 1000 - 1e-6)
    if 0 < milliseconds < 1000:  # noqa: PLR2004 - as many are a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"


class LimitOptions(msgspec.Struct, frozen=True):
    """Requests and tokens a minute for each key; 0 is no limit."""

    rpm: int = 0
    tpm: int = 0


class RateLimiter:
    """The buckets of every key, which lie in the ledger."""

    def __init__(self, options: LimitOptions) -> None:
        self._requests = TokenBucket("requests", options.rpm) if options.rpm else None
        self._tokens = TokenBucket("tokens", options.tpm) if options.tpm else None
        self.is_on = bool(options.rpm or options.tpm)
        """Whether anything is limited."""
        self.counts_tokens = bool(options.tpm)
        """Whether tokens are limited."""

    def admit(self, changes: Changes, key: str, headers: dict[str, str]) -> RequestError | None:
        """Take one request from a key's buckets, and tell in the headers what is left. Returns the error, 429, if any.

        It is returned and not raised: what else happens in the transaction is kept.
        """
        refused = _take(changes, self._tokens, key, 0, headers) if self._tokens else None
        if self._requests and refused is None:
            refused = _take(changes, self._requests, key, 1, headers)
        return refused

    def charge(self, changes: Changes, key: str, tokens: int, headers: dict[str, str]) -> RequestError | None:
        """Take the tokens of a request, and tell in the headers what is left. Returns the error, 429, if any."""
        return _take(changes, self._tokens, key, tokens, headers) if self._tokens else None


def _take(changes: Changes, bucket: TokenBucket, key: str, amount: int, headers: dict[str, str]) -> RequestError | None:
    digest = blake2b(key.encode("latin-1", "replace"), digest_size=16).digest()  # keys are kept nowhere
    granted, missing = changes.take(bucket.unit.encode() + digest, bucket.seconds_of(amount))
    headers[f"x-ratelimit-limit-{bucket.unit}"] = str(bucket.most)
    headers[f"x-ratelimit-remaining-{bucket.unit}"] = str(bucket.remaining(missing))
    headers[f"x-ratelimit-reset-{bucket.unit}"] = written(missing)
    return None if granted else _refusal(bucket, missing, amount)


def _refusal(bucket: TokenBucket, missing: float, amount: int) -> RequestError:
    wait = bucket.wait(missing, amount)
    headers = {"retry-after": str(ceil(wait - 1e-6)), "retry-after-ms": str(ceil(wait * 1000 - 1e-3))}
    if amount > bucket.most:
        headers = {"x-should-retry": "false"}  # it would never help
    text = bucket.refusal(missing, amount)
    return RequestError(429, text, kind=bucket.unit, code="rate_limit_exceeded", headers=headers)
