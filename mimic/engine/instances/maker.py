"""Makes an instance of a schema: deterministic, and valid by the validator's judgement.

A node of the instance has to meet several schemas at once: its own, and those that ``$ref``, ``allOf`` and a branch of
``anyOf`` add. They are kept as a list of parts, and each keyword is looked up in all parts. At each choice (a branch, a
type, a member) the maker takes the best one by the schema and the source of values. If the whole instance is invalid,
the nodes that the validator names choose again.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from mimic.engine.instances.arrays import ArrayMaker
from mimic.engine.instances.choices import Choices, Impossible, Path, Place
from mimic.engine.instances.combinations import Expander
from mimic.engine.instances.keywords import Part, Type, banned_types, describe, types_of
from mimic.engine.instances.leaves import LeafMaker
from mimic.engine.instances.objects import ObjectMaker
from mimic.engine.instances.schema import JsonSchema, Node, SchemaProblem, pointer
from mimic.engine.instances.values import Field, JsonValue, Values

MAX_ATTEMPTS: Final = 100
MAX_ERRORS: Final = 20
PARTS_PER_STEP: Final = 8
"""Parts that take as long to check as a further node takes to make."""


def instance(schema: JsonSchema, values: Values, name: str = "") -> JsonValue:
    """A valid instance, with contents from the source as far as they fit. Raises SchemaProblem. Blocks."""
    return _Maker(schema, values).make(name)


class _Maker:
    def __init__(self, schema: JsonSchema, values: Values) -> None:
        self._schema = schema
        self._values = values
        self._choices = Choices(len(schema.nodes))
        self._expander = Expander(schema, self._choices)
        self._leaves = LeafMaker(schema.root, values, self._choices)
        self._objects = ObjectMaker(values, self._choices, self._expander, self._node)
        self._arrays = ArrayMaker(values, self._choices, self._node)

    def make(self, name: str) -> JsonValue:
        path: Path = ()
        reason = "no value was found"
        for _ in range(MAX_ATTEMPTS):
            try:
                value = self._node([self._schema.root], (), Field(name), 0)
            except Impossible as exc:
                path, reason = exc.path, exc.reason
                break
            errors = list(islice(self._schema.validator.iter_errors(value), MAX_ERRORS))
            if not errors:
                return value
            path, reason = tuple(errors[0].instance_path), errors[0].message[:200]
            if not self._choices.revise([tuple(error.instance_path) for error in errors]):
                break
        place = f", in the value at {pointer(path[:8])}" if path else ""
        problem = SchemaProblem((), f"no value that meets the schema was found{place}: {reason}")
        raise self._schema.unsatisfiable() or problem

    def _node(self, schemas: Sequence[Node], path: Path, field: Field, variant: int) -> JsonValue:
        """A value that meets the schemas, as far as it is checked so far. Raises Impossible."""
        while True:
            try:
                return self._attempt(schemas, self._choices.enter(path, field, variant))
            except Impossible:
                if self._choices.is_exhausted or not self._choices.advance(path):
                    raise

    def _attempt(self, schemas: Sequence[Node], place: Place) -> JsonValue:
        parts = self._expander.expand(schemas, place)
        self._choices.spend(len(parts) // PARTS_PER_STEP)
        place.field = describe(place.field, parts)
        if any(keyword in part for keyword in ("const", "enum") for part in parts):
            return self._leaves.member(parts, place)
        kind = self._type(parts, place)
        if kind == "object":
            return self._objects.make(parts, place)
        if kind == "array":
            return self._arrays.make(parts, place)
        if kind == "null":
            return None
        return self._leaves.scalar(parts, kind, place)

    def _type(self, parts: Sequence[Part], place: Place) -> Type:
        banned = {kind for part in parts for kind in banned_types(part)}
        allowed = [kind for kind in types_of(parts) if kind not in banned]
        if "number" in banned:
            allowed = [kind for kind in allowed if kind != "integer"]
        if not allowed:
            raise Impossible(place.path, "no type is allowed by all of its schemas")
        order = sorted(allowed, key=lambda kind: kind == "null")
        if "null" in allowed and len(allowed) > 1 and not self._values.knows(place.field):
            order.reverse()
        return order[self._choices.choose(place, len(order))]
