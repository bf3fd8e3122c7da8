"""Where the contents of an instance come from: candidates for a string, a number, a member of an enum."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
"""The words of a name such as ``getHTTPStatus_2``."""


class Field(msgspec.Struct, frozen=True, gc=False):
    """A place of an instance that wants a value: its name, what the schema says of it, and its number in an array."""

    name: str = ""
    description: str = ""
    format: str = ""
    members: Sequence[Any] = ()
    index: int | None = None

    @property
    def words(self) -> frozenset[str]:
        """The words of the name, in lower case: ``unitPrice`` and ``unit_price`` have the same."""
        return frozenset(word.lower() for word in WORDS.findall(self.name))


class Values(ABC):
    """Candidates for the places of an instance, the best first. The first candidate that is valid is taken."""

    @abstractmethod
    def strings(self, field: Field) -> Iterable[str]:
        """Texts that may stand in the place."""

    @abstractmethod
    def numbers(self, field: Field) -> Iterable[int | float]:
        """Numbers that may stand in the place."""

    @abstractmethod
    def booleans(self, field: Field) -> Iterable[bool]:
        """Truth values that may stand in the place."""

    @abstractmethod
    def mentioned(self, members: Sequence[JsonValue], field: Field) -> Sequence[JsonValue]:
        """The members of an enum that the source mentions, in the order in which it does."""

    @abstractmethod
    def length(self, field: Field) -> int | None:
        """The number of items that an array should have; None if the source does not say."""

    @abstractmethod
    def knows(self, field: Field) -> bool:
        """Whether there is a value for a place that may be left out."""


class NoValues(Values):
    """A source of nothing: every value is made from the schema alone."""

    def strings(self, field: Field) -> Iterable[str]:
        return ()

    def numbers(self, field: Field) -> Iterable[int | float]:
        return ()

    def booleans(self, field: Field) -> Iterable[bool]:
        return ()

    def mentioned(self, members: Sequence[JsonValue], field: Field) -> Sequence[JsonValue]:
        return ()

    def length(self, field: Field) -> int | None:
        return None

    def knows(self, field: Field) -> bool:
        return True
