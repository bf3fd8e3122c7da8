"""The profile of a corpus: its senders, the lengths of its messages, and the most common messages."""

from collections.abc import Sequence
from typing import Final

import msgspec

OTHER: Final = "other"
"""The role of senders that have no role in a chat."""


class Distribution(msgspec.Struct, frozen=True):
    """The distribution of numbers from 0 on: exact percentiles (nearest rank), and a histogram.

    ``histogram[k]`` counts the numbers with k binary digits: 0, 1, 2 to 3, 4 to 7, and so on.
    """

    p50: int
    p90: int
    p99: int
    max: int
    histogram: Sequence[int]


class Common(msgspec.Struct, frozen=True):
    """A common message: its text or the beginning of it, its length in characters, and its frequency.

    The true frequency is between ``count`` and ``count`` plus :attr:`RoleProfile.uncertainty`.
    """

    text: str
    characters: int
    count: int


class RoleProfile(msgspec.Struct, frozen=True):
    """The messages of a role: user, assistant, system, call (tool calls), result (results of tools), or other.

    Lengths are in characters.
    """

    role: str
    messages: int
    lengths: Distribution
    common: Sequence[Common]
    uncertainty: int


class SenderCount(msgspec.Struct, frozen=True):
    """A sender, by its name in the dump, and the number of its messages.

    ``role`` is the role in which chats find these messages. It is None if chats cannot find them, or if an earlier
    Mimic seeded the corpus.
    """

    sender: str
    messages: int
    role: str | None = None


class Profile(msgspec.Struct, frozen=True):
    """The statistics of a corpus: senders, lengths, and the most common messages of each role.

    ``conversation_lengths`` are in messages. ``unlisted_messages`` counts the messages of senders beyond the first 100.
    """

    senders: Sequence[SenderCount]
    unlisted_messages: int
    conversation_lengths: Distribution
    roles: Sequence[RoleProfile]

    @property
    def unreachable_messages(self) -> int:
        """The number of messages whose senders have no role in a chat."""
        return sum(role.messages for role in self.roles if role.role == OTHER)

    def without_texts(self) -> "Profile":
        """The profile without texts, for clients that may not read the corpus."""
        roles = [msgspec.structs.replace(role, common=()) for role in self.roles]
        return msgspec.structs.replace(self, roles=roles)
