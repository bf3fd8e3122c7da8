"""Tools in OpenAI's formats: definitions, the choice of tools, and calls; also the forms of answers."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from mimic.engine.base import TEXT, AnswerFormat, Tool, ToolCall, ToolChoice
from mimic.engine.instances.schema import JsonSchema, SchemaProblem
from mimic.errors import RequestError

MAX_TOOLS: Final = 128
LARGE: Final = 8 * 1024
"""Bytes of a schema that is checked in a thread."""
MAX_STRICT_DEPTH: Final = 10
MAX_STRICT_PROPERTIES: Final = 5_000
NOT_STRICT: Final = (
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
)
"""Keywords that OpenAI does not permit in a strict schema."""

Name: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]+$", min_length=1, max_length=64)]
SchemaDocument: TypeAlias = dict[str, Any]


class FunctionDefinition(msgspec.Struct, frozen=True):
    """A function that the model may call. A JSON schema describes its parameters."""

    name: Name
    description: str | None = None
    parameters: SchemaDocument | None = None
    strict: bool | None = None


class CustomDefinition(msgspec.Struct, frozen=True):
    """A tool that takes a text. Its ``format``, text or a grammar, is accepted and ignored."""

    name: Name
    description: str | None = None
    format: Mapping[str, Any] | None = None


class FunctionTool(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A tool of a request: a function."""

    function: FunctionDefinition


class CustomTool(msgspec.Struct, frozen=True, tag_field="type", tag="custom"):
    """A tool of a request: a custom tool."""

    custom: CustomDefinition


def has_grammar(tools: Sequence[FunctionTool | CustomTool]) -> bool:
    """True if a custom tool limits its input by a grammar, which calls of Mimic do not follow."""
    formats = [tool.custom.format for tool in tools if isinstance(tool, CustomTool)]
    return any(form is not None and form.get("type") == "grammar" for form in formats)


class Named(msgspec.Struct, frozen=True):
    """A tool by its name."""

    name: str


