"""The engine that answers from the corpus: it matches, draws, and cuts answers like a model's."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

from msgspec.structs import replace

from mimic import tokens
from mimic.corpus.calls import call_choice, may_hold_calls
from mimic.corpus.conversation import Choice, Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.following import text_after
from mimic.corpus.schemas import Version
from mimic.corpus.stores.base import Batches
from mimic.engine.base import (
    Answer,
    Answers,
    CompletionRequest,
    Continuations,
    ContinuationsRequest,
    Engine,
    Limits,
    Prompt,
)
from mimic.engine.logprobs import Logprobs, logprobs_of
from mimic.engine.matching.rungs import Match, find_match
from mimic.engine.outcomes import KEPT_CHARACTERS, Outcome, read, read_most, weigh
from mimic.engine.sampling import draw, key_of, nucleus

MAX_ANSWERS: Final = 1_000
MAX_CHARACTERS: Final = 1_000_000
"""Limits of the most frequent answers that log probabilities are computed from: their number, and their texts."""
INLINE_CHARACTERS: Final = 2_000
"""Characters of texts whose log probabilities are computed on the event loop, in less than a millisecond."""


class RetrievalEngine(Engine):
    """Answers with messages that came next in the corpus.

    It holds up to ``kept_characters`` of the possible answers in memory, and reads others again when they are drawn.
    """

    def __init__(self, corpus: Corpus, *, kept_characters: int = KEPT_CHARACTERS) -> None:
        self._corpus = corpus
        self._kept_characters = kept_characters

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Draw from all messages that came next. Raises the errors of ``mimic.engine.matching.rungs.find_match``."""
        messages, version, sampling = prompt.corpus_messages(), request.version, request.sampling
        look_up = partial(weigh, self._corpus, version=version, kept_characters=self._kept_characters)
        while True:
            match = await find_match(self._corpus, messages, version, request.policy, look_up)
            outcomes = match.found
            if len(outcomes) == 1:  # nothing to draw, and the key of a long chat takes time
                drawn: Sequence[Outcome] = [outcomes[0]] * sampling.n
            else:
                counts = [outcome.count for outcome in outcomes]
                drawn = [outcomes[index] for index in draw(counts, sampling, key_of(messages, sampling.seed))]
            choices = await read(self._corpus, match.asked, version, drawn)
            if choices is not None:  # None: the corpus was replaced meanwhile
                break
        calls = [call_choice(choice) for choice in choices] if may_hold_calls(choices) else ()
        if request.logprobs is not None and len(outcomes) > 1:
            logprobs, is_partial = await self._logprobs(match, drawn, choices, request)
        else:
            logprobs, is_partial = None, False
        if calls:
            choices = [
                await self._text_of(version, choice) if call else choice
                for choice, call in zip(choices, calls, strict=True)
            ]
        texts = [choice.message.value for choice in choices]
        answers = await cut_answers(texts, choices, request.limits)
        if calls:
            answers = [replace(answer, corpus_calls=one) for answer, one in zip(answers, calls, strict=True)]
        if logprobs:
            answers = [
                replace(answer, logprobs=one[: len(answer.tokens)])
                for answer, one in zip(answers, logprobs, strict=True)
            ]
        return Answers(match.rung, match.score, answers, is_partial)

    async def _logprobs(
        self,
        match: Match[Sequence[Outcome]],
        drawn: Sequence[Outcome],
        choices: Sequence[Choice],
        request: CompletionRequest,
    ) -> tuple[Sequence[Logprobs], bool]:
        """The log probabilities of each drawn choice, and True if rare answers were left out."""
        outcomes = match.found[: nucleus([outcome.count for outcome in match.found], request.sampling)]
        most = await read_most(self._corpus, match.asked, request.version, outcomes, MAX_ANSWERS, MAX_CHARACTERS)
        known = {outcome.digest: (choice, outcome.count) for outcome, choice in zip(outcomes, most, strict=False)}
        for outcome, choice in zip(drawn, choices, strict=True):
            known.setdefault(outcome.digest, (choice, outcome.count))
        weighed = sorted(known.values(), key=lambda pair: -pair[1])
        is_small = sum(len(choice.message.value) for choice, _ in weighed) <= INLINE_CHARACTERS
        found = (
            _logprobs(weighed, choices, request)
            if is_small
            else await asyncio.to_thread(_logprobs, weighed, choices, request)
        )
        return found, len(weighed) < len(outcomes)

    async def _text_of(self, version: Version, call: Choice) -> Choice:
        """The text after a tool call, for requests without the tool; the call itself if no text follows."""
        return await text_after(self._corpus, version, call) or call

    async def continuations(self, request: ContinuationsRequest) -> Continuations:
        """Every message that came next. Raises NoCompletion and NotSeeded; with a policy, also RungNotSeeded."""
        version, limit = request.version, request.limit
        if request.policy is None:
            found = await self._corpus.complete(request.messages, version, limit)
            return Continuations(found if found.rest is None else await _read_ahead(found))

        async def look_up(asked: Sequence[Message]) -> Batches[Choice]:
            return await self._corpus.complete(asked, version, limit, by_role=True)

        match = await find_match(self._corpus, request.messages, version, request.policy, look_up)
        return Continuations(await _read_ahead(match.found), match.rung, match.score)


