"""What came next, as a distribution: every different text, and how often it did."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from hashlib import blake2b
from typing import Final

import msgspec

from mimic.conversations import Choice, Message
from mimic.corpus import Corpus
from mimic.errors import NoCompletion
from mimic.schemas import Version
from mimic.stores.base import Batches

KEPT_CHARACTERS: Final = 1_000_000
"""Text of choices held in memory; what goes beyond is read again if it is drawn."""


class Outcome(msgspec.Struct):
    """A text that came next: how often, and where it stands among the choices for the first time.

    ``choice`` is None where there was too much text to keep it.
    """

    digest: bytes
    position: int
    choice: Choice | None
    count: int = 0


async def weigh(corpus: Corpus, asked: Sequence[Message], version: Version) -> list[Outcome]:
    """The outcomes of some messages, the most frequent first, and those that are as frequent in corpus order.

    Raises NoCompletion where nothing ever came next, and NotSeeded where the corpus lacks the version.
    """
    choices = await corpus.complete(asked, version, by_role=True)
    if choices.rest is None and len(choices.first) == 1:
        return [Outcome(_digest(choices.first[0]), 0, choices.first[0], 1)]
    return await _outcomes(choices)


async def read(
    corpus: Corpus, asked: Sequence[Message], version: Version, wanted: Sequence[Outcome]
) -> Sequence[Choice] | None:
    """A choice for each of some outcomes; None where the corpus was replaced since, and they are gone."""
    positions = {outcome.position for outcome in wanted}
    found = {outcome.position: outcome.choice for outcome in wanted if outcome.choice}
    missing = {outcome.position: outcome.digest for outcome in wanted if not outcome.choice}
    if missing:
        with suppress(NoCompletion):
            found |= await _reread(await corpus.complete(asked, version, by_role=True), missing)
    return [found[outcome.position] for outcome in wanted] if found.keys() >= positions else None


async def _reread(batches: Batches[Choice], missing: Mapping[int, bytes]) -> dict[int, Choice]:
    """The choices at these positions, as far as their texts still have these digests."""
    found: dict[int, Choice] = {}
    position, last = 0, max(missing)
    async with aclosing(batches):
        async for batch in batches:
            for choice in batch:
                if position in missing and missing[position] == _digest(choice):
                    found[position] = choice
                position += 1
            if position > last:
                break
    return found


async def _outcomes(batches: Batches[Choice]) -> list[Outcome]:
    outcomes: dict[bytes, Outcome] = {}
    position = characters = 0
    async with aclosing(batches):
        async for batch in batches:
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


def _digest(choice: Choice) -> bytes:
    return blake2b(choice.message.value.encode(), digest_size=16).digest()
