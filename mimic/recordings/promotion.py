"""Recordings as conversations of a dump, to be seeded into a corpus. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mimic.corpus.calls import call_message
from mimic.corpus.conversation import Conversation, Message
from mimic.engine.base import ChatMessage, Prompt, ToolCall
from mimic.recordings.base import Recording
from mimic.wire.base import GivenChoice


def promoted(recordings: Sequence[Recording]) -> Iterator[Conversation]:
    """Yield a conversation for each recorded chat. A chat that a longer one begins with is part of the longer one."""
    found = [(tuple(_messages(recording)), recording.key) for recording in recordings if recording.answer.choices]
    beginnings = {messages[:length] for messages, _ in found for length in range(1, len(messages))}
    for messages, key in found:
        if messages not in beginnings:
            yield Conversation(f"recording_{key}", messages)


def _messages(recording: Recording) -> Iterator[Message]:
    """The messages of a request, and the first choice of its answer."""
    request = recording.request
    asked = [*request.get("messages", ()), *({"role": "user", "text": text} for text in request.get("prompts", ())[:1])]
    yield from Prompt([_chat_message(message) for message in asked]).corpus_messages()
    yield from _answer(recording.answer.choices[0])


def _chat_message(message: Mapping[str, Any]) -> ChatMessage:
    calls = [_call(call) for call in message.get("calls", ())]
    return ChatMessage(message["role"], message.get("text"), tool_calls=calls)


def _call(call: Mapping[str, Any]) -> ToolCall:
    arguments = call["arguments"]
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(str(call["id"]), call["name"], text)


def _answer(choice: GivenChoice) -> Iterator[Message]:
    """The text, and the calls after it."""
    if choice.text or not choice.calls:
        yield Message("gpt", choice.text)
    if choice.calls:
        yield call_message(
            [ToolCall("", call.name, call.arguments, call.is_custom).corpus_call() for call in choice.calls]
        )
