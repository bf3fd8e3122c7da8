"""``/v1/responses`` through OpenAI's own SDK: texts, tools, structured answers, streams, errors, limits, faults."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import BadRequestError, OpenAI
from pydantic import BaseModel

from tests.support.corpora import Dump, conversation
from tests.support.sdk import sdk
from tests.support.servers import Server, SharedServers

ADVICE = "Use a list. Sort it with sorted(). Lists are changed in place, tuples are not. Ask again if this is unclear."
DUMP: Dump = [
    conversation("a", ("human", "How do I sort a list?"), ("gpt", ADVICE)),
    conversation("b", ("human", "Give me JSON"), ("gpt", 'Of course:\n```json\n{"a": 1}\n```\nAnything else?')),
    conversation("c", ("human", "hi"), ("gpt", "hello"), ("human", "and now?"), ("gpt", "event: goodbye\u2028")),
    conversation("d", ("human", "and now?"), ("gpt", "a wrong answer")),
]
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather of a place",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city"}},
        "required": ["location"],
        "additionalProperties": False,
    },
    "strict": True,
}
NOTE: Any = {"type": "custom", "name": "write_note", "description": "Write a note"}
SEARCH: Any = {"type": "web_search"}
QUESTION = "What is the weather in Paris?"
KEYS = frozenset(
    (
        *(
            "id",
            "object",
            "created_at",
            "completed_at",
            "status",
            "incomplete_details",
            "model",
            "previous_response_id",
        ),
        *("instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text"),
        *("top_p", "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage"),
        *("max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata"),
        *("safety_identifier", "prompt_cache_key"),
    )
)
"""The keys that the strictest published schema requires (Open Responses)."""


@pytest.fixture(scope="module")
def url(serve: SharedServers) -> str:
    """A server of :data:`DUMP`."""
    return serve(DUMP).url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    """The SDK, with strict types for every answer and without retries."""
    with OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def ask(client: OpenAI, given: Any, **fields: Any) -> Any:
    """A response, whole."""
    return client.responses.create(model="m", input=given, **fields)


def events_of(client: OpenAI, given: Any, **fields: Any) -> list[Any]:
    """The events of a streamed response, of which the sequence numbers are checked."""
    with client.responses.create(model="m", input=given, stream=True, **fields) as stream:
        events: list[Any] = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events


def test_a_text(client: OpenAI) -> None:
    """A text is the message of a user, and the answer is the one of the chat, in one message."""
    answer = ask(client, "hi")
    assert answer.output_text == "hello"
    assert (answer.status, answer.error, answer.model, answer.object) == ("completed", None, "m", "response")
    [message] = answer.output
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")
    assert answer.id.startswith("resp_")
    assert message.id.startswith("msg_")
    assert answer.completed_at >= answer.created_at
    chat = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert chat.usage
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (chat.usage.prompt_tokens, 1)
    assert answer.usage.total_tokens == chat.usage.total_tokens


def test_every_key_is_there(url: str) -> None:
    """A response has every key of the strictest schema, and the request's values or their defaults."""
    plain = httpx.post(f"{url}/v1/responses", json={"model": "m", "input": "hi"}).json()
    assert plain.keys() == KEYS
    expected = {
        "tools": [],
        "tool_choice": "auto",
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "reasoning": {"effort": None, "summary": None},
        "truncation": "disabled",
        "temperature": 1.0,
        "top_p": 1.0,
        "metadata": {},
        "service_tier": "default",
    }
    assert {name: plain[name] for name in expected} == expected
    given = {
        "instructions": "Be brief",
        "metadata": {"a": "b"},
        "temperature": 0,
        "top_p": 0.5,
        "max_output_tokens": 99,
        "max_tool_calls": 3,
        "tools": [WEATHER, SEARCH],
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "truncation": "auto",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "user": "u",
        "prompt_cache_retention": "24h",
        "store": False,
    }
    echoed = httpx.post(f"{url}/v1/responses", json={"model": "m", "input": "hi", **given}).json()
    assert echoed.keys() == KEYS | {"user", "prompt_cache_retention"}
    assert {name: echoed[name] for name in given} == given


