"""Extractors and agents ask the server that OPENAI_BASE_URL names, and print all outcomes as one JSON."""

import asyncio
import json
from typing import Any, Literal

import instructor
from instructor import Mode
from llama_index.core import PromptTemplate
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike
from openai import OpenAI
from pydantic import BaseModel
from smolagents import OpenAIServerModel, ToolCallingAgent, tool

MODEL = "gpt-4o-mini"
JOHN = "John Doe is 42 years old"
ORDER = "Jane Roe bought a lamp for 20 dollars and a chair for 30 dollars. The order is paid."
WEATHER = "What is the weather in San Francisco, CA?"
MODES = (Mode.TOOLS, Mode.TOOLS_STRICT, Mode.JSON, Mode.JSON_SCHEMA)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


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
    return {"person": person.model_dump(), "order": nested.model_dump(), "partial": partial.model_dump()}


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
    """A ToolCallingAgent, which always requires a call and ends by a call of ``final_answer``."""
    asked = []

    @tool  # type: ignore[untyped-decorator] # of the other environment
    def get_weather(city: str) -> str:
        """Get the weather of a city.

        Args:
            city: The city.

        """
        asked.append(city)
        return f"It is sunny in {city}"

    agent = ToolCallingAgent(tools=[get_weather], model=OpenAIServerModel(MODEL), max_steps=5, verbosity_level=0)
    return {"answer": agent.run(WEATHER), "asked": asked, "steps": agent.step_number}


if __name__ == "__main__":
    outcomes = {
        "instructor": {mode.name: extract(mode) for mode in MODES},
        "llama_index": asyncio.run(llama_index()),
        "smolagents": smolagents(),
    }
    print(json.dumps(outcomes))  # noqa: T201 - this is how the test gets them
