"""Events of a response in a stream. Each has a name and a sequence number, and both follow from the answer."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from mimic.engine.base import Completion
from mimic.errors import RequestError
from mimic.wire.base import EventPlan
from mimic.wire.openai.errors import type_of
from mimic.wire.openai.logprobs import ContentLogprob
from mimic.wire.openai.responses.answer import (
    OutputFunctionCall,
    OutputMessage,
    OutputReasoning,
    OutputText,
    ResponseObject,
    Status,
    SummaryText,
    TokenItem,
    answer_of,
    failed,
    finished,
)
from mimic.wire.sse import on_one_line, texts_of

FRAME_END: Final = b"\n\n"
NOT_JSON: Final = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"\n\n'
BEGINNING: Final[Sequence[tuple[str, Status]]] = (
    ("response.created", "in_progress"),
    ("response.in_progress", "in_progress"),
)
IN_BACKGROUND: Final[Sequence[tuple[str, Status]]] = (
    ("response.created", "queued"),
    ("response.queued", "queued"),
    ("response.in_progress", "in_progress"),
)
"""The first events of a stream, with the status of the response."""


class ItemStream(msgspec.Struct, frozen=True):
    """An item in a stream: events that open it, an event for each token, and events that close it.

    The bytes of a token's event are ``before``, its sequence number, ``between``, its text, and ``after``. ``details``
    are other bytes after each token.
    """

    opening: Sequence[bytes]
    before: bytes
    between: bytes
    after: bytes
    first: int
    """The sequence number of the first event of the opening."""
    tokens: Sequence[int]
    closing: Sequence[bytes]
    details: Sequence[bytes] = ()

    @property
    def steps(self) -> int:
        """The number of steps: one for each token, or one without tokens."""
        return len(self.tokens) or 1

    @property
    def next_number(self) -> int:
        """The sequence number after the item."""
        return self.number_after(len(self.tokens)) + len(self.closing)

    def number_after(self, sent: int) -> int:
        """The sequence number after the opening and some tokens."""
        return self.first + len(self.opening) + sent

    def __iter__(self) -> Iterator[bytes]:
        """The events of each token: the opening comes with the first one, and the closing with the last one."""
        events = self._token_events()
        waiting = b"".join((*self.opening, next(events, b"")))
        for event in events:
            yield waiting
            waiting = event
        yield b"".join((waiting, *self.closing))

    def joined(self) -> bytes:
        """All events."""
        return b"".join((*self.opening, *self._token_events(), *self.closing))

    def _token_events(self) -> Iterator[bytes]:
        """Yield the event of each token. They are made when they are sent: a client may read slowly."""
        before, between, after = self.before, self.between, self.after
        numbered = enumerate(texts_of(self.tokens), self.number_after(0))
        if self.details:
            pairs = zip(numbered, self.details, strict=True)
            return (b"%b%d%b%b%b" % (before, number, between, text, end) for (number, text), end in pairs)
        return (b"%b%d%b%b%b" % (before, number, between, text, after) for number, text in numbered)


class ItemStreams(msgspec.Struct, frozen=True):
    """The items of an answer, one after the other. ``first`` is the sequence number of the first event."""

    items: Sequence[ItemStream]
    first: int

    def __iter__(self) -> Iterator[bytes]:
        for item in self.items:
            yield from item

    def whole(self, opening: bytes, ending: bytes) -> bytes:
        """All events between an opening and an ending."""
        return b"".join((opening, *[item.joined() for item in self.items], ending))

    def number_after(self, sent: int) -> int:
        """The sequence number after some steps, fewer than all."""
        for item in self.items:
            if sent < item.steps:
                return item.number_after(sent) if sent else item.first
            sent -= item.steps
        return self.items[-1].next_number if self.items else self.first


class Resumed(msgspec.Struct, frozen=True):
    """The steps of a stream without its first events, those up to the sequence number ``after``.

    The opening comes with the first step, and the ending with the last one. Only the first ``most`` steps are sent.
    """

    plan: EventPlan
    ending: bytes
    after: int
    most: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the rest of each step, which may be empty."""
        steps = list(islice(self.plan.steps, self.most)) or [b""]
        steps[0] = self.plan.opening + steps[0]
        steps[-1] += self.ending
        number = 0
        for step in steps:
            events = step.split(FRAME_END)[:-1]
            kept = events[max(0, self.after + 1 - number) :]
            number += len(events)
            yield b"".join([event + FRAME_END for event in kept])


class ResponsePlan(EventPlan, frozen=True, kw_only=True):
    """A stream of a response, with the response at its start."""

    response: ResponseObject


def plan_of(response: ResponseObject, completion: Completion, at: int, top: int | None = None) -> EventPlan:
    """The stream of a response: see :func:`finished`."""
    beginning = IN_BACKGROUND if response.background else BEGINNING
    begun = {status: _json(msgspec.structs.replace(response, status=status)) for _, status in beginning}
    opening = [_response_event(name, number, begun[status]) for number, (name, status) in enumerate(beginning)]
    whole = finished(response, completion, at, top)
    items, tokens = [], iter(_tokens_of(completion))
    number = len(opening)
    for index, item in enumerate(whole.output):
        if isinstance(item, OutputReasoning):
            opening += _reasoning_events(item, number)
            number = len(opening)
        else:
            items.append(_item_stream(index, item, next(tokens), number))
            number = items[-1].next_number
    ending = _response_event(f"response.{whole.status}", number, _json(whole))
    return ResponsePlan(
        b"".join(opening),
        ItemStreams(items, len(opening)),
        ending,
        completion.usage.completion_tokens,
        response=response,
    )