class FunctionNamed(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """The choice of a function."""

    function: Named


class CustomNamed(msgspec.Struct, frozen=True, tag_field="type", tag="custom"):
    """The choice of a custom tool."""

    custom: Named


class AllowedTools(msgspec.Struct, frozen=True):
    """Some of the tools; the model may or must call one of them."""

    mode: Literal["auto", "required"]
    tools: Annotated[Sequence[FunctionNamed | CustomNamed], msgspec.Meta(min_length=1)]


class AllowedChoice(msgspec.Struct, frozen=True, tag_field="type", tag="allowed_tools"):
    """The choice of some tools."""

    allowed_tools: AllowedTools


class JsonSchemaFormat(msgspec.Struct, frozen=True):
    """The schema of an answer, and its name."""

    name: Name
    schema: SchemaDocument
    description: str | None = None
    strict: bool | None = None


class TextFormat(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """An answer that is a text."""


class JsonObjectFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_object"):
    """An answer that is a JSON object."""


class SchemaFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_schema"):
    """An answer that is JSON by a schema."""

    json_schema: JsonSchemaFormat


class FunctionCall(msgspec.Struct, frozen=True):
    """The call of a function. Its arguments are JSON in a string."""

    name: str
    arguments: str


class CustomInput(msgspec.Struct, frozen=True):
    """The call of a custom tool."""

    name: str
    input: str


class FunctionToolCall(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A call of a function, with its id."""

    id: str
    function: FunctionCall


class CustomToolCall(msgspec.Struct, frozen=True, tag_field="type", tag="custom"):
    """A call of a custom tool, with its id."""

    id: str
    custom: CustomInput


AnyDefinition: TypeAlias = FunctionDefinition | CustomDefinition
AnyTool: TypeAlias = FunctionTool | CustomTool
AnyChoice: TypeAlias = Literal["none", "auto", "required"] | FunctionNamed | CustomNamed | AllowedChoice
AnyToolCall: TypeAlias = FunctionToolCall | CustomToolCall
AnyFormat: TypeAlias = TextFormat | JsonObjectFormat | SchemaFormat


def calls_of(calls: Sequence[AnyToolCall] | None, old: FunctionCall | None = None) -> Sequence[ToolCall]:
    """The calls of a message in neutral form; an ``old`` call has no id."""
    found = [
        ToolCall(call.id, call.function.name, call.function.arguments)
        if isinstance(call, FunctionToolCall)
        else ToolCall(call.id, call.custom.name, call.custom.input, is_custom=True)
        for call in calls or ()
    ]
    return [*found, ToolCall("", old.name, old.arguments)] if old else found


def render(call: ToolCall) -> AnyToolCall:
    """A call in OpenAI's form."""
    if call.is_custom:
        return CustomToolCall(call.id, CustomInput(call.name, call.arguments))
    return FunctionToolCall(call.id, FunctionCall(call.name, call.arguments))


async def tools_of(tools: Sequence[AnyTool], functions: Sequence[FunctionDefinition]) -> Sequence[Tool]:
    """Check the tools of a chat, and return them in neutral form. Raises RequestError."""
    found: list[tuple[str, AnyDefinition]] = [
        (f"tools[{index}].custom", tool.custom)
        if isinstance(tool, CustomTool)
        else (f"tools[{index}].function", tool.function)
        for index, tool in enumerate(tools)
    ]
    found += [(f"functions[{index}]", function) for index, function in enumerate(functions)]
    return await defined_tools(found)


async def defined_tools(definitions: Sequence[tuple[str, AnyDefinition]]) -> Sequence[Tool]:
    """Check definitions of tools, and return them in neutral form. Each has its path. Raises RequestError."""
    tools: dict[str, Tool] = {}
    for path, definition in definitions:
        if isinstance(definition, CustomDefinition):
            source = msgspec.json.encode(definition).decode()
            tool = Tool(definition.name, definition.description or "", None, is_custom=True, source=source)
        else:
            tool = await _function(definition, path)
        if tool.name in tools:
            param = f"{path}.name"
            raise _refusal(f"Invalid '{param}': the name '{tool.name}' is used twice.", param, "invalid_value")
        tools[tool.name] = tool
    return list(tools.values())


async def _function(function: FunctionDefinition, path: str) -> Tool:
    schema, param = None, f"{path}.parameters"
    if function.parameters is not None:
        context = f"function '{function.name}'"
        schema = await schema_of(
            function.parameters, bool(function.strict), context, param, "invalid_function_parameters"
        )
        root = schema.root
        if isinstance(root, bool) or root.get("type", "object") != "object":
            problem = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {_type_of(root)}'."
            raise _refusal(f"Invalid schema for {context}: {problem}", param, "invalid_function_parameters")
    source = msgspec.json.encode(function).decode()
    return Tool(function.name, function.description or "", schema, source=source, param=param)


def choice_of(given: AnyChoice | None, tools: Sequence[Tool]) -> ToolChoice:
    """Check ``tool_choice``, and return it in neutral form. Raises RequestError."""
    if given is None:
        return ToolChoice()
    if not tools:
        text = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
        raise _refusal(text, "tool_choice", None)
    if isinstance(given, str):
        return ToolChoice(given)
    if isinstance(given, AllowedChoice):
        names = [_name_of(tool) for tool in given.allowed_tools.tools]
        return choice_among(names, tools, "tool_choice.allowed_tools.tools", given.allowed_tools.mode)
    return choice_among([_name_of(given)], tools, "tool_choice")


def choice_among(
    names: Sequence[str], tools: Sequence[Tool], param: str, mode: Literal["auto", "required"] = "required"
) -> ToolChoice:
    """The choice of some tools. Raises RequestError for an unknown name."""
    known = {tool.name for tool in tools}
    for name in names:
        if name not in known:
            text = f"Tool choice '{name}' not found in 'tools' parameter."
            if param == "function_call":
                text = f"Function '{name}' not found in 'functions' parameter."
            raise _refusal(text, param, None)
    return ToolChoice(mode, frozenset(names))


def old_choice_of(given: Literal["none", "auto"] | Named | None, tools: Sequence[Tool]) -> ToolChoice:
    """Check the deprecated ``function_call``, and return it in neutral form. Raises RequestError."""
    if given is None:
        return ToolChoice()
    if not tools:
        text = "Invalid value for 'function_call': 'function_call' is only allowed when 'functions' are specified."
        raise _refusal(text, "function_call", None)
    if isinstance(given, Named):
        return choice_among([given.name], tools, "function_call")
    return ToolChoice(given)


async def format_of(given: AnyFormat | None, texts: Sequence[str | None]) -> AnswerFormat:
    """Check ``response_format``, and return it in neutral form. ``texts`` is the chat. Raises RequestError."""
    if given is None or isinstance(given, TextFormat):
        return TEXT
    if isinstance(given, JsonObjectFormat):
        problem = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )
        return json_object_format(texts, problem, "messages")
    return await schema_format(given.json_schema, "response_format")


def json_object_format(texts: Sequence[str | None], problem: str, param: str) -> AnswerFormat:
    """The format of any JSON object. Raises RequestError if no text of the chat has the word JSON."""
    if not any("json" in (text or "").lower() for text in texts):
        raise _refusal(problem, param, None)
    return AnswerFormat("json_object")


async def schema_format(given: JsonSchemaFormat, param: str) -> AnswerFormat:
    """The format of JSON by a schema. Raises RequestError for an invalid schema."""
    context = f"response_format '{given.name}'"
    schema = await schema_of(given.schema, bool(given.strict), context, param, None)
    return AnswerFormat("json_schema", schema, param)


async def schema_of(document: SchemaDocument, strict: bool, context: str, param: str, code: str | None) -> JsonSchema:
    """Check a schema of a request. Raises RequestError."""
    source = msgspec.json.encode(document)
    try:
        if len(source) > LARGE:
            return await asyncio.to_thread(_schema, source, strict)
        return _schema(source, strict)
    except SchemaProblem as exc:
        place = ", ".join(repr(part) for part in exc.path)
        place = f"({place},)" if len(exc.path) == 1 else f"({place})"
        raise _refusal(f"Invalid schema for {context}: In context={place}, {exc.reason}.", param, code) from None


@lru_cache(maxsize=64)
def _schema(source: bytes, strict: bool) -> JsonSchema:
    schema = JsonSchema(msgspec.json.decode(source))
    if strict:
        _check_strict(schema)
    return schema


def _check_strict(schema: JsonSchema) -> None:
    """Raises SchemaProblem for a schema that OpenAI's structured outputs do not accept."""
    root = schema.root
    if isinstance(root, bool) or root.get("type") != "object":
        raise SchemaProblem((), f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {_type_of(root)}'")
    if "anyOf" in root:
        raise SchemaProblem((), "'anyOf' is not permitted at the root")
    for node, path in schema.nodes:
        _check_strict_node(node, path)
    if sum(len(node.get("properties") or ()) for node, _ in schema.nodes) > MAX_STRICT_PROPERTIES:
        raise SchemaProblem((), f"at most {MAX_STRICT_PROPERTIES:,} properties are permitted")


def _check_strict_node(node: Mapping[str, Any], path: Sequence[str | int]) -> None:
    for keyword in NOT_STRICT:
        if keyword in node:
            raise SchemaProblem(path, f"'{keyword}' is not permitted")
    kinds = node.get("type")
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]) and "properties" not in node:
        return
    if node.get("additionalProperties") is not False:
        raise SchemaProblem(path, "'additionalProperties' is required to be supplied and to be false")
    missing = [name for name in node.get("properties") or () if name not in (node.get("required") or ())]
    if missing:
        text = "'required' is required to be supplied and to be an array including every key in properties. Missing "
        raise SchemaProblem(path, text + repr(missing[0]))
    if sum(part == "properties" for part in path) >= MAX_STRICT_DEPTH:
        raise SchemaProblem(path, f"at most {MAX_STRICT_DEPTH} levels of nesting are permitted")


def _name_of(choice: FunctionNamed | CustomNamed) -> str:
    return choice.function.name if isinstance(choice, FunctionNamed) else choice.custom.name


def _type_of(root: bool | Mapping[str, Any]) -> str:
    kind = root.get("type") if isinstance(root, Mapping) else None
    return f'"{kind}"' if isinstance(kind, str) else "None"


def _refusal(text: str, param: str, code: str | None) -> RequestError:
    return RequestError(400, text, param=param, code=code)
