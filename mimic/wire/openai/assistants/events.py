"""Events of a run in a stream. Each has a name, and an object or an addition to one. They have no numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from mimic.engine.base import ToolCall
from mimic.wire.sse import MARKER, PartedStream, Template, TokenStream, on_one_line

DONE: Final = b"event: done\ndata: [DONE]\n\n"
MESSAGE_DELTA: Final = "thread.message.delta"
STEP_DELTA: Final = "thread.run.step.delta"


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """An event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), on_one_line(msgspec.json.encode(data)))


def text_steps(message_id: str, tokens: Sequence[int]) -> TokenStream:
    """The events that add each token to a message."""
    text = {"index": 0, "type": "text", "text": {"value": MARKER, "annotations": []}}
    return TokenStream(_template(MESSAGE_DELTA, message_id, {"content": [text]}), tokens, b"")


def call_steps(step_id: str, calls: Sequence[ToolCall]) -> PartedStream:
    """The events that add calls, and each token of their arguments, to a step."""
    return PartedStream(
        [(_opening(step_id, n, call), _arguments(step_id, n, call)) for n, call in enumerate(calls)], b""
    )


def _opening(step_id: str, index: int, call: ToolCall) -> bytes:
    function = {"name": call.name, "arguments": "", "output": None}
    added = {"index": index, "id": call.id, "type": "function", "function": function}
    return event(STEP_DELTA, _delta(STEP_DELTA, step_id, _calls(added)))


def _arguments(step_id: str, index: int, call: ToolCall) -> TokenStream:
    added = {"index": index, "type": "function", "function": {"arguments": MARKER}}
    return TokenStream(_template(STEP_DELTA, step_id, _calls(added)), call.tokens, b"")


def _calls(added: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"step_details": {"type": "tool_calls", "tool_calls": [added]}}


def _delta(kind: str, object_id: str, delta: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"id": object_id, "object": kind, "delta": delta}


def _template(kind: str, object_id: str, delta: Mapping[str, Any]) -> Template:
    """The event of a token, whose text is the variable part."""
    before, after = event(kind, _delta(kind, object_id, delta)).split(b'"%s"' % MARKER.encode())
    return Template(before, after)
