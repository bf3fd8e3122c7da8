"""A budget of tokens a day for the upstream, shared by all servers that share the records."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from mimic.engine.base import CompletionRequest, chat_tokens
from mimic.errors import RecordChanged, RequestError
from mimic.records.base import Change, Draft, Record, Records

KIND: Final = "upstream_budget"
RESERVED_FOR_ANSWER: Final = 1000
"""Tokens that are reserved for each answer without a limit."""
SECONDS_KEPT: Final = 2 * 86_400.0


class _Spent(msgspec.Struct, frozen=True):
    tokens: int = 0


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Spent).decode


class Budget:
    """At most ``most`` tokens a day, by UTC. Tokens are reserved before a request, and settled after its answer.

    The tokens of a request whose process died stay reserved until the end of the day.
    """

    def __init__(self, records: Records, most: int) -> None:
        self._records = records
        self._most = most

    async def reserve(self, request: CompletionRequest) -> "Reservation":
        """Reserve the tokens of a request. Raises RequestError (429) if too few are left."""
        tokens = await _estimate(request)
        record = await self._add(tokens)
        if (spent := _decode(record.data).tokens) > self._most:
            await self._add(-tokens, record.id)
            left = max(0, self._most - (spent - tokens))
            text = (
                f"The upstream's budget of {self._most:,} tokens a day has {left:,} left, and this request may need "
                f"{tokens:,}: raise MIMIC_UPSTREAM_TOKENS_PER_DAY, or wait until midnight UTC."
            )
            raise RequestError(429, text, kind="tokens", code="upstream_budget_spent", headers=_NO_RETRY)
        return Reservation(self, record.id, tokens)

    async def settle(self, day: str, tokens: int) -> None:
        """Correct the tokens of a day."""
        await self._add(tokens, day)

    async def _add(self, tokens: int, day: str | None = None) -> Record:
        """Add tokens to those of a day; None is today."""
        name = day or f"{datetime.now(UTC):%Y-%m-%d}"
        while True:
            record = await self._records.put(Draft(kind=KIND, id=name, data=_encode(_Spent()), lives=SECONDS_KEPT))
            spent = _Spent(max(0, _decode(record.data).tokens + tokens))
            try:
                return await self._records.update(record, Change(data=_encode(spent)))
            except RecordChanged:  # another request was quicker
                continue


class Reservation:
    """Tokens that are reserved for one request."""

    def __init__(self, budget: Budget, day: str, tokens: int) -> None:
        self._budget = budget
        self._day = day
        self._tokens = tokens

    async def settle(self, used: int) -> None:
        """Take what was used in place of what was reserved."""
        await self._budget.settle(self._day, used - self._tokens)


_NO_RETRY: Final = {"x-should-retry": "false"}


async def _estimate(request: CompletionRequest) -> int:
    asked = [
        await chat_tokens(prompt.messages) if prompt.tokens is None else prompt.tokens for prompt in request.prompts
    ]
    answers = len(request.prompts) * request.sampling.n
    return sum(asked) + answers * (request.limits.max_tokens or RESERVED_FOR_ANSWER)