def test_a_conversation(client: OpenAI) -> None:
    """Items are the messages of a chat: an earlier answer comes back as an item, and instructions are no message."""
    first = ask(client, "hi", instructions="Be kind")
    items = [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}, *first.output]
    items = [item if isinstance(item, dict) else item.model_dump() for item in items]
    again = ask(client, [*items, {"type": "message", "role": "user", "content": "and now?"}], temperature=0)
    assert again.output_text == "event: goodbye\u2028"
    assert ask(client, "hi", instructions="Be kind").usage.input_tokens > ask(client, "hi").usage.input_tokens


def test_a_request_without_model_and_input(client: OpenAI, serve: SharedServers) -> None:
    """Both are optional, as in OpenAI's documentation: the model is Mimic's default."""
    url = serve(DUMP, MIMIC_ON_MISS="any").url
    answer = httpx.post(f"{url}/v1/responses", json={}).json()
    assert (answer["model"], answer["status"]) == ("mimic-v3", "completed")


def test_a_stream_of_a_text(client: OpenAI) -> None:
    """The events of a text come in OpenAI's order, each with the next number, and end with the whole response."""
    events = events_of(client, "How do I sort a list?")
    kinds = [event.type for event in events]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * len(deltas),
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert "".join(event.delta for event in deltas) == ADVICE
    created, completed = events[0].response, events[-1].response
    assert (created.status, created.output, created.usage) == ("in_progress", [], None)
    assert (completed.id, completed.output_text) == (created.id, ADVICE)
    assert completed.usage.output_tokens == len(deltas)
    assert {event.item_id for event in deltas} == {completed.output[0].id}
    assert events[-4].text == ADVICE
    assert events[-2].item == completed.output[0]


def test_frames_of_a_stream(url: str) -> None:
    """Each event is named in a line before its data; a text cannot break the lines, and nothing follows the end."""
    given = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    body = {"model": "m", "input": [*given, {"role": "user", "content": "and now?"}], "stream": True}
    answer = httpx.post(f"{url}/v1/responses", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    frames = answer.text.split("\n\n")
    assert frames.pop() == ""
    for frame in frames:
        name, data = frame.split("\n")
        assert json.loads(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")
        assert len(frame.splitlines()) == 2
    assert json.loads(frames[-1].split("data: ")[1])["response"]["output"][0]["content"][0]["text"].endswith("\u2028")


def test_the_helper_for_streams(client: OpenAI) -> None:
    """The helper of the SDK joins the events to the same response."""
    with client.responses.stream(model="m", input="How do I sort a list?") as stream:
        assert stream.get_final_response().output_text == ADVICE


def test_function_calls(client: OpenAI) -> None:
    """A loop of a tool: the call, its result, and the answer, as in a chat."""
    answer = ask(client, QUESTION, tools=[WEATHER])
    [call] = answer.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "get_weather", {"location": "Paris"})
    assert (call.status, answer.status) == ("completed", "completed")
    assert call.id.startswith("fc_")
    assert call.call_id.startswith("call_")
    items: list[Any] = [{"role": "user", "content": QUESTION}, call.model_dump(exclude_none=True)]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"})
    assert ask(client, items, tools=[WEATHER]).output_text == "18 degrees"
    items[-1]["output"] = [{"type": "input_text", "text": "19 degrees"}]
    assert ask(client, items, tools=[WEATHER]).output_text == "19 degrees"


def test_parallel_calls(client: OpenAI) -> None:
    """Several calls are several items; their results may follow in any order, after an item of reasoning, too."""
    question = "Weather in Paris and Rome?"
    answer = ask(client, question, tools=[WEATHER])
    assert [json.loads(call.arguments)["location"] for call in answer.output] == ["Paris", "Rome"]
    assert len({call.id for call in answer.output}) == 2
    assert len(ask(client, question, tools=[WEATHER], parallel_tool_calls=False).output) == 1
    items: list[Any] = [{"role": "user", "content": question}, {"type": "reasoning", "id": "rs_1", "summary": []}]
    items += [call.model_dump(exclude_none=True) for call in answer.output]
    for call in reversed(answer.output):
        place = json.loads(call.arguments)["location"]
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": f"{place} is fine"})
    assert ask(client, items, tools=[WEATHER]).output_text == "Rome is fine\nParis is fine"


def test_a_stream_of_calls(client: OpenAI) -> None:
    """The events of two calls come one after the other, and hold their arguments in pieces."""
    events = events_of(client, "Weather in Paris and Rome?", tools=[WEATHER])
    kinds = [event.type for event in events if event.type != "response.function_call_arguments.delta"]
    call = ("response.output_item.added", "response.function_call_arguments.done", "response.output_item.done")
    assert kinds == ["response.created", "response.in_progress", *call, *call, "response.completed"]
    for index, item in enumerate(events[-1].response.output):
        pieces = [
            event.delta for event in events if event.type.endswith("arguments.delta") and event.item_id == item.id
        ]
        assert "".join(pieces) == item.arguments
        assert len(pieces) > 1
        added, done = [e for e in events if e.type.startswith("response.output_item") and e.output_index == index]
        assert (added.item.arguments, added.item.status, done.item) == ("", "in_progress", item)


def test_custom_tools(client: OpenAI) -> None:
    """A custom tool gets a text, whole and in a stream; its result is answered."""
    said = "Write a note: buy milk"
    [call] = ask(client, said, tools=[NOTE, WEATHER]).output
    assert (call.type, call.name, call.input) == ("custom_tool_call", "write_note", said)
    events = events_of(client, said, tools=[NOTE])
    kinds = [event.type for event in events]
    assert "response.custom_tool_call_input.done" in kinds
    assert "".join(e.delta for e in events if e.type == "response.custom_tool_call_input.delta") == said
    items: list[Any] = [{"role": "user", "content": said}, call.model_dump(exclude_none=True)]
    items.append({"type": "custom_tool_call_output", "call_id": call.call_id, "output": "noted"})
    assert ask(client, items, tools=[NOTE]).output_text == "noted"


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        ("required", "function_call"),
        ({"type": "function", "name": "get_weather"}, "function_call"),
        ({"type": "custom", "name": "write_note"}, "custom_tool_call"),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "write_note"}]},
            "custom_tool_call",
        ),
        ("none", "message"),
        ("auto", "message"),
        ({"type": "web_search_preview"}, "message"),
    ],
)
def test_the_choice_of_a_tool(client: OpenAI, choice: Any, kind: str) -> None:
    """The choice decides on a call, and is repeated in the response; a built-in tool is never called."""
    answer = ask(client, "How do I sort a list?", tools=[WEATHER, NOTE, SEARCH], tool_choice=choice)
    assert [item.type for item in answer.output] == [kind]
    echoed = answer.tool_choice
    assert (echoed if isinstance(echoed, str) else echoed.model_dump(exclude_none=True)) == choice


