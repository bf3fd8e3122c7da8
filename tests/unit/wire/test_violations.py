"""Violations: the allowed words of a type."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Literal

import msgspec
import pytest

from mimic.wire.violations import allowed_at, violation_in


class Colour(Enum):
    """An enumeration of words."""

    RED = "red"
    BLUE = "blue"


class Leaf(msgspec.Struct):
    """Words in every possible place."""

    kind: Literal["z", "a"] | None = None
    colour: Annotated[Colour, msgspec.Meta(description="x")] = Colour.RED
    renamed: Literal["only"] = msgspec.field(default="only", name="from")
    text: str = ""


class Tree(msgspec.Struct):
    """Leaves in arrays and mappings."""

    leaves: Annotated[Sequence[Leaf], msgspec.Meta(min_length=1)] | str
    named: Mapping[str, Leaf | int] = {}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("leaves[0].kind", ["z", "a"]),
        ("leaves[12].colour", ["red", "blue"]),
        ("leaves[0].from", ["only"]),
        ("named[...].kind", ["z", "a"]),
        ("leaves[0].text", []),
        ("leaves", []),
        ("", []),
        ("nowhere[0].x", []),
    ],
)
def test_allowed_words_are_found_in_the_type(path: str, allowed: list[str]) -> None:
    """Words come in the order of the type."""
    assert list(allowed_at(Tree, path)) == allowed


@pytest.mark.parametrize(
    "body",
    [b'{"leaves": [{"kind": "b"}]}', b'{"leaves": "", "named": {"x": {"kind": "b"}}}', b'{"leaves": [{"kind": ""}]}'],
)
def test_a_violation_names_the_allowed_words(body: bytes) -> None:
    """The allowed words are listed for any message of the decoder."""
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.json.decode(body, type=Tree)
    violation = violation_in(str(raised.value), Tree)
    assert violation.message.endswith(" Expected one of z, a.")
    assert violation.code == "invalid_value"
