"""The official export of ChatGPT: ``conversations.json``, with a tree of messages for each conversation.

``mapping`` has the nodes by id. A node has a ``parent`` and may have a ``message``. ``current_node`` is the end of the
branch that was taken.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mimic.corpus.calls import CorpusCall, call_message
from mimic.corpus.conversation import Message
from mimic_seed.formats.base import Element, LeftOut, Unreadable, text_of
from mimic_seed.formats.branches import branch_to
from mimic_seed.formats.messages import parts_of
from mimic_seed.formats.tool_calls import RESULT_SENDER

FIELDS: Final = frozenset({"mapping", "current_node"})
SHAPE: Final = "the export of ChatGPT (`mapping`)"

NODE: Final = frozenset({"message", "parent"})
MESSAGE: Final = frozenset({"author", "content", "recipient"})
"""Fields of a node and of its message that are read."""

_REASONING: Final = frozenset({"thoughts", "reasoning_recap"})
_ABOUT_THE_USER: Final = frozenset({"user_editable_context", "model_editable_context"})
_IMAGES: Final = "image_asset_pointer"


def matches(element: Element) -> bool:
    """True if an element has a tree of messages."""
    return isinstance(element.get("mapping"), dict)


def messages(element: Element, left_out: LeftOut) -> Sequence[Message]:
    """The messages of the branch that was taken. The messages of other branches are counted."""
    nodes = element["mapping"]
    branch = branch_to(element.get("current_node"), {name: _parent(node) for name, node in nodes.items()})
    found = [
        message
        for position, name in enumerate(branch)
        for message in _read(nodes[name].get("message"), f"node {position}", left_out)
    ]
    taken = set(branch)
    if aside := sum(_is_said(node) for name, node in nodes.items() if name not in taken):
        left_out["messages of side branches"] += aside
    return found


def _parent(node: Any) -> Any:
    if not isinstance(node, dict):
        raise Unreadable("a node is not an object")
    return node.get("parent")


def _is_said(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("message"), dict)


def _read(message: Any, where: str, left_out: LeftOut) -> Iterator[Message]:
    """The messages of a node. The root, and empty messages of the system, have none."""
    if message is None:
        return
    author = message.get("author") if isinstance(message, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(author, dict) or not isinstance(content, dict):
        raise Unreadable("a message without `author` or `content`", f"{where} has no `author` or no `content`")
    sender = text_of(author.get("role"), "role", where)
    kind = content.get("content_type")
    if kind in _REASONING:
        left_out["reasoning texts"] += 1
    elif kind in _ABOUT_THE_USER:
        left_out["custom instructions"] += 1
    elif sender == "assistant" and message.get("recipient") not in (None, "all"):
        yield _call(text_of(message["recipient"], "recipient", where), _text(content, sender, where, left_out))
    else:
        text = _text(content, sender, where, left_out)
        if text or sender != "system":
            yield Message(RESULT_SENDER if sender == "tool" else sender, text)


def _call(tool: str, text: str) -> Message:
    """A call of ChatGPT's own tools: its text is the whole input."""
    return call_message([CorpusCall(tool, text)])


def _text(content: dict[str, Any], sender: str, where: str, left_out: LeftOut) -> str:
    parts = content.get("parts")
    if not isinstance(parts, list):
        field = next((field for field in ("text", "result") if field in content), "parts")
        return text_of(content.get(field), field, where)
    images = [part for part in parts if isinstance(part, dict) and part.get("content_type") == _IMAGES]
    if images:
        left_out["images"] += len(images)
    rest = [part for part in parts if part not in images]
    return "".join(message.value for message in parts_of(rest, sender, where, left_out))
