"""Clients that use the Responses API, with their defaults: loops of tools end, and objects validate."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr
from pydantic_ai import Agent, NativeOutput

from tests.clients.chats import KEY

SUNNY = "It is sunny in {city}"
WEATHER = "What is the weather in San Francisco, CA?"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@pytest.fixture
def pydantic_model(default_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model for Pydantic AI, which uses responses, and whose server is in the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", default_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return "openai:gpt-5-mini"


def langchain_model(default_url: str, **options: Any) -> ChatOpenAI:
    """LangChain's chat model on responses."""
    return ChatOpenAI(
        model="gpt-5-mini",
        base_url=default_url,
        api_key=SecretStr(KEY),
        max_retries=0,
        use_responses_api=True,
        **options,
    )


@pytest.mark.anyio
async def test_pydantic_ai(pydantic_model: str) -> None:
    """A tool is called first, then the output: both are valid, and the run ends."""
    agent = Agent(pydantic_model, output_type=Person)
    asked = []

    @agent.tool_plain
    def find_age(name: str) -> int:
        """Find the age of a person."""
        asked.append(name)
        return 42

    async with agent:
        assert (await agent.run('Find the age of "John Doe"')).output == Person(name="John Doe", age=42)
        assert asked == ["John Doe"]
    async with Agent(pydantic_model, output_type=NativeOutput(Person)) as structured:
        assert (await structured.run("John Doe is 42 years old")).output == Person(name="John Doe", age=42)
    async with Agent(pydantic_model) as plain, plain.run_stream("hi") as run:
        pieces = [piece async for piece in run.stream_text(delta=True)]
        assert "".join(pieces)


def test_langchain_agent(default_url: str) -> None:
    """The agent calls the tool and ends with the result, also if it continues the last response by its id."""
    asked = []

    @tool
    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return SUNNY.format(city=city)

    for options in ({}, {"use_previous_response_id": True}, {"streaming": True}):
        asked.clear()
        agent = create_agent(langchain_model(default_url, **options), [get_weather])
        state = agent.invoke({"messages": [{"role": "user", "content": WEATHER}]})
        assert asked == ["San Francisco, CA"]
        assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
        assert state["messages"][-1].text == "It is sunny in San Francisco, CA"


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_langchain_structured_output(default_url: str, method: str) -> None:
    """The object holds the facts of the message."""
    model = langchain_model(default_url).with_structured_output(Person, method=method)  # type: ignore[arg-type]
    assert model.invoke("John Doe is 42 years old") == Person(name="John Doe", age=42)