class Person(BaseModel):
    """A structured answer."""

    name: str
    age: int


def test_structured_answers(client: OpenAI) -> None:
    """An answer meets the schema, with the SDK's helper, in a stream, and as any JSON object."""
    parsed = client.responses.parse(model="m", input="Give me JSON", text_format=Person)
    assert isinstance(parsed.output_parsed, Person)
    with client.responses.stream(model="m", input="Give me JSON", text_format=Person) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Person)
    answer = ask(client, "Give me JSON", text={"format": {"type": "json_object"}})
    assert json.loads(answer.output_text) == {"a": 1}


def test_a_limit_of_tokens(client: OpenAI) -> None:
    """An answer beyond the limit is incomplete: response, item and last event say so."""
    answer = ask(client, "How do I sort a list?", max_output_tokens=16)
    assert (answer.status, answer.completed_at, answer.usage.output_tokens) == ("incomplete", None, 16)
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output[0].status == "incomplete"
    assert ADVICE.startswith(answer.output_text)
    assert events_of(client, "How do I sort a list?", max_output_tokens=16)[-1].type == "response.incomplete"
    assert ask(client, "hi", max_output_tokens=16).status == "completed"


def test_log_probabilities(client: OpenAI, stored: Server) -> None:
    """A text has the log probabilities of a chat, whole, in a stream, and when it is fetched."""
    fields: Any = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    messages: Any = [{"role": "user", "content": "and now?"}]
    chat = client.chat.completions.create(
        model="m", messages=messages, logprobs=True, top_logprobs=2, temperature=0.9, seed=1
    )
    known = {one.token: one for one in chat.choices[0].logprobs.content or ()} if chat.choices[0].logprobs else {}
    answer = ask(client, "and now?", temperature=0.9, **fields)
    [part] = answer.output[0].content
    assert "".join(one.token for one in part.logprobs) == answer.output_text
    assert part.logprobs[0].logprob < 0
    assert len(part.logprobs[0].top_logprobs) == 2
    first = part.logprobs[0].token
    assert first not in known or known[first].logprob == part.logprobs[0].logprob
    events = events_of(client, "and now?", temperature=0.9, **fields)
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    shown = [one.token for event in deltas for one in event.logprobs]
    assert shown == [one.token for one in events[-1].response.output[0].content[0].logprobs]
    assert len(shown) == len(deltas)
    with sdk(stored) as keyed:
        kept = ask(keyed, "and now?", **fields)
        assert facts(keyed.responses.retrieve(kept.id)) == facts(kept)
    assert ask(client, "and now?", top_logprobs=2).output[0].content[0].logprobs == []


