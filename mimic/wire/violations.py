"""Violations: validation errors of msgspec in OpenAI's wording, with OpenAI's codes. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

_KINDS: Final[Mapping[str, str]] = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}


class Violation(msgspec.Struct, frozen=True):
    """A validation error. ``param`` is the path of the field; None means the whole body."""

    message: str
    param: str | None
    code: str


def violation_in(error: str, kind: Any, prefix: str = "") -> Violation:
    """The violation in a msgspec.ValidationError such as "Expected `int`, got `str` - at `$.n`".

    ``kind`` is the expected type of the whole document, or of the part of it at the path ``prefix``.
    """
    message, _, place = error.partition(" - at ")
    inner = place.strip("`").removeprefix("$")
    path = inner.removeprefix(".")
    return violation_at(
        message, f"{prefix}{inner}" if prefix else path, allowed_at(kind, path) if is_of_words(message) else ()
    )


def is_of_words(message: str) -> bool:
    """True if the problem is a value outside a set of words."""
    return message.startswith("Invalid enum value")


def violation_at(message: str, path: str, allowed: Sequence[str] = ()) -> Violation:
    """A violation at a path, which is empty for the whole document. ``allowed`` holds the words to choose from."""
    if found := re.fullmatch(r"Object missing required field `(.+)`", message):
        path = f"{path}.{found[1]}" if path else found[1]
        return Violation(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
    if found := re.match(r"Missing required query parameter '(\w+)'", message):
        return Violation(f"Missing required parameter: '{found[1]}'.", found[1], "missing_required_parameter")
    text, code = _word(message, f"'{path}'" if path else "the body")
    if allowed:
        text += f" Expected one of {', '.join(allowed)}."
    return Violation(text, path or None, code)


@lru_cache(maxsize=256)
def allowed_at(kind: Any, path: str) -> Sequence[str]:
    """The words that a type allows at a path, for example ``messages[0].role``; empty if any text is allowed."""
    kinds = [kind]
    for step in re.findall(r"\[[^\]]*\]|[^.\[]+", path):
        kinds = [inner for outer in kinds for member in _members(outer) for inner in _inside(member, step)]
    words: dict[Any, None] = {}
    for one in (member for outer in kinds for member in _members(outer)):
        if get_origin(one) is Literal:
            words.update(dict.fromkeys(get_args(one)))
        elif isinstance(one, type) and issubclass(one, Enum):
            words.update(dict.fromkeys(member.value for member in one))
    return [str(word) for word in words]


def _members(kind: Any) -> Iterator[Any]:
    """The types in a union, or the type itself, without annotations."""
    if get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from _members(member)
    else:
        yield kind


def _inside(kind: Any, step: str) -> Iterator[Any]:
    """The type of a field of an object, or of the items of an array or mapping."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from (field.type for field in msgspec.structs.fields(kind) if field.encode_name == step)
    elif get_origin(kind) is not None:
        yield from get_args(kind)[-1:]


def _word(message: str, where: str) -> tuple[str, str]:
    """The message in OpenAI's wording, and its code."""
    if found := re.fullmatch(r"Expected `(.+)`, got `(.+)`", message):
        expected = [_KINDS.get(kind, kind) for kind in sorted(found[1].split(" | "), key=lambda kind: kind == "null")]
        got = _KINDS.get(found[2], found[2])
        return f"Invalid type for {where}: expected {' or '.join(expected)}, but got {got} instead.", "invalid_type"
    if found := re.fullmatch(r"Expected `(int|float)` ([<>]=?) (.+)", message):
        kind = "integer" if found[1] == "int" else "decimal"
        side, end = ("above", "maximum") if found[2].startswith("<") else ("below", "minimum")
        text = f"Invalid {where}: {kind} {side} {end} value. Expected a value {found[2]} {found[3]}."
        return text, f"{kind}_{side}_{end[:3]}_value"
    if found := re.fullmatch(r"Expected `object` of length <= (\d+)", message):
        text = f"Invalid {where}: too many properties. Expected an object with at most {found[1]} properties."
        return text, "object_above_max_properties"
    if found := re.fullmatch(r"Expected `(array|str)` of length ([<>]=) (\d+)", message):
        kind = "array" if found[1] == "array" else "string"
        if found[2] == ">=":
            return f"Invalid {where}: the {kind} is empty. Expected a length of at least {found[3]}.", f"empty_{kind}"
        text = f"Invalid {where}: the {kind} is too long. Expected a length of at most {found[3]}."
        return text, f"{kind}_above_max_length"
    return f"Invalid value for {where}: {message}.", "invalid_value"
