"""Shapes of JSON that a chat asks for."""

import time
from typing import Any

import pytest

from mimic.engine.base import ChatMessage, Prompt
from mimic.engine.shapes import LONGEST, ordered_schema, shape_of, without_form

STRING = {"type": "string"}
VALID = "must be formatted as a valid Python"
LIST = {"type": "array", "items": STRING}


def prompt(*texts: str) -> Prompt:
    """A chat of the user's messages."""
    return Prompt([ChatMessage("user", text) for text in texts])


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("JSON with the fields name, age and is_open", {"name": STRING, "age": {"type": "number"}, "is_open": bool}),
        ("Respond with a JSON object in the following order of fields: `thought`, then `tags`.", {"tags": LIST}),
        (
            f"fields: `a`, then `b` ({VALID} Literal['get_weather', 'finish']), then `c` ({VALID} dict[str, Any]).",
            {"a": STRING, "b": {"enum": ["finish", "get_weather"]}, "c": {"type": "object"}},
        ),
        ("fields: `x` (must be formatted as a valid Python float), then `y`", {"x": {"type": "number"}, "y": STRING}),
        ('like {"name": "Ada", "tags": ["a"]}', {"name": STRING, "tags": LIST}),
        ('{"properties": {"no": {}}} or {"properties": {"yes": {"type": "string"}}}', {"yes": STRING}),
    ],
)
def test_the_shape_of_an_object(text: str, properties: dict[str, Any]) -> None:
    """Lists of names have types by the notation of Python, or by the names; of several schemas the last one counts."""
    found = shape_of(prompt("Hello", text))
    assert found is not None
    assert isinstance(found.root, dict)
    expected = {name: {"type": "boolean"} if schema is bool else schema for name, schema in properties.items()}
    assert {name: found.root["properties"].get(name) for name in expected} == expected


def test_words_of_the_form_are_no_facts() -> None:
    """JSON and the lines about it are left out; a text of nothing else keeps its words."""
    assert without_form('Return JSON by {"a": "Bob"}\nJohn Doe is 42').strip() == "John Doe is 42"
    assert without_form('Return JSON of John Doe by {"a": 1}') == "Return JSON of John Doe by  "


@pytest.mark.parametrize(
    "text",
    ['{"a":' * LONGEST, "fields: " + "a (b), then " * 9999, "fields: a (" * 9999, '"properties" json return [{' * 999],
)
def test_hostile_messages_take_no_time(text: str) -> None:
    """Deep nesting, long lists and open parentheses take less than a second."""
    started = time.process_time()
    shape_of(prompt(text))
    ordered_schema(prompt(f'"properties" return JSON {text}'))
    assert time.process_time() - started < 1
