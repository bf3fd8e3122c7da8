"""Objects of an instance: their properties, declared, required or made up."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from mimic.engine.instances.choices import Choices, Impossible, Path, Place
from mimic.engine.instances.combinations import OPTIONAL_DEPTH, Expander
from mimic.engine.instances.keywords import (
    Part,
    dependent_names,
    dependent_schemas,
    describe,
    largest,
    rules_of,
    smallest,
)
from mimic.engine.instances.patterns import matching
from mimic.engine.instances.schema import Node, validator_of
from mimic.engine.instances.values import Field, JsonValue, Values

MAX_PROPERTIES: Final = 1_000_000
MAX_SINGLES: Final = 12
"""Optional properties to try alone, and to try without."""
MAX_ROUNDS: Final = 8
MAX_NEW_NAMES: Final = 60


class ObjectMaker:
    """Makes objects. ``node`` makes a value from its schemas, its path, its field and a variant."""

    def __init__(
        self,
        values: Values,
        choices: Choices,
        expander: Expander,
        node: Callable[[Sequence[Node], Path, Field, int], JsonValue],
    ) -> None:
        self._values = values
        self._choices = choices
        self._expander = expander
        self._node = node

    def make(self, parts: Sequence[Part], place: Place) -> JsonValue:
        """An object. Raises Impossible."""
        names, parts = self._add_dependencies(self._names(parts, place), parts, place)
        item = place.field.item if place.field.index is None else place.field.index
        made: dict[str, JsonValue] = {}
        for name in names:
            made[name] = self._node(_schemas_of(parts, name), place.below(name), Field(name, item=item), 0)
        least = largest(parts, "minProperties")
        for name in self._new_names(parts, place):
            if len(made) >= least:
                break
            if name in made or any(name in rules_of(part) for part in parts):
                continue
            schemas = _schemas_of(parts, name, is_new=True)
            if False not in schemas:
                made[name] = self._node(schemas, place.below(name), Field(name, item=item), 0)
        if len(made) < least:
            raise Impossible(place.path, f"no {least} properties were found")
        return made

    def _names(self, parts: Sequence[Part], place: Place) -> list[str]:
        """The names of the required properties, and of the optional ones to make."""
        declared = list(dict.fromkeys(name for part in parts for name in part.get("properties") or ()))
        required = dict.fromkeys(name for part in parts for name in part.get("required") or ())
        optional = [name for name in declared if name not in required and self._is_possible(parts, name)]
        if optional:
            wanted = [name for name in optional if self._is_wanted(parts, name, place)]
            if not required and not wanted and not place.path:
                wanted = [name for name in optional if _is_nested(parts, name)]  # the contents of the whole instance
            ways: list[list[str]] = [
                wanted,
                [],
                optional,
                *[[name] for name in optional[:MAX_SINGLES]],
                *[[other for other in optional if other != name] for name in optional[:MAX_SINGLES]],
            ]
            optional = ways[self._choices.choose(place, len(ways))]
        room = max(0, smallest(parts, "maxProperties", MAX_PROPERTIES) - len(required))
        names = [name for name in declared if name in required or name in optional[:room]]
        return names + [name for name in required if name not in declared]

    def _add_dependencies(
        self, names: list[str], parts: Sequence[Part], place: Place
    ) -> tuple[list[str], Sequence[Part]]:
        """The names and the parts with those that the names bring with them."""
        added: list[Part] = list(parts)
        for _ in range(MAX_ROUNDS):  # names bring rules with them, and rules bring names
            extra: list[Node] = []
            before = len(names)
            for part in list(added):
                names += dependent_names(part, names)
                extra += dependent_schemas(part, names)
            new = [part for part in self._expander.expand(extra, place) if all(part is not old for old in added)]
            added += new
            names += [name for part in new for name in part.get("required") or () if name not in names]
            if not new and len(names) == before:
                break
        return names, added

    def _is_possible(self, parts: Sequence[Part], name: str) -> bool:
        """True if an object may have a property."""
        if any(schema is False or self._expander.is_infinite(schema) for schema in _schemas_of(parts, name)):
            return False
        excluded = [part["not"] for part in parts if isinstance(part.get("not"), Mapping)]
        return not any(schema.get("required") == [name] for schema in excluded)

    def _is_wanted(self, parts: Sequence[Part], name: str, place: Place) -> bool:
        """True if an optional property should be made."""
        if len(place.path) >= OPTIONAL_DEPTH:
            return False
        schemas = [schema for schema in _schemas_of(parts, name) if isinstance(schema, Mapping)]
        return self._values.knows(describe(Field(name), schemas))

    def _new_names(self, parts: Sequence[Part], place: Place) -> Iterator[str]:
        """Names for an object that needs more: declared ones, then those of ``patternProperties``, then others."""
        rules: list[Node] = [part["propertyNames"] for part in parts if "propertyNames" in part]
        patterns = [pattern for part in parts for pattern in part.get("patternProperties") or ()]
        yield from (name for part in parts for name in part.get("properties") or ())
        for number in range(MAX_NEW_NAMES):
            if rules:
                try:
                    name = self._node([*rules, {"type": "string"}], place.below("propertyNames"), Field("name"), number)
                except Impossible:
                    return
                if isinstance(name, str):
                    yield name
                continue
            for pattern in patterns:
                for text in islice(matching(pattern, number), 1):
                    yield from (text, f"{text}{number + 1}")
            yield f"key_{number + 1}"


def _schemas_of(parts: Sequence[Part], name: str, *, is_new: bool = False) -> list[Node]:
    """The schemas of a property. ``is_new`` means that no part declares it, so that unevaluated ones apply."""
    found: list[Node] = []
    for part in parts:
        own: list[Node] = []
        if name in (part.get("properties") or {}):
            own.append(part["properties"][name])
        patterns = part.get("patternProperties") or {}
        own += [schema for pattern, schema in patterns.items() if _is_found(pattern, name)]
        if not own and "additionalProperties" in part:
            own.append(part["additionalProperties"])
        if not own and is_new and "unevaluatedProperties" in part:
            own.append(part["unevaluatedProperties"])
        found += own
    return found


def _is_nested(parts: Sequence[Part], name: str) -> bool:
    """True if a property is an array or an object."""
    schemas = [schema for schema in _schemas_of(parts, name) if isinstance(schema, Mapping)]
    return any(schema.get("type") in {"array", "object"} for schema in schemas)


@lru_cache(maxsize=256)
def _is_found(pattern: str, name: str) -> bool:
    return bool(validator_of({"pattern": pattern}).is_valid(name))
