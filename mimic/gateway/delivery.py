"""Replies: whole or streamed, at their pace, and with their injected fault."""

import asyncio
import re
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from mimic.corpus.conversation import Choice
from mimic.engine.base import Answers, Completion, CompletionRequest, Continuations
from mimic.engine.overrides import MATCH_HEADER
from mimic.errors import RequestError
from mimic.gateway.context import RequestContext
from mimic.gateway.faults import Fault, injected_error
from mimic.wire.base import EVENTS, JSON, AnyWire, EventPlan

OK: Final = 200
SCORE_HEADER: Final = "x-mimic-score"
IGNORED_HEADER: Final = "x-mimic-ignored"
"""Ignored fields of the request that would change a model's answer."""
LOGPROBS_HEADER: Final = "x-mimic-logprobs"
"""``partial`` if the log probabilities leave rare answers out."""
STREAM_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}
BYTES_AT_ONCE: Final = 64 * 1024
"""Maximum size of stream frames that are due now and sent together, in bytes."""
TOKENS_AT_ONCE: Final = 1000
"""Maximum tokens of a stream that is sent in one piece."""
LONGEST_NAME: Final = 100
"""Maximum characters of a conversation's id in a header."""
LONGEST_HEADER: Final = 2000
"""Maximum characters of a header: some clients accept only 16 KB for all headers together."""
_is_safe: Final = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
"""Matches a text that needs no quoting in a URL, as most ids. The match takes a third of the time of quoting."""


class Reply(msgspec.Struct, frozen=True):
    """An answer ready to send: status, headers, and the body as bytes or as a stream."""

    body: bytes | AsyncIterator[bytes]
    headers: Mapping[str, str] = {}
    status: int = OK
    media_type: str = JSON


def error_reply(wire: AnyWire, error: RequestError) -> Reply:
    """Return the reply for an error, in the format of a wire."""
    return Reply(wire.error(error), error.headers, error.status)


def reply(wire: AnyWire, request: Any, result: Any, context: RequestContext, due: Iterator[float] | None) -> Reply:
    """Return the reply for a result, in the format of a wire and with its injected fault."""
    headers, fault = headers_of(result), None if context.is_plain else context.inject()
    if isinstance(request, CompletionRequest) and (request.ignored or request.logprobs is not None):
        headers = with_limits_of_imitation(headers, request, result)
    if wire.streams(request):
        return _stream(wire, wire.events(request, result), headers, context, due)
    body = wire.whole(request, result)
    return (
        _add_fault(wire, body, headers, fault, context) if fault and isinstance(body, bytes) else Reply(body, headers)
    )


def with_limits_of_imitation(
    headers: Mapping[str, str], request: CompletionRequest, result: Completion
) -> Mapping[str, str]:
    """Add the headers that name ignored fields, and incomplete log probabilities."""
    if request.ignored:
        headers = {**headers, IGNORED_HEADER: _join_items(request.ignored)}
    if request.logprobs is not None and any(answers.is_partial for answers in result.results):
        headers = {**headers, LOGPROBS_HEADER: "partial"}
    return headers


async def wait_until_due(
    wire: AnyWire, request: Any, result: Completion, context: RequestContext, due: Iterator[float]
) -> Iterator[float]:
    """Wait until the headers are due: with the first token of a stream, or with the last token of a whole answer.

    Returns the due times of the parts, the first one included. Raises RequestError (499) if the client leaves.
    """
    steps = 1 if wire.streams(request) else max([1, *(len(answer.tokens) for answer in result.answers)])
    context.inject()
    moment = next(islice(due, steps - 1, None))
    await context.wait_until(moment)
    return chain([moment], due)


def _stream(
    wire: AnyWire, plan: EventPlan, headers: Mapping[str, str], context: RequestContext, due: Iterator[float] | None
) -> Reply:
    body: bytes | AsyncIterator[bytes]
    if context.injected:
        body = interrupt(wire, plan, due, context.injected, context)
    elif due is None and plan.tokens <= TOKENS_AT_ONCE:
        body = plan.whole()
    else:
        body = pace_steps(plan.opening, plan.steps, plan.ending, due)
    return Reply(body, {**STREAM_HEADERS, **headers}, media_type=EVENTS)


