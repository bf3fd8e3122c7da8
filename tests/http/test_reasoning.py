"""Reasoning tokens of a stated number (MIMIC_REASONING), through OpenAI's own SDK."""

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.support.corpora import Dump, conversation
from tests.support.servers import SharedServers

DUMP: Dump = [conversation("a", ("human", "hi"), ("gpt", "hello there"))]
HI: Any = [{"role": "user", "content": "hi"}]
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


@pytest.fixture(scope="module")
def client(serve: SharedServers) -> Iterator[OpenAI]:
    """The SDK, with strict types, for a server with 100 tokens of reasoning."""
    url = f"{serve(DUMP, MIMIC_REASONING='100').url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def events_of(client: OpenAI, **fields: Any) -> list[Any]:
    """The events of a streamed response."""
    with client.responses.create(model="m", stream=True, **fields) as stream:
        events: list[Any] = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events


def test_a_chat_counts_reasoning(client: OpenAI) -> None:
    """The tokens are in the usage of each answer, and in a stream's; the effort ``none`` has none."""
    cases: list[tuple[Any, int]] = [({}, 100), ({"n": 2}, 200), ({"reasoning_effort": "high"}, 100)]
    for asked, reasoning in cases:
        usage: Any = client.chat.completions.create(model="m", messages=HI, **asked).usage
        assert usage.completion_tokens_details.reasoning_tokens == reasoning
        assert usage.completion_tokens == reasoning + 2 * asked.get("n", 1)
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    plain = client.chat.completions.create(model="m", messages=HI, reasoning_effort="none").usage
    assert plain
    assert plain.completion_tokens == 2
    stream = client.chat.completions.create(model="m", messages=HI, stream=True, stream_options={"include_usage": True})
    [*_, last] = stream
    assert last.usage
    assert last.usage.completion_tokens == 102


def test_reasoning_takes_from_the_limit(client: OpenAI) -> None:
    """A limit below the reasoning leaves no text, as at OpenAI: a client has to cope with an empty answer."""
    for limit, text, reasoning in ((101, "hello", 100), (100, "", 100), (60, "", 60)):
        answer = client.chat.completions.create(model="m", messages=HI, max_completion_tokens=limit)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (text, "length")
        assert answer.usage
        assert answer.usage.completion_tokens == limit
        assert answer.usage.completion_tokens_details
        assert answer.usage.completion_tokens_details.reasoning_tokens == reasoning
    cut: Any = client.responses.create(model="m", input="hi", max_output_tokens=60)
    assert (cut.status, [item.type for item in cut.output]) == ("incomplete", ["reasoning"])
    assert cut.usage.output_tokens == cut.usage.output_tokens_details.reasoning_tokens == 60
    assert [event.type for event in events_of(client, input="hi", max_output_tokens=60)][-1] == "response.incomplete"


def test_a_response_begins_with_reasoning(client: OpenAI) -> None:
    """An item with a summary if the request wants one; it is stored, and may come back in an input."""
    plain: Any = client.responses.create(model="m", input="hi", reasoning={"effort": "high"})
    assert [item.type for item in plain.output] == ["reasoning", "message"]
    assert (plain.output_text, plain.output[0].summary) == ("hello there", [])
    assert plain.usage.output_tokens_details.reasoning_tokens == 100
    none: Any = client.responses.create(model="m", input="hi", reasoning={"effort": "none"})
    assert [item.type for item in none.output] == ["message"]
    include: Any = ["reasoning.encrypted_content"]
    full: Any = client.responses.create(model="m", input="hi", include=include, reasoning={"summary": "auto"})
    reasoning, message = full.output
    assert reasoning.encrypted_content
    assert "corpus" in reasoning.summary[0].text
    stored: Any = client.responses.retrieve(full.id)
    assert (stored.output, stored.usage) == (full.output, full.usage)
    given = [*HI, reasoning.model_dump(), message.model_dump(), *HI]
    assert client.responses.create(model="m", input=given).output_text == "hello there"


@pytest.mark.parametrize("tools", [[], [WEATHER]], ids=["text", "tool"])
def test_a_stream_begins_with_reasoning(client: OpenAI, tools: Any) -> None:
    """Events of the reasoning come first, in OpenAI's order, and the SDK puts the same response together."""
    asked: Any = {"input": "What is the weather in Paris?" if tools else "hi", "tools": tools}
    events = events_of(client, **asked, reasoning={"summary": "detailed"})
    assert [event.type for event in events][2:9] == [
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
    ]
    assert events[7].item.summary[0].text == events[4].delta == events[5].text
    assert {event.output_index for event in events[8:-1]} == {1}
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert events[-1].response.output == done
    assert [item.type for item in done] == ["reasoning", "function_call" if tools else "message"]
    with client.responses.stream(model="m", **asked) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == [item.type for item in done]


def test_a_resumed_stream_has_the_same_events(client: OpenAI) -> None:
    """A stream of a stored response can begin within its reasoning."""
    events = events_of(client, input="hi", background=True, reasoning={"summary": "auto"})
    with client.responses.retrieve(events[0].response.id, stream=True, starting_after=4) as stream:
        assert [event.type for event in stream] == [event.type for event in events[5:]]
