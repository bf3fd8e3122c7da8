"""Extractors and agents ask the server that OPENAI_BASE_URL names, and print all outcomes as one JSON."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Literal

import instructor
from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient
from instructor import Mode
from llama_index.core import PromptTemplate
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike
from openai import OpenAI
from pydantic import BaseModel
from smolagents import CodeAgent, OpenAIServerModel, ToolCallingAgent, tool

MODEL = "gpt-4o-mini"
JOHN = "John Doe is 42 years old"
ORDER = "Jane Roe bought a lamp for 20 dollars and a chair for 30 dollars. The order is paid."
WEATHER = "What is the weather in San Francisco, CA?"
TWO = "John Doe is 42 years old and Jane Roe is 37"
MODES = (Mode.TOOLS, Mode.TOOLS_STRICT, Mode.JSON, Mode.JSON_SCHEMA, Mode.MD_JSON)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


class Weather(BaseModel):
    """The weather of a city."""

    city: str


class Item(BaseModel):
    """An item of an order."""

    name: str
    price: float


class Order(BaseModel):
    """An order."""

    customer: str
    items: list[Item]
    status: Literal["open", "paid"]


def extract(mode: Mode) -> Any:
    """The objects that instructor extracts in a mode: whole, nested, and from a stream. It validates each."""
    with OpenAI(max_retries=0) as openai:
        client = instructor.from_openai(openai, mode=mode)
        asked: Any = {"model": MODEL, "max_retries": 0}
        john, order = [{"role": "user", "content": JOHN}], [{"role": "user", "content": ORDER}]
        person = client.chat.completions.create(messages=john, response_model=Person, **asked)
        nested = client.chat.completions.create(messages=order, response_model=Order, **asked)
        *_, partial = client.chat.completions.create_partial(messages=john, response_model=Person, **asked)
        two = [{"role": "user", "content": TWO}]
        people = list(client.chat.completions.create_iterable(messages=two, response_model=Person, **asked))
    found = {"person": person, "order": nested, "partial": partial, "first_of_two": people[0]}
    return {name: value.model_dump() for name, value in found.items()}


def extract_with_parallel_tools() -> Any:
    """The objects that instructor makes of several calls in one answer."""
    with OpenAI(max_retries=0) as openai:
        client = instructor.from_openai(openai, mode=Mode.PARALLEL_TOOLS)
        messages: Any = [{"role": "user", "content": "What is the weather in Paris and Rome?"}]
        kind: Any = Iterable[Weather]
        asked: Any = {"model": MODEL, "max_retries": 0, "response_model": kind}
        return [found.model_dump() for found in client.chat.completions.create(messages=messages, **asked)]


async def llama_index() -> Any:
    """A FunctionAgent that streams its answers and one that does not, and structured predictions."""
    asked = []

    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return f"It is sunny in {city}"

    llm = OpenAILike(model=MODEL, is_chat_model=True, is_function_calling_model=True, max_retries=0)
    agents = [FunctionAgent(tools=[get_weather], llm=llm, streaming=streaming) for streaming in (True, False)]
    answers = [str(await agent.run(WEATHER)) for agent in agents]
    person = llm.structured_predict(Person, PromptTemplate("{text}"), text=JOHN)
    return {"answers": answers, "asked": asked, "person": person.model_dump()}


def smolagents() -> Any:
    """A ToolCallingAgent, which always requires a call, and a CodeAgent, which runs code; with and without a tool."""
    asked = []

    @tool  # type: ignore[untyped-decorator] # of the other environment
    def get_weather(city: str) -> str:
        """Get the weather of a city.

        Args:
            city: The city.

        """
        asked.append(city)
        return f"It is sunny in {city}"

    outcomes: dict[str, Any] = {}
    for kind in (ToolCallingAgent, CodeAgent):
        agent = kind(tools=[get_weather], model=OpenAIServerModel(MODEL), max_steps=5, verbosity_level=0)
        answer, steps = agent.run(WEATHER), agent.step_number
        plain = agent.run("Tell me a joke")
        outcomes[kind.__name__] = {"answer": answer, "asked": [*asked], "steps": steps, "plain": plain}
        asked.clear()
    return outcomes


async def autogen() -> Any:
    """An AssistantAgent of autogen with a tool, whole and streamed, and one whose output is an object."""
    asked = []

    async def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return f"It is sunny in {city}"

    client = OpenAIChatCompletionClient(model=MODEL, max_retries=0)
    answers = []
    for stream in (False, True):
        options: Any = {"reflect_on_tool_use": True, "model_client_stream": stream}
        agent = AssistantAgent("agent", client, tools=[get_weather], **options)
        answers.append((await agent.run(task=WEATHER)).messages[-1].content)
    extractor = AssistantAgent("extractor", client, output_content_type=Person)
    person: Any = (await extractor.run(task=JOHN)).messages[-1].content
    await client.close()
    return {"answers": answers, "asked": asked, "person": person.model_dump()}


if __name__ == "__main__":
    outcomes = {
        "instructor": {mode.name: extract(mode) for mode in MODES},
        "llama_index": asyncio.run(llama_index()),
        "parallel_tools": extract_with_parallel_tools(),
        "smolagents": smolagents(),
        "autogen": asyncio.run(autogen()),
    }
    print(json.dumps(outcomes))  # noqa: T201 - this is how the test gets them
