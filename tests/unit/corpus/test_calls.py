"""Tool calls in the messages of a dump."""

import json
from typing import Any

import pytest

from mimic.corpus.calls import CorpusCall, call_message, calls_in, canonical
from mimic.corpus.conversation import Message
from mimic.corpus.similar.index import normal_digest

PARIS = CorpusCall("get_weather", {"location": "Paris", "days": 2})
WRITTEN = '{"name": "get_weather", "arguments": {"location": "Paris", "days": 2}}'


@pytest.mark.parametrize(
    ("sender", "value", "calls"),
    [
        ("function_call", WRITTEN, [PARIS]),
        ("tool_call", f" {WRITTEN}\n", [PARIS]),
        ("Function_Call ", WRITTEN, [PARIS]),
        ("tool_call", f"[{WRITTEN}, {WRITTEN}]", [PARIS, PARIS]),
        ("function_call", '{"name": "get_weather", "parameters": {"location": "Paris", "days": 2}}', [PARIS]),
        ("function_call", json.dumps({"name": "get_weather", "arguments": json.dumps(PARIS.arguments)}), [PARIS]),
        ("function_call", '{"name": "note", "arguments": "a text"}', [CorpusCall("note", "a text")]),
        ("function_call", '{"name": "now"}', [CorpusCall("now", {})]),
        ("gpt", f"I look it up.\n<tool_call>\n{WRITTEN}\n</tool_call>", [PARIS]),
        ("gpt", f"<tool_call>{WRITTEN}</tool_call> and <tool_call>{WRITTEN}</tool_call>", [PARIS, PARIS]),
        ("gpt", WRITTEN, []),
        ("human", f"<tool_call>{WRITTEN}</tool_call>", []),
        ("observation", WRITTEN, []),
        ("function_call", "get_weather(Paris)", []),
        ("function_call", '{"name": 1}', []),
        ("function_call", '{"name": "x", "arguments": [1]}', []),
        ("function_call", "[" * 100_000, []),
        ("function_call", "3", []),
        ("gpt", "<tool_call>{</tool_call>", []),
        ("function_call", '{"name": "x", "arguments": "' + "y" * 200_000 + '"}', []),
    ],
)
def test_calls_are_read(sender: str, value: str, calls: list[CorpusCall]) -> None:
    """From messages of their own and from markup, in the layouts of several dumps; anything else has none."""
    assert list(calls_in(Message(sender, value))) == calls


def test_a_written_call_is_read_again() -> None:
    """In the layout of most dumps, with a space after each colon."""
    assert call_message([PARIS]) == Message("function_call", WRITTEN)
    assert list(calls_in(call_message([PARIS, PARIS]))) == [PARIS, PARIS]


def _digests(*messages: tuple[str, str]) -> set[Any]:
    return {normal_digest(Message(sender, value)) for sender, value in messages}


def test_layout_does_not_matter_for_calls_and_results() -> None:
    """Keys are sorted and blanks dropped before messages are compared; markup counts as a call."""
    other = '{"arguments":{"days":2,"location":"Paris"},"name":"get_weather"}'
    markup = f"<tool_call>{other}</tool_call>"
    assert len(_digests(("function_call", WRITTEN), ("tool_call", other), ("gpt", markup))) == 1
    assert len(_digests(("observation", '{"a": 1, "b": 2}'), ("tool", '{"b":2,"a":1}'))) == 1
    assert len(_digests(("observation", '{"a": 1}'), ("observation", '{"a": 2}'))) == 2
    assert len(_digests(("human", '{"a": 1, "b": 2}'), ("human", '{"b":2,"a":1}'))) == 2


@pytest.mark.parametrize("sender", ["observation", "function_call", "gpt", "human"])
def test_other_messages_stay_unchanged(sender: str) -> None:
    """A text without calls has one form."""
    message = Message(sender, "It rains.")
    assert canonical(message) is message
