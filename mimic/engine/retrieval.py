"""Answers to a chat: matched, drawn, and cut as a model's are."""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from mimic import tokens
from mimic.corpus.conversation import Choice, Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy, Rung
from mimic.corpus.schemas import Version
from mimic.engine.matching import DEFAULT_POLICY, find_match
from mimic.engine.outcomes import read
from mimic.engine.sampling import Sampling, draw, key_of

FinishReason: TypeAlias = Literal["stop", "length"]

ECHO: Final = "echo"


class Limits(msgspec.Struct, frozen=True):
    """Where an answer ends: before the first of the ``stop`` texts, and after so many tokens of ``o200k_base``."""

    stop: Sequence[str] = ()
    max_tokens: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """One answer: its text and the tokens of it, why it ends, and where it was said, if anywhere."""

    text: str
    tokens: Sequence[int]
    finish_reason: FinishReason
    source: Choice | None


class Answers(msgspec.Struct, frozen=True):
    """The answers to one chat, on which rung of the ladder they were found, and how alike what was found is, up to 1.

    Answers that were invented have neither.
    """

    rung: Rung | None
    score: float | None
    answers: Sequence[Answer]


async def answer(
    corpus: Corpus,
    messages: Sequence[Message],
    version: Version,
    sampling: Sampling,
    limits: Limits,
    policy: MatchPolicy = DEFAULT_POLICY,
) -> Answers:
    """What was really said next, drawn from all that was.

    Raises what :func:`mimic.engine.matching.find_match` raises.
    """
    while True:
        match = await find_match(corpus, messages, version, policy)
        counts = [outcome.count for outcome in match.outcomes]
        # Of one there is nothing to draw, and a key of a long chat takes time.
        drawn = draw(counts, sampling, key_of(messages, sampling.seed)) if len(counts) > 1 else [0] * sampling.n
        choices = await read(corpus, match.asked, version, [match.outcomes[index] for index in drawn])
        if choices is not None:  # else the corpus was replaced between finding and reading
            break
    texts = [choice.message.value for choice in choices]
    return Answers(match.rung, match.score, await _ended(texts, choices, limits))


async def invent(messages: Sequence[Message], on_miss: str, n: int, limits: Limits) -> Answers:
    """What is answered where nothing was ever said: the last message again (``echo``), or the same text always."""
    text = on_miss
    if on_miss == ECHO:
        text = messages[-1].value if messages else ""
    return Answers(None, None, await _ended([text] * n, [None] * n, limits))


async def _ended(texts: Sequence[str], sources: Sequence[Choice | None], limits: Limits) -> list[Answer]:
    left = [before_stop(text, limits.stop) for text in texts]
    encoded = await tokens.encode_all(left)
    return [cut(*parts, limits.max_tokens) for parts in zip(sources, left, encoded, strict=True)]


def before_stop(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of the stop texts."""
    ends = [end for stop in stops if stop and (end := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def cut(source: Choice | None, text: str, encoded: Sequence[int], most: int | None) -> Answer:
    """A text as an answer, cut after so many of its tokens."""
    if most is None or len(encoded) <= most:
        return Answer(text, encoded, "stop", source)
    kept = tokens.cut(encoded, most)
    return Answer(tokens.text_of(kept), kept, "length", source)