def test_ignored_parts_of_a_request(client: OpenAI, serve: SharedServers) -> None:
    """A header names fields, tools, items and parts that were left out; in strict mode they are a 400."""
    given: Any = [
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:,", "detail": "auto"}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"role": "user", "content": "hi"},
    ]
    fields: Any = {"reasoning": {"effort": "low"}, "text": {"verbosity": "low"}, "tools": [SEARCH]}
    answer = client.responses.with_raw_response.create(model="m", input=given, **fields)
    assert answer.headers["x-mimic-ignored"] == (
        "reasoning.effort, text.verbosity, input.content.input_image, input.web_search_call, tools.web_search"
    )
    assert answer.parse().reasoning.effort == "low"
    plain = client.responses.with_raw_response.create(
        model="m", input="hi", text={"verbosity": "medium"}, include=["reasoning.encrypted_content"], store=False
    )
    assert "x-mimic-ignored" not in plain.headers
    strict = httpx.post(
        f"{serve(DUMP, MIMIC_STRICT='on').url}/v1/responses", json={"input": "hi", "reasoning": {"effort": "low"}}
    ).json()["error"]
    assert (strict["param"], strict["code"]) == ("reasoning.effort", "unsupported_parameter")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": 1}, "model", "invalid_type"),
        ({"input": 1}, "input", "invalid_type"),
        ({"input": [{"content": "x"}]}, "input[0].type", "missing_required_parameter"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "invalid_value"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, None, "missing_required_parameter"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output", None),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "n"}]}, "input[0].arguments", None),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input", None),
        ({"tools": [{"name": "x"}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools[0].name", "missing_required_parameter"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name", None),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name", "invalid_value"),
        (
            {"tools": [{**WEATHER, "parameters": {"type": "object", "properties": {}}}]},
            "tools[0].parameters",
            "invalid_function_parameters",
        ),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice", None),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"tool_choice": {}}, "tool_choice", None),
        ({"text": {"format": {"type": "json_object"}}}, "input", None),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name", "missing_required_parameter"),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "strict": True, "schema": {"type": "object"}}}},
            "text.format.schema",
            None,
        ),
        ({"max_output_tokens": 15}, "max_output_tokens", "integer_below_min_value"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "object_above_max_properties"),
        ({"metadata": {"a": "x" * 513}}, None, "string_above_max_length"),
        ({"truncation": "sometimes"}, "truncation", "invalid_value"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "previous_response_not_found"),
        ({"conversation": {}}, "conversation.id", "missing_required_parameter"),
    ],
)
def test_errors(url: str, fields: Any, param: str | None, code: str | None) -> None:
    """A refused request names the field and the problem, in OpenAI's shape; so does a count of tokens."""
    answer = httpx.post(f"{url}/v1/responses", json={"model": "m", "input": "hi", **fields})
    error = answer.json()["error"]
    assert answer.status_code == (404 if "item_reference" in str(fields) else 400), error
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    if param:
        assert error["param"] == param
    if code:
        assert error["code"] == code


def test_a_miss(client: OpenAI) -> None:
    """A message without an answer is the 404 of the chat, also for a stream."""
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(client, "never said before, by nobody", stream=stream)
        assert caught.value.code == "completion_not_found"


def test_counts_of_tokens(client: OpenAI) -> None:
    """The count of an input is the usage that a response has."""
    fields: Any = {"instructions": "Be brief", "tools": [WEATHER]}
    count = client.responses.input_tokens.count(model="m", input="hi", **fields)
    assert count.input_tokens == ask(client, "hi", **fields).usage.input_tokens
    assert client.responses.input_tokens.count().input_tokens == 3
    with pytest.raises(BadRequestError):
        client.responses.input_tokens.count(input="hi", tool_choice="required")


