"""The contract of a source of values: candidates for the strings, numbers and enum members of an instance."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
"""The words of a name, for example ``getHTTPStatus_2``."""


class Field(msgspec.Struct, frozen=True, gc=False):
    """A place for a value in an instance: its name, its facts from the schema, and its index in an array.

    ``item`` is the index of the object around it, if that is in an array: each object has values of its own.
    """

    name: str = ""
    description: str = ""
    format: str = ""
    members: Sequence[Any] = ()
    index: int | None = None
    item: int | None = None

    @property
    def words(self) -> frozenset[str]:
        """The words of the name in lower case, the same for ``unitPrice`` and ``unit_price``."""
        return frozenset(word.lower() for word in WORDS.findall(self.name))


class Values(ABC):
    """Candidates for the fields of an instance, the best first. The first valid candidate is used."""

    @abstractmethod
    def strings(self, field: Field) -> Iterable[str]:
        """Texts for the field."""

    @abstractmethod
    def numbers(self, field: Field) -> Iterable[int | float]:
        """Numbers for the field."""

    @abstractmethod
    def booleans(self, field: Field) -> Iterable[bool]:
        """Booleans for the field."""

    @abstractmethod
    def mentions(self, members: Sequence[JsonValue], field: Field) -> Sequence[JsonValue]:
        """The members of an enum that the source mentions, in the order of the mentions."""

    @abstractmethod
    def length(self, field: Field) -> int | None:
        """The number of items for an array; None if the source has no hint."""

    @abstractmethod
    def knows(self, field: Field) -> bool:
        """True if the source has a value for an optional field."""


class NoValues(Values):
    """An empty source: every value comes from the schema alone."""

    def strings(self, field: Field) -> Iterable[str]:
        return ()

    def numbers(self, field: Field) -> Iterable[int | float]:
        return ()

    def booleans(self, field: Field) -> Iterable[bool]:
        return ()

    def mentions(self, members: Sequence[JsonValue], field: Field) -> Sequence[JsonValue]:
        return ()

    def length(self, field: Field) -> int | None:
        return None

    def knows(self, field: Field) -> bool:
        return True
