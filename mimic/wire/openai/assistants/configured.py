"""Assistants of a file: a JSON object with the fields of each assistant by its id."""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from mimic.engine.instances.schema import JsonSchema, SchemaProblem
from mimic.wire.openai.assistants.objects import RETRIEVAL, TOOLS, AssistantFields
from mimic.wire.openai.tools import FunctionTool

_decoder: Final = msgspec.json.Decoder(
    dict[Annotated[str, msgspec.Meta(min_length=1, max_length=200)], AssistantFields]
)


def parse_assistants(text: bytes) -> Mapping[str, AssistantFields]:
    """Read the assistants of a file. Raises ValueError with the place of the problem."""
    try:
        found = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ValueError(f"expected a JSON object with the fields of each assistant by its id: {exc}") from None
    for assistant_id, fields in found.items():
        for index, tool in enumerate(fields.tools or ()):
            try:
                _check(tool)
            except (msgspec.ValidationError, SchemaProblem, ValueError) as exc:
                raise ValueError(f"the tool {index} of {assistant_id!r} is invalid: {exc}") from None
    return found


def _check(tool: dict[str, object]) -> None:
    """Raises an error for a tool of an unknown type, or for a function without a valid schema."""
    if tool.get("type") not in {*TOOLS, RETRIEVAL}:
        raise ValueError(f"expected one of the types {', '.join(TOOLS)}, not {tool.get('type')!r}")
    if tool["type"] == "function":
        JsonSchema(msgspec.convert(tool, FunctionTool).function.parameters or {})
