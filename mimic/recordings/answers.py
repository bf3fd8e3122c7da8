"""Answers of other services as completions."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, Literal

from mimic import tokens
from mimic.engine.base import Answer, Answers, CompletionRequest, ToolCall, Usage, chat_tokens
from mimic.engine.overrides import MATCH_HEADER
from mimic.gateway.originals import Original, OriginalCompletion
from mimic.recordings.base import Recording
from mimic.wire.base import EVENTS, JSON, GivenAnswer, GivenChoice

UPSTREAM: Final = "upstream"


def live_headers() -> Mapping[str, str]:
    """The headers of an answer that is passed on as it comes."""
    return {MATCH_HEADER: UPSTREAM}


def original_of(recording: Recording) -> Original | None:
    """The bytes of a recording; None if they were not kept."""
    if not recording.chunks:
        return None
    chunks = [(chunk.seconds, chunk.text.encode()) for chunk in recording.chunks]
    return Original(recording.id, chunks, EVENTS if recording.stream else JSON)


async def completion_of(
    given: GivenAnswer,
    request: CompletionRequest,
    source: Literal["recorded", "upstream"],
    original: Original | None,
    key: str,
) -> OriginalCompletion:
    """An answer as the completion of a request. ``key`` decides the ids of tool calls."""
    answers = [await _answer(choice, f"{key} {index}") for index, choice in enumerate(given.choices)]
    each = max(1, len(answers) // len(request.prompts))
    results = [Answers(source, None, answers[start : start + each]) for start in range(0, len(answers), each)]
    return OriginalCompletion(results, given.usage or await _usage(request, answers), original)


async def _usage(request: CompletionRequest, answers: Sequence[Answer]) -> Usage:
    """The usage of an answer whose service stated none."""
    asked = [
        await chat_tokens(prompt.messages) if prompt.tokens is None else prompt.tokens for prompt in request.prompts
    ]
    return Usage(sum(asked), sum(len(answer.tokens) for answer in answers))


async def _answer(choice: GivenChoice, key: str) -> Answer:
    said, *encoded = await tokens.encode_all([choice.text, *(call.arguments for call in choice.calls)])
    calls = [
        ToolCall(_call_id(f"{key} {index}"), call.name, call.arguments, call.is_custom, numbers)
        for index, (call, numbers) in enumerate(zip(choice.calls, encoded, strict=True))
    ]
    numbers = [*said, *(number for call in calls for number in call.tokens)]
    return Answer(choice.text, numbers, choice.finish_reason, None, calls)


def _call_id(text: str) -> str:
    return f"call_{blake2b(text.encode(), digest_size=12).hexdigest()}"
