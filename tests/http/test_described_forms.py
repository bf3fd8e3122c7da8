"""Forms of answers that a chat describes in a message: JSON by a schema, and the code of an agent."""

import ast
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.support.corpora import Dump, conversation
from tests.support.servers import SharedServers

SCHEMA = json.dumps(
    {
        "title": "Person",
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
)
KNOWN = f"Return JSON by this schema: {SCHEMA}"
JOKE = "Two snails are sitting by the road."
DUMP: Dump = [
    conversation("a", ("human", KNOWN), ("gpt", "No, thank you.")),
    conversation("b", ("human", "Tell me a joke"), ("gpt", JOKE)),
]
JOHN = {"name": "John Doe", "age": 42}
IMPOSSIBLE = '{"properties": {"a": {"type": "string", "enum": [1]}}, "required": ["a"]}'
SYSTEM = '''You can solve any task using code blobs.
The code sequence must be opened with '<code>', and closed with '</code>'.
In the end you have to return a final answer using the `final_answer` tool.
<code>
final_answer("diminished")
</code>
You only have access to these tools:
<code>
def get_weather(city: string) -> string:
    """Get the weather of a city.

    Args:
        city: The city.
    """

def add_numbers(first: number, second: number) -> number:
    """Adds two numbers.

    Args:
        first: The first number.
        second: The second number.
    """

def final_answer(answer: any) -> any:
    """Provides a final answer to the given problem.

    Args:
        answer: The final answer to the problem
    """
</code>'''


@pytest.fixture(scope="module")
def client(serve: SharedServers) -> Iterator[OpenAI]:
    """The SDK, with strict types for every answer."""
    url = f"{serve(DUMP, MIMIC_ON_MISS='any').url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def ask(client: OpenAI, *messages: tuple[str, str], **options: Any) -> Any:
    """The first choice of an answer."""
    chat: Any = [{"role": role, "content": text} for role, text in messages]
    return client.chat.completions.create(model="m", messages=chat, **options).choices[0]


def text_of(client: OpenAI, *messages: tuple[str, str], **options: Any) -> str:
    """The text of the first choice of an answer."""
    return str(ask(client, *messages, **options).message.content)


@pytest.mark.parametrize(
    "order",
    [
        "Provide the object in json that matches this json_schema: {}",
        "The output should be formatted as a JSON instance of this schema.\n```\n{}\n```",
        'For the schema {{"properties": {{"foo": {{}}}}}} {{"foo": 1}} is valid JSON. Now answer by this schema:\n{}',
    ],
)
def test_a_schema_with_an_order_is_the_form_of_the_answer(client: OpenAI, order: str) -> None:
    """The last schema of a message counts, in the system message as in the user's; a fence is made if asked for."""
    text = order.format(SCHEMA)
    john = "John Doe is 42 years old."
    assert json.loads(text_of(client, ("system", text), ("user", john))) == JOHN
    assert json.loads(text_of(client, ("user", f"{text}\n{john}"))) == JOHN
    fenced = text_of(client, ("system", text), ("user", f"{john} Use a ```json codeblock."))
    assert fenced.startswith("```json\n{")
    assert json.loads(fenced.removeprefix("```json\n").removesuffix("\n```")) == JOHN


@pytest.mark.parametrize(
    "messages",
    [
        [("user", f"Is this a good JSON schema? {SCHEMA}")],
        [("user", f"Return something by {SCHEMA}")],
        [("system", f"Return JSON by {IMPOSSIBLE}"), ("user", "Hello there")],
        [("system", 'Return JSON with "properties" {'), ("user", "Hello there")],
        [("user", KNOWN)],
    ],
)
def test_other_chats_with_schemas_get_texts(client: OpenAI, messages: list[tuple[str, str]]) -> None:
    """A question, an impossible schema or a broken one order nothing, and an exact match is answered as it was."""
    text = text_of(client, *messages)
    assert text in {JOKE, "No, thank you."}
    assert messages != [("user", KNOWN)] or text == "No, thank you."


def test_a_named_rung_changes_no_text(client: OpenAI) -> None:
    """A request that names a rung gets the corpus as it is."""
    asked = ("user", f"{KNOWN} Please!")
    assert json.loads(text_of(client, asked)).keys() == JOHN.keys()
    assert text_of(client, asked, extra_headers={"x-mimic-match": "nearest"}) == "No, thank you."


def test_limits_cut_described_json(client: OpenAI) -> None:
    """``max_tokens`` counts the JSON."""
    choice = ask(client, ("system", KNOWN), ("user", "John Doe is 42"), max_tokens=3)
    assert choice.finish_reason == "length"
    assert choice.message.content.startswith('{"name')


def code_of(text: str) -> list[str]:
    """The lines of the code in an answer that was stopped at the closing mark; they are Python."""
    thought, code = text.split("<code>\n")
    assert thought.startswith("Thought: ")
    ast.parse(code)
    return code.strip().split("\n")


@pytest.mark.parametrize(
    ("task", "lines"),
    [
        (
            "What is the weather in San Francisco, CA?",
            ["result_1 = get_weather(city='San Francisco, CA')", "final_answer(result_1)"],
        ),
        (
            "What is the weather in Paris and Rome?",
            [
                "result_1 = get_weather(city='Paris')",
                "result_2 = get_weather(city='Rome')",
                'final_answer("\\n".join(map(str, [result_1, result_2])))',
            ],
        ),
        ("Add the numbers 3 and 4", ["result_1 = add_numbers(first=3, second=4)", "final_answer(result_1)"]),
        ("Tell me a joke", [f"final_answer({JOKE!r})"]),
    ],
)
def test_an_agent_that_acts_by_code_gets_code(client: OpenAI, task: str, lines: list[str]) -> None:
    """The code calls the tools that the task asks for, or gives the corpus's answer as the final one."""
    chat = [("system", SYSTEM), ("user", f"New task:\n{task}")]
    assert code_of(text_of(client, *chat, stop=["Observation:", "</code>"])) == lines
    assert text_of(client, *chat).endswith("\n</code>")


def test_what_the_code_returned_is_the_final_answer(client: OpenAI) -> None:
    """After an observation no tool is called again."""
    task = ("user", "New task:\nWhat is the weather in Paris?")
    called = ("assistant", "Thought: I call it.\n<code>\nprint(get_weather(city='Paris'))\n</code>")
    text = text_of(client, ("system", SYSTEM), task, called, ("user", "Observation:\nIt is sunny."), stop=["</code>"])
    assert code_of(text) == ["final_answer('It is sunny.')"]


def test_a_required_call_of_no_tool_ends_the_loop(client: OpenAI) -> None:
    """Of tools that are not asked for, the one that takes the answer is called, with the corpus's text."""
    tools: Any = [
        {
            "type": "function",
            "function": {
                "name": name,
                "parameters": {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]},
            },
        }
        for name, field in (("get_weather", "city"), ("final_answer", "answer"))
    ]
    [call] = ask(client, ("user", "Tell me a joke"), tools=tools, tool_choice="required").message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("final_answer", {"answer": JOKE})
    [call] = ask(client, ("user", "The weather in Rome?"), tools=tools, tool_choice="required").message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rome"})


def test_arrays_of_a_schema_that_requires_nothing_are_made(client: OpenAI) -> None:
    """The arguments hold what the message says, each object its own part of it."""
    person: Any = json.loads(SCHEMA)
    schema = {"type": "object", "properties": {"people": {"type": "array", "items": person, "minItems": 2}}}
    tools: Any = [{"type": "function", "function": {"name": "people", "parameters": schema}}]
    said = ("user", "John Doe is 42 years old and Jane Roe is 37")
    [call] = ask(client, said, tools=tools, tool_choice="required").message.tool_calls
    assert json.loads(call.function.arguments) == {"people": [JOHN, {"name": "Jane Roe", "age": 37}]}