async def pace_steps(
    opening: bytes, steps: Iterable[bytes], ending: bytes, due: Iterator[float] | None
) -> AsyncGenerator[bytes]:
    """Yield each step at its due time, the opening before the first step and the ending after the last.

    Frames that are due now are sent together, up to ``BYTES_AT_ONCE``.
    """
    clock = asyncio.get_running_loop().time
    waiting, size = [opening], len(opening)
    remaining = iter(steps)
    del steps  # frees the tokens, up to a million
    try:
        for step in remaining:
            seconds = next(due) - clock() if due else 0.0
            if seconds > 0 or size >= BYTES_AT_ONCE:
                if size:
                    yield b"".join(waiting)
                    waiting, size = [], 0
                await asyncio.sleep(max(seconds, 0))  # also for 0, so that other requests get their turn
            waiting.append(step)
            size += len(step)
        yield b"".join((*waiting, ending))
    finally:
        del remaining, waiting  # if the client left, the exception keeps this frame until garbage collection


async def interrupt(
    wire: AnyWire, plan: EventPlan, due: Iterator[float] | None, fault: Fault, context: RequestContext
) -> AsyncGenerator[bytes]:
    """Yield a stream with a fault after ``fault.after`` steps, or before the last step of a shorter stream."""
    opening, steps, sent = plan.opening, iter(plan.steps), 0
    if fault.after is not None:
        first_steps = list(islice(steps, fault.after + 1))
        async for part in pace_steps(opening, first_steps[:-1], b"", due):
            yield part
        opening, steps, sent = b"", chain(first_steps[-1:], steps), len(first_steps) - 1
    if fault.kind == "disconnect":
        await context.hang_up()
        return
    if fault.kind in {"error", "malformed"}:
        kind: Literal["error", "malformed"] = "error" if fault.kind == "error" else "malformed"
        yield wire.broken(kind, injected_error(fault), plan, sent)
    if fault.kind == "error":
        return
    if fault.kind == "stall":
        seconds = fault.seconds or 0.0
        await asyncio.sleep(seconds)
        due = (moment + seconds for moment in due) if due else None
    async for part in pace_steps(opening, steps, plan.ending, due):
        yield part


def _add_fault(wire: AnyWire, body: bytes, headers: Mapping[str, str], fault: Fault, context: RequestContext) -> Reply:
    """Return a whole answer with a fault in its middle. The fault ``error`` replaces the answer with an error."""
    if fault.kind == "error":
        return error_reply(wire, injected_error(fault))
    if fault.kind not in {"disconnect", "malformed", "stall"}:
        return Reply(body, headers)
    first, second = body[: len(body) // 2], body[len(body) // 2 :]
    if fault.kind == "malformed":
        return Reply(first, headers)

    async def halves() -> AsyncIterator[bytes]:
        yield first
        if fault.kind == "disconnect":
            await context.hang_up()
        else:
            await asyncio.sleep(fault.seconds or 0.0)
            yield second

    return Reply(halves(), {**headers, "content-length": str(len(body))})


def headers_of(result: Any) -> Mapping[str, str]:
    """Return the headers that show the source of an answer; none for an answer without the corpus."""
    if isinstance(result, Completion):
        results = result.results
        if len(results) == 1 and len(results[0].answers) == 1:  # the usual case, in a third of the time
            return _headers_of_one(results[0])
        return _match_headers(results) if results else {}
    if isinstance(result, Continuations) and result.rung is not None:
        return {MATCH_HEADER: result.rung, SCORE_HEADER: f"{result.score:.3f}"}
    return {}


def _match_headers(results: Sequence[Answers]) -> Mapping[str, str]:
    """Return rung and score of each prompt, and the source and document of each answer, as far as they fit."""
    sources = [answer.source for answers in results for answer in answers.answers]
    return {
        MATCH_HEADER: _join_items([answers.rung or "none" for answers in results]),
        SCORE_HEADER: _join_items(["none" if answers.score is None else f"{answers.score:.3f}" for answers in results]),
        "x-mimic-source": _join_items([_source_text(source) for source in sources]),
        "x-mimic-document": _join_items([str(source.document) if source else "none" for source in sources]),
    }


def _headers_of_one(result: Answers) -> Mapping[str, str]:
    source, score = result.answers[0].source, result.score
    return {
        MATCH_HEADER: result.rung or "none",
        SCORE_HEADER: "1.000" if score == 1 else "none" if score is None else f"{score:.3f}",
        "x-mimic-source": _source_text(source),
        "x-mimic-document": "none" if source is None else str(source.document),
    }


def _source_text(source: Choice | None) -> str:
    if source is None:
        return "none"
    name = (source.conversation or "")[:LONGEST_NAME]
    if not _is_safe(name):
        name = quote(name, safe="")
    return f"{name}#{source.position}"


def _join_items(items: Sequence[str]) -> str:
    text = ", ".join(items)
    if len(text) + len(", ") <= LONGEST_HEADER:
        return text
    ends = list(accumulate(len(item) + len(", ") for item in items))
    count = bisect_right(ends, LONGEST_HEADER)
    return ", ".join([*items[:count], "..."])
