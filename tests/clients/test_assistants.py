"""Applications of the Assistants kind: three generations of OpenAI's SDK, semantic-kernel, LangChain and Node.

All ask a server with its defaults. The clients of other versions are in environments of their own.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import SAMPLE
from tests.clients.environments import python_with, run_python
from tests.clients.test_node_sdk import run
from tests.support.node import Command

pytestmark = pytest.mark.timeout(400)  # the environments are downloaded first

FOLDER = Path(__file__).parent
PROGRAMS = "tests.clients.assistants"
VERSIONS = {"sdk_2023": "1.3.6", "sdk_2024": "1.40.0"}
"""OpenAI's SDKs by the folders of their environments."""
HAIKU = "Write a haiku about the sea"
CITIES = ["Paris", "Rome"]
SUNNY = [f"It is sunny in {city}" for city in CITIES]
JOHN = {"name": "John Doe", "age": 42}
OF_A_STREAM = [
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.step.created",
    "thread.run.step.in_progress",
]
OF_A_MESSAGE = [
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
]


def answers(question: str) -> set[str]:
    """The next messages after a question in the sample."""
    talks = [talk["conversations"] for talk in json.loads(SAMPLE.read_bytes())]
    return {
        following["value"]
        for talk in talks
        for message, following in pairwise(talk)
        if message["value"] == question and following["from"] == "gpt"
    }


