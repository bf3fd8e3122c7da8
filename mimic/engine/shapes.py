"""Shapes of JSON that a chat asks for: a schema in it, an example, or a list of field names. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from mimic.engine.base import Prompt
from mimic.engine.instances.schema import JsonSchema, SchemaProblem
from mimic.engine.instances.values import Field, JsonValue

PROPERTIES: Final = '"properties"'
"""Part of every schema of an object."""
ORDER: Final = re.compile(
    r"\b(?:return|respond|reply|answer|output|provide|produce|generate|format(?:ted)?|conforms?)\b", re.IGNORECASE
)
"""Words of an order for an answer, in contrast to a question about a schema."""
FORM: Final = re.compile(rf"{ORDER.pattern}|json|schema|```", re.IGNORECASE)
"""Words of lines that describe the form of an answer."""
IN_A_FENCE: Final = re.compile(r"```json\b|\bcode\s?(?:block|fence)s?\b", re.IGNORECASE)
_FIELD: Final = r"[\"'`]?\w{1,60}[\"'`]?"
_TYPE: Final = r"(?:\s?\([^)\n]{0,300}\))?"
FIELDS: Final = re.compile(
    r"\b(?:fields?|keys?|properties|attributes)\b[^:\n.{]{0,40}?(?::|\bnamed\b|\bcalled\b|\bare\b)?\s{0,3}"
    rf"((?:{_FIELD}{_TYPE}(?:,\s?(?:and\s|then\s)?|\sand\s)){{0,60}}{_FIELD}{_TYPE})",
    re.IGNORECASE,
)
"""A list of field names."""
_QUOTED: Final = r"(?:\"\w{1,60}\"|'\w{1,60}'|`\w{1,60}`)"
QUOTED_FIELDS: Final = re.compile(
    rf"((?:{_QUOTED}(?:,\s?(?:and\s)?|\sand\s)){{0,60}}{_QUOTED})\s(?:fields?|keys?|properties|attributes)\b",
    re.IGNORECASE,
)
"""A list of quoted names, before the word for fields."""
LINKS: Final = frozenset({"and", "or", "then"})
IN_PARENTHESES: Final = re.compile(r"\([^)\n]*\)")
TYPED: Final = re.compile(r"(\w{1,60})[\"'`]?\s?\(([^)\n]{1,300})\)")
"""A field name with its type."""
TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
    "dict": {"type": "object"},
}
PYTHON_TYPE: Final = re.compile(rf"\bvalid Python ({'|'.join(TYPES)}|Literal)\b")
LITERAL: Final = re.compile(r"['\"]([^'\"\n]{1,64})['\"]")
ENDING: Final = frozenset(("final", "finish", "done", "submit", "answer", "respond", "reply", "terminate"))
"""Words in the names of tools that take an agent's answer and end its loop."""
NUMBERS: Final = frozenset(
    ("age", "amount", "count", "total", "price", "cost", "quantity", "number", "year", "score", "rating", "percentage")
)
TRUTHS: Final = frozenset(("is", "has", "can", "should", "was"))
"""Words in the names of fields that hold numbers or booleans."""
NAME: Final = re.compile(r"\w+")
LONGEST: Final = 40_000
"""Characters of a message to search for a shape."""
MAX_EXAMPLES: Final = 20
_decoder: Final = json.JSONDecoder()


def shape_of(prompt: Prompt) -> JsonSchema | None:
    """The schema of the object that a chat requests: a schema in the chat, an example, or a list of field names.

    The last message with a shape counts. None without a shape, or if the schema in the chat is not valid.
    """
    return _valid(_find_shape(prompt))


def ordered_schema(prompt: Prompt) -> JsonSchema | None:
    """The schema that a message shows together with an order to answer in JSON by it; None without such a message.

    Clients show an example first, and the schema last.
    """
    for message in reversed(prompt.messages):
        text = (message.text or "")[:LONGEST]
        if PROPERTIES not in text or "json" not in text.lower() or not ORDER.search(text):
            continue
        if found := _last_schema(list(_objects(text))):
            return _valid({"type": "object", **found})
    return None


def _last_schema(shown: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((value for value in reversed(shown) if isinstance(value.get("properties"), dict)), None)


def wants_fence(prompt: Prompt) -> bool:
    """True if a chat asks for JSON in a fence."""
    return any(IN_A_FENCE.search((message.text or "")[-LONGEST:]) for message in prompt.messages)


def _valid(document: Mapping[str, Any] | None) -> JsonSchema | None:
    try:
        return None if document is None else JsonSchema(document)
    except (SchemaProblem, RecursionError):
        return None


def _find_shape(prompt: Prompt) -> Mapping[str, Any] | None:
    for message in reversed(prompt.messages):
        text = (message.text or "")[:LONGEST]
        if shown := list(_objects(text)):
            return _last_schema(shown) or _schema_like(shown[0])
        for match in chain(FIELDS.finditer(text), QUOTED_FIELDS.finditer(text)):
            listed = IN_PARENTHESES.sub("", match[1]).rstrip()
            names = [name for name in NAME.findall(listed) if name not in LINKS]
            if len(names) > 1 or (names and listed.endswith(("'", '"', "`"))):
                typed = dict(TYPED.findall(match[1]))
                return object_schema(
                    {name: _schema_typed(typed.get(name, "")) or _schema_named(name) for name in names}
                )
    return None


def _schema_typed(text: str) -> Mapping[str, Any] | None:
    """A schema for a type in the notation of Python, as DSPy writes it; None without one."""
    found = PYTHON_TYPE.search(text)
    if found is None:
        return None
    if found[1] == "Literal":
        # A member that ends a loop comes first: it is chosen where the chat mentions none.
        members = sorted(LITERAL.findall(text), key=lambda member: ENDING.isdisjoint(Field(member).words))
        return {"enum": members} if members else None
    return TYPES[found[1]]


def _schema_named(name: str) -> Mapping[str, Any]:
    """A schema for a field by its name: ``age`` is a number, ``is_open`` a boolean."""
    words = Field(name).words
    if words & NUMBERS:
        return {"type": "number"}
    if words & TRUTHS:
        return {"type": "boolean"}
    is_many = name.endswith("s") and not name.endswith(("ss", "us", "is"))
    return {"type": "array", "items": {"type": "string"}} if is_many else {"type": "string"}


def without_form(text: str) -> str:
    """The text without the JSON objects in it, and without the lines that describe the form, if others remain.

    Their words are no facts about the question.
    """
    for start, end, _ in reversed(list(_spans(text[:LONGEST]))):
        text = f"{text[:start]} {text[end:]}"
    lines = [line for line in text.splitlines() if not FORM.search(line)]
    return "\n".join(lines) if any(map(str.strip, lines)) else text


def _objects(text: str) -> Iterator[dict[str, JsonValue]]:
    return (value for _, _, value in _spans(text))


def _spans(text: str) -> Iterator[tuple[int, int, dict[str, JsonValue]]]:
    """The JSON objects in a text that are not in another one: where each begins and ends, and its value."""
    at = 0
    for _ in range(MAX_EXAMPLES):
        at = text.find("{", at)
        if at < 0:
            return
        try:
            value, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        if value:
            yield at, end, value
        at = end


def _schema_like(value: JsonValue) -> Mapping[str, Any]:
    """A schema of values similar to an example."""
    if isinstance(value, dict):
        return object_schema({name: _schema_like(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return {"type": "array", "items": _schema_like(value[0]) if value else {}}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, (int, float)):
        return {"type": "integer" if isinstance(value, int) else "number"}
    return {"type": "string"} if isinstance(value, str) else {}


def object_schema(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema of an object with exactly these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
