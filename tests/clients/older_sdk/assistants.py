"""Agents of semantic-kernel and LangChain on the Assistants API ask the server that OPENAI_BASE_URL names.

Prints all outcomes as one JSON.
"""

import asyncio
import json
from typing import Annotated, Any

from langchain_classic.agents.openai_assistant import OpenAIAssistantRunnable
from langchain_core.agents import AgentFinish
from langchain_core.tools import tool
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from semantic_kernel.agents import AssistantAgentThread, OpenAIAssistantAgent
from semantic_kernel.agents.open_ai.run_polling_options import RunPollingOptions
from semantic_kernel.functions import kernel_function

MODEL = "gpt-4o"
HAIKU = "Write a haiku about the sea"
NEXT = "lol. now a serious one about a storm at sea"
JOHN = "John Doe is 42 years old"
WEATHER = "What is the weather in Paris and Rome?"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


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
    """Parallel calls of a plugin, whole and streamed, two agents on one thread, and an object."""
    client, weather = AsyncOpenAI(max_retries=0), Weather()
    polling = RunPollingOptions(default_polling_interval="PT0.02S")

    async def agent(name: str, plugins: Any = (), **fields: Any) -> OpenAIAssistantAgent:
        definition = await client.beta.assistants.create(model=MODEL, name=name, instructions="Be kind.", **fields)
        return OpenAIAssistantAgent(
            client=client,
            definition=definition,
            plugins=[*plugins],
            polling_options=polling,
            run_polling_options=polling,
        )

    async with client:
        bot = await agent("weather", [weather])
        whole = str((await bot.get_response(messages=WEATHER)).message.content)
        pieces = [str(piece.message.content) async for piece in bot.invoke_stream(messages=WEATHER)]
        thread = AssistantAgentThread(client=client)
        poem = await (await agent("poet")).get_response(messages=HAIKU, thread=thread)
        reply = await (await agent("critic")).get_response(messages=NEXT, thread=thread)
        listed = [str(message.content) async for message in thread.get_messages(sort_order="asc")]
        await thread.delete()
        form = OpenAIAssistantAgent.configure_response_format(Person)
        person = await (await agent("person", response_format=form)).get_response(messages=JOHN)
    return {
        "texts": [whole, "".join(pieces)],
        "asked": weather.asked,
        "thread": [HAIKU, str(poem.message.content), NEXT, str(reply.message.content)],
        "listed": listed,
        "person": json.loads(str(person.message.content)),
    }


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}"


def langchain() -> Any:
    """A runnable as an agent with two parallel calls, and its next turn on the same thread."""
    with OpenAI(max_retries=0) as client:
        agent = OpenAIAssistantRunnable.create_assistant(
            "weather", "Be kind.", [get_weather], MODEL, client=client, as_agent=True, check_every_ms=20
        )
        found: Any = agent.invoke({"content": WEATHER})
        asked = [action.tool_input["city"] for action in found]
        outputs = [
            {"tool_call_id": action.tool_call_id, "output": get_weather.invoke(action.tool_input)} for action in found
        ]
        run = {"run_id": found[0].run_id, "thread_id": found[0].thread_id}
        first: Any = agent.invoke({"tool_outputs": outputs, **run})
        second: Any = agent.invoke({"content": HAIKU, "thread_id": found[0].thread_id})
        ends = [isinstance(one, AgentFinish) for one in (first, second)]
        texts = [one.return_values["output"] for one in (first, second)]
    return {"asked": asked, "texts": texts, "ends": ends}


if __name__ == "__main__":
    outcomes = {"semantic_kernel": asyncio.run(semantic_kernel()), "langchain": langchain()}
    print(json.dumps(outcomes))  # noqa: T201 - this is how the test gets them
