"""Violations: what msgspec finds wrong with a request, in OpenAI's words and with its codes. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import inspect

from mimic.corpus.conversation import SENDERS
from mimic.corpus.ladder import RUNGS
from mimic.corpus.schemas import VERSIONS

_KINDS: Final[Mapping[str, str]] = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}

_ALLOWED: Final[Mapping[str, Sequence[str]]] = {"version": VERSIONS, "match": RUNGS, "role": tuple(SENDERS)}
"""Query parameters that are one of some words."""


class Violation(msgspec.Struct, frozen=True):
    """What is told of it: ``param`` is the path of the field, None where it is the body as a whole."""

    message: str
    param: str | None
    code: str


def violation_in(said: str, expected: Any) -> Violation:
    """The violation in a body that a msgspec.ValidationError tells, as "Expected `int`, got `str` - at `$.n`".

    ``expected`` is the type of the body.
    """
    message, _, place = said.partition(" - at ")
    path = place.strip("`").removeprefix("$").removeprefix(".")
    return violation_at(message, path, _words_at(path, expected) if message.startswith("Invalid enum value") else ())


def violation_at(message: str, path: str, words: Sequence[str] = ()) -> Violation:
    """A violation at a path, which is empty for the body as a whole; ``words`` are those that may stand there."""
    if found := re.fullmatch(r"Object missing required field `(.+)`", message):
        path = f"{path}.{found[1]}" if path else found[1]
        return Violation(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
    if found := re.match(r"Missing required query parameter '(\w+)'", message):
        return Violation(f"Missing required parameter: '{found[1]}'.", found[1], "missing_required_parameter")
    text, code = _worded(message, f"'{path}'" if path else "the body")
    if words := _ALLOWED.get(path, words):
        text += f" Expected one of {', '.join(words)}."
    return Violation(text, path or None, code)


def _words_at(path: str, expected: Any) -> Sequence[str]:
    """The words that a type allows at a path, such as ``messages[0].role``."""
    kinds = _alternatives(inspect.type_info(expected))
    for step in re.finditer(r"(?P<name>\w+)(?![\w\]])|\[", path):
        kinds = [inner for kind in kinds for inner in _alternatives(*_within(kind, step["name"]))]
    return [str(value) for kind in kinds if isinstance(kind, inspect.LiteralType) for value in kind.values]


def _alternatives(*kinds: inspect.Type) -> list[inspect.Type]:
    return [one for kind in kinds for one in (kind.types if isinstance(kind, inspect.UnionType) else (kind,))]


def _within(kind: inspect.Type, name: str | None) -> Iterator[inspect.Type]:
    """The types of a field, or of the items if there is no name."""
    if isinstance(kind, inspect.StructType):
        yield from [field.type for field in kind.fields if field.encode_name == name]
    elif isinstance(kind, inspect.CollectionType) and name is None:
        yield kind.item_type


def _worded(message: str, where: str) -> tuple[str, str]:
    if found := re.fullmatch(r"Expected `(.+)`, got `(.+)`", message):
        expected = [_KINDS.get(kind, kind) for kind in sorted(found[1].split(" | "), key=lambda kind: kind == "null")]
        got = _KINDS.get(found[2], found[2])
        return f"Invalid type for {where}: expected {' or '.join(expected)}, but got {got} instead.", "invalid_type"
    if found := re.fullmatch(r"Expected `(int|float)` ([<>]=?) (.+)", message):
        kind = "integer" if found[1] == "int" else "decimal"
        side, end = ("above", "maximum") if found[2].startswith("<") else ("below", "minimum")
        text = f"Invalid {where}: {kind} {side} {end} value. Expected a value {found[2]} {found[3]}."
        return text, f"{kind}_{side}_{end[:3]}_value"
    if found := re.fullmatch(r"Expected `(array|str)` of length ([<>]=) (\d+)", message):
        kind = "array" if found[1] == "array" else "string"
        if found[2] == ">=":
            return f"Invalid {where}: the {kind} is empty. Expected a length of at least {found[3]}.", f"empty_{kind}"
        text = f"Invalid {where}: the {kind} is too long. Expected a length of at most {found[3]}."
        return text, f"{kind}_above_max_length"
    return f"Invalid value for {where}: {message}.", "invalid_value"