def outcomes_of(sdk: str, program: str, url: str, request: pytest.FixtureRequest) -> Any:
    """All that a program came to with an SDK, and the version of the SDK."""
    lock = FOLDER / sdk / "requirements.lock"
    python = python_with(lock, request.config.cache) if sdk in VERSIONS else Path(sys.executable)
    done = run_python(python, url, "-m", f"{PROGRAMS}.{program}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["version"] == VERSIONS.get(sdk, found["version"])
    return found


@pytest.fixture(scope="module", params=["sdk_2023", "sdk_2024", "today"])
def applications(request: pytest.FixtureRequest, default_url: str) -> Any:
    """All that the applications without streams came to."""
    return outcomes_of(request.param, "applications", default_url, request)


@pytest.fixture(scope="module", params=["sdk_2024", "today"])
def streams(request: pytest.FixtureRequest, default_url: str) -> Any:
    """All that the applications with event handlers came to."""
    return outcomes_of(request.param, "streams", default_url, request)


@pytest.fixture(scope="module")
def agents(request: pytest.FixtureRequest, default_url: str) -> Any:
    """All that agents of semantic-kernel and LangChain came to."""
    folder = FOLDER / "older_sdk"
    done = run_python(
        python_with(folder / "requirements.lock", request.config.cache), default_url, folder / "assistants.py"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def asked_by_node(node: tuple[Command, Path], default_url: str) -> Any:
    """All that the application for Node came to."""
    return run(node, default_url, "assistants.mjs")


def test_three_assistants_on_one_thread(applications: Any) -> None:
    """Each answers the question before it, polled in a tight loop, and its message is the newest."""
    found = applications["panel"]
    texts = [turn["text"] for turn in found["turns"]]
    for question, turn in zip(found["questions"], found["turns"], strict=True):
        assert turn["text"] in answers(question)
        assert turn["own"]
        assert turn["states"] == ["queued", "in_progress", "completed"]
    pairs = zip(found["questions"], texts, strict=True)
    assert found["thread"] == [text for pair in pairs for text in pair]
    assert found["gone"] == [True] * 3
    assert [role for role, _, _ in applications["round_table"]] == ["assistant"] * 3 + ["user"]
    assert [name for _, name, _ in applications["round_table"]] == ["asst_three", "asst_two", "asst_one", None]
    assert all(is_there for _, _, is_there in applications["round_table"])


def test_parallel_calls(applications: Any) -> None:
    """A run waits for the outputs of both calls, answers with them, and its steps show them."""
    assert applications["tools"] == {
        "states": ["requires_action", "completed"],
        "outputs": SUNNY,
        "steps": ["message_creation", "tool_calls"],
        "shown": SUNNY,
        "text": "\n".join(SUNNY),
    }


def test_a_cancelled_run(applications: Any) -> None:
    """An active run locks its thread for messages and runs until it is cancelled."""
    found = applications["cancel"]
    assert found["states"] == ["cancelled", "completed"]
    for error, text in zip(found["locked"], ("Can't add messages", "already has an active run"), strict=True):
        assert text in error


def test_a_structured_answer(applications: Any) -> None:
    """An object answers an additional message."""
    assert applications["structured"] == JOHN


def test_without_vector_stores(applications: Any) -> None:
    """An application that makes a vector store reads that Mimic has none."""
    assert "Mimic has no vector stores" in applications["without_vector_stores"]


def test_event_handlers(streams: Any) -> None:
    """A handler gets texts and events in OpenAI's order; several streams at once are separate."""
    found = streams["text"]
    assert found["texts"] == ["".join(found["pieces"])]
    assert found["texts"][0] in answers(HAIKU)
    assert found["events"] == ["thread.run.created", *OF_A_STREAM, *OF_A_MESSAGE]
    assert found["same"]
    assert [len(texts) for texts in streams["asynchronous"]] == [1, 1, 1]
    assert {text for [text] in streams["asynchronous"]} <= answers(HAIKU)


def test_streams_of_tool_outputs(streams: Any) -> None:
    """A handler submits the outputs of both calls from within the stream, and the second stream goes on from there."""
    found, [inner] = streams["tools"], streams["tools"]["inner"]
    assert found["calls"] == [{"city": city} for city in CITIES]
    assert found["step"] == "tool_calls"
    assert (found["events"][-1], inner["texts"]) == ("thread.run.requires_action", ["\n".join(SUNNY)])
    assert inner["events"] == ["thread.run.step.completed", *OF_A_STREAM, *OF_A_MESSAGE]
    first, second = streams["plain"]
    assert first[:6] == ["thread.created", "thread.run.created", *OF_A_STREAM]
    assert set(first[6:]) == {"thread.run.step.delta", "thread.run.requires_action"}
    assert [event for event in second if event != "thread.message.delta"] == inner["events"]


def test_helpers_that_poll(streams: Any) -> None:
    """The helpers poll to the outputs of calls, and to the end; messages are found by their run."""
    assert streams["polled"] == {"states": ["requires_action", "completed", "completed"], "person": JOHN}


def test_semantic_kernel(agents: Any) -> None:
    """Parallel calls of a plugin, whole and streamed; two agents on one thread; an object."""
    found = agents["semantic_kernel"]
    assert (found["texts"], found["asked"], found["person"]) == (["\n".join(SUNNY)] * 2, CITIES * 2, JOHN)
    poem_asked, poem, reply_asked, reply = found["listed"]
    assert found["thread"] == found["listed"]
    assert poem in answers(poem_asked)
    assert reply in answers(reply_asked)


def test_langchain(agents: Any) -> None:
    """A runnable calls its tool twice at once, ends with the outputs, and follows on its thread."""
    first, second = agents["langchain"]["texts"]
    assert (agents["langchain"]["asked"], agents["langchain"]["ends"], first) == (CITIES, [True] * 2, "\n".join(SUNNY))
    assert second in answers(HAIKU)


def test_node(asked_by_node: Any) -> None:
    """The SDK's helpers poll, stream with events, submit outputs, and cancel."""
    polled, streamed = asked_by_node["polled"], asked_by_node["streamed"]
    assert polled["states"] == ["requires_action", "completed", "completed"]
    assert polled["text"] == streamed["text"] == "".join(streamed["pieces"]) == "\n".join(SUNNY)
    assert polled["next"] in answers(HAIKU)
    assert streamed["calls"] == CITIES
    assert asked_by_node["cancelled"] == "cancelled"
    assert "Mimic has no vector stores" in asked_by_node["vectorStores"]
