"""The command ``llm``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiktoken

from tests.clients.chats import RED, SEA, prompt_tokens, user


@pytest.fixture
def llm_home(base_url: str, tmp_path: Path) -> Path:
    """A home in which the ``llm`` command finds a model of Mimic's."""
    model = {"model_id": "mimic", "model_name": "mimic-v3", "api_base": base_url}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))  # JSON is YAML
    return tmp_path


def run_llm(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the ``llm`` command in a home of its own, without a key unless it is among the variables."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LLM_USER_PATH": str(home), **variables}
    command = (sys.executable, "-P", "-m", "llm", *arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_llm_command(llm_home: Path, o200k: tiktoken.Encoding) -> None:
    """The command works streamed and not, counts tokens, continues a chat, and shows errors."""
    for options in ([], ["--no-stream"]):
        asked = run_llm(llm_home, "--model", "mimic", "--usage", *options, "Tell me about the sea")
        assert (asked.stdout, asked.returncode) == (f"{SEA}\n", 0), asked.stderr
        expected = prompt_tokens([user("Tell me about the sea")], o200k), len(o200k.encode(SEA))
        assert "Token usage: {} input, {} output".format(*expected) in asked.stderr
    continued = run_llm(llm_home, "--continue", "continue")
    assert continued.stdout == "Its waves are made by the wind.\n"
    never = run_llm(llm_home, "--model", "mimic", "never said")
    assert never.returncode != 0
    assert "No completion found" in never.stderr


def test_the_llm_command_without_any_setting_up(base_url: str, tmp_path: Path) -> None:
    """``llm openai endpoint`` takes the URL, and lists the models."""
    asked = run_llm(tmp_path, "openai", "endpoint", base_url, "--model", "mimic-v3", "Name three colours")
    assert asked.stdout == f"{RED}\n"
    assert "mimic-v3" in run_llm(tmp_path, "openai", "endpoint", base_url, "--models").stdout.split()


def test_the_default_model_of_the_llm_command(default_url: str, tmp_path: Path) -> None:
    """Without a model it uses responses: a tool is called, and an object is made."""
    variables = {"OPENAI_BASE_URL": default_url, "OPENAI_API_KEY": "unused"}
    tool = 'def get_weather(city: str) -> str:\n    "Get the weather of a city."\n    return f"It is sunny in {city}"'
    asked = run_llm(tmp_path, "--functions", tool, "What is the weather in Paris?", **variables)
    assert (asked.stdout, asked.returncode) == ("It is sunny in Paris\n", 0), asked.stderr
    found = run_llm(tmp_path, "--schema", "name, age int", "John Doe is 42 years old", **variables)
    assert json.loads(found.stdout) == {"name": "John Doe", "age": 42}
