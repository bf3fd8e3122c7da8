"""Parts that all formats share: the element of a file as plain data, problems of broken elements, and left-out data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from mimic.corpus.conversation import Message

Element: TypeAlias = Mapping[str, Any]
"""An object of a file. The builder keeps only the fields that a format reads."""

LeftOut: TypeAlias = Counter[str]
"""Counts of data that a format has and the corpus has not, by their name in the report."""


class Unreadable(Exception):
    """An element is broken or has an unknown shape. Reports count the ``reason``; ``detail`` names the place."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Broken(str):
    """A text with a lone surrogate, which UTF-8 cannot encode. Its value is empty."""

    __slots__ = ()


class Unusable:
    """A value that is not kept: an array or object in the place of a text, or one that is nested too deeply."""


UNUSABLE: Final = Unusable()


class Format(Protocol):
    """A format, as a module. ``FIELDS`` are the fields of an element that it reads, ``SHAPE`` describes an element."""

    FIELDS: frozenset[str]
    SHAPE: str

    def matches(self, element: Element) -> bool:
        """True if an element has this format."""

    def messages(self, element: Element, left_out: LeftOut) -> Sequence[Message]:
        """The messages of an element. Raises Unreadable."""


def text_of(value: Any, name: str, where: str) -> str:
    """A value as a text. Raises Unreadable if it is not one, or has a lone surrogate."""
    if isinstance(value, Broken):
        raise Unreadable("lone surrogate", f"{where} holds a lone surrogate")
    if not isinstance(value, str):
        raise Unreadable(f"`{name}` is not a string", f"`{name}` of {where} is not a string")
    return value


def list_of(value: Any, name: str) -> Sequence[Any]:
    """A value as a list. Raises Unreadable if it is not one."""
    if not isinstance(value, list):
        raise Unreadable(f"`{name}` is not an array")
    return value
