"""Messages and conversations as plain data."""

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
"""The roles of a chat, and their names in dumps. Case and surrounding white space do not matter.

Any other sender is its own role.
"""

ROLES: Final[Mapping[str, str]] = {sender: role for role, senders in SENDERS.items() for sender in senders}
"""The role of each sender in this exact spelling."""
_FORMER_ROLES: Final = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant"), "assistant"),
}
_LONGEST_CACHED: Final = 100
"""Characters of the longest sender in the role cache: senders in a dump can be long."""


class Message(msgspec.Struct, frozen=True, gc=False, rename={"sender": "from"}):
    """A message: its sender and its text.

    In JSON: ``{"from": "human", "value": "..."}``. ``sender`` is the name in the dump: ``human``, ``gpt``, ``system``,
    ``user``, ``chatgpt``, ``bing``, ``bard``, or any other text.
    """

    sender: str
    value: str


class Conversation(msgspec.Struct, frozen=True):
    """An element of a dump: its messages in order. The id is optional in dumps.

    ``tokens`` are the numbers of tokens of the messages, or empty if they were not counted.
    """

    id: str | None
    messages: Sequence[Message]
    tokens: Sequence[int] = ()


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A real next message, the id of its conversation, and its position in the conversation from 0.

    ``document`` is the position in the corpus, from 0, of the document that holds the message as an answer.
    """

    message: Message
    conversation: str | None
    position: int
    document: int


class Coordinates(msgspec.Struct, frozen=True, order=True):
    """A message's position among all messages, its conversation's position, and its index there; all from 0."""

    message: int
    conversation: int
    index: int


class LocatedMessage(msgspec.Struct, frozen=True):
    """A message of the corpus with its place, and the previous message if the schema version has it."""

    place: Coordinates
    message: Message
    previous: Message | None


def role_of(sender: str) -> str:
    """The role that a sender has in a chat."""
    role = ROLES.get(sender)
    if role is not None:
        return role
    return _normalize(sender) if len(sender) > _LONGEST_CACHED else _cached_role(sender)


def former_role_of(sender: str) -> str:
    """The role of a sender in the digests of a corpus that Mimic 0.1 seeded, which knew fewer names."""
    return _FORMER_ROLES.get(sender, sender)


def _normalize(sender: str) -> str:
    name = sender.strip().casefold()
    return ROLES.get(name, name)


_cached_role: Final = lru_cache(maxsize=1024)(_normalize)
