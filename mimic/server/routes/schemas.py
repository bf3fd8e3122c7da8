"""Schemas of request bodies for the OpenAPI document.

The schemas come from msgspec, which decodes the bodies, since Litestar's schemas omit limits within unions. Rules that
types cannot express, such as fields that depend on each other, are added here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import msgspec
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import OpenAPI

from mimic.tokens import LAST_CL100K_TOKEN, LAST_TOKEN
from mimic.wire.native import NativeRequest
from mimic.wire.openai.chat import MAY_BE_SILENT, ChatCompletionRequest, OpenAIMessage
from mimic.wire.openai.completions import TextCompletionRequest
from mimic.wire.openai.embeddings import MAX_INPUTS, EmbeddingRequest
from mimic.wire.openai.parts import MUST_HAVE_TEXT, Part
from mimic.wire.openai.responses.items import (
    CALLS,
    MESSAGE,
    RESULTS,
    InputCustomCall,
    InputFunctionCall,
    InputMessage,
    InputResult,
)
from mimic.wire.openai.responses.request import InputFields, ResponseParameters
from mimic.wire.openai.sampled import MAX_ANSWERS

Fields = dict[str, Any]

ITEMS: Final = (InputMessage, InputFunctionCall, InputCustomCall, InputResult)
BODIES: Final = (
    *(NativeRequest, ChatCompletionRequest, TextCompletionRequest, EmbeddingRequest),
    *(ResponseParameters, InputFields, *ITEMS),
)

_STREAMED: Final = {
    "anyOf": [
        {"properties": {"stream": {"const": True}}, "required": ["stream"]},
        {"properties": {"stream_options": {"type": "null"}}},
    ]
}


def _text_schemas(most: int, least: int, last_token: int) -> list[Fields]:
    """Return the schemas of one text or several, as strings or as tokens. ``least`` is the minimum length of a text."""
    token = {"type": "integer", "minimum": 0, "maximum": last_token}
    text, tokens = {"type": "string", "minLength": least}, {"type": "array", "items": token, "minItems": least}
    several = [{"type": "array", "items": one, "minItems": 1, "maxItems": most} for one in (text, tokens)]
    return [text, {**tokens, "minItems": 1}, *several]


_OTHER_ITEM: Final = {
    "type": "object",
    "properties": {"type": {"type": "string", "not": {"enum": sorted({MESSAGE} | CALLS | RESULTS)}}},
    "required": ["type"],
}
_ITEM: Final = {"anyOf": [*({"$ref": f"#/components/schemas/{kind.__name__}"} for kind in ITEMS), _OTHER_ITEM]}
_INPUT: Final = {
    "input": {
        "anyOf": [{"type": "string"}, {"type": "array", "items": _ITEM}, {"type": "null"}],
        "description": "A text, or items. Items of other types than those here are ignored.",
    }
}

RULES: Final[Mapping[type, Fields]] = {
    OpenAIMessage: {
        "anyOf": [
            {"properties": {"role": {"enum": sorted(MAY_BE_SILENT)}}},
            {"properties": {"content": {"type": ["string", "array"]}}, "required": ["content"]},
        ]
    },
    Part: {
        "anyOf": [
            {"properties": {"type": {"not": {"enum": sorted(MUST_HAVE_TEXT)}}}},
            {"properties": {"text": {"type": "string"}}, "required": ["text"]},
        ]
    },
    ChatCompletionRequest: _STREAMED,
    TextCompletionRequest: _STREAMED,
}
"""Rules in addition to the types of fields."""

PROPERTIES: Final[Mapping[type, Fields]] = {
    TextCompletionRequest: {
        "prompt": {
            "anyOf": [*_text_schemas(MAX_ANSWERS, 0, LAST_TOKEN), {"type": "null"}],
            "description": f"One prompt or several. The number of prompts times `n` is at most {MAX_ANSWERS}.",
        }
    },
    ResponseParameters: _INPUT,
    InputFields: _INPUT,
    EmbeddingRequest: {"input": {"anyOf": _text_schemas(MAX_INPUTS, 1, LAST_CL100K_TOKEN)}},
}
"""Fields with an exact schema that their types cannot express."""


@dataclass
class _Document(OpenAPI):
    """A document with exact schemas of request bodies."""

    def to_schema(self) -> Fields:
        document = super().to_schema()
        components = document["components"]["schemas"]
        for name, schema in exact_schemas().items():
            kept = {key: value for key, value in components.get(name, {}).items() if key in {"title", "examples"}}
            components[name] = {**schema, **kept}
        return document


class ExactConfig(OpenAPIConfig):
    """Litestar's configuration for a document with exact schemas of request bodies."""

    def to_openapi_schema(self) -> OpenAPI:
        plain = super().to_openapi_schema()
        return _Document(**{field.name: getattr(plain, field.name) for field in fields(plain)})


def exact_schemas() -> Fields:
    """Return the schemas of bodies and of their parts, by the names of their components."""
    _, found = msgspec.json.schema_components(BODIES, ref_template="#/components/schemas/{name}")
    names = {kind.__name__: str(getattr(kind, "__schema_name__", kind.__name__)) for kind in (*BODIES, *RULES)}
    schemas = {names.get(name, name): dict(_clean(schema, names)) for name, schema in found.items()}
    for kind, rule in RULES.items():
        schemas[names[kind.__name__]] |= rule
    for kind, properties in PROPERTIES.items():
        schemas[names[kind.__name__]]["properties"] |= properties
    return schemas


def _clean(schema: Fields, names: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield the items of a schema without docstrings and null defaults, with the names of components."""
    for key, value in schema.items():
        if key == "$ref":
            start, _, name = value.rpartition("/")
            yield key, f"{start}/{names.get(name, name)}"
        elif isinstance(value, dict):
            yield key, dict(_clean(value, names))
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            yield key, [dict(_clean(one, names)) for one in value]
        elif (key, value) != ("default", None) and key != "description":
            yield key, value
