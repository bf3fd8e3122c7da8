"""Answers in JSON: by a schema, or by the shape in the chat."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from mimic.corpus.ladder import EXACT
from mimic.engine.base import AnswerFormat, Answers, CompletionRequest, Engine, Limits, Prompt
from mimic.engine.instances.maker import instance
from mimic.engine.instances.schema import JsonSchema, SchemaProblem
from mimic.engine.instances.text_values import TextValues
from mimic.engine.instances.values import JsonValue
from mimic.engine.retrieval import cut_answers
from mimic.engine.shapes import object_schema, ordered_schema, shape_of, wants_fence, without_form
from mimic.errors import RequestError

FENCE: Final = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)```", re.DOTALL)
UNLIMITED: Final = Limits()


class StructuredEngine(Engine):
    """Gives the answers of another engine the form that the request names."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer in JSON. Raises RequestError if no value meets the schema, and the errors of the other engine."""
        if request.answer_format.kind == "text":
            found = await self._engine.answer(prompt, request)
            return await _by_order(found, prompt, request)
        text_request = msgspec.structs.replace(request, limits=UNLIMITED, logprobs=None)
        found = await self._engine.answer(prompt, text_request)
        texts = [answer.text for answer in found.answers]
        is_exact = found.rung in EXACT
        documents = await asyncio.to_thread(_documents, texts, request.answer_format, prompt, is_exact=is_exact)
        answers = await cut_answers(documents, [answer.source for answer in found.answers], request.limits)
        return Answers(found.rung, found.score, answers)


async def _by_order(found: Answers, prompt: Prompt, request: CompletionRequest) -> Answers:
    """The answers as JSON by a schema that the chat shows and orders; unchanged without one, and after an exact match.

    Many clients describe the format in a message, and set no field of the request.
    """
    if found.rung in EXACT or request.policy.is_named:
        return found
    schema = await asyncio.to_thread(ordered_schema, prompt)
    if schema is None:
        return found
    texts = [answer.text for answer in found.answers]
    try:
        documents = await asyncio.to_thread(
            _documents, texts, AnswerFormat("json_schema", schema), prompt, is_exact=False
        )
    except RequestError:  # the schema is impossible, which is no error in a message
        return found
    if wants_fence(prompt):
        documents = [f"```json\n{document}\n```" for document in documents]
    answers = await cut_answers(documents, [answer.source for answer in found.answers], request.limits)
    return Answers(found.rung, found.score, answers)


def _documents(texts: Sequence[str], wanted: AnswerFormat, prompt: Prompt, *, is_exact: bool) -> Sequence[str]:
    """The texts as JSON by a schema, or as any objects. Equal texts are converted once. Blocks."""
    schema = wanted.schema
    found, question = schema or shape_of(prompt), _question(prompt)
    if found is not None and wanted.param is None:  # a message shows the form
        question = without_form(question)
    shape = found or JsonSchema(object_schema({"answer": {"type": "string"}}))
    try:
        documents = {
            # The JSON of another request has values of that request.
            text: (_find(text, schema) if is_exact else None) or _make(text, shape, question)
            for text in dict.fromkeys(texts)
        }
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


def _question(prompt: Prompt) -> str:
    return next((message.text for message in reversed(prompt.messages) if message.role == "user" and message.text), "")


def _parse(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
