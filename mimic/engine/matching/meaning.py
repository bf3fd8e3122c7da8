"""Messages of the corpus by their meaning: the nearest vector of a sentence-embedding model.

    score = 1 / (1 + exp(-(BIAS + COSINE * cosine + WORDS * log(w / (1 - w)))))

w is the score of both texts by their words (:mod:`mimic.corpus.similar.measure`): a vector says little of names and
numbers, and words little of paraphrases. The score is about the probability that both messages are about the same
thing. The constants are a logistic regression for all-MiniLM-L6-v2 on real prompts, judged by the sentence embeddings
of another model (``benchmarks/answers/meaning.py``).
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from math import exp, log
from typing import Final

from mimic.corpus.conversation import Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import Version
from mimic.corpus.similar.index import MatchIndex
from mimic.corpus.similar.measure import Measure
from mimic.engine.matching.nearest import NOTHING, Asked, Candidates, find_equal

BIAS: Final = -1.89
COSINE: Final = 11.56
WORDS: Final = 2.55
MOST: Final = 10
"""Nearest vectors that are read from the store, and compared by their words as well."""
LEAST_WORDS: Final = 0.1
"""Scores by words count as at least this, and as at most 1 minus this: a paraphrase may share no word."""


async def find_by_meaning(
    corpus: Corpus, version: Version, message: Message, previous: Message | None, least: float, *, is_required: bool
) -> tuple[Asked, Candidates]:
    """Return the message of a user whose vector is nearest to that of a user's message, and the scores.

    The message is empty if no score is ``least`` or more, and if the corpus or the server cannot search by meaning. If
    the search ``is_required``, raises RungNotSeeded or UnusableModel instead.
    """
    meaning = await corpus.meaning(version, is_required=is_required)
    if meaning is None or role_of(message.sender) != "user":
        return NOTHING, ()
    model, vectors, index = meaning
    vector = await model.embed(message.value)
    found = {place: cosine for cosine, place in await asyncio.to_thread(vectors.nearest, vector, MOST)}
    located = await corpus.messages_at(version, list(found))
    scores = await asyncio.to_thread(_scores, message, index, [(found[one.place], one.message) for one in located])
    ranked = sorted(zip(scores, (one.message for one in located), strict=True), key=lambda pair: -pair[0])
    candidates = [(score, one.value) for score, one in ranked]
    if not ranked or ranked[0][0] < least:
        return NOTHING, candidates
    best = ranked[0][1]
    return await find_equal(corpus, index, version, best, previous) if previous else (best,), candidates


def _scores(message: Message, index: MatchIndex, found: Sequence[tuple[float, Message]]) -> Sequence[float]:
    measure = Measure(message.value, partial(index.weigh, "user"))
    return [score_of(cosine, measure.score(one.value)) for cosine, one in found]


def score_of(cosine: float, words: float) -> float:
    """The score of a cosine and a score by words, from 0 to 1."""
    features = features_of(cosine, words)
    return 1 / (1 + exp(-(BIAS + COSINE * features[0] + WORDS * features[1])))


def features_of(cosine: float, words: float) -> tuple[float, float]:
    """The cosine, and the logarithm of the odds of a score by words."""
    bounded = min(max(words, LEAST_WORDS), 1 - LEAST_WORDS)
    return float(cosine), log(bounded / (1 - bounded))
