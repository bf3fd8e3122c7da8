"""Identities of requests: equal ones share a recording, and the differences of others are named."""

import asyncio
import json
from typing import Any

import pytest

from mimic.engine.base import Known
from mimic.engine.overrides import NO_OVERRIDES
from mimic.recordings.identity import Identity, differences, identity_of, likeness_of
from mimic.recordings.options import IgnoreRules, parse_url
from mimic.wire.openai.chat import ChatWire
from mimic.wire.openai.sampled import CompletionOptions

ASK = {"role": "user", "content": "Is it 5 o'clock on 2026-11-28?"}
LATER = {"role": "user", "content": "Is it 17 o'clock on 2026-11-28?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": '{"zone": "CET", "h": 24}'}}
TOOL = {"name": "clock", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}, "h": {}}}}
CHAT: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "Today is 2026-11-28."},
        ASK,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "17:00"},
    ],
    "tools": [{"type": "function", "function": TOOL}],
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def identity(rules: IgnoreRules = IgnoreRules(), **changes: Any) -> Identity:  # noqa: B008 - frozen
    """The identity of the chat with some changes; None removes a field."""
    fields = {name: value for name, value in {**CHAT, **changes}.items() if value is not None}
    body = json.dumps(fields).encode()
    request = asyncio.run(ChatWire(CompletionOptions()).read(body, b"", NO_OVERRIDES, Known()))
    return identity_of(request, body, rules)


def renamed(call_id: str) -> list[Any]:
    """The messages with another id of the tool call, and other white space in its arguments."""
    function = {"name": "clock", "arguments": '{"h":24,"zone":"CET"}'}
    [system, ask, _, result] = CHAT["messages"]
    return [
        system,
        ask,
        {"role": "assistant", "tool_calls": [{**CALL, "id": call_id, "function": function}]},
        {**result, "tool_call_id": call_id},
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"user": "u1", "metadata": {"a": "b"}, "store": True},
        {"messages": renamed("call_other")},
        {"tools": [{"type": "function", "function": dict(reversed(TOOL.items()))}]},
        {"temperature": 1, "n": 1, "top_p": 1},
        {"tool_choice": "auto", "parallel_tool_calls": True, "response_format": {"type": "text"}},
    ],
)
def test_the_delivery_does_not_matter(change: dict[str, Any]) -> None:
    """Streams, users, metadata, ids of calls and values by default make no difference."""
    assert identity(**change).key == identity().key


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gpt-4o-mini"},
        {"messages": [*CHAT["messages"][:3], {"role": "tool", "tool_call_id": "call_1", "content": "18:00"}]},
        {"messages": [*CHAT["messages"], ASK]},
        {"temperature": 0.5},
        {"seed": 7},
        {"max_tokens": 9},
        {"stop": "x"},
        {"n": 2},
        {"tools": None},
        {"tool_choice": "required"},
        {"parallel_tool_calls": False},
        {"logprobs": True},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]}]},
    ],
)
def test_all_that_decides_an_answer_matters(change: dict[str, Any]) -> None:
    """A change of the request is another identity, and its place is named."""
    other = identity(**change)
    assert other.key != identity().key
    assert differences(other, identity())
    assert 0 <= likeness_of(other, identity()) < 1


def test_two_images_are_two_requests() -> None:
    """Content parts without a text count with all of their fields."""
    other = {"type": "image_url", "image_url": {"url": "data:image/png;base64,BBBB"}}
    keys = {identity(messages=[{"role": "user", "content": [part]}]).key for part in (IMAGE, other)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("rules", "change"),
    [
        ("model", {"model": "gpt-5"}),
        ("sampling, seed", {"temperature": 0.1, "seed": 3}),
        ("tools", {"tools": [{"type": "function", "function": {**TOOL, "description": "Shows the time."}}]}),
        ("dates", {"messages": [{**CHAT["messages"][0], "content": "Today is 2027-01-31."}, *CHAT["messages"][1:]]}),
        ("system", {"messages": CHAT["messages"][1:]}),
        ("/[0-9]+ o'clock/", {"messages": [CHAT["messages"][0], LATER]}),
    ],
)
def test_rules_leave_out_what_changes(rules: str, change: dict[str, Any]) -> None:
    """Named fields and patterns count as equal, and the recording still has them."""
    parsed = IgnoreRules.parse(rules)
    base = {"messages": CHAT["messages"][: len(change["messages"])]} if rules.startswith("/") else {}
    assert identity(parsed, **change).key == identity(parsed, **base).key
    assert identity(**change).key != identity(**base).key
    assert identity(parsed, **change).parts == identity(**change).parts


@pytest.mark.parametrize("text", ["models", "/(/", "dates uuids"])
def test_a_rule_that_is_none_is_named(text: str) -> None:
    """The error names the rules that there are."""
    with pytest.raises(ValueError, match=r"expected /an expression/ or one of .*dates|is no regular expression"):
        IgnoreRules.parse(text)


def test_differences_are_short() -> None:
    """Each line has the place, our value, and the recorded one."""
    other = identity(model="gpt-5", messages=CHAT["messages"][:2], seed=1)
    lines = differences(other, identity())
    assert lines[0] == 'model: "gpt-5", recorded "gpt-4o"'
    assert "seed: 1, recorded nothing" in lines
    assert 'messages[3].text: nothing, recorded "17:00"' in lines


def test_a_conversation_keeps_its_name() -> None:
    """The later turns share the digest and the title of its beginning."""
    first, later = identity(messages=CHAT["messages"][:2]), identity()
    assert (first.conversation, first.title) == (later.conversation, later.title)
    assert later.title == "is-it-5-o-clock-on-2026-11-28"


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com/v1", "http://127.0.0.1:8000/v1", "http://llm:80", "http://10.1.2.3", "http://[::1]:1"],
)
def test_good_urls(url: str) -> None:
    """https, and http within a private network."""
    assert parse_url(url) == url


@pytest.mark.parametrize(
    "url",
    ["api.openai.com", "ftp://x", "http://api.openai.com/v1", "http://8.8.8.8", "https://u:p@x/v1", "https://x/v1?a=b"],
)
def test_bad_urls(url: str) -> None:
    """Plain http to the world would show prompts and keys to it."""
    with pytest.raises(ValueError, match=r"expected a URL|http is accepted for local"):
        parse_url(url)
