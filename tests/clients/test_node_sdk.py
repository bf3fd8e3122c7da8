"""OpenAI's SDK for Node and the Vercel AI SDK, in a real Node."""

import json
import os
import subprocess
from math import hypot
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from mimic.testing import MimicServer
from tests.clients.chats import CORPUS, HELLO, HI, KEY, RED, SEA
from tests.support.node import Command

BEFORE: dict[str, tuple[str, int]] = {
    "status=429; retry-after=1": ("RateLimitError", 2),
    "status=429; code=insufficient_quota": ("RateLimitError", 2),
    "status=408": ("APIError", 2),
    "status=409": ("ConflictError", 2),
    "status=500": ("InternalServerError", 2),
    "status=503; retry-after=61": ("InternalServerError", 2),
    "status=400": ("BadRequestError", 1),
    "status=401": ("AuthenticationError", 1),
    "status=404": ("NotFoundError", 1),
    "status=400; should-retry=true": ("BadRequestError", 2),
    "status=500; should-retry=false": ("InternalServerError", 1),
    "disconnect; after=0": ("APIConnectionError", 2),
    "slow-headers; seconds=60": ("APIConnectionTimeoutError", 2),
}
"""Errors of the Node SDK, and the number of its attempts with one retry, streamed or not."""

IN_A_STREAM: dict[str, tuple[str, int]] = {
    "disconnect; after=2": ("TypeError", 1),
    "stall; after=2; seconds=60": ("nothing yet", 1),
    "malformed; after=2": ("SyntaxError", 1),
    "error; after=2; code=overloaded": ("APIError", 1),
}
IN_A_WHOLE_ANSWER: dict[str, tuple[str, int]] = {
    "disconnect; after=2": ("TypeError", 1),
    "stall; after=2; seconds=60": ("APIConnectionTimeoutError", 2),
    "malformed; after=2": ("SyntaxError", 1),
    "error; after=2; code=overloaded": ("InternalServerError", 2),
}
HARMLESS = {"slow-headers; seconds=0.4": RED, "stall; after=1; seconds=0.4": RED, "empty": ""}


def run(node: tuple[Command, Path], base_url: str, *arguments: str) -> Any:
    """The output of a program that sends requests to a URL."""
    command, folder = node
    environment = {"PATH": os.environ["PATH"], "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": KEY}
    program = (*command, *arguments)
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def asked_by_node(node: tuple[Command, Path], base_url: str) -> Any:
    """All that the Node SDK got."""
    return run(node, base_url, "client.mjs")


@pytest.fixture(scope="module")
def agents(node: tuple[Command, Path], default_url: str) -> Any:
    """All that loops of tools and structured answers came to."""
    return run(node, default_url, "agents.mjs")


def test_the_node_sdk(asked_by_node: Any, o200k: tiktoken.Encoding) -> None:
    """Complete, streamed with usage, and the ``.stream()`` helper, which all give the same true answer."""
    completion = asked_by_node["complete"]["completion"]
    assert completion["choices"][0]["message"]["content"] == HELLO
    assert asked_by_node["complete"]["match"] == "last"
    assert asked_by_node["complete"]["request_id"].startswith("req_")
    *chunks, last = asked_by_node["streamed"]
    parts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(parts) == HELLO
    assert last["choices"] == []
    assert last["usage"] == completion["usage"]
    helped = asked_by_node["helped"]
    assert helped["content"] == "".join(helped["pieces"]) == SEA
    assert helped["completion"]["choices"][0]["message"]["content"] == SEA
    assert helped["completion"]["choices"][0]["finish_reason"] == "stop"
    assert helped["usage"]["completion_tokens"] == len(o200k.encode(SEA))


def test_the_node_sdk_with_several_answers(asked_by_node: Any) -> None:
    """``n``, complete and put together from a stream by the helper."""
    complete, streamed = (
        [choice["message"]["content"] for choice in completion["choices"]] for completion in asked_by_node["several"]
    )
    assert complete == streamed
    assert len(set(complete)) == 3
    assert set(complete) <= HI


def test_the_other_routes_through_the_node_sdk(asked_by_node: Any) -> None:
    """Legacy completions, models, embeddings in both encodings."""
    legacy = asked_by_node["legacy"]
    assert legacy["completion"]["choices"][0]["text"] == HELLO
    assert "".join(chunk["choices"][0]["text"] for chunk in legacy["chunks"]) == HELLO
    assert asked_by_node["models"]["one"] in asked_by_node["models"]["list"]
    encoded, floats = (
        [item["embedding"] for item in asked_by_node["embeddings"][encoding]["data"]]
        for encoding in ("base64", "float")
    )
    assert encoded == [pytest.approx(vector, abs=1e-7) for vector in floats]
    assert all(len(vector) == 8 and hypot(*vector) == pytest.approx(1, abs=1e-6) for vector in encoded)


