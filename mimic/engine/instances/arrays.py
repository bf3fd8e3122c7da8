"""Arrays of an instance: the number of their items, and the items."""

from collections.abc import Callable, Sequence
from typing import Final

from mimic.engine.instances.choices import Choices, Impossible, Path, Place
from mimic.engine.instances.combinations import OPTIONAL_DEPTH
from mimic.engine.instances.keywords import Part, equal, largest, prefix_of, rest_of, smallest
from mimic.engine.instances.schema import Node
from mimic.engine.instances.values import Field, JsonValue, Values

MAX_ITEMS: Final = 2_000
MAX_TRIES: Final = 24
"""Values to try for an item that must differ from the others."""


class ArrayMaker:
    """Makes arrays. ``node`` makes a value from its schemas, its path, its field and a variant."""

    def __init__(
        self, values: Values, choices: Choices, node: Callable[[Sequence[Node], Path, Field, int], JsonValue]
    ) -> None:
        self._values = values
        self._choices = choices
        self._node = node

    def make(self, parts: Sequence[Part], place: Place) -> JsonValue:
        """An array. Raises Impossible."""
        fixed = max([len(prefix_of(part)) for part in parts], default=0)
        contained = [
            part["contains"] for part in parts if "contains" in part for _ in range(int(part.get("minContains", 1)))
        ]
        count = self._count(parts, place, fixed, len(contained))
        start = max(0, min(fixed, count - len(contained)))
        is_unique = any(part.get("uniqueItems") is True for part in parts)
        needed = max(largest(parts, "minItems"), fixed, start + len(contained))
        made: list[JsonValue] = []
        for index in range(count):
            schemas = _schemas_of(parts, index)
            if start <= index < start + len(contained):
                schemas.append(contained[index - start])
            item = Field(place.field.name, place.field.description, index=index, item=place.field.item)
            value = self._item(schemas, place.below(index), item, made if is_unique else ())
            if isinstance(value, dict) and index >= needed and any(equal(value, other) for other in made):
                break  # the source has no more values of its own
            made.append(value)
        return made

    def _count(self, parts: Sequence[Part], place: Place, fixed: int, contained: int) -> int:
        """The number of items."""
        least = largest(parts, "minItems")
        has_rest = any(rest_of(part) is not None for part in parts)
        limits = [len(prefix_of(part)) for part in parts if rest_of(part) is False]
        limits += [fixed for part in parts if part.get("unevaluatedItems") is False and not has_rest]
        most = min([smallest(parts, "maxItems", MAX_ITEMS), *limits])
        if least > most or least > MAX_ITEMS:
            raise Impossible(place.path, f"it needs {least:,} items, and at most {most:,} can be made")
        length = self._values.length(place.field)
        usual = fixed or (1 if length is None else length)
        if len(place.path) >= OPTIONAL_DEPTH and not fixed:
            usual = 0
        wanted = (max(usual, contained), fixed + contained, 1, 2, 0, 3, fixed + 1)
        counts = list(dict.fromkeys(min(most, max(least, count)) for count in wanted))
        return counts[self._choices.choose(place, len(counts))]

    def _item(self, schemas: Sequence[Node], path: Path, field: Field, others: Sequence[JsonValue]) -> JsonValue:
        """An item that equals none of the others."""
        value = self._node(schemas, path, field, 0)
        variant = field.index or 0
        for attempt in range(MAX_TRIES):
            if not any(equal(value, other) for other in others):
                return value
            if attempt % 2:
                self._choices.force(path)
            value = self._node(schemas, path, field, variant + attempt // 2)
        raise Impossible(path[:-1], "no further item was found that differs from those before")


def _schemas_of(parts: Sequence[Part], index: int) -> list[Node]:
    """The schemas of an item."""
    found: list[Node] = []
    for part in parts:
        prefix = prefix_of(part)
        if index < len(prefix):
            found.append(prefix[index])
        elif (rest := rest_of(part)) is not None:
            found.append(rest)
    return found
