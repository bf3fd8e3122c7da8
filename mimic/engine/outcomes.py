"""Outcomes: the distribution of the texts that came next, each with its count."""

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
"""Text of choices to hold in memory. Choices beyond it are read again when they are drawn."""
READ_AT_ONCE: Final = 100
"""Outcomes to read again together."""


class Outcome(msgspec.Struct):
    """A text that came next: its count, and the first document of the corpus that holds it as an answer.

    ``choice`` is None if there was too much text to keep. It is then read again, and recognized by its ``digest``.
    """

    digest: bytes
    document: int
    choice: Choice | None
    count: int = 0


async def weigh(
    corpus: Corpus, asked: Sequence[Message], version: Version, kept_characters: int = KEPT_CHARACTERS
) -> Sequence[Outcome]:
    """The outcomes of some messages, the most frequent first; outcomes with the same count are in corpus order.

    Slow results are cached. Raises NoCompletion if nothing came next, and NotSeeded if the corpus lacks the version.
    """
    if corpus.outcome_cache:
        known: Sequence[Outcome] | None = await corpus.outcome_cache.get(version, asked)
        if known is not None:
            return known

    async def all_outcomes() -> Sequence[Outcome]:
        return await _outcomes(await corpus.complete(asked, version, by_role=True), kept_characters)

    if not SCHEMAS[version].indexes:  # a full scan, which must not run twice
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
    """A choice for each outcome; None if the corpus was replaced meanwhile, and the choices are gone."""
    choices = [outcome.choice for outcome in wanted]
    if None not in choices:
        return choices  # type: ignore[return-value] # no choice is None
    documents = {outcome.document for outcome in wanted if not outcome.choice}
    found: dict[bytes, Choice] = {}
    for choice in await corpus.choices_in(documents, asked, version, by_role=True):
        found.setdefault(_digest(choice), choice)
    choices = [outcome.choice or found.get(outcome.digest) for outcome in wanted]
    return None if None in choices else choices  # type: ignore[return-value] # likewise


async def read_most(
    corpus: Corpus,
    asked: Sequence[Message],
    version: Version,
    outcomes: Sequence[Outcome],
    max_outcomes: int,
    max_characters: int,
) -> Sequence[Choice]:
    """A choice for each of the first outcomes, within the limits; fewer if the corpus was replaced meanwhile."""
    choices: list[Choice] = []
    most = min(len(outcomes), max_outcomes)
    for start in range(0, most, READ_AT_ONCE):
        batch = await read(corpus, asked, version, outcomes[start : min(start + READ_AT_ONCE, most)])
        for choice in batch or ():
            max_characters -= len(choice.message.value)
            if max_characters < 0:
                return choices
            choices.append(choice)
        if batch is None:
            break
    return choices


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
