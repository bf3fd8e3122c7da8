"""Tools, the choice of tools, and the form of an answer, as the Responses API writes them: without nesting."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from mimic.engine.base import TEXT, AnswerFormat, Tool, ToolChoice
from mimic.errors import RequestError
from mimic.wire.json import convert
from mimic.wire.openai.ignored import OTHER, SAFE_NAME
from mimic.wire.openai.parts import missing
from mimic.wire.openai.tools import (
    AnyDefinition,
    CustomDefinition,
    FunctionDefinition,
    JsonObjectFormat,
    JsonSchemaFormat,
    TextFormat,
    choice_among,
    defined_tools,
    json_object_format,
    schema_format,
)

RawTool: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["none", "auto", "required"]

_DEFINITIONS: Final[Mapping[str, type[AnyDefinition]]] = {"function": FunctionDefinition, "custom": CustomDefinition}
NO_JSON: Final = (
    "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'."
)


class NamedTool(msgspec.Struct, frozen=True):
    """The choice of one tool: its type, and the name of a function or of a custom tool."""

    type: str
    name: str | None = None


class AllowedNames(msgspec.Struct, frozen=True):
    """The choice of some tools; the model may or must call one of them."""

    mode: Literal["auto", "required"]
    tools: Annotated[Sequence[NamedTool], msgspec.Meta(min_length=1)]


class ResponseSchemaFormat(JsonSchemaFormat, frozen=True, tag_field="type", tag="json_schema"):
    """An answer that is JSON by a schema."""


ResponseFormat: TypeAlias = TextFormat | JsonObjectFormat | ResponseSchemaFormat


class TextOptions(msgspec.Struct, frozen=True):
    """The form of an answer. The verbosity is ignored."""

    format: ResponseFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


async def tools_of(tools: Sequence[RawTool]) -> tuple[Sequence[Tool], Sequence[str]]:
    """Check the tools of a request. Return functions and custom tools, and the names of the ignored tools.

    Raises RequestError.
    """
    definitions: list[tuple[str, AnyDefinition]] = []
    ignored: dict[str, None] = {}
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        kind = tool.get("type")
        if kind is None:
            raise missing(f"{path}.type")
        if definition := _DEFINITIONS.get(kind) if isinstance(kind, str) else None:
            definitions.append((path, convert(tool, definition, path)))
        else:
            ignored[f"tools.{kind if isinstance(kind, str) and SAFE_NAME(kind) else OTHER}"] = None
    return await defined_tools(definitions), list(ignored)


def choice_of(given: Mode | RawTool | None, tools: Sequence[Tool]) -> ToolChoice:
    """Check ``tool_choice``, and return it in neutral form. The choice of an ignored tool is ``auto``.

    Raises RequestError.
    """
    if given is None:
        return ToolChoice()
    if isinstance(given, str):
        return ToolChoice(given if tools else "auto")
    if given.get("type") == "allowed_tools":
        allowed = convert(given, AllowedNames, "tool_choice")
        names = [tool.name for tool in allowed.tools if tool.type in _DEFINITIONS and tool.name is not None]
        return choice_among(names, tools, "tool_choice.tools", allowed.mode)
    chosen = convert(given, NamedTool, "tool_choice")
    if chosen.type not in _DEFINITIONS:
        return ToolChoice()
    if chosen.name is None:
        raise missing("tool_choice.name")
    return choice_among([chosen.name], tools, "tool_choice")


def check_required(given: Mode | RawTool | None, tools: Sequence[RawTool]) -> None:
    """Raises RequestError for the choice of a tool without tools."""
    if not tools and (given == "required" or isinstance(given, dict)):
        text = "Tool choices other than 'auto' and 'none' are only allowed when 'tools' are specified."
        raise RequestError(400, text, param="tool_choice")


async def format_of(given: ResponseFormat | None, texts: Sequence[str | None]) -> AnswerFormat:
    """Check ``text.format``, and return it in neutral form. ``texts`` is the input. Raises RequestError."""
    if given is None or isinstance(given, TextFormat):
        return TEXT
    if isinstance(given, JsonObjectFormat):
        return json_object_format(texts, NO_JSON, "input")
    return await schema_format(given, "text.format.schema")
