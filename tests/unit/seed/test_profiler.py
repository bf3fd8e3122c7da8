"""The profile of a corpus, compared with a plain count of the same conversations."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.corpus.conversation import Conversation, Message, role_of
from mimic.corpus.manifest import Seeded
from mimic.corpus.profile import Profile
from mimic.corpus.stores.base import Store
from mimic_seed.profiler import (
    LISTED_MESSAGES,
    LISTED_SENDERS,
    LONGEST_SENDER,
    MOST_COUNTED,
    SHOWN_CHARACTERS,
    Profiler,
    distribution,
)
from tests.support.corpora import SMALL, fill

messages = st.builds(
    Message, st.sampled_from(["human", "user", "gpt", "system", "tool", "bard"]), st.text("ab", max_size=4)
)
conversations = st.lists(st.builds(Conversation, st.none(), st.lists(messages)))


def profile_of(found: Sequence[Conversation], most_counted: int = MOST_COUNTED) -> Profile:
    """The profile of some conversations."""
    profiler = Profiler(most_counted)
    for conversation in found:
        profiler.add(conversation)
    return profiler.profile()


def said(*texts: str, sender: str = "human") -> Conversation:
    """A conversation with a single sender."""
    return Conversation(None, [Message(sender, text) for text in texts])


@given(conversations)
def test_a_profile_is_a_plain_count(found: Sequence[Conversation]) -> None:
    """Senders, lengths and messages of each role are exact for small numbers."""
    made = profile_of(found)
    everything = [message for conversation in found for message in conversation.messages]
    assert {item.sender: item.messages for item in made.senders} == Counter(message.sender for message in everything)
    assert made.conversation_lengths == distribution(Counter(len(conversation.messages) for conversation in found))
    roles = {role if (role := role_of(message.sender)) != "tool" else "other" for message in everything}
    assert {role.role for role in made.roles} == roles
    for spoken in made.roles:
        texts = [m.value for m in everything if role_of(m.sender) == spoken.role.replace("other", "tool")]
        assert spoken.messages == len(texts)
        assert spoken.lengths == distribution(Counter(map(len, texts)))
        assert spoken.uncertainty == 0
        expected = Counter(texts)
        assert all(expected[item.text] == item.count for item in spoken.common)
        assert [item.count for item in spoken.common] == [n for _, n in expected.most_common(LISTED_MESSAGES)]


@given(st.lists(st.integers(0, 5000), min_size=1))
def test_percentiles_and_histogram_are_exact(numbers: list[int]) -> None:
    """Percentiles are by nearest rank, the histogram by binary digits."""
    made = distribution(Counter(numbers))
    ordered = sorted(numbers)
    for percent, given_one in ((50, made.p50), (90, made.p90), (99, made.p99)):
        assert given_one == ordered[-(-len(ordered) * percent // 100) - 1]
    assert made.max == ordered[-1]
    assert list(made.histogram) == [
        sum(2**k // 2 <= number < 2**k if k else number == 0 for number in numbers)
        for k in range(ordered[-1].bit_length() + 1)
    ]


def test_nothing_is_distributed_as_well() -> None:
    """An empty corpus has a profile."""
    assert distribution({}) == distribution({0: 0})
    assert profile_of([]).roles == []


@given(st.lists(st.integers(1, 12).map(lambda n: "x" * n), min_size=1, max_size=300))
def test_counts_are_bounds_when_there_are_too_many(texts: list[str]) -> None:
    """Counts are never too high and too low by the uncertainty at most; more frequent texts are never missed."""
    [made] = profile_of([said(*texts)], most_counted=4).roles
    expected = Counter(texts)
    counted = {item.text: item.count for item in made.common}
    for text, count in expected.items():
        assert counted.get(text, 0) <= count <= counted.get(text, 0) + made.uncertainty
    assert made.uncertainty <= len(texts) / 2


def test_a_message_that_is_common_is_found_among_very_many() -> None:
    """The message is found among 200,000 different ones, with memory for 65,536."""
    different = [f"message {number}" for number in range(200_000)]
    often = [text for number, text in enumerate(different) if number % 1000 == 0 for text in (text, "continue")]
    [made] = profile_of([said(*different), said(*often)]).roles
    assert made.common[0].text == "continue"
    assert made.common[0].count <= 200 <= made.common[0].count + made.uncertainty
    assert 0 < made.uncertainty < 10


def test_texts_are_shortened_and_lengths_are_not() -> None:
    """A message of a megabyte takes as much room in the profile as a line."""
    [made] = profile_of([said("x" * 1_000_000)]).roles
    assert [(len(item.text), item.characters) for item in made.common] == [(SHOWN_CHARACTERS, 1_000_000)]


def test_senders_without_number_are_counted_together() -> None:
    """The first hundred senders have names; names that are no texts are covered."""
    found = [said("hi", sender=f"s{number}") for number in range(LISTED_SENDERS + 5)]
    made = profile_of([said("hi", sender="x" * (LONGEST_SENDER + 1)), *found])
    assert len(made.senders) == LISTED_SENDERS
    assert made.unlisted_messages == 6
    assert [role.messages for role in made.roles] == [LISTED_SENDERS + 6]


@pytest.mark.anyio
async def test_the_profile_is_kept_with_the_corpus(store: Store, tmp_path: Path) -> None:
    """Each version's entry, and the report, have the profile."""
    report = await fill(store, SMALL, tmp_path)
    assert report.profile
    assert report.profile.conversation_lengths.max == 5
    for entry in (await store.seeded()).values():
        assert entry.profile == report.profile


@pytest.mark.anyio
async def test_an_entry_without_a_profile_can_be_read(store: Store, tmp_path: Path) -> None:
    """Corpora of earlier versions have no profile."""
    await fill(store, SMALL, tmp_path)
    [entry, *_] = (await store.seeded()).values()
    fields = msgspec.to_builtins(entry)
    del fields["profile"]
    assert msgspec.convert(fields, Seeded).profile is None
