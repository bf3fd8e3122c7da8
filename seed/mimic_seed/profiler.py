"""Computes the profile of a corpus while it is read: senders, lengths, and the most common messages."""

from collections import Counter
from collections.abc import Mapping
from math import ceil
from statistics import median_low
from typing import Final

from mimic.corpus.conversation import SENDERS, Conversation, role_of
from mimic.corpus.profile import OTHER, Common, Distribution, Profile, RoleProfile, SenderCount

LISTED_SENDERS: Final = 100
LONGEST_SENDER: Final = 100
"""Limits of senders that are counted by name: their number, and the characters of a name."""

LISTED_MESSAGES: Final = 20
SHOWN_CHARACTERS: Final = 160
"""Most common messages in a role's profile, and the characters shown of each."""

MOST_COUNTED: Final = 65_536
"""Distinct messages of a role to count at a time."""


class Profiler:
    """Computes the profile of conversations in bounded memory.

    All distinct lengths are kept. There are never many: k of them need more than k**2 / 2 characters of text.
    """

    def __init__(self, most_counted: int = MOST_COUNTED) -> None:
        """``most_counted`` distinct messages of a role are counted at a time."""
        self._roles = {role: _Role(most_counted) for role in (*SENDERS, OTHER)}
        self._speakers: dict[str, _Speaker] = {}
        self._unlisted = {role: _Speaker(role) for role in self._roles.values()}
        self._conversation_lengths: Counter[int] = Counter()

    def add(self, conversation: Conversation) -> None:
        """Count a conversation and its messages."""
        self._conversation_lengths[len(conversation.messages)] += 1
        for message in conversation.messages:
            speaker = self._speakers.get(message.sender) or self._meet(message.sender)
            speaker.messages += 1
            speaker.role.add(message.value)

    def profile(self) -> Profile:
        """The profile of the conversations so far."""
        speakers = sorted(self._speakers.items(), key=lambda item: -item[1].messages)
        return Profile(
            senders=[SenderCount(sender, speaker.messages, _role_in_chats(sender)) for sender, speaker in speakers],
            unlisted_messages=sum(speaker.messages for speaker in self._unlisted.values()),
            conversation_lengths=distribution(self._conversation_lengths),
            roles=[role.profile(name) for name, role in self._roles.items() if role.lengths],
        )

    def _meet(self, sender: str) -> "_Speaker":
        role = self._roles.get(role_of(sender), self._roles[OTHER])
        if len(self._speakers) == LISTED_SENDERS or len(sender) > LONGEST_SENDER:
            return self._unlisted[role]
        return self._speakers.setdefault(sender, _Speaker(role))


class _Role:
    """The messages of a role: their lengths, and the heavy hitters among them.

    The algorithm is that of Misra and Gries ("Finding repeated elements", 1982), but lowers many counters at a time. If
    there are too many counters, all are lowered by their median, and counters at 0 are removed. So a count is never too
    high, and too low by at most the sum of these medians. The keys are Python's 64-bit hashes. Only the texts of
    repeated messages are kept, and the first few texts, for a corpus without repetitions.
    """

    __slots__ = ("_counts", "_lowered", "_most_counted", "_texts", "lengths")

    def __init__(self, most_counted: int) -> None:
        self._most_counted = most_counted
        self.lengths: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        self._texts: dict[int, tuple[str, int]] = {}
        self._lowered = 0

    def add(self, text: str) -> None:
        length = len(text)
        self.lengths[length] = self.lengths.get(length, 0) + 1
        key = hash(text)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if (count > 1 or len(self._texts) < LISTED_MESSAGES) and key not in self._texts:
            self._texts[key] = text[:SHOWN_CHARACTERS], length
        if len(self._counts) > self._most_counted:
            self._lower()

    def profile(self, name: str) -> RoleProfile:
        known = [(count, *self._texts[key]) for key, count in self._counts.items() if key in self._texts]
        known.sort(key=lambda item: -item[0])
        return RoleProfile(
            role=name,
            messages=sum(self.lengths.values()),
            lengths=distribution(self.lengths),
            common=[Common(text, length, count) for count, text, length in known[:LISTED_MESSAGES]],
            uncertainty=self._lowered,
        )

    def _lower(self) -> None:
        by = median_low(self._counts.values())
        self._lowered += by
        self._counts = {key: count - by for key, count in self._counts.items() if count > by}
        self._texts = {key: text for key, text in self._texts.items() if key in self._counts}


def _role_in_chats(sender: str) -> str | None:
    role = role_of(sender)
    return role if role in SENDERS else None


class _Speaker:
    __slots__ = ("messages", "role")

    def __init__(self, role: _Role) -> None:
        self.role = role
        self.messages = 0


def distribution(counts: Mapping[int, int]) -> Distribution:
    """The distribution of numbers from 0 on, given the count of each."""
    ordered = sorted(counts.items())
    histogram = [0] * (max(counts, default=0).bit_length() + 1)
    for number, count in ordered:
        histogram[number.bit_length()] += count
    p50, p90, p99 = (_percentile(ordered, percent) for percent in (50, 90, 99))
    return Distribution(p50, p90, p99, max(counts, default=0), histogram)


def _percentile(ordered: list[tuple[int, int]], percent: int) -> int:
    """The percentile by nearest rank; 0 if there are no numbers."""
    rank = ceil(sum(count for _, count in ordered) * percent / 100)
    for number, count in ordered:
        rank -= count
        if rank <= 0:
            return number
    return 0
