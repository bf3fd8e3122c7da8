"""Calls of tools that a client writes into the texts of a chat, as smolagents does."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from mimic.engine.base import ChatMessage, Prompt, Tool, ToolCall

CALL: Final = re.compile(r"""["']name["']\s{0,3}:\s{0,3}["']([\w-]{1,64})["']""")
"""The name of a tool in a call that is written in JSON or Python."""
HEADING: Final = re.compile(r"\s{0,3}Observations?:\s{0,3}")


def read_written_calls(prompt: Prompt, tools: Sequence[Tool]) -> Prompt:
    """Return the prompt with calls in the assistant's texts as calls, and the user's message after each as a result."""
    names = {tool.name for tool in tools}
    found: list[ChatMessage] = []
    is_result = False
    for message in prompt.messages:
        text = message.text or ""
        calls: Sequence[ToolCall] = ()
        if message.role == "assistant" and not message.tool_calls:
            calls = [ToolCall("", name, "") for name in CALL.findall(text) if name in names]
        if is_result and message.role == "user":
            found.append(ChatMessage("tool", text[heading.end() :] if (heading := HEADING.match(text)) else text))
        else:
            found.append(msgspec.structs.replace(message, tool_calls=calls) if calls else message)
        is_result = bool(calls)
    return Prompt(found, prompt.tokens)
