"""Leaves of an instance: scalars, and members of an enum."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from mimic.engine.instances import scalars
from mimic.engine.instances.choices import Choices, Impossible, Place
from mimic.engine.instances.keywords import LEAF, Part, Type, draft_of, equal, has_type, is_leaf
from mimic.engine.instances.schema import Node, validator_of
from mimic.engine.instances.values import Field, JsonValue, Values

MAX_CANDIDATES: Final = 40
MAX_ALTERNATIVES: Final = 8
"""Values to try for a scalar while the whole instance is invalid."""
VARIANTS: Final = 12


class LeafMaker:
    """Makes leaves, which its own validators check."""

    def __init__(self, root: Node, values: Values, choices: Choices) -> None:
        self._root = root
        self._values = values
        self._choices = choices
        self._validators: dict[tuple[int, ...], Any] = {}

    def member(self, parts: Sequence[Part], place: Place) -> JsonValue:
        """A member of the enums, or the constant. Raises Impossible."""
        lists: list[list[JsonValue]] = [
            [part["const"]] if "const" in part else part["enum"] for part in parts if "const" in part or "enum" in part
        ]
        members = [value for value in lists[0] if all(_has(members, value) for members in lists[1:])]
        validator = self._validator(parts)
        members = [value for value in members if isinstance(value, (list, dict)) or validator.is_valid(value)]
        if not members:
            raise Impossible(place.path, "no member of its enum meets the rest of the schema")
        if len(members) > 1:
            preferred = self._preferred(members, parts, place.field)
            members = [*preferred, *[value for value in members if not _has(preferred, value)]]
        return members[(self._choices.choose(place, len(members)) + place.variant) % len(members)]

    def _preferred(self, members: Sequence[JsonValue], parts: Sequence[Part], field: Field) -> list[JsonValue]:
        """The members that the source mentions, then the defaults; null if the source has nothing for the field."""
        preferred: list[JsonValue] = [value for value in self._values.mentions(members, field) if value in members]
        preferred += [part["default"] for part in parts if "default" in part and part["default"] in members]
        if None in members and not preferred and not self._values.knows(field):
            return [None]
        return preferred

    def scalar(self, parts: Sequence[Part], kind: Type, place: Place) -> JsonValue:
        """A string, number or boolean. Raises Impossible."""
        validator = self._validator(parts)
        candidates = islice(self._candidates(parts, kind, place), 3 * MAX_CANDIDATES)
        valid = (value for value in candidates if has_type(value, kind) and validator.is_valid(value))
        tried = list(islice(valid, 1 + self._choices.choose(place, MAX_ALTERNATIVES)))
        if not tried:
            raise Impossible(place.path, f"no {kind} that meets the schema was found")
        return tried[-1]

    def _candidates(self, parts: Sequence[Part], kind: Type, place: Place) -> Iterator[JsonValue]:
        """Values for a scalar, the best first: from the source, from the schema, and generated ones."""
        variant = place.variant
        if not variant:
            yield from islice(self._from_source(kind, place.field), MAX_CANDIDATES)
        examples = [part["default"] for part in parts if "default" in part]
        examples += [value for part in parts if isinstance(part.get("examples"), list) for value in part["examples"]]
        yield from examples[variant:]
        for number in range(variant, variant + VARIANTS):
            if kind == "string":
                yield from scalars.strings(parts, place.field.name, number)
            elif kind == "boolean":
                yield number % 2 == 0
            else:
                yield from scalars.numbers(parts, kind == "integer", number)

    def _from_source(self, kind: Type, field: Field) -> Iterator[JsonValue]:
        if kind == "string":
            yield from self._values.strings(field)
        elif kind == "boolean":
            yield from self._values.booleans(field)
        elif kind == "integer":
            yield from (int(value) if float(value).is_integer() else value for value in self._values.numbers(field))
        else:
            yield from self._values.numbers(field)

    def _validator(self, parts: Sequence[Part]) -> Any:
        """A validator of a scalar by all parts."""
        key = tuple([id(part) for part in parts])
        found = self._validators.get(key)
        if found is None:
            rules: list[Node] = [
                {name: part[name] for name in LEAF & part.keys() if name != "not" or is_leaf(part[name])}
                for part in parts
            ]
            found = self._validators[key] = validator_of({"allOf": rules or [True], **draft_of(self._root)})
        return found


def _has(members: Sequence[JsonValue], value: JsonValue) -> bool:
    return any(equal(value, member) for member in members)
