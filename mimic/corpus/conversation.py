"""Messages and conversations, the plain data that everything else is about."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

CALL: Final = "call"
RESULT: Final = "result"
"""The roles of tool calls, and of the results of tools."""

SENDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("human", "user", "prompter"),
    "assistant": (
        *("gpt", "chatgpt", "bing", "bard", "assistant"),
        *("model", "bot", "chatbot", "ai", "claude", "gemini", "llm"),
    ),
    "system": ("system", "developer"),
    CALL: ("function_call", "tool_call"),
    RESULT: ("observation", "tool", "function", "tool_response", "ipython"),
}
"""The roles of a chat, and under which names dumps have them, whatever their case and the white space around them.

Any other sender is a role of its own.
"""

ROLES: Final[Mapping[str, str]] = {sender: role for role, senders in SENDERS.items() for sender in senders}
"""The role of each of these senders, as they are written here."""
_FORMER_ROLES: Final = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant"), "assistant"),
}
_LONGEST_REMEMBERED: Final = 100
"""Characters of a sender whose role is remembered; a dump may hold anything."""


class Message(msgspec.Struct, frozen=True, gc=False, rename={"sender": "from"}):
    """One message: who speaks, and the text.

    In JSON: ``{"from": "human", "value": "..."}``. ``sender`` is whatever the dump holds (``human``, ``gpt``,
    ``system``, ``user``, ``chatgpt``, ``bing``, ``bard``, or anything else).
    """

    sender: str
    value: str


class Conversation(msgspec.Struct, frozen=True):
    """One element of a dump: its messages in order. A dump may leave the id out."""

    id: str | None
    messages: Sequence[Message]


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A real next message, and where it was said: the conversation's id, and the position in it from 0.

    ``document`` is the position in the corpus, from 0, of the document that holds it as an answer.
    """

    message: Message
    conversation: str | None
    position: int
    document: int


class Coordinates(msgspec.Struct, frozen=True, order=True):
    """Where a message stands, from 0: among all messages of the corpus; in which conversation, and where in it."""

    message: int
    conversation: int
    index: int


class LocatedMessage(msgspec.Struct, frozen=True):
    """A message of the corpus at its place, and the one before it, where the schema version has that."""

    place: Coordinates
    message: Message
    previous: Message | None


def role_of(sender: str) -> str:
    """The role that a sender has in a chat."""
    role = ROLES.get(sender)
    if role is not None:
        return role
    return _normalized(sender) if len(sender) > _LONGEST_REMEMBERED else _remembered(sender)


def former_role_of(sender: str) -> str:
    """The role that a sender has in the digests of a corpus that Mimic 0.1 seeded, which knew fewer names."""
    return _FORMER_ROLES.get(sender, sender)


def _normalized(sender: str) -> str:
    name = sender.strip().casefold()
    return ROLES.get(name, name)


_remembered: Final = lru_cache(maxsize=1024)(_normalized)
