"""Formats of conversations: one module each, recognised by the fields of an element. Pure."""

from collections.abc import Sequence
from typing import Any, Final, cast

from mimic.corpus.conversation import Message
from mimic_seed.formats import chatgpt, claude, lists, pairs
from mimic_seed.formats.base import UNUSABLE, Broken, Format, LeftOut, Unreadable
from mimic_seed.formats.messages import is_message, messages_of

FORMATS: Final[Sequence[Format]] = cast("Sequence[Format]", (chatgpt, claude, lists, pairs))
"""The formats in the order in which they are tried."""

IDS: Final = ("id", "uuid", "conversation_id")
"""Fields with the id of a conversation; the first one that an element has counts."""

OTHERS: Final = (
    *("dialog", "dialogue", "dialogs", "turns", "chat", "history", "mapping", "data", "rows", "error", "text"),
    *("instruction", "prompt", "question", "chosen", "input", "output"),
)
"""Fields of shapes that are not read. Reports name them."""

OUTSIDE: Final = "a message outside of a conversation"
"""The reason for skipping a message among conversations."""

WITHOUT_MESSAGES: Final = "without messages"
"""The reason for skipping an element of an unknown shape."""

FIELDS: Final = frozenset((*IDS, *OTHERS, *(field for one in FORMATS for field in one.FIELDS)))
"""Fields of an element that are read or reported."""

SHAPES: Final = "; ".join((*(one.SHAPE for one in (lists, pairs)), lists.BARE_SHAPE, chatgpt.SHAPE, claude.SHAPE))
"""A description of all shapes that are read."""


def messages_in(element: Any, left_out: LeftOut) -> Sequence[Message]:
    """The messages of an element of any format. Raises Unreadable."""
    if isinstance(element, list):
        if not lists.is_bare(element):
            raise Unreadable("a list instead of an object")
        return messages_of(element, left_out)
    if not isinstance(element, dict):
        raise Unreadable("not an object")
    for one in FORMATS:
        if one.matches(element):
            return one.messages(element, left_out)
    other = next((field for field in OTHERS if field in element), None)
    if is_message(element):
        raise Unreadable(OUTSIDE)
    raise Unreadable(f"{WITHOUT_MESSAGES}, but with `{other}`" if other else WITHOUT_MESSAGES)


def is_lone_message(value: Any) -> bool:
    """True if a value is a message, and has no field that makes it a conversation of its own."""
    return is_message(value) and not any(one.matches(value) for one in FORMATS)


def id_of(element: Any) -> tuple[str | None, bool]:
    """The id of an element, and True if it has an id that cannot be used: neither a string nor a number."""
    if not isinstance(element, dict):
        return None, False
    value = next((element[field] for field in IDS if field in element), None)
    if value is UNUSABLE or isinstance(value, bool | Broken):
        return None, True
    return None if value is None else str(value), False
