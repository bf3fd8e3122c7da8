"""The places of an element whose values are kept, since some format reads them. All other values are skipped. Pure."""

from collections.abc import Mapping
from typing import Final

from mimic_seed import formats
from mimic_seed.formats import chatgpt, claude, lists, pairs
from mimic_seed.formats import messages as of_messages


class Region:
    """A kind of array or object in an element.

    ``keys`` are the fields of an object to keep, or None for all. ``arrays`` and ``objects`` are the places of its
    values by field, ``other`` is the place of the others; for an array, the field is empty. Values without a place are
    not kept. ``cost`` is the memory to count for each array or object, and ``scalar_cost`` for each value.
    """

    __slots__ = ("arrays", "cost", "is_message", "keys", "objects", "other", "scalar_cost")

    def __init__(self, keys: frozenset[str] | None = None, *, cost: int = 32, scalar_cost: int = 16) -> None:
        self.keys = keys
        self.arrays: Mapping[str, Region] = {}
        self.objects: Mapping[str, Region] = {}
        self.other: Region | None = None
        self.cost = cost
        self.scalar_cost = scalar_cost
        self.is_message = False


ANY: Final = Region()
ANY.other = ANY
SHALLOW: Final = Region()
"""An array or object whose values are only counted."""
PARTS: Final = Region()
PART: Final = Region()
MESSAGE: Final = Region(of_messages.KEPT | claude.MESSAGE, scalar_cost=0)
MESSAGES: Final = Region()
ELEMENT: Final = Region(formats.FIELDS | of_messages.KEPT, scalar_cost=0)

PARTS.objects = {"": PART}
PART.other = ANY
PART.arrays = {"content": PARTS}
PART.objects = PART.arrays = {**PART.arrays, **dict.fromkeys(of_messages.BULKY, SHALLOW)}
MESSAGE.is_message = True
MESSAGE.arrays = {
    **dict.fromkeys(of_messages.LEFT_OUT, SHALLOW),
    **dict.fromkeys(of_messages.TEXTS, PARTS),
    "tool_calls": ANY,
}
MESSAGE.objects = {**dict.fromkeys(of_messages.LEFT_OUT, SHALLOW), "function_call": ANY}
MESSAGES.objects = {"": MESSAGE}

_TREE: Final = Region(cost=128)
_NODE: Final = Region(chatgpt.NODE, cost=128)
_SAID: Final = Region(chatgpt.MESSAGE, cost=128)
_TREE.other = _NODE
_NODE.objects = {"message": _SAID}
_SAID.objects = {"author": SHALLOW, "content": ANY}

ELEMENT.arrays = {
    **MESSAGE.arrays,
    **dict.fromkeys((*lists.MESSAGES, "chat_messages", *(field for pair in pairs.PAIRS for field in pair)), MESSAGES),
    "history": ANY,
    "tools": SHALLOW,
    "functions": SHALLOW,
}
ELEMENT.objects = {**MESSAGE.objects, "mapping": _TREE, "tools": SHALLOW}