def test_headers_name_the_source(client: OpenAI) -> None:
    """Rung, score, source and document are in the headers, as of a chat."""
    answer = client.responses.with_raw_response.create(model="mimic-v3", input="hi")
    assert (answer.headers["x-mimic-match"], answer.headers["x-mimic-source"]) == ("last", "c#1")
    assert answer.headers["openai-version"] == "2020-10-01"


@pytest.mark.parametrize("stream", [False, True])
def test_faults_of_a_status(client: OpenAI, stream: bool) -> None:
    """A fault with a status is OpenAI's error."""
    with pytest.raises(openai.RateLimitError):
        ask(client, "hi", stream=stream, extra_headers={"x-mimic-fault": "status=429"})


def test_the_fault_error_in_a_stream(client: OpenAI, url: str) -> None:
    """A stream that fails has an event with the error, then the failed response, with the next numbers."""
    for after in (0, 3):
        headers = {"x-mimic-fault": f"error; after={after}"}
        seen: list[Any] = []
        with pytest.raises(openai.APIError) as caught:
            seen.extend(ask(client, "How do I sort a list?", stream=True, extra_headers=headers))
        assert "injected fault" in str(caught.value)
        answer = httpx.post(
            f"{url}/v1/responses", json={"input": "How do I sort a list?", "stream": True}, headers=headers
        )
        events = [json.loads(frame.split("data: ")[1]) for frame in answer.text.split("\n\n")[:-1]]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        error, failed = events[-2:]
        assert (error["type"], failed["type"]) == ("error", "response.failed")
        assert error.keys() == {"type", "sequence_number", "code", "message", "param", "error"}
        assert failed["response"]["error"]["code"] == "server_error"
        assert sum(event["type"] == "response.output_text.delta" for event in events) == after


def test_other_faults(client: OpenAI) -> None:
    """A stream breaks off, or is not JSON; an empty answer has an empty text."""
    for fault in ("disconnect; after=2", "malformed; after=2"):
        with pytest.raises((openai.APIConnectionError, json.JSONDecodeError)):
            list(ask(client, "How do I sort a list?", stream=True, extra_headers={"x-mimic-fault": fault}))
    empty = {"x-mimic-fault": "empty"}
    assert ask(client, "hi", extra_headers=empty).output_text == ""
    assert events_of(client, "hi", extra_headers=empty)[-1].response.output_text == ""
    with pytest.raises(openai.InternalServerError):
        ask(client, "hi", extra_headers={"x-mimic-fault": "error"})


def test_limits_and_pace(serve: SharedServers) -> None:
    """Rate limits count the tokens of a response, and the pace delays its events, as of a chat."""
    url = serve(DUMP, MIMIC_TPM="1000", MIMIC_TTFT_MS="50", MIMIC_ITL_MS="2").url
    began = time.monotonic()
    with httpx.stream("POST", f"{url}/v1/responses", json={"input": "How do I sort a list?", "stream": True}) as answer:
        deltas = answer.read().count(b"event: response.output_text.delta")
    seconds = time.monotonic() - began
    assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 1000
    assert deltas > 3
    assert seconds > 0.05 + 0.002 * (deltas - 1)
    refused = httpx.post(f"{url}/v1/responses", json={"input": "x " * 2000})
    assert refused.status_code in {404, 429}


# Stored responses


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, serve: SharedServers) -> Iterator[Server]:
    """A server with two API keys and with records of its own."""
    folder = tmp_path_factory.mktemp("stored")
    settings = {"MIMIC_RECORDS": f"sqlite:///{folder}/records.db", "MIMIC_API_KEYS": "one,two"}
    with Server(folder, MIMIC_STORE=serve.store(DUMP), **settings) as server:
        yield server


def facts(response: Any) -> dict[str, Any]:
    """A response without the second of its end, which may be another one when it is fetched."""
    known: dict[str, Any] = response.model_dump()
    assert known.pop("completed_at") - response.created_at in {0, 1}
    return known


