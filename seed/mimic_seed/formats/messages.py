"""Lists of messages: ``from`` and ``value`` of ShareGPT, ``role`` and ``content`` of OpenAI, and mixtures of both."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mimic.corpus.conversation import Message
from mimic_seed.formats.base import LeftOut, Unreadable, text_of
from mimic_seed.formats.tool_calls import RESULT_SENDER, message_with

SENDERS: Final = ("from", "role", "sender")
TEXTS: Final = ("value", "content", "text")
"""Fields of a message with its sender and its text; the first one that a message has counts."""
OTHER_SENDERS: Final = ("user", "assistant", "human", "gpt", "author")
OTHER_TEXTS: Final = ("markdown", "message", "body")
"""Names of these fields in formats that are not read. Reports name them."""

LEFT_OUT: Final[Mapping[str, str]] = {
    "weight": "weights of messages",
    "audio": "audio",
    "reasoning": "reasoning texts",
    "reasoning_content": "reasoning texts",
    "thinking": "reasoning texts",
    "images": "images",
    "attachments": "attachments",
    "files": "attachments",
    "files_v2": "attachments",
}
"""Fields of a message that the corpus does not keep, and their names in reports."""

KEPT: Final = frozenset(
    (*SENDERS, *TEXTS, *OTHER_SENDERS, *OTHER_TEXTS, *LEFT_OUT, "name", "refusal", "tool_calls", "function_call")
)
"""Fields of a message that are read or counted."""

PARTS: Final[Mapping[str, str]] = {
    "image_url": "images",
    "input_image": "images",
    "image": "images",
    "input_audio": "audio",
    "audio": "audio",
    "video": "videos",
    "video_url": "videos",
    "file": "attachments",
    "input_file": "attachments",
    "document": "attachments",
    "thinking": "reasoning texts",
    "redacted_thinking": "reasoning texts",
    "reasoning": "reasoning texts",
}
"""Types of content parts that the corpus does not keep, and their names in reports."""
BULKY: Final = frozenset(
    {"image_url", "input_audio", "source", "file", "image", "audio", "video", "video_url", "document"}
)
"""Fields of a content part with data that are not read."""

_RESULT_ROLES: Final = frozenset({"tool", "function"})


def is_message(value: Any) -> bool:
    """True if a value has the sender and the text of a message."""
    if not isinstance(value, dict) or not ("from" in value or "role" in value):
        return False
    return any(field in value for field in ("value", "content", "tool_calls", "function_call"))


def messages_of(items: Sequence[Any], left_out: LeftOut) -> list[Message]:
    """The messages of a list. Raises Unreadable at the first broken one."""
    found: list[Message] = []
    for index, item in enumerate(items):
        if type(item) is dict:
            sender, text = item.get("from"), item.get("value")
            if type(sender) is str and type(text) is str:
                found.append(Message(sender, text))
                continue
        found += _read(item, f"message {index}", left_out)
    return found


def _read(item: Any, where: str, left_out: LeftOut) -> Iterator[Message]:
    if not isinstance(item, dict):
        raise Unreadable("a message is not an object", f"{where} is not an object")
    sender = _field(item, SENDERS, OTHER_SENDERS, where)
    name = text_of(item[sender], sender, where)
    if sender == "role" and name in _RESULT_ROLES:
        name = RESULT_SENDER
    calls = item.get("tool_calls") or ([item["function_call"]] if item.get("function_call") else [])
    if not isinstance(calls, list):
        raise Unreadable("a broken tool call", f"{where} has a broken tool call")
    said = list(_said(item, name, where, left_out, has_calls=bool(calls)))
    yield from said
    if calls:
        yield message_with(calls, where)
    for field in LEFT_OUT.keys() & item.keys():
        if item[field] or field == "weight":
            left_out[LEFT_OUT[field]] += 1
    if item.get("name") and name != RESULT_SENDER:
        left_out["names of speakers"] += 1


def _said(item: dict[str, Any], sender: str, where: str, left_out: LeftOut, *, has_calls: bool) -> Iterator[Message]:
    """The text of a message. A message with calls may have none."""
    present = [field for field in TEXTS if field in item]
    if has_calls and (not present or item[present[0]] in (None, "", [])):
        return
    if isinstance(item.get("refusal"), str) and all(item[field] is None for field in present):
        yield Message(sender, text_of(item["refusal"], "refusal", where))
        return
    field = _field(item, TEXTS, OTHER_TEXTS, where)
    if field != "value" and isinstance(item[field], list):
        yield from parts_of(item[field], sender, where, left_out)
    else:
        yield Message(sender, text_of(item[field], field, where))


def parts_of(parts: Sequence[Any], sender: str, where: str, left_out: LeftOut) -> Iterator[Message]:
    """The messages in the parts of a content: one text, joined without separators, then calls and results of tools.

    A content without text, such as an image, is an empty text, unless it has calls or results.
    """
    texts: list[str] = []
    others: list[Message] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(text_of(part, "content", where))
            continue
        if not isinstance(part, dict):
            raise Unreadable("a content part is not an object", f"{where} has a content part that is not an object")
        kind = part.get("type")
        if kind == "tool_use":
            others.append(message_with([part], where))
        elif kind == "tool_result":
            others += _result(part.get("content", ""), where, left_out)
        elif isinstance(kind, str) and kind in PARTS:
            left_out[PARTS[kind]] += 1
        elif "text" in part or "refusal" in part:
            field = "text" if "text" in part else "refusal"
            texts.append(text_of(part[field], field, where))
        else:
            left_out["content parts of other types"] += 1
    if texts or not others:
        yield Message(sender, "".join(texts))
    yield from others


def _result(content: Any, where: str, left_out: LeftOut) -> Iterator[Message]:
    if isinstance(content, list):
        yield from parts_of([part for part in content if not _is_call(part)], RESULT_SENDER, where, left_out)
    else:
        yield Message(RESULT_SENDER, text_of(content, "content", where))


def _is_call(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in ("tool_use", "tool_result")


def _field(item: dict[str, Any], fields: Sequence[str], others: Sequence[str], where: str) -> str:
    """The first of some fields that a message has. Raises Unreadable if it has none."""
    found = next((field for field in fields if field in item), None)
    if found is not None:
        return found
    other = next((field for field in others if field in item), None)
    if other:
        reason = f"`{other}` instead of `{fields[0]}`"
        raise Unreadable(f"a message with {reason}", f"{where} has {reason}")
    raise Unreadable(f"a message without `{fields[0]}`", f"{where} has no `{fields[0]}`")
