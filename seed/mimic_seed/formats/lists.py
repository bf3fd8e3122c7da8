"""Conversations that are a list of messages: ShareGPT, OpenAI's fine-tuning format, and bare lists.

Sources: FastChat's ``data_cleaning.md``, and OpenAI's guide to supervised fine-tuning.
"""

from collections.abc import Sequence
from typing import Any, Final

from mimic.corpus.conversation import Message
from mimic_seed.formats.base import Element, LeftOut, list_of
from mimic_seed.formats.messages import is_message, messages_of

MESSAGES: Final = ("conversations", "messages", "conversation", "items")
"""Fields with the messages; the first one that an element has counts."""
FIELDS: Final = frozenset((*MESSAGES, "tools", "functions", "system"))
SHAPE: Final = '{"conversations": [{"from", "value"}, ...]} or {"messages": [{"role", "content"}, ...]}'
BARE_SHAPE: Final = '[{"role", "content"}, ...]'


def matches(element: Element) -> bool:
    """True if an element has a field for a list of messages."""
    return any(field in element for field in MESSAGES)


def messages(element: Element, left_out: LeftOut) -> Sequence[Message]:
    """The messages. Definitions of tools, and a system prompt beside the messages, are only counted."""
    field = next(field for field in MESSAGES if field in element)
    found = messages_of(list_of(element[field], field), left_out)
    if element.get("tools") or element.get("functions"):
        left_out["definitions of tools"] += 1
    if element.get("system"):
        left_out["system prompts beside the messages"] += 1
    return found


def is_bare(element: Sequence[Any]) -> bool:
    """True if a list has messages only, and at least one."""
    return bool(element) and all(map(is_message, element))