def _logprobs(
    weighed: Sequence[tuple[Choice, int]], drawn: Sequence[Choice], request: CompletionRequest
) -> Sequence[Logprobs]:
    """The log probabilities of drawn choices among choices with their counts; empty for a tool call. Blocks.

    Answers count as the client would get them: cut at a stop text, and without tool calls.
    """
    stop, top = request.limits.stop, request.logprobs or 0
    pairs = [(cut_at_stop(choice.message.value, stop), count) for choice, count in weighed if not call_choice(choice)]
    indexes: dict[str, int] = {}
    for index, (text, _) in enumerate(pairs):
        indexes.setdefault(text, index)
    wanted = [None if call_choice(choice) else indexes[cut_at_stop(choice.message.value, stop)] for choice in drawn]
    answers = [tokens.encode(text)[: request.limits.max_tokens] for text, _ in pairs]
    counts = [count for _, count in pairs]
    known = {index for index in wanted if index is not None}
    found = logprobs_of(answers, counts, known, request.sampling.temperature, top)
    return [() if index is None else found[index] for index in wanted]


async def _read_ahead(batches: Batches[Choice]) -> Batches[Choice]:
    """The same batches after the second one is read: a failure up to there still becomes an error answer."""
    if batches.rest is None:
        return batches
    second = await anext(batches.rest, None)
    return Batches(batches.first) if second is None else Batches(batches.first, _put_back(second, batches.rest))


async def _put_back(
    batch: Sequence[Choice], rest: AsyncGenerator[Sequence[Choice]]
) -> AsyncGenerator[Sequence[Choice]]:
    async with aclosing(rest):
        yield batch
        async for following in rest:
            yield following


async def cut_answers(texts: Sequence[str], sources: Sequence[Choice | None], limits: Limits) -> list[Answer]:
    """Cut texts at the first stop text and at the limit of tokens, and return them as answers."""
    kept = [cut_at_stop(text, limits.stop) for text in texts] if limits.stop else texts
    encoded = await tokens.encode_all(kept)
    most = limits.max_tokens
    return [
        Answer(text, numbers, "stop", source)
        if most is None or len(numbers) <= most
        else cut_at_limit(source, numbers, most)
        for source, text, numbers in zip(sources, kept, encoded, strict=True)
    ]


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    """The text up to the first stop text."""
    ends = [end for stop in stops if stop and (end := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def cut_at_limit(source: Choice | None, encoded: Sequence[int], most: int) -> Answer:
    """An answer of the first ``most`` tokens of a text."""
    kept = tokens.cut(encoded, most)
    return Answer(tokens.text_of(kept), kept, "length", source)