def test_errors_through_the_node_sdk(asked_by_node: Any) -> None:
    """The SDK raises its classes with code and field; for streams, before they begin."""
    errors = asked_by_node["errors"]
    never_said = {name: errors[name] for name in ("never_said", "streamed", "helped")}
    for error in never_said.values():
        assert (error["name"], error["status"], error["code"]) == ("NotFoundError", 404, "completion_not_found")
        assert error["request_id"].startswith("req_")
    assert (errors["temperature"]["name"], errors["temperature"]["param"]) == ("BadRequestError", "temperature")
    assert (errors["model"]["status"], errors["model"]["type"]) == (403, "permission_error")


def test_tools_and_schemas_through_the_node_sdk(agents: Any) -> None:
    """``runTools`` ends with the result of the tool, and a Zod schema is met; complete and streamed."""
    assert agents["tools"] == [{"text": "It is sunny in San Francisco, CA", "asked": ["San Francisco, CA"]}] * 2
    assert agents["parsed"] == [{"name": "John Doe", "age": 42}] * 2


@pytest.mark.parametrize("provider", ["compatible", "openai", "openai chat"])
def test_the_vercel_ai_sdk(agents: Any, provider: str) -> None:
    """A loop of tools ends after the second step, and each object validates; complete and streamed."""
    found = agents["vercel"][provider]
    assert found["loops"] == {
        "texts": ["It is sunny in San Francisco, CA"] * 2,
        "steps": [2, 2],
        "asked": ["San Francisco, CA"] * 2,
    }
    assert found["objects"] == [{"name": "John Doe", "age": 42}] * 4


def test_a_websocket_of_the_node_sdk(node: tuple[Command, Path], base_url: str) -> None:
    """Events are those of a stream; a response is followed although it is not stored; an error is the SDK's."""
    asked = run(node, base_url, "websocket.mjs")
    deltas = [event["delta"] for event in asked["first"] if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == SEA
    [message] = asked["second"][-1]["response"]["output"]
    assert message["content"][0]["text"] == "Its waves are made by the wind."
    assert {event["stream_id"] for event in asked["second"]} == {"fork"}
    [event] = asked["error"]
    assert (event["status"], event["error"]["code"]) == (400, "previous_response_not_found")


def test_compatcanary(node: tuple[Command, Path], default_url: str) -> None:
    """The scanner of OpenAI's API gives all of its points."""
    scan = ("node_modules/compatcanary/src/cli.js", "scan", "--format", "json", "--profile", "modern")
    report = run(node, default_url, *scan, "--base-url", default_url, "--model", "mimic-v3")
    assert (report["score"], report["summary"]["passes"]) == (100, report["summary"]["total"])


@pytest.mark.parametrize("how", ["streamed", "whole"])
def test_faults_through_the_node_sdk(node: tuple[Command, Path], how: str) -> None:
    """The SDK raises its errors, retries, and honours Retry-After up to a minute; the journal has the attempts."""
    expected = BEFORE | (IN_A_STREAM if how == "streamed" else IN_A_WHOLE_ANSWER)
    with MimicServer(CORPUS) as server:
        came = run(node, server.base_url, "faults.mjs", json.dumps([*expected, *HARMLESS]), how)
        requests = server.requests(patience=5)
    at = {fault: [request.at for request in requests if request.fault == fault] for fault in came}
    assert {fault: (came[fault]["raised"], len(at[fault])) for fault in expected} == expected
    assert {fault: came[fault]["text"] for fault in HARMLESS} == HARMLESS
    first, second = at["status=429; retry-after=1"]
    assert (second - first).total_seconds() >= 1
    assert came["status=429; code=insufficient_quota"]["type"] == "insufficient_quota"
    assert came["error; after=2; code=overloaded"]["code"] == "overloaded"
    if how == "streamed":
        assert {came[fault].get("text") for fault in IN_A_STREAM} == {"red\n", None}  # a stall has not reported it yet
    left = {request.fault for request in requests if request.client_left}
    assert left == {"slow-headers; seconds=60", "stall; after=2; seconds=60"}


def test_a_webhook_through_the_node_sdk(node: tuple[Command, Path], default_url: str) -> None:
    """The SDK registers an endpoint, unwraps the event of its response, and refuses a changed one."""
    found = run(node, default_url, "webhooks.mjs")
    assert (found["event"]["type"], found["event"]["object"]) == ("response.completed", "event")
    assert found["event"]["data"] == {"id": found["response"]}
    assert found["error"] == "InvalidWebhookSignatureError"
    assert found["endpoint"] in found["listed"]
