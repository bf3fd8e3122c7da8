"""Tools and structured answers in chats, through OpenAI's own SDK: calls, results, streams, errors, usage."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import BadRequestError, OpenAI
from pydantic import BaseModel

from tests.support.corpora import Dump, conversation
from tests.support.servers import SharedServers

ADVICE = "Use a list. Sort it with sorted(). Lists are changed in place, tuples are not."
DUMP: Dump = [
    conversation("a", ("human", "How do I sort a list?"), ("gpt", ADVICE)),
    conversation("b", ("human", "Give me JSON"), ("gpt", 'Of course:\n```json\n{"a": 1}\n```\nAnything else?')),
    conversation("c", ("human", "Is this about JSON with the keys name, age and tags?"), ("gpt", "Yes. It is.")),
]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a place",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location"],
        },
    },
}
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add_numbers",
        "description": "Add two numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
        },
    },
}
NOTE: Any = {"type": "custom", "custom": {"name": "write_note", "description": "Write a note"}}
TOOLS = [WEATHER, ADD, NOTE]


@pytest.fixture(scope="module")
def url(serve: SharedServers) -> str:
    """A server of :data:`DUMP`."""
    return serve(DUMP).url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    """The SDK, with strict types for every answer and without retries."""
    with OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def ask(client: OpenAI, text: str, **options: Any) -> Any:
    """The first choice of an answer."""
    messages: Any = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="m", messages=messages, **options).choices[0]


def calls(choice: Any) -> list[tuple[str, Any]]:
    """The tool calls of an answer, with their arguments."""
    assert choice.finish_reason == ("tool_calls" if choice.message.tool_calls else "stop")
    return [
        (call.function.name, json.loads(call.function.arguments))
        if call.type == "function"
        else (call.custom.name, call.custom.input)
        for call in choice.message.tool_calls or ()
    ]


PARIS = ("get_weather", {"location": "Paris"})


@pytest.mark.parametrize(
    ("said", "options", "called"),
    [
        ("What is the weather in Paris?", {}, [PARIS]),
        ("weather in Paris, in celsius", {}, [("get_weather", {"location": "Paris", "unit": "celsius"})]),
        ("Weather in Paris and Rome?", {}, [PARIS, ("get_weather", {"location": "Rome"})]),
        ("Weather in Paris and Rome?", {"parallel_tool_calls": False}, [PARIS]),
        ("What is 12 + 30?", {}, [("add_numbers", {"a": 12, "b": 30})]),
        ("Write a note: buy milk", {}, [("write_note", "Write a note: buy milk")]),
        ("get_weather for Paris", {}, [PARIS]),
        ("How do I sort a list?", {}, []),
        ("What is the weather in Paris?", {"tool_choice": "none"}, None),
        (
            "How do I sort a list?",
            {"tool_choice": "required"},
            [("get_weather", {"location": "How do I sort a list?"})],
        ),
        (
            "How do I sort a list?",
            {"tool_choice": {"type": "function", "function": {"name": "add_numbers"}}},
            [("add_numbers", {"a": 1, "b": 1})],
        ),
        (
            "What is the weather in Paris?",
            {"tool_choice": {"type": "custom", "custom": {"name": "write_note"}}},
            [("write_note", "What is the weather in Paris?")],
        ),
        (
            "What is 12 + 30?",
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [{"type": "function", "function": {"name": "get_weather"}}],
                    },
                }
            },
            [("get_weather", {"location": "What is 12 + 30?"})],
        ),
        ("What is the weather in Paris?", {"extra_headers": {"x-mimic-tools": "never"}}, None),
        (
            "How do I sort a list?",
            {"extra_headers": {"x-mimic-tools": "always"}, "tools": [ADD]},
            [("add_numbers", {"a": 1, "b": 1})],
        ),
    ],
)
def test_whether_a_tool_is_called(client: OpenAI, said: str, options: Any, called: Any) -> None:
    """The request's choice and the message decide on a call, always the same; without one a text is the answer."""
    options = {"tools": TOOLS, **options}
    if called is None:
        with pytest.raises(openai.NotFoundError):
            ask(client, said, **options)
        return
    choice = ask(client, said, **options)
    assert calls(choice) == called
    assert choice.message.content == (None if called else ADVICE)
    assert ask(client, said, **options) == choice


def test_a_loop_of_an_agent_ends(client: OpenAI) -> None:
    """The result of a tool gets a text that carries it, also with tools, and after several results."""
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris and Rome?"}]
    first = client.chat.completions.create(model="m", messages=messages, tools=[WEATHER]).choices[0].message
    assert first.tool_calls
    assert len({call.id for call in first.tool_calls}) == 2
    messages.append(first)
    for call, weather in zip(first.tool_calls, ("18 degrees", "25 degrees"), strict=True):
        messages.append({"role": "tool", "tool_call_id": call.id, "content": weather})
    last = client.chat.completions.create(model="m", messages=messages, tools=[WEATHER])
    assert last.choices[0].message.content == "18 degrees\n25 degrees"
    assert last.choices[0].finish_reason == "stop"
    again = client.chat.completions.create(model="m", messages=messages, tools=[WEATHER, ADD], tool_choice="required")
    assert again.choices[0].message.tool_calls
    names = [call.function.name for call in again.choices[0].message.tool_calls if call.type == "function"]
    assert names == ["add_numbers"], "the tool that was not called yet"


