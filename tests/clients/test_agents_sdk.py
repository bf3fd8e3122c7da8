"""OpenAI's Agents SDK, over HTTP, which is its default, and over a WebSocket."""

import json
from pathlib import Path

import pytest

from tests.clients.environments import python_with, run_python
from tests.support.servers import Server

pytestmark = pytest.mark.timeout(400)  # the environment is downloaded first

FOLDER = Path(__file__).parent / "agents_sdk"
SUNNY = "It is sunny in San Francisco, CA"


@pytest.fixture
def sdk(request: pytest.FixtureRequest) -> Path:
    """The Python with the SDK."""
    return python_with(FOLDER / "requirements.lock", request.config.cache)


def check_loops(python: Path, url: str) -> None:
    """A tool is called once a run, an object validates, and a response can be followed, stored or on its WebSocket."""
    ran = run_python(python, url, FOLDER / "loops.py")
    assert ran.returncode == 0, ran.stderr
    outcomes = json.loads(ran.stdout)
    assert [bool(found.pop("followed")) for found in outcomes] == [True, False, True, True]
    assert all(found.pop("events") > 10 for found in outcomes)
    person = {"name": "John Doe", "age": 42}
    assert outcomes == [{"texts": [SUNNY] * 2, "asked": ["San Francisco, CA"] * 2, "person": person}] * 4


def test_the_agents_sdk(default_url: str, sdk: Path) -> None:
    """All loops end on a server with its defaults."""
    check_loops(sdk, default_url)


def test_recorded_agents(default_url: str, sdk: Path, tmp_path: Path) -> None:
    """All loops end the same way on a server that passes them on, and then on one that has only its recordings."""
    common = {"MIMIC_STORE": f"sqlite:///{tmp_path}/none.db", "MIMIC_RECORDINGS": str(tmp_path / "kept")}
    asks = {"MIMIC_UPSTREAM": default_url, "MIMIC_ON_MISS": "upstream", "MIMIC_RECORD": "new"}
    for settings in (asks, {"MIMIC_MATCH": "recorded"}):
        with Server(tmp_path, **common, **settings) as server:
            check_loops(sdk, f"{server.url}/v1")
