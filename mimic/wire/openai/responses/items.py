"""Items of an input: messages, calls of tools and their results, in neutral form."""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mimic.engine.base import ChatMessage, ToolCall
from mimic.errors import RequestError
from mimic.spelling import shown
from mimic.wire.json import convert
from mimic.wire.openai.ignored import OTHER, SAFE_NAME
from mimic.wire.openai.parts import MUST_HAVE_TEXT, Part, joined_text, missing
from mimic.wire.openai.responses.answer import item_id

RawItem: TypeAlias = dict[str, Any]

MESSAGE: Final = "message"
CALLS: Final = frozenset({"function_call", "custom_tool_call"})
RESULTS: Final = frozenset({"function_call_output", "custom_tool_call_output"})
COMPACTION: Final = "compaction"
SILENT: Final = frozenset({"reasoning", COMPACTION, "compaction_trigger"})
"""Types of items that Mimic passes over: their content would not change a model's answer much."""

COMPACTION_MARK: Final = "mimic-"
"""The start of the content of Mimic's compactions, which nothing encrypts."""
KEPT_ITEMS: Final = 10
"""Items that a compaction keeps: a match needs the last messages only."""
FIRST_INPUT: Final = 0x8000
"""The number of the first item of an input, in ids: the items of an output have lower ones."""
_RESULT_NAMES: Final = {"function_call_output": "function call", "custom_tool_call_output": "custom tool call"}
_PREFIXES: Final = {
    MESSAGE: "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
    COMPACTION: "cmp",
}

Content: TypeAlias = str | Sequence[Part | str]


class InputMessage(msgspec.Struct, frozen=True):
    """A message. Its type may be left out."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    type: Literal["message"] | None = None


class InputFunctionCall(msgspec.Struct, frozen=True, tag_field="type", tag="function_call"):
    """A call of a function by an earlier answer."""

    call_id: str
    name: str
    arguments: str


class InputCustomCall(msgspec.Struct, frozen=True, tag_field="type", tag="custom_tool_call"):
    """A call of a custom tool by an earlier answer."""

    call_id: str
    name: str
    input: str


class InputResult(msgspec.Struct, frozen=True):
    """The result of a call."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str
    output: Content


class ItemList(msgspec.Struct, frozen=True):
    """An input: its items in neutral form, and the names of the items and parts that were passed over.

    ``results`` are the results of calls among the items.
    """

    messages: Sequence[ChatMessage]
    ignored: Sequence[str]
    results: Sequence[InputResult] = ()


def read_items(items: Sequence[RawItem], field: str = "input") -> ItemList:
    """Read the items in a field. Raises RequestError with the path of the field."""
    messages: list[ChatMessage] = []
    results: list[InputResult] = []
    ignored: dict[str, None] = {}
    for path, item in _expanded(items, field):
        kind = _type_of(item, path)
        if kind == MESSAGE:
            messages.append(_message(item, path))
        elif kind in CALLS:
            _add_call(messages, _call(item, kind, path))
        elif kind in RESULTS:
            result = convert(item, InputResult, path)
            messages.append(ChatMessage("tool", _text(result.output, f"{path}.output"), call_id=result.call_id))
            results.append(result)
        elif kind not in SILENT:
            ignored[f"input.{_safe(kind)}"] = None
        ignored.update(dict.fromkeys(_passed_over(item)))
    return ItemList(messages, list(ignored), results)


def check_results(results: Sequence[InputResult], items: Sequence[RawItem]) -> None:
    """Raises RequestError for a result without its call among the items. A compaction may stand for the call."""
    if any(item.get("type") == COMPACTION for item in items):
        return
    calls = {item["call_id"] for item in items if item.get("type") in CALLS}
    for result in results:
        if result.call_id not in calls:
            kind = _RESULT_NAMES[result.type]
            text = f"No tool call found for {kind} output with call_id {shown(result.call_id)}."
            raise RequestError(400, text, param="input")


def compacted(items: Sequence[RawItem]) -> str:
    """The content of an item that stands for the last items of an input."""
    last = [item for _, item in _expanded(items)][-KEPT_ITEMS:]
    return f"{COMPACTION_MARK}{b64encode(msgspec.json.encode(last)).decode()}"


