"""OpenAI's Agents SDK, over HTTP, which is its default, and over a WebSocket: loops of tools and objects."""

import pytest
from agents import Agent, ModelSettings, OpenAIProvider, RunConfig, Runner, function_tool
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.clients.chats import KEY

SUNNY = "It is sunny in San Francisco, CA"
WEATHER = "What is the weather in San Francisco, CA?"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")  # in OpenAI's SDK
@pytest.mark.parametrize("over_websocket", [False, True], ids=["http", "websocket"])
@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "not stored"])
async def test_openai_agents(default_url: str, over_websocket: bool, is_stored: bool) -> None:
    """A tool is called once, an object validates, and the last response is followed; complete and streamed."""
    asked = []

    @function_tool
    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return f"It is sunny in {city}"

    client = AsyncOpenAI(base_url=default_url, api_key=KEY, max_retries=0)
    provider = OpenAIProvider(openai_client=client, use_responses_websocket=over_websocket)
    config = RunConfig(model_provider=provider, tracing_disabled=True, model_settings=ModelSettings(store=is_stored))
    agent = Agent(name="weather", instructions="Be brief.", tools=[get_weather])
    extractor = Agent(name="extractor", output_type=Person)
    run = await Runner.run(agent, WEATHER, run_config=config)
    assert (run.final_output, asked) == (SUNNY, ["San Francisco, CA"])
    streamed = Runner.run_streamed(agent, WEATHER, run_config=config)
    assert [event async for event in streamed.stream_events()]
    assert (streamed.final_output, len(asked)) == (SUNNY, 2)
    found = await Runner.run(extractor, "John Doe is 42 years old", run_config=config)
    assert found.final_output == Person(name="John Doe", age=42)
    if is_stored or over_websocket:
        followed = await Runner.run(agent, "Thanks", run_config=config, previous_response_id=run.last_response_id)
        assert followed.final_output
    await provider.aclose()
    await client.close()