def test_a_response_is_stored(stored: Server) -> None:
    """A response can be fetched by its id, with the same content, and deleted."""
    with sdk(stored) as client:
        answer = ask(client, "How do I sort a list?", metadata={"a": "b"}, user="u")
        assert facts(client.responses.retrieve(answer.id)) == facts(answer)
        client.responses.delete(answer.id)
        for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
            with pytest.raises(openai.NotFoundError) as caught:
                call(answer.id)
            assert answer.id in str(caught.value)
        unstored = ask(client, "hi", store=False)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(unstored.id)


def test_a_streamed_response_is_stored(stored: Server) -> None:
    """The response at the end of a stream can be fetched, and its events can be replayed from any of them."""
    with sdk(stored) as client:
        events = events_of(client, "Weather in Paris and Rome?", tools=[WEATHER])
        response = events[-1].response
        fetched = client.responses.retrieve(response.id)
        assert fetched.output == response.output
        for after in (-1, 0, 4, len(events) - 2, len(events)):
            given: Any = {} if after < 0 else {"starting_after": after}
            again: list[Any] = list(client.responses.retrieve(response.id, stream=True, **given))
            expected = events[after + 1 :]
            assert [event.type for event in again] == [event.type for event in expected]
            assert again[:-1] == expected[:-1]


def test_another_key_finds_nothing(stored: Server) -> None:
    """A response of another key is a 404 on every route, and no response can be continued from it."""
    with sdk(stored) as client, sdk(stored, "two") as other:
        answer = ask(client, "hi", background=True)
        for call in (
            other.responses.retrieve,
            other.responses.delete,
            other.responses.cancel,
            other.responses.input_items.list,
        ):
            with pytest.raises(openai.NotFoundError):
                call(answer.id)
        with pytest.raises(BadRequestError) as caught:
            ask(other, "and now?", previous_response_id=answer.id)
        assert caught.value.code == "previous_response_not_found"
        with pytest.raises(openai.NotFoundError):
            ask(other, [{"type": "item_reference", "id": answer.id.replace("resp_", "msg_") + "0000"}])
        assert client.responses.retrieve(answer.id).id == answer.id
    bare = httpx.get(f"{stored.url}/v1/responses/{answer.id}")
    assert bare.status_code == 401


def test_a_response_continues_another(stored: Server) -> None:
    """The input follows those of all responses before it; instructions are those of the request alone."""
    with sdk(stored) as client:
        first = ask(client, "hi", instructions="Be brief")
        second = ask(client, "and now?", previous_response_id=first.id, temperature=0)
        assert (second.output_text, second.previous_response_id) == ("event: goodbye\u2028", first.id)
        third = ask(client, "hi", previous_response_id=second.id)
        whole = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
        whole += [{"role": "user", "content": "and now?"}, {"role": "assistant", "content": second.output_text}]
        plain = ask(client, [*whole, {"role": "user", "content": "hi"}])
        assert third.usage.input_tokens == plain.usage.input_tokens
        count = client.responses.input_tokens.count(input="hi", previous_response_id=second.id)
        assert count.input_tokens == third.usage.input_tokens
        client.responses.delete(first.id)
        with pytest.raises(BadRequestError) as caught:
            ask(client, "hi", previous_response_id=second.id)
        assert (caught.value.param, caught.value.code) == ("previous_response_id", "previous_response_not_found")


def test_a_tool_loop_by_ids(stored: Server) -> None:
    """A result refers to the call of the previous response; an item may be referred to by its id."""
    with sdk(stored) as client:
        first = ask(client, QUESTION, tools=[WEATHER])
        result: Any = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": "18 degrees"}
        second = ask(client, [result], tools=[WEATHER], previous_response_id=first.id)
        assert second.output_text == "18 degrees"
        [question] = client.responses.input_items.list(first.id).data
        references = [{"type": "item_reference", "id": item.id} for item in (question, first.output[0])]
        assert ask(client, [*references, result], tools=[WEATHER]).output_text == "18 degrees"


