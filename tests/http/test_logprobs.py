"""``logprobs`` through OpenAI's own SDK, with strict types, whole and streamed, on both routes."""

from collections.abc import Iterator
from math import exp, log
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion import ChoiceLogprobs

from mimic import tokens
from mimic.engine import retrieval
from tests.support.corpora import Dump, conversation
from tests.support.servers import SharedServers

CHOICES = {"Blue 👩‍🚀 it is.": 3, "Blue.": 2, "Grey": 1}
DUMP: Dump = [
    *(
        conversation(f"{text}{n}", ("human", "sky?"), ("gpt", text))
        for text, most in CHOICES.items()
        for n in range(most)
    ),
    conversation("one", ("human", "one?"), ("gpt", "Only one.")),
    *(conversation(f"many{n}", ("human", "many?"), ("gpt", f"Answer {n}")) for n in range(retrieval.MAX_ANSWERS + 1)),
]
PLACE = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "sky", "schema": PLACE["function"]["parameters"]}}  # type: ignore[index]


@pytest.fixture(scope="module")
def client(serve: SharedServers) -> Iterator[OpenAI]:
    """The SDK, with strict types for every answer and without retries."""
    url = f"{serve(DUMP).url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def chat(client: OpenAI, text: str = "sky?", **fields: Any) -> ChatCompletion:
    """A whole answer with log probabilities."""
    fields = {"logprobs": True, "top_logprobs": 20, **fields}
    messages = [{"role": "user", "content": text}]
    found: ChatCompletion = client.chat.completions.create(model="mimic-v2", messages=messages, **fields)  # type: ignore[arg-type]
    return found


def content_of(logprobs: ChoiceLogprobs | None) -> list[Any]:
    """The items of the tokens."""
    assert logprobs
    assert logprobs.refusal is None
    assert logprobs.content is not None
    return list(logprobs.content)


def test_a_chat(client: OpenAI) -> None:
    """Every token has its bytes and its share of the corpus; rivals come in order; parts of characters are escaped."""
    found = {choice.message.content: choice for choice in chat(client, n=3).choices}
    assert set(found) == set(CHOICES)
    for text, choice in found.items():
        content = content_of(choice.logprobs)
        assert b"".join(bytes(one.bytes) for one in content).decode() == text
        assert exp(sum(one.logprob for one in content)) == pytest.approx(CHOICES[text] / 6)
        assert all(one.token.encode() == bytes(one.bytes) or one.token.startswith("\\x") for one in content)
    first, second, *others = content_of(found["Blue."].logprobs)
    assert [(one.token, one.logprob) for one in first.top_logprobs] == [
        ("Blue", pytest.approx(log(5 / 6))),
        ("Grey", pytest.approx(log(1 / 6))),
    ]
    assert [one.logprob for one in second.top_logprobs] == pytest.approx([log(3 / 5), log(2 / 5)])
    assert (second.token, others) == (".", [])
    assert any(one.token.startswith("\\x") for one in content_of(found["Blue 👩‍🚀 it is."].logprobs))


def test_fewer_or_no_rivals(client: OpenAI) -> None:
    """``top_logprobs`` limits the rivals, and none are there by default; without ``logprobs`` there is null."""
    assert {len(one.top_logprobs) for one in content_of(chat(client, top_logprobs=1).choices[0].logprobs)} == {1}
    assert {len(one.top_logprobs) for one in content_of(chat(client, top_logprobs=None).choices[0].logprobs)} == {0}
    assert chat(client, logprobs=False, top_logprobs=0).choices[0].logprobs is None
    with pytest.raises(BadRequestError) as caught:
        chat(client, logprobs=None, top_logprobs=2)
    assert (caught.value.param, "only allowed when 'logprobs'" in caught.value.message) == ("top_logprobs", True)


@pytest.mark.parametrize("fields", [{"n": 3}, {"max_tokens": 2}, {"stop": " it"}, {"temperature": 0}])
def test_a_chat_in_a_stream(client: OpenAI, fields: dict[str, Any]) -> None:
    """Every chunk with a token has its log probability; together they are those of the whole answer."""
    whole = chat(client, **fields)
    streamed: dict[int, list[Any]] = {choice.index: [] for choice in whole.choices}
    for chunk in client.chat.completions.create(
        model="mimic-v2",
        messages=[{"role": "user", "content": "sky?"}],
        logprobs=True,
        top_logprobs=20,
        stream=True,
        **fields,
    ):
        for choice in chunk.choices:
            if choice.delta.content is None or choice.delta.role:
                assert choice.logprobs is None
            else:
                [one] = choice.logprobs.content
                streamed[choice.index].append(one)
    for choice in whole.choices:
        assert streamed[choice.index] == content_of(choice.logprobs)