def test_calls_written_as_text_are_calls(client: OpenAI) -> None:
    """A client may write calls and results into texts, as smolagents does, and always require a call: its loop ends."""
    answer = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    tools: Any = [WEATHER, {"type": "function", "function": {"name": "final_answer", "parameters": answer}}]
    messages: list[Any] = [
        {"role": "user", "content": "New task:\nWhat is the weather in Paris?"},
        {"role": "assistant", "content": "Calling tools:\n[{'function': {'name': 'get_weather', 'arguments': {}}}]"},
        {"role": "user", "content": "Observation:\nIt is sunny."},
    ]
    asked = client.chat.completions.create(model="m", messages=messages, tools=tools, tool_choice="required")
    assert calls(asked.choices[0]) == [("final_answer", {"answer": "It is sunny."})]
    free = client.chat.completions.create(model="m", messages=messages, tools=tools)
    assert free.choices[0].message.content == "It is sunny."


def test_a_stream_of_calls(client: OpenAI, url: str) -> None:
    """The id, the type and the name come first, then the arguments, a token per chunk; the SDK joins them."""
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": "Weather in Paris and Rome?"}], "tools": TOOLS}
    whole = client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        joined = stream.get_final_completion()
    calls_of = [one.choices[0].model_dump()["message"]["tool_calls"] for one in (whole, joined)]
    names = [[(call["id"], call["type"], call["function"]["arguments"]) for call in found] for found in calls_of]
    assert names[0] == names[1]
    assert joined.choices[0].finish_reason == "tool_calls"
    assert joined.usage == whole.usage
    body = httpx.post(f"{url}/v1/chat/completions", json={**asked, "stream": True}).text
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in body.splitlines() if line.startswith("data: {")]
    assert deltas[0] == {"role": "assistant", "content": None}
    first = deltas[1]["tool_calls"][0]
    function = {"arguments": "", "name": "get_weather"}
    assert first == {"index": 0, "id": calls_of[0][0]["id"], "type": "function", "function": function}
    assert set(deltas[2]["tool_calls"][0]) == {"index", "function"}
    assert whole.usage
    assert len([delta for delta in deltas if delta.get("tool_calls")]) == whole.usage.completion_tokens + 2


def test_old_functions(client: OpenAI) -> None:
    """``functions`` and ``function_call``, the older form of tools, work whole and streamed."""
    function = WEATHER["function"]
    choice = ask(client, "weather in Paris", functions=[function])
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call.name == "get_weather"
    assert json.loads(choice.message.function_call.arguments) == {"location": "Paris"}
    assert ask(client, "How do I sort a list?", functions=[function], function_call="none").message.content == ADVICE
    forced = ask(client, "Give me JSON", functions=[function], function_call={"name": "get_weather"})
    assert forced.message.function_call
    chunks = list(
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "weather in Paris"}], functions=[function], stream=True
        )
    )
    pieces = [chunk.choices[0].delta.function_call for chunk in chunks if chunk.choices[0].delta.function_call]
    assert "".join(piece.arguments or "" for piece in pieces) == '{"location":"Paris"}'
    assert chunks[-1].choices[0].finish_reason == "function_call"


def test_max_tokens_cut_a_call(client: OpenAI) -> None:
    """A cut call has invalid JSON and the reason ``length``, as with a model."""
    choice = ask(client, "What is the weather in Paris?", tools=[WEATHER], max_completion_tokens=3)
    assert choice.finish_reason == "length"
    assert choice.message.tool_calls[0].function.arguments == '{"location":"'