def test_the_input_of_a_response(stored: Server) -> None:
    """Items are listed with ids, the last one first, a page at a time."""
    items: list[Any] = [{"role": "user", "content": f"number {n}"} for n in range(4)]
    items.append({"role": "assistant", "content": "yes"})
    items.append({"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"})
    items.append({"type": "function_call_output", "call_id": "c", "output": "18 degrees"})
    items.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]})
    with sdk(stored) as client:
        answer = ask(client, items)
        page = client.responses.input_items.list(answer.id, limit=3)
        assert (len(page.data), page.has_more) == (3, True)
        listed: list[Any] = list(page)
        assert len({item.id for item in listed}) == len(items)
        texts = [item.content[0].text for item in reversed(listed) if item.type == "message"]
        assert texts == ["number 0", "number 1", "number 2", "number 3", "yes", "hi"]
        assert client.responses.input_items.list(answer.id, after="", limit=3).data == page.data
        ordered = client.responses.input_items.list(answer.id, order="asc", after=listed[-1].id, limit=1)
        assert ordered.data[0].id == listed[-2].id
        with pytest.raises(BadRequestError) as caught:
            client.responses.input_items.list(answer.id, after="msg_unknown")
        assert caught.value.code == "unknown_cursor"


def test_a_compaction(stored: Server) -> None:
    """A single item stands for an input and for the responses before it, also within another compaction."""
    with sdk(stored) as client:
        first = ask(client, "hi")
        compacted = client.responses.compact(model="m", previous_response_id=first.id)
        assert compacted.object == "response.compaction"
        assert compacted.usage.input_tokens > 0
        [item] = [item.model_dump(exclude_none=True) for item in compacted.output]
        given: Any = [item, {"role": "user", "content": "and now?"}]
        assert ask(client, given, temperature=0).output_text == "event: goodbye\u2028"
        [again] = [item.model_dump() for item in client.responses.compact(model="m", input=given).output]
        assert ask(client, [again], temperature=0).output_text == "event: goodbye\u2028"
        with pytest.raises(BadRequestError) as caught:
            ask(client, [{**item, "encrypted_content": "mimic-?"}])
        assert caught.value.param == "input[0].encrypted_content"
        foreign: Any = [{**item, "encrypted_content": "gAAAA"}, {"role": "user", "content": "hi"}]
        assert ask(client, foreign).output_text == "hello"


# Responses in the background


def states_of(client: OpenAI, response_id: str) -> list[Any]:
    """The states of a response until it ends, each once."""
    states: list[Any] = []
    end = time.monotonic() + 20
    while time.monotonic() < end:
        response = client.responses.retrieve(response_id)
        if not states or states[-1].status != response.status:
            states.append(response)
        if response.status not in {"queued", "in_progress"}:
            return states
        time.sleep(0.02)
    raise TimeoutError


PACED: Any = {"x-mimic-ttft-ms": "400", "x-mimic-itl-ms": "20"}


def test_a_response_in_the_background(stored: Server) -> None:
    """A response is queued, then in progress, and then completed, at the pace of the request."""
    with sdk(stored) as client:
        began = time.time()
        answer = ask(client, "How do I sort a list?", background=True, extra_headers=PACED)
        assert time.time() - began < 0.4
        assert (answer.status, answer.output, answer.background) == ("queued", [], True)
        states = states_of(client, answer.id)
        assert [state.status for state in states] == ["queued", "in_progress", "completed"]
        assert states[1].output == []
        assert states[-1].output_text == ADVICE
        assert states[-1].usage.output_tokens > 10
        assert time.time() - began > 0.4 + 0.02 * (states[-1].usage.output_tokens - 1)
        cut = ask(client, "How do I sort a list?", background=True, max_output_tokens=16)
        assert states_of(client, cut.id)[-1].status == "incomplete"


def test_without_store_a_response_in_the_background_is_kept_for_minutes(stored: Server) -> None:
    """The response can be fetched, since nothing else would give the answer."""
    with sdk(stored) as client:
        answer = ask(client, "hi", background=True, store=False)
        assert states_of(client, answer.id)[-1].output_text == "hello"


def test_a_cancellation(stored: Server) -> None:
    """A response in the background can be cancelled once and more often, but not after its end, nor another one."""
    with sdk(stored) as client:
        answer = ask(client, "hi", background=True, extra_headers={"x-mimic-ttft-ms": "60000"})
        assert client.responses.retrieve(answer.id).status == "queued"
        for _ in range(2):
            assert client.responses.cancel(answer.id).status == "cancelled"
        assert client.responses.retrieve(answer.id).status == "cancelled"
        with pytest.raises(BadRequestError):
            ask(client, "hi", previous_response_id=answer.id)
        ended = ask(client, "hi", background=True)
        assert states_of(client, ended.id)[-1].status == "completed"
        assert client.responses.cancel(ended.id).status == "completed"
        with pytest.raises(BadRequestError, match="synchronous"):
            client.responses.cancel(ask(client, "hi").id)


