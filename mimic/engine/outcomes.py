"""What came next, as a distribution: every different text, and how often it did."""

from collections.abc import Sequence
from contextlib import aclosing
from hashlib import blake2b
from typing import Final

import msgspec

from mimic.corpus.conversation import Choice, Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import SCHEMAS, Version
from mimic.corpus.stores.base import Batches

KEPT_CHARACTERS: Final = 100_000
"""Text of choices held in memory; what goes beyond is read again if it is drawn."""


class Outcome(msgspec.Struct):
    """A text that came next: how often, and the document of the corpus that holds it as an answer for the first time.

    ``choice`` is None where there was too much text to keep it; it is then read again, and known by its ``digest``.
    """

    digest: bytes
    document: int
    choice: Choice | None
    count: int = 0


async def weigh(
    corpus: Corpus, asked: Sequence[Message], version: Version, kept_characters: int = KEPT_CHARACTERS
) -> Sequence[Outcome]:
    """The outcomes of some messages, the most frequent first, and those that are as frequent in corpus order.

    What takes long is remembered. Raises NoCompletion where nothing ever came next, and NotSeeded where the corpus
    lacks the version.
    """
    if corpus.outcome_cache:
        known: Sequence[Outcome] | None = await corpus.outcome_cache.get(version, asked)
        if known is not None:
            return known

    async def all_outcomes() -> Sequence[Outcome]:
        return await _outcomes(await corpus.complete(asked, version, by_role=True), kept_characters)

    if not SCHEMAS[version].indexes:  # all of it is read, and not twice
        return await corpus.outcome_cache.get_or_compute(version, asked, all_outcomes)
    choices = await corpus.complete(asked, version, by_role=True)
    if choices.rest is not None:
        await choices.aclose()
        return await corpus.outcome_cache.get_or_compute(version, asked, all_outcomes)
    if len(choices.first) == 1:
        only = choices.first[0]
        return [Outcome(b"", only.document, only, 1)]
    return await _outcomes(choices, kept_characters)


async def read(
    corpus: Corpus, asked: Sequence[Message], version: Version, wanted: Sequence[Outcome]
) -> Sequence[Choice] | None:
    """A choice for each of some outcomes; None where the corpus was replaced since, and they are gone."""
    choices = [outcome.choice for outcome in wanted]
    if None not in choices:
        return choices  # type: ignore[return-value] # there is no None among them
    documents = {outcome.document for outcome in wanted if not outcome.choice}
    found: dict[bytes, Choice] = {}
    for choice in await corpus.choices_in(documents, asked, version, by_role=True):
        found.setdefault(_digest(choice), choice)
    choices = [outcome.choice or found.get(outcome.digest) for outcome in wanted]
    return None if None in choices else choices  # type: ignore[return-value] # likewise


async def _outcomes(batches: Batches[Choice], kept_characters: int) -> list[Outcome]:
    outcomes: dict[bytes, Outcome] = {}
    characters = 0
    async with aclosing(batches):
        async for batch in batches:
            for choice in batch:
                digest = _digest(choice)
                outcome = outcomes.get(digest)
                if outcome is None:
                    characters += len(choice.message.value)
                    keep = characters <= kept_characters or not outcomes
                    outcome = outcomes[digest] = Outcome(digest, choice.document, choice if keep else None)
                outcome.count += 1
    return sorted(outcomes.values(), key=lambda outcome: -outcome.count)


def _digest(choice: Choice) -> bytes:
    return blake2b(choice.message.value.encode(), digest_size=16).digest()
