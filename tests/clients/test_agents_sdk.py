"""OpenAI's Agents SDK, over HTTP, which is its default, and over a WebSocket, on a server with its defaults."""

import json
from pathlib import Path

import pytest

from tests.clients.environments import python_with, run_python

pytestmark = pytest.mark.timeout(400)  # the environment is downloaded first

FOLDER = Path(__file__).parent / "agents_sdk"
SUNNY = "It is sunny in San Francisco, CA"


def test_the_agents_sdk(default_url: str, request: pytest.FixtureRequest) -> None:
    """A tool is called once a run, an object validates, and a response can be followed, stored or on its WebSocket."""
    python = python_with(FOLDER / "requirements.lock", request.config.cache)
    ran = run_python(python, default_url, FOLDER / "loops.py")
    assert ran.returncode == 0, ran.stderr
    outcomes = json.loads(ran.stdout)
    assert [bool(found.pop("followed")) for found in outcomes] == [True, False, True, True]
    assert all(found.pop("events") > 10 for found in outcomes)
    person = {"name": "John Doe", "age": 42}
    assert outcomes == [{"texts": [SUNNY] * 2, "asked": ["San Francisco, CA"] * 2, "person": person}] * 4
