"""Joining the parts of split chats. Pure.

Long chats of ShareGPT were split by FastChat's ``split_long_conversation.py``. A part's id is the id of the chat, an
underscore, and the index of the part's first message in the chat. ``xfDDcAM_4`` follows ``xfDDcAM_0`` if the latter has
four messages, or if it has five and its fifth is equal to the first of ``xfDDcAM_4``.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from mimic.corpus.conversation import Conversation
from mimic.corpus.sizes import conversation_size, fits

_PART = re.compile(r"(?P<chat>.+)_(?P<start>\d{1,9})", re.DOTALL | re.ASCII)

MOST_CHARACTERS = 64 * 1024 * 1024
"""Characters of a chat to hold until the next chat begins. Further parts start a new conversation."""


class _Part(msgspec.Struct, frozen=True):
    chat: str
    start: int
    conversation: Conversation


class Joiner:
    """Joins the parts of each chat that are neighbours in the dump, in any order.

    A conversation is complete when the next chat begins. Two parts are not joined if messages between them are missing,
    or if the result would be larger than a document may be. ``joined`` counts the parts joined to others.
    """

    def __init__(self, most_characters: int = MOST_CHARACTERS) -> None:
        """``most_characters`` is the limit for the parts of one chat in memory."""
        self.joined = 0
        self._most_characters = most_characters
        self._parts: list[_Part] = []
        self._characters = 0

    def add(self, conversation: Conversation) -> list[Conversation]:
        """Add the next conversation of the dump. Returns the conversations that are complete."""
        part = _part(conversation)
        if part is None:
            return [*self.finish(), conversation]
        self._characters += conversation_size(conversation)
        complete = []
        if self._parts and (part.chat != self._parts[0].chat or self._characters > self._most_characters):
            complete = self.finish()
        self._parts.append(part)
        return complete

    def finish(self) -> list[Conversation]:
        """Return the remaining conversations at the end of the dump or of a chat."""
        parts = sorted(self._parts, key=lambda part: part.start)
        self._parts, self._characters = [], 0
        complete = list(_join(parts))
        self.joined += len(parts) - len(complete)
        return complete


def _part(conversation: Conversation) -> _Part | None:
    found = _PART.fullmatch(conversation.id or "")
    return _Part(found["chat"], int(found["start"]), conversation) if found else None


def _join(parts: Sequence[_Part]) -> Iterator[Conversation]:
    if not parts:
        return
    start, whole = parts[0].start, parts[0].conversation
    for part in parts[1:]:
        longer = _append(start, whole, part)
        if longer and fits(longer):
            whole = longer
        else:
            yield whole
            start, whole = part.start, part.conversation
    yield whole


def _append(start: int, whole: Conversation, part: _Part) -> Conversation | None:
    """A conversation with the next part appended; None if the part does not continue it without a gap."""
    added = part.conversation.messages
    overlap = start + len(whole.messages) - part.start
    if overlap == 1 and added[:1] == whole.messages[-1:]:
        added = added[1:]
    elif overlap != 0:
        return None
    return Conversation(whole.id, [*whole.messages, *added])
