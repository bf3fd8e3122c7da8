"""Tool calls in dumps: messages of their own, or markup in an assistant's message. Pure.

A call is JSON: ``{"name": "get_weather", "arguments": {"location": "Paris"}}``, or an array of such objects. Some dumps
call the arguments ``parameters``, or hold them as a string of JSON.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from mimic.corpus.conversation import CALL, RESULT, ROLES, Choice, Message, role_of

MARKUP: Final = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_OPENING: Final = "<tool_call>"
_MAX_CHARACTERS: Final = 100_000
"""Characters of a message in which calls are looked for."""
_CALL_SENDER: Final = "function_call"

_SPEAKERS: Final = frozenset(sender for sender, role in ROLES.items() if role not in {CALL, RESULT})

_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


class CorpusCall(msgspec.Struct, frozen=True):
    """A tool call: the name of the tool, and its arguments, a JSON object or a text."""

    name: str
    arguments: dict[str, Any] | str


class CallChoice(msgspec.Struct, frozen=True):
    """A message of the corpus with tool calls: the calls, and the message at its place."""

    calls: Sequence[CorpusCall]
    source: Choice


def calls_in(message: Message) -> Sequence[CorpusCall]:
    """The tool calls in a message; empty for a message without calls."""
    if len(message.value) > _MAX_CHARACTERS:
        return ()
    role = role_of(message.sender)
    if role == CALL:
        return list(_calls(message.value))
    if role == "assistant" and _OPENING in message.value:
        return [call for text in MARKUP.findall(message.value) for call in _calls(text)]
    return ()


def may_hold_calls(choices: Sequence[Choice]) -> bool:
    """True unless it is certain at a glance that no answer has tool calls: most requests need no closer look."""
    for choice in choices:
        message = choice.message
        if message.sender not in _SPEAKERS or _OPENING in message.value:
            return True
    return False


def call_choice(choice: Choice) -> CallChoice | None:
    """The tool calls of an answer of the corpus; None for an answer without calls."""
    calls = calls_in(choice.message)
    return CallChoice(calls, choice) if calls else None


def call_message(calls: Sequence[CorpusCall]) -> Message:
    """A message with these calls, in the most common form of dumps."""
    objects = [_written(call) for call in calls]
    return Message(_CALL_SENDER, objects[0] if len(objects) == 1 else f"[{', '.join(objects)}]")


def canonical(message: Message) -> Message:
    """A message with its JSON in one layout, with sorted keys: tool calls and results of tools.

    Two messages that differ only in the layout of their JSON get the same form. Other messages are returned unchanged.
    """
    role = role_of(message.sender)
    if role not in {CALL, RESULT} and not (role == "assistant" and _OPENING in message.value):
        return message
    if role == RESULT:
        value = _parsed(message.value)
        return Message(message.sender, _sorted(value)) if isinstance(value, dict | list) else message
    calls = calls_in(message)
    return Message(_CALL_SENDER, _sorted(calls)) if calls else message


def _calls(text: str) -> Iterator[CorpusCall]:
    value = _parsed(text)
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict) or not isinstance(name := one.get("name"), str):
            continue
        arguments = one.get("arguments", one.get("parameters", {}))
        if isinstance(arguments, str) and isinstance(inner := _parsed(arguments), dict):
            arguments = inner
        if isinstance(arguments, dict | str):
            yield CorpusCall(name, arguments)


def _parsed(text: str) -> Any:
    if len(text) > _MAX_CHARACTERS:
        return None
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def _sorted(value: Any) -> str:
    return _encode_sorted(value).decode()


def _written(call: CorpusCall) -> str:
    """JSON with a space after each colon and comma, like the output of ``json.dumps``."""
    fields = msgspec.json.encode({"name": call.name, "arguments": call.arguments})
    return msgspec.json.format(fields, indent=0).decode()