def test_made_answers_are_certain(client: OpenAI) -> None:
    """Arguments of tools, JSON by a schema, and the only answer of the corpus have the log probability 0."""
    calling = {"text": "What is the weather in Paris?", "tools": [PLACE], "tool_choice": "required"}
    for fields in (calling, {"response_format": FORMAT}, {"text": "one?"}):
        content = content_of(chat(client, **fields).choices[0].logprobs)
        assert {one.logprob for one in content} == {0.0}
        assert all(len(one.top_logprobs) == 1 for one in content)
    with client.chat.completions.stream(
        model="mimic-v2",
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[PLACE],  # type: ignore[list-item]
        tool_choice="required",
        logprobs=True,
    ) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.message.tool_calls
    arguments = choice.message.tool_calls[0].function.arguments
    assert "".join(one.token for one in content_of(choice.logprobs)) == arguments


def test_prompts(client: OpenAI) -> None:
    """The older form has a list for each fact; the dictionaries have the token itself, too."""
    answer = client.completions.create(model="mimic-v2", prompt="sky?", n=3, logprobs=1)
    for choice in answer.choices:
        found = choice.logprobs
        assert found
        assert found.tokens
        assert found.token_logprobs
        assert found.top_logprobs
        assert found.text_offset
        assert exp(sum(found.token_logprobs)) == pytest.approx(CHOICES[choice.text] / 6)
        for token, logprob, top, offset in zip(
            found.tokens, found.token_logprobs, found.top_logprobs, found.text_offset, strict=True
        ):
            assert top[token] == logprob
            assert len(top) <= 2
            assert choice.text[offset:].startswith(token) or token.startswith("bytes:\\x")
    grey = next(choice.logprobs for choice in answer.choices if choice.text == "Grey")
    assert grey
    assert grey.top_logprobs
    assert grey.top_logprobs[0] == pytest.approx({"Blue": log(5 / 6), "Grey": log(1 / 6)})
    bare = client.completions.create(model="mimic-v2", prompt="sky?", logprobs=0).choices[0].logprobs
    assert bare
    assert bare.top_logprobs
    assert {len(top) for top in bare.top_logprobs} == {1}


def test_prompts_in_a_stream(client: OpenAI) -> None:
    """Chunks have the log probabilities of their tokens, echo and offsets included, as in the whole answer.

    The SDK's strict type for a chunk forbids a null ``finish_reason``, as every chunk but the last has it.
    """
    fields: dict[str, Any] = {"model": "mimic-v2", "prompt": ["sky?", "one?"], "n": 2, "logprobs": 5, "echo": True}
    whole = client.completions.create(**fields)
    streamed: dict[int, dict[str, list[Any]]] = {choice.index: {} for choice in whole.choices}
    with OpenAI(base_url=client.base_url, api_key="any", max_retries=0) as lenient:
        chunks = list(lenient.completions.create(**fields, stream=True))
    for chunk in chunks:
        for choice in chunk.choices:
            for name, values in (choice.logprobs.model_dump() if choice.logprobs else {}).items():
                streamed[choice.index].setdefault(name, []).extend(values)
    for choice in whole.choices:
        assert choice.logprobs
        assert choice.logprobs.model_dump() == streamed[choice.index]
        echoed = tokens.count("sky?")
        assert choice.logprobs.token_logprobs
        assert choice.logprobs.token_logprobs[:echoed] == [0.0] * echoed
        assert choice.logprobs.text_offset
        assert choice.logprobs.text_offset[echoed] == len("sky?")


def test_rare_answers_may_be_left_out(serve: SharedServers) -> None:
    """The header says so, where a message has more answers than are considered."""
    with httpx.Client(base_url=f"{serve(DUMP).url}/v1") as client:
        for text, stated in (("many?", "partial"), ("sky?", None)):
            body = {"model": "mimic-v2", "messages": [{"role": "user", "content": text}], "logprobs": True}
            assert client.post("/chat/completions", json=body).headers.get("x-mimic-logprobs") == stated
        body = {"model": "mimic-v2", "prompt": ["sky?", "many?"], "logprobs": 2, "stream": True}
        response = client.post("/completions", json=body)
        assert response.headers["x-mimic-logprobs"] == "partial"
        assert "x-mimic-ignored" not in response.headers
        del body["logprobs"]
        assert "x-mimic-logprobs" not in client.post("/completions", json=body).headers


def test_an_emptied_answer_has_no_tokens(serve: SharedServers) -> None:
    """The fault ``empty`` leaves neither text nor log probabilities."""
    body = {"model": "mimic-v2", "messages": [{"role": "user", "content": "sky?"}], "logprobs": True}
    url = f"{serve(DUMP).url}/v1/chat/completions"
    choice = httpx.post(url, json=body, headers={"x-mimic-fault": "empty"}).json()["choices"][0]
    assert (choice["message"]["content"], choice["logprobs"]) == ("", {"content": [], "refusal": None})
