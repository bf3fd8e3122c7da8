"""Violations: what msgspec finds wrong with a request, in OpenAI's words and with its codes. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

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


def violation_in(said: str) -> Violation:
    """The violation in a body that a msgspec.ValidationError tells, as "Expected `int`, got `str` - at `$.n`"."""
    message, _, place = said.partition(" - at ")
    return violation_at(message, place.strip("`").removeprefix("$").removeprefix("."))


def violation_at(message: str, path: str) -> Violation:
    """A violation at a path, which is empty for the body as a whole."""
    if found := re.fullmatch(r"Object missing required field `(.+)`", message):
        path = f"{path}.{found[1]}" if path else found[1]
        return Violation(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
    if found := re.match(r"Missing required query parameter '(\w+)'", message):
        return Violation(f"Missing required parameter: '{found[1]}'.", found[1], "missing_required_parameter")
    text, code = _worded(message, f"'{path}'" if path else "the body")
    if path in _ALLOWED:
        text += f" Expected one of {', '.join(_ALLOWED[path])}."
    return Violation(text, path or None, code)


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
