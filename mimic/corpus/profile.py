"""The profile of a corpus: who speaks how often, how long, and what is said most often."""

from collections.abc import Sequence
from typing import Final

import msgspec

OTHER: Final = "other"
"""The role of senders that have none in a chat."""


class Distribution(msgspec.Struct, frozen=True):
    """How some numbers from 0 on are distributed: exact percentiles (by nearest rank), and a histogram.

    ``histogram[k]`` counts the numbers of k binary digits: the zeros, the ones, 2 and 3, 4 to 7, and so on.
    """

    p50: int
    p90: int
    p99: int
    max: int
    histogram: Sequence[int]


class Common(msgspec.Struct, frozen=True):
    """A message that came often: its text or the beginning of it, its length in characters, how often it came.

    It came ``count`` times at least, and :attr:`RoleProfile.uncertainty` times more at most.
    """

    text: str
    characters: int
    count: int


class RoleProfile(msgspec.Struct, frozen=True):
    """The messages of a role; ``other`` is who is neither user nor assistant nor system. Lengths are in characters."""

    role: str
    messages: int
    lengths: Distribution
    common: Sequence[Common]
    uncertainty: int


class SenderCount(msgspec.Struct, frozen=True):
    """Who spoke, by the dump's own name, and how often.

    ``role`` is the role in which chats find these messages. It is None where none does, or where an earlier Mimic
    seeded the corpus.
    """

    sender: str
    messages: int
    role: str | None = None


class Profile(msgspec.Struct, frozen=True):
    """What a corpus looks like: who spoke how often, how long, and what most often.

    ``conversation_lengths`` are in messages. ``unlisted_messages`` are of senders beyond the first hundred.
    """

    senders: Sequence[SenderCount]
    unlisted_messages: int
    conversation_lengths: Distribution
    roles: Sequence[RoleProfile]

    @property
    def unreachable_messages(self) -> int:
        """The messages of senders that no chat can name."""
        return sum(role.messages for role in self.roles if role.role == OTHER)

    def without_texts(self) -> "Profile":
        """The same for those who may not read what is in the corpus."""
        roles = [msgspec.structs.replace(role, common=()) for role in self.roles]
        return msgspec.structs.replace(self, roles=roles)