def test_usage_counts_tools_and_schemas(client: OpenAI) -> None:
    """Definitions, calls and results are part of the prompt's tokens."""

    def prompt_tokens(**options: Any) -> int:
        options.setdefault("messages", [{"role": "user", "content": "How do I sort a list?"}])
        usage = client.chat.completions.create(model="m", **options).usage
        assert usage
        return int(usage.prompt_tokens)

    bare = prompt_tokens()
    assert bare < prompt_tokens(tools=[WEATHER]) < prompt_tokens(tools=[WEATHER, ADD])
    schema = {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    assert prompt_tokens(response_format={"type": "json_schema", "json_schema": schema}) > bare
    call = {"id": "c", "type": "function", "function": {"name": "add_numbers", "arguments": '{"a": 1, "b": 2}'}}
    chat: list[Any] = [{"role": "user", "content": "Add"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    result = {"role": "tool", "tool_call_id": "c", "content": "3"}
    short = {**call, "function": {"name": "add_numbers", "arguments": "{}"}}
    less = [chat[0], {**chat[1], "tool_calls": [short]}, result]
    assert prompt_tokens(messages=less) < prompt_tokens(messages=[*chat, result])


class Step(BaseModel):
    """A step."""

    explanation: str
    output: str


class Guide(BaseModel):
    """The expected form of an answer."""

    title: str
    steps: list[Step]
    count: int


def test_structured_answers(client: OpenAI) -> None:
    """``.parse`` gives an object with texts of the matched answer, whole and streamed."""
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": "How do I sort a list?"}]}
    answer = client.chat.completions.parse(**asked, response_format=Guide)
    guide = answer.choices[0].message.parsed
    assert guide
    assert guide.title == "Use a list"
    assert guide.steps[0] == Step(explanation="Use a list.", output="Sort it with sorted().")
    with client.chat.completions.stream(**asked, response_format=Guide) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == guide
    headers = client.chat.completions.with_raw_response.create(**asked).headers
    assert headers["x-mimic-match"] == "last"
    cut = client.chat.completions.create(
        **asked,
        max_tokens=5,
        response_format={"type": "json_schema", "json_schema": {"name": "g", "schema": Guide.model_json_schema()}},
    )
    assert cut.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ("Give me JSON", {"a": 1}),
        ("Is this about JSON with the keys name, age and tags?", {"name": str, "age": (int, float), "tags": list}),
    ],
)
def test_json_objects(client: OpenAI, said: str, made: dict[str, Any]) -> None:
    """JSON of the corpus is used as it is; otherwise the object has the shape that the message asks for."""
    value = json.loads(ask(client, said, response_format={"type": "json_object"}).message.content)
    assert set(value) == set(made)
    assert value == made or all(isinstance(value[name], kind) for name, kind in made.items())


def test_json_of_a_similar_message_has_the_requested_shape(client: OpenAI) -> None:
    """JSON of the corpus in another shape gives its values. Names in quotes may precede the word "keys"."""
    said = "Give me JSON 'setup' and 'count' keys"
    choice = ask(client, said, response_format={"type": "json_object"}, extra_headers={"x-mimic-match": "nearest"})
    assert json.loads(choice.message.content) == {"setup": "1", "count": 1}


def test_an_invalid_schema_in_a_message_is_ignored(client: OpenAI) -> None:
    """An invalid schema in a user's message is no error of the server."""
    for shown in ('{"properties": {"a": {"type": "strin"}}}', '{"a": ' + "[" * 900 + "]" * 900 + "}", '{"$ref": "x"}'):
        choice = ask(
            client,
            f"Give me JSON {shown}",
            response_format={"type": "json_object"},
            extra_headers={"x-mimic-match": "nearest"},
        )
        assert isinstance(json.loads(choice.message.content), dict)


STRICT = {**ADD["function"], "strict": True}


@pytest.mark.parametrize(
    ("options", "param", "code", "text"),
    [
        ({"tool_choice": "auto"}, "tool_choice", None, "only allowed when 'tools' are specified"),
        ({"function_call": "auto"}, "function_call", None, "only allowed when 'functions' are specified"),
        ({"tools": [ADD, ADD]}, "tools[1].function.name", "invalid_value", "used twice"),
        (
            {"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            None,
            "Tool choice 'x' not found in 'tools' parameter",
        ),
        ({"tools": [ADD], "tool_choice": "x"}, "tool_choice", "invalid_value", "none, auto, required"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "invalid_value",
            "a-zA-Z0-9_-",
        ),
        ({"tools": [{"type": "x"}]}, "tools[0].type", "invalid_value", "'x'"),
        ({"tools": [WEATHER] * 129}, "tools", "array_above_max_length", "128"),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "x"}}}}}
                ]
            },
            "tools[0].function.parameters",
            "invalid_function_parameters",
            "In context=('properties', 'a', 'type'), ",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
            "tools[0].function.parameters",
            "invalid_function_parameters",
            "got 'type: \"array\"'",
        ),
        (
            {"tools": [{"type": "function", "function": STRICT}]},
            "tools[0].function.parameters",
            "invalid_function_parameters",
            "In context=(), 'additionalProperties' is required to be supplied and to be false",
        ),
        ({"response_format": {"type": "json_object"}}, "messages", None, "must contain the word 'json'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter", ""),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
            "missing_required_parameter",
            "",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://x/"}}}},
            "response_format",
            None,
            "others are not fetched",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"allOf": [{"type": "string"}, {"type": "null"}]}},
                }
            },
            "response_format",
            "invalid_json_schema",
            "no value can meet it",
        ),
        (
            {"tools": [ADD], "extra_headers": {"x-mimic-tools": "perhaps"}},
            "x-mimic-tools",
            "invalid_value",
            "auto, corpus, always, never",
        ),
    ],
)
def test_bad_requests(client: OpenAI, options: Any, param: str, code: str | None, text: str) -> None:
    """Errors have OpenAI's status, ``param`` and ``code``, and the reason."""
    with pytest.raises(BadRequestError) as refused:
        ask(client, "How do I sort a list?", **options)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert text in str(refused.value)
