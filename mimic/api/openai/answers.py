"""What answers to requests for completions have in common: usage, headers, and how they are streamed."""

import asyncio
import os
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Request
from litestar.response import Stream

from mimic.answering import Answer, Answers, answer, invent
from mimic.api.observation import Metrics
from mimic.api.openai.requests import Sampled
from mimic.api.openai.timing import wait_until
from mimic.api.reach import MATCH_HEADER, SCORE_HEADER
from mimic.conversations import Choice, Message
from mimic.corpus import Corpus
from mimic.errors import NoCompletion
from mimic.ladder import Reach
from mimic.schemas import Version
from mimic.settings import NOT_FOUND, Settings
from mimic.tokens import decode

FRAMES_BYTES: Final = 16 * 1024
"""Frames of a stream that nobody has to wait for are sent together, up to so many bytes."""
LONGEST_NAME: Final = 100
"""Characters of a conversation's id that are shown in a header."""
LONGEST_HEADER: Final = 2000
"""Characters of a header: some clients take no more than 16 KB of all headers together."""

_LINE_BREAKS: Final = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))
"""Characters at which some clients, wrongly, end a line of a stream, and how JSON may write them instead."""


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
    reach: Reach,
) -> list[Answers]:
    """The answers to each of some prompts, and the metrics of them.

    Raises NoCompletion where one has none, and the settings do not say what else to answer.
    """
    found: dict[tuple[Message, ...], Answers] = {}
    for prompt in prompts:
        if prompt in found:  # equal prompts have equal answers
            continue
        try:
            found[prompt] = await answer(corpus, prompt, version, asked.sampling(), asked.limits(), reach)
        except NoCompletion:
            metrics.misses.labels(version).inc()
            if settings.on_miss == NOT_FOUND:
                raise
            found[prompt] = await invent(prompt, settings.on_miss, asked.sampling().n, asked.limits())
    for prompt in prompts:
        metrics.matches.labels(version, found[prompt].rung or "none").inc()
    metrics.choices.labels(version).inc(sum(len(found[prompt].answers) for prompt in prompts))
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
    ends = list(accumulate(len(item) + len(", ") for item in items))
    fitting = bisect_right(ends, LONGEST_HEADER)
    return ", ".join([*items[:fitting], *(["..."] if fitting < len(items) else [])])


class Script(msgspec.Struct, frozen=True):
    """What is streamed: what comes with the first token, the chunks of each step, and what comes with the last."""

    opening: Sequence[msgspec.Struct]
    steps: Iterator[Sequence[msgspec.Struct]]
    ending: Sequence[msgspec.Struct]


async def event_stream(
    script: Script, headers: Mapping[str, str], request: Request[Any, Any, Any], due: Iterator[float] | None
) -> Stream:
    """Server-sent events, one for each struct of a script, and the ``[DONE]`` that ends OpenAI's streams.

    Each step is sent when it is ``due``, the first one together with the headers.
    """
    if due is not None:
        first = next(due)
        await wait_until(request, first)
        due = chain([first], due)
    return Stream(_paced(script, due), media_type="text/event-stream", headers={**_HEADERS, **headers})


_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def _frames(events: Iterable[msgspec.Struct]) -> bytes:
    frames = []
    for event in events:
        data = msgspec.json.encode(event)
        for character, escape in _LINE_BREAKS:
            data = data.replace(character, escape)
        frames.append(b"data: " + data + b"\n\n")
    return b"".join(frames)


async def _paced(script: Script, due: Iterator[float] | None) -> AsyncIterator[bytes]:
    """What nobody has to wait for goes out together, up to so many bytes."""
    clock = asyncio.get_running_loop().time
    waiting = _frames(script.opening)
    for step in script.steps:
        seconds = next(due) - clock() if due else 0.0
        if seconds > 0 or len(waiting) >= FRAMES_BYTES:
            if waiting:
                yield waiting
                waiting = b""
            await asyncio.sleep(max(seconds, 0))  # also 0: others are served, however fast this client reads
        waiting += _frames(step)
    yield waiting + _frames(script.ending) + b"data: [DONE]\n\n"


def in_turn(answers: Sequence[Answer]) -> Iterator[list[tuple[int, str | None]]]:
    """Step by step, the indexes of the answers that go on and what their next token adds; None where one ends."""
    going = {index: (decode(answer.tokens), len(answer.tokens)) for index, answer in enumerate(answers)}
    number = 0
    while going:
        step: list[tuple[int, str | None]] = []
        number += 1
        for index, (parts, length) in list(going.items()):
            if length:
                step.append((index, next(parts)))
            if number >= length:
                step.append((index, None))
                del going[index]
        yield step
