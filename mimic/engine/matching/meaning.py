"""Messages of the corpus by their meaning: the nearest vector of a sentence-embedding model.

    score = 1 / (1 + exp(-SLOPE * (cosine - MIDDLE)))

The score is about the probability that both messages are about the same thing, like that of
:mod:`mimic.corpus.similar.measure`. The constants are a logistic regression for all-MiniLM-L6-v2 on real prompts,
judged by the sentence embeddings of another make (``benchmarks/judge.py``).
"""

import asyncio
from math import exp
from typing import Final

from mimic.corpus.conversation import Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import Version
from mimic.engine.matching.nearest import NOTHING, Asked, Candidates, find_equal

SLOPE: Final = 13.4
MIDDLE: Final = 0.597
MOST: Final = 3
"""Nearest vectors that are read from the store. The first one answers; the others are for the text of a miss."""


async def find_by_meaning(
    corpus: Corpus, version: Version, message: Message, previous: Message | None, least: float, *, is_required: bool
) -> tuple[Asked, Candidates]:
    """Return the message of a user whose vector is nearest to that of a user's message, and the scores.

    It is empty if no score is ``least`` or more, and if the corpus or the server cannot search by meaning. If the
    search ``is_required``, raises RungNotSeeded or UnusableModel instead.
    """
    meaning = await corpus.meaning(version, is_required=is_required)
    if meaning is None or role_of(message.sender) != "user":
        return NOTHING, ()
    model, vectors, index = meaning
    vector = await model.embed(message.value)
    found = {place: cosine for cosine, place in await asyncio.to_thread(vectors.nearest, vector, MOST)}
    located = await corpus.messages_at(version, list(found))
    candidates = [(score_of(found[one.place]), one.message.value) for one in located]
    if not candidates or candidates[0][0] < least:
        return NOTHING, candidates
    best = located[0].message
    return await find_equal(corpus, index, version, best, previous) if previous else (best,), candidates


def score_of(cosine: float) -> float:
    """The score of a cosine, from 0 to 1."""
    return 1 / (1 + exp(-SLOPE * (cosine - MIDDLE)))
