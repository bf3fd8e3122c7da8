"""The engine that answers from the corpus: matched, drawn, and cut as a model's answers are."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from msgspec.structs import replace

from mimic import tokens
from mimic.corpus.calls import calls_in
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
from mimic.engine.matching import find_match
from mimic.engine.outcomes import KEPT_CHARACTERS, Outcome, read, weigh
from mimic.engine.sampling import draw, key_of


class RetrievalEngine(Engine):
    """Answers with what was really said next in a corpus.

    Of a long list of answers ``kept_characters`` are held in memory; one beyond them is read again if it is drawn.
    """

    def __init__(self, corpus: Corpus, *, kept_characters: int = KEPT_CHARACTERS) -> None:
        self._corpus = corpus
        self._kept_characters = kept_characters

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Draw from all that was said next. Raises what :func:`mimic.engine.matching.find_match` raises."""
        messages, version, sampling = prompt.said(), request.version, request.sampling
        look_up = partial(weigh, self._corpus, version=version, kept_characters=self._kept_characters)
        while True:
            match = await find_match(self._corpus, messages, version, request.policy, look_up)
            outcomes = match.found
            if len(outcomes) == 1:  # there is nothing to draw, and a key of a long chat takes time
                drawn: Sequence[Outcome] = [outcomes[0]] * sampling.n
            else:
                counts = [outcome.count for outcome in outcomes]
                drawn = [outcomes[index] for index in draw(counts, sampling, key_of(messages, sampling.seed))]
            choices = await read(self._corpus, match.asked, version, drawn)
            if choices is not None:  # else the corpus was replaced between finding and reading
                break
        calls = [calls_in(choice.message) for choice in choices]
        if any(calls):
            choices = [await self._spoken(version, one) if said else one for one, said in zip(choices, calls, strict=True)]
        texts = [choice.message.value for choice in choices]
        answers = await ended(texts, choices, request.limits)
        if any(calls):
            answers = [replace(one, said_calls=said) for one, said in zip(answers, calls, strict=True)]
        return Answers(match.rung, match.score, answers)

    async def _spoken(self, version: Version, call: Choice) -> Choice:
        """The text behind a call of a tool, for requests that cannot call it; the call itself where there is none."""
        return await text_after(self._corpus, version, call) or call

    async def continuations(self, request: ContinuationsRequest) -> Continuations:
        """Every message that came next. Raises NoCompletion and NotSeeded, with a policy also RungNotSeeded."""
        version, limit = request.version, request.limit
        if request.policy is None:
            found = await self._corpus.complete(request.messages, version, limit)
            return Continuations(found if found.rest is None else await _settled(found))

        async def look_up(asked: Sequence[Message]) -> Batches[Choice]:
            return await self._corpus.complete(asked, version, limit, by_role=True)

        match = await find_match(self._corpus, request.messages, version, request.policy, look_up)
        return Continuations(await _settled(match.found), match.rung, match.score)


async def _settled(batches: Batches[Choice]) -> Batches[Choice]:
    """The same batches, of which it is known whether there are several: a failure so far is an error answer."""
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


async def ended(texts: Sequence[str], sources: Sequence[Choice | None], limits: Limits) -> list[Answer]:
    """Texts as answers, each up to the first stop text and with at most so many tokens."""
    left = [before_stop(text, limits.stop) for text in texts] if limits.stop else texts
    encoded = await tokens.encode_all(left)
    most = limits.max_tokens
    return [
        Answer(text, numbers, "stop", source) if most is None or len(numbers) <= most else cut(source, numbers, most)
        for source, text, numbers in zip(sources, left, encoded, strict=True)
    ]


def before_stop(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of the stop texts."""
    ends = [end for stop in stops if stop and (end := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def cut(source: Choice | None, encoded: Sequence[int], most: int) -> Answer:
    """The tokens of a text as an answer, cut after so many of them."""
    kept = tokens.cut(encoded, most)
    return Answer(tokens.text_of(kept), kept, "length", source)
