"""The search for an instance: the choice that each of its nodes has made, and the steps that are left."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from mimic.engine.instances.values import Field

MAX_STEPS: Final = 2_000
"""Nodes made for one instance, those of failed attempts included. Each subschema adds four."""
MAX_COMBINATIONS: Final = 10_000
DEEPEST: Final = 48
"""Levels of an instance."""

Path: TypeAlias = tuple[str | int, ...]


class Impossible(Exception):
    """The choices so far leave no value for a node."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


class Place(msgspec.Struct):
    """A node in one attempt to make it: its path, its field, and the rest of its turn, a mixed-radix number.

    ``combinations`` counts the ways to choose so far. A different ``variant`` asks for a different value.
    """

    path: Path
    field: Field
    turn: int
    variant: int = 0
    combinations: int = 1

    def below(self, key: str | int) -> Path:
        """The path of a child."""
        return (*self.path, key)


class Choices:
    """The turn of each node, which selects one combination of its choices."""

    def __init__(self, subschemas: int) -> None:
        self._steps = 0
        self._max_steps = MAX_STEPS + 4 * subschemas
        self._turns: dict[Path, int] = {}
        self._combinations: dict[Path, int] = {}

    @property
    def is_exhausted(self) -> bool:
        """True if no steps are left."""
        return self._steps > self._max_steps

    def spend(self, steps: int) -> None:
        """Count steps that take time without a new node."""
        self._steps += steps

    def enter(self, path: Path, field: Field, variant: int) -> Place:
        """Begin an attempt to make a node. Raises Impossible when the steps are used up, or the node is too deep."""
        self._steps += 1
        if self.is_exhausted:
            raise Impossible(path, f"the search was given up after {self._max_steps:,} steps")
        if len(path) > DEEPEST:
            raise Impossible(path, f"it goes on for more than {DEEPEST} levels")
        return Place(path, field, self._turns.get(path, 0), variant)

    def choose(self, place: Place, count: int) -> int:
        """The index of one of ``count`` ways, by the turn of the node."""
        if count <= 1:
            return 0
        place.turn, index = divmod(place.turn, count)
        place.combinations = min(place.combinations * count, MAX_COMBINATIONS)
        self._combinations[place.path] = max(self._combinations.get(place.path, 1), place.combinations)
        return index

    def advance(self, path: Path) -> bool:
        """Move a node to its next combination and reset all nodes below. False if no combination is left."""
        if self._turns.get(path, 0) + 1 >= self._combinations.get(path, 1):
            return False
        self.force(path)
        for other in [other for other in self._turns if len(other) > len(path) and other[: len(path)] == path]:
            del self._turns[other]
        return True

    def force(self, path: Path) -> None:
        """Move a node to its next combination, even past the last known one."""
        self._turns[path] = self._turns.get(path, 0) + 1

    def revise(self, paths: Sequence[Path]) -> bool:
        """Advance the nodes that errors are about: the node itself, else the nearest one below or above."""
        if self.is_exhausted:
            return False
        is_revised = False
        for path in dict.fromkeys(paths):
            places = (path, *self._children(path), *[path[:end] for end in range(len(path) - 1, -1, -1)])
            is_revised = any(self.advance(place) for place in places) or is_revised
        return is_revised

    def _children(self, path: Path) -> Sequence[Path]:
        """The paths just below that have a choice: a rule about the whole may depend on them."""
        depth = len(path) + 1
        return sorted(
            (
                other
                for other in self._combinations
                if len(other) == depth and other[:-1] == path and self._combinations[other] > 1
            ),
            key=str,
        )
