"""The official export of Claude: ``conversations.json``, with ``chat_messages`` for each conversation.

A message has a ``sender``, and its text as ``content`` parts; older exports have only ``text``.
"""

from collections.abc import Sequence
from typing import Any, Final

from mimic.corpus.conversation import Message
from mimic_seed.formats.base import Element, LeftOut, list_of
from mimic_seed.formats.branches import branch_to
from mimic_seed.formats.messages import messages_of

FIELDS: Final = frozenset({"chat_messages", "current_leaf_message_uuid"})
MESSAGE: Final = frozenset({"uuid", "parent_message_uuid"})
"""Fields of a message that are read beside those of all formats."""
SHAPE: Final = "the export of Claude (`chat_messages`)"


def matches(element: Element) -> bool:
    """True if an element has the messages of such a chat."""
    return "chat_messages" in element


def messages(element: Element, left_out: LeftOut) -> Sequence[Message]:
    """The messages in order. If the export names the last one, the branch that leads to it."""
    items = list_of(element["chat_messages"], "chat_messages")
    last = element.get("current_leaf_message_uuid")
    by_name = {item["uuid"]: item for item in items if isinstance(item, dict) and isinstance(item.get("uuid"), str)}
    if isinstance(last, str) and last in by_name:
        branch = branch_to(last, {name: item.get("parent_message_uuid") for name, item in by_name.items()})
        if aside := len(items) - len(branch):
            left_out["messages of side branches"] += aside
        items = [by_name[name] for name in branch]
    return messages_of([_with_one_text(item) for item in items], left_out)


def _with_one_text(item: Any) -> Any:
    """A message without its ``text`` if ``content`` has it, and without ``content`` if that is empty."""
    if not isinstance(item, dict):
        return item
    without = "content" if not item.get("content") and "text" in item else "text"
    return {field: value for field, value in item.items() if field != without}