def error_events(plan: EventPlan, error: RequestError, sent: int) -> bytes:
    """The last events of a stream that fails after some steps.

    The error is in the event itself, as OpenAI's documentation has it, and in its field ``error``, as its SDKs expect.
    """
    assert isinstance(plan, ResponsePlan)
    assert isinstance(plan.steps, ItemStreams)
    number = plan.steps.number_after(sent)
    facts = {"code": error.code, "message": str(error), "param": error.param}
    nested = {"type": error.kind or type_of(error.status), **facts}
    ending = _response_event("response.failed", number + 1, _json(failed(plan.response, error)))
    return _event("error", number, **facts, error=nested) + ending


def _tokens_of(completion: Completion) -> Sequence[Sequence[int]]:
    """The tokens of each item after the reasoning."""
    answer = answer_of(completion)
    if not answer.tool_calls:
        return (answer.tokens,)
    texts = [answer.text_tokens] if answer.text else []
    return texts + [call.tokens for call in answer.tool_calls]


def _reasoning_events(item: OutputReasoning, first: int) -> list[bytes]:
    """The events of a reasoning, which come before the first token. The first one has the number ``first``."""
    begun = msgspec.structs.replace(item, summary=())
    events: list[tuple[str, dict[str, Any]]] = [("response.output_item.added", {"output_index": 0, "item": begun})]
    for index, part in enumerate(item.summary):
        place = {"item_id": item.id, "output_index": 0, "summary_index": index}
        events += [
            ("response.reasoning_summary_part.added", {**place, "part": SummaryText("")}),
            ("response.reasoning_summary_text.delta", {**place, "delta": part.text}),
            ("response.reasoning_summary_text.done", {**place, "text": part.text}),
            ("response.reasoning_summary_part.done", {**place, "part": part}),
        ]
    events.append(("response.output_item.done", {"output_index": 0, "item": item}))
    return [_event(name, number, **fields) for number, (name, fields) in enumerate(events, first)]


def _item_stream(index: int, item: TokenItem, tokens: Sequence[int], first: int) -> ItemStream:
    """The stream of an item. Its first event has the sequence number ``first``."""
    if isinstance(item, OutputMessage):
        return _message_stream(index, item, tokens, first)
    place = {"item_id": item.id, "output_index": index}
    if isinstance(item, OutputFunctionCall):
        begun: TokenItem = msgspec.structs.replace(item, status="in_progress", arguments="")
        kind, whole = "response.function_call_arguments", {"arguments": item.arguments}
    else:
        begun = msgspec.structs.replace(item, status="in_progress", input="")
        kind, whole = "response.custom_tool_call_input", {"input": item.input}
    after = first + 1 + len(tokens)
    return ItemStream(
        (_event("response.output_item.added", first, output_index=index, item=begun),),
        *_around(f"{kind}.delta", place, b"}\n\n"),
        first,
        tokens,
        (
            _event(f"{kind}.done", after, **place, **whole),
            _event("response.output_item.done", after + 1, output_index=index, item=item),
        ),
    )


def _message_stream(index: int, item: OutputMessage, tokens: Sequence[int], first: int) -> ItemStream:
    begun = msgspec.structs.replace(item, status="in_progress", content=())
    [part] = item.content
    place = {"item_id": item.id, "output_index": index, "content_index": 0}
    after = first + 2 + len(tokens)
    return ItemStream(
        (
            _event("response.output_item.added", first, output_index=index, item=begun),
            _event("response.content_part.added", first + 1, **place, part=OutputText("")),
        ),
        *_around("response.output_text.delta", place, _with_logprobs(())),
        first,
        tokens,
        (
            _event("response.output_text.done", after, **place, text=part.text, logprobs=part.logprobs),
            _event("response.content_part.done", after + 1, **place, part=part),
            _event("response.output_item.done", after + 2, output_index=index, item=item),
        ),
        [_with_logprobs((one,)) for one in part.logprobs],
    )


def _with_logprobs(logprobs: Sequence[ContentLogprob]) -> bytes:
    """The end of a token's event."""
    return b',"logprobs":%b}\n\n' % _json(logprobs)


def _around(kind: str, place: dict[str, Any], after: bytes) -> tuple[bytes, bytes, bytes]:
    """The bytes around the number and the text of a token's event."""
    between = b",%b," % msgspec.json.encode(place)[1:-1]
    return _head(kind), between + b'"delta":', after


def _event(kind: str, number: int, **fields: Any) -> bytes:
    return b"%b%d,%b\n\n" % (_head(kind), number, _json(fields)[1:])


def _response_event(kind: str, number: int, response: bytes) -> bytes:
    return b'%b%d,"response":%b}\n\n' % (_head(kind), number, response)


def _head(kind: str) -> bytes:
    """The bytes of an event up to its sequence number."""
    name = kind.encode()
    return b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)


def _json(value: Any) -> bytes:
    return on_one_line(msgspec.json.encode(value))
