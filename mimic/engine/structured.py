"""Answers in JSON: by a schema, or by the shape in the chat."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from mimic.corpus.ladder import EXACT
from mimic.engine.base import AnswerFormat, Answers, CompletionRequest, Engine, Limits, Prompt
from mimic.engine.instances.maker import instance
from mimic.engine.instances.schema import JsonSchema, SchemaProblem
from mimic.engine.instances.text_values import TextValues
from mimic.engine.instances.values import Field, JsonValue
from mimic.engine.retrieval import cut_answers
from mimic.errors import RequestError

FENCE: Final = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)```", re.DOTALL)
_FIELD: Final = r"[\"'`]?\w{1,60}[\"'`]?"
FIELDS: Final = re.compile(
    r"\b(?:fields?|keys?|properties|attributes)\b[^:\n.{]{0,40}?(?::|\bnamed\b|\bcalled\b|\bare\b)?\s{0,3}"
    rf"((?:{_FIELD}(?:\s?\([^)\n]{{0,60}}\))?(?:,\s?(?:and\s)?|\sand\s)){{0,60}}{_FIELD})",
    re.IGNORECASE,
)
"""A list of field names."""
_QUOTED: Final = r"(?:\"\w{1,60}\"|'\w{1,60}'|`\w{1,60}`)"
QUOTED_FIELDS: Final = re.compile(
    rf"((?:{_QUOTED}(?:,\s?(?:and\s)?|\sand\s)){{0,60}}{_QUOTED})\s(?:fields?|keys?|properties|attributes)\b",
    re.IGNORECASE,
)
"""A list of quoted names, before the word for fields."""
NUMBERS: Final = frozenset(
    ("age", "amount", "count", "total", "price", "cost", "quantity", "number", "year", "score", "rating", "percentage")
)
TRUTHS: Final = frozenset(("is", "has", "can", "should", "was"))
"""Words in the names of fields that hold numbers or booleans."""
NAME: Final = re.compile(r"\w+")
LONGEST: Final = 20_000
"""Characters of a message to search for a shape."""
MAX_EXAMPLE: Final = 4_000
"""Characters of an example."""
MAX_EXAMPLES: Final = 20
UNLIMITED: Final = Limits()


class StructuredEngine(Engine):
    """Gives the answers of another engine the form that the request names."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer in JSON. Raises RequestError if no value meets the schema, and the errors of the other engine."""
        if request.answer_format.kind == "text":
            return await self._engine.answer(prompt, request)
        text_request = msgspec.structs.replace(request, limits=UNLIMITED, logprobs=None)
        found = await self._engine.answer(prompt, text_request)
        texts = [answer.text for answer in found.answers]
        is_exact = found.rung in EXACT
        documents = await asyncio.to_thread(_documents, texts, request.answer_format, prompt, is_exact=is_exact)
        answers = await cut_answers(documents, [answer.source for answer in found.answers], request.limits)
        return Answers(found.rung, found.score, answers)


def _documents(texts: Sequence[str], wanted: AnswerFormat, prompt: Prompt, *, is_exact: bool) -> Sequence[str]:
    """The texts as JSON by a schema, or as any objects. Equal texts are converted once. Blocks."""
    schema = wanted.schema
    found, question = schema or shape_of(prompt), _question(prompt)
    shape = found or JsonSchema(_object({"answer": {"type": "string"}}))
    required = schema if is_exact else found
    try:
        documents = {text: _find(text, required) or _make(text, shape, question) for text in dict.fromkeys(texts)}
    except SchemaProblem as exc:
        text = f"Invalid schema for response_format: {exc}."
        raise RequestError(400, text, param=wanted.param, code="invalid_json_schema") from exc
    return [documents[text] for text in texts]


def _find(text: str, schema: JsonSchema | None) -> str | None:
    """The valid JSON in a text: the whole text, or a code fence. Without a schema, any object is valid."""
    for part in (text, *FENCE.findall(text)):
        value = _parse(part)
        if isinstance(value, dict) if schema is None else value is not None and schema.validator.is_valid(value):
            return str(part).strip()
    return None


def _make(text: str, schema: JsonSchema, question: str) -> str:
    return msgspec.json.encode(instance(schema, TextValues(_readable(text), question))).decode()


def _readable(text: str) -> str:
    """A text without change, or the values of the JSON in it, one per line."""
    for part in (text, *FENCE.findall(text)):
        value = _parse(part)
        if isinstance(value, (dict, list)):
            return "\n".join(_leaves(value))
    return text


def _leaves(value: JsonValue) -> Iterator[str]:
    """The texts and numbers in a JSON value."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, (dict, list)):
            waiting += reversed(list(one.values() if isinstance(one, dict) else one))
        elif one is not None:
            yield str(one)


def shape_of(prompt: Prompt) -> JsonSchema | None:
    """The schema of the object that a chat requests: a schema in the chat, an example, or a list of field names.

    The last message with a shape counts. None without a shape, or if the schema in the chat is not valid.
    """
    try:
        document = _find_shape(prompt)
        return None if document is None else JsonSchema(document)
    except (SchemaProblem, RecursionError):
        return None


def _find_shape(prompt: Prompt) -> Mapping[str, Any] | None:
    for message in reversed(prompt.messages):
        text = (message.text or "")[:LONGEST]
        for value in _objects(text):
            return value if isinstance(value.get("properties"), dict) else _schema_like(value)
        for match in chain(FIELDS.finditer(text), QUOTED_FIELDS.finditer(text)):
            names = [name for name in NAME.findall(re.sub(r"\([^)]*\)", "", match[1])) if name not in {"and", "or"}]
            if len(names) > 1 or (names and match[1].rstrip().endswith(("'", '"', "`"))):
                return _object({name: _schema_named(name) for name in names})
    return None


def _schema_named(name: str) -> Mapping[str, Any]:
    """A schema for a field by its name: ``age`` is a number, ``is_open`` a boolean."""
    words = Field(name).words
    if words & NUMBERS:
        return {"type": "number"}
    if words & TRUTHS:
        return {"type": "boolean"}
    is_many = name.endswith("s") and not name.endswith(("ss", "us", "is"))
    return {"type": "array", "items": {"type": "string"}} if is_many else {"type": "string"}


def _objects(text: str) -> Iterator[dict[str, JsonValue]]:
    """The JSON objects in a text."""
    at = -1
    for _ in range(MAX_EXAMPLES):
        at = text.find("{", at + 1)
        if at < 0:
            return
        end = at
        while (end := text.find("}", end + 1)) >= 0:
            value = _parse(text[at : end + 1])
            if isinstance(value, dict):
                if value:
                    yield value
                break
            if end - at > MAX_EXAMPLE:
                break


def _schema_like(value: JsonValue) -> Mapping[str, Any]:
    """A schema of values similar to an example."""
    if isinstance(value, dict):
        return _object({name: _schema_like(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return {"type": "array", "items": _schema_like(value[0]) if value else {}}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, (int, float)):
        return {"type": "integer" if isinstance(value, int) else "number"}
    return {"type": "string"} if isinstance(value, str) else {}


def _object(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _question(prompt: Prompt) -> str:
    return next((message.text for message in reversed(prompt.messages) if message.role == "user" and message.text), "")


def _parse(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
