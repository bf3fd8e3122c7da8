"""Responses of other services, read into neutral form."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from mimic.engine.base import ChatMessage, Usage
from mimic.wire.base import Given, GivenAnswer, GivenCall, GivenChoice
from mimic.wire.openai.given import events_in, read_or_none
from mimic.wire.openai.responses.request import ResponseRequest

FINISHED: Final = frozenset({"completed", "incomplete"})
"""The states of a response with an answer."""


class _Content(msgspec.Struct, frozen=True):
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct, frozen=True):
    type: str
    content: Sequence[_Content] | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0


class _Response(msgspec.Struct, frozen=True):
    id: str
    status: str
    output: Sequence[_Item]
    usage: _Usage | None = None


NOTHING: Final = msgspec.Raw()


class _Event(msgspec.Struct, frozen=True):
    type: str
    response: msgspec.Raw = NOTHING


_response: Final = msgspec.json.Decoder(_Response).decode
_event: Final = msgspec.json.Decoder(_Event).decode


def given_response(body: bytes, *, is_stream: bool) -> Given | None:
    """The response in a body. None if it is cut, failed, or another thing. A stream has the response in its end."""
    found: Any = body
    if is_stream:
        if not body.replace(b"\r\n", b"\n").endswith(b"\n\n"):
            return None
        last = None
        for data in events_in(body):
            last = read_or_none(_event, data)
        if last is None or not bytes(last.response) or last.type.removeprefix("response.") not in FINISHED:
            return None
        found = last.response
    response = read_or_none(_response, found)
    if response is None or response.status not in FINISHED:
        return None
    return Given(response.id, _answer_of(response))


def forwarded_body(request: ResponseRequest, body: bytes) -> bytes:
    """The body of a request with all items before its input, in place of the id of the response before it."""
    fields = msgspec.json.decode(body)
    messages = list(request.prompts[0].messages)
    if fields.get("instructions") is not None:
        del messages[0]
    kept = {name: value for name, value in fields.items() if name != "previous_response_id"}
    return msgspec.json.encode({**kept, "input": [item for message in messages for item in _items_of(message)]})


def _items_of(message: ChatMessage) -> Iterator[dict[str, Any]]:
    """A message as items of an input."""
    if message.is_result:
        yield {"type": "function_call_output", "call_id": message.call_id or "", "output": message.text or ""}
        return
    if message.text is not None:
        yield {"role": message.role, "content": message.text}
    for call in message.tool_calls:
        kind, field = ("custom_tool_call", "input") if call.is_custom else ("function_call", "arguments")
        yield {"type": kind, "call_id": call.id, "name": call.name, field: call.arguments}


def _answer_of(response: _Response) -> GivenAnswer:
    contents = [part for item in response.output if item.type == "message" for part in item.content or ()]
    calls = [
        GivenCall(item.name or "", item.input or "", is_custom=True)
        if item.type == "custom_tool_call"
        else GivenCall(item.name or "", item.arguments or "")
        for item in response.output
        if item.type in {"function_call", "custom_tool_call"}
    ]
    text = "".join(part.text or part.refusal or "" for part in contents)
    cut = response.status == "incomplete"
    choice = GivenChoice(text, calls, "length" if cut else "tool_calls" if calls else "stop")
    usage = Usage(response.usage.input_tokens, response.usage.output_tokens) if response.usage else None
    return GivenAnswer([choice], usage)
