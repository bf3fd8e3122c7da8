"""OpenAI's routes over HTTP, byte by byte; tests/clients uses real clients."""

import asyncio
import base64
import json
import math
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from mimic import tokens
from mimic.engine.embedding import embed
from mimic.gateway.delivery import pace_steps
from mimic.testing.processes import resident_bytes
from tests.support.corpora import conversation
from tests.support.servers import Server, SharedServers

LONG_ID = "päge/1\r\nx-evil: 1" + "x" * 200
DUMP = [
    conversation("sky_0", ("human", "Why?"), ("gpt", "Because of Rayleigh 👍🏽 scattering."), ("human", "Thanks")),
    conversation("sky_1", ("human", "Why?"), ("gpt", "It scatters."), ("human", "ok"), ("gpt", "Anything else?")),
    conversation("sky_2", ("human", "Why?"), ("gpt", "It scatters.")),
    conversation(LONG_ID, ("user", "你好"), ("bing", "你好, 我能帮你吗")),
    conversation("empty", ("human", ""), ("gpt", "You said nothing.")),
    {"conversations": [{"from": "human", "value": "nameless"}, {"from": "gpt", "value": "no id"}]},
    *(conversation(str(n), ("human", "continue"), ("gpt", f"{n} " + "word " * 2000)) for n in range(500)),
]
NAMES = ("gpt-4o-mini", "openai/gpt-4o", "ft:gpt-4o-mini:org::a1", "mimic-v4", "märz 1")
"""Names of models that are not Mimic's own."""
WHY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}]}


@pytest.fixture
def corpus(serve: SharedServers) -> str:
    """A corpus for requests."""
    return serve.store(DUMP)


@pytest.fixture
def server(serve: SharedServers) -> Server:
    """A server of the corpus."""
    return serve(DUMP)


@pytest.fixture
def v1(server: Server) -> Iterator[httpx.Client]:
    """A client of its OpenAI routes."""
    with httpx.Client(base_url=f"{server.url}/v1", timeout=30) as client:
        yield client


def events(response: httpx.Response) -> list[Any]:
    """The events of a stream, without its end, which must be there."""
    assert response.headers["content-type"].startswith("text/event-stream")
    frames = response.text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    assert all(frame.startswith("data: ") for frame in frames[:-1])
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer in OpenAI's shape; asserts the headers of every answer below /v1."""
    assert response.status_code == status, response.text
    assert {"x-request-id", "openai-version", "openai-processing-ms"} <= set(response.headers)
    body: dict[str, Any] = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    return error


def test_a_completion_has_every_field_of_openais(v1: httpx.Client) -> None:
    """A completion has every required field, echoes the model, adds up its usage, and names its source in headers."""
    response = v1.post("/chat/completions", json={**WHY, "temperature": 0})
    body = response.json()
    assert re.fullmatch("chatcmpl-[0-9a-f]{24}", body.pop("id"))
    assert abs(body.pop("created") - time.time()) < 60
    assert body == {
        "object": "chat.completion",
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It scatters.", "refusal": None, "annotations": []},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 3 + 1 + tokens.count("Why?") + 3,
            "completion_tokens": tokens.count("It scatters."),
            "total_tokens": 7 + tokens.count("Why?") + tokens.count("It scatters."),
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
    }
    assert response.headers["x-mimic-match"] == "last"
    assert response.headers["x-mimic-source"] == "sky_1#1"
    assert response.headers["openai-version"] == "2020-10-01"
    assert int(response.headers["openai-processing-ms"]) >= 0
    assert response.headers["x-request-id"].startswith("req_")


