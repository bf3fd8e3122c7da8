"""What answers to requests for completions have in common: usage, headers, and how they are sent."""

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Request, Response
from litestar.response import Stream

from mimic.corpus.conversation import Choice, Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy
from mimic.corpus.schemas import Version
from mimic.engine.retrieval import Answer, Answers, answer, invent
from mimic.errors import NoCompletion
from mimic.gateway.delivery import EVENTS
from mimic.gateway.moods import befallen
from mimic.gateway.reach import MATCH_HEADER, SCORE_HEADER
from mimic.server.observability.requests import Metrics
from mimic.settings import NOT_FOUND, Settings
from mimic.wire.openai.mishaps import beset, spoilt
from mimic.wire.openai.requests import Sampled
from mimic.wire.openai.timing import wait_for_last, wait_until
from mimic.wire.sse import EventPlan, paced

STREAM_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}
LONGEST_NAME: Final = 100
"""Characters of a conversation's id that are shown in a header."""
LONGEST_HEADER: Final = 2000
"""Characters of a header: some clients take no more than 16 KB of all headers together."""


class PromptDetails(msgspec.Struct, frozen=True):
    """Nothing is cached and nothing is sound."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(msgspec.Struct, frozen=True):
    """Nothing is reasoned, sound, or predicted."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """Tokens of ``o200k_base``."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = PromptDetails()
    completion_tokens_details: CompletionDetails = CompletionDetails()

    @classmethod
    def of(cls, prompt_tokens: int, answers: Sequence[Answer]) -> "Usage":
        """The usage of some answers to a prompt."""
        completion_tokens = sum(len(answer.tokens) for answer in answers)
        return cls(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)


async def answer_all(
    prompts: Sequence[tuple[Message, ...]],
    asked: Sampled,
    version: Version,
    corpus: Corpus,
    metrics: Metrics,
    settings: Settings,
    policy: MatchPolicy,
) -> list[Answers]:
    """The answers to each of some prompts, and the metrics of them.

    Raises NoCompletion where one has none, and the settings do not say what else to answer.
    """
    found: dict[tuple[Message, ...], Answers] = {}
    for prompt in prompts:
        if prompt in found:  # equal prompts have equal answers
            continue
        try:
            found[prompt] = await answer(corpus, prompt, version, asked.sampling(), asked.limits(), policy)
        except NoCompletion:
            metrics.misses.labels(version).inc()
            if settings.on_miss == NOT_FOUND:
                raise
            found[prompt] = await invent(prompt, settings.on_miss, asked.sampling().n, asked.limits())
    for prompt in prompts:
        metrics.matches_of(version, found[prompt].rung or "none").inc()
    metrics.choices_of(version).inc(sum(len(found[prompt].answers) for prompt in prompts))
    return [found[prompt] for prompt in prompts]


def new_id(prefix: str) -> str:
    """An id that no other answer has."""
    return f"{prefix}-{os.urandom(12).hex()}"


def match_headers(found: Sequence[Answers]) -> Mapping[str, str]:
    """Where the answers came from: per prompt the rung and the score, per answer conversation, position, and document.

    As many as fit.
    """
    sources = [answer.source for answers in found for answer in answers.answers]
    return {
        MATCH_HEADER: _listed([answers.rung or "none" for answers in found]),
        SCORE_HEADER: _listed(["none" if answers.score is None else f"{answers.score:.3f}" for answers in found]),
        "x-mimic-source": _listed([_place(source) for source in sources]),
        "x-mimic-document": _listed([str(source.document) if source else "none" for source in sources]),
    }


def _place(source: Choice | None) -> str:
    if source is None:
        return "none"
    return f"{quote((source.conversation or '')[:LONGEST_NAME], safe='')}#{source.position}"


def _listed(items: Sequence[str]) -> str:
    text = ", ".join(items)
    if len(text) + len(", ") <= LONGEST_HEADER:
        return text
    ends = list(accumulate(len(item) + len(", ") for item in items))
    fitting = bisect_right(ends, LONGEST_HEADER)
    return ", ".join([*items[:fitting], "..."])


async def event_stream(
    script: EventPlan, headers: Mapping[str, str], request: Request[Any, Any, Any], due: Iterator[float] | None
) -> Stream:
    """Server-sent events, one for each struct of a script, and the ``[DONE]`` that ends OpenAI's streams.

    Each step is sent when it is ``due``, the first one together with the headers.
    """
    fault = befallen(request)
    if due is not None:
        first = next(due)
        await wait_until(request, first)
        due = chain([first], due)
    body = beset(script, due, fault, request) if fault else paced(script, due)
    return Stream(body, media_type=EVENTS, headers={**STREAM_HEADERS, **headers})


async def whole_answer(
    completion: msgspec.Struct,
    tokens: int,
    headers: Mapping[str, str],
    request: Request[Any, Any, Any],
    due: Iterator[float] | None,
) -> Response[Any]:
    """An answer in one piece, when the last of its tokens would have been streamed."""
    fault = befallen(request)
    await wait_for_last(request, due, tokens)
    return spoilt(completion, headers, fault, request) if fault else Response(completion, headers=headers)
