# ruff: noqa: RUF001 - these characters are in what people write
"""How much a message asks for a tool: a score of 0 to 1 by the words that they share."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from mimic.engine.base import Tool
from mimic.engine.instances.values import WORDS

COMMON: Final = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "but",
        "if",
        "of",
        "to",
        "in",
        "on",
        "at",
        "for",
        "from",
        "by",
        "with",
        "about",
        "as",
        "into",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "am",
        "do",
        "does",
        "did",
        "done",
        "can",
        "could",
        "will",
        "would",
        "shall",
        "should",
        "may",
        "might",
        "must",
        "have",
        "has",
        "had",
        "i",
        "me",
        "my",
        "you",
        "your",
        "he",
        "she",
        "it",
        "its",
        "we",
        "our",
        "they",
        "them",
        "this",
        "that",
        "these",
        "those",
        "what",
        "which",
        "who",
        "whom",
        "whose",
        "where",
        "when",
        "why",
        "how",
        "please",
        "tell",
        "show",
        "give",
        "let",
        "need",
        "want",
        "like",
        "know",
        "some",
        "any",
        "all",
        "not",
        "no",
        "yes",
        "there",
        "here",
        "then",
        "than",
        "so",
        "too",
        "very",
        "just",
        "now",
        "today",
        "hi",
        "hello",
        "hey",
        "thanks",
        "ok",
    ]
)
GENERIC: Final = frozenset(
    [
        "get",
        "set",
        "find",
        "search",
        "list",
        "create",
        "make",
        "do",
        "run",
        "fetch",
        "lookup",
        "look",
        "query",
        "tool",
        "function",
        "api",
        "call",
        "use",
        "handle",
        "process",
        "new",
        "current",
        "given",
        "return",
        "returns",
        "result",
        "results",
        "value",
        "values",
        "string",
        "number",
        "input",
        "output",
        "data",
        "information",
        "info",
        "item",
        "items",
        "user",
        "name",
        "id",
    ]
)
"""Words of names and descriptions that say little of what a tool is for."""
SIGNS: Final = (
    (re.compile(r"\d\s*\+\s*\d"), ("add", "sum", "plus", "calculate", "math", "arithmetic", "expression")),
    (re.compile(r"\d\s*[*×]\s*\d"), ("multiply", "product", "times", "calculate", "math", "arithmetic", "expression")),
    (re.compile(r"\d\s*[/÷]\s*\d"), ("divide", "quotient", "calculate", "math", "arithmetic", "expression")),
    (
        re.compile(r"(?<![\d-])\d+\s*[-−]\s*\d+(?![\d-])"),
        ("subtract", "difference", "minus", "calculate", "math", "arithmetic", "expression"),
    ),
)
"""Signs of arithmetic, and the words for them."""

LONGEST: Final = 5_000
"""Characters of a message and of a description that are looked at."""
SHORTEST_STEM: Final = 4
LIKE: Final = 0.7


def likeness(message: str, tool: Tool) -> float:
    """The better of two shares: of the tool's name that the message says, and of the message that the tool speaks of.

    Words are compared without endings: two are alike if they begin with the same four letters or more, seven tenths of
    the longer one. Words that are common, or that name no particular tool, do not count. A message that writes the
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
    told = _share([word for word in dict.fromkeys(asked) if word not in GENERIC], of_tool)
    return max(named, told)


def _parameters(tool: Tool) -> Iterable[str]:
    root = tool.parameters.root if tool.parameters else None
    properties = root.get("properties") if isinstance(root, dict) else None
    for name, schema in (properties or {}).items():
        yield " ".join(WORDS.findall(name))
        if isinstance(schema, dict):
            yield str(schema.get("description", ""))[:LONGEST]
            yield from (str(one) for one in schema.get("enum") or () if isinstance(one, str))


def _contents(text: str) -> list[str]:
    words = [word.lower() for word in WORDS.findall(text)]
    return [word for word in words if word not in COMMON and not word.isdigit() and len(word) > 1]


def _share(words: Sequence[str], among: Sequence[str]) -> float:
    """How many of the words are among the others."""
    others = set(among)
    return sum(any(_alike(word, other) for other in others) for word in words) / len(words) if words else 0.0


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    longer = max(len(one), len(other))
    common = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return common >= SHORTEST_STEM and common >= LIKE * longer
