"""Agents and extractors on a server with its defaults: loops of tools end, and objects validate."""

from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel, SecretStr
from pydantic_ai import Agent, NativeOutput, PromptedOutput

from tests.clients.chats import KEY

SUNNY = "It is sunny in {city}"
WEATHER = "What is the weather in San Francisco, CA?"


class City(BaseModel):
    """A city."""

    city: str


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def langchain_model(default_url: str) -> ChatOpenAI:
    """LangChain's chat model."""
    return ChatOpenAI(model="gpt-4o-mini", base_url=default_url, api_key=SecretStr(KEY), max_retries=0)


@pytest.fixture
def pydantic_model(default_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a chat model for Pydantic AI, whose server is in the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", default_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return "openai-chat:gpt-4o-mini"


@pytest.fixture
def client(default_url: str) -> Iterator[OpenAI]:
    """OpenAI's SDK."""
    with OpenAI(base_url=default_url, api_key=KEY, max_retries=0) as client:
        yield client


def test_langchain_agent(default_url: str) -> None:
    """The agent calls the tool with the user's words, and ends with the tool's result; without need it calls none."""
    asked = []

    @tool
    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return SUNNY.format(city=city)

    agent = create_agent(langchain_model(default_url), [get_weather])
    state = agent.invoke({"messages": [{"role": "user", "content": WEATHER}]})
    assert asked == ["San Francisco, CA"]
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert state["messages"][-1].content == "It is sunny in San Francisco, CA"
    messages: Any = {"messages": [{"role": "user", "content": WEATHER}]}
    streamed: list[Any] = list(agent.stream(messages, stream_mode="messages"))
    assert "".join(str(chunk.content) for chunk, _ in streamed).endswith("San Francisco, CA")
    plain = agent.invoke({"messages": [{"role": "user", "content": "hi"}]})
    assert [message.type for message in plain["messages"]] == ["human", "ai"]
    assert plain["messages"][-1].content


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_langchain_structured_output(default_url: str, method: str) -> None:
    """The object holds the facts of the message."""
    model = langchain_model(default_url).with_structured_output(Person, method=method)  # type: ignore[arg-type]
    assert model.invoke("John Doe is 42 years old") == Person(name="John Doe", age=42)


@pytest.mark.anyio
async def test_pydantic_ai(pydantic_model: str) -> None:
    """A tool is called first, then the output, which is a tool as well: both are valid, and the run ends."""
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
    async with Agent(pydantic_model) as plain:
        assert (await plain.run("hi")).output


@pytest.mark.anyio
@pytest.mark.parametrize("output", [NativeOutput(Person), PromptedOutput(Person)])
async def test_pydantic_ai_outputs(pydantic_model: str, output: Any) -> None:
    """An output by ``response_format``, and one by a schema in the prompt."""
    agent: Agent[None, Person] = Agent(pydantic_model, output_type=output)
    async with agent:
        assert (await agent.run("John Doe is 42 years old")).output == Person(name="John Doe", age=42)


def test_a_loop_of_tools_with_the_openai_sdk(client: OpenAI) -> None:
    """The loop of OpenAI's guide to function calling: calls are answered until there is none; complete and streamed."""
    tool = pydantic_function_tool(City, name="get_weather", description="Get the weather of a city.")
    for ask in (client.chat.completions.parse, lambda **asked: streamed(client, **asked)):
        messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris and Rome?"}]
        asked = []
        for _ in range(5):
            message = ask(model="gpt-4o-mini", messages=messages, tools=[tool]).choices[0].message
            messages.append(message.model_dump(exclude={"parsed"}, exclude_none=True))
            for call in message.tool_calls or ():
                city = call.function.parsed_arguments
                assert isinstance(city, City)
                asked.append(city.city)
                content = SUNNY.format(city=city.city)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
            if not message.tool_calls:
                break
        assert asked == ["Paris", "Rome"]
        assert messages[-1]["content"] == "It is sunny in Paris\nIt is sunny in Rome"


def streamed(client: OpenAI, **asked: Any) -> Any:
    """A completion that the SDK has joined from its stream."""
    with client.chat.completions.stream(**asked) as stream:
        return stream.get_final_completion()


def test_the_openai_sdk_parses(client: OpenAI) -> None:
    """The arguments of a tool and an answer are instances of their pydantic model."""
    messages: Any = [{"role": "user", "content": "The person is called John Doe, age 42"}]
    asked: Any = {"model": "gpt-4o-mini", "messages": messages}
    called = client.chat.completions.parse(**asked, tools=[pydantic_function_tool(Person)]).choices[0].message
    assert [call.function.parsed_arguments for call in called.tool_calls or ()] == [Person(name="John Doe", age=42)]
    for done in (client.chat.completions.parse, lambda **asked: streamed(client, **asked)):
        found = done(**asked, response_format=Person).choices[0].message.parsed
        assert found == Person(name="John Doe", age=42)
