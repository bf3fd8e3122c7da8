"""Putting together again what a dump has in parts. Pure.

Long chats of ShareGPT were split: a part's id is that of the chat and, behind an underscore, the index of its first
message in the chat (so FastChat's ``split_long_conversation.py`` writes them). ``xfDDcAM_4`` follows ``xfDDcAM_0`` if
that has four messages, or five of which the last is its first.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from mimic.corpus.conversation import Conversation
from mimic.corpus.sizes import conversation_size, fits

_PART = re.compile(r"(?P<chat>.+)_(?P<start>\d{1,9})", re.DOTALL | re.ASCII)

MOST_CHARACTERS = 64 * 1024 * 1024
"""Of one chat, held until the next chat begins; what is beyond begins anew."""


class _Part(msgspec.Struct, frozen=True):
    chat: str
    start: int
    conversation: Conversation


class Joiner:
    """Joins the parts of each chat that stand together in the dump, in whatever order.

    A conversation comes out when the next chat begins. Where messages between two parts are missing they stay apart,
    and where they would make a conversation larger than it may be. ``joined`` counts the parts put to others.
    """

    def __init__(self, most_characters: int = MOST_CHARACTERS) -> None:
        """``most_characters`` of one chat are held at a time."""
        self.joined = 0
        self._most_characters = most_characters
        self._parts: list[_Part] = []
        self._characters = 0

    def add(self, conversation: Conversation) -> list[Conversation]:
        """Take the next conversation of the dump; returns what is complete."""
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
        """What is left at the end."""
        parts = sorted(self._parts, key=lambda part: part.start)
        self._parts, self._characters = [], 0
        complete = list(_joined(parts))
        self.joined += len(parts) - len(complete)
        return complete


def _part(conversation: Conversation) -> _Part | None:
    found = _PART.fullmatch(conversation.id or "")
    return _Part(found["chat"], int(found["start"]), conversation) if found else None


def _joined(parts: Sequence[_Part]) -> Iterator[Conversation]:
    if not parts:
        return
    start, whole = parts[0].start, parts[0].conversation
    for part in parts[1:]:
        longer = _continued(start, whole, part)
        if longer and fits(longer):
            whole = longer
        else:
            yield whole
            start, whole = part.start, part.conversation
    yield whole


def _continued(start: int, whole: Conversation, part: _Part) -> Conversation | None:
    """A conversation and the part that comes next; None where it does not, or not without a gap."""
    added = part.conversation.messages
    overlap = start + len(whole.messages) - part.start
    if overlap == 1 and added[:1] == whole.messages[-1:]:
        added = added[1:]
    elif overlap != 0:
        return None
    return Conversation(whole.id, [*whole.messages, *added])
