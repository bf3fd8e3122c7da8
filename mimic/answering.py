"""Answers to a chat: matched, drawn, and cut as a model's are."""

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from mimic import tokens
from mimic.conversations import Choice, Message
from mimic.corpus import Corpus
from mimic.matching import Rung, find_match, read
from mimic.sampling import Sampling, draw, key_of
from mimic.schemas import Version

FinishReason: TypeAlias = Literal["stop", "length"]


class Limits(msgspec.Struct, frozen=True):
    """Where an answer ends: before the first of the ``stop`` texts, and after so many tokens of ``o200k_base``."""

    stop: Sequence[str] = ()
    max_tokens: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """One answer: its text and the tokens of it, why it ends, and where it was said."""

    text: str
    tokens: Sequence[int]
    finish_reason: FinishReason
    source: Choice


class Answers(msgspec.Struct, frozen=True):
    """The answers to one chat, and on which rung of the ladder they were found."""

    rung: Rung
    answers: Sequence[Answer]


async def answer(
    corpus: Corpus, messages: Sequence[Message], version: Version, sampling: Sampling, limits: Limits
) -> Answers:
    """What was really said next, drawn from all that was.

    Raises NoCompletion where nothing was, and NotSeeded where the corpus lacks the version.
    """
    key = key_of(messages, sampling.seed)
    while True:
        match = await find_match(corpus, messages, version)
        drawn = draw([outcome.count for outcome in match.outcomes], sampling, key)
        choices = await read(corpus, version, match, [match.outcomes[index] for index in drawn])
        if choices is not None:  # else the corpus was replaced between finding and reading
            break
    return Answers(match.rung, [await generate(choice, limits) for choice in choices])


async def generate(choice: Choice, limits: Limits) -> Answer:
    """The text of a choice, up to where it is to end."""
    text = choice.message.value
    ends = [end for stop in limits.stop if stop and (end := text.find(stop)) >= 0]
    if ends:
        text = text[: min(ends)]
    encoded = await encode(text)
    if limits.max_tokens is None or len(encoded) <= limits.max_tokens:
        return Answer(text, encoded, "stop", choice)
    kept = tokens.cut(encoded, limits.max_tokens)
    return Answer("".join(tokens.decode(kept)), kept, "length", choice)


async def encode(text: str) -> list[int]:
    """The tokens of a text; in a thread where it would keep others waiting."""
    if len(text) > tokens.LONGEST_PIECE:
        return await asyncio.to_thread(tokens.encode, text)
    return tokens.encode(text)
