"""The cases of the Open Responses compliance suite, checked with the types of its specification.

The suite itself needs a checkout of its repository, and its own runtime. These cases ask the same.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx
import pytest
from openresponses_types import types
from pydantic import BaseModel
from websockets.sync.client import connect

MODEL: Final = "mimic-v3"
PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WEATHER: Final = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}},
        "required": ["location"],
    },
}
EVENTS: Final[dict[str, type[BaseModel]]] = {
    "response.created": types.ResponseCreatedStreamingEvent,
    "response.in_progress": types.ResponseInProgressStreamingEvent,
    "response.completed": types.ResponseCompletedStreamingEvent,
    "response.output_item.added": types.ResponseOutputItemAddedStreamingEvent,
    "response.output_item.done": types.ResponseOutputItemDoneStreamingEvent,
    "response.content_part.added": types.ResponseContentPartAddedStreamingEvent,
    "response.content_part.done": types.ResponseContentPartDoneStreamingEvent,
    "response.output_text.delta": types.ResponseOutputTextDeltaStreamingEvent,
    "response.output_text.done": types.ResponseOutputTextDoneStreamingEvent,
    "response.function_call_arguments.delta": types.ResponseFunctionCallArgumentsDeltaStreamingEvent,
    "response.function_call_arguments.done": types.ResponseFunctionCallArgumentsDoneStreamingEvent,
    "error": types.WebSocketErrorEvent,
}
Step = Callable[[Sequence[Any]], dict[str, Any]]


def message(role: str, text: str, **fields: Any) -> dict[str, Any]:
    """An item of an input."""
    return {"type": "message", "role": role, "content": text, **fields}


def checked(response: Any) -> Any:
    """A complete response that fits its type."""
    types.ResponseResource.model_validate(response)
    assert response["status"] == "completed"
    assert response["output"]
    return response


INPUTS: Final[dict[str, Any]] = {
    "basic-response": [message("user", "Say hello in exactly 3 words.")],
    "assistant-phase": [
        message("user", "Say hello."),
        message("assistant", "I will think about it.", phase="commentary"),
        message("assistant", "Hello!", phase="final_answer"),
        message("user", "Say it again."),
    ],
    "system-prompt": [message("system", "You are a pirate."), message("user", "Say hello.")],
    "image-input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What do you see in this image? Answer in one sentence."},
                {"type": "input_image", "image_url": PIXEL},
            ],
        }
    ],
    "multi-turn": [
        message("user", "My name is Alice."),
        message("assistant", "Hello Alice! Nice to meet you. How can I help you today?"),
        message("user", "What is my name?"),
    ],
}


def post(default_url: str, path: str, **fields: Any) -> httpx.Response:
    """The answer to a request."""
    return httpx.post(f"{default_url}{path}", json=fields, headers={"Authorization": "Bearer x"})


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_whole(default_url: str, given: Any) -> None:
    """Each input gets a complete response."""
    checked(post(default_url, "/responses", model=MODEL, input=given).json())


def test_tool_calling(default_url: str) -> None:
    """A question for the weather calls the tool."""
    question = [message("user", "What's the weather like in San Francisco?")]
    response = checked(post(default_url, "/responses", model=MODEL, input=question, tools=[WEATHER]).json())
    assert [item["type"] for item in response["output"]] == ["function_call"]


def test_streaming_response(default_url: str) -> None:
    """Each event fits its type, and the last one has the response; so do the events of a call."""
    for given, tools in (("Count from 1 to 5.", []), ("What's the weather like in San Francisco?", [WEATHER])):
        answer = post(default_url, "/responses", model=MODEL, input=[message("user", given)], tools=tools, stream=True)
        frames = [frame.split("\ndata: ", 1) for frame in answer.text.split("\n\n")[:-1]]
        events = [json.loads(data) for _, data in frames]
        assert [name.removeprefix("event: ") for name, _ in frames] == [event["type"] for event in events]
        for event in events:
            EVENTS[event["type"]].model_validate(event)
        checked(events[-1]["response"])


def turns(default_url: str, *steps: Any) -> list[Any]:
    """The last events of turns on one connection. A step may depend on the events before it."""
    ends: list[Any] = []
    url = f"{default_url.replace('http', 'ws')}/responses"
    with connect(url, additional_headers={"Authorization": "Bearer x"}, max_size=None) as connection:
        for step in steps:
            fields = step(ends) if callable(step) else step
            request = {"type": "response.create", "model": MODEL, "store": False, **fields}
            types.WebSocketResponseCreateEvent.model_validate(request)
            connection.send(json.dumps(request))
            event: Any = {"type": ""}
            while event["type"] not in {"response.completed", "response.failed", "response.incomplete", "error"}:
                event = json.loads(connection.recv(timeout=30))
                EVENTS[event["type"]].model_validate(event)
            ends.append(event)
    return ends


def after(given: Any) -> Step:
    """A turn that follows the first response."""
    return lambda ends: {"previous_response_id": ends[0]["response"]["id"], "input": given}


def test_websocket_responses(default_url: str) -> None:
    """A turn, several in sequence, and a turn that follows a response that is not stored."""
    for step in ({"input": "Reply with exactly: second"}, after("What is the code word?")):
        for end in turns(default_url, {"input": "Remember the code word: cobalt. Reply with OK."}, step):
            checked(end["response"])


def test_websocket_warmup(default_url: str) -> None:
    """A response without output has an id, which the next one follows."""
    prepared, end = turns(default_url, {"input": "Count from 1 to 3.", "generate": False}, after("Begin."))
    assert prepared["response"]["output"] == []
    checked(end["response"])


def test_websocket_previous_response_not_found(default_url: str) -> None:
    """An unknown response, and one of another connection that was not stored, are errors; a new chain begins."""
    [first] = turns(default_url, {"input": "Remember the code word: copper. Reply with OK."})
    for missing in ("resp_openresponses_missing", first["response"]["id"]):
        error, end = turns(default_url, {"previous_response_id": missing, "input": "Go on"}, {"input": "Begin anew"})
        assert error["error"]["code"] == "previous_response_not_found"
        checked(end["response"])


def test_websocket_failed_continuation_evicts_cache(default_url: str) -> None:
    """A result without its call is an error, after which the response before it is gone."""
    result = {"type": "function_call_output", "call_id": "call_missing", "output": "No call has this id."}
    steps: Sequence[Any] = ({"input": "Remember the code word: ember."}, after([result]), after("Go on"))
    first, failed, gone = turns(default_url, *steps)
    checked(first["response"])
    assert (failed["status"], gone["error"]["code"]) == (400, "previous_response_not_found")


def test_compaction(default_url: str) -> None:
    """A compaction fits its type, and begins a new chain; a request without a model is refused."""
    items = [message("user", "We agreed to launch on Tuesday."), message("assistant", "Understood.")]
    compacted = post(default_url, "/responses/compact", model=MODEL, input=items, prompt_cache_key="key").json()
    types.CompactResource.model_validate(compacted)
    assert [item["type"] for item in compacted["output"]] == ["compaction"]
    [end] = turns(default_url, {"input": [*compacted["output"], message("user", "When do we launch?")]})
    checked(end["response"])
    assert post(default_url, "/responses/compact", input=items).status_code == 400
