"""Tool calls and results that the corpus holds: answers to chats with tools, through OpenAI's SDK, on both stores."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.support.corpora import conversation, seed
from tests.support.servers import Server, SharedServers

PARIS = '{"name": "get_weather", "arguments": {"location": "Paris"}}'
RAIN = '{"temperature": 14, "conditions": "rain"}'
DUMP = [
    conversation(
        "w",
        ("human", "Do I need an umbrella in Paris?"),
        ("function_call", PARIS),
        ("observation", RAIN),
        ("gpt", "Yes, it rains."),
        ("human", "And tomorrow?"),
        ("tool_call", '{"name": "get_weather", "arguments": {"location": "Paris", "days": 1}}'),
        ("tool", "dry"),
        ("gpt", "No, it stays dry."),
    ),
    conversation(
        "m",
        ("human", "Two cities please"),
        ("gpt", f"<tool_call>{PARIS}</tool_call><tool_call>{PARIS.replace('Paris', 'Rome')}</tool_call>"),
        ("tool_response", "14, 21"),
        ("gpt", "14 and 21 degrees."),
    ),
    conversation("x", ("human", "Look twice"), ("function_call", PARIS), ("observation", "try again")),
    conversation("y", ("observation", "try again"), ("function_call", PARIS)),
    conversation("e", ("human", "Only a call"), ("function_call", PARIS)),
    conversation("t", ("human", "Tell me a joke about weather in Oslo"), ("gpt", "Knock knock.")),
]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["location"],
        },
    },
}
OTHER: Any = {"type": "function", "function": {"name": "send_mail", "description": "Send a mail"}}


@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def server(
    request: pytest.FixtureRequest, serve: SharedServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server of :data:`DUMP`, on each store."""
    if request.param == "sqlite":
        yield serve(DUMP)
        return
    url = f"{request.getfixturevalue('mongodb_server')}/mimic_test_corpus_calls"
    folder: Path = tmp_path_factory.mktemp("calls")
    seed(url, DUMP, folder)
    with Server(folder, MIMIC_STORE=url) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    """The SDK, strict about the shape of answers."""
    url = f"{server.url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def ask(client: OpenAI, *messages: Any, model: str = "mimic-v3", **options: Any) -> Any:
    """The answer to a chat, with the headers; a text is a message of the user's."""
    chat: Any = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]
    given = {"tools": [WEATHER, OTHER], **options}
    return client.chat.completions.with_raw_response.create(model=model, messages=chat, **given)


def called(answer: Any) -> list[tuple[str, Any]]:
    """The calls of an answer; empty for a text."""
    choice = answer.parse().choices[0]
    assert choice.finish_reason == ("tool_calls" if choice.message.tool_calls else "stop")
    return [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]


def text(answer: Any) -> str | None:
    """The text of an answer; None for calls."""
    content: str | None = answer.parse().choices[0].message.content
    return content


def call(arguments: dict[str, Any], name: str = "get_weather") -> Any:
    """An assistant's message with a call, as an application sends it back."""
    function = {"name": name, "arguments": json.dumps(arguments, separators=(",", ":"))}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }


def result(value: str) -> Any:
    """The result of the call."""
    return {"role": "tool", "tool_call_id": "c1", "content": value}


UMBRELLA = "Do I need an umbrella in Paris?"


@pytest.mark.parametrize("model", ["mimic-v1", "mimic-v2", "mimic-v3"])
def test_a_conversation_with_tools_is_followed_to_its_end(client: OpenAI, model: str) -> None:
    """Answers are the conversation's calls, then its texts, each with its place in the corpus."""
    first = ask(client, UMBRELLA, model=model)
    assert called(first) == [("get_weather", {"location": "Paris"})]
    assert first.headers["x-mimic-source"] == "w#1"
    assert first.headers["x-mimic-match"] == "last"
    chat = [UMBRELLA, call({"location": "Paris"}), result(RAIN)]
    then = ask(client, *chat, model=model)
    assert text(then) == "Yes, it rains."
    assert then.headers["x-mimic-source"] == "w#3"
    more = [*chat, {"role": "assistant", "content": "Yes, it rains."}, "And tomorrow?"]
    assert called(ask(client, *more, model=model)) == [("get_weather", {"location": "Paris", "days": 1})]
    last = ask(client, *more, call({"location": "Paris", "days": 1}), result("dry"), model=model)
    assert text(last) == "No, it stays dry."


