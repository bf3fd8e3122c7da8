"""Mirascope and semantic-kernel, which call responses by default, ask the server that OPENAI_BASE_URL names.

Prints all outcomes as one JSON.
"""

import asyncio
import json
from typing import Annotated, Any

from mirascope import llm
from openai import AsyncOpenAI
from pydantic import BaseModel
from semantic_kernel.agents import OpenAIResponsesAgent
from semantic_kernel.functions import kernel_function

MODEL = "gpt-5-mini"
JOHN = "John Doe is 42 years old"
WEATHER = "What is the weather in San Francisco, CA?"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def mirascope() -> Any:
    """A loop of tools, whole and streamed, and an object."""
    asked = []

    @llm.tool  # type: ignore[untyped-decorator] # of the other environment
    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return f"It is sunny in {city}"

    @llm.call(f"openai/{MODEL}", tools=[get_weather])  # type: ignore[untyped-decorator] # of the other environment
    def ask() -> str:
        return WEATHER

    @llm.call(f"openai/{MODEL}", format=Person)  # type: ignore[untyped-decorator] # of the other environment
    def extract() -> str:
        return JOHN

    answer, stream = ask(), ask.stream()
    while answer.tool_calls:
        answer = answer.resume(answer.execute_tools())
    stream.finish()
    while stream.tool_calls:
        stream = stream.resume(stream.execute_tools())
        stream.finish()
    return {"texts": [answer.text(), stream.text()], "asked": asked, "person": extract().parse().model_dump()}


class Weather:
    """A plugin with one function."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @kernel_function(description="Get the weather of a city.")  # type: ignore[untyped-decorator] # of the other environment
    def get_weather(self, city: Annotated[str, "The city"]) -> str:
        """Get the weather."""
        self.asked.append(city)
        return f"It is sunny in {city}"


async def semantic_kernel() -> Any:
    """A loop of tools, whole and streamed, and an object."""
    weather, asked = Weather(), {"ai_model_id": MODEL, "client": AsyncOpenAI(max_retries=0)}
    agent = OpenAIResponsesAgent(name="weather", plugins=[weather], **asked)
    whole = (await agent.get_response(WEATHER)).message.content
    pieces = [str(piece.message.content) async for piece in agent.invoke_stream(WEATHER)]
    form = OpenAIResponsesAgent.configure_response_format(Person)
    person = await OpenAIResponsesAgent(name="person", text=form, **asked).get_response(JOHN)
    texts = [whole, "".join(pieces)]
    return {"texts": texts, "asked": weather.asked, "person": json.loads(person.message.content)}


if __name__ == "__main__":
    outcomes = {"mirascope": mirascope(), "semantic_kernel": asyncio.run(semantic_kernel())}
    print(json.dumps(outcomes))  # noqa: T201 - this is how the test gets them
