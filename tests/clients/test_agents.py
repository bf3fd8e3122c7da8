"""Agents and extractors: they call tools until they are done, and get valid objects."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAI, pydantic_function_tool
from pydantic import BaseModel, SecretStr
from pydantic_ai import Agent, ModelSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.chats import HELLO, KEY

SUNNY = "It is sunny in {city}"
WEATHER = "What is the weather in San Francisco, CA?"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def langchain_model(base_url: str) -> ChatOpenAI:
    """LangChain's chat model."""
    return ChatOpenAI(model="mimic-v3", base_url=base_url, api_key=SecretStr(KEY), max_retries=0, temperature=0)


@pytest.fixture
async def pydantic_model(base_url: str) -> AsyncIterator[OpenAIChatModel]:
    """Pydantic AI's chat model."""
    async with AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        provider = OpenAIProvider(openai_client=client)
        yield OpenAIChatModel("mimic-v3", provider=provider, settings=ModelSettings(temperature=0))


def test_langchain_agent(base_url: str) -> None:
    """The agent calls the tool with the user's value, and ends with its result; without need it calls none."""
    asked = []

    @tool
    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return SUNNY.format(city=city)

    agent = create_agent(langchain_model(base_url), [get_weather])
    state = agent.invoke({"messages": [{"role": "user", "content": WEATHER}]})
    assert asked == ["San Francisco, CA"]
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert state["messages"][-1].content == "It is sunny in San Francisco, CA"
    messages: Any = {"messages": [{"role": "user", "content": WEATHER}]}
    streamed: list[Any] = list(agent.stream(messages, stream_mode="messages"))
    assert "".join(str(chunk.content) for chunk, _ in streamed).endswith("San Francisco, CA")
    plain = agent.invoke({"messages": [{"role": "user", "content": "hi"}]})
    assert plain["messages"][-1].content == HELLO


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_langchain_structured_output(base_url: str, method: str) -> None:
    """The extracted object has the values of the message."""
    model = langchain_model(base_url).with_structured_output(Person, method=method, include_raw=False)  # type: ignore[arg-type]
    text = "hi" if method == "json_schema" else "John Doe is 42 years old"
    found = model.invoke(text)
    assert isinstance(found, Person)
    assert method == "json_schema" or found == Person(name="John Doe", age=42)


@pytest.mark.anyio
async def test_pydantic_ai_agent(pydantic_model: OpenAIChatModel) -> None:
    """The agent calls a tool, then the output, which is a tool as well: both are valid, and the run ends."""
    agent = Agent(pydantic_model, output_type=Person)
    asked = []

    @agent.tool_plain
    def find_age(name: str) -> int:
        """Find the age of a person."""
        asked.append(name)
        return 42

    assert (await agent.run('Find the age of "John Doe"')).output == Person(name="John Doe", age=42)
    assert asked == ["John Doe"]


@pytest.mark.anyio
async def test_pydantic_ai_text(pydantic_model: OpenAIChatModel) -> None:
    """A run without tools and outputs is a chat."""
    assert (await Agent(pydantic_model).run("hi")).output == HELLO


def test_openai_parses_the_arguments_of_a_tool(base_url: str) -> None:
    """A tool made of a pydantic model is strict, and its arguments are an instance of the model."""
    with OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        answer = client.chat.completions.parse(
            model="m",
            messages=[{"role": "user", "content": "The person is called John Doe, age 42"}],
            tools=[pydantic_function_tool(Person)],
        )
    calls = answer.choices[0].message.tool_calls
    assert calls
    [call] = calls
    assert call.function.parsed_arguments == Person(name="John Doe", age=42)
