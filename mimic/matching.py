"""How a chat is matched with the corpus: a ladder, of which the first rung with an answer wins."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from hashlib import blake2b
from typing import Final, Literal, TypeAlias

import msgspec

from mimic.conversations import Choice, Message, role_of
from mimic.corpus import Corpus
from mimic.errors import NoCompletion
from mimic.schemas import Version

Rung: TypeAlias = Literal["previous", "last", "none"]

KEPT_CHARACTERS: Final = 1_000_000
"""Text of choices held in memory; what goes beyond is read again if it is drawn."""

SHOWN_CHARACTERS: Final = 60

NOT_SPOKEN: Final = frozenset({"system", "tool", "function"})
"""Roles that applications add to what was said, and that a corpus seldom has in the same place."""


class Outcome(msgspec.Struct):
    """A text that came next: how often, and where it stands among the choices for the first time.

    ``choice`` is None where there was too much text to keep it.
    """

    digest: bytes
    position: int
    choice: Choice | None
    count: int = 0


class Match(msgspec.Struct, frozen=True):
    """What was found: the messages that were asked for, on which rung, and the outcomes, the most frequent first.

    Outcomes that came equally often are in corpus order.
    """

    rung: Rung
    asked: Sequence[Message]
    outcomes: Sequence[Outcome]


def attempts(messages: Sequence[Message], version: Version) -> Iterator[tuple[Rung, Sequence[Message]]]:
    """What to look for, rung by rung: the last two messages (v3 only), and the last one alone.

    On each rung first as they are, then without what only applications say. More rungs go below these.
    """
    spoken = [message for message in messages if role_of(message.sender) not in NOT_SPOKEN and message.value]
    ways = [messages] if len(spoken) in (0, len(messages)) else [messages, spoken]
    if version == "v3":
        yield from (("previous", way[-2:]) for way in ways if len(way) > 1)
    yield from (("last", way[-1:]) for way in ways)


async def find_match(corpus: Corpus, messages: Sequence[Message], version: Version) -> Match:
    """The first rung of the ladder that has an answer.

    Raises NoCompletion where none has, and NotSeeded where the corpus lacks the version.
    """
    if not messages:
        raise NoCompletion(": there is no text in the chat")
    tried: list[Sequence[Message]] = []
    for rung, asked in attempts(messages, version):
        if asked in tried:
            continue
        tried.append(asked)
        try:
            return Match(rung, asked, await _outcomes(corpus.complete(asked, version, by_role=True)))
        except NoCompletion:
            continue
    last = tried[-1][-1]
    raise NoCompletion(
        f": in the corpus nothing follows {shorten(last.value)} of the role {role_of(last.sender)!r}. "
        "Texts are compared byte for byte."
    )


def shorten(text: str) -> str:
    """The beginning of a text, quoted, as it may be shown in a message."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")


async def read(corpus: Corpus, version: Version, match: Match, wanted: Sequence[Outcome]) -> Sequence[Choice] | None:
    """A choice for each of some outcomes of a match; None where the corpus was replaced since, and they are gone."""
    positions = {outcome.position for outcome in wanted}
    found = {outcome.position: outcome.choice for outcome in wanted if outcome.choice}
    missing = {outcome.position: outcome.digest for outcome in wanted if not outcome.choice}
    if missing:
        found |= await _reread(corpus.complete(match.asked, version, by_role=True), missing)
    return [found[outcome.position] for outcome in wanted] if found.keys() >= positions else None


async def _reread(batches: AsyncGenerator[Sequence[Choice]], missing: Mapping[int, bytes]) -> dict[int, Choice]:
    """The choices at these positions, as far as their texts still have these digests."""
    found: dict[int, Choice] = {}
    position, last = 0, max(missing)
    async with aclosing(batches):
        with suppress(NoCompletion):
            async for batch in _unhurried(batches):
                for choice in batch:
                    if position in missing and missing[position] == _digest(choice):
                        found[position] = choice
                    position += 1
                if position > last:
                    break
    return found


async def _outcomes(batches: AsyncGenerator[Sequence[Choice]]) -> list[Outcome]:
    outcomes: dict[bytes, Outcome] = {}
    position = characters = 0
    async with aclosing(batches):
        async for batch in _unhurried(batches):
            for choice in batch:
                digest = _digest(choice)
                outcome = outcomes.get(digest)
                if outcome is None:
                    characters += len(choice.message.value)
                    keep = characters <= KEPT_CHARACTERS or position == 0
                    outcome = outcomes[digest] = Outcome(digest, position, choice if keep else None)
                outcome.count += 1
                position += 1
    return sorted(outcomes.values(), key=lambda outcome: -outcome.count)


async def _unhurried(batches: AsyncIterator[Sequence[Choice]]) -> AsyncIterator[Sequence[Choice]]:
    """Others are served between two batches: an embedded store hands them over without a pause."""
    async for batch in batches:
        yield batch
        await asyncio.sleep(0)


def _digest(choice: Choice) -> bytes:
    return blake2b(choice.message.value.encode(), digest_size=16).digest()
