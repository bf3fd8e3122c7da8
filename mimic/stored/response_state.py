"""Stored responses as data, and their state at a moment. Pure.

The answer is drawn when the request arrives, and stored with the times of its tokens. So the state at any moment
follows from the record, in any process: queued before the first token, in progress until the last one, then finished.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mimic.engine.base import Answer, Answers, Completion, FinishReason, ToolCall, Usage
from mimic.engine.logprobs import Logprobs
from mimic.gateway.pacing import Timing
from mimic.records.base import Record
from mimic.wire.openai.responses.answer import ResponseError, ResponseObject, finished
from mimic.wire.openai.responses.items import RawItem

KIND: Final = "response"
QUEUED: Final = "queued"
CANCELLED: Final = "cancelled"


class StoredCall(msgspec.Struct, frozen=True):
    """A tool call."""

    id: str
    name: str
    arguments: str
    is_custom: bool
    tokens: Sequence[int]


class StoredResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a record.

    ``response`` is the response at its start; ``items`` are its own input, and ``ancestors`` the ids of the responses
    before it, the oldest first. The answer has a text or calls, or nothing without ``has_output``; ``top`` is the
    number of likely tokens to show, if any. Without ``timing`` all tokens are due at once. ``error`` is a failure after
    ``sent`` tokens.
    """

    response: ResponseObject
    items: Sequence[RawItem]
    ancestors: Sequence[str]
    text: str
    tokens: Sequence[int]
    calls: Sequence[StoredCall]
    finish_reason: FinishReason
    usage: Usage
    logprobs: Logprobs = ()
    top: int | None = None
    timing: Timing | None = None
    error: ResponseError | None = None
    sent: int = 0
    has_output: bool = True

    def completion(self) -> Completion:
        """The answer as the engine gave it."""
        if not self.has_output:
            return Completion((), self.usage)
        calls = [ToolCall(call.id, call.name, call.arguments, call.is_custom, call.tokens) for call in self.calls]
        answer = Answer(self.text, self.tokens, self.finish_reason, None, calls, logprobs=self.logprobs)
        return Completion([Answers(None, None, [answer])], self.usage)

    @property
    def first(self) -> float:
        """The time of the first token, in seconds from the start."""
        return self.timing.moment(0) if self.timing else 0.0

    @property
    def last(self) -> float:
        """The time of the end, in seconds from the start."""
        steps = self.sent if self.error else len(self.tokens)
        return self.timing.moment(max(1, steps) - 1) if self.timing else 0.0


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(StoredResponse).decode


def written(stored: StoredResponse) -> bytes:
    """The data of a record."""
    return _encode(stored)


def stored_in(record: Record) -> StoredResponse:
    """The response in a record."""
    return _decode(record.data)


def stored_answer(answer: Answer) -> dict[str, Any]:
    """The fields of an answer in a stored response."""
    calls = [
        StoredCall(call.id, call.name, call.arguments, call.is_custom, list(call.tokens)) for call in answer.tool_calls
    ]
    return {
        "text": answer.text,
        "tokens": list(answer.tokens),
        "calls": calls,
        "finish_reason": answer.finish_reason,
        "logprobs": answer.logprobs,
    }


def seconds_since(record: Record) -> float:
    """The seconds since a record was created, by the wall clock: other machines and later servers share it."""
    return time.time() - record.created


def response_at(record: Record, stored: StoredResponse, seconds: float) -> ResponseObject:
    """The response some seconds after its creation."""
    replace, response = msgspec.structs.replace, stored.response
    if record.state == CANCELLED:
        return replace(response, status="cancelled")
    if record.state == QUEUED and seconds < stored.last:
        return replace(response, status="queued" if seconds < stored.first else "in_progress")
    if stored.error is not None:
        return replace(response, status="failed", error=stored.error)
    return finished(response, stored.completion(), int(record.created + stored.last), stored.top)
