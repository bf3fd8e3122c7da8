"""Messages and conversations, the plain data that everything else is about."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

SENDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("human", "user"),
    "assistant": ("gpt", "chatgpt", "bing", "bard", "assistant"),
    "system": ("system",),
}
"""The roles of a chat, and under which names dumps have them. Any other sender is a role of its own."""

ROLES: Final[Mapping[str, str]] = {sender: role for role, senders in SENDERS.items() for sender in senders}
"""The role of each of these senders. To look it up here takes a third of the time of :func:`role_of`."""


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
    return ROLES.get(sender, sender)


def senders_of(role: str) -> tuple[str, ...]:
    """Who speaks in a role, as dumps name them."""
    return SENDERS.get(role, (role,))
