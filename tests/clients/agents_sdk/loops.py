"""Agents ask the server that OPENAI_BASE_URL names, over HTTP and over a WebSocket.

Prints all outcomes as one JSON.
"""

import asyncio
import json
from typing import Any

from agents import Agent, ModelSettings, OpenAIProvider, RunConfig, Runner, function_tool
from openai import AsyncOpenAI
from pydantic import BaseModel

WEATHER = "What is the weather in San Francisco, CA?"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


async def loops(*, over_websocket: bool, is_stored: bool) -> Any:
    """A loop of tools, whole and streamed, an object, and a run that follows the last response."""
    asked = []

    @function_tool  # type: ignore[untyped-decorator] # of the other environment
    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return f"It is sunny in {city}"

    async with AsyncOpenAI(max_retries=0) as client:
        provider = OpenAIProvider(openai_client=client, use_responses_websocket=over_websocket)
        settings = ModelSettings(store=is_stored)
        config = RunConfig(model_provider=provider, tracing_disabled=True, model_settings=settings)
        agent = Agent(name="weather", instructions="Be brief.", tools=[get_weather])
        whole = await Runner.run(agent, WEATHER, run_config=config)
        streamed = Runner.run_streamed(agent, WEATHER, run_config=config)
        events = [event async for event in streamed.stream_events()]
        extractor = Agent(name="extractor", output_type=Person)
        person = await Runner.run(extractor, "John Doe is 42 years old", run_config=config)
        followed = ""
        if is_stored or over_websocket:
            last = {"previous_response_id": whole.last_response_id}
            followed = (await Runner.run(agent, "Thanks", run_config=config, **last)).final_output
        await provider.aclose()
    return {
        "texts": [whole.final_output, streamed.final_output],
        "asked": asked,
        "events": len(events),
        "person": person.final_output.model_dump(),
        "followed": followed,
    }


async def outcomes() -> list[Any]:
    """The outcomes over each transport, with stored responses and without."""
    return [
        await loops(over_websocket=over_websocket, is_stored=is_stored)
        for over_websocket in (False, True)
        for is_stored in (True, False)
    ]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(outcomes())))  # noqa: T201 - this is how the test gets them