def test_the_layout_of_a_result_does_not_matter(client: OpenAI) -> None:
    """Keys in another order and other blanks still match, on the rung normalized."""
    answer = ask(client, UMBRELLA, call({"location": "Paris"}), result('{"conditions":"rain","temperature":14}'))
    assert (text(answer), answer.headers["x-mimic-match"]) == ("Yes, it rains.", "normalized")


def test_a_result_that_was_never_said_is_answered_with_itself(client: OpenAI) -> None:
    """A similar result has another answer, so similarity does not count."""
    other = '{"temperature": 15, "conditions": "rain"}'
    answer = ask(client, UMBRELLA, call({"location": "Paris"}), result(other))
    assert (text(answer), answer.headers["x-mimic-match"]) == (other, "none")


def test_markup_gives_calls(client: OpenAI) -> None:
    """Several, unless parallel calls are switched off."""
    both = [("get_weather", {"location": "Paris"}), ("get_weather", {"location": "Rome"})]
    assert called(ask(client, "Two cities please")) == both
    assert called(ask(client, "Two cities please", parallel_tool_calls=False)) == both[:1]


def test_a_call_is_made_once(client: OpenAI) -> None:
    """A call of the corpus that the chat already has is not made again, so that every loop ends."""
    chat = ("Look twice", call({"location": "Paris"}), result("try again"))
    assert text(ask(client, *chat)) is not None


def test_calls_that_a_request_cannot_make_are_no_answer(client: OpenAI) -> None:
    """Without the tool, with arguments that do not fit, or with tools switched off: the text that follows the call."""
    assert text(ask(client, UMBRELLA, tools=[OTHER])) == "Yes, it rains."
    strict: Any = json.loads(json.dumps(WEATHER))
    strict["function"]["parameters"]["properties"]["location"]["enum"] = ["Oslo"]
    strict["function"]["description"] = "x"
    strict["function"]["name"] = "get_weather"
    made = called(ask(client, UMBRELLA, tools=[strict], tool_choice="required"))
    assert made == [("get_weather", {"location": "Oslo"})]
    options: Any
    for options in ({"tool_choice": "none"}, {"extra_headers": {"x-mimic-tools": "never"}}):
        assert text(ask(client, UMBRELLA, **options)) == "Yes, it rains."
    plain = client.chat.completions.create(model="m", messages=[{"role": "user", "content": UMBRELLA}])
    assert plain.choices[0].message.content == "Yes, it rains."


def test_a_forced_tool_takes_the_corpus_first(client: OpenAI) -> None:
    """The call of the corpus counts if it fits the choice; else Mimic makes a call."""
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        assert called(ask(client, UMBRELLA, tool_choice=choice)) == [("get_weather", {"location": "Paris"})]
    [(name, _)] = called(ask(client, UMBRELLA, tool_choice={"type": "function", "function": {"name": "send_mail"}}))
    assert name == "send_mail"


def test_the_mode_corpus_makes_no_call_of_its_own(client: OpenAI) -> None:
    """Only calls that really came next."""
    only: Any = {"extra_headers": {"x-mimic-tools": "corpus"}}
    assert called(ask(client, UMBRELLA, **only)) == [("get_weather", {"location": "Paris"})]
    joke = "Tell me a joke about weather in Oslo"
    assert text(ask(client, joke, **only)) == "Knock knock."
    assert called(ask(client, joke)) != []


def test_a_call_at_the_end_of_a_conversation_is_shown_as_it_is(client: OpenAI) -> None:
    """To a request without tools: no text follows it."""
    assert text(ask(client, "Only a call", tools=[OTHER])) == PARIS


def test_limits_and_streams(client: OpenAI) -> None:
    """max_tokens cuts the arguments; a stream gives the same call; ids depend on the request alone."""
    cut = ask(client, UMBRELLA, max_tokens=2).parse().choices[0]
    assert cut.finish_reason == "length"
    whole = ask(client, UMBRELLA).parse().choices[0].message.tool_calls
    messages: Any = [{"role": "user", "content": UMBRELLA}]
    with client.chat.completions.stream(model="mimic-v3", messages=messages, tools=[WEATHER, OTHER]) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed
    assert [(one.id, one.function.arguments) for one in streamed] == [(one.id, one.function.arguments) for one in whole]


def test_the_native_completion_shows_calls_as_they_are(server: Server) -> None:
    """The documents of the corpus stay as in the dump."""
    body = {"messages": [{"from": "human", "value": UMBRELLA}]}
    choices = httpx.post(f"{server.url}/conversation/completion", json=body).json()["choices"]
    assert choices == [{"from": "function_call", "value": PARIS}]
