"""The likeness of a message to a tool."""

import pytest

from mimic.engine.base import Tool
from mimic.engine.instances.schema import JsonSchema
from mimic.engine.tools.likeness import likeness

FLIGHTS = Tool(
    "search_flights",
    "Search flights between two cities",
    JsonSchema({"type": "object", "properties": {"departureCity": {"type": "string", "description": "Where from"}}}),
)


@pytest.mark.parametrize(
    ("message", "tool", "score"),
    [
        ("Find me a flight to Rome", FLIGHTS, 1.0),
        ("flying", FLIGHTS, 0.0),
        ("call search_flights please", FLIGHTS, 1.0),
        ("Which city is the departure?", FLIGHTS, 1.0),
        ("Tell me a joke", FLIGHTS, 0.0),
        ("", FLIGHTS, 0.0),
        ("What is 2 multiplied by 3?", Tool("multiply"), 1.0),
        ("What is 2 * 3?", Tool("multiply"), 1.0),
        ("What is 2 * 3?", Tool("calculator", "Evaluates an arithmetic expression"), 1.0),
        ("On 2025-03-01 I go home", Tool("calculator"), 0.0),
        ("你好", Tool("weather"), 0.0),
        ("get it", Tool("get_it"), 0.5),
    ],
)
def test_likeness(message: str, tool: Tool, score: float) -> None:
    """Words without endings, signs of arithmetic and the whole name count; common words do not."""
    assert likeness(message, tool) == score
