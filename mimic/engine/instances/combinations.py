"""Combinations of schemas: ``$ref``, ``allOf``, ``anyOf``, ``oneOf`` and ``if`` expanded to the parts of a node."""

from collections.abc import Sequence
from typing import Final

from mimic.engine.instances.choices import Choices, Impossible, Place
from mimic.engine.instances.keywords import Part, is_null
from mimic.engine.instances.schema import JsonSchema, Node

MAX_PARTS: Final = 500
"""Schemas that one value has to meet."""
OPTIONAL_DEPTH: Final = 5
"""Levels down to which an instance has optional contents."""


class Expander:
    """Expands the schemas of a node."""

    def __init__(self, schema: JsonSchema, choices: Choices) -> None:
        self._schema = schema
        self._choices = choices

    def expand(self, schemas: Sequence[Node], place: Place) -> list[Part]:
        """The parts that a node has to meet, one branch of each choice included. Raises Impossible."""
        parts: list[Part] = []
        waiting = list(schemas)
        count = 0
        while waiting:
            node = waiting.pop(0)
            count += 1
            if count > MAX_PARTS:
                raise Impossible(place.path, "its references lead round in a circle")
            if node is True:
                continue
            if isinstance(node, bool) or node.get("not") in (True, {}):
                raise Impossible(place.path, "the schema allows nothing here")
            parts.append(node)
            references = [node[key] for key in ("$ref", "$dynamicRef") if isinstance(node.get(key), str)]
            waiting += [self._schema.target(reference) for reference in references]
            waiting += node.get("allOf") or ()
            waiting += [self._branch(node[keyword], place) for keyword in ("anyOf", "oneOf") if node.get(keyword)]
            if "if" in node:
                waiting += self._conditional(node, place)
        return parts

    def is_infinite(self, node: Node) -> bool:
        """True if every instance of a schema would be infinite."""
        return self._schema.height(node) == float("inf")

    def _branch(self, branches: Sequence[Node], place: Place) -> Node:
        is_deep = len(place.path) > OPTIONAL_DEPTH
        finite = [branch for branch in branches if not self.is_infinite(branch) and branch is not False]
        if not finite:
            raise Impossible(place.path, "none of its alternatives ever comes to an end")
        if is_deep:
            finite.sort(key=self._schema.height)
        else:
            finite.sort(key=is_null)
        return finite[self._choices.choose(place, len(finite))]

    def _conditional(self, node: Part, place: Place) -> list[Node]:
        ways: list[list[Node]] = [[node["if"], node.get("then", True)], [{"not": node["if"]}, node.get("else", True)]]
        if "then" not in node:
            ways.reverse()
        return ways[self._choices.choose(place, 2)]
