"""Conversations in the formats of other programs. Pure."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mimic.corpus.calls import CorpusCall, call_message, calls_in, canonical
from mimic.corpus.conversation import CALL, RESULT, Conversation, Message, role_of

ExportFormat: TypeAlias = Literal["sharegpt", "openai"]

_OPENAI_ROLES: Final = frozenset({"user", "assistant", "system", "developer"})


def as_sharegpt(conversation: Conversation) -> dict[str, Any]:
    """A conversation of the ShareGPT dump, exactly as it was read."""
    messages = [{"from": message.sender, "value": message.value} for message in conversation.messages]
    return {"id": conversation.id, "conversations": messages}


def as_openai(conversation: Conversation) -> dict[str, Any]:
    """An example of OpenAI's fine-tuning format. An assistant's message has the tool calls, tools have the results.

    Senders become roles. A sender without a role at OpenAI stays as it is.
    """
    return {"id": conversation.id, "messages": list(_openai_messages(conversation))}


FORMATS: Final[Mapping[ExportFormat, Callable[[Conversation], dict[str, Any]]]] = {
    "sharegpt": as_sharegpt,
    "openai": as_openai,
}


def _openai_messages(conversation: Conversation) -> Iterator[dict[str, Any]]:
    unanswered: deque[str] = deque()
    made = 0
    for message in conversation.messages:
        role = role_of(message.sender)
        calls = calls_in(message) if role == CALL else ()
        if calls and canonical(call_message(calls)) == canonical(message):
            names = [f"call_{number}" for number in range(made, made + len(calls))]
            made += len(calls)
            unanswered = deque(names)
            yield {"role": "assistant", "tool_calls": list(map(_openai_call, names, calls))}
        elif role == RESULT:
            name = unanswered.popleft() if unanswered else f"call_{max(made - 1, 0)}"
            yield {"role": "tool", "tool_call_id": name, "content": message.value}
        else:
            yield {"role": _openai_role(message, role), "content": message.value}


def _openai_role(message: Message, role: str) -> str:
    return role if role in _OPENAI_ROLES and message.sender not in _OPENAI_ROLES else message.sender


def _openai_call(name: str, call: CorpusCall) -> dict[str, Any]:
    if isinstance(call.arguments, str):
        return {"id": name, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    arguments = msgspec.json.encode(call.arguments).decode()
    return {"id": name, "type": "function", "function": {"name": call.name, "arguments": arguments}}
