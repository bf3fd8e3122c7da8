"""How much a key may ask for in a minute: a bucket of requests or of tokens, which fills evenly. Pure."""

from math import ceil, floor
from typing import Final, Literal, TypeAlias

import msgspec

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
