"""Clients that need an older OpenAI SDK for Python, in an environment of their own, on a server with its defaults."""

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.clients.environments import python_with, run_python

pytestmark = pytest.mark.timeout(400)  # the environment is downloaded first

FOLDER = Path(__file__).parent / "older_sdk"
SUNNY = "It is sunny in San Francisco, CA"
JOHN = {"name": "John Doe", "age": 42}

SKIPPED = {
    "test_init_from_env": "init_from_env_params not specified.",
    "test_pdf_inputs": "Model does not support PDF inputs.",
    "test_audio_inputs": "Model does not support audio inputs.",
    "test_image_inputs": "Model does not support image message.",
    "test_image_tool_message": "Model does not support image tool message.",
    "test_pdf_tool_message": "Model does not support PDF tool message.",
    "test_anthropic_inputs": "Model does not explicitly support Anthropic inputs.",
    "test_stream_time": "VCR not set up.",
}
"""Standard tests that are skipped: they load files from the web, send another vendor's format, or need recordings."""
MIN_ASKED = 43
"""Standard tests that ask the server."""
NOT_RUN = "test_serdes"
"""A comparison with a snapshot of LangChain's, which asks no server."""


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """The Python of the environment."""
    return python_with(FOLDER / "requirements.lock", request.config.cache)


@pytest.fixture(scope="module")
def responses(python: Path, default_url: str) -> Any:
    """All that clients of responses came to."""
    done = run_python(python, default_url, FOLDER / "responses.py")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def outcomes(python: Path, default_url: str) -> Any:
    """All that extractors and agents came to."""
    done = run_python(python, default_url, FOLDER / "agents.py")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_instructor(outcomes: Any) -> None:
    """Objects validate in each mode, whole, nested, and put together from a stream."""
    assert set(outcomes["instructor"]) == {"TOOLS", "TOOLS_STRICT", "JSON", "JSON_SCHEMA", "MD_JSON"}
    for found in outcomes["instructor"].values():
        assert found["person"] == found["partial"] == found["first_of_two"] == JOHN
        assert (found["order"]["customer"], found["order"]["status"]) == ("Jane Roe", "paid")
        assert found["order"]["items"]
    assert outcomes["parallel_tools"] == [{"city": "Paris"}, {"city": "Rome"}]


def test_llama_index(outcomes: Any) -> None:
    """A FunctionAgent calls its tool once and ends with the result, streamed and whole; a prediction is an object."""
    assert outcomes["llama_index"] == {"answers": [SUNNY] * 2, "asked": ["San Francisco, CA"] * 2, "person": JOHN}


def test_smolagents(outcomes: Any) -> None:
    """Both kinds of agents call the tool once and end with its result; without need they end with an answer."""
    expected = {"ToolCallingAgent": 3, "CodeAgent": 2}
    assert outcomes["smolagents"].keys() == expected.keys()
    for kind, steps in expected.items():
        plain = outcomes["smolagents"][kind].pop("plain")
        assert plain
        assert plain != SUNNY
        assert outcomes["smolagents"][kind] == {"answer": SUNNY, "asked": ["San Francisco, CA"], "steps": steps}


def test_autogen(outcomes: Any) -> None:
    """An AssistantAgent calls its tool once and ends with the result, whole and streamed; an output is an object."""
    assert outcomes["autogen"] == {"answers": [SUNNY] * 2, "asked": ["San Francisco, CA"] * 2, "person": JOHN}


@pytest.mark.parametrize("client", ["mirascope", "semantic_kernel"])
def test_clients_of_responses(responses: Any, client: str) -> None:
    """A loop of tools ends with the result, whole and streamed, and an object validates."""
    assert responses[client] == {"texts": [SUNNY] * 2, "asked": ["San Francisco, CA"] * 2, "person": JOHN}


def test_standard_tests_of_langchain(python: Path, default_url: str, tmp_path: Path) -> None:
    """LangChain's standard tests of chat models pass for ChatOpenAI, except for those that are skipped."""
    report, options = tmp_path / "report.xml", ("-c", os.devnull, "--noconftest", "-p", "no:cacheprovider")
    named = ("-o", "asyncio_mode=auto", "-k", f"not {NOT_RUN}", f"--junitxml={report}", "--rootdir", FOLDER)
    done = run_python(python, default_url, "-m", "pytest", *options, *named, FOLDER / "standard_tests.py")
    assert done.returncode == 0, done.stdout + done.stderr
    cases = list(ET.parse(report).iter("testcase"))
    skipped = {
        case.attrib["name"]: found.attrib["message"] for case in cases if (found := case.find("skipped")) is not None
    }
    assert skipped == SKIPPED
    for name in ("TestIntegration", "TestResponses"):
        integration = [case for case in cases if case.attrib["classname"].endswith(name)]
        assert len([case for case in integration if case.find("skipped") is None]) >= MIN_ASKED