def test_a_stream_has_a_chunk_for_each_token(v1: httpx.Client) -> None:
    """Chunks have the role, the tokens (whole characters or nothing), the end and the usage, with one id."""
    body = {**WHY, "stream": True, "stream_options": {"include_usage": True}, "n": 2, "temperature": 0}
    response = v1.post("/chat/completions", json=body)
    chunks = events(response)
    assert len({(chunk["id"], chunk["created"], chunk["object"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    *parts, last = chunks
    assert all(chunk["usage"] is None for chunk in parts)
    assert last["choices"] == []
    said = ["It scatters.", "Because of Rayleigh 👍🏽 scattering."]
    assert last["usage"]["completion_tokens"] == sum(map(tokens.count, said))
    choices = [chunk["choices"][0] for chunk in parts]
    assert [choice["index"] for choice in choices[:2]] == [0, 1]
    for index, text in enumerate(said):
        first, *middle, end = [choice for choice in choices if choice["index"] == index]
        assert first["delta"] == {"role": "assistant", "content": ""}
        assert end["delta"] == {}
        assert end["finish_reason"] == "stop"
        assert all(set(choice["delta"]) == {"content"} and choice["finish_reason"] is None for choice in middle)
        assert [choice["delta"]["content"] for choice in middle] == list(tokens.decode(tokens.encode(text)))
    assert response.headers["x-mimic-source"] == "sky_1#1, sky_0#1"


def test_complete_and_streamed_are_the_same_answer(v1: httpx.Client) -> None:
    """The request fixes the draw, so both are equal; usage is streamed only if asked for."""
    for given in range(5):
        body = {**WHY, "messages": [{"role": "system", "content": f"{given}"}, *WHY["messages"]]}
        whole = v1.post("/chat/completions", json=body).json()["choices"][0]["message"]["content"]
        chunks = events(v1.post("/chat/completions", json={**body, "stream": True, "user": "x"}))
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole
        assert all("usage" not in chunk for chunk in chunks)


def test_parameters_have_their_effect(v1: httpx.Client) -> None:
    """n, stop, both token limits and seed work; null means the default."""
    body = {
        **WHY,
        "n": 3,
        "temperature": 0,
        "max_completion_tokens": 2,
        "max_tokens": None,
        "stop": None,
        "top_p": None,
    }
    choices = v1.post("/chat/completions", json=body).json()["choices"]
    cut = [("It scat", "length"), ("Because of", "length"), ("It scat", "length")]
    assert [(choice["message"]["content"], choice["finish_reason"]) for choice in choices] == cut
    stopped = v1.post("/chat/completions", json={**WHY, "n": 2, "stop": ["ters", "leigh"]}).json()["choices"]
    assert {choice["message"]["content"] for choice in stopped} == {"It scat", "Because of Ray"}
    seeds = {
        v1.post("/chat/completions", json={**WHY, "seed": n}).json()["choices"][0]["message"]["content"]
        for n in range(9)
    }
    assert seeds == {"It scatters.", "Because of Rayleigh 👍🏽 scattering."}


def test_content_in_parts_and_everything_else_of_a_chat_is_accepted(v1: httpx.Client) -> None:
    """Text parts are joined, others left out; tools, their calls and results, and unknown fields are accepted."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    call = {"id": "call_1", "type": "function", "function": {"name": "sky", "arguments": "{}"}}
    bodies = [
        [{"role": "user", "content": [{"type": "text", "text": "Wh"}, image, sound, {"type": "text", "text": "y?"}]}],
        [{"role": "developer", "content": "Be brief."}, {"role": "user", "name": "ann", "content": "Why?"}],
        [
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "blue"},
        ],
    ]
    tool = {"type": "function", "function": {"name": "sky", "parameters": {"type": "object"}}}
    extra = {"tools": [tool], "tool_choice": "auto", "parallel_tool_calls": True, "response_format": {"type": "text"}}
    extra |= {"logprobs": True, "top_logprobs": 2, "store": False, "metadata": {"a": "b"}, "user": "ann", "x": [1]}
    for messages in bodies:
        response = v1.post("/chat/completions", json={"model": "mimic-v2", "messages": messages, **extra})
        assert response.status_code == 200, response.text
        assert response.headers["x-mimic-match"] == ("none" if messages is bodies[2] else "last")
    assert response.json()["choices"][0]["message"]["content"] == "blue"
    named = v1.post("/chat/completions", json={"model": "m", "messages": bodies[1]}).json()["usage"]["prompt_tokens"]
    texts = ("developer", "Be brief.", "user", "ann", "Why?")
    assert named == 3 + 3 + 3 + 1 + sum(map(tokens.count, texts))


def test_headers_have_the_source_of_an_answer(v1: httpx.Client) -> None:
    """The source has the conversation's id, escaped and cut, or empty without one, and the position."""
    for text, source in (("你好", "p%C3%A4ge%2F1%0D%0Ax-evil%3A%201" + "x" * 83 + "#1"), ("nameless", "#1")):
        body = {"model": "mimic-v1", "messages": [{"role": "user", "content": text}]}
        response = v1.post("/chat/completions", json=body)
        assert response.headers["x-mimic-source"] == source
        assert "x-evil" not in response.headers
    many = {"model": "m", "prompt": ["你好"] * 64, "n": 2}
    sources = v1.post("/completions", json=many).headers["x-mimic-source"].split(", ")
    assert 10 < len(sources) < 20
    assert (set(sources[:-1]), sources[-1]) == ({"p%C3%A4ge%2F1%0D%0Ax-evil%3A%201" + "x" * 83 + "#1"}, "...")
    pair = [{"role": "assistant", "content": "It scatters."}, {"role": "user", "content": "ok"}]
    response = v1.post("/chat/completions", json={"model": "mimic-v3", "messages": pair})
    assert (response.headers["x-mimic-match"], response.headers["x-mimic-source"]) == ("previous", "sky_1#3")


def test_prompts_of_the_older_api(v1: httpx.Client) -> None:
    """Prompts are one or several texts or tokens; n answers each in turn; echo, streams and limits work."""
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": "Why?", "temperature": 0, "echo": True}
    answered = v1.post("/completions", json=body).json()
    assert re.fullmatch("cmpl-[0-9a-f]{24}", answered["id"])
    assert answered["object"] == "text_completion"
    choice = {"index": 0, "text": "Why?It scatters.", "finish_reason": "stop", "logprobs": None}
    assert answered["choices"] == [choice]
    assert answered["usage"]["prompt_tokens"] == tokens.count("Why?")
    several = {"model": "m", "prompt": ["Why?", "ok"], "n": 2, "max_tokens": 2, "temperature": 0}
    response = v1.post("/completions", json=several)
    assert [choice["text"] for choice in response.json()["choices"]] == [
        "It scat",
        "Because of",
        "Anything else",
        "Anything else",
    ]
    assert [choice["index"] for choice in response.json()["choices"]] == [0, 1, 2, 3]
    assert response.headers["x-mimic-match"] == "last, last"
    older = [10445, 30]  # in cl100k_base
    for model, why in (("mimic-v3", tokens.encode("Why?")), ("gpt-4o", tokens.encode("Why?")), ("davinci-002", older)):
        for prompt in (why, [why]):
            asked = {**body, "model": model, "prompt": prompt}
            assert v1.post("/completions", json=asked).json()["choices"] == [choice]
    chunks = events(v1.post("/completions", json={**body, "stream": True, "stream_options": {"include_usage": True}}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == "Why?It scatters."
    assert len(chunks) == 1 + tokens.count("It scatters.") + 1 + 1
    assert chunks[-1]["usage"] == answered["usage"]


def test_models(v1: httpx.Client, server: Server) -> None:
    """The list has a model for each version, and one for embeddings; any other name can be retrieved."""
    listed = v1.get("/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["mimic-v1", "mimic-v2", "mimic-v3", "mimic-embedding"]
    assert abs(listed["data"][0]["created"] - time.time()) < 600
    for model in listed["data"]:
        assert v1.get(f"/models/{model['id']}").json() == model
    for name in NAMES:
        for path in (name, quote(name, safe="")):
            found = v1.get(f"/models/{path}").json()
            assert found == {**listed["data"][2], "id": name}
    assert [model["id"] for model in v1.get("/models").json()["data"]] == [model["id"] for model in listed["data"]]


def test_a_model_cannot_be_deleted(v1: httpx.Client) -> None:
    """Deleting a model is a 403, as for other owners' models at OpenAI; DELETE is among the path's methods."""
    for name in ("mimic-v1", *(name for name in NAMES if not name.startswith("ft:"))):
        error = error_of(v1.delete(f"/models/{quote(name, safe='')}"), 403)
        assert (error["type"], error["param"]) == ("permission_error", "model")
        assert f"`{name}`" in error["message"]
    for answer in (v1.options("/models/org/model"), v1.put("/models/x")):
        assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"


def test_a_models_name_chooses_the_version(v1: httpx.Client) -> None:
    """v3 uses the last two messages, v2 the last."""
    messages = [{"role": "assistant", "content": "It scatters."}, {"role": "user", "content": "ok"}]
    matches = {
        model: v1.post("/chat/completions", json={"model": model, "messages": messages}).headers["x-mimic-match"]
        for model in ("mimic-v1", "mimic-v2", "mimic-v3", "gpt-4o")
    }
    assert matches == {"mimic-v1": "last", "mimic-v2": "last", "mimic-v3": "previous", "gpt-4o": "previous"}


MISSING = "missing_required_parameter"
MESSAGE = {"role": "user", "content": "Why?"}


@pytest.mark.parametrize(
    ("changed", "param", "code"),
    [
        ({"model": None}, "model", "invalid_type"),
        ({"model": ""}, "model", "empty_string"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": {}}, "messages", "invalid_type"),
        ({"messages": [{"role": "usr", "content": "Why?"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"content": "Why?"}]}, "messages[0].role", MISSING),
        ({"messages": [MESSAGE, {"role": "user", "content": 1}]}, "messages[1].content", "invalid_type"),
        ({"messages": [MESSAGE, {"role": "user"}]}, "messages[1].content", MISSING),
        ({"messages": [{"role": "tool", "content": None}]}, "messages[0].content", "invalid_type"),
        ({"logprobs": "yes"}, "logprobs", "invalid_type"),
        ({"logit_bias": {"1": "x"}}, "logit_bias[...]", "invalid_type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", MISSING),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type", MISSING),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        ({"temperature": -1}, "temperature", "decimal_below_min_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": "0"}, "temperature", "invalid_type"),
        ({"n": "2"}, "n", "invalid_type"),
        ({"messages": [{"role": "user", "content": [{"type": 1}]}]}, "messages[0].content[0].type", "invalid_type"),
        ({"top_p": 1.1}, "top_p", "decimal_above_max_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 129}, "n", "integer_above_max_value"),
        ({"n": 1.5}, "n", "invalid_type"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
        ({"stop": [1]}, "stop[0]", "invalid_type"),
        ({"seed": "x"}, "seed", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "integer_below_min_value"),
        ({"presence_penalty": 3}, "presence_penalty", "decimal_above_max_value"),
        ({"frequency_penalty": -3}, "frequency_penalty", "decimal_below_min_value"),
        ({"top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_parameter_combination"),
    ],
)  # fmt: skip
def test_bad_requests_name_the_field(v1: httpx.Client, changed: dict[str, Any], param: str, code: str) -> None:
    """Errors have OpenAI's code and the field, for streams too."""
    for stream in ({}, {"stream": True} if "stream" not in str(changed) else {}):
        error = error_of(v1.post("/chat/completions", json={**WHY, **stream, **changed}), 400)
        assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
        assert f"'{param}'" in error["message"]


@pytest.mark.parametrize(
    ("route", "body", "param", "code"),
    [
        ("/chat/completions", {"messages": [MESSAGE]}, "model", MISSING),
        ("/chat/completions", {"model": "m"}, "messages", MISSING),
        ("/completions", {"model": "m"}, "prompt", MISSING),
        ("/completions", {"model": "m", "prompt": []}, "prompt", "empty_array"),
        ("/completions", {"model": "m", "prompt": "a", "n": 1.5}, "n", "invalid_type"),
        ("/completions", {"model": "m", "prompt": "a", "n": 200.0}, "n", "integer_above_max_value"),
        ("/completions", {"model": "m", "prompt": "a", "n": 2.0, "seed": "1"}, "seed", "invalid_type"),
        ("/completions", {"model": "m", "prompt": "a", "n": 2.0, "seed": 1e300}, "seed", "integer_above_max_value"),
        ("/completions", {"model": "m", "prompt": ["Why?"] * 129}, "prompt", "array_above_max_length"),
        ("/completions", {"model": "m", "prompt": ["Why?"] * 65, "n": 2}, "prompt", "array_above_max_length"),
        ("/completions", {"model": "m", "prompt": ["a", 1]}, "prompt", "invalid_type"),
        ("/completions", {"model": "m", "prompt": [1, [2]]}, "prompt", "invalid_type"),
        ("/completions", {"model": "m", "prompt": [[1], [10**30]]}, "prompt[1]", "invalid_value"),
        ("/completions", {"model": "m", "prompt": [-1]}, "prompt", "invalid_value"),
        ("/completions", {"model": "m", "prompt": [199_998]}, "prompt", "invalid_value"),
        ("/embeddings", {"model": "m", "input": [[]]}, "input", "invalid_value"),
        ("/embeddings", {"model": "m"}, "input", MISSING),
        ("/embeddings", {"model": "m", "input": ""}, "input", "invalid_value"),
        ("/embeddings", {"model": "m", "input": ["a", ""]}, "input", "invalid_value"),
        ("/embeddings", {"model": "m", "input": ["a"] * 2049}, "input", "array_above_max_length"),
        ("/embeddings", {"model": "m", "input": "a " * 8193}, "input", "invalid_value"),
        ("/embeddings", {"model": "m", "input": ["a " * 8000] * 38}, "input", "invalid_value"),
        ("/embeddings", {"model": "m", "input": "a", "dimensions": 0}, "dimensions", "integer_below_min_value"),
        ("/embeddings", {"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_value"),
    ],
)
def test_bad_requests_of_the_other_routes(
    v1: httpx.Client, route: str, body: dict[str, Any], param: str, code: str
) -> None:
    """Other routes have the same shape and codes."""
    error = error_of(v1.post(route, json=body), 400)
    assert (error["param"], error["code"]) == (param, code)


def test_an_integer_may_be_written_with_a_point(v1: httpx.Client) -> None:
    """A number such as 2.0 is an integer, as in JSON Schema; other values stay as they are."""
    why = tokens.encode("Why?")
    fields = {"model": "m", "temperature": 1.0, "logit_bias": {"1": 1}}
    plain = json.dumps({**fields, "prompt": [why], "n": 2, "seed": 7})
    pointed = json.dumps({**fields, "prompt": [list(map(float, why))], "n": 2.0, "seed": 7.0})
    assert '"n": 2.0' in pointed
    answers = [v1.post("/completions", content=body).json()["choices"] for body in (plain, pointed)]
    assert len(answers[1]) == 2
    assert answers[0] == answers[1]


def test_a_prompt_may_be_null_or_end_within_a_character(v1: httpx.Client) -> None:
    """A null prompt is an empty text, as at OpenAI; tokens that end within a character are matched without it."""
    prompts: tuple[Any, ...] = (None, "", [[]])
    for prompt in prompts:
        answer = v1.post("/completions", json={"model": "m", "prompt": prompt}).json()
        assert answer["choices"][0]["text"] == "You said nothing."
    cut = tokens.encode("Why? 𒀀")[:-1]
    for route, field in (("/completions", "prompt"), ("/embeddings", "input")):
        assert v1.post(route, json={"model": "m", field: cut}).json()["usage"]["prompt_tokens"] == len(cut)


@pytest.mark.parametrize(
    ("route", "body", "allowed"),
    [
        ("/chat/completions", {"messages": [{"role": "robot", "content": "x"}]}, "developer, system, user, assistant"),
        ("/embeddings", {"input": "a", "encoding_format": "hex"}, "float, base64"),
    ],
)
def test_allowed_words_are_named(v1: httpx.Client, route: str, body: dict[str, Any], allowed: str) -> None:
    """The error of a misspelled word lists the allowed ones."""
    error = error_of(v1.post(route, json={"model": "m", **body}), 400)
    assert f" Expected one of {allowed}" in error["message"]


def test_an_unknown_route_gets_a_suggestion(v1: httpx.Client) -> None:
    """The error suggests another route, for any method, without reading the body or repeating a long path."""
    for path, told in (
        ("/v1/chat/completions", "The base URL holds /v1 twice. Did you mean /v1/chat/completions?"),
        ("/fine_tuning/jobs", "Mimic has no models to tune"),
        ("/" + "x" * 10_000, "/v1/" + "x" * 196 + "..."),
    ):
        for answer in (v1.post(path, json=WHY), v1.get(path)):
            error = error_of(answer, 404)
            assert told in error["message"]
            assert (error["code"], error["type"]) == ("unknown_url", "invalid_request_error")
            assert len(error["message"]) < 1000


def test_other_errors(v1: httpx.Client) -> None:
    """No match, invalid JSON, unknown routes and wrong methods have OpenAI's errors."""
    never = {"model": "m", "messages": [{"role": "user", "content": "never said"}], "stream": True}
    assert error_of(v1.post("/chat/completions", json=never), 404)["code"] == "completion_not_found"
    assert "nothing follows 'never said' of the role 'user'" in v1.post("/chat/completions", json=never).text
    assert error_of(v1.post("/completions", json={"model": "m", "prompt": ["Why?", "?"]}), 404)
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    assert "no text" in error_of(v1.post("/chat/completions", json={"model": "m", "messages": image}), 404)["message"]
    assert error_of(v1.post("/chat/completions", content=b"{"), 400)["code"] == "invalid_json"
    assert error_of(v1.post("/chat/completions", content=b'{"model": "\xff"}'), 400)["code"] == "invalid_json"
    assert error_of(v1.get("/nothing"), 404)["code"] == "unknown_url"
    without = httpx.post(f"{str(v1.base_url).removesuffix('/v1/')}/chat/completions", json=WHY)
    assert without.json()["error"]["message"].endswith("Did you mean /v1/chat/completions?")
    assert error_of(v1.get("/completions"), 405)["code"] == "method_not_allowed"
    assert error_of(v1.post("/chat/completions", content=b"x" * 10_000_001), 413)["code"] == "request_too_large"


@pytest.mark.parametrize(("on_miss", "answer"), [("echo", "never said"), ("I am a mock.", "I am a mock.")])
def test_an_unknown_message_may_be_answered(corpus: str, tmp_path: Path, on_miss: str, answer: str) -> None:
    """A miss may echo the message or return a fixed text, with limits and usage; matches stay as they are."""
    with (
        Server(tmp_path, MIMIC_STORE=corpus, MIMIC_ON_MISS=on_miss) as server,
        httpx.Client(base_url=f"{server.url}/v1") as v1,
    ):
        never = {"model": "m", "messages": [{"role": "user", "content": "never said"}], "n": 2}
        response = v1.post("/chat/completions", json=never)
        assert [choice["message"]["content"] for choice in response.json()["choices"]] == [answer] * 2
        assert (response.headers["x-mimic-match"], response.headers["x-mimic-source"]) == ("none", "none, none")
        assert response.json()["usage"]["completion_tokens"] == 2 * tokens.count(answer)
        chunks = events(v1.post("/chat/completions", json={**never, "n": 1, "stream": True, "max_tokens": 1}))
        [first] = tokens.encode(answer)[:1]
        assert chunks[1]["choices"][0]["delta"]["content"] == tokens.text_of([first])
        assert v1.post("/chat/completions", json=WHY).headers["x-mimic-match"] == "last"
        several = v1.post("/completions", json={"model": "m", "prompt": ["Why?", "never said"]})
        assert several.headers["x-mimic-match"] == "last, none"
        assert several.json()["choices"][1]["text"] == answer
        image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
        textless = v1.post("/chat/completions", json={"model": "m", "messages": image}).json()
        assert textless["choices"][0]["message"]["content"] == ("" if on_miss == "echo" else answer)
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'mimic_completion_misses_total{version="v3"} 4.0' in metrics


def test_keys(corpus: str, tmp_path: Path) -> None:
    """With API keys, every route that answers from the corpus needs one; wrong keys are not repeated."""
    routes = [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/mimic-v1"),
        ("POST", "/conversation/completion"),
    ]
    with (
        Server(tmp_path, MIMIC_STORE=corpus, MIMIC_API_KEYS="sk-one, clé") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        for method, path in routes:
            for header in (None, "", "Bearer", "Basic sk-one", "sk-one"):
                headers = {"authorization": header} if header is not None else {}
                answer = client.request(method, path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                error = answer.json()["error"]
                assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", None, None)
                assert error["message"].startswith("You didn't provide an API key.")
            for wrong in ("sk-on", "sk-one1", "sk-one,", "clé".encode("latin-1"), "x" * 5000, "sk-proj-abcdefgh1234"):
                given = b"Bearer " + (wrong if isinstance(wrong, bytes) else wrong.encode())
                answer = client.request(method, path, headers={b"authorization": given})
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"
                assert answer.json()["error"]["message"].startswith("Incorrect API key provided: ********")
                assert given.decode("latin-1")[7:] not in answer.text
            for right in (b"Bearer sk-one", b"bearer  sk-one", b"Bearer cl\xc3\xa9"):
                assert client.request(method, path, headers={b"authorization": right}).status_code != 401
            client.delete("/mimic/requests", headers={b"authorization": b"Bearer sk-one"})  # the wrong ones were many
        for path in ("/health", "/ready", "/corpus", "/metrics", "/schema"):
            assert client.get(path).status_code == 200
    assert "sk-one" not in server.log()


def test_strict_models(corpus: str, tmp_path: Path) -> None:
    """Each of Mimic's own names is accepted on its routes only."""
    with (
        Server(tmp_path, MIMIC_STORE=corpus, MIMIC_STRICT_MODELS="on") as server,
        httpx.Client(base_url=f"{server.url}/v1") as v1,
    ):
        for path, body in (
            ("/chat/completions", {"messages": [MESSAGE]}),
            ("/completions", {"prompt": "Why?"}),
            ("/embeddings", {"input": "Why?"}),
        ):
            own = "mimic-embedding" if path == "/embeddings" else "mimic-v2"
            assert v1.post(path, json={**body, "model": own}).json()["model"] == own
            for model in ("gpt-4o-mini", "mimic-v4", "mimic-v2" if own != "mimic-v2" else "mimic-embedding"):
                error = error_of(v1.post(path, json={**body, "model": model}), 404)
                assert (error["code"], error["param"]) == ("model_not_found", "model")
        for method, own_status in (("GET", 200), ("DELETE", 403)):
            assert v1.request(method, "/models/mimic-v2").status_code == own_status
            for name in (*NAMES, "x" * 10_000):
                error = error_of(v1.request(method, f"/models/{name}"), 404)
                assert (error["code"], error["param"]) == ("model_not_found", "model")
                assert name[:200] in error["message"]
                assert len(error["message"]) < 300


def test_embeddings(v1: httpx.Client) -> None:
    """Vectors have length 1, are deterministic, as numbers or base64, and are similar if texts share words."""
    body = {"model": "text-embedding-3-small", "input": ["the sky is blue", "the sky is grey", "buy milk"]}
    answer = v1.post("/embeddings", json=body).json()
    assert answer["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    vectors = [item["embedding"] for item in answer["data"]]
    assert [(item["object"], item["index"]) for item in answer["data"]] == [("embedding", n) for n in range(3)]
    assert all(len(vector) == 1536 for vector in vectors)
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-6) for vector in vectors)
    alike, other = (sum(a * b for a, b in zip(vectors[0], vectors[n], strict=True)) for n in (1, 2))
    assert alike > 0.4 > abs(other)
    encoded = v1.post("/embeddings", json={**body, "encoding_format": "base64"}).json()["data"]
    for item, vector in zip(encoded, vectors, strict=True):
        assert list(struct.unpack("<1536f", base64.b64decode(item["embedding"]))) == vector
    small = v1.post("/embeddings", json={**body, "dimensions": 3}).json()["data"]
    assert [len(item["embedding"]) for item in small] == [3, 3, 3]
    large = v1.post("/embeddings", json={"model": "text-embedding-3-large", "input": "a"}).json()["data"]
    assert len(large[0]["embedding"]) == 3072
    in_cl100k = [1820, 13180, 374, 6437]
    for model in ("text-embedding-3-small", "mimic-embedding"):
        [by_tokens] = v1.post("/embeddings", json={"model": model, "input": in_cl100k}).json()["data"]
        assert by_tokens["embedding"] == vectors[0]
    cut = v1.post("/embeddings", json={**body, "input": [[*in_cl100k, 9468, 239]]})  # two of the three of an emoji
    assert cut.json()["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    given = v1.post("/embeddings", json={**body, "input": [[1, 2, 3], [400]]}).json()["usage"]
    assert given == {"prompt_tokens": 4, "total_tokens": 4}


def test_embeddings_differ_and_are_never_zero() -> None:
    """Vectors depend on the order of words, and are never zero if coordinates cancel out."""
    assert embed("a b", 1536) != embed("b a", 1536) != embed("B A", 1536)
    for one, other, least in (("cat dog", "dog cat", 0.8), ("The Sky", "the sky", 0.9), ("天空很蓝", "蓝天空", 0.5)):
        assert sum(a * b for a, b in zip(embed(one, 1536), embed(other, 1536), strict=True)) > least
    for number in range(300):
        assert math.isclose(math.hypot(*embed(f"text {number}", 1)), 1)


def test_a_client_that_goes_away_costs_nothing_more(v1: httpx.Client, server: Server) -> None:
    """A hundred abandoned streams leave no memory and no line in the log."""
    body = {"model": "m", "messages": [{"role": "user", "content": "continue"}], "stream": True, "n": 20}
    for _ in range(10):
        with v1.stream("POST", "/chat/completions", json=body) as response:
            next(response.iter_raw(100))
    before = resident_bytes(server.process.pid)
    for _ in range(100):
        with v1.stream("POST", "/chat/completions", json=body) as response:
            next(response.iter_raw(100))
    assert resident_bytes(server.process.pid) - before < 30_000_000
    assert v1.post("/chat/completions", json=WHY).status_code == 200
    assert "bug" not in server.log()
    assert "Traceback" not in server.log()


def test_many_embeddings(v1: httpx.Client) -> None:
    """The largest batch works, and numbers equal base64."""
    body = {"model": "m", "input": [f"text {n}" for n in range(2048)], "dimensions": 16}
    floats, encoded = (
        v1.post("/embeddings", json={**body, "encoding_format": form}).json()["data"] for form in ("float", "base64")
    )
    assert [item["index"] for item in floats] == list(range(2048))
    for one, other in zip(floats, encoded, strict=True):
        assert list(struct.unpack("<16f", base64.b64decode(other["embedding"]))) == one["embedding"]


def test_a_huge_prompt_is_counted(v1: httpx.Client) -> None:
    """Nine megabytes in one word or many are a 404 or an answer, with their tokens."""
    long = [{"role": "user", "content": "words and " * 400_000}, {"role": "user", "content": "Why?"}]
    usage = v1.post("/chat/completions", json={"model": "m", "messages": long}).json()["usage"]
    assert usage["prompt_tokens"] == 3 + 2 * (3 + 1) + 800_001 + tokens.count("Why?")
    word = [{"role": "user", "content": "x" * 9_000_000}]
    assert error_of(v1.post("/chat/completions", json={"model": "m", "messages": word}), 404)


def test_metrics_count_chats(v1: httpx.Client, server: Server) -> None:
    """Metrics count chats by route and version, as for the older route."""
    v1.post("/chat/completions", json=WHY)
    v1.post("/chat/completions", json={**WHY, "model": "mimic-v2", "n": 2})
    v1.post("/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": "never said"}]})
    text = httpx.get(f"{server.url}/metrics").text
    assert re.search(r'mimic_requests_total\{method="POST",route="/v1/chat/completions",status="200"\} \d', text)
    assert re.search(r'mimic_request_seconds_count\{route="/v1/chat/completions",version="v2"\} \d', text)
    assert re.search(r'mimic_choices_returned_total\{version="v3"\} [1-9]', text)
    assert re.search(r'mimic_completion_misses_total\{version="v3"\} [1-9]', text)


@pytest.mark.anyio
async def test_others_are_served_while_a_long_stream_is_written() -> None:
    """The event loop serves others after every few kilobytes, however fast a stream's client reads."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    parts = [part async for part in pace_steps(b"", [b"data: {%s}\n\n" % (b" " * 1000)] * 2_000, b"", None)]
    counting.cancel()
    assert b"".join(parts).count(b"data: {") == 2_000
    assert turns >= 25