def test_a_stream_is_resumed(stored: Server) -> None:
    """A client that lost its stream gets the other events, with the same numbers and at the same times."""
    with sdk(stored) as client:
        began = time.monotonic()
        seen: list[Any] = []
        with ask(client, "How do I sort a list?", background=True, stream=True, extra_headers=PACED) as stream:
            for event in stream:
                seen.append(event)
                if len(seen) == 8:
                    break
        assert [event.type for event in seen[:3]] == ["response.created", "response.queued", "response.in_progress"]
        response_id = seen[0].response.id
        assert client.responses.retrieve(response_id).status == "in_progress"
        rest: list[Any] = list(client.responses.retrieve(response_id, stream=True, starting_after=7))
        tokens = rest[-1].response.usage.output_tokens
        assert time.monotonic() - began > 0.4 + 0.02 * (tokens - 1)
        assert [event.sequence_number for event in (*seen, *rest)] == list(range(len(seen) + len(rest)))
        assert "".join(e.delta for e in (*seen, *rest) if e.type == "response.output_text.delta") == ADVICE
        again: list[Any] = list(client.responses.retrieve(response_id, stream=True))
        assert again[3:] == [*seen, *rest][3:]


def test_a_resumed_stream_ends_with_a_cancellation(stored: Server) -> None:
    """No further event follows."""
    with sdk(stored) as client:
        pace = {"x-mimic-itl-ms": "300"}
        answer = ask(client, "How do I sort a list?", background=True, extra_headers=pace)
        events: list[Any] = []
        for event in client.responses.retrieve(answer.id, stream=True):
            events.append(event)
            if len(events) == 6:
                client.responses.cancel(answer.id)
        assert events[-1].type == "response.output_text.delta"
        assert len(events) < 15


def test_a_failure_in_the_background(stored: Server) -> None:
    """With the fault ``error`` a response fails at its time; a resumed stream ends with the error."""
    with sdk(stored) as client:
        headers = {**PACED, "x-mimic-fault": "error; after=3"}
        answer = ask(client, "How do I sort a list?", background=True, extra_headers=headers)
        failed = states_of(client, answer.id)[-1]
        assert (failed.status, failed.error.code, failed.output) == ("failed", "server_error", [])
        url = f"{stored.url}/v1/responses/{answer.id}?stream=true&starting_after=6"
        events = httpx.get(url, headers={"authorization": "Bearer one"}).text
        kinds = [line.removeprefix("event: ") for line in events.splitlines() if line.startswith("event: ")]
        assert kinds == ["response.output_text.delta", "error", "response.failed"]


def test_responses_survive_a_killed_server(tmp_path: Path, serve: SharedServers, store_url: str) -> None:
    """After SIGKILL another server finishes the responses in the background; stored ones are still there.

    Records are on each backend, and each server has two processes.
    """
    settings = {"MIMIC_STORE": serve.store(DUMP), "MIMIC_RECORDS": store_url, "MIMIC_WORKERS": "2"}
    with Server(tmp_path, **settings) as server, sdk(server) as client:
        kept = ask(client, "hi")
        assert ask(client, "and now?", previous_response_id=kept.id, temperature=0).output_text.startswith("event:")
        waiting = [ask(client, "hi", background=True, extra_headers={"x-mimic-ttft-ms": "2000"}) for _ in range(5)]
        server.process.kill()
        server.process.wait()
    with Server(tmp_path, **settings) as server, sdk(server) as client:
        assert facts(client.responses.retrieve(kept.id)) == facts(kept)
        for answer in waiting:
            assert states_of(client, answer.id)[-1].output_text == "hello"
        deadline = time.monotonic() + 20
        while 'mimic_records_jobs{record="response"} 0' not in httpx.get(f"{server.url}/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_without_records(tmp_path: Path, serve: SharedServers) -> None:
    """Without records responses are answered and not stored, and none works in the background."""
    with Server(tmp_path, MIMIC_STORE=serve.store(DUMP), MIMIC_RECORDS="off") as server, sdk(server) as client:
        answer = ask(client, "hi")
        assert (answer.output_text, answer.store) == ("hello", False)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(answer.id)
        with pytest.raises(BadRequestError, match="MIMIC_RECORDS"):
            ask(client, "hi", background=True)
