"""The likeness of a message and a tool: a score from 0 to 1, by the words that they share."""

from collections.abc import Iterable, Sequence
from typing import Final

from mimic.engine.base import Tool
from mimic.engine.instances.values import WORDS
from mimic.engine.tools.words import COMMON, GENERIC, SIGNS

LONGEST: Final = 5_000
"""Characters of a message and of a description to read."""
SHORTEST_STEM: Final = 4
"""Letters that similar words share at least."""
MIN_SHARED: Final = 0.7
"""The part of the longer word that similar words share at least."""


def likeness(message: str, tool: Tool) -> float:
    """The larger of two shares: words of the tool's name in the message, and words of the message in the tool.

    Words are compared without endings: two words are similar if they share their first four letters or more, and at
    least 70% of the longer word. Common words, and words that suit any tool, do not count. A message that contains the
    whole name scores 1.
    """
    message = message[:LONGEST]
    if tool.name.lower() in message.lower():
        return 1.0
    asked = _contents(message)
    for sign, words in SIGNS:
        if sign.search(message):
            asked += words
    name = [word.lower() for word in WORDS.findall(tool.name)]
    name = [word for word in name if word not in GENERIC and word not in COMMON] or name
    named = _share(name, asked)
    of_tool = _contents(" ".join((tool.description[:LONGEST], *_parameters(tool)))) + name
    mentioned = _share([word for word in dict.fromkeys(asked) if word not in GENERIC], of_tool)
    return max(named, mentioned)


def _parameters(tool: Tool) -> Iterable[str]:
    root = tool.parameters.root if tool.parameters else None
    properties = root.get("properties") if isinstance(root, dict) else None
    for name, schema in (properties or {}).items():
        yield " ".join(WORDS.findall(name))
        if isinstance(schema, dict):
            yield str(schema.get("description", ""))[:LONGEST]
            yield from (value for value in schema.get("enum") or () if isinstance(value, str))


def _contents(text: str) -> list[str]:
    words = [word.lower() for word in WORDS.findall(text)]
    return [word for word in words if word not in COMMON and not word.isdigit() and len(word) > 1]


def _share(words: Sequence[str], among: Sequence[str]) -> float:
    """The share of the words that are similar to one of the others, from 0 to 1."""
    others = set(among)
    return sum(any(_is_similar(word, other) for other in others) for word in words) / len(words) if words else 0.0


def _is_similar(first: str, second: str) -> bool:
    if first == second:
        return True
    longer = max(len(first), len(second))
    common = next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    return common >= SHORTEST_STEM and common >= MIN_SHARED * longer
