"""Matching of a chat with the corpus: down a ladder, of which the first rung with an answer wins."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

import msgspec

from mimic.corpus.conversation import ROLES, Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import INDEXED, MatchPolicy, Rung
from mimic.corpus.schemas import Version
from mimic.engine.nearest import NOTHING, Asked, find_equal, find_nearest
from mimic.errors import NoCompletion, RungNotSeeded

SHOWN_CHARACTERS: Final = 60

T = TypeVar("T")

NOT_SPOKEN: Final = frozenset({"system", "tool", "function"})
"""Roles of messages that applications add, and that a corpus seldom has in the same place."""


class Match(msgspec.Struct, Generic[T], frozen=True):
    """A match: its rung, its score (1: equal), the messages of the corpus that match, and the result of the look-up."""

    rung: Rung
    score: float
    asked: Sequence[Message]
    found: T


async def find_match(
    corpus: Corpus,
    messages: Sequence[Message],
    version: Version,
    policy: MatchPolicy,
    look_up: Callable[[Sequence[Message]], Awaitable[T]],
) -> Match[T]:
    """Return the first rung of the ladder that has an answer, with the result of ``look_up`` for its messages.

    ``look_up`` raises NoCompletion where nothing follows. Raises NoCompletion where no rung has an answer, NotSeeded
    where the corpus lacks the version, and RungNotSeeded where ``policy`` names a rung that is needed and was not
    seeded.
    """
    if not messages:
        raise NoCompletion(": there is no text in the chat")
    tried: list[Sequence[Message]] = []
    for rung, asked in attempts(messages, version):
        if asked in tried or not policy.reaches(rung):
            continue
        tried.append(asked)
        try:
            return Match(rung, 1.0, asked, await look_up(asked))
        except NoCompletion:
            continue
    *_, previous, last = None, *(spoken_of(messages) or messages)
    while True:
        rung, score, asked = await _find_alike(corpus, last, previous if version == "v3" else None, version, policy)
        with suppress(NoCompletion):  # messages of the index have answers, unless the corpus was replaced since
            return Match(rung, score, asked, await look_up(asked))


def attempts(messages: Sequence[Message], version: Version) -> list[tuple[Rung, Sequence[Message]]]:
    """Return the messages to look up byte for byte: the last two (v3 only), and the last one alone.

    Each rung comes first with all messages, then without those that applications add.
    """
    spoken = spoken_of(messages)
    ways = [messages] if len(spoken) in (0, len(messages)) else [messages, spoken]
    found: list[tuple[Rung, Sequence[Message]]] = []
    if version == "v3":
        found += [("previous", way[-2:]) for way in ways if len(way) > 1]
    return found + [("last", way[-1:]) for way in ways]


def spoken_of(messages: Sequence[Message]) -> Sequence[Message]:
    """Return a chat without the messages that applications add, and without empty ones."""
    return [one for one in messages if ROLES.get(one.sender, one.sender) not in NOT_SPOKEN and one.value]


async def _find_alike(
    corpus: Corpus, last: Message, previous: Message | None, version: Version, policy: MatchPolicy
) -> tuple[Rung, float, Asked]:
    """Return the first rung below the exact ones that has a match, its score, and its messages."""
    score, asked = 0.0, NOTHING
    for rung in INDEXED:
        if not policy.reaches(rung):
            raise _nothing_follows(last, f"Texts were compared down to the rung {policy.depth!r}.")
        try:
            index = await corpus.index(version, rung)
        except RungNotSeeded as exc:
            if policy.depth:
                raise
            raise _nothing_follows(last, f"It was not sought for further, since {exc}.") from exc
        if rung == "normalized":
            score, asked = 1.0, await find_equal(corpus, index, version, last, previous)
        else:
            score, asked = await find_nearest(corpus, index, version, last, previous)
        if asked and score >= policy.min_score:
            return rung, score, asked
    remark = (
        f"What is most like it scores {score:.3f}, less than {policy.min_score:g}." if asked else "Nothing is like it."
    )
    raise _nothing_follows(last, remark)


def _nothing_follows(last: Message, remark: str) -> NoCompletion:
    return NoCompletion(
        f": in the corpus nothing follows {shorten(last.value)} of the role {role_of(last.sender)!r}. {remark}"
    )


def shorten(text: str) -> str:
    """Return the beginning of a text, quoted, to be shown in a message."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")