def _expanded(items: Sequence[RawItem], field: str = "input") -> Iterator[tuple[str, RawItem]]:
    """Yield items with their paths. Mimic's compactions become the items that they stand for."""
    for index, item in enumerate(items):
        path, content = f"{field}[{index}]", item.get("encrypted_content")
        if item.get("type") == COMPACTION and isinstance(content, str) and content.startswith(COMPACTION_MARK):
            for inner in _decode_items(content.removeprefix(COMPACTION_MARK), path):
                yield path, inner
        else:
            yield path, item


def _decode_items(content: str, path: str) -> Sequence[RawItem]:
    try:
        return msgspec.json.decode(b64decode(content, validate=True), type=list[RawItem])
    except (ValueError, RecursionError):
        param = f"{path}.encrypted_content"
        text = f"Invalid '{param}': it is not the content of a compaction."
        raise RequestError(400, text, param=param, code="invalid_value") from None


def identified(item: RawItem, response_id: str, index: int) -> RawItem:
    """An item of a stored input: complete, and with an id that leads to the response."""
    if item.get("id") is None:
        item = {**item, "id": item_id(response_id, prefix_of(item), FIRST_INPUT + index)}
    return completed_item(item)


def prefix_of(item: RawItem) -> str:
    """The prefix of the id of an item."""
    return _PREFIXES.get(item.get("type") or MESSAGE, "item")


def completed_item(item: RawItem) -> RawItem:
    """An item with the fields that OpenAI's answers have."""
    kind = item.get("type") or MESSAGE
    whole = {"type": kind, **item, "status": item.get("status") or "completed"}
    if kind == MESSAGE:
        whole["content"] = _complete_parts(item["content"], is_output=item["role"] == "assistant")
    return whole


def _complete_parts(content: Any, *, is_output: bool) -> list[Any]:
    """The content of a message as parts, with the types that OpenAI's answers have."""
    parts = []
    for part in [content] if isinstance(content, str) else content:
        whole = {"type": "text", "text": part} if isinstance(part, str) else dict(part)
        if whole["type"] in MUST_HAVE_TEXT:
            whole["type"] = "output_text" if is_output else "input_text"
        if whole["type"] == "output_text":
            whole.setdefault("annotations", [])
        parts.append(whole)
    return parts


def referenced_id(item: RawItem) -> str | None:
    """The id in a reference to an item; None for other items. The type of a reference may be left out."""
    kind, item_id = item.get("type"), item.get("id")
    is_reference = kind == "item_reference" or (kind is None and "role" not in item)
    return item_id if is_reference and isinstance(item_id, str) else None


def _type_of(item: RawItem, path: str) -> str:
    kind = item.get("type")
    if kind is None:
        if "role" not in item:
            raise missing(f"{path}.type")
        return MESSAGE
    if not isinstance(kind, str):
        text = f"Invalid type for '{path}.type': expected a string."
        raise RequestError(400, text, param=f"{path}.type", code="invalid_type")
    return kind


def _message(item: RawItem, path: str) -> ChatMessage:
    message = convert(item, InputMessage, path)
    return ChatMessage(message.role, _text(message.content, f"{path}.content"))


def _text(content: Content, path: str) -> str | None:
    return content if isinstance(content, str) else joined_text(content, path)


def _call(item: RawItem, kind: str, path: str) -> ToolCall:
    if kind == "function_call":
        call = convert(item, InputFunctionCall, path)
        return ToolCall(call.call_id, call.name, call.arguments)
    custom = convert(item, InputCustomCall, path)
    return ToolCall(custom.call_id, custom.name, custom.input, is_custom=True)


def _add_call(messages: list[ChatMessage], call: ToolCall) -> None:
    """Add a call to the message before it, if this holds calls: a chat has parallel calls in one message."""
    if messages and messages[-1].tool_calls:
        messages[-1] = msgspec.structs.replace(messages[-1], tool_calls=(*messages[-1].tool_calls, call))
    else:
        messages.append(ChatMessage("assistant", None, tool_calls=(call,)))


def _passed_over(item: Mapping[str, Any]) -> Iterator[str]:
    """The names of the content parts that have no text."""
    content = item.get("content") or item.get("output")
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and part.get("text") is None:
                yield f"input.content.{_safe(part.get('type'))}"


def _safe(kind: object) -> str:
    return kind if isinstance(kind, str) and SAFE_NAME(kind) else OTHER
